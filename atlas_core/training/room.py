"""Room on the disk for checkpoints: foreseen before a run, made before a save.

Not here: how large a checkpoint will be (`memory.py`), and the writing.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from atlas_core import format as people
from atlas_core import memory, runs, soundness
from atlas_core.config import Config
from atlas_core.errors import AtlasError
from atlas_core.events import Notice
from atlas_core.runs import CheckpointInfo
from atlas_core.training import checkpoint

FEWEST = 2  # checkpoints that must fit: the last good one stays while the next is written


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def foreseen(run: Path, config: Config) -> Notice | None:
    """What a person should know of the disk before the run, if anything. `run` exists.

    Raises `AtlasError` if not even two checkpoints fit. What the run has kept from earlier sessions counts as room, for
    new checkpoints take its place.
    """
    one, all_of_them = memory.checkpoint_bytes(config), memory.disk_bytes(config)
    room = free_bytes(run) + sum(info.bytes for info in runs.checkpoints(run))
    if room < FEWEST * one:
        raise AtlasError(f"The disk has room for {people.size(room)} of checkpoints, and two of {people.size(one)} are "
                         "the least a run needs.", f"Free some space on the disk of {run}, or choose another folder.")
    if room >= all_of_them:
        return None
    return Notice(f"The run's checkpoints may come to {people.size(all_of_them)}, and the disk has room for "
                  f"{people.size(room)}: when it is full the oldest step checkpoints go first. Free some space, or "
                  "lower checkpointing.keep_checkpoints and checkpointing.keep_epochs.", "warning")


def make(run: Path, needed_bytes: int) -> list[CheckpointInfo]:
    """Delete the oldest step checkpoints until so much is free; none where all of them would not do. Returns them."""
    missing = needed_bytes - free_bytes(run)
    gone: list[CheckpointInfo] = []
    if missing > 0:
        spare = expendable(run)
        if sum(info.bytes for info in spare) < missing:
            return []
        while missing > 0:
            gone.append(spare.pop(0))
            missing -= gone[-1].bytes
    for info in gone:
        checkpoint.remove(info.path)
    return gone


def expendable(run: Path) -> list[CheckpointInfo]:
    """Step checkpoints older than the newest sound one, the oldest first. Reads that one, to be sure of it."""
    newest, _ = soundness.newest_sound(run)
    return [info for info in runs.checkpoints(run)
            if info.kind == "step" and newest is not None and info.path != newest.path and info.step <= newest.step]
