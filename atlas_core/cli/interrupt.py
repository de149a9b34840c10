"""Ctrl+C and its relatives, turned into a wish to stop that a job can honour.

Not here: what stopping means; that is the job's business.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from atlas_core.cli.show import Show
from atlas_core.control import Control

# A closed terminal (SIGHUP, where there is one) ends a job as gently as Ctrl+C does.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def stoppable(show: Show, *, saves: bool = False) -> Iterator[Control]:
    """A `Control` that the first signal stops. The second breaks off at once, unless the job is saving.

    A signal's handler may run in the middle of any statement, also while a lock is held, so it only puts into
    a queue (which allows that); a thread of ours takes it from there.
    """
    control = Control()
    arrived: SimpleQueue[int] = SimpleQueue()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if control.stopping and not saves:
            raise KeyboardInterrupt
        arrived.put(number)

    def listen() -> None:
        while arrived.get():
            again = control.stopping
            control.stop()
            show.say(_answer(again=again, saves=saves))

    # A signal that is ignored, as SIGHUP is under nohup, stays so.
    heeded = [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    listener = threading.Thread(target=listen, name="signals", daemon=True)
    listener.start()
    previous = {number: signal.signal(number, on_signal) for number in heeded}
    try:
        with show.stops(control):
            yield control
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        arrived.put(0)
        listener.join()


def _answer(*, again: bool, saves: bool) -> str:
    if again:
        return "Still saving; nothing is lost."
    return "Stopping after this step, then saving ..." if saves else "Stopping ..."
