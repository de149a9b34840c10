"""The computer stays awake while it trains, and only then; a system that refuses is no reason not to train.

`WAKEPY_FAKE_SUCCESS` and `WAKEPY_FORCE_FAILURE` are wakepy's own switches for tests: as if the system had agreed,
or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import wakepy

from atlas_core import jobs
from atlas_core.control import Control
from atlas_core.events import Finished, StepDone
from atlas_core.hardware.awake import awake
from tests import tiny


def became(condition: Callable[[], bool]) -> bool:
    """Whether it does within ten seconds: the asking is done in a thread of its own."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def modes() -> list[bool]:
    return [bool(mode.active) for mode in wakepy.global_modes()]


def test_it_is_awake_as_long_as_that_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "yes")
    with awake(True):
        assert became(lambda: modes() == [True])
    assert modes() == []


def test_training_keeps_awake_until_its_end(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "yes")
    seen = [became(lambda: modes() == [True])
            for event in jobs.train(tiny.config(), dataset, tmp_path / "run", Control()) if isinstance(event, StepDone)]
    assert seen and all(seen)
    assert modes() == []


def test_who_does_not_want_it_is_not_kept_awake(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "yes")
    config = tiny.config(hardware__keep_awake=False)
    seen = [modes() for _ in jobs.train(config, dataset, tmp_path / "run", Control())]
    assert seen and not any(seen)


def test_a_system_that_refuses_does_not_stop_the_training(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEPY_FORCE_FAILURE", "yes")
    events = tiny.drain(jobs.train(tiny.config(), dataset, tmp_path / "run", Control()))
    assert isinstance(events[-1], Finished) and events[-1].reason == "done"
