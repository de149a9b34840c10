"""How far a job is, on a terminal as a bar that moves and elsewhere as a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 10.0


class Meter(Protocol):
    """Shows `done` of `total` under a label, with numbers in words beside it. `total` is 0 while nobody knows."""

    def update(self, label: str, done: int, total: int, numbers: str) -> None: ...

    def clear(self) -> None: ...

    def remark(self, sentence: str) -> None:
        """A line that may be left out where many come at once."""


class LiveMeter:
    """One bar at the bottom of a terminal; what is printed meanwhile scrolls by above it."""

    def __init__(self, console: Console, say: Callable[[str], None]) -> None:
        self._console = console
        self._say = say
        self._bar: Progress | None = None
        self._label = ""

    def update(self, label: str, done: int, total: int, numbers: str) -> None:
        if self._bar is None or label != self._label:
            self._begin(label)
        assert self._bar is not None
        self._bar.update(self._bar.task_ids[0], completed=done, total=total or None, numbers=numbers)

    def clear(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def remark(self, sentence: str) -> None:
        self._say(sentence)

    def _begin(self, label: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self.clear()
        self._label = label
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[numbers]}"))
        self._bar = Progress(*columns, console=self._console, expand=True, refresh_per_second=10)
        self._bar.add_task(label, total=None, numbers="")
        self._bar.start()


class LineMeter:
    """A line at the beginning, at the end, and every ten seconds between: enough for a log file."""

    def __init__(self, say: Callable[[str], None], *, now: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._now = now
        self._label = ""
        self._next_at = self._next_remark_at = 0.0

    def update(self, label: str, done: int, total: int, numbers: str) -> None:
        due = label != self._label or done == total or self._now() >= self._next_at
        if due:
            self._label = label
            self._next_at = self._now() + SECONDS_BETWEEN_LINES
            self._say(f"{label} {numbers}")

    def clear(self) -> None:
        self._label = ""

    def remark(self, sentence: str) -> None:
        if self._now() >= self._next_remark_at:
            self._next_remark_at = self._now() + SECONDS_BETWEEN_LINES
            self._say(sentence)
