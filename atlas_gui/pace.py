"""How long a training step takes here: as earlier runs measured it, else guessed from one matrix product.

A guess only for the processor: about a card nothing is known before its first run, and None says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from atlas_core import memory
from atlas_core.config import Config

PROBE_SIZE = 512
PROBE_ROUNDS = 12  # the quickest counts: another program may have been busy during the others


def key(config: Config) -> str:
    """What the time of a step depends on; two configurations with one key are equally fast."""
    m, t = config.model, config.training
    shape = f"{m.num_layers}x{m.hidden_size}x{m.max_seq_len}v{m.vocab_size}"
    again = " checkpointing" if t.gradient_checkpointing else ""
    return f"{shape} {t.batch_size}x{t.gradient_accumulation_steps}{again}"


def probe() -> float:
    """Floating-point operations a second in a large matrix product; takes a few hundredths of a second."""
    matrix = np.ones((PROBE_SIZE, PROBE_SIZE), dtype=np.float32)
    seconds = []
    for _ in range(PROBE_ROUNDS):
        started = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - started)
    return float(2 * PROBE_SIZE**3 / min(seconds))


def seconds_per_step(config: Config, measured: Mapping[str, float], flops: float | None) -> float | None:
    """Measured, else 6 operations a parameter and token (Kaplan et al. 2020, section 2.1) at the probed speed."""
    known = measured.get(key(config))
    if known is not None or flops is None:
        return known
    again = 4 / 3 if config.training.gradient_checkpointing else 1.0  # the forward pass a second time
    return 6 * memory.count_parameters(config.model) * config.tokens_per_step * again / flops
