"""Whether checkpoints are still what was written. Reads every byte of them, which `runs` never does; needs no torch."""

from __future__ import annotations

import hashlib
import json
import math
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from atlas_core import runs
from atlas_core.reading import json_file
from atlas_core.runs import CheckpointInfo


def newest_sound(run: Path, *, until: float = math.inf,
                 best_until: float = math.inf) -> tuple[CheckpointInfo | None, tuple[Path, ...]]:
    """The newest checkpoint of a run that is what was written, and those passed over: `flaw` tells why.

    The best one is looked at as well, for nobody else would notice in time. Older ones than the newest are not read.
    Those of steps after `until` are left out, and the best one if it is after `best_until`.
    """
    steps = {path: _step(path) for path in _named(run)}
    flawed = [path for path, step in steps.items() if step is None]
    newest = None
    known = [(step, not runs.is_stand_in(path), path) for path, step in steps.items() if step is not None]
    for step, _, path in sorted(known, reverse=True):
        is_best = path.name == runs.BEST
        if step > (best_until if is_best else until) or (newest is not None and not is_best):
            continue
        info = runs.read_sidecar(path)
        if info is None or not is_as_written(path):
            flawed.append(path)
        elif newest is None:
            newest = info
    return newest, tuple(flawed)


def flaw(checkpoint: Path) -> str:
    """In a few words, what is wrong with a checkpoint that was passed over."""
    if not checkpoint.exists():
        return f"{checkpoint.name} is gone and only its .json is there"
    if not runs.sidecar(checkpoint).exists():
        return f"{checkpoint.name} was never finished and has no .json"
    return f"{checkpoint.name} is damaged"


def is_as_written(checkpoint: Path) -> bool:
    """Whether the file has the digest that its sidecar names, and the sidecar its own."""
    try:
        about = json_file(runs.sidecar(checkpoint))
        stat = checkpoint.stat()
        if about.get("seal", seal(about)) != seal(about):  # older sidecars have none
            return False
        return bool(about["sha256"] == _sha256_of(checkpoint, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def seal(about: dict[str, Any]) -> str:
    """The digest of what a sidecar tells: a step that became another would hide a checkpoint, or prefer it."""
    told = {name: value for name, value in about.items() if name != "seal"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=64)
def _sha256_of(path: Path, _inode: int, _size: int, _changed_ns: int) -> str:
    """Gigabytes need not be read again for every question about them."""
    return sha256(path)


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


def _named(run: Path) -> list[Path]:
    """The checkpoints of a run, also those of which one of the two files is missing.

    While a checkpoint takes the place of an older one, a `.json` may be alone for a moment; that is no flaw.
    """
    folder = run / runs.CHECKPOINTS_FOLDER
    found = set(folder.glob("atlas_*.pt"))
    alone = {path.with_suffix(".pt") for path in folder.glob("atlas_*.json")} - found
    changing = {path for path in alone if runs.is_stand_in(path) or runs.stand_in(path) in found}
    return sorted(found | (alone - changing))


def _step(checkpoint: Path) -> int | None:
    """What the sidecar says of a checkpoint that is there, be it whole or not; None if it says nothing of this one."""
    if not checkpoint.exists():
        return None
    try:
        step = int(json_file(runs.sidecar(checkpoint))["step"])
    except (OSError, ValueError, OverflowError, KeyError, TypeError):
        return None
    name = checkpoint.stem.removesuffix("_before")
    return step if "step_" not in name or name.endswith(f"step_{step}") else None
