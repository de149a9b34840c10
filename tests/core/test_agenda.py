"""What is due when: asked step by step, and counted for a whole run."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas_core import agenda, jobs, runs
from atlas_core.agenda import Agenda
from atlas_core.control import Control
from atlas_core.events import CheckpointSaved, EvalDone, SampleDrawn, StepDone
from atlas_core.text.dataset import Dataset, Windows
from tests import tiny


def test_checkpoints_begin_so_early_that_they_are_safe_in_the_minutes_wished() -> None:
    config = tiny.config(training__max_steps=100_000, checkpointing__save_interval=500,
                         checkpointing__save_minutes=10.0)
    due, saved = Agenda(config), []
    due.begun_to_save(1, 2.0)
    for step in range(2, 3002):
        if due.saves(step, seconds=2.0 * step):  # two seconds a step: ten minutes are 300 steps
            saved.append(step)
            due.begun_to_save(step, 2.0 * step)
    assert saved == list(range(271, 3002, 270))  # a tenth before
    assert [due.waits(30, seconds) for seconds in (599.0, 600.0)] == [False, True]


def test_a_run_that_becomes_slow_is_saved_by_the_clock_and_not_by_its_earlier_speed() -> None:
    due = Agenda(tiny.config(training__max_steps=1_000_000, checkpointing__save_minutes=10.0), step=50_000,
                 seconds=50_000.0)
    assert not due.saves(50_100, seconds=50_500.0)
    assert due.saves(50_108, seconds=50_540.0)  # five seconds a step: 540 s, though only 108 steps
    slow = Agenda(tiny.config(checkpointing__save_minutes=10.0), step=1, seconds=180.0)
    assert [slow.saves(step, seconds=180.0 * step) for step in (2, 3, 4)] == [False, False, True]


def test_a_new_run_can_be_resumed_after_its_first_minute() -> None:
    wished = {"training__max_steps": 100_000, "checkpointing__save_minutes": 10.0}
    due = Agenda(tiny.config(**wished))
    assert [due.saves(step, seconds=2.0 * step) for step in (29, 30)] == [False, True]
    due.begun_to_save(30, 60.0)
    assert [due.saves(step, seconds=2.0 * step) for step in (60, 299, 300)] == [False, False, True]
    assert not Agenda(tiny.config(**{**wished, "checkpointing__save_minutes": 0.5})).saves(13, seconds=26.0)
    counted = agenda.tally(tiny.config(**wished), seconds_per_step=2.0, train_windows=None)
    assert counted.step_saves == 1 + -(-(100_000 - 30) // 270)


def test_after_a_save_that_failed_the_next_comes_soon() -> None:
    due = Agenda(tiny.config(checkpointing__save_interval=100))
    due.begun_to_save(90, 1.0)
    assert [due.saves(step, 2.0, again=True) for step in (99, 100)] == [False, True]
    assert not due.saves(179, 2.0) and due.saves(180, 2.0)


def test_there_is_time_to_write_in_every_interval_but_that_of_one_step() -> None:
    assert [agenda.save_spacing(interval) for interval in (1, 2, 3, 10, 20, 22, 500)] == [1, 1, 2, 9, 18, 20, 450]


@pytest.mark.usefixtures("saved_in_place")  # else a save that falls due during another one comes later
@pytest.mark.parametrize("changes", [
    {"training__max_steps": 63},
    {"training__max_steps": 63, "checkpointing__keep_epochs": 0},
    {"training__max_steps": 190, "training__batch_size": 1, "training__gradient_accumulation_steps": 1,
     "evaluation__eval_interval": 0, "sampling__interval": 0},
])
def test_the_tally_of_a_run_is_what_the_run_does(dataset: Path, tmp_path: Path, changes: dict[str, int]) -> None:
    config = tiny.config(**changes)
    done: Counter[str] = Counter()
    for event in jobs.train(config, dataset, tmp_path / "run", Control()):
        done[f"{event.kind} saved" if isinstance(event, CheckpointSaved) else event.event] += 1
    windows = Windows(Dataset.open(dataset).tokens("train"), context=config.model.max_seq_len)
    counted = agenda.tally(config, seconds_per_step=0.01, train_windows=windows.count)
    assert counted.validations == done[EvalDone.event]
    assert counted.samples == done[SampleDrawn.event]
    assert counted.step_saves == done["step saved"]
    assert counted.epoch_saves == done["epoch saved"]
    assert (counted.epoch_saves > 0) == (config.checkpointing.keep_epochs > 0)
    assert counted.best_saves >= done["best saved"] > 0


@pytest.mark.parametrize("interval", [1, 3, 10])
def test_no_more_steps_than_those_of_one_interval_are_ever_at_stake(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: int) -> None:
    run, save, at_stake = tmp_path / "run", torch.save, []

    def slowly(*args: Any) -> None:
        time.sleep(0.2)  # many steps
        save(*args)

    monkeypatch.setattr(torch, "save", slowly)
    config = tiny.config(checkpointing__save_interval=interval, training__max_steps=31)
    for event in jobs.train(config, dataset, run, Control()):
        if isinstance(event, StepDone):
            newest = max((info.step for info in runs.checkpoints(run) if info.kind == "step"), default=0)
            at_stake.append(event.step - newest)
    assert max(at_stake) == interval


def test_a_run_without_validation_text_validates_never() -> None:
    counted = agenda.tally(tiny.config(), seconds_per_step=0.01, train_windows=None, validates=False)
    assert counted.validations == counted.best_saves == counted.epoch_saves == 0
