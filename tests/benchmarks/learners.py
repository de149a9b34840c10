"""The inside of a learner's process: trains on and stops at each validation. Who goes next is said in `quality.py`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas_core import jobs
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.events import EvalDone, StepDone

_points: Iterator[Point]


@dataclass(frozen=True)
class Point:
    """A validation of all held-out text."""

    step: int
    seconds: float          # of training steps alone, up to here
    bits_per_byte: float


def begin(kind: str, config: Config, dataset: Path, run: Path) -> None:
    """Make this process the learner `kind`."""
    global _points  # noqa: PLW0603 - a process is one learner
    _points = {"atlas": atlas, "transformers": transformers}[kind](config, dataset, run)


def go_on() -> Point | None:
    """Train up to the next validation; None at the end."""
    return next(_points, None)


def atlas(config: Config, dataset: Path, run: Path) -> Iterator[Point]:
    """The program's own job: the events of a run that anyone could start."""
    seconds = 0.0
    for event in jobs.train(config, dataset, run, Control()):
        if isinstance(event, StepDone):
            seconds = event.seconds
        elif isinstance(event, EvalDone):
            yield Point(event.step, seconds, event.val_bits_per_byte)


def transformers(config: Config, dataset: Path, _run: Path) -> Iterator[Point]:
    """`transformers` GPT-2 with AdamW in fp32."""
    from tests.benchmarks.rival import Rival

    rival, seconds = Rival(config, dataset), 0.0
    for step in range(1, config.training.max_steps + 1):
        started = time.perf_counter()
        rival.step()
        seconds += time.perf_counter() - started
        if step % config.evaluation.eval_interval == 0 or step == config.training.max_steps:
            yield Point(step, seconds, rival.bits_per_byte())
