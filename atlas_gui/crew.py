"""The workers that are at work: starts them, keeps them alive until their threads are joined, lets go of them.

Knows their names and nothing of what they do.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, Signal, SignalInstance, Slot

from atlas_gui.worker import Job, Worker

Handler = Callable[..., None] | SignalInstance


class Crew(QObject):
    """At most one worker of each name. Handlers are methods or signals of a QObject, so that they run on its thread."""

    started = Signal(str)  # the name of the worker

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._workers: dict[str, Worker] = {}
        self._closed = False

    def start(self, name: str, job: Job, *, on_event: Handler, on_failed: Handler,
              on_ended: Handler | None = None) -> None:
        """Run `job` in its own thread. `on_ended` comes last, when the name is free again. After `join`: nothing."""
        if self._closed:  # the last words of a joined worker may still be on their way, and wish for more work
            return
        assert not self.busy(name), f"{name} is already at work"
        worker = Worker(job, name=name)
        worker.event_emitted.connect(on_event)
        worker.failed.connect(on_failed)
        worker.ended.connect(self._let_go)
        if on_ended is not None:
            worker.ended.connect(on_ended)
        self._workers[name] = worker
        worker.start()
        self.started.emit(name)

    def busy(self, name: str) -> bool:
        return name in self._workers

    def at_work(self) -> set[str]:
        """The names of all that are busy."""
        return set(self._workers)

    def join(self) -> None:
        """Wait for every thread, however long: one destroyed at work takes the process down with it.

        Whoever calls this has asked the jobs to stop.
        """
        self._closed = True
        for worker in self._workers.values():
            worker.wait()
        self._workers.clear()

    @Slot()
    def _let_go(self) -> None:
        for name, worker in list(self._workers.items()):
            if worker.over:
                worker.wait()
                del self._workers[name]
