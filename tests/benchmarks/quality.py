"""Bits per byte of held-out plays after minutes of training, and the time to a fixed figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from atlas_core import config as settings
from atlas_core import format as people
from atlas_core import presets
from atlas_core.config import Config
from tests.benchmarks import learners, sample
from tests.benchmarks.contest import own_process
from tests.benchmarks.formats import can_train
from tests.benchmarks.learners import Point
from tests.benchmarks.section import Column, Effort, Row, Section
from tests.benchmarks.throughput import EQUAL

MINUTES = (2, 10)
RIVAL_MINUTES = 5   # of NANO's shape: in two it might not come to the target, and a longer plan lowers its rate later
TARGET = 2.4                                    # bits a byte
PRESETS = ("NANO", "MICRO")
EVAL_STEPS = 50                                 # some seconds of training
# What served AdamW best in MICRO's shape: fewer windows a step, a lower rate, a longer warm-up, one matrix to read and
# to predict with.
ADAMW: dict[str, Any] = {"training.learning_rate": 1.5e-3, "training.batch_size": 2, "training.warmup_steps": 225,
                         "model.tie_weights": True}
NANO_ADAMW: dict[str, Any] = {"training.learning_rate": 2.5e-3, "training.warmup_steps": 160,  # likewise
                              "training.weight_decay": 0.01, "model.tie_weights": True}
DEFAULTS, LONGER, RIVAL = "defaults", "defaults, for longer", "transformers, fp32"
QUICK = {"seconds": 3.0, "target": 6.0, "stops_at_target": True}


@dataclass(frozen=True)
class Learner:
    """Who learns, and when it may stop."""

    name: str
    kind: str                       # of `learners.py`
    config: Config
    seconds: float                  # of training, for which its steps and its schedule are planned
    target: float = TARGET
    stops_at_target: bool = True

    def ends_at(self, minutes: float) -> bool:
        """Whether it is to train for just so long, whatever it reaches before."""
        return not self.stops_at_target and self.seconds == 60 * minutes

    def is_done(self, points: Sequence[Point]) -> bool:
        return self.stops_at_target and seconds_to(points, self.target) is not None


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each learner. Those of NANO's shape learn in turn, and those of MICRO's."""
    for preset in effort.few(PRESETS):
        config, dataset = sample.ready(home, _learning(preset))
        field = nano(config) if preset == "NANO" else micro(config)
        named = {f"{preset} {learner.name}": learner for learner in field}
        wished = set(effort.matching(list(named)))
        if not wished:
            continue
        field = [learner for name, learner in named.items() if name in wished or learner.name == DEFAULTS]
        if effort.quick:
            field = [dataclasses.replace(learner, **QUICK) for learner in field]
        curves = race(field, dataset)
        ours = seconds_to(curves[DEFAULTS], field[0].target)
        for learner in field:
            points = curves[learner.name]
            needed = seconds_to(points, learner.target)
            yield {
                "preset": preset,
                "learner": learner.name,
                **{f"bits_per_byte_{m}_min": points[-1].bits_per_byte if learner.ends_at(m) else None for m in MINUTES},
                "target": learner.target,
                "seconds_to_target": needed,
                "times_the_defaults": needed / ours if needed and ours else None,
                "steps": points[-1].step,
                "seconds": points[-1].seconds,
                "bits_per_byte": points[-1].bits_per_byte,
                "points": [dataclasses.astuple(point) for point in points],
            }


def nano(config: Config) -> list[Learner]:
    """The preset as it is, for its two minutes and for ten, and against `transformers`."""
    return [*(Learner(name, "atlas", config, 60 * minutes, stops_at_target=False)
              for name, minutes in zip((DEFAULTS, LONGER), MINUTES, strict=True)),
            Learner(RIVAL, "transformers", config.replace({**EQUAL, **NANO_ADAMW}), 60 * RIVAL_MINUTES)]


def micro(own: Config) -> list[Learner]:
    """The preset as it is, with every other family and optimizer, and against `transformers`."""
    table = settings.settings()
    others = [
        Learner(f"{family}, {optimizer}", "atlas", own.replace({
            "model.family": family, "model.num_kv_heads": 0, "training.optimizer_type": optimizer,
            **(ADAMW if "adamw" in optimizer else {})}), 60 * MINUTES[1])
        for family, optimizer in product(table["model.family"].choices, table["training.optimizer_type"].choices)
        if (family, optimizer) != (own.model.family, own.training.optimizer_type)
    ]
    lean = own.replace({**ADAMW, "training.precision": "bf16", "training.optimizer_type": "adamw8bit",
                        "training.master_weights": False})
    field = [Learner(DEFAULTS, "atlas", own, 60 * MINUTES[1], stops_at_target=False), *others,
             Learner(f"{own.model.family}, adamw8bit, no masters", "atlas", lean, 60 * MINUTES[1]),
             Learner(RIVAL, "transformers", own.replace({**EQUAL, **ADAMW}), 60 * MINUTES[1])]
    return [learner for learner in field if can_train(learner.config)]


def race(field: Sequence[Learner], dataset: Path) -> dict[str, list[Point]]:
    """Everyone's curve. Whoever has trained least goes next, so that all meet the machine in the same hour."""
    curves: dict[str, list[Point]] = {learner.name: [] for learner in field}
    by_name = {learner.name: learner for learner in field}
    with TemporaryDirectory() as runs, ExitStack() as processes:
        going: dict[str, Callable[[], Point | None]] = {}
        for name, learner in by_name.items():
            process = processes.enter_context(own_process())
            run = Path(runs, str(len(going)))
            process.submit(learners.begin, learner.kind, learner.config, dataset, run, learner.seconds).result()
            going[name] = lambda process=process: process.submit(learners.go_on).result()
        while going:
            name = min(going, key=lambda name: trained(curves[name]))
            point = going[name]()
            if point is not None:
                curves[name].append(point)
            if point is None or by_name[name].is_done(curves[name]):
                del going[name]
    return curves


def trained(points: Sequence[Point]) -> float:
    """Seconds of training so far."""
    return points[-1].seconds if points else 0.0


def seconds_to(points: Sequence[Point], target: float) -> float | None:
    """When the curve first comes down to `target` bits a byte, on the line between two validations; None if never."""
    if points and points[0].bits_per_byte <= target:
        return points[0].seconds
    for before, after in pairwise(points):
        if after.bits_per_byte <= target:
            way = (before.bits_per_byte - target) / (before.bits_per_byte - after.bits_per_byte)
            return before.seconds + way * (after.seconds - before.seconds)
    return None


def _learning(preset: str) -> Config:
    """A preset that is validated often and on everything, and draws no samples."""
    changes: dict[str, Any] = {"evaluation.eval_interval": EVAL_STEPS, "evaluation.eval_batches": 10**6,
                               "sampling.interval": 0}
    return presets.find(preset).config.replace(changes)


def _bits(value: float) -> str:
    return f"{value:.3f}"


SECTION = Section("quality", "Bits per byte of the held-out plays", (
    Column("preset", "preset"),
    Column("learner", "family, optimizer"),
    *(Column(f"bits_per_byte_{m}_min", f"after {m} min", _bits) for m in MINUTES),
    Column("target", "target", lambda target: f"{target:g}"),
    Column("seconds_to_target", "reached after", lambda seconds: f"{seconds:.0f} s"),
    Column("times_the_defaults", "times the defaults", lambda ratio: f"{ratio:.2f} x"),
    Column("steps", "steps", people.count),
    Column("seconds", "trained", lambda seconds: f"{seconds:.0f} s"),
    Column("bits_per_byte", "at the end", _bits),
), rows)
