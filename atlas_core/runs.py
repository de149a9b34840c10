"""What lies in a run's folder, read without torch: its checkpoints' sidecars, its state, its size.

Only looks (and deletes on request); writing a run is `training`'s business.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas_core import config as settings
from atlas_core import paths
from atlas_core.claim import LOCK_FILE, is_claimed
from atlas_core.config import Config, Training
from atlas_core.errors import CheckpointError, ConfigError
from atlas_core.reading import json_file

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
LOG_FILE = "training.log"
SAMPLES_FILE = "samples.jsonl"
TOKENIZER_FILE = "tokenizer.json"
TENSORBOARD_FOLDER = "tensorboard"
CHECKPOINTS_FOLDER = "checkpoints"
SET_ASIDE_FOLDER = "set_aside"
BEST = "atlas_best.pt"

LAST_SECOND = 253402300800.0  # the year 10 000, which calendars do not know


@dataclass(frozen=True)
class CheckpointInfo:
    """What the `.json` beside a checkpoint says. `kind`: "step", "epoch", "best" or "emergency"."""

    path: Path
    kind: str
    step: int
    epoch: float
    loss: float | None
    val_loss: float | None
    perplexity: float | None
    learning_rate: float
    bytes: int
    saved_at: float
    max_steps: int
    parameters: int
    stale_validations: int = 0


@dataclass(frozen=True)
class RunInfo:
    """A run at a glance.

    `state`: "running" (some process trains it now), "done", "interrupted" (can go on) or "empty" (nothing saved yet).
    """

    path: Path
    name: str
    preset: str
    state: str
    step: int
    max_steps: int
    loss: float | None
    best_val_loss: float | None
    parameters: int
    dataset: Path | None
    updated_at: float
    bytes: int
    checkpoints: tuple[CheckpointInfo, ...]


def sidecar(checkpoint: Path) -> Path:
    """The `.json` beside a checkpoint; a checkpoint counts once it is there."""
    return checkpoint.with_suffix(".json")


def stand_in(checkpoint: Path) -> Path:
    """Where the older file of the same name lies while a new one takes its place."""
    return checkpoint.with_name(f"{checkpoint.stem}_before.pt")


def is_stand_in(checkpoint: Path) -> bool:
    """Whether it is an older file whose name a newer one has taken or is about to take."""
    return checkpoint.stem.endswith("_before")


def read_sidecar(checkpoint: Path) -> CheckpointInfo | None:
    """What is known of a checkpoint, or None if it is not whole."""
    try:
        about: dict[str, Any] = json_file(sidecar(checkpoint))
        known = {name: about[name] for name in _SIDECAR_FIELDS if name in about}
        sound = all(_is_sound(name, value) for name, value in known.items())
        info = CheckpointInfo(path=checkpoint, **known)
        return info if sound and checkpoint.stat().st_size == info.bytes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


_SIDECAR_FIELDS = tuple(name for name in CheckpointInfo.__dataclass_fields__ if name != "path")
_COUNTS = ("step", "bytes", "max_steps", "parameters", "stale_validations")
_KINDS = ("step", "epoch", "best", "emergency")
_LARGEST = 2**53  # the last whole number that a JSON reader must keep as it is (RFC 8259, section 6)


def _is_sound(name: str, value: Any) -> bool:
    """Whether a sidecar may say so: a number that is one, and of a size that can be shown."""
    if name == "kind":
        return value in _KINDS
    if name in _COUNTS:
        return type(value) is int and 0 <= value < _LARGEST
    if value is None:
        return name in ("loss", "val_loss", "perplexity")
    if name == "saved_at":
        return type(value) in (int, float) and 0 <= value < LAST_SECOND
    return type(value) in (int, float) and (-_LARGEST < value < _LARGEST or name == "perplexity")


def checkpoints(run: Path) -> list[CheckpointInfo]:
    """The whole checkpoints of a run, oldest first: by their steps, for clocks may be turned back.

    Of one step that has been written anew the older file comes first, if a crash has left it there.
    """
    infos = [read_sidecar(path) for path in (run / CHECKPOINTS_FOLDER).glob("atlas_*.pt")]
    return sorted((info for info in infos if info),
                  key=lambda info: (info.step, not is_stand_in(info.path), info.path.name))


def newest(run: Path) -> CheckpointInfo | None:
    found = checkpoints(run)
    return found[-1] if found else None


def best(run: Path) -> CheckpointInfo | None:
    path = run / CHECKPOINTS_FOLDER / BEST
    return read_sidecar(path) or read_sidecar(stand_in(path))


def resolve(place: Path) -> Path:
    """The checkpoint that is meant: the file itself, or the newest of a run's folder."""
    if place.is_file():
        return place
    info = newest(place) if place.is_dir() else None
    if info is None:
        missing = "holds no finished checkpoint" if place.exists() else "does not exist"
        raise CheckpointError(f"{place} {missing}.", "Name a run's folder or an atlas_....pt file.")
    return info.path


