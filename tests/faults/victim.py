"""A training that meets with an accident: the calls below Python's file functions are counted, and one is the last.

Knows nothing of how the program saves: it patches `open` and some of `os` in its own process, then hands over to
the command `atlas`. Buffers are of a megabyte, so a tiny checkpoint is one write, which is cut in the middle.
"""

from __future__ import annotations

import builtins
import functools
import io
import json
import os
import pathlib
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
BUFFER_BYTES = 2**20
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PATH_CALLS = ("unlink", "remove", "mkdir", "rmdir", "truncate")  # with the path as first argument
MOVES = ("replace", "rename")


@dataclass(frozen=True)
class Plan:
    """What happens to a training in `folder`.

    It dies `when` ("before", "after", or "cut": in the middle of a write, else before) its `moment`-th call that
    changes a file; 0 is never. Lines that are added to a file are counted for themselves (`lines`): training adds
    them while another thread saves, so the calls of both have no order in common. `power`: what the disk was not
    told to keep is lost too. `calls` is a file that takes a line for each call. `clock` is (seconds added to the
    clock, number of looks at it, seconds added from then on). `limit_bytes`: no file grows beyond. `user`: who it
    runs as, 0 for whoever starts it.
    """

    folder: str = ""
    moment: int = 0
    when: str = "before"
    lines: bool = False
    power: bool = False
    calls: str = ""
    clock: tuple[float, int, float] = (0.0, 0, 0.0)
    limit_bytes: int = 0
    user: int = 0

    def to_json(self) -> str:
        return json.dumps(vars(self))

    @staticmethod
    def from_json(text: str) -> Plan:
        return Plan(**json.loads(text))


class Accident:
    """Counts the calls of a process and ends it at the one that was chosen."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = os.path.abspath(plan.folder)  # noqa: PTH100 - as the patched functions see it
        self._lock = threading.Lock()
        self._counts = {True: 0, False: 0}
        self._calls = os.open(plan.calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if plan.calls else -1
        self._write, self._kill = os.write, os.kill
        self._cache = Cache(self._folder) if plan.power else None

    def concerns(self, path: Any) -> bool:
        """Whether `path` is the folder or lies in it."""
        if not isinstance(path, (str, os.PathLike)):
            return False
        place = os.path.abspath(os.fspath(path))  # noqa: PTH100
        return place == self._folder or place.startswith(self._folder + os.sep)

    def call(self, name: str, path: Any, do: Callable[[], T], half: Callable[[], object] | None = None) -> T:
        """Make a call of the program, unless its moment has come."""
        lines = name == "add"
        with self._lock:
            self._counts[lines] += 1
            fatal = self._counts[lines] == self._plan.moment and lines == self._plan.lines
            if self._calls >= 0:
                where = os.path.relpath(path, self._folder)
                self._write(self._calls, f"{self._counts[lines]} {name} {where}\n".encode())
        if fatal and self._plan.when != "after":
            if self._plan.when == "cut" and half is not None:
                half()
            self._die()
        if self._cache is not None:
            self._cache.before(name, str(path))
        result = do()
        if fatal:
            self._die()
        return result

    def _die(self) -> None:
        if self._cache is not None:
            self._cache.lose()
        self._kill(os.getpid(), signal.SIGKILL)


class Cache:
    """What the system has not yet brought to the disk, for losing it: unsynced ends of files, unsynced names.

    The harshest that POSIX allows to one who calls fsync: all of it is lost. Real file systems lose some of it.
    """

    def __init__(self, folder: str) -> None:
        self._shadow = f"{folder}.shadow-{os.getpid()}"
        os.makedirs(self._shadow, exist_ok=True)  # noqa: PTH103
        self._lengths: dict[int, tuple[str, int]] = {}  # inode -> a name it has now, bytes that are safe
        self._undo: list[tuple[str, Callable[[], None]]] = []  # folder, what its loss brings back
        self._link, self._replace, self._unlink = os.link, os.replace, os.unlink
        self._truncate, self._number = os.truncate, 0

    def before(self, name: str, path: str) -> None:
        """Take note of what a call is about to change."""
        if name in ("write", "add") and os.path.exists(path):  # noqa: PTH110
            found = os.stat(path)  # noqa: PTH116
            self._lengths.setdefault(found.st_ino, (path, found.st_size))
        elif name == "fsync":
            self._lengths.pop(os.stat(path).st_ino, None)  # noqa: PTH116
            self._undo = [(folder, undo) for folder, undo in self._undo if folder != path]
        elif name in ("unlink", "remove"):
            self._keep(path)

    def moving(self, source: str, target: str) -> None:
        """A file is about to take the place of another."""
        before = self._saved(target)
        inode = os.stat(source).st_ino  # noqa: PTH116
        if inode in self._lengths:
            self._lengths[inode] = (target, self._lengths[inode][1])

        def undo() -> None:
            self._replace(target, source)
            if before:
                self._replace(before, target)

        self._undo.append((os.path.dirname(target), undo))  # noqa: PTH120

    def _keep(self, path: str) -> None:
        before = self._saved(path)
        if before:
            self._undo.append((os.path.dirname(path), lambda: self._replace(before, path)))  # noqa: PTH120

    def _saved(self, path: str) -> str:
        """A second name for the file at `path`, out of the program's sight; "" if there is none."""
        if not os.path.exists(path):  # noqa: PTH110
            return ""
        self._number += 1
        name = f"{self._shadow}/{self._number}"
        self._link(path, name)
        return name

    def lose(self) -> None:
        for path, safe_bytes in list(self._lengths.values()):  # the other thread may be at a call of its own
            if os.path.exists(path) and os.stat(path).st_size > safe_bytes:  # noqa: PTH110, PTH116
                self._truncate(path, safe_bytes)
        for _, undo in reversed(self._undo):
            undo()


