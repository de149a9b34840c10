"""The laws of the one worker: everything arrives, in order, on the listener's thread, and nothing stays behind."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QObject, QThread, Slot
from pytestqt.qtbot import QtBot

from atlas_core.control import Control
from atlas_core.errors import DataError
from atlas_gui import worker as worker_module
from atlas_gui.crew import Crew
from atlas_gui.worker import NICENESS, Worker


class Listener(QObject):
    """Keeps what arrives, and on which thread."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.events: list[object] = []
        self.failures: list[tuple[str, str, str]] = []
        self.ends = 0
        self.threads: set[QThread] = set()
        worker.event_emitted.connect(self._on_event)
        worker.failed.connect(self._on_failed)
        worker.ended.connect(self._on_ended)

    @Slot(object)
    def _on_event(self, event: object) -> None:
        self.events.append(event)
        self.threads.add(QThread.currentThread())

    @Slot(str, str, str)
    def _on_failed(self, *failure: str) -> None:
        self.failures.append(failure)

    @Slot()
    def _on_ended(self) -> None:
        self.ends += 1


def run(qtbot: QtBot, worker: Worker) -> Listener:
    listener = Listener(worker)
    worker.start()
    qtbot.waitUntil(lambda: listener.ends > 0)
    assert worker.wait(1000)
    return listener


def test_every_item_arrives_once_and_in_order_on_the_listeners_thread(qtbot: QtBot) -> None:
    listener = run(qtbot, Worker(lambda: range(500)))
    assert listener.events == list(range(500))
    assert listener.threads == {QThread.currentThread()}
    assert listener.failures == []
    assert listener.ends == 1


def test_the_job_runs_elsewhere_and_gives_way_to_the_window(qtbot: QtBot) -> None:
    def where() -> Iterator[object]:
        yield threading.get_ident()
        if sys.platform == "linux":
            yield os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    thread, *niceness = run(qtbot, Worker(where)).events
    assert thread != threading.get_ident()
    if sys.platform == "linux":
        assert niceness == [NICENESS]
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < NICENESS


def test_an_error_for_the_user_crosses_as_its_sentence_and_remedy(qtbot: QtBot) -> None:
    def job() -> Iterator[int]:
        yield 1
        raise DataError("The archive is empty.", "Choose another one.")

    listener = run(qtbot, Worker(job))
    assert listener.events == [1]
    assert listener.failures == [("The archive is empty.", "Choose another one.", "")]
    assert listener.ends == 1


def test_our_own_mistake_crosses_with_its_traceback(qtbot: QtBot) -> None:
    def job() -> Iterator[int]:
        yield 1
        raise AssertionError("arithmetic")

    [(error, remedy, details)] = run(qtbot, Worker(job)).failures
    assert error == "AssertionError: arithmetic"
    assert remedy == ""
    assert "in job" in details


def test_what_the_system_refuses_is_a_sentence_and_no_mistake_of_ours(
        qtbot: QtBot, caplog: pytest.LogCaptureFixture) -> None:
    def job() -> Iterator[int]:
        raise PermissionError(13, "Permission denied", "run/log.txt")
        yield

    with caplog.at_level("WARNING", "atlas_gui"):
        [(error, remedy, details)] = run(qtbot, Worker(job)).failures
    assert "in job" in caplog.text  # where it was, for whoever reads the log
    assert error == "run/log.txt cannot be used: Permission denied."
    assert remedy and not details


def test_a_failed_jobs_memory_is_free_and_given_back_when_its_end_is_heard(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Weights:
        """Stands for what a model holds."""

    alive: list[weakref.ref[Weights]] = []

    def job() -> Iterator[int]:
        weights = Weights()
        alive.append(weakref.ref(weights))
        yield 1
        raise RuntimeError(f"lost {type(weights).__name__}")

    alive_when_let_go: list[object] = []
    monkeypatch.setattr(worker_module, "let_go", lambda: alive_when_let_go.append(alive[0]()))
    gc.disable()
    try:
        run(qtbot, Worker(job))
    finally:
        gc.enable()
    assert alive_when_let_go == [None]


def test_whatever_letting_go_meets_the_job_has_ended(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("the card is gone")

    monkeypatch.setattr(worker_module, "let_go", fail)
    with qtbot.capture_exceptions() as told:
        run(qtbot, Worker(lambda: [1]))
    assert [str(error) for _, error, _ in told] == ["the card is gone"]


def test_a_flag_stops_the_job_and_its_thread(qtbot: QtBot) -> None:
    control = Control()

    def job() -> Iterator[int]:
        step = 0
        while not control.stopping:
            step += 1
            yield step
            control.wait(0.001)

    worker = Worker(job)
    listener = Listener(worker)
    worker.start()
    qtbot.waitUntil(lambda: len(listener.events) > 3)
    assert not worker.over
    control.stop()
    assert worker.wait(2000)
    assert worker.over


@pytest.mark.parametrize("items", [0, 1])
def test_a_job_without_news_ends_too(qtbot: QtBot, items: int) -> None:
    listener = run(qtbot, Worker(lambda: range(items)))
    assert (len(listener.events), listener.ends) == (items, 1)


class Foreman(QObject):
    """Starts a new job whenever one ends, as the session does when it lists the runs after a training."""

    def __init__(self) -> None:
        super().__init__()
        self.crew = Crew(self)
        self.ends = 0

    def go(self) -> None:
        self.crew.start("job", lambda: [1], on_event=self._on_event, on_failed=self._on_failed, on_ended=self._on_ended)

    @Slot(object)
    def _on_event(self, event: object) -> None:
        assert event == 1

    @Slot(str, str, str)
    def _on_failed(self, error: str, *_: str) -> None:
        raise AssertionError(error)

    @Slot()
    def _on_ended(self) -> None:
        self.ends += 1
        self.go()


def test_a_name_is_free_again_once_its_job_has_ended(qtbot: QtBot) -> None:
    foreman = Foreman()
    foreman.go()
    qtbot.waitUntil(lambda: foreman.ends >= 3)
    foreman.crew.join()


def test_after_joining_no_late_wish_starts_another_thread(qtbot: QtBot) -> None:
    foreman = Foreman()
    foreman.go()
    foreman.crew.join()
    qtbot.waitUntil(lambda: foreman.ends == 1)  # its last words arrive after all
    assert not foreman.crew.busy("job")
