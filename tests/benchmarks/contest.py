"""Contestants in turn: A B A B in one run, so that a machine that slows down slows all of them alike.

Not here: what a contestant does (`contestants.py`), and what comes of the figures (the sections).
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ParamSpec, TypeVar
from unittest.mock import patch

from atlas_core.config import Config
from tests.benchmarks import child
from tests.benchmarks.child import Reading
from tests.benchmarks.contestants import ENVIRONMENT
from tests.benchmarks.section import Effort

P = ParamSpec("P")
R = TypeVar("R")

WARM_UP_STEPS = 3  # the first step takes memory and prepares kernels


@dataclass(frozen=True)
class Result:
    """One contestant's rounds."""

    readings: list[Reading]

    @property
    def seconds_per_step(self) -> float:
        return median(reading.seconds_per_step for reading in self.readings)

    @property
    def page_faults_per_step(self) -> float:
        return median(reading.page_faults / reading.steps for reading in self.readings)

    @property
    def peak_process_bytes(self) -> int:
        return self.readings[-1].peak_process_bytes

    def times_as_fast_as(self, other: Result) -> float:
        """The median of the rounds' ratios: each compares neighbours in time."""
        return median(theirs.seconds_per_step / ours.seconds_per_step
                      for ours, theirs in zip(self.readings, other.readings, strict=True))


def contest(kinds: Sequence[str], config: Config, dataset: Path, effort: Effort) -> dict[str, Result]:
    """Let each of `kinds` train `config`, in turn; by kind, what it cost."""
    with ExitStack() as processes:
        runs = {kind: processes.enter_context(_contestant(kind, config, dataset)) for kind in kinds}
        steps = {kind: _steps_of_a_round(run, effort.seconds) for kind, run in runs.items()}
        readings: dict[str, list[Reading]] = {kind: [] for kind in kinds}
        for _ in range(effort.rounds):
            for kind, run in runs.items():
                readings[kind].append(run(steps[kind]))
    return {kind: Result(of_kind) for kind, of_kind in readings.items()}


def _steps_of_a_round(run: Callable[[int], Reading], seconds: float) -> int:
    run(WARM_UP_STEPS)
    return max(1, math.ceil(seconds / run(1).seconds_per_step))


@contextmanager
def _contestant(kind: str, config: Config, dataset: Path) -> Iterator[Callable[[int], Reading]]:
    """A process that makes steps when told to, and otherwise sleeps."""
    with own_process(ENVIRONMENT.get(kind)) as process:
        process.submit(child.build, kind, config, dataset).result()
        yield lambda steps: process.submit(child.run, steps).result()


def in_fresh_process(function: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
    """What `function` returns in a process of its own, which knows nothing of this one's memory."""
    with own_process() as process:
        return process.submit(function, *args, **options).result()


def own_process(environment: Mapping[str, str] | None = None) -> ProcessPoolExecutor:
    """A process that does what is submitted to it, one thing after the other, and sleeps meanwhile.

    `environment` is added to what it inherits, before it loads anything.
    """
    process = ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn"),
                                  initializer=child.end_with_parent)
    with patch.dict(os.environ, environment or {}):
        process.submit(int).result()  # it begins with its first work
    return process