class WatchedFile(io.FileIO):
    """A file whose writes to the system are calls that count."""

    def __init__(self, accident: Accident, path: str, mode: str, opener: Any) -> None:
        self._accident, self._path, self._name = accident, path, "add" if "a" in mode else "write"
        super().__init__(path, mode, opener=opener)

    def write(self, data: Any) -> int:
        whole = memoryview(data).cast("B")
        return self._accident.call(self._name, self._path, lambda: io.FileIO.write(self, whole),
                                   half=lambda: io.FileIO.write(self, whole[:len(whole) // 2]))


def patch(plan: Plan) -> None:
    """Let this process meet with `plan`."""
    if plan.folder and (plan.moment or plan.calls):
        accident = Accident(plan)
        _patch_open(accident)
        _patch_os(accident)
    if any(plan.clock):
        _patch_clock(*plan.clock)
    if plan.limit_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan.limit_bytes, plan.limit_bytes))
    if plan.user:
        os.setgroups([])
        os.setgid(plan.user)
        os.setuid(plan.user)


def _patch_open(accident: Accident) -> None:
    plain = builtins.open

    @functools.wraps(plain)
    def watched(file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None,
                errors: str | None = None, newline: str | None = None, closefd: bool = True,
                opener: Any = None) -> Any:
        if not set(mode) & set("wax+") or not accident.concerns(file):
            return plain(file, mode, buffering, encoding, errors, newline, closefd, opener)
        path, raw_mode = os.fspath(file), mode.replace("b", "").replace("t", "")
        raw = accident.call("open", path, lambda: WatchedFile(accident, path, raw_mode, opener))
        if buffering == 0:
            return raw
        buffer = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw, BUFFER_BYTES)
        if "b" in mode:
            return buffer
        return io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1)

    builtins.open = io.open = watched  # type: ignore[assignment]


def _patch_os(accident: Accident) -> None:
    def one_path(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(plain)
        def watched(path: Any, *args: Any, **more: Any) -> Any:
            if not accident.concerns(path):
                return plain(path, *args, **more)
            return accident.call(name, path, lambda: plain(path, *args, **more))
        return watched

    def move(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(plain)
        def watched(source: Any, target: Any, **more: Any) -> Any:
            if not accident.concerns(target):
                return plain(source, target, **more)
            return accident.call(name, target, lambda: _moved(accident, plain, source, target, more))
        return watched

    plain_fsync, plain_open = os.fsync, os.open

    def fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        path = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
        if not accident.concerns(path):
            return plain_fsync(number)
        return accident.call("fsync", path, lambda: plain_fsync(number))

    @functools.wraps(plain_open)
    def opened(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if not flags & WRITING or not accident.concerns(path):
            return plain_open(path, flags, *args, **more)
        return accident.call("open", path, lambda: plain_open(path, flags, *args, **more))

    changed = {name: one_path(name, getattr(os, name)) for name in PATH_CALLS}
    changed |= {name: move(name, getattr(os, name)) for name in MOVES}
    for name, function in {**changed, "fsync": fsync, "open": opened}.items():
        setattr(os, name, function)
        accessor = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10 keeps functions of its own
        if hasattr(accessor, name):
            setattr(accessor, name, staticmethod(function))


def _moved(accident: Accident, plain: Callable[..., Any], source: Any, target: Any, more: dict[str, Any]) -> Any:
    if accident._cache is not None:
        accident._cache.moving(str(source), str(target))
    return plain(source, target, **more)


def _patch_clock(first_s: float, looks: int, later_s: float) -> None:
    plain, looked = time.time, 0

    def clock() -> float:
        nonlocal looked
        looked += 1
        return plain() + (first_s if looked <= looks else later_s)

    time.time = clock


def live(plan: Plan, words: Sequence[str]) -> int:
    """Be the command `atlas` with these words; returns its exit status."""
    from atlas_core.cli import main

    patch(plan)
    return main(words)


if __name__ == "__main__":
    Path(sys.argv[0]).resolve(strict=True)  # fails here rather than under the patches if started in a strange way
    sys.exit(live(Plan.from_json(sys.argv[1]), sys.argv[2:]))
