"""What a checkpoint costs training: written in its place, and beside. Rounds of steps with and without, in turn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from atlas_core import format as people
from atlas_core import presets
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.events import CheckpointSaved
from atlas_core.text.dataset import Dataset
from atlas_core.training.trainer import Trainer, lay_out
from tests.benchmarks import sample
from tests.benchmarks.contest import WARM_UP_STEPS
from tests.benchmarks.section import Column, Effort, Row, Section
from tests.benchmarks.throughput import shape

COMMON: dict[str, object] = {"training.precision": "fp32", "training.gradient_accumulation_steps": 1}
CHANGES: dict[str, dict[str, object]] = {  # TINY's step is made short: what is saved stays as large
    "NANO": {}, "TINY": {"training.batch_size": 1, "model.max_seq_len": 128}}


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each preset."""
    for name in effort.few(list(CHANGES)):
        config, dataset = sample.ready(home, presets.find(name).config.replace({**COMMON, **CHANGES[name]}))
        with TemporaryDirectory(dir=home) as run:
            yield row(config, Dataset.open(dataset), Path(run), effort)


def row(config: Config, dataset: Dataset, run: Path, effort: Effort) -> Row:
    """Medians over the rounds; each round compares with plain steps of its own."""
    trainer = Trainer(config, dataset, run, Control())
    lay_out(run, config, dataset, resume=False)
    try:
        for _ in range(WARM_UP_STEPS):
            trainer.step()
        found = [_round(trainer, effort.seconds) for _ in range(effort.rounds)]
    finally:
        trainer.saver.close()
    medians = {key: median(of_round[key] for of_round in found) for key in found[0]}
    return {"preset": config.name, "shape": shape(config), **medians}


def _round(trainer: Trainer, seconds: float) -> dict[str, float]:
    plain_s = _plain_step_s(trainer, seconds)
    in_place = _save(trainer, beside=False)
    began = time.perf_counter()
    trainer.saver.save("step", trainer.moment())
    stalled = time.perf_counter()
    steps = 0
    while trainer.saver.busy:
        trainer.step()
        steps += 1
    over = time.perf_counter()
    beside = _told(trainer)
    tokens = trainer.config.tokens_per_step
    return {
        "bytes": beside.bytes,
        "step_s": plain_s,
        "in_place_lost_s": in_place.stall_s,
        "beside_stall_s": beside.stall_s,
        "beside_lost_s": max(0.0, over - began - steps * plain_s),
        "beside_written_s": beside.seconds,
        "tokens_per_s": tokens / plain_s,
        "tokens_per_s_meanwhile": steps * tokens / (over - stalled),
    }


def _plain_step_s(trainer: Trainer, seconds: float) -> float:
    """The mean of steps that nothing happens beside."""
    began, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - began < seconds:
        trainer.step()
        steps += 1
    return (time.perf_counter() - began) / steps


def _save(trainer: Trainer, *, beside: bool) -> CheckpointSaved:
    trainer.saver.save("step", trainer.moment(), beside=beside)
    trainer.saver.wait()
    return _told(trainer)


def _told(trainer: Trainer) -> CheckpointSaved:
    (event,) = trainer.saver.news()
    assert isinstance(event, CheckpointSaved)
    return event


SECTION = Section("saving", "What a checkpoint costs training", (
    Column("preset", "preset"),
    Column("shape", "layers x width, batch x context"),
    Column("bytes", "checkpoint", people.size),
    Column("step_s", "a step", people.milliseconds),
    Column("in_place_lost_s", "lost in place", people.milliseconds),
    Column("beside_lost_s", "lost beside", people.milliseconds),
    Column("beside_stall_s", "of it waiting", people.milliseconds),
    Column("beside_written_s", "written in", people.milliseconds),
    Column("tokens_per_s", "tokens/s", people.count),
    Column("tokens_per_s_meanwhile", "meanwhile", people.count),
), rows)
