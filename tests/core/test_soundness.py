"""What is damaged in a run's folder is named and set aside, and the run goes on with the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from atlas_core import config as settings
from atlas_core import history, jobs, runs, soundness
from atlas_core.claim import claimed, is_claimed
from atlas_core.control import Control
from atlas_core.errors import CheckpointError
from atlas_core.events import CheckpointSaved, Event, Finished, Notice, RunStarted
from atlas_core.history import History
from tests import tiny


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    tiny.drain(jobs.train(tiny.config(sampling__interval=0), dataset, run, Control()))
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run of 12 steps, saved at the last and validated at 5, 10 and 12; a copy for each test."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def newest_step(run: Path) -> Path:
    return run / runs.CHECKPOINTS_FOLDER / "atlas_step_12.pt"


def go_on(run: Path, dataset: Path) -> list[Event]:
    longer = tiny.config(training__max_steps=14, sampling__interval=0)
    return tiny.drain(jobs.train(longer, dataset, run, Control(), resume=run))


def notices(events: list[Event]) -> str:
    return "\n".join(event.message for event in events if isinstance(event, Notice))


def test_a_sidecar_that_cannot_be_read_makes_its_checkpoint_a_damaged_one(run: Path) -> None:
    runs.sidecar(newest_step(run)).write_bytes(b"{\x00")
    found, flawed = soundness.newest_sound(run)
    assert found is not None and flawed == (newest_step(run),)
    assert soundness.flaw(newest_step(run)) == "atlas_step_12.pt is damaged"


def test_of_a_step_that_was_written_anew_the_newer_file_is_the_newest(run: Path) -> None:
    """A crash may leave the older one, under the name of a stand-in, beside it."""
    older = runs.stand_in(newest_step(run))
    for name in (runs.sidecar, lambda path: path):
        shutil.copy(name(newest_step(run)), name(older))
    assert runs.newest(run).path == newest_step(run)
    assert soundness.newest_sound(run)[0].path == newest_step(run)


@pytest.mark.parametrize(("before", "after"), [(b'"step": 12', b'"step": 13'), (b'"kind"', b'"kinD"')])
def test_a_sidecar_that_tells_something_else_makes_its_checkpoint_a_damaged_one(
        before: bytes, after: bytes, run: Path) -> None:
    file = runs.sidecar(newest_step(run))
    file.write_bytes(file.read_bytes().replace(before, after))
    assert newest_step(run) in soundness.newest_sound(run)[1]


def test_the_sidecar_of_an_older_checkpoint_makes_a_newer_one_a_damaged_one(run: Path) -> None:
    file = runs.sidecar(newest_step(run))
    file.write_bytes(file.read_bytes().replace(b'"step": 12', b'"step": 3'))
    assert soundness.newest_sound(run)[1] == (newest_step(run),)


def test_a_checkpoint_that_lost_one_of_its_files_is_named(run: Path) -> None:
    newest_step(run).rename(run / runs.CHECKPOINTS_FOLDER / "atlas_step_13.pt")
    _, flawed = soundness.newest_sound(run)
    assert [soundness.flaw(path) for path in flawed] == [
        "atlas_step_12.pt is gone and only its .json is there", "atlas_step_13.pt was never finished and has no .json"]


def test_the_best_checkpoint_is_looked_at_though_another_is_newer(run: Path) -> None:
    best = run / runs.CHECKPOINTS_FOLDER / runs.BEST
    best.write_bytes(bytes(best.stat().st_size))
    found, flawed = soundness.newest_sound(run)
    assert found is not None and found.path == newest_step(run) and flawed == (best,)


def test_what_is_damaged_is_set_aside_and_a_new_best_is_kept(run: Path, dataset: Path) -> None:
    best = run / runs.CHECKPOINTS_FOLDER / runs.BEST
    damaged = bytes(best.stat().st_size)
    best.write_bytes(damaged)
    events = go_on(run, dataset)
    assert f"{runs.BEST} is damaged" in notices(events) and "set aside" in notices(events)
    (aside,) = (run / runs.CHECKPOINTS_FOLDER / runs.SET_ASIDE_FOLDER).glob("*.pt")
    assert aside.read_bytes() == damaged
    assert [event.path for event in events if isinstance(event, CheckpointSaved) and event.kind == "best"] == [best]
    assert soundness.is_as_written(best) and runs.SET_ASIDE_FOLDER not in notices(go_on_further(run, dataset))


def go_on_further(run: Path, dataset: Path) -> list[Event]:
    longest = tiny.config(training__max_steps=15, sampling__interval=0)
    return tiny.drain(jobs.train(longest, dataset, run, Control(), resume=run))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_settings_that_lost_their_end_are_taken_from_the_checkpoint(share: float, run: Path) -> None:
    file = run / runs.CONFIG_FILE
    whole = settings.load(file)
    content = file.read_bytes()
    file.write_bytes(content[:int(len(content) * share)])
    found, sentences = jobs.settings_of(newest_step(run))
    assert found == whole
    assert "config.yaml is damaged" in sentences[0]


def test_settings_that_were_changed_by_hand_are_taken_as_they_are(run: Path) -> None:
    settings.load(run / runs.CONFIG_FILE).replace({"training.max_steps": 99}).save(run / runs.CONFIG_FILE)
    found, sentences = jobs.settings_of(newest_step(run))
    assert found.training.max_steps == 99 and not sentences


def test_a_run_without_its_settings_goes_on_in_its_own_folder(run: Path) -> None:
    (run / runs.CONFIG_FILE).unlink()
    assert runs.home_of(newest_step(run)) == run


def test_lines_of_the_curve_that_cannot_be_read_are_told(run: Path, dataset: Path) -> None:
    curve = run / runs.METRICS_FILE
    lines = curve.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"loss"', b'"lost"')
    lines[5] = bytes(40) + b"\n"
    curve.write_bytes(b"".join(lines))
    assert "2 lines of the curve before step 12 are not what was written" in notices(go_on(run, dataset))
    assert len(History.read(curve).steps) == 13  # of the two, one was a validation


@pytest.mark.parametrize("step", [2, 90])
def test_a_line_of_the_curve_that_tells_another_step_is_told(step: int, run: Path) -> None:
    curve = run / runs.METRICS_FILE
    curve.write_bytes(curve.read_bytes().replace(b'"step": 7,', b'"step": %d,' % step))
    assert "1 line of the curve before step 12 is" in history.flaw(curve, 12, 1)


def test_where_a_run_goes_on_from_is_looked_up_only_once_it_is_claimed(
        run: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may be writing its last checkpoint until then."""
    newest_sound, asked = soundness.newest_sound, []

    def watched(folder: Path, **options: Any) -> Any:
        asked.append(is_claimed(folder))
        return newest_sound(folder, **options)

    monkeypatch.setattr(soundness, "newest_sound", watched)
    go_on(run, dataset)
    assert asked and all(asked)


