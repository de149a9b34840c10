"""Where things lie: the program's own resources, and what it writes for its user."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import time
import uuid
from importlib.resources import files
from pathlib import Path

import platformdirs

from atlas_core.errors import AtlasError

MOST_NAME_BYTES = 100
# Windows replaces no file that somebody reads just now, be it a virus scanner; other systems do.
PATIENCE_SECONDS = 5.0 if sys.platform == "win32" else 0.0


def resource(*parts: str) -> Path:
    """A file that travels with the program, such as `resource("presets", "tiny.yaml")`."""
    return Path(str(files("atlas_resources").joinpath(*parts)))


def home() -> Path:
    """The folder for the user's datasets, runs and presets; `ATLAS_HOME` moves it."""
    chosen = os.environ.get("ATLAS_HOME")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("AtlasStudio", appauthor=False))


def datasets_dir() -> Path:
    return home() / "datasets"


def runs_dir() -> Path:
    return home() / "runs"


def user_presets_dir() -> Path:
    return home() / "presets"


def exports_dir() -> Path:
    return home() / "exports"


def crash_file() -> Path:
    """Where the window's process was as it died of no Python error."""
    return home() / "atlas-studio-crash.log"


def log_file() -> Path:
    """The program's own log (not a run's)."""
    return home() / "atlas-studio.log"


def fresh_folder(parent: Path, name: str) -> Path:
    """A folder `parent/name` that does not exist yet; `name-2`, `name-3` ... if it is taken.

    Only names the folder: the caller creates it.
    """
    clean = file_name(name)
    candidate, number = parent / clean, 2
    while candidate.exists():
        candidate, number = parent / f"{clean}-{number}", number + 1
    return candidate


def file_name(name: str) -> str:
    """`name` without what some file system refuses or takes for a folder."""
    return shortened(re.sub(r"[^\w.-]+", "-", name).lstrip("-.")).rstrip("-.") or "untitled"


def shortened(name: str) -> str:
    """`name` cut where it would leave no room for what is added to it: most systems end names at 255 bytes."""
    while len(os.fsencode(name)) > MOST_NAME_BYTES:
        name = name[:-1]
    return name


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either the old bytes or all the new ones, even on power loss."""
    temporary = beside(path)
    try:
        _refuse_device(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        discard(temporary)
        raise cannot_write(path, error) from error


def refuse_unwritable(path: Path) -> None:
    """Raise now the `AtlasError` that writing `path` would raise after long work."""
    temporary = beside(path)
    try:
        if path.is_dir():
            raise IsADirectoryError
        _refuse_device(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        discard(temporary)


def beside(path: Path) -> Path:
    """A hidden name in the same folder, for what becomes `path` once it is whole."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def replace(source: Path, target: Path) -> None:
    """`os.replace` that waits a little for a reader of `target` to finish, where the system minds one."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(0.05)


def _refuse_device(path: Path) -> None:
    """A rename would put a file in the place of a pipe, or of the system's /dev/null."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))


def discard(path: Path) -> None:
    """Remove a file that nobody needs; if it cannot be removed now, it stays."""
    with contextlib.suppress(OSError):
        path.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable, where the system can (Windows has no such call)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems without it, such as some shared folders
            raise
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> AtlasError:
    """The one sentence for a failed write, whatever failed."""
    if isinstance(error, IsADirectoryError):
        reason = "it is a folder"
    elif isinstance(error, (FileExistsError, NotADirectoryError)):
        reason = "a part of its path is a file, not a folder"
    else:  # numpy names no reason when a write falls short, only two counts
        reason = error.strerror or "not all of it could be written; the disk may be full"
    return AtlasError(f"Cannot write {path}: {reason}.", "Free some space or choose a folder you may write to.")
