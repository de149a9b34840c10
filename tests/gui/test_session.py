"""What the session knows and does without a window: texts, datasets, runs, and the order in which it tells of them."""

from __future__ import annotations

import json
import math
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from pytestqt.qtbot import QtBot

from atlas_core import config as configuration
from atlas_core import jobs, runs
from atlas_core.config import Config, Sampling
from atlas_core.control import Control
from atlas_core.errors import AtlasError
from atlas_core.events import Generated, Progress, StepDone, TextPiece
from atlas_core.forecast import Speed
from atlas_core.hardware import speeds
from atlas_core.model.gpt import AtlasLM
from atlas_core.text.dataset import read_meta
from atlas_gui import errands, run_time
from atlas_gui.session import IDLE, PAUSED, PREPARING, STARTING, TRAINING, Session
from atlas_gui.settings import Settings
from tests.gui.conftest import JOB_MS


@pytest.fixture
def session(qtbot: QtBot, tiny_config: Config, zipped_text: Path) -> Iterator[Session]:
    """A session that has looked at the tales and will train the tiny model."""
    session = Session(Settings())
    session.set_config(tiny_config)
    with qtbot.waitSignal(session.sources_looked_at, timeout=JOB_MS):
        session.set_sources([zipped_text])
    yield session
    session.close()


def train_to_the_end(qtbot: QtBot, session: Session) -> None:
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.train()


def test_one_wish_prepares_and_trains(qtbot: QtBot, session: Session) -> None:
    states: list[str] = []
    session.state_changed.connect(states.append)
    train_to_the_end(qtbot, session)
    assert states == [PREPARING, IDLE, STARTING, TRAINING, IDLE]
    assert session.run is not None and session.run.state == "done"


def test_the_first_run_is_listed_while_it_trains(qtbot: QtBot, session: Session) -> None:
    seen: list[list[Path]] = []
    session.runs_seen.connect(lambda found: seen.append([info.path for info in found.infos]))
    session.set_config(session.config.replace({"training.max_steps": 100_000}))
    session.train()
    qtbot.waitUntil(lambda: bool(seen), timeout=JOB_MS)
    assert session.state == TRAINING and session.run is not None
    assert seen[0] == [session.run.path]
    session.stop()
    qtbot.waitUntil(lambda: session.state == IDLE, timeout=JOB_MS)


def test_a_chosen_dataset_is_called_as_its_text_is(qtbot: QtBot, session: Session) -> None:
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.prepare()
    assert session.dataset is not None
    session.choose_dataset(session.dataset)
    qtbot.waitUntil(lambda: session.shown is not None, timeout=JOB_MS)
    assert session.text_name == "tales"


def test_no_text_is_prepared_twice(qtbot: QtBot, session: Session, tiny_config: Config) -> None:
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.prepare()
    first = session.dataset
    assert first is not None
    session.set_config(tiny_config.replace({"training.learning_rate": 0.01, "data.stride": 4}))
    assert session.dataset == first  # the same text, the same tokens
    session.set_config(tiny_config.replace({"tokenizer.name": "bpe:600"}))
    assert session.dataset is None
    session.set_config(tiny_config)
    assert session.dataset == first


def test_a_text_that_changed_on_disk_is_another_text(qtbot: QtBot, session: Session, tmp_path: Path) -> None:
    text = tmp_path / "letter.txt"
    text.write_text("Dear all, " * 200, encoding="utf-8")
    digests = []
    for _ in range(2):
        with qtbot.waitSignal(session.sources_looked_at, timeout=JOB_MS):
            session.set_sources([text])
        qtbot.waitUntil(lambda: session.looked is not None, timeout=JOB_MS)
        assert session.looked is not None
        digests.append(session.looked.digest)
        text.write_text("Dear none, " * 300, encoding="utf-8")
    assert digests[0] != digests[1]


