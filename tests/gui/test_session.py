"""What the session knows and does without a window: texts, datasets, runs, and the order in which it tells of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from atlas_core import runs
from atlas_core.config import Config, Sampling
from atlas_core.events import Generated, TextPiece
from atlas_gui import pace
from atlas_gui.session import IDLE, PREPARING, STARTING, TRAINING, Session
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


def test_cancelling_leaves_no_dataset_and_does_not_train(qtbot: QtBot, session: Session) -> None:
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.train()
        assert session.state == PREPARING
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
    assert written


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


def test_the_measured_speed_is_remembered_and_used(qtbot: QtBot, session: Session, tiny_config: Config) -> None:
    longer = tiny_config.replace({"training.max_steps": 40})
    session.set_config(longer)
    train_to_the_end(qtbot, session)
    measured = Settings().speeds
    assert len(measured) == 1
    [seconds] = measured.values()
    assert 0 < seconds < 5
    assert session.seconds_per_step(longer) == seconds


def test_a_guess_grows_with_the_model_and_with_checkpointing(tiny_config: Config) -> None:
    plain = pace.seconds_per_step(tiny_config, {}, 1e9)
    wider = pace.seconds_per_step(tiny_config.replace({"model.hidden_size": 64}), {}, 1e9)
    again = pace.seconds_per_step(tiny_config.replace({"training.gradient_checkpointing": True}), {}, 1e9)
    assert plain is not None and wider is not None and again is not None
    assert plain < again < wider
    assert pace.seconds_per_step(tiny_config, {}, None) is None
    assert pace.seconds_per_step(tiny_config, {pace.key(tiny_config): 0.25}, 1e9) == 0.25


def test_settings_survive() -> None:
    settings = Settings()
    settings.theme, settings.threads, settings.device, settings.hardware_collapsed = "dark", 3, "cpu", True
    del settings  # writes the file
    again = Settings()
    assert (again.theme, again.threads, again.device, again.hardware_collapsed) == ("dark", 3, "cpu", True)


def test_a_setting_that_makes_no_sense_counts_as_never_set(atlas_home: Path) -> None:
    (atlas_home / "atlas-studio.ini").write_text("[General]\ntheme=plaid\n[machine]\nthreads=many\nspeeds=fast\n",
                                                 encoding="utf-8")
    settings = Settings()
    assert settings.theme == "system"
    assert settings.dark is None
    assert settings.threads == 0
    assert settings.speeds == {}
