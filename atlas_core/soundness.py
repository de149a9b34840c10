"""Whether checkpoints are still what was written. Reads every byte of them, which `runs` never does; needs no torch."""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from pathlib import Path
from typing import IO

from atlas_core import runs
from atlas_core.reading import json_file
from atlas_core.runs import CheckpointInfo


def newest_sound(run: Path, *, until: float = math.inf,
                 best_until: float = math.inf) -> tuple[CheckpointInfo | None, tuple[Path, ...]]:
    """The newest checkpoint of a run that is what was written, and the newer ones that are not.

    Those of steps after `until` are left out, and the best one if it is after `best_until`.
    """
    damaged: list[Path] = []
    for step, path in sorted(_written(run), reverse=True):
        if step > (best_until if path.name == runs.BEST else until):
            continue
        info = runs.read_sidecar(path)
        if info is not None and is_as_written(path):
            return info, tuple(damaged)
        damaged.append(path)
    return None, tuple(damaged)


def is_as_written(checkpoint: Path) -> bool:
    """Whether the file has the digest that its sidecar names."""
    try:
        about = json_file(runs.sidecar(checkpoint))
        return bool(about["sha256"] == sha256(checkpoint))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return digest(file)


def digest(file: IO[bytes]) -> str:
    """SHA-256 of an open file from where it stands, in hexadecimal."""
    found = hashlib.sha256()
    while block := file.read(2**20):
        found.update(block)
    return found.hexdigest()


def _written(run: Path) -> list[tuple[int, Path]]:
    """Every checkpoint that was once whole, with its step; also one that has lost its end since."""
    found = []
    for path in (run / runs.CHECKPOINTS_FOLDER).glob("atlas_*.pt"):
        with suppress(OSError, ValueError, OverflowError, KeyError, TypeError):
            about = json_file(runs.sidecar(path))
            found.append((int(about["step"]), path))
    return found
