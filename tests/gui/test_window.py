"""The whole story in the real window with the real engine: drop, prepare, train, pause, talk, export, resume."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, QRect, Qt, QUrl
from PySide6.QtGui import QAccessible, QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QWidget,
)
from pytestqt.qtbot import QtBot

from atlas_core import config as configuration
from atlas_core import format, jobs, presets, runs
from atlas_core.config import Config
from atlas_core.errors import AtlasError
from atlas_core.events import Event, Healed, RolledBack, RunStarted, StepSkipped, TextPiece
from atlas_core.forecast import Speed
from atlas_core.format import SPACE
from atlas_core.hardware import speeds
from atlas_gui import run_time, sentences, theme
from atlas_gui.app import catch_mistakes
from atlas_gui.main_window import MainWindow
from atlas_gui.session import IDLE, PAUSED, TRAINING
from atlas_gui.settings import Settings
from atlas_gui.widgets.eliding_label import ElidingLabel, plain_tip
from atlas_gui.widgets.run_bar import RunBarState
from tests.gui.conftest import JOB_MS, TINY

WINDOW_WITHOUT_TORCH = """
import sys
from PySide6.QtWidgets import QApplication
from atlas_gui import theme
from atlas_gui.main_window import MainWindow
app = QApplication([])
theme.apply(app, None)
window = MainWindow()
window.show()
while window.session.looked is None:
    app.processEvents()
