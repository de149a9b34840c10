"""Keeps the computer from falling asleep while it works. The screen may go dark; where it cannot be done, it is not.

The library wakepy knows how each system wants to be asked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

SLOWEST_ANSWER_S = 1.0


@contextmanager
def awake(wished: bool) -> Iterator[None]:
    """While this lasts, the computer does not fall asleep by itself, if that is wished and the system allows it.

    The asking is done in a thread of its own. It must begin and end in one and the same, while a job may be closed
    in another than it began in; and a desktop that is slow to answer holds nothing up for long.
    """
    if not wished:
        yield
        return
    over = threading.Event()
    keeper = threading.Thread(target=_keep_until, args=(over,), name="keep-awake", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join(SLOWEST_ANSWER_S)


def _keep_until(over: threading.Event) -> None:
    from wakepy import keep

    with keep.running(on_fail="pass"):  # a server or a container has nobody to ask, and does not sleep either
        over.wait()
