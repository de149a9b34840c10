"""What is due when: asked step by step, and counted for a whole run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from atlas_core import agenda, jobs
from atlas_core.agenda import Agenda
from atlas_core.control import Control
from atlas_core.events import CheckpointSaved, EvalDone, SampleDrawn
from atlas_core.text.dataset import Dataset, Windows
from tests import tiny


def test_checkpoints_come_about_as_often_as_wished_once_the_speed_is_known() -> None:
    config = tiny.config(training__max_steps=100_000, checkpointing__save_interval=500,
                         checkpointing__save_minutes=10.0)
    due, saved = Agenda(config, first_step=0), []
    for step in range(1, 3001):
        if due.saves(step, seconds=2.0 * step):  # two seconds a step: ten minutes are 300 steps
            saved.append(step)
            due.saved_step = step
    assert saved == list(range(301, 3001, 300)) or saved == list(range(300, 3001, 300))


@pytest.mark.usefixtures("saved_in_place")  # else a save that falls due during another one comes later
@pytest.mark.parametrize("changes", [
    {"training__max_steps": 63},
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
    assert counted.epoch_saves == done["epoch saved"] > 0
    assert counted.best_saves >= done["best saved"] > 0


def test_a_run_without_validation_text_validates_never() -> None:
    counted = agenda.tally(tiny.config(), seconds_per_step=0.01, train_windows=None, validates=False)
    assert counted.validations == counted.best_saves == counted.epoch_saves == 0