def test_a_run_in_training_is_not_deleted(run: Path) -> None:
    with claimed(run), pytest.raises(CheckpointError, match="is being trained now"):
        runs.delete(run)
    assert runs.newest(run) is not None
    assert runs.delete(run) > 0 and not run.exists()


def test_a_line_of_the_curve_of_no_known_kind_is_told(run: Path) -> None:
    curve = run / runs.METRICS_FILE
    curve.write_bytes(curve.read_bytes().replace(b'"event": "step", "step": 7,', b'"event": "stdp", "step": 7,'))
    assert "1 line of the curve before step 12 is" in history.flaw(curve, 12, 1)


def test_a_line_after_the_checkpoint_that_became_one_of_an_earlier_step_goes(run: Path) -> None:
    curve = run / runs.METRICS_FILE
    whole = curve.read_bytes()
    beyond = whole.splitlines(keepends=True)[-1].replace(b'"step": 12,', b'"step": 4,')
    assert beyond != whole.splitlines(keepends=True)[-1]
    curve.write_bytes(whole + beyond)
    history.truncate(curve, 12)
    assert curve.read_bytes() == whole


@pytest.mark.parametrize(("kept", "told"), [
    (14, ""), (7, "a gap from step 6 to 12"), (0, "holds no curve up to step 12"),
])
def test_a_curve_that_lost_its_end_is_told(kept: int, told: str, run: Path) -> None:
    curve = run / runs.METRICS_FILE
    curve.write_bytes(b"".join(curve.read_bytes().splitlines(keepends=True)[:kept]))
    assert told in history.flaw(curve, 12, 1)


def test_a_torn_line_after_the_checkpoint_is_no_loss(run: Path) -> None:
    with open(run / runs.METRICS_FILE, "ab") as file:
        file.write(b'{"event": "step", "st' + bytes(200))
    assert history.flaw(run / runs.METRICS_FILE, 12, 1) == ""


def test_a_run_that_ended_before_its_first_save_is_begun_anew_in_its_folder(run: Path, dataset: Path) -> None:
    for file in (run / runs.CHECKPOINTS_FOLDER).glob("*.json"):  # the first save was cut off just before its end
        file.unlink()
    (run / ".config.yaml.0123.tmp").write_bytes(b"torn")
    (run / runs.TENSORBOARD_FOLDER).mkdir()
    assert runs.is_unsaved(run)
    events = tiny.drain(jobs.train(tiny.config(sampling__interval=0), dataset, run, Control()))
    assert next(event for event in events if isinstance(event, RunStarted)).resumed_from == 0
    assert isinstance(events[-1], Finished) and History.read(run / runs.METRICS_FILE).steps == list(range(1, 13))
    assert not list(run.glob(".*.tmp")) and not runs.is_unsaved(run)
