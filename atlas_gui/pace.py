"""How long a training step takes here: as earlier runs measured it, else guessed from matrix products.

A guess only for the processor: about a card nothing is known before its first run, and None says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np

from atlas_core import memory
from atlas_core.config import Config
from atlas_core.hardware.processor import usable_cores

PROBE_SIZE = 96  # small enough that numpy's library uses one thread: its pool crawls while other programs compute
PROBE_SECONDS = 0.1
BESIDES_PRODUCTS = 2.5  # NANO in the window took about 145 s where its bare products were guessed at 57


def key(config: Config) -> str:
    """What the time of a step depends on; two configurations with one key are equally fast."""
    m, t = config.model, config.training
    shape = f"{m.num_layers}x{m.hidden_size}x{m.max_seq_len}v{m.vocab_size}"
    again = " checkpointing" if t.gradient_checkpointing else ""
    return f"{shape} {t.batch_size}x{t.gradient_accumulation_steps}{again}"


def probe() -> float:
    """Floating-point operations a second of all cores together, from the quickest of many small matrix products."""
    matrix = np.ones((PROBE_SIZE, PROBE_SIZE), dtype=np.float32)
    product, quickest = np.empty_like(matrix), math.inf
    end = time.perf_counter() + PROBE_SECONDS
    while (started := time.perf_counter()) < end:
        np.matmul(matrix, matrix, out=product)
        quickest = min(quickest, time.perf_counter() - started)
    return 2 * PROBE_SIZE**3 / quickest * usable_cores()


def seconds_per_step(config: Config, measured: Mapping[str, float], flops: float | None) -> float | None:
    """Measured, else 6 operations a parameter and token (Kaplan et al. 2020, section 2.1) at the probed speed."""
    known = measured.get(key(config))
    if known is not None or flops is None:
        return known
    again = 4 / 3 if config.training.gradient_checkpointing else 1.0  # the forward pass a second time
    products = 6 * memory.count_parameters(config.model) * config.tokens_per_step * again / flops
    return BESIDES_PRODUCTS * products
