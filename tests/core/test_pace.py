"""The time left: one arithmetic for the terminal, the window and the log."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from atlas_core.events import RunStarted, StepDone
from atlas_core.history import History
from atlas_core.pace import RECENT, Pace


def test_nothing_is_said_of_a_run_before_two_steps_are_known() -> None:
    pace = Pace()
    assert pace.seconds_left(10) is None
    pace.add(1, 2.0)
    assert pace.seconds_left(10) is None
    pace.add(1, 2.0)
    assert pace.seconds_left(10) is None


def test_a_run_that_goes_back_is_timed_anew() -> None:
    pace = Pace()
    for step, seconds in ((9, 90.0), (10, 100.0), (5, 101.0), (6, 103.0)):
        pace.add(step, seconds)
    assert pace.seconds_left(10) == pytest.approx(8.0)


def test_the_last_steps_decide() -> None:
    pace = Pace()
    for step in range(1, 1001):
        pace.add(step, 9.0 * step)
    for step in range(1001, 1001 + RECENT):
        pace.add(step, 9000.0 + 2.0 * (step - 1000))
    assert pace.seconds_left(2000) == pytest.approx((2000 - 1000 - RECENT) * 2.0)


def test_what_an_earlier_session_took_does_not_count() -> None:
    history = History()
    history.add(_step(1, seconds=50_000.0))
    history.add(RunStarted(Path("run"), "NANO", 1, "cpu", "fp32", "kernel", 1, 10, 1, 1, resumed_from=1))
    history.add(_step(2, seconds=50_100.0))
    assert history.pace.seconds_left(10) is None
    history.add(_step(3, seconds=50_104.0))
    assert history.pace.seconds_left(10) == pytest.approx(28.0)


def _step(number: int, *, seconds: float) -> StepDone:
    return StepDone(step=number, epoch=0.0, loss=math.e, learning_rate=0.1, grad_norm=1.0, tokens_per_s=1.0,
                    tokens_seen=number, seconds=seconds)
