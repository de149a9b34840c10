"""Who trains a run: one process at a time, held by a lock of the operating system, so a crash leaves none behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from atlas_core.errors import CheckpointError
from atlas_core.paths import cannot_write, discard

LOCK_FILE = ".lock"
LOOK_S = 0.5  # who only looks whether a run is claimed holds its lock for less


class Claim:
    """The locks by which a process owns the folder of a run."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._locks = [_lock(run)]
        self._locks[0].acquire(timeout=LOOK_S)

    def renew(self) -> None:
        """Own the folder too that was laid out anew in the place of one that was deleted, with its lock.

        If another process was quicker, it stays theirs.
        """
        if not (self._run / LOCK_FILE).exists():
            lock = _lock(self._run)
            with suppress(Timeout, OSError):
                lock.acquire(timeout=0)
                self._locks.append(lock)

    def release(self) -> None:
        for lock in self._locks:
            lock.release()


@contextmanager
def claimed(run: Path) -> Iterator[Claim]:
    """Own the folder `run`, which is made if need be, and removed again if nothing came of it.

    Raises `CheckpointError` if another process trains it now.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        claim = Claim(run)
    except Timeout:
        raise taken(run) from None
    except OSError as error:
        raise cannot_write(run, error) from error
    try:
        yield claim
    finally:
        claim.release()
        if run.is_dir() and {path.name for path in run.iterdir()} <= {LOCK_FILE}:
            discard(run / LOCK_FILE)
            with suppress(OSError):
                run.rmdir()


def taken(run: Path) -> CheckpointError:
    """The sentence for a run that is not ours to train now."""
    return CheckpointError(f"{run} is being trained by another process now.",
                           "Wait for it, stop it, or choose a new folder.")


def is_claimed(run: Path) -> bool:
    """Whether some process trains this run now."""
    if not (run / LOCK_FILE).exists():
        return False
    lock = _lock(run)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written is nobody's
        return False
    lock.release()
    return False


def _lock(run: Path) -> FileLock:
    return FileLock(run / LOCK_FILE, thread_local=False)  # a job may be closed by another thread than its own
