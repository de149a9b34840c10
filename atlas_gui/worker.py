"""Runs one long job in its own thread and turns what it reports into signals.

All the threading code of the window is here. It knows no job: anything that returns an iterator will do.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable

from PySide6.QtCore import QObject, Qt, QThread, Signal, Slot

from atlas_core.errors import AtlasError, refused
from atlas_core.hardware.device import let_go

STACK_BYTES = 16 * 2**20  # macOS gives a second thread 512 kB, too little for torch
NICENESS = 10  # the window stays fluent while every core computes, and nothing is lost when it is idle

log = logging.getLogger("atlas_gui")

Job = Callable[[], Iterable[object]]


class Worker(QObject):
    """Walks through `job()` in a thread of its own.

    Signals, in this order and on the thread of whoever listens: `event_emitted` for every item, at most
    one `failed(error, remedy, details)`, then `ended` exactly once, when the thread is over. Errors cross as text:
    a kept exception would pin its frames, and with them the memory of a model.

    Connect methods of a QObject, never a lambda: a lambda would run in the worker's thread.
    """

    event_emitted = Signal(object)
    failed = Signal(str, str, str)
    ended = Signal()

    def __init__(self, job: Job, *, name: str = "job") -> None:
        super().__init__()
        self._job = job
        self._over = False
        self._thread = QThread()
        self._thread.setObjectName(name)
        self._thread.setStackSize(STACK_BYTES)
        self.moveToThread(self._thread)
        self._thread.started.connect(self._run)
        # DirectConnection: the thread is about to end, it has no loop left to deliver anything.
        self._thread.finished.connect(self.ended, Qt.ConnectionType.DirectConnection)

    def start(self) -> None:
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether the job has come to its end; its thread is gone a moment later."""
        return self._over

    def wait(self, milliseconds: int = -1) -> bool:
        """Join the thread; False if it is still running after that time. Ask the job to stop first."""
        return self._thread.wait(milliseconds) if milliseconds >= 0 else self._thread.wait()

    @Slot()
    def _run(self) -> None:
        _be_nice()
        try:
            for event in self._job():
                self.event_emitted.emit(event)
        except AtlasError as error:
            self.failed.emit(error.message, error.remedy, "")
        except MemoryError:
            self.failed.emit("The memory is full.", "Close other programs, or choose a smaller preset.", "")
        except OSError as error:  # a disk that is full, a file that another program holds
            log.warning("%s", self._thread.objectName(), exc_info=True)
            self.failed.emit(*refused(error), "")
        except Exception as error:  # noqa: BLE001 - this is the border: whatever it was, the person is told
            self.failed.emit(f"{type(error).__name__}: {error}", "", traceback.format_exc())
        finally:
            self._job = _nothing  # lets go of what the job held, before anybody hears that it ended
            try:
                let_go()
            finally:
                self._over = True
                self._thread.quit()


def _nothing() -> Iterable[object]:
    return ()


def _be_nice() -> None:
    """Lower this thread's priority, where the system counts it by thread (Linux)."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        nicer = max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread))  # only root may become less nice again
        os.setpriority(os.PRIO_PROCESS, thread, nicer)