@pytest.mark.parametrize("job", ["look", "prepare"])
def test_cancelling_leaves_no_dataset_and_does_not_train(qtbot: QtBot, session: Session, job: str) -> None:
    if job == "prepare":  # at once: a quick machine prepares tales in less time than a look around takes
        session.prepare_began.connect(lambda: QTimer.singleShot(0, session.stop))
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.train()
        assert session.state == PREPARING
        assert session._crew.busy("look")
        if job == "look":
            session.stop()
    assert session.state == IDLE
    assert session.dataset is None
    assert session.run is None
    assert runs.list_runs() == []


def test_a_fresh_run_never_touches_an_older_one(qtbot: QtBot, session: Session) -> None:
    train_to_the_end(qtbot, session)
    assert session.run is not None
    first = session.run
    before = {path: path.read_bytes() for path in first.path.rglob("*") if path.is_file()}
    train_to_the_end(qtbot, session)
    assert session.run.path != first.path
    assert {path: path.read_bytes() for path in first.path.rglob("*") if path.is_file()} == before


def test_a_run_whose_dataset_is_gone_says_so(qtbot: QtBot, session: Session) -> None:
    train_to_the_end(qtbot, session)
    assert session.run is not None
    dataset = session.run.dataset
    assert dataset is not None
    dataset.rename(dataset.with_name("elsewhere"))
    with qtbot.waitSignal(session.failed, timeout=JOB_MS) as told:
        session.resume_run(session.run.path)
    assert str(dataset) in told.args[0]
    assert told.args[1] and not told.args[2]
    assert session.state == IDLE


def test_an_opened_run_has_its_curve_and_its_texts(qtbot: QtBot, session: Session) -> None:
    train_to_the_end(qtbot, session)
    assert session.run is not None
    steps, drawn = session.history.steps, session.run.path / runs.SAMPLES_FILE
    with qtbot.waitSignal(session.run_opened, timeout=JOB_MS) as told:
        session.open_run(session.run.path)
    opened = told.args[0]
    assert opened.history.steps == steps
    written = [json.loads(line)["text"] for line in drawn.read_text(encoding="utf-8").splitlines()]
    assert [sample.text for sample in opened.samples] == written
    assert "FINISHED (done)" in opened.log[-1]
    assert written


def test_whoever_thinks_better_of_resuming_is_heard_while_the_run_is_read(qtbot: QtBot, session: Session) -> None:
    train_to_the_end(qtbot, session)
    assert session.run is not None
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.resume_run(session.run.path)
        assert session.state == STARTING
        session.stop()
    assert session.state == IDLE
    assert session.started is None


