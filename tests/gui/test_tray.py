"""News for someone who is not looking: the tray, its notifications, and a system that shuts down meanwhile."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QSystemTrayIcon, QWidget
from pytestqt.qtbot import QtBot

from atlas_core import paths, runs
from atlas_core.events import Finished, Notice, RolledBack, StepDone, StepSkipped
from atlas_gui import sentences
from atlas_gui.app import close_on_interrupt
from atlas_gui.main_window import MainWindow
from atlas_gui.tray import Tray
from tests.gui.conftest import JOB_MS


def icon() -> QIcon:
    return QIcon(str(paths.resource("icons", "atlas-studio.svg")))


def train_for_long(window: MainWindow, qtbot: QtBot) -> None:
    window.model_tab.apply_changes({"training.max_steps": 100_000})
    window.session.train()
    qtbot.waitUntil(lambda: len(window.session.history.steps) >= 3, timeout=JOB_MS)


def assert_saved_at_its_last_step(window: MainWindow) -> None:
    [run] = runs.list_runs()
    assert run.state == "interrupted" and run.step >= window.session.history.steps[-1] > 0


def test_without_a_tray_nothing_is_told_and_nothing_breaks(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", staticmethod(lambda: False))
    window = QWidget()
    qtbot.addWidget(window)
    tray = Tray(icon(), "Atlas Studio", window)
    tray.set_status("training")
    assert not tray.tell("done")


@pytest.mark.qt_log_ignore("systemTrayWindowChanged", extend=True)  # Qt's own, where the screen has no tray
def test_with_a_tray_only_who_is_not_looking_is_told(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", staticmethod(lambda: True))
    window = QWidget()
    qtbot.addWidget(window)
    tray = Tray(icon(), "Atlas Studio", window)
    tray.set_status("training NANO")
    shown = tray.findChild(QSystemTrayIcon)
    assert isinstance(shown, QSystemTrayIcon) and shown.toolTip() == "Atlas Studio\ntraining NANO"
    assert tray.tell("Training is done.")
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    assert not tray.tell("Training is done.")
    with qtbot.waitSignal(tray.show_requested):
        shown.activated.emit(QSystemTrayIcon.ActivationReason.Trigger)
    shown.hide()


def test_news_are_the_end_and_the_warnings() -> None:
    assert sentences.news(Finished("done", details={"step": 12})) == ("Training is done after 12 steps.", "good")
    assert sentences.news(Notice("Paused by heat.", "warning")) == ("Paused by heat.", "warning")
    assert sentences.news(RolledBack(9, 4, 0.5, "Went back.")) == ("Went back.", "warning")
    assert sentences.news(StepSkipped(9, "Skipped.")) is None  # the curve marks it, and the run goes on
    assert sentences.news(Finished("stopped")) is None  # the person did that
    assert sentences.news(StepDone(1, 0.1, 2.0, 1e-3, 1.0, 100.0, 64, 1.0)) is None


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts back what the signals did before."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_the_systems_wish_to_end_saves_without_a_question(
    name: str, tiny_window: MainWindow, qtbot: QtBot, handlers: None  # noqa: ARG001
) -> None:
    close_on_interrupt(tiny_window)
    train_for_long(tiny_window, qtbot)
    with qtbot.waitSignal(tiny_window.closed, timeout=JOB_MS):
        signal.raise_signal(getattr(signal, name))
    assert not tiny_window.isVisible()
    assert_saved_at_its_last_step(tiny_window)


def test_a_logout_returns_only_once_the_run_is_saved(tiny_window: MainWindow, qtbot: QtBot) -> None:
    train_for_long(tiny_window, qtbot)
    tiny_window.save_for_logout()
    assert_saved_at_its_last_step(tiny_window)
    qtbot.waitUntil(lambda: not tiny_window.isVisible(), timeout=JOB_MS)