def is_run(folder: Path) -> bool:
    try:
        return (folder / CONFIG_FILE).is_file()
    except OSError:  # a folder that may not be looked into
        return False


def is_unsaved(folder: Path) -> bool:
    """Whether there is nothing in `folder` but what a run leaves that ended before its first save."""
    ours = {CONFIG_FILE, METRICS_FILE, LOG_FILE, SAMPLES_FILE, TOKENIZER_FILE, TENSORBOARD_FOLDER, CHECKPOINTS_FOLDER,
            LOCK_FILE}
    names = [path.name for path in folder.iterdir()]
    finished = (folder / CHECKPOINTS_FOLDER).rglob("atlas_*.json")
    return (all(name in ours or (name.startswith(".") and name.endswith(".tmp")) for name in names)
            and not any(finished))


def home_of(checkpoint: Path) -> Path | None:
    """The folder of the run that a checkpoint belongs to; None if it lies elsewhere."""
    folder = checkpoint.absolute().parent  # absolute: `..` of a bare file name is not its folder's parent
    without_settings = folder.name == CHECKPOINTS_FOLDER and (folder.parent / METRICS_FILE).is_file()
    return folder.parent if is_run(folder.parent) or without_settings else None


def inspect(run: Path) -> RunInfo:
    """A run at a glance. Raises `CheckpointError` if the folder is not a run or does not exist."""
    if not is_run(run):
        if not os.path.lexists(run):
            raise CheckpointError(f"{run} does not exist.", "Check the path; it may have been deleted or moved.")
        raise CheckpointError(f"{run} is not a run.", f"A run's folder holds a {CONFIG_FILE}.")
    try:
        config = settings.load(run / CONFIG_FILE)
    except ConfigError:
        config = Config()  # a run whose settings were damaged is still listed, played and deleted
    found = checkpoints(run)
    last, top = (found[-1] if found else None), best(run)
    max_steps = config.training.max_steps
    files = list(_stats(run))
    return RunInfo(
        path=run,
        name=run.name,
        preset=config.name,
        state=_state(run, last, config.training),
        step=last.step if last else 0,
        max_steps=max_steps,
        loss=last.loss if last else None,
        best_val_loss=top.val_loss if top else None,
        parameters=last.parameters if last else 0,
        dataset=Path(config.dataset) if config.dataset else None,
        updated_at=max((file.st_mtime for file in files), default=0.0),
        bytes=sum(file.st_size for file in files),
        checkpoints=tuple(found),
    )


def out_of_patience(stale_validations: int, t: Training) -> bool:
    """Whether so many validations in a row without a gain end a run early (Prechelt 1998 compares such rules)."""
    return 0 < t.early_stopping_patience <= stale_validations


def _state(run: Path, last: CheckpointInfo | None, t: Training) -> str:
    if is_claimed(run):
        return "running"
    if last is None:
        return "empty"
    done = last.step >= t.max_steps or out_of_patience(last.stale_validations, t)
    return "done" if done else "interrupted"


def _stats(run: Path) -> Iterator[os.stat_result]:
    """Size and time of every file; one that vanishes meanwhile, as they do in a run at work, is passed over."""
    for path in run.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                yield path.stat()


def list_runs(folder: Path | None = None) -> list[RunInfo]:
    """The runs in a folder (default: the user's), the one touched last first."""
    folder = folder or paths.runs_dir()
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(CheckpointError, FileNotFoundError):  # what is no run, or is deleted at this moment
            found.append(inspect(path))
    return sorted(found, key=lambda info: info.updated_at, reverse=True)


def sweep(run: Path) -> None:
    """Delete what a killed process had begun to write in `run`, which must be claimed."""
    for torn in (*run.glob(".*.tmp"), *(run / CHECKPOINTS_FOLDER).glob(".*.tmp")):
        paths.discard(torn)


def delete(run: Path) -> int:
    """Remove a run with everything in it; returns the bytes freed.

    Raises `CheckpointError` if it is no run, or one that is being trained.
    """
    if is_claimed(run):
        raise CheckpointError(f"{run.name} is being trained now.", "Stop it first.")
    freed = inspect(run).bytes
    shutil.rmtree(run)
    return freed