def test_a_run_that_came_apart_goes_on_at_a_lower_learning_rate(
        qtbot: QtBot, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    true_loss = AtlasLM.loss
    session.set_config(session.config.replace({"training.max_steps": 400}))

    def poison(event: object) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            monkeypatch.setattr(AtlasLM, "loss", lambda *args, **named: true_loss(*args, **named) * math.nan)

    session.training_event.connect(poison)
    with qtbot.waitSignals([session.came_apart, session.became_quiet], timeout=JOB_MS):
        session.train()
    monkeypatch.setattr(AtlasLM, "loss", true_loss)
    session.training_event.disconnect(poison)
    assert session.run is not None
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.resume_run(session.run.path, rate_factor=0.5)
    assert session.run.state == "done"
    kept = configuration.load(session.run.path / runs.CONFIG_FILE)
    assert kept.training.learning_rate == session.config.training.learning_rate / 2


def test_a_checkpoint_continues_a_text_the_same_way_twice(qtbot: QtBot, session: Session) -> None:
    train_to_the_end(qtbot, session)
    assert session.run is not None
    checkpoint = runs.resolve(session.run.path)
    texts, pieces = [], []
    session.text_piece.connect(pieces.append)
    for _ in range(2):
        pieces.clear()
        with qtbot.waitSignal(session.text_finished, timeout=JOB_MS) as told:
            session.generate("Once", Sampling(max_new_tokens=8, seed=3, stop_at_eos=False), str(checkpoint))
        generated: Generated = told.args[0]
        assert "".join(piece.text for piece in pieces if isinstance(piece, TextPiece)) == generated.text
        texts.append(generated.text)
        qtbot.waitUntil(lambda: not session.drawing_text, timeout=JOB_MS)
    assert texts[0] == texts[1]


def test_live_text_without_a_run_is_refused_kindly(qtbot: QtBot, session: Session) -> None:
    with qtbot.waitSignal(session.text_failed) as told:
        session.generate("Once", Sampling(), "live")
    assert "checkpoint" in told.args[0]


def test_a_deleted_run_is_gone_and_its_bytes_are_told(qtbot: QtBot, session: Session) -> None:
    train_to_the_end(qtbot, session)
    assert session.run is not None
    folder, size = session.run.path, runs.inspect(session.run.path).bytes
    with qtbot.waitSignal(session.run_deleted, timeout=JOB_MS) as told:
        session.delete_run(folder)
    assert told.args == [size]
    assert not folder.exists()
    assert session.run is None


def test_the_speed_a_run_has_shown_is_remembered_and_used(
        qtbot: QtBot, session: Session, tiny_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = tiny_config.replace({"training.max_steps": 40})
    session.set_config(longer)
    assert session.expected(longer) is None
    train_to_the_end(qtbot, session)
    qtbot.waitUntil(lambda: session.expected(longer) is not None, timeout=JOB_MS)
    trained = session.as_trained(longer)
    speeds.remember(trained, Speed(1000.0, 900.0, 1100.0, save_s=0.25))  # as if it had been measured in a busy moment
    train_to_the_end(qtbot, session)
    assert speeds.known(trained).step_s == 1000.0  # so short a run says no more than a measurement
    monkeypatch.setattr("atlas_gui.session.LASTING_S", 0.0)
    train_to_the_end(qtbot, session)
    qtbot.waitUntil(lambda: speeds.known(trained).step_s < 5, timeout=JOB_MS)
    assert speeds.known(trained).save_s == 0.25
    time, twice = session.expected(longer), session.expected(longer.replace({"training.max_steps": 80}))
    assert time is not None and twice is not None
    assert time.measured and 0 < time.seconds < 200
    assert twice.seconds == pytest.approx(2 * time.seconds, rel=0.1)  # the last step is validated only once
    wider = session.expected(longer.replace({"model.hidden_size": 64}))
    assert wider is not None and not wider.measured


def test_in_a_quiet_moment_the_speed_of_the_chosen_settings_is_measured(
        qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tiny_config: Config, atlas_home: Path) -> None:
    monkeypatch.setattr("atlas_gui.session.MEASURE_AFTER_MS", 50)
    monkeypatch.setattr("atlas_gui.session.QUIET_LOAD", math.inf)
    session = Session(Settings())
    session.set_config(tiny_config)
    session.open()
    qtbot.waitUntil(lambda: bool(session.measuring), timeout=JOB_MS)
    qtbot.waitUntil(lambda: speeds.known(tiny_config) is not None, timeout=JOB_MS)
    time = session.expected(tiny_config)
    assert time is not None and time.measured
    assert not (atlas_home / "runs").exists()
    session.close()


def test_training_ends_the_measuring_at_once(
        qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tiny_config: Config, zipped_text: Path) -> None:
    monkeypatch.setattr("atlas_gui.session.MEASURE_AFTER_MS", 50)
    monkeypatch.setattr("atlas_gui.session.QUIET_LOAD", math.inf)
    session = Session(Settings())
    session.set_config(tiny_config.replace({"training.max_steps": 40}))
    session.open()
    with qtbot.waitSignal(session.sources_looked_at, timeout=JOB_MS):
        session.set_sources([zipped_text])
    qtbot.waitUntil(lambda: bool(session.measuring), timeout=JOB_MS)
    train_to_the_end(qtbot, session)
    qtbot.waitUntil(lambda: session.expected(session.config) is not None, timeout=JOB_MS)
    speed = speeds.known(session.as_trained(session.config))
    assert speed is not None and speed.save_s == 0  # the run's own speed: measuring had no time to save
    session.close()


def test_a_measuring_that_fails_says_so_in_words(tiny_config: Config, tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"could not be measured: .*is not a dataset"):
        list(run_time.measured(tiny_config, tmp_path / "nowhere", Control()))


def test_settings_survive() -> None:
    settings = Settings()
    settings.theme, settings.threads, settings.device, settings.hardware_collapsed = "dark", 3, "cpu", True
    del settings  # writes the file
    again = Settings()
    assert (again.theme, again.threads, again.device, again.hardware_collapsed) == ("dark", 3, "cpu", True)


def test_the_texts_that_were_chosen_last_are_there_again_unless_they_are_gone(
        qtbot: QtBot, session: Session, zipped_text: Path, tmp_path: Path) -> None:
    def again() -> tuple[Path, ...]:
        return Session(Settings()).sources

    assert again() == (zipped_text,)
    other = tmp_path / "letter.txt"
    other.write_text("Dear all", encoding="utf-8")
    session.set_sources([zipped_text, other])
    assert again() == (zipped_text, other)
    zipped_text.unlink()
    assert again() == (other,)
    session.set_sources([])
    assert again() == (jobs.sample_source(),)
    qtbot.waitUntil(lambda: not session._crew.busy("look"), timeout=JOB_MS)


def test_a_setting_that_makes_no_sense_counts_as_never_set(atlas_home: Path) -> None:
    (atlas_home / "atlas-studio.ini").write_text("[General]\ntheme=plaid\n[machine]\nthreads=many\n"
                                                 f"[text]\nsources={'a' * 5000}, /nowhere\n", encoding="utf-8")
    settings = Settings()
    assert settings.theme == "system"
    assert settings.dark is None
    assert settings.threads == 0
    assert settings.sources == ()


def test_a_run_that_is_opened_too_late_does_not_take_the_place_of_the_one_at_work(
        qtbot: QtBot, session: Session) -> None:
    train_to_the_end(qtbot, session)
    assert session.run is not None
    first = session.run.path
    session.set_config(session.config.replace({"training.max_steps": 100_000}))
    session.open_run(first)
    session.train()
    qtbot.waitUntil(lambda: session.state == TRAINING and not session._crew.busy("open"), timeout=JOB_MS)
    qtbot.wait(50)
    assert session.run is not None and session.run.path != first
    assert session.started is not None and session.started.run == session.run.path
    session.stop()
    qtbot.waitUntil(lambda: session.state == IDLE, timeout=JOB_MS)


def test_a_text_that_was_edited_becomes_a_dataset_of_its_own(qtbot: QtBot, session: Session, tmp_path: Path) -> None:
    text = tmp_path / "letter.txt"
    found = []
    for words in ("Dear all, ", "Dear none of you, "):
        text.write_text(words * 300, encoding="utf-8")
        if not found:
            session.set_sources([text])
        with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
            session.prepare()
        qtbot.waitUntil(lambda: session.shown is not None and session.shown.path == session.dataset, timeout=JOB_MS)
        assert session.shown is not None
        found.append(session.shown)
    assert found[0].path != found[1].path
    assert found[0].meta.tokens < found[1].meta.tokens
    assert read_meta(found[0].path) == found[0].meta, "a run may go on with it"


def prepared_letter(qtbot: QtBot, session: Session, folder: Path) -> tuple[Path, Path]:
    """A text and the dataset that was made of it."""
    text = folder / "letter.txt"
    text.write_text("Dear all, how are you?\n" * 300, encoding="utf-8")
    session.set_sources([text])
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.prepare()
    assert session.dataset is not None
    return text, session.dataset


def test_training_learns_the_text_as_it_is_now(qtbot: QtBot, session: Session, tmp_path: Path) -> None:
    text, first = prepared_letter(qtbot, session, tmp_path)
    text.write_text("Dear none of you, I am well.\n" * 300, encoding="utf-8")
    train_to_the_end(qtbot, session)
    assert session.run is not None and session.run.dataset == session.dataset != first


def test_a_prepared_text_that_is_gone_can_still_be_learned(qtbot: QtBot, session: Session, tmp_path: Path) -> None:
    text, first = prepared_letter(qtbot, session, tmp_path)
    qtbot.waitUntil(lambda: session.shown is not None, timeout=JOB_MS)
    text.unlink()
    told: list[str] = []
    session.noticed.connect(lambda sentence, _: told.append(sentence))
    for _ in range(2):
        train_to_the_end(qtbot, session)
        assert session.run is not None and session.run.state == "done" and session.run.dataset == first
        assert session.dataset == first and session.text_name == "letter"
    assert any("What was prepared of the text is learned." in sentence for sentence in told)


def test_a_text_that_cannot_be_read_is_told_and_nothing_older_learned(
        qtbot: QtBot, session: Session, tmp_path: Path) -> None:
    """It may be half-written, so what was prepared may be of another text."""
    archive = tmp_path / "letters.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("letter.txt", "Dear all, how are you?\n" * 300)
    session.set_sources([archive])
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.prepare()
    assert session.dataset is not None
    archive.write_bytes(archive.read_bytes()[:50])
    with qtbot.waitSignals([session.failed, session.became_quiet], timeout=JOB_MS):
        session.train()
    assert session.state == IDLE and session.run is None


def test_closing_while_the_text_is_looked_at_starts_nothing(qtbot: QtBot, session: Session) -> None:
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.prepare()
    session.train()
    session.close()
    qtbot.wait(50)
    assert session.state == PREPARING and session.run is None


def test_a_text_that_is_gone_before_it_was_prepared_is_told(qtbot: QtBot, session: Session, tmp_path: Path) -> None:
    text = tmp_path / "letter.txt"
    text.write_text("Dear all, how are you?\n" * 300, encoding="utf-8")
    session.set_sources([text])
    qtbot.waitUntil(lambda: session.looked is not None, timeout=JOB_MS)
    text.unlink()
    with qtbot.waitSignals([session.failed, session.became_quiet], timeout=JOB_MS):
        session.train()
    assert session.state == IDLE and session.run is None


def test_another_pause_while_a_text_is_drawn_is_not_forgotten(qtbot: QtBot, session: Session) -> None:
    session.set_config(session.config.replace({"training.max_steps": 100_000, "sampling.max_new_tokens": 200}))
    session.train()
    qtbot.waitUntil(lambda: session.state == TRAINING, timeout=JOB_MS)
    session.pause()
    qtbot.waitUntil(lambda: session.state == PAUSED, timeout=JOB_MS)
    session.sample_now()
    qtbot.wait(100)
    session.unpause()
    session.pause()
    qtbot.waitUntil(lambda: session.state == TRAINING, timeout=JOB_MS)
    session.pause()
    qtbot.waitUntil(lambda: session.state == PAUSED, timeout=JOB_MS)
    session.stop()
    qtbot.waitUntil(lambda: session.state == IDLE, timeout=JOB_MS)


def test_what_somebody_waits_for_is_measured_in_place_of_what_is_measured_unasked(
        qtbot: QtBot, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Config] = []

    def measured(config: Config, _dataset: object, control: Control) -> Iterator[object]:
        asked.append(config)
        while not control.stopping:
            control.wait(0.01)
        yield from ()

    monkeypatch.setattr(run_time, "measured", measured)
    other, wished = session.config.replace({"model.hidden_size": 64}), session.as_trained(session.config)
    session._measure(other)
    assert session.measure_now()
    qtbot.waitUntil(lambda: asked == [other, wished], timeout=JOB_MS)
    assert session.measure_now()  # at work already
    session.set_config(other)  # it is not wished for any more
    qtbot.waitUntil(lambda: not session.measuring, timeout=JOB_MS)
    assert asked == [other, wished]


def test_a_text_that_is_removed_while_it_is_looked_at_is_forgotten(
        qtbot: QtBot, session: Session, zipped_text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, look = threading.Event(), errands.look

    def slowly(sources: Sequence[Path]) -> Iterator[errands.Looked]:
        go_on.wait(JOB_MS / 1000)
        yield from look(sources)

    monkeypatch.setattr(errands, "look", slowly)
    session.set_sources([zipped_text])
    session.set_sources([])
    with qtbot.assertNotEmitted(session.sources_looked_at):
        go_on.set()
        qtbot.waitUntil(lambda: not session._crew.busy("look"), timeout=JOB_MS)
    assert session.looked is None and session.dataset is None
    session.set_sources([zipped_text])
    qtbot.waitUntil(lambda: session.looked is not None, timeout=JOB_MS)


def test_a_cancelled_export_says_nothing_to_the_next_dialog(qtbot: QtBot, session: Session) -> None:
    session.cancel_export()
    with qtbot.assertNotEmitted(session.export_progressed):
        session._on_export_event(Progress(1, 2, "tensors", "Writing"))


def test_a_run_is_deleted_once_however_often_that_is_wished(
        qtbot: QtBot, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    train_to_the_end(qtbot, session)
    assert session.run is not None
    folder, go_on, delete = session.run.path, threading.Event(), runs.delete
    monkeypatch.setattr(runs, "delete", lambda run: go_on.wait(JOB_MS / 1000) and delete(run))
    with qtbot.waitSignal(session.run_deleted, timeout=JOB_MS):
        session.delete_run(folder)
        session.delete_run(folder)
        go_on.set()
    assert not folder.exists()


def test_while_a_run_is_read_it_is_that_one_that_is_at_work(qtbot: QtBot, session: Session) -> None:
    train_to_the_end(qtbot, session)
    assert session.run is not None
    first = session.run.path
    train_to_the_end(qtbot, session)
    session.resume_run(first, changes={"training.max_steps": 14})
    assert session.run.path != first and session.at_work == first
    qtbot.waitUntil(lambda: session.state == IDLE, timeout=JOB_MS)
    assert session.at_work is None


def test_a_run_that_is_gone_is_said_to_be_gone(qtbot: QtBot, session: Session, tmp_path: Path) -> None:
    with qtbot.waitSignal(session.failed, timeout=JOB_MS) as told:
        session.resume_run(tmp_path / "gone")
    assert "does not exist" in told.args[0]
    qtbot.waitUntil(lambda: session.state == IDLE, timeout=JOB_MS)


def test_who_resumes_while_text_is_prepared_is_told_what_is_at_work(qtbot: QtBot, session: Session) -> None:
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.prepare()
        assert session.state == PREPARING and not session.trains_after_preparing
        with qtbot.waitSignal(session.failed) as told:
            session.resume_run(Path("any"))
    assert told.args[0] == "Text is being prepared."


def test_a_curve_is_read_anew_only_when_it_has_grown(
        qtbot: QtBot, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    train_to_the_end(qtbot, session)
    assert session.run is not None
    metrics = session.run.path / runs.METRICS_FILE
    curves: errands.Curves = {}
    before = errands.see_runs(curves).losses[session.run.path]
    assert len(before) == 12
    with monkeypatch.context() as unread:
        unread.setattr(errands.History, "read", lambda _: pytest.fail("read again"))
        assert errands.see_runs(curves).losses[session.run.path] == before
    with open(metrics, "ab") as file:
        file.write(metrics.read_bytes().splitlines()[-2] + b"\n")
    assert errands.see_runs(curves).losses[session.run.path] is not before
    runs.delete(session.run.path)
    errands.see_runs(curves)
    assert not curves
