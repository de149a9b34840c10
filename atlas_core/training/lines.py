"""Lines at the end of a file that outlive a full disk and a deleted folder. Knows nothing of what they say."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from io import FileIO
from pathlib import Path

from atlas_core import history
from atlas_core.paths import cannot_write, write_atomically

MOST_WAITING_BYTES = 64 * 2**20  # of lines that the disk did not take: hours of quick steps


class Lines:
    """A text file that grows by whole lines.

    What the disk does not take now waits in memory and goes first the next time, so the file is without a gap in the
    end. A folder that was deleted is laid out again with all that was in the file, for an open file keeps its content.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()  # training adds lines while a save makes them durable
        self._waiting = bytearray()
        self._file = self._open()

    @property
    def waiting_bytes(self) -> int:
        """How much of what was added has not been taken by the disk."""
        return len(self._waiting)

    def add(self, line: str) -> None:
        """Append one line. Raises `OSError` only where more waits than memory should hold."""
        with self._lock:
            self._waiting += line.encode("utf-8", errors="replace") + b"\n"
            try:
                self._write()
            except OSError:
                if len(self._waiting) > MOST_WAITING_BYTES:
                    raise

    def sync(self) -> None:
        """Make every line so far durable under the file's name. Raises `OSError` or `AtlasError` if that fails."""
        with self._lock:
            self._put_back()
            self._write()
            descriptor = self._file.fileno()
        os.fsync(descriptor)  # outside the lock: the next line need not wait for the disk

    def cut_back(self, step: int) -> None:
        """Forget the lines of later steps than `step`. Needs no room, so a full disk does not mind."""
        with self._lock:
            self._put_back()
            with suppress(OSError):
                self._write()
            self._file.seek(0)
            written = self._file.read()
            kept = history.length_up_to(written + bytes(self._waiting), step)
            self._file.truncate(min(kept, len(written)))
            del self._waiting[max(0, kept - len(written)):]

    def close(self) -> None:
        with self._lock:
            with suppress(OSError):
                self._write()
            self._file.close()

    def _open(self) -> FileIO:
        try:
            return open(self.path, "ab+", buffering=0)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _write(self) -> None:
        while self._waiting:  # a disk that fills up takes a part, in the middle of a line
            del self._waiting[: self._file.write(self._waiting)]

    def _put_back(self) -> None:
        """If the file's name is gone or another file's, write what is in the open one under it anew."""
        with suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                return
        self._file.seek(0)
        write_atomically(self.path, self._file.read())
        self._file.close()
        self._file = self._open()
