"""Checkpoints written beside training: a snapshot between two steps, the rest on a thread of its own.

Knows nothing of the loop. One snapshot is in flight at most, and whoever needs it on the disk waits for it.
"""

from __future__ import annotations

import errno
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from atlas_core import format as people
from atlas_core import memory, runs
from atlas_core.config import Config
from atlas_core.errors import AtlasError
from atlas_core.events import CheckpointSaved, Event, Notice
from atlas_core.hardware.ram import total_and_available_bytes
from atlas_core.paths import cannot_write
from atlas_core.runs import CheckpointInfo
from atlas_core.training import checkpoint, room
from atlas_core.training.checkpoint import Moment, Progress

SPARED_BYTES = 2**29  # of free memory that no snapshot takes
NICER_BY = 10
NO_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass
class _Save:
    """One checkpoint on its way. `stall_s` is what training has waited for it."""

    written: Future[list[Event]]
    stall_s: float


class Saver:
    """Saves the moments of one run; all methods are for the thread that trains.

    What becomes of a save is told by `news`, once it is safe on the disk or has failed. A failed one never raises:
    training goes on, and the older checkpoints are as they were.
    """

    def __init__(self, run: Path, config: Config, *, safe: Progress,
                 lay_out: Callable[[Config], None]) -> None:
        """`lay_out` makes the run's folder anew, in case somebody deletes it. `safe` is where the run stands."""
        self.run, self.config, self.lay_out = run, config, lay_out
        self.is_safe(safe)
        self.failed: AtlasError | None = None  # why the last save did, unless one has succeeded since
        self.best_in_doubt = False  # whether the best weights so far may not be on the disk
        self.laid_out: Callable[[], None] = _nothing  # called when that was done
        self.before_counting: Callable[[], None] = _nothing  # makes durable what must not be behind a checkpoint
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saving", initializer=_be_nicer)
        self._saves: deque[_Save] = deque()
        self._snapshot: Moment | None = None
        self._bytes = memory.checkpoint_bytes(config)

    def is_safe(self, progress: Progress) -> None:
        """A crash would cost what comes after `progress`, of which there is a checkpoint unless it is the beginning."""
        self.safe_step, self.safe_seconds = progress.step, progress.seconds

    @property
    def busy(self) -> bool:
        """Whether a save is in flight."""
        return any(not save.written.done() for save in self._saves)

    def would_wait(self, progress: Progress) -> bool:
        """Whether a save of this moment had to wait for one in flight; a second save of the same moment need not."""
        return self.busy and not self._shows(progress)

    def save(self, kind: str, moment: Moment, *, beside: bool = True, prunes: bool = True) -> None:
        """Begin to write `moment`; waits first for an earlier one that is in flight.

        It is written in its place, while training waits, unless `beside` and there is memory for a snapshot. Older
        checkpoints beyond the wished number go then, if it `prunes`.
        """
        fresh = not self._shows(moment.progress)
        if fresh:
            self.wait()
        started = time.perf_counter()
        if fresh:
            self._snapshot = None  # before the next is taken
            self._snapshot = snapshot(moment) if beside else None
        written = self._thread.submit(self._write, kind, self._snapshot or moment, beside, prunes)
        self._saves.append(_Save(written, time.perf_counter() - started))
        if self._snapshot is None:
            self.wait()

    def _shows(self, progress: Progress) -> bool:
        """Whether the snapshot is of this moment."""
        if self._snapshot is None:
            return False
        its = self._snapshot.progress
        return (its.step, its.text_step) == (progress.step, progress.text_step)

    def wait(self) -> None:
        """Until nothing is in flight."""
        started = time.perf_counter()
        wait([save.written for save in self._saves])
        if self._saves:
            self._saves[-1].stall_s += time.perf_counter() - started

    def news(self) -> Iterator[Event]:
        """What has come of the saves since this was asked last. Does not wait."""
        while self._saves and self._saves[0].written.done():
            save = self._saves.popleft()
            for event in save.written.result():
                yield replace(event, stall_s=save.stall_s) if isinstance(event, CheckpointSaved) else event
        if not self._saves:
            self._snapshot = None

    def close(self) -> None:
        """Wait for what is in flight and end the thread."""
        self._thread.shutdown()

    # ---- on the saving thread -------------------------------------------------------------------

    def _write(self, kind: str, moment: Moment, beside: bool, prunes: bool) -> list[Event]:
        started = time.perf_counter()
        name = checkpoint.file_name(kind, moment.step, math.floor(moment.epoch))
        path = self.run / runs.CHECKPOINTS_FOLDER / name
        gone: list[CheckpointInfo] = []
        try:
            if not runs.is_run(self.run):  # deleted or moved meanwhile: what is saved must be a run that can go on
                self.lay_out(self.config)
                self.laid_out()
            size = self._write_with_room(path, kind, moment, gone)
        except (AtlasError, OSError) as error:
            failure = cannot_write(path, error) if isinstance(error, OSError) else error
            return [*_told(gone), *self._not_written(kind, moment, failure, goes_on=beside)]
        self._bytes = size
        if prunes:
            keep = self.config.checkpointing
            with suppress(OSError):  # what cannot be deleted now stays until the next time
                checkpoint.prune(self.run, keep_steps=keep.keep_checkpoints, keep_epochs=keep.keep_epochs)
        if kind == "step":
            self.is_safe(moment.progress)
        elif kind == "best":
            self.best_in_doubt = False
        saved = CheckpointSaved(path, kind, moment.step, size, time.perf_counter() - started)
        again = [Notice("Checkpoints can be written again.")] if self.failed else []
        self.failed = None
        return [*_told(gone), *again, saved]

    def _write_with_room(self, path: Path, kind: str, moment: Moment, gone: list[CheckpointInfo]) -> int:
        """Write, and delete old step checkpoints (which are added to `gone`) as long as that is for lack of space."""
        gone += room.make(self.run, self._bytes)
        spare: list[CheckpointInfo] | None = None
        while True:
            try:
                return checkpoint.save(path, moment, kind=kind, before_counting=self.before_counting)
            except AtlasError as error:
                if spare is None and _is_full(error):  # by a quota, say, of which the free space tells nothing
                    spare = room.expendable(self.run)
                if not spare:
                    raise
                gone.append(spare.pop(0))
                checkpoint.remove(gone[-1].path)

    def _not_written(self, kind: str, moment: Moment, error: AtlasError, *, goes_on: bool) -> list[Event]:
        good, first = None, self.failed is None
        with suppress(OSError):  # a disk that is gone tells nothing
            good = runs.newest(self.run)
        kept = f"The last good one is {good.path}." if good else "There is no earlier one."
        self.failed = AtlasError(f"The checkpoint of step {people.count(moment.step)} could not be written. "
                                 f"{error.message} {kept}", error.remedy)
        self.best_in_doubt = self.best_in_doubt or kind == "best"
        later = " Training goes on and tries again soon." if goes_on else ""
        return [Notice(f"{self.failed.message}{later}", "warning")] if first or not goes_on else []


def _be_nicer() -> None:
    """Leave the processor to training, where the system counts priority by thread (Linux)."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may refuse
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICER_BY))


def snapshot(moment: Moment) -> Moment | None:
    """`moment` as it is now, whatever training does to it later; None where the memory is not free for that."""
    if moment.bytes > total_and_available_bytes()[1] - SPARED_BYTES:
        return None
    try:
        return replace(moment, state=_copied(moment.state))
    except (MemoryError, RuntimeError):  # torch says it so; nothing here computes
        return None


def _copied(value: Any) -> Any:
    """Tensors in memory of their own, the processor's; anything else that may change copied too."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_copied, value))
    return value


def _is_full(error: AtlasError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_SPACE


def _told(gone: list[CheckpointInfo]) -> list[Event]:
    if not gone:
        return []
    names, freed = ", ".join(info.path.name for info in gone), people.size(sum(info.bytes for info in gone))
    return [Notice(f"The disk is full: the oldest step checkpoints made room ({names}; {freed}).", "warning")]


def _nothing() -> None:
    pass
