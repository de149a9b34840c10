"""Saving beside training: what is written, when, and what happens when the disk refuses."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas_core import jobs, runs, soundness
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.errors import AtlasError
from atlas_core.events import CheckpointSaved, Event, Notice, StateChanged, StepDone
from atlas_core.model.gpt import AtlasLM
from atlas_core.training import checkpoint, saver
from tests import tiny

GATE_SECONDS = 60.0  # no gate is shut for longer, so that a broken law fails and does not hang


class Gate:
    """Stands between a save and the disk."""

    def __init__(self) -> None:
        self.reached, self._opened = threading.Event(), threading.Event()

    def pass_through(self) -> None:
        self.reached.set()
        assert self._opened.wait(GATE_SECONDS)

    def open(self) -> None:
        self._opened.set()

    def shut(self) -> None:
        self._opened.clear()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Every checkpoint stops there, before its first byte."""
    gate, save = Gate(), torch.save

    def gated(*args: Any) -> None:
        gate.pass_through()
        save(*args)

    monkeypatch.setattr(torch, "save", gated)
    yield gate
    gate.open()


def train(dataset: Path, run: Path, config: Config | None = None, *, resume: Path | None = None) -> list[Event]:
    return tiny.drain(jobs.train(config or tiny.config(), dataset, run, Control(), resume=resume))


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepDone)]


def saved(events: list[Event], kind: str = "step") -> list[int]:
    return [event.step for event in events if isinstance(event, CheckpointSaved) and event.kind == kind]


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice) and event.level == "warning"]


def only_steps(**changes: object) -> Config:
    """Nothing but steps and, after every fourth of them, a checkpoint."""
    nothing_else = {"evaluation__eval_interval": 0, "sampling__interval": 0}
    return tiny.config(**{**nothing_else, "training__max_steps": 12, **changes})


# ---- beside training ------------------------------------------------------------------------------------


def test_training_makes_steps_while_a_checkpoint_is_written(dataset: Path, tmp_path: Path, gate: Gate) -> None:
    job = jobs.train(only_steps(), dataset, tmp_path / "run", Control())
    before = [next(job)]
    while not (isinstance(before[-1], StepDone) and before[-1].step == 9):
        before.append(next(job))
    assert gate.reached.is_set() and saved(before) == []
    gate.open()
    after = tiny.drain(job)
    assert saved(after)[0] == 4 and saved(after)[-1] == 12


def test_what_is_written_is_the_state_of_its_step_whatever_training_does_meanwhile(
        dataset: Path, tmp_path: Path, gate: Gate) -> None:
    gate.open()
    whole = losses(train(dataset, tmp_path / "whole", only_steps()))
    gate.shut()
    job, run = jobs.train(only_steps(), dataset, tmp_path / "run", Control()), tmp_path / "run"
    for event in job:
        if isinstance(event, StepDone) and event.step == 9:
            gate.open()
        if isinstance(event, CheckpointSaved):
            break
    job.close()  # type: ignore[attr-defined]
    rest = train(dataset, run, only_steps(), resume=run / runs.CHECKPOINTS_FOLDER / "atlas_step_4.pt")
    assert losses(rest) == whole[4:]
    one, other = (checkpoint.load(tmp_path / name / "checkpoints/atlas_step_12.pt") for name in ("whole", "run"))
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])


