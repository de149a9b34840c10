"""Times a few real steps of a configuration, a validation, a checkpoint and a sample.

Leaves nothing behind but the way of computing that was found quickest (`calibration.py`). What that means for a whole
run is `forecast.py`'s arithmetic.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from atlas_core import memory, paths, soundness
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.events import Generated, Progress
from atlas_core.forecast import THROTTLED, Speed
from atlas_core.generation import generator
from atlas_core.hardware.telemetry import best_telemetry
from atlas_core.text.dataset import Dataset, Meta, Split
from atlas_core.text.tokenizer import SMALLEST_BPE, AtlasTokenizer
from atlas_core.training import trainer
from atlas_core.training.calibration import calibrated
from atlas_core.training.plain_errors import plain_memory_errors
from atlas_core.training.trainer import Trainer
from atlas_core.training.validation import autocast, evaluate

WARM_UP_STEPS = 2  # the first ones also allocate, and plan their kernels
FEWEST_STEPS, ENOUGH_SECONDS = 3, 8.0
FEWEST_STEPS_TO_COMPARE = 8  # halves of fewer steps differ by chance
MOST_ACCUMULATED = 4  # a step of more batches is measured on 1 and on so many, and continued along the line
SAMPLE_TOKENS = 32


def measure(config: Config, dataset: Dataset | None) -> Iterator[Progress | Speed]:
    """Train a few steps of `config` on `dataset`, or on meaningless tokens. The last item is the `Speed`.

    Raises what the trainer raises: `DeviceError` if the memory is not enough, `DataError` if text and model differ.
    """
    text = dataset or RandomText(config)
    config = yield from calibrated(trainer.settle(config, text))
    batches = config.training.gradient_accumulation_steps
    with plain_memory_errors():
        if batches <= MOST_ACCUMULATED:
            session = _session(config, text, batches)
            times, power_w = yield from _steps(session)
        else:
            single, _ = yield from _steps(_session(config, text, 1))
            session = _session(config, text, MOST_ACCUMULATED)
            several, power_w = yield from _steps(session)
            times = continued(single, several, batches)
        yield Progress(0, 0, "steps", "Measuring validation, checkpoint and sample")
        yield replace(summed_up(times), power_w=power_w, validation_batch_s=_validation_batch_s(session),
                      save_s=_save_s(session), sample_token_s=_sample_token_s(session))


def summed_up(times: Sequence[float]) -> Speed:
    """The median step and the quick and slow tenth. Where the machine slowed down, its second half is believed."""
    half = len(times) // 2
    slowdown = 1.0
    if len(times) >= FEWEST_STEPS_TO_COMPARE:
        slowdown = statistics.median(times[half:]) / statistics.median(times[:half])
    lasting = times[half:] if slowdown > THROTTLED else times
    quick, slow = np.quantile(lasting, [0.1, 0.9])
    return Speed(statistics.median(lasting), float(quick), float(slow), slowdown=slowdown)


def continued(single: Sequence[float], several: Sequence[float], batches: int) -> list[float]:
    """Times of steps of `batches` batches, from steps of one and of `MOST_ACCUMULATED`: the optimizer steps once."""
    one = statistics.median(single)
    return [one + (batches - 1) * max(0.0, time_s - one) / (MOST_ACCUMULATED - 1) for time_s in several]


def _session(config: Config, text: Dataset, batches: int) -> Trainer:
    """A trainer that is never asked to save, so it needs no folder."""
    return Trainer(config.replace({"training.gradient_accumulation_steps": batches}), text, Path(os.devnull), Control())


def _steps(session: Trainer) -> Generator[Progress, None, tuple[list[float], float | None]]:
    """Seconds of each step after the warm-up, and the mean power where the device tells it."""
    telemetry = best_telemetry() if session.device.type == "cuda" else None
    times: list[float] = []
    powers_w: list[float] = []
    for step in range(WARM_UP_STEPS):
        yield Progress(step, 0, "steps", "Warming up")
        session.step()
    until = time.perf_counter() + ENOUGH_SECONDS
    while len(times) < FEWEST_STEPS or time.perf_counter() < until:
        yield Progress(len(times), 0, "steps", "Measuring")
        started = time.perf_counter()
        session.step()
        times.append(time.perf_counter() - started)
        power_w = telemetry.read().power_w if telemetry else None
        if power_w is not None:
            powers_w.append(power_w)
    return times, statistics.fmean(powers_w) if powers_w else None


def _validation_batch_s(session: Trainer) -> float:
    """One batch without gradients; of the training text where none was kept aside, for another one may have some."""
    windows = session.val_windows or session.train_windows

    def once() -> float:
        started = time.perf_counter()
        list(evaluate(session.model, session.dataset, windows, autocast(session.device, session.precision),
                      batch_size=session.config.training.batch_size, batches=1))
        return time.perf_counter() - started

    return min(once(), once())  # the first one also allocates


def _save_s(session: Trainer) -> float:
    """One checkpoint written, made durable and digested, in a file without a name; 0 if the disk is too full.

    It is the most that a save may cost training, which goes on beside it.
    """
    home = paths.home() if paths.home().is_dir() else Path(tempfile.gettempdir())
    if shutil.disk_usage(home).free < 2 * memory.checkpoint_bytes(session.config):
        return 0.0
    started = time.perf_counter()
    with tempfile.TemporaryFile(dir=home) as file:
        torch.save(session._state(), file)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        soundness.digest(file)
    return time.perf_counter() - started


def _sample_token_s(session: Trainer) -> float:
    """One token of a sample, whether or not this run draws any."""
    wished = session.config.sampling
    wished = replace(wished, max_new_tokens=min(SAMPLE_TOKENS, wished.max_new_tokens), stop=(), stop_at_eos=False)
    started = time.perf_counter()
    *_, text = generator.stream(session.model, session.dataset.tokenizer, wished.prompts[:1] or ("",), wished)
    assert isinstance(text, Generated)
    return (time.perf_counter() - started) / text.tokens


class RandomText(Dataset):
    """Tokens without meaning, as many kinds as `config`'s vocabulary has; exists in memory only."""

    def __init__(self, config: Config) -> None:
        vocabulary = max(config.model.vocab_size, SMALLEST_BPE)
        tokens = config.model.max_seq_len * config.training.batch_size + 1
        split = Split(documents=1, tokens=tokens, bytes=tokens, characters=tokens)
        super().__init__(Path("random"), Meta(
            name="random", created="", dtype="uint32", tokenizer="random", tokenizer_fingerprint="",
            n_vocab=vocabulary, documents=1, splits={"train": split, "val": split}, split_by="none", chunk_tokens=0,
        ))
        self._tokens = np.random.default_rng(0).integers(0, vocabulary, tokens, dtype=np.uint32)

    @cached_property
    def tokenizer(self) -> AtlasTokenizer:
        """Bytes, and words that mean nothing up to the wanted number."""
        fill = self.meta.n_vocab - SMALLEST_BPE
        return AtlasTokenizer("random", {bytes([byte]): byte for byte in range(256)},
                              unused=[f"<{number}>".encode() for number in range(fill)])

    def tokens(self, split: str) -> np.ndarray:  # noqa: ARG002 - every part is the same
        return self._tokens
