"""Whether Muon earns its place: against AdamW, each at the best of the same rates, for as long by the clock.

Both train at the same time, a core each, so that both meet the machine in the same hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

from atlas_core import presets
from atlas_core.config import Config
from tests.benchmarks import learners, sample
from tests.benchmarks.contest import own_process
from tests.benchmarks.quality import NANO_ADAMW
from tests.benchmarks.section import Column, Effort, Row, Section

KINDS: dict[str, dict[str, Any]] = {"adamw": NANO_ADAMW, "muon": {}}  # what serves each best beside its rate
RATES = (1.25e-3, 2.5e-3, 5e-3, 1e-2)  # all tried with the first seed
SEEDS = (1, 2, 3)               # all tried at the best rate
SECONDS, HURRIED_SECONDS = 300.0, 3.0
COMMON: dict[str, Any] = {
    "hardware.threads": 1, "sampling.interval": 0, "evaluation.eval_interval": 0, "evaluation.eval_batches": 10**6,
}


@dataclass(frozen=True)
class Outcome:
    """What a training came to: seconds are those of its steps, bits a byte those of all held-out plays."""

    steps: int
    seconds: float
    bits_per_byte: float


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each training."""
    config, dataset = sample.ready(home, presets.find("NANO").config.replace(COMMON))
    seconds = HURRIED_SECONDS if effort.quick else SECONDS
    tuned: list[Row] = []
    for rate in effort.few(RATES):
        tuned += side_by_side(config, dataset, dict.fromkeys(KINDS, rate), SEEDS[0], seconds)
        yield from tuned[-len(KINDS):]
    best = best_rates(tuned)
    for seed in effort.few(SEEDS, 2)[1:]:
        yield from side_by_side(config, dataset, best, seed, seconds)


def side_by_side(config: Config, dataset: Path, rates: Mapping[str, float], seed: int, seconds: float) -> list[Row]:
    """One training of each optimizer, at once."""
    with own_process() as one, own_process() as other:
        begun = [process.submit(trained, config.replace({**KINDS[kind], "training.optimizer_type": kind,
                                                         "training.seed": seed, "training.learning_rate": rate}),
                                dataset, seconds)
                 for process, (kind, rate) in zip((one, other), rates.items(), strict=True)]
        outcomes = [future.result() for future in begun]
    return [{"optimizer": kind, "learning_rate": rate, "seed": seed, "steps": outcome.steps,
             "seconds": outcome.seconds, "bits_per_byte": outcome.bits_per_byte}
            for (kind, rate), outcome in zip(rates.items(), outcomes, strict=True)]


def trained(config: Config, folder: Path, seconds: float) -> Outcome:
    """Train for about `seconds`."""
    with TemporaryDirectory() as run:
        *_, last = learners.atlas(config, folder, Path(run, "run"), seconds)
    return Outcome(last.step, last.seconds, last.bits_per_byte)


def best_rates(tuned: list[Row]) -> dict[str, float]:
    """The rate at which each optimizer ended lowest."""
    return {kind: min((row for row in tuned if row["optimizer"] == kind), key=lambda row: row["bits_per_byte"])
            ["learning_rate"] for kind in KINDS}


def remark(found: list[Row]) -> str:
    """Each optimizer at its best rate, over all seeds."""
    told = []
    for kind, rate in best_rates([row for row in found if row["seed"] == SEEDS[0]]).items():
        bits = [row["bits_per_byte"] for row in found if (row["optimizer"], row["learning_rate"]) == (kind, rate)]
        told.append(f"{kind} at {rate:g}: {mean(bits):.3f} in the mean, {min(bits):.3f} to {max(bits):.3f}")
    return "; ".join(told)


SECTION = Section("optimizers", "Bits per byte after as many minutes, by optimizer and rate (NANO, one core each)", (
    Column("optimizer", "optimizer"),
    Column("learning_rate", "rate", lambda rate: f"{rate:g}"),
    Column("seed", "seed"),
    Column("steps", "steps"),
    Column("seconds", "trained", lambda seconds: f"{seconds:.0f} s"),
    Column("bits_per_byte", "bits per byte", lambda bits: f"{bits:.3f}"),
), rows, remark)