assert window.isVisible()
heavy = {"torch", "transformers"} & set(sys.modules)
window.close()
sys.exit(f"the window waited for {heavy}" if heavy else 0)
"""


def click(qtbot: QtBot, window: QWidget, name: str) -> None:
    """A real mouse click in the middle of the button of that name."""
    button = window.findChild(QPushButton, name)
    assert button is not None, f"there is no {name}"
    assert button.isVisible() and button.isEnabled(), f"{name} cannot be clicked"
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_for(qtbot: QtBot, window: MainWindow, state: str) -> None:
    qtbot.waitUntil(lambda: window.session.state == state, timeout=JOB_MS)


def dialog(qtbot: QtBot, window: MainWindow, name: str) -> QDialog:
    qtbot.waitUntil(lambda: window.findChild(QDialog, name) is not None, timeout=JOB_MS)
    found = window.findChild(QDialog, name)
    assert found is not None
    return found


def drag(path: Path) -> QMimeData:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    return mime


def drop(onto: QWidget, path: Path) -> None:
    mime, buttons, keys = drag(path), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    copy = Qt.DropAction.CopyAction
    QApplication.sendEvent(onto, QDragEnterEvent(QPoint(4, 4), copy, mime, buttons, keys))
    QApplication.sendEvent(onto, QDropEvent(QPointF(4, 4), copy, mime, buttons, keys))


def test_the_window_is_up_before_torch_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", WINDOW_WITHOUT_TORCH], capture_output=True, text=True, timeout=120,
                          check=False)
    assert done.returncode == 0, done.stderr


def test_it_opens_ready_with_the_sample_and_one_sentence(window: MainWindow) -> None:
    assert window.session.sources == (jobs.sample_source(),)
    assert window.run_bar.train_button.isEnabled()
    assert window.run_bar.sentence.startswith("Train NANO")
    assert "shakespeare" in window.run_bar.sentence
    assert window.findChild(QDialog, "resumeDialog") is None


def test_a_small_screen_scrolls_the_tabs_and_a_usual_one_does_not(window: MainWindow, qtbot: QtBot) -> None:
    page = window.centralWidget()
    assert isinstance(page, QScrollArea)
    window.resize(1280, 800)
    qtbot.waitUntil(lambda: page.horizontalScrollBar().maximum() == page.verticalScrollBar().maximum() == 0)
    window.resize(800, 600)
    qtbot.waitUntil(lambda: window.width() == 800 and window.height() == 600)
    assert window.tabs.width() == page.viewport().width() + page.horizontalScrollBar().maximum()


def test_the_focus_waits_for_the_large_button(window: MainWindow, qtbot: QtBot) -> None:
    bar = window.run_bar
    with qtbot.waitActive(window):
        window.activateWindow()
    bar.train_button.setFocus()
    bar.show_state(RunBarState(primary="pause", primary_enabled=False, stop_enabled=True, export_enabled=True))
    assert QApplication.focusWidget() is None  # Space would press whatever has it
    bar.show_state(RunBarState(primary="pause", primary_enabled=True, stop_enabled=True, export_enabled=True))
    assert bar.pause_button.hasFocus()


def test_everything_a_person_acts_on_can_be_found_by_its_name(window: MainWindow) -> None:
    names = (
        "tabs", "trainButton", "pauseButton", "stopButton", "saveNowButton", "sampleNowButton", "dropZone",
        "addFilesButton", "useSampleButton", "prepareButton", "tokenizerCombo", "datasetSummary", "presetList",
        "memoryBar", "fitButton", "lossPlot", "perplexityPlot", "smoothingSlider", "logScaleCheck", "hardwarePanel",
        "promptEdit", "generateButton", "outputView", "temperatureSpin", "topKSpin", "topPSpin", "maxTokensSpin",
        "seedSpin", "exportButton", "runsList",
    )
    assert window.objectName() == "mainWindow"
    assert [name for name in names if window.findChild(QWidget, name) is None] == []


def test_a_dragged_archive_is_announced_and_a_picture_is_refused(window: MainWindow, zipped_text: Path) -> None:
    def hover(path: Path) -> str:
        mime = drag(path)  # the event does not own it
        event = QDragEnterEvent(QPoint(40, 40), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
                                Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(window, event)
        assert window.file_drags.overlay.isVisible()
        return window.file_drags.overlay.sentence

    assert hover(zipped_text) == "Drop to learn from tales.zip"
    assert hover(Path("holiday.png")).startswith("holiday.png is not text.")
    QApplication.sendEvent(window, QDragLeaveEvent())
    assert not window.file_drags.overlay.isVisible()
    drop(window, Path("holiday.png"))
    assert window.session.sources == (jobs.sample_source(),)
    assert "not text" in window.toast.text


def test_a_file_is_the_windows_wherever_it_is_dropped(window: MainWindow, zipped_text: Path) -> None:
    prompt = window.playground_tab.prompt_edit
    written = prompt.toPlainText()
    fields = [widget for widget in window.findChildren(QWidget) if widget.acceptDrops()]
    for onto in (window.data_tab.drop_zone, *fields):
        window.data_tab.set_sources([])
        drop(onto, Path("holiday.png"))
        assert "not text" in window.toast.text
        assert window.session.sources == ()
        drop(onto, zipped_text)
        assert window.session.sources == (zipped_text,)
    assert prompt.toPlainText() == written


def test_from_a_dropped_archive_to_an_exported_model(window: MainWindow, zipped_text: Path, qtbot: QtBot,
                                                     tmp_path: Path) -> None:
    session = window.session
    drop(window, zipped_text)
    assert session.sources == (zipped_text,)  # the sample gave way
    assert window.tabs.currentWidget() is window.data_tab
    window.model_tab.apply_changes({**TINY, "training.max_steps": 400})
    qtbot.waitUntil(lambda: session.looked is not None, timeout=JOB_MS)

    click(qtbot, window, "prepareButton")
    qtbot.waitUntil(lambda: session.shown is not None and session.state == IDLE, timeout=JOB_MS)
    assert "tales" in window.run_bar.sentence and "tokens" in window.run_bar.sentence

    click(qtbot, window, "trainButton")
    assert window.tabs.currentWidget() is window.train_tab
    qtbot.waitUntil(lambda: session.training, timeout=JOB_MS)  # once the text was looked at anew
    qtbot.waitUntil(lambda: len(session.history.steps) >= 3, timeout=JOB_MS)

    click(qtbot, window, "pauseButton")
    wait_for(qtbot, window, PAUSED)
    steps = len(session.history.steps)
    assert window.run_bar.train_button.text() == "Resume"

    samples = len(window.train_tab.samples)
    click(qtbot, window, "sampleNowButton")
    qtbot.waitUntil(lambda: len(window.train_tab.samples) > samples, timeout=JOB_MS)
    click(qtbot, window, "saveNowButton")
    qtbot.waitUntil(lambda: session.run is not None and runs.newest(session.run.path) is not None, timeout=JOB_MS)
    assert len(session.history.steps) == steps  # nothing was trained while paused

    pieces: list[TextPiece] = []
    session.text_piece.connect(pieces.append)
    window.tabs.setCurrentWidget(window.playground_tab)
    assert window.playground_tab.source() == "live"
    with qtbot.waitSignal(session.text_finished, timeout=JOB_MS):
        click(qtbot, window, "generateButton")
    assert pieces

    click(qtbot, window, "trainButton")
    wait_for(qtbot, window, TRAINING)
    qtbot.waitUntil(lambda: len(session.history.steps) > steps, timeout=JOB_MS)
    click(qtbot, window, "stopButton")
    wait_for(qtbot, window, IDLE)
    assert session.run is not None
    assert session.run.state == "interrupted"
    newest = runs.newest(session.run.path)
    assert newest is not None and newest.step == session.history.steps[-1]

    click(qtbot, window, "exportButton")
    export = dialog(qtbot, window, "exportDialog")
    target = tmp_path / "tales.gguf"
    export.path_edit.setText(str(target))  # type: ignore[attr-defined]
    with qtbot.waitSignal(session.exported, timeout=JOB_MS) as exported:
        click(qtbot, export, "exportStartButton")
    assert exported.args[0].verified
    assert target.stat().st_size == exported.args[0].bytes
    export.close()


def test_a_run_that_ends_early_is_done_and_the_window_says_why(tiny_window: MainWindow, qtbot: QtBot) -> None:
    tiny_window.model_tab.apply_changes({"training.early_stopping_patience": 2, "evaluation.eval_interval": 1,
                                         "training.early_stopping_min_gain": 9.0})
    session, news = tiny_window.session, []
    session.noticed.connect(lambda message, _level: news.append(message))
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        click(qtbot, tiny_window, "trainButton")
    assert session.run is not None and (session.run.state, session.run.step) == ("done", 3)
    assert "2 validations in a row brought no gain" in news[-1]


def test_the_learning_rate_that_a_test_found_goes_into_the_settings_and_no_run_is_left(
        tiny_window: MainWindow, qtbot: QtBot) -> None:
    window, session = tiny_window, tiny_window.session
    window.tabs.setCurrentWidget(window.model_tab)
    assert not window.model_tab.rate_button.isEnabled()  # there is no prepared text yet
    session.prepare()
    qtbot.waitUntil(window.model_tab.rate_button.isEnabled, timeout=JOB_MS)
    with qtbot.waitSignal(session.rate_found, timeout=JOB_MS) as found:
        click(qtbot, window, "findRateButton")
    click(qtbot, dialog(qtbot, window, "learningRateDialog"), "useRateButton")
    assert session.config.training.learning_rate == found.args[0].learning_rate
    assert runs.list_runs() == []


def test_a_test_of_rates_that_is_cancelled_ends(tiny_window: MainWindow, qtbot: QtBot) -> None:
    session = tiny_window.session
    tiny_window.tabs.setCurrentWidget(tiny_window.model_tab)
    session.prepare()
    qtbot.waitUntil(tiny_window.model_tab.rate_button.isEnabled, timeout=JOB_MS)
    with qtbot.waitSignal(session.rate_tried, timeout=JOB_MS):
        click(qtbot, tiny_window, "findRateButton")
    with qtbot.assertNotEmitted(session.rate_found):
        click(qtbot, dialog(qtbot, tiny_window, "learningRateDialog"), "closeRateButton")
        qtbot.waitUntil(lambda: not session.finding_rate, timeout=JOB_MS)


def test_train_prepares_the_text_by_itself_and_ends_with_a_finished_run(tiny_window: MainWindow, qtbot: QtBot) -> None:
    session, news = tiny_window.session, []
    session.noticed.connect(lambda text, _level: news.append(text))
    click(qtbot, tiny_window, "trainButton")
    qtbot.waitUntil(lambda: session.run is not None and session.run.state == "done", timeout=JOB_MS)
    assert session.history.steps == list(range(1, TINY["training.max_steps"] + 1))
    assert session.history.val_losses
    assert session.state == IDLE
    assert tiny_window.run_bar.train_button.text() == "Train"
    assert news[-1].startswith("Training is done")
    assert tiny_window.toast.text in news


def test_an_interrupted_run_is_offered_at_the_next_start_and_goes_on(
        tiny_window: MainWindow, make_window: Callable[[], MainWindow], qtbot: QtBot) -> None:
    tiny_window.model_tab.apply_changes({"training.max_steps": 60})
    click(qtbot, tiny_window, "trainButton")
    qtbot.waitUntil(lambda: len(tiny_window.session.history.steps) >= 3, timeout=JOB_MS)
    click(qtbot, tiny_window, "stopButton")
    wait_for(qtbot, tiny_window, IDLE)
    stopped_at = tiny_window.session.history.steps[-1]
    tiny_window.close()

    again = make_window()
    shown = []  # as it begins

    def look(event: Event) -> None:
        if isinstance(event, RunStarted):
            shown.append((again.playground_tab.source(), again.findChild(QLabel, "modelNotice").text()))

    again.session.training_event.connect(look)
    click(qtbot, dialog(qtbot, again, "resumeDialog"), "resumeButton")
    qtbot.waitUntil(lambda: again.session.run is not None and again.session.run.state == "done", timeout=JOB_MS)
    assert again.session.history.steps == list(range(1, 61))
    assert again.session.history.resumed_steps == [stopped_at]
    [(source, notice)] = shown
    assert source == "live"
    assert "settings of its own" in notice  # the Model tab still shows NANO's


def test_a_finished_run_goes_on_for_as_many_steps_as_are_asked_for(tiny_window: MainWindow, qtbot: QtBot) -> None:
    session, news = tiny_window.session, []
    session.noticed.connect(lambda text, _level: news.append(text))
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        click(qtbot, tiny_window, "trainButton")
    tiny_window.tabs.setCurrentWidget(tiny_window.runs_tab)
    qtbot.waitUntil(lambda: [button.isVisible() for button in tiny_window.findChildren(
        QPushButton, "runExtendButton")] == [True], timeout=JOB_MS)  # the cards are made anew as the run ends
    click(qtbot, tiny_window, "runExtendButton")
    asked = dialog(qtbot, tiny_window, "extendDialog")
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        click(qtbot, asked, "extendStartButton")
    steps = 2 * TINY["training.max_steps"]
    assert session.history.steps == list(range(1, steps + 1))
    assert session.run is not None and (session.run.state, session.run.max_steps) == ("done", steps)
    assert any(f"training.max_steps ({steps // 2}, now {steps})" in text for text in news)


def test_closing_during_training_asks_saves_and_then_closes(tiny_window: MainWindow, qtbot: QtBot) -> None:
    tiny_window.model_tab.apply_changes({"training.max_steps": 100_000})
    click(qtbot, tiny_window, "trainButton")
    qtbot.waitUntil(lambda: len(tiny_window.session.history.steps) >= 3, timeout=JOB_MS)
    tiny_window.close()
    question = dialog(qtbot, tiny_window, "closeDialog")
    assert tiny_window.isVisible() and tiny_window.session.training
    with qtbot.waitSignal(tiny_window.closed, timeout=JOB_MS):
        click(qtbot, question, "saveAndCloseButton")
    assert not tiny_window.isVisible()
    [run] = runs.list_runs()
    assert run.state == "interrupted"
    assert run.step == tiny_window.session.history.steps[-1]


def test_going_on_is_an_answer_too(tiny_window: MainWindow, qtbot: QtBot) -> None:
    tiny_window.model_tab.apply_changes({"training.max_steps": 100_000})
    click(qtbot, tiny_window, "trainButton")
    wait_for(qtbot, tiny_window, TRAINING)
    tiny_window.close()
    click(qtbot, dialog(qtbot, tiny_window, "closeDialog"), "goOnButton")
    steps = len(tiny_window.session.history.steps)
    qtbot.waitUntil(lambda: len(tiny_window.session.history.steps) > steps, timeout=JOB_MS)
    assert tiny_window.isVisible()


def test_a_failure_is_told_with_its_remedy(window: MainWindow, qtbot: QtBot, tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"this is no archive")
    drop(window, broken)
    told = dialog(qtbot, window, "errorDialog")
    assert "broken.zip" in told.text()  # type: ignore[attr-defined]
    told.close()
    click_ready = window.findChild(QPushButton, "useSampleButton")
    assert click_ready is not None
    qtbot.mouseClick(click_ready, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.session.looked is not None, timeout=JOB_MS)


def test_what_the_window_remembers(make_window: Callable[[], MainWindow], qtbot: QtBot) -> None:
    first = make_window()
    first.resize(first.width(), 700)
    first.tabs.setCurrentIndex(1)
    click(qtbot, first, "hardwareToggle")
    first.close()
    second = make_window()
    assert second.height() == 700
    assert second.tabs.currentIndex() == 1
    assert second.hardware_panel.collapsed


@pytest.mark.skipif(sys.platform != "linux", reason="reads the threads' names from /proc")
def test_no_thread_outlives_its_window(make_window: Callable[[], MainWindow], qtbot: QtBot) -> None:
    def threads() -> set[str]:
        names = set()
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # a thread may end between being listed and being read
                names.add((task / "comm").read_text().strip())
        return names

    window = make_window()
    assert "watch" in threads()
    qtbot.waitUntil(lambda: window.session.looked is not None, timeout=JOB_MS)
    window.close()
    # Not "show" or "prepare": the pools of numpy and of the tokenizer live on under the name of who called them first.
    # Qt calls a thread finished a moment before the system has cleared it away.
    qtbot.waitUntil(lambda: threads().isdisjoint({"watch", "look", "runs", "datasets"}))


def test_a_theme_chosen_in_the_settings_holds_at_once_and_at_the_next_start(window: MainWindow, qtbot: QtBot) -> None:
    click(qtbot, window, "settingsButton")
    settings = dialog(qtbot, window, "settingsDialog")
    combo = settings.findChild(QComboBox, "themeCombo")
    assert combo is not None
    combo.setCurrentIndex(combo.findData("dark"))
    assert theme.colors() is theme.DARK
    assert Settings().dark is True
    settings.close()


def test_own_settings_are_kept_as_a_preset_and_chosen(window: MainWindow) -> None:
    window.model_tab.apply_changes({"model.num_layers": 3})
    window.model_tab.save_preset_requested.emit("My poet")
    assert window.session.config.name == "My poet"
    assert presets.find("My poet").config.model.num_layers == 3
    assert "Train My poet" in window.run_bar.sentence


def test_only_a_preset_of_ones_own_can_be_deleted_and_its_settings_stay(window: MainWindow, qtbot: QtBot) -> None:
    window.tabs.setCurrentWidget(window.model_tab)
    button = window.model_tab.delete_preset_button
    assert not button.isVisible()
    window.model_tab.apply_changes({"model.num_layers": 3})
    window.model_tab.save_preset_requested.emit("My poet")
    click(qtbot, window, "deletePresetButton")
    question = dialog(qtbot, window, "deletePresetDialog")
    click(qtbot, question, "deletePresetYesButton")
    assert "My poet" not in presets.all_presets()
    assert "My poet" not in window.model_tab.preset_list.names()
    assert window.session.config.model.num_layers == 3
    assert not button.isVisible()


def test_a_run_that_came_apart_is_offered_half_the_learning_rate(tiny_window: MainWindow, qtbot: QtBot) -> None:
    click(qtbot, tiny_window, "trainButton")
    qtbot.waitUntil(lambda: tiny_window.session.run is not None and tiny_window.session.state == IDLE, timeout=JOB_MS)
    tiny_window.session.came_apart.emit("The loss is no longer a number.", "Resume with a lower learning rate.")
    offered = dialog(qtbot, tiny_window, "errorDialog")
    with qtbot.waitSignal(tiny_window.session.run_opened, timeout=JOB_MS):
        click(qtbot, offered, "errorOfferButton")
    wait_for(qtbot, tiny_window, IDLE)
    assert tiny_window.session.run is not None
    kept = configuration.load(tiny_window.session.run.path / runs.CONFIG_FILE)
    assert kept.training.learning_rate == tiny_window.session.config.training.learning_rate / 2


def test_what_a_run_mends_is_told_on_the_window_and_in_its_log(tiny_window: MainWindow, qtbot: QtBot) -> None:
    for event, said in ((StepSkipped(3, "Step 3 was skipped."), "Step 3 was skipped."),
                        (RolledBack(9, 4, 0.5, "It went back."), "It went back."),
                        (Healed(2, 2, 8, False, "Smaller batches."), "Smaller batches.")):
        tiny_window.session._on_training_event(event)
        qtbot.waitUntil(lambda said=said: tiny_window.toast.text == said, timeout=JOB_MS)
        log = tiny_window.train_tab.findChild(QPlainTextEdit, "logView")
        assert log is not None and said in log.toPlainText()
    assert tiny_window.session.history.rate_factor == 0.5


def test_the_machine_fits_a_preset_that_is_too_big(window: MainWindow) -> None:
    session = window.session
    window.model_tab.set_config(presets.find("MICRO").config)
    window.model_tab.apply_changes({"training.batch_size": 2**16})
    before = session.config
    window.model_tab.fit_requested.emit()
    assert session.config.tokens_per_step == before.tokens_per_step
    assert session.memory_bytes(session.config) < session.memory_bytes(before)
    reasons = window.findChild(QLabel, "fitReasons")
    assert f"{session.config.training.batch_size} windows are computed at once instead of 65536" in reasons.text()
    window.model_tab.apply_changes({"training.batch_size": 4})
    assert not reasons.text()
    window.model_tab.fit_requested.emit()
    assert session.config.training.batch_size == 4
    assert "fits as it is" in reasons.text()


def test_a_run_is_planned_for_the_minutes_there_are(
    window: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The speed is measured for it, unless it is known."""
    def fails(*_: object) -> Iterator[object]:
        raise AtlasError("The speed could not be measured: no room.")
        yield

    def measures(config: Config, *_: object) -> Iterator[object]:
        speeds.remember(config, Speed(0.5, 0.4, 0.6, validation_batch_s=1e-9))
        yield from ()

    window.model_tab.set_config(presets.find("NANO").config)
    reasons = window.findChild(QLabel, "fitReasons")
    monkeypatch.setattr(run_time, "measured", fails)
    window.model_tab.time_wished.emit(10.0)
    assert "Measuring" in reasons.text()
    qtbot.waitUntil(lambda: "not known" in reasons.text(), timeout=JOB_MS)
    monkeypatch.setattr(run_time, "measured", measures)
    window.model_tab.time_wished.emit(10.0)
    qtbot.waitUntil(lambda: window.session.config.training.max_steps == 1199, timeout=JOB_MS)
    assert window.session.config.training.warmup_steps == 30
    assert window.session.config.hardware == presets.find("NANO").config.hardware
    assert "takes about 1\N{NARROW NO-BREAK SPACE}199 steps here" in reasons.text()
    window.model_tab.time_wished.emit(0.1)
    assert "too few to learn from" in reasons.text()