def test_at_most_one_save_is_in_flight_and_a_step_save_does_not_wait_for_it(
        dataset: Path, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    snapshot = saver.snapshot
    monkeypatch.setattr(saver, "snapshot", lambda moment: taken.append(moment.step) or snapshot(moment))
    events: list[Event] = []
    for event in jobs.train(only_steps(checkpointing__save_interval=2), dataset, tmp_path / "run", Control()):
        events.append(event)
        if isinstance(event, StepDone) and event.step == 11:
            assert taken == [2]
            gate.open()
    assert losses(events) and saved(events)[0] == 2 and saved(events)[-1] == 12


def test_a_best_save_waits_for_the_one_in_flight(dataset: Path, tmp_path: Path, gate: Gate) -> None:
    config = tiny.config(sampling__interval=0)  # a step save after 4 steps, a validation after 5
    threading.Timer(0.3, gate.open).start()
    events = train(dataset, tmp_path / "run", config)
    kinds = [(event.kind, event.step) for event in events if isinstance(event, CheckpointSaved)]
    assert kinds[:2] == [("step", 4), ("best", 5)]


def test_kinds_that_are_due_at_one_step_share_a_snapshot(
        dataset: Path, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    snapshot = saver.snapshot
    monkeypatch.setattr(saver, "snapshot", lambda moment: taken.append(moment.step) or snapshot(moment))
    control, config = Control(), only_steps(evaluation__eval_interval=4, checkpointing__save_interval=50)
    events: list[Event] = []
    for event in jobs.train(config, dataset, tmp_path / "run", control):
        if isinstance(event, StepDone) and event.step == 4:
            control.save_now()  # heeded before step 5, when the best of step 4 is in flight
        if isinstance(event, StepDone) and event.step == 6:
            assert taken == [4]
            gate.open()
        events.append(event)
    assert saved(events, "best")[0] == saved(events, "step")[0] == 4


@pytest.mark.parametrize("leave", ["walk away", "stop", "error"])
def test_whoever_leaves_waits_for_the_save_in_flight(
        dataset: Path, tmp_path: Path, gate: Gate, leave: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("the card fell off the bus")

    control, run = Control(), tmp_path / "run"
    job = jobs.train(only_steps(), dataset, run, control)
    next(event for event in job if isinstance(event, StepDone) and event.step == 6)
    threading.Timer(0.3, gate.open).start()
    if leave == "walk away":
        job.close()  # type: ignore[attr-defined]
    elif leave == "stop":
        control.stop()
        assert saved(tiny.drain(job)) == [4, 6]
    else:
        monkeypatch.setattr(AtlasLM, "loss", break_down)
        with pytest.raises(RuntimeError, match="fell off"):
            tiny.drain(job)
    expected = {"walk away": [4], "stop": [4, 6], "error": [4, 6]}[leave]
    kept = runs.checkpoints(run)
    assert [info.step for info in kept] == expected and all(soundness.is_as_written(info.path) for info in kept)


def test_a_save_that_was_asked_for_in_a_pause_is_told_in_the_pause(dataset: Path, tmp_path: Path) -> None:
    control, told = Control(), []
    for event in jobs.train(only_steps(checkpointing__save_interval=50), dataset, tmp_path / "run", control):
        told.append(event)
        if isinstance(event, StepDone) and event.step == 3:
            control.pause()
        if isinstance(event, StateChanged) and event.state == "paused":
            control.save_now()
        if isinstance(event, CheckpointSaved) and event.step == 3:
            control.resume()
    assert saved(told) == [3, 12]


@pytest.mark.usefixtures("saved_in_place")
def test_without_free_memory_a_checkpoint_is_written_in_its_place(dataset: Path, tmp_path: Path) -> None:
    events = train(dataset, tmp_path / "run", only_steps())
    steps = [event.step for event in events if isinstance(event, (StepDone, CheckpointSaved))]
    assert steps == sorted(steps) and saved(events) == [4, 8, 12]
    stalls = [event.stall_s / event.seconds for event in events if isinstance(event, CheckpointSaved)]
    assert min(stalls) >= 1


def test_a_checkpoint_does_not_count_while_the_curve_before_it_is_not_safe(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curve, fsync = tmp_path / "run" / runs.METRICS_FILE, os.fsync

    def refused(descriptor: int) -> None:
        if curve.exists() and os.path.samestat(os.fstat(descriptor), curve.stat()):
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    with monkeypatch.context() as patch, pytest.raises(AtlasError, match="could not be written"):
        patch.setattr(os, "fsync", refused)
        train(dataset, tmp_path / "run", only_steps())
    assert runs.checkpoints(tmp_path / "run") == []
    assert list((tmp_path / "run" / runs.CHECKPOINTS_FOLDER).iterdir()) == []
