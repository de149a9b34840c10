"""Where the events of a job become visible: as JSON lines for programs, or as text and bars for people.

The only place that writes to standard output. Knows no job.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from atlas_core import format as people
from atlas_core.cli import sentences
from atlas_core.cli.meter import LineMeter, LiveMeter, Meter
from atlas_core.cli.rate_plot import rate_plot
from atlas_core.control import Control
from atlas_core.events import (
    Cooling,
    EpochDone,
    Estimate,
    EvalDone,
    Event,
    Failed,
    Finished,
    Healed,
    Notice,
    Progress,
    RateFound,
    RatePoint,
    RolledBack,
    RunStarted,
    SampleDrawn,
    StepDone,
    StepSkipped,
)
from atlas_core.pace import Pace

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200  # where nobody's window limits it, a table need not be cut
CONTROL = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


class OutputError(OSError):
    """What is shown cannot be written: a full disk, a terminal that is gone."""


class Show(ABC):
    """Takes events and shows them. `finished` is the last `Finished` among them."""

    finished: Finished | None = None
    _control: Control | None = None
    _reader_gone = False
    _within_part = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.finished = event
            if self._within_part and not self.interrupted:
                return
        self._write(self._show, event)

    @property
    def interrupted(self) -> bool:
        """Whether the command ended before its work was done."""
        return self.finished is not None and not self.finished.complete

    @contextmanager
    def part(self) -> Iterator[None]:
        """While this lasts, a job that is done is not the end of the command, so its `Finished` is not shown."""
        before, self._within_part = self._within_part, True
        try:
            yield
        finally:
            self._within_part = before

    @contextmanager
    def stops(self, control: Control) -> Iterator[None]:
        """While this lasts, output that fails (`atlas train | head`, a closed terminal) stops the job gently."""
        self._control = control
        try:
            yield
        finally:
            self._control = None

    def _write(self, write: Any, *values: Any) -> None:
        if self._reader_gone:
            return
        try:
            write(*values)
        except (OSError, SystemExit) as gone:
            if self._control is None:
                if isinstance(gone, (BrokenPipeError, SystemExit)):  # rich makes this of a broken pipe
                    raise BrokenPipeError from gone
                raise OutputError(gone.errno, gone.strerror) from gone
            self._reader_gone = True
            self._control.stop()

    def __enter__(self) -> Show:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _show(self, event: Event) -> None: ...

    @abstractmethod
    def say(self, sentence: str) -> None:
        """A line for people only; any thread may call it."""

    @abstractmethod
    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table for people only."""

    @abstractmethod
    def text(self, piece: str) -> None:
        """A piece of generated text, for people only, exactly as it is."""

    @abstractmethod
    def keep_stdout_clean(self) -> None:
        """From now on only `text` goes to standard output."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Leave the terminal as it was."""


class JsonLines(Show):
    """One event a line on standard output, and nothing else."""

    def _show(self, event: Event) -> None:
        sys.stdout.write(event.to_json() + "\n")
        sys.stdout.flush()

    def say(self, sentence: str) -> None:
        """Programs read events."""

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Programs read events."""

    def text(self, piece: str) -> None:
        """Programs read events."""

    def keep_stdout_clean(self) -> None:
        """It is: events are all there is."""


class Terminal(Show):
    """Text for people: a live bar where there is a terminal, plain lines at intervals where there is none."""

    def __init__(self) -> None:
        self._stream: TextIO = sys.stdout
        self._run: RunStarted | None = None
        self._pace = Pace()
        self._cooling = ""

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console  # late: `atlas --help` needs none of it

        width = None if self._stream.isatty() else PIPE_WIDTH
        return Console(file=self._stream, width=width, highlight=False, markup=False, emoji=False)

    @cached_property
    def _meter(self) -> Meter:
        return LiveMeter(self._console, self.say) if self._console.is_terminal else LineMeter(self.say)

    def _show(self, event: Event) -> None:  # noqa: PLR0912 - a branch for each kind of event
        if isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, Cooling):
            self._cooling = people.cooling(event.state, event.target_c, event.idle, event.limit_w)
        elif isinstance(event, RunStarted):
            self._run, self._pace, self._cooling = event, Pace(), ""
            self._line(sentences.sentence(event))
        elif isinstance(event, EvalDone):
            in_run = f" ({sentences.compared(event)})" if self._run else ""  # a single evaluation has no rivals
            self._line(sentences.sentence(event) + in_run)
        elif isinstance(event, SampleDrawn):
            self._sample(event)
        elif isinstance(event, Notice):
            self._line(event.message, style="yellow" if event.level == "warning" else "")
        elif isinstance(event, (StepSkipped, RolledBack, Healed)):
            self._line(sentences.sentence(event), style="yellow")
        elif isinstance(event, Estimate):
            self._estimate(event)
        elif isinstance(event, EpochDone):
            self._meter.remark(sentences.sentence(event))
        elif isinstance(event, RatePoint):
            self._meter.update("rate", event.step, event.steps, sentences.rate_point(event))
        elif isinstance(event, RateFound):
            self._rate_found(event)
        elif isinstance(event, Failed):
            self._failed(event)
        elif sentence := sentences.sentence(event):
            if isinstance(event, Finished):
                self.close()
            self._line(sentence)

    def say(self, sentence: str) -> None:
        self._write(self._line, sentence)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._write(self._table, headings, rows)

    def text(self, piece: str) -> None:
        self._write(_print_now, _harmless(piece) if sys.stdout.isatty() else piece)

    def keep_stdout_clean(self) -> None:
        self.__dict__.pop("_console", None)
        self._stream = sys.stderr

    def close(self) -> None:
        if "_meter" in self.__dict__:
            self._meter.clear()

    def _line(self, text: str, *, style: str = "") -> None:
        self._console.print(_harmless(people.plain(text)), style=style or None, soft_wrap=True)

    def _table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich import box
        from rich.table import Table

        table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*map(people.plain, row))
        self._console.print(table)

    def _progress(self, event: Progress) -> None:
        self._meter.update(event.label or event.unit, event.done, event.total, sentences.progress(event))

    def _step(self, event: StepDone) -> None:
        assert self._run is not None, "a run begins before its first step"
        self._pace.add(event.step, event.seconds)
        total = self._run.max_steps
        numbers = sentences.step(event, max_steps=total, seconds_left=self._pace.seconds_left(total))
        self._meter.update("step", event.step, total, people.plain("  ".join(filter(None, (numbers, self._cooling)))))

    def _sample(self, event: SampleDrawn) -> None:
        self._line(f"sample at step {people.count(event.step)}:", style="bold")
        for line in (event.prompt + event.text or "(nothing)").split("\n"):
            self._line(f"  | {line}")

    def _estimate(self, event: Estimate) -> None:
        self._table(("for", "bytes"), [(name, people.size(size)) for name, size in sentences.memory_items(event)])
        self._line(sentences.sentence(event))

    def _rate_found(self, event: RateFound) -> None:
        self.close()
        for line in (*rate_plot(event), sentences.sentence(event)):
            self._line(line)

    def _failed(self, event: Failed) -> None:
        self.close()
        for line in (event.error, event.remedy):
            if line:
                print(people.plain(line), file=sys.stderr)


def _harmless(text: str) -> str:
    """Without control characters: an untrained model writes them too, and a terminal would obey."""
    return text.translate(CONTROL)


def _print_now(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def silence_stdout() -> None:
    """After a broken pipe: Python flushes standard output once more at exit, and must not complain then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