def test_a_training_that_begins_while_the_speed_is_measured_is_not_planned_anew(
    window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = presets.find("NANO").config
    window.model_tab.set_config(config)
    monkeypatch.setattr(window.session, "measure_now", lambda: True)
    window.model_tab.time_wished.emit(10.0)
    speeds.remember(config, Speed(0.5, 0.4, 0.6))
    window.session.state = TRAINING
    window.session.estimate_changed.emit()
    window.session.state = IDLE
    window.session.estimate_changed.emit()
    assert window.session.config == config


def test_without_text_training_waits_and_says_what_is_missing(window: MainWindow) -> None:
    window.data_tab.set_sources([])
    assert not window.run_bar.train_button.isEnabled()
    assert "Add some text" in window.run_bar.sentence


def test_news_stands_beside_the_names_of_the_tabs(window: MainWindow, qtbot: QtBot) -> None:
    """Below it would cover buttons."""
    window.resize(1280, 800)
    qtbot.waitUntil(lambda: window.width() == 1280)
    window.toast.show_news("The weather is fine.")
    bar = window.tabs.tabBar()
    names = QRect(bar.mapTo(window, QPoint()), bar.sizeHint())
    place = window.toast.geometry()
    assert place.top() < names.bottom() and not place.intersects(names)
    assert place.height() <= 2 * names.height()


def test_a_sentence_that_has_no_room_ends_in_an_ellipsis(qtbot: QtBot) -> None:
    label = ElidingLabel()
    qtbot.addWidget(label)
    label.setText("Train NANO on shakespeare: about 2 minutes")
    label.resize(80, 20)
    assert label.shown.endswith("…") and label.text().endswith("minutes")
    label.grab()
    assert label.text() in label.toolTip()
    label.resize(800, 20)
    assert label.shown == label.text()


def test_an_opened_run_was_saved_when_its_checkpoint_was(tmp_path: Path) -> None:
    """Its log may have been written to later."""
    run = tmp_path / "run"
    checkpoint = run / runs.CHECKPOINTS_FOLDER / "atlas_step_5.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"x")
    about = {"kind": "step", "step": 5, "epoch": 0.5, "loss": 2.5, "val_loss": None, "perplexity": 12.2, "bytes": 1,
             "learning_rate": 1e-3, "saved_at": time.time() - 7200, "max_steps": 9, "parameters": 10}
    runs.sidecar(checkpoint).write_text(json.dumps(about))
    Config().save(run / runs.CONFIG_FILE)
    assert f"saved 2{SPACE}h ago" in sentences.standing(runs.inspect(run))
    checkpoint.unlink()
    assert sentences.standing(runs.inspect(run)).endswith("nothing saved")


def test_a_run_that_goes_on_with_the_settings_in_sight_is_told_so(tiny_window: MainWindow, qtbot: QtBot) -> None:
    """The run's own file says what `auto` became."""
    tiny_window.model_tab.apply_changes({"training.max_steps": 100_000})
    click(qtbot, tiny_window, "trainButton")
    qtbot.waitUntil(lambda: len(tiny_window.session.history.steps) >= 3, timeout=JOB_MS)
    click(qtbot, tiny_window, "stopButton")
    wait_for(qtbot, tiny_window, IDLE)
    assert not tiny_window.model_tab.findChild(QLabel, "modelNotice").text()
    tiny_window.run_bar.click_primary()
    wait_for(qtbot, tiny_window, TRAINING)
    assert "These are the settings" in tiny_window.model_tab.findChild(QLabel, "modelNotice").text()
    assert "--out" in tiny_window.model_tab.command_line.line_edit.text()


def test_news_moves_along_with_the_tabs_and_keeps_off_what_is_long(window: MainWindow, qtbot: QtBot) -> None:
    window.resize(1280, 800)
    window.toast.show_news("The weather is fine.")
    qtbot.waitUntil(lambda: window.toast.y() < window.height() // 2)
    right = window.toast.geometry().right()
    window.hardware_panel.set_collapsed(True)
    qtbot.waitUntil(lambda: window.toast.geometry().right() > right)
    window.resize(800, 600)
    qtbot.waitUntil(lambda: window.toast.y() > window.height() // 2)
    assert window.toast.geometry().right() < window.width()


def test_a_narrow_window_makes_the_hardware_panel_narrow_and_a_wide_one_as_it_was(
        window: MainWindow, qtbot: QtBot) -> None:
    window.resize(1000, 700)
    qtbot.waitUntil(lambda: window.hardware_panel.collapsed)
    assert not window.settings.hardware_collapsed  # that would be the person's wish
    window.resize(1280, 800)
    qtbot.waitUntil(lambda: not window.hardware_panel.collapsed)


def test_a_tooltip_shows_a_name_that_looks_like_markup() -> None:
    """Of a folder from somebody else, say."""
    assert plain_tip("<b>a & b\nc") == "<span>&lt;b&gt;a &amp; b<br>c</span>"


def test_a_preset_of_ones_own_says_what_it_was_made_from(window: MainWindow) -> None:
    window.model_tab.apply_changes({"training.max_steps": 60, "training.warmup_steps": 6})
    window.model_tab.save_preset_requested.emit("mine")
    assert presets.find("mine").config.description == "Made from NANO."
    window.model_tab.apply_changes({"training.max_steps": 70})
    window.model_tab.save_preset_requested.emit("mine")  # over itself
    assert presets.find("mine").config.description == "Made from NANO."
    assert presets.find("mine").config.training.max_steps == 70


def test_copying_the_command_line_is_confirmed(window: MainWindow, qtbot: QtBot) -> None:
    line = window.model_tab.command_line
    line.copy_button.click()
    assert QApplication.clipboard().text() == line.line_edit.text() != ""
    assert line.copy_button.text() == "Copied"
    qtbot.waitUntil(lambda: line.copy_button.text() == "Copy")


def test_a_window_that_was_to_close_stays_open_where_saving_failed(tiny_window: MainWindow, qtbot: QtBot) -> None:
    tiny_window._closing = True  # "Save and close"
    tiny_window.session.failed.emit("The disk is full.", "Free some space.", "")
    tiny_window.session.became_quiet.emit()
    assert "disk is full" in dialog(qtbot, tiny_window, "errorDialog").text()  # type: ignore[attr-defined]
    assert tiny_window.isVisible()


def test_the_temperature_wished_for_the_run_at_work_stays_in_sight(tiny_window: MainWindow, qtbot: QtBot) -> None:
    tiny_window.model_tab.apply_changes({"training.max_steps": 100_000})
    click(qtbot, tiny_window, "trainButton")
    wait_for(qtbot, tiny_window, TRAINING)
    check = tiny_window.findChild(QCheckBox, "targetCheck")
    assert check is not None and not check.isChecked()
    check.setChecked(True)
    assert check.isChecked()
    wished = tiny_window.session.target_temperature
    assert wished == tiny_window.session.config.hardware.target_temperature > 0
    check.setChecked(False)
    assert not check.isChecked() and tiny_window.session.target_temperature == 0


def test_a_dataset_that_was_opened_is_left_when_a_text_setting_changes(tiny_window: MainWindow, qtbot: QtBot) -> None:
    session = tiny_window.session
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.prepare()
    assert session.dataset is not None
    session.choose_dataset(session.dataset)
    tiny_window.data_tab.form.edit("data.min_chars", 5)
    assert session.dataset is None, "it was made with other settings"


def test_the_sentence_tells_of_the_model_as_the_open_dataset_makes_it(tiny_window: MainWindow, qtbot: QtBot) -> None:
    session = tiny_window.session
    with qtbot.waitSignal(session.became_quiet, timeout=JOB_MS):
        session.prepare()
    qtbot.waitUntil(lambda: session.shown is not None, timeout=JOB_MS)
    wide = session.config.replace({"model.vocab_size": 60_000})
    tiny_window.model_tab.set_config(wide)
    session.set_config(wide)
    assert session.as_trained(wide).model.vocab_size == session.shown.meta.n_vocab
    trained = format.size(session.memory_bytes(session.as_trained(wide)))
    assert trained != format.size(session.memory_bytes(wide))
    assert trained in tiny_window._plan()


def test_a_long_name_of_a_preset_does_not_push_the_buttons_out_of_the_window(window: MainWindow, qtbot: QtBot) -> None:
    page = window.centralWidget()
    assert isinstance(page, QScrollArea)
    window.resize(1280, 800)
    window.tabs.setCurrentWidget(window.model_tab)
    window.model_tab.save_preset_requested.emit("what my grandmother wrote to me")
    window.model_tab.apply_changes({"training.learning_rate": 1e-3})
    title = next(label for label in window.model_tab.findChildren(ElidingLabel) if "grandmother" in label.text())
    qtbot.waitUntil(lambda: title.shown.endswith("…"), timeout=JOB_MS)
    assert page.horizontalScrollBar().maximum() == 0


def test_the_command_has_the_threads_and_the_device_of_the_settings(window: MainWindow) -> None:
    line = window.model_tab.command_line.line_edit
    window._on_threads_chosen(1)
    window._on_device_chosen("cpu")
    assert "hardware.threads=1" in line.text() and "hardware.device=cpu" in line.text()
    window._on_threads_chosen(0)
    window._on_device_chosen("auto")
    assert "hardware." not in line.text()


def test_a_screen_reader_hears_the_sentence_and_the_figures(tiny_window: MainWindow, qtbot: QtBot) -> None:
    with qtbot.waitSignal(tiny_window.session.became_quiet, timeout=JOB_MS):
        tiny_window.session.prepare()
    qtbot.waitUntil(lambda: tiny_window.session.shown is not None, timeout=JOB_MS)

    def heard(widget: QWidget | None) -> str:
        return QAccessible.queryAccessibleInterface(widget).text(QAccessible.Text.Name)

    assert heard(tiny_window.findChild(QLabel, "planSentence")) == tiny_window.run_bar.sentence != ""
    assert "tokens" in heard(tiny_window.findChild(QLabel, "datasetSummary"))
    assert heard(tiny_window.data_tab.dataset_view._numbers["documents"]) == "documents: 8"


def test_only_the_run_that_is_deleted_leaves_the_playground(tiny_window: MainWindow, qtbot: QtBot) -> None:
    window, folders = tiny_window, []
    for _ in range(2):
        click(qtbot, window, "trainButton")
        qtbot.waitUntil(lambda: window.session.run is not None and window.session.run.state == "done", timeout=JOB_MS)
        assert window.session.run is not None
        folders.append(window.session.run.path)
        wait_for(qtbot, window, IDLE)
        window.session.run = None
    window.runs_tab.play_requested.emit(folders[0])
    played = window.playground_tab.source()
    assert str(folders[0]) in played
    for folder, left in ((folders[1], played), (folders[0], "")):
        with qtbot.waitSignal(window.session.run_deleted, timeout=JOB_MS):
            window.session.delete_run(folder)
        assert (window.playground_tab.source() or "") == left


def test_a_curve_is_saved_also_without_a_suffix(
        window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "curve"), ""))
    window.train_tab.image_export_requested.emit(window.grab().toImage())
    assert (tmp_path / "curve").read_bytes().startswith(b"\x89PNG")


def test_preparing_alone_promises_no_training(tiny_window: MainWindow, qtbot: QtBot) -> None:
    waiting: list[bool] = []
    tiny_window.train_tab.set_waiting = waiting.append  # type: ignore[method-assign]
    with qtbot.waitSignal(tiny_window.session.became_quiet, timeout=JOB_MS):
        tiny_window.session.prepare()
    assert not any(waiting)
    with qtbot.waitSignal(tiny_window.session.became_quiet, timeout=JOB_MS):
        tiny_window.session.train()
    assert any(waiting) and not waiting[-1]


def test_a_mistake_in_any_thread_is_told_by_the_window(window: MainWindow, qtbot: QtBot,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    catch_mistakes(window)
    hook = sys.excepthook
    thread = threading.Thread(target=lambda: hook(ValueError, ValueError("odd"), None))
    thread.start()
    thread.join()
    shown = dialog(qtbot, window, "errorDialog")
    assert shown.thread() == window.thread()
    shown.close()


def test_a_long_name_of_a_run_leaves_room_for_everything_else(tiny_window: MainWindow) -> None:
    window, name = tiny_window, "nano-" + "a" * 95
    window.resize(1280, 800)
    before = window.minimumSizeHint().width()
    window.run_bar.show_state(RunBarState(title=name, sentence="step 82 / 2 400"))
    window.findChild(QLabel, "statusLine").setText(f"{name}: step 82 of 2 400, saved just now")
    assert window.minimumSizeHint().width() <= max(before, 1280)
    shown = window.run_bar._title
    assert shown.sizeHint().width() <= 244 and shown.accessibleName() == name and "a" * 95 in shown.toolTip()


def test_an_open_export_follows_the_checkpoints_of_its_run(tiny_window: MainWindow, qtbot: QtBot) -> None:
    window = tiny_window
    click(qtbot, window, "trainButton")
    qtbot.waitUntil(lambda: window.session.run is not None and window.session.run.state == "done", timeout=JOB_MS)
    wait_for(qtbot, window, IDLE)
    click(qtbot, window, "exportButton")
    combo = dialog(qtbot, window, "exportDialog").findChild(QComboBox, "exportCheckpointCombo")
    assert combo is not None and window.session.run is not None
    offered = combo.count()
    gone = next(info for info in window.session.run.checkpoints if info.kind == "step")
    runs.sidecar(gone.path).unlink()
    window.session.refresh_runs()
    qtbot.waitUntil(lambda: combo.count() == offered - 1, timeout=JOB_MS)


def test_a_crash_leaves_a_word(atlas_home: Path) -> None:
    dies = "from atlas_gui.app import start_log; import faulthandler; start_log(); faulthandler._sigsegv()"
    assert subprocess.run([sys.executable, "-c", dies], capture_output=True, check=False).returncode != 0
    assert b"Current thread" in (atlas_home / "atlas-studio-crash.log").read_bytes()
