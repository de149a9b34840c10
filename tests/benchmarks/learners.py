"""The inside of a learner's process: trains on and stops at each validation. Who goes next is said in `quality.py`.

Every learner is planned for its time, as by `atlas train --minutes 10`: for as many steps as a few measured ones say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from atlas_core import jobs
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.events import EvalDone, StepDone
from atlas_core.fitting import with_steps
from atlas_core.forecast import Speed
from atlas_core.text.dataset import Dataset

MEASURED_STEPS = 8  # of a rival

_points: Iterator[Point]


@dataclass(frozen=True)
class Point:
    """A validation of all held-out text."""

    step: int
    seconds: float          # of training steps alone, up to here
    bits_per_byte: float


def begin(kind: str, config: Config, dataset: Path, run: Path, seconds: float) -> None:
    """Make this process the learner `kind`, which trains for about `seconds`."""
    global _points  # noqa: PLW0603 - a process is one learner
    _points = {"atlas": atlas, "transformers": transformers}[kind](config, dataset, run, seconds)


def go_on() -> Point | None:
    """Train up to the next validation; None at the end."""
    return next(_points, None)


def planned(config: Config, seconds: float, step_s: float) -> Config:
    """`config` for as many steps as take so long."""
    return with_steps(config, max(2, round(seconds / step_s)))


def atlas(config: Config, dataset: Path, run: Path, seconds: float) -> Iterator[Point]:
    """The program's own job: the events of a run that anyone could start."""
    from atlas_core.training.measure import measure

    *_, speed = measure(config, Dataset.open(dataset))
    assert isinstance(speed, Speed)
    done_s = 0.0
    for event in jobs.train(planned(config, seconds, speed.step_s), dataset, run, Control()):
        if isinstance(event, StepDone):
            done_s = event.seconds
        elif isinstance(event, EvalDone):
            yield Point(event.step, done_s, event.val_bits_per_byte)


def transformers(config: Config, dataset: Path, _run: Path, seconds: float) -> Iterator[Point]:
    """`transformers` GPT-2 with AdamW in fp32."""
    from tests.benchmarks.rival import Rival

    trial = Rival(config, dataset)
    trial.step()
    step_s = median(_seconds(trial.step) for _ in range(MEASURED_STEPS))
    config = planned(config, seconds, step_s)
    rival, done_s = Rival(config, dataset), 0.0
    for step in range(1, config.training.max_steps + 1):
        done_s += _seconds(rival.step)
        if step % config.evaluation.eval_interval == 0 or step == config.training.max_steps:
            yield Point(step, done_s, rival.bits_per_byte())


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
