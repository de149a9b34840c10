"""Saving beside training: what is written, when, and what happens when the disk refuses."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas_core import agenda, history, jobs, memory, runs, soundness
from atlas_core import config as settings
from atlas_core.claim import claimed, is_claimed
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.errors import AtlasError, CheckpointError
from atlas_core.events import CheckpointSaved, EpochDone, EvalDone, Event, Notice, StateChanged, StepDone
from atlas_core.model.gpt import AtlasLM
from atlas_core.text.dataset import Dataset
from atlas_core.training import checkpoint, room, saver
from atlas_core.training.lines import Lines
from atlas_core.training.trainer import Trainer, lay_out
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


def recorded_steps(run: Path) -> list[int]:
    return [record["step"] for _, record in history.records(run / runs.METRICS_FILE) if record["event"] == "step"]


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice) and event.level == "warning"]


@pytest.fixture(autouse=True)
def long_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A save begins after a third of its interval, so that there is time to look at one in flight."""
    monkeypatch.setattr(agenda, "save_spacing", lambda interval: interval // 3)


def only_steps(**changes: object) -> Config:
    """Nothing but steps and, after every fourth of them, a checkpoint."""
    nothing_else = {"evaluation__eval_interval": 0, "sampling__interval": 0, "checkpointing__save_interval": 12}
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
    for event in jobs.train(only_steps(checkpointing__save_interval=6), dataset, tmp_path / "run", Control()):
        events.append(event)
        if isinstance(event, StepDone) and event.step == 6:
            assert taken == [2]
            gate.open()
    assert losses(events) and saved(events)[0] == 2 and saved(events)[-1] == 12


def test_a_best_save_waits_for_the_one_in_flight(dataset: Path, tmp_path: Path, gate: Gate) -> None:
    config = tiny.config(sampling__interval=0, checkpointing__save_interval=12)  # saves after 4, validates after 5
    threading.Timer(0.3, gate.open).start()
    events = train(dataset, tmp_path / "run", config)
    kinds = [(event.kind, event.step) for event in events if isinstance(event, CheckpointSaved)]
    assert kinds[:2] == [("step", 4), ("best", 5)]


def test_kinds_that_are_due_at_one_step_share_a_snapshot(
        dataset: Path, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    snapshot = saver.snapshot
    monkeypatch.setattr(saver, "snapshot", lambda moment: taken.append(moment.step) or snapshot(moment))
    events: list[Event] = []
    for event in jobs.train(only_steps(evaluation__eval_interval=4), dataset, tmp_path / "run", Control()):
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
    for event in jobs.train(only_steps(checkpointing__save_interval=100), dataset, tmp_path / "run", control):
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


# ---- a disk that refuses --------------------------------------------------------------------------------


def bytes_of_one(dataset: Path, folder: Path) -> int:
    train(dataset, folder / "one", only_steps(training__max_steps=1, training__warmup_steps=0))
    return runs.checkpoints(folder / "one")[0].bytes


@pytest.fixture
def small_disk(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on a file system with room for three checkpoints and a half: a real one where that may be mounted."""
    size, folder = int(3.5 * bytes_of_one(dataset, tmp_path)), tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
                      check=False, capture_output=True).returncode == 0:
        yield folder
        subprocess.run(["umount", str(folder)], check=True)
        return

    def free() -> int:
        return size - sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    write = checkpoint._Digested.write

    def written(digested: Any, content: bytes) -> int:
        digested.flush()
        if free() < len(content):
            digested.error = OSError(errno.ENOSPC, "No space left on device")
            raise digested.error
        return write(digested, content)

    monkeypatch.setattr(room, "free_bytes", lambda _: free())
    monkeypatch.setattr(checkpoint._Digested, "write", written)
    yield folder


@pytest.mark.usefixtures("saved_in_place")  # else it is chance which saves fall together
@pytest.mark.parametrize("told_free", [True, False], ids=["by the free space", "by the failed write"])
def test_a_full_disk_costs_old_step_checkpoints_and_never_the_best(
        dataset: Path, small_disk: Path, told_free: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_disk / "run"
    if not told_free:  # as with a quota
        monkeypatch.setattr(room, "free_bytes", lambda _: 2**40)
    config = only_steps(checkpointing__save_interval=6, checkpointing__keep_checkpoints=9,
                        evaluation__eval_interval=3, training__early_stopping_patience=0)
    events = train(dataset, run, config)
    told = warnings(events)
    assert ("may come to" in told[0]) is told_free
    gone = [line for line in told if "made room" in line]
    assert gone and "atlas_step_2.pt" in gone[0] and "best" not in "".join(gone)
    assert len(losses(events)) == 12
    lowest = min((event for event in events if isinstance(event, EvalDone)), key=lambda event: event.val_loss)
    best, newest = runs.best(run), runs.newest(run)
    assert best is not None and best.step == lowest.step and soundness.is_as_written(best.path)
    assert newest is not None and newest.step == 12 and soundness.is_as_written(newest.path)


class Refusal:
    """Makes the writes of checkpoints fail half-way while it is on, but for the one of that name it spares."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on, self.error = False, OSError(errno.EIO, "Input/output error")
        self.spared = ""
        write = checkpoint._Digested.write

        def refused(digested: Any, content: bytes) -> int:
            spared = self.spared and self.spared in digested._file.name
            if self.on and digested.bytes > 1000 and not spared:
                digested.error = self.error
                raise self.error
            return write(digested, content)

        monkeypatch.setattr(checkpoint._Digested, "write", refused)


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch) -> Refusal:
    return Refusal(monkeypatch)


def test_a_save_that_fails_leaves_the_run_going_and_the_older_checkpoints_whole(
        dataset: Path, tmp_path: Path, refusal: Refusal) -> None:
    run, events = tmp_path / "run", list[Event]()
    refusal.on, refusal.spared = True, "atlas_step_4.pt"
    for event in jobs.train(only_steps(training__max_steps=16), dataset, run, Control()):
        events.append(event)
        if isinstance(event, Notice) and event.level == "warning":
            assert "The checkpoint of step" in event.message and "atlas_step_4.pt" in event.message
            assert [info.step for info in runs.checkpoints(run) if soundness.is_as_written(info.path)] == [4]
            refusal.on = False
    assert len(losses(events)) == 16 and saved(events)[0] == 4 and saved(events)[-1] == 16
    assert any(isinstance(event, Notice) and "can be written again" in event.message for event in events)
    assert not list((run / runs.CHECKPOINTS_FOLDER).glob(".*"))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")])
def test_memory_that_runs_out_while_saving_ends_no_training(
        error: Exception, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise error

    events = list[Event]()
    for event in jobs.train(only_steps(training__max_steps=16), dataset, tmp_path / "run", Control()):
        events.append(event)
        if isinstance(event, StepDone) and event.step == 2:
            monkeypatch.setattr(torch, "save", full)
        if isinstance(event, Notice) and event.level == "warning":
            assert "The memory is not enough to write it." in event.message
            assert not list((tmp_path / "run" / runs.CHECKPOINTS_FOLDER).glob(".*"))
            monkeypatch.undo()
    assert len(losses(events)) == 16 and saved(events)[-1] == 16


def test_where_no_thread_may_be_made_nicer_saving_goes_on(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", refuse, raising=False)
    assert saved(tiny.drain(jobs.train(only_steps(), dataset, tmp_path / "run", Control())))


def test_a_disk_that_is_gone_when_a_save_fails_ends_no_training(
        dataset: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    events = list[Event]()
    with monkeypatch.context() as patch:
        for event in jobs.train(only_steps(training__max_steps=20), dataset, tmp_path / "run", Control()):
            events.append(event)
            if isinstance(event, StepDone) and event.step == 3:
                refusal.on = True
                patch.setattr(runs, "newest", gone)
            if isinstance(event, StepDone) and event.step == 16:
                refusal.on = False
                patch.undo()
    assert len(losses(events)) == 20 and saved(events)[-1] == 20
    assert len([line for line in warnings(events) if "could not be written" in line]) == 1  # however often it was tried


def test_a_save_that_failed_is_tried_again_long_before_the_next_would_be_due(
        dataset: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agenda, "save_spacing", lambda interval: interval - interval // 10)
    monkeypatch.setattr(saver, "SPARED_BYTES", 2**62)  # each save is over before the next step
    events = list[Event]()
    config = only_steps(training__max_steps=60, checkpointing__save_interval=40)
    for event in jobs.train(config, dataset, tmp_path / "run", Control()):
        events.append(event)
        if isinstance(event, StepDone):
            refusal.on = event.step == 36
    assert saved(events) == [40, 60]


def test_epochs_of_which_none_is_kept_are_not_written(dataset: Path, tmp_path: Path) -> None:
    config = only_steps(training__max_steps=60, checkpointing__keep_epochs=0)
    events = train(dataset, tmp_path / "run", config)
    assert any(isinstance(event, EpochDone) for event in events) and saved(events, "epoch") == []


def test_a_last_save_that_fails_is_an_error_that_names_the_last_good_checkpoint(
        dataset: Path, tmp_path: Path, refusal: Refusal) -> None:
    run, told = tmp_path / "run", list[Event]()
    refusal.on, refusal.spared = True, "atlas_step_4.pt"
    with pytest.raises(AtlasError, match=r"step 12 could not be written.*atlas_step_4\.pt") as caught:
        for event in jobs.train(only_steps(), dataset, run, Control()):
            told.append(event)
    assert caught.value.remedy
    refusal.on = False
    rest = train(dataset, run, only_steps(), resume=run)
    assert losses(told)[:4] + losses(rest) == losses(told)  # the same steps once more


def test_a_best_that_was_lost_leaves_the_next_that_is_better_than_the_kept_one(
        dataset: Path, tmp_path: Path, refusal: Refusal) -> None:
    config = only_steps(evaluation__eval_interval=4, checkpointing__save_interval=100)
    run, validated = tmp_path / "run", []
    for event in jobs.train(config, dataset, run, Control()):
        if isinstance(event, EvalDone):
            validated.append(event)
            refusal.on = event.step == 8
    best = runs.best(run)
    assert [event.improved for event in validated] == [True] * 3
    assert best is not None and best.step == 12 and validated[2].best == best.val_loss


@pytest.mark.skipif(sys.platform == "win32", reason="only Unix limits the size of files")
def test_a_system_that_takes_no_file_so_large_is_told_in_a_sentence(dataset: Path, tmp_path: Path) -> None:
    import resource

    size = bytes_of_one(dataset, tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        with pytest.raises(AtlasError, match="File too large"):
            train(dataset, tmp_path / "run", only_steps())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert runs.checkpoints(tmp_path / "run") == []
    assert recorded_steps(tmp_path / "run") == list(range(1, 13))


def test_a_disk_with_room_for_less_than_a_run_warns_and_for_less_than_two_checkpoints_refuses(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(dataset, tmp_path / "run", only_steps(training__max_steps=4))
    config = settings.load(tmp_path / "run" / runs.CONFIG_FILE)
    one, held = memory.checkpoint_bytes(config), runs.checkpoints(tmp_path / "run")[0].bytes
    empty = tmp_path / "empty"
    empty.mkdir()
    for free, run, said in ((memory.disk_bytes(config), empty, False), (2 * one, empty, True),
                            (2 * one - held, tmp_path / "run", True)):
        monkeypatch.setattr(room, "free_bytes", lambda _, free=free: free)
        assert (room.foreseen(run, config) is not None) is said
    monkeypatch.setattr(room, "free_bytes", lambda _: 2 * one - 1)
    with pytest.raises(AtlasError, match="two of") as caught:
        train(dataset, tmp_path / "refused", config)
    assert caught.value.remedy and not (tmp_path / "refused").exists()


def test_old_checkpoints_are_kept_where_all_of_them_would_not_make_room_enough(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(dataset, tmp_path / "run", only_steps())
    before = runs.checkpoints(tmp_path / "run")
    monkeypatch.setattr(room, "free_bytes", lambda _: 0)
    assert room.make(tmp_path / "run", 2**40) == [] and runs.checkpoints(tmp_path / "run") == before
    oldest, *_, newest = before
    assert [info.step for info in room.make(tmp_path / "run", 1)] == [oldest.step]
    assert newest not in room.expendable(tmp_path / "run")


@pytest.mark.usefixtures("saved_in_place")
def test_a_clock_that_runs_backwards_changes_nothing(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backwards = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(backwards)))
    run = tmp_path / "run"
    train(dataset, run, only_steps(checkpointing__save_interval=6, checkpointing__keep_checkpoints=3))
    assert [info.step for info in runs.checkpoints(run) if info.kind == "step"] == [8, 10, 12]
    found, damaged = soundness.newest_sound(run)
    assert found is not None and found.step == 12 and damaged == ()


# ---- the lines of the curve -----------------------------------------------------------------------------


class FullFile:
    """A file on a disk that is full after a few bytes, until it is emptied."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self.room = file, room

    def write(self, content: bytes) -> int:
        taken = bytes(content)[: self.room]
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(taken)
        return int(self._file.write(taken))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_lines_that_a_full_disk_cuts_off_are_whole_in_the_end(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "x.jsonl")
    lines._file = full = FullFile(lines._file, 7)  # type: ignore[assignment]
    for number in range(5):
        lines.add(f"line {number}")
    assert lines.waiting_bytes == 5 * 7 - 7
    with pytest.raises(OSError, match="No space"):
        lines.sync()
    full.room = 10**6
    lines.sync()
    lines.close()
    assert (tmp_path / "x.jsonl").read_text().splitlines() == [f"line {number}" for number in range(5)]


@pytest.mark.parametrize("room", [0, 40, 10**6])
def test_going_back_needs_no_room(tmp_path: Path, room: int) -> None:
    lines = Lines(tmp_path / "x.jsonl")
    lines._file = full = FullFile(lines._file, room)  # type: ignore[assignment]
    steps = [f'{{"event": "skipped", "step": {step}}}' for step in range(1, 7)]
    for step in steps:
        lines.add(step)
    lines.cut_back(4)
    full.room = 10**6
    lines.add("next")
    lines.close()
    assert (tmp_path / "x.jsonl").read_text().splitlines() == [*steps[:4], "next"]


def test_a_snapshot_that_is_on_the_disk_is_not_written_again_for_a_later_step(dataset: Path, tmp_path: Path) -> None:
    session = Trainer(tiny.config(), Dataset.open(dataset), tmp_path / "run", Control())
    lay_out(tmp_path / "run", session.config, session.dataset, resume=False)
    session.saver.save("step", session.moment())
    session.saver.wait()  # nobody has asked for news yet
    session.step()
    session.saver.save("best", session.moment())
    session.saver.close()
    assert [info.step for info in runs.checkpoints(tmp_path / "run")] == [0, 1]


def test_a_folder_laid_out_anew_is_still_its_trainers(dataset: Path, tmp_path: Path) -> None:
    run, found = tmp_path / "run", []
    for event in jobs.train(only_steps(), dataset, run, Control()):
        if isinstance(event, StepDone) and event.step == 3:
            shutil.rmtree(run.rename(tmp_path / "gone"))
        if isinstance(event, CheckpointSaved) and event.step > 3:
            found.append(is_claimed(run))
            with pytest.raises(CheckpointError, match="is being trained by another process"), claimed(run):
                pass
    assert found and all(found)
    assert not is_claimed(run)


@pytest.mark.usefixtures("saved_in_place")  # so that the disk fills up at a known step
def test_training_goes_on_while_its_curve_cannot_be_written_and_ends_before_too_much_waits(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[FullFile] = []
    opened = Lines._open
    monkeypatch.setattr(Lines, "_open", lambda lines: files.append(FullFile(opened(lines), 10**6)) or files[-1])
    run, told = tmp_path / "run", list[Event]()
    for event in jobs.train(only_steps(), dataset, run, Control()):
        told.append(event)
        if isinstance(event, StepDone) and event.step in (5, 7):
            for file in files:
                file.room = 0 if event.step == 5 else 10**6
    notices = [event.message for event in told if isinstance(event, Notice)]
    assert sum("cannot be written now" in message for message in notices) == 1
    assert any("complete again" in message for message in notices)
    assert recorded_steps(run) == list(range(1, 13))

    monkeypatch.setattr("atlas_core.training.lines.MOST_WAITING_BYTES", 300)
    with pytest.raises(AtlasError, match="No space left"):
        for event in jobs.train(only_steps(), dataset, tmp_path / "other", Control()):
            if isinstance(event, CheckpointSaved) and event.step == 4:
                for file in files:
                    file.room = 0
    newest = runs.newest(tmp_path / "other")
    assert newest is not None and newest.step == 4


def test_a_folder_that_is_deleted_under_its_run_is_whole_again_with_the_next_checkpoint(
        dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = jobs.train(only_steps(), dataset, run, Control())
    next(event for event in job if isinstance(event, CheckpointSaved))
    shutil.rmtree(run.rename(tmp_path / "gone"))  # first, for a save may be putting something into it
    tiny.drain(job)
    assert recorded_steps(run) == list(range(1, 13))
    assert "SESSION" in (run / runs.LOG_FILE).read_text() and runs.inspect(run).state == "done"
