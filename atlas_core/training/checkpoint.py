"""Checkpoints: one file that holds all a run needs to go on, and a small `.json` that says it is whole.

Knows nothing of the loop. Files are written beside their place and renamed, and only ever read with
`weights_only=True`, so opening a stranger's file runs no code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import struct
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from atlas_core import runs, soundness
from atlas_core.config import Config
from atlas_core.continuity import MadeOn
from atlas_core.errors import AtlasError, CheckpointError, ConfigError
from atlas_core.history import perplexity
from atlas_core.model.gpt import AtlasLM
from atlas_core.paths import beside, cannot_write, discard, replace, sync_folder, write_atomically
from atlas_core.text.tokenizer import AtlasTokenizer
from atlas_core.training.plain_errors import is_out_of_memory

FORMAT = 2
KEYS = ("format", "config", "tokenizer", "model", "optimizers", "scaler", "progress")


@dataclass
class Progress:
    """Where a run stands. What is random or ordered is a function of the seed and these counts, so this is all.

    `epoch_loss` sums the losses of `epoch_steps` steps since the epoch began. `gained_val_loss` is the last validation
    loss that was a gain, and `stale_validations` counts those since. What follows is the seat-belt's (`recovery.py`):
    `skipped_steps` steps' worth of text were passed over by going back, and the rates are `rate_factor` times the
    schedule's; `recent_losses` has NaN for a step that was skipped; the run went back `rollbacks` times in a row, last
    from `trouble_step` to `good_step`.
    """

    step: int = 0
    seconds: float = 0.0
    loss: float = float("nan")
    val_loss: float = float("nan")
    best_val_loss: float = float("inf")
    epoch_loss: float = 0.0
    epoch_steps: int = 0
    epoch_seconds: float = 0.0
    gained_val_loss: float = float("inf")
    stale_validations: int = 0
    skipped_steps: int = 0
    rate_factor: float = 1.0
    recent_losses: list[float] = field(default_factory=list)
    rollbacks: int = 0
    trouble_step: int = 0
    good_step: int = 0

    @property
    def text_step(self) -> int:
        """How many steps' worth of text lie behind."""
        return self.step + self.skipped_steps

    def stepped(self, loss: float) -> None:
        """Take in a step that moved the weights."""
        self.step += 1
        self.loss = loss
        self.epoch_loss += loss
        self.epoch_steps += 1

    def passed(self, seconds: float) -> None:
        """Count training time."""
        self.seconds += seconds
        self.epoch_seconds += seconds

    def validated(self, val_loss: float, *, min_gain: float) -> bool:
        """Take in a validation; returns whether it was the best so far.

        Whether it was a gain is another matter: a little better than the best may still be too little.
        """
        improved = val_loss < self.best_val_loss
        self.val_loss = val_loss
        self.best_val_loss = min(self.best_val_loss, val_loss)
        if val_loss < self.gained_val_loss - min_gain:
            self.gained_val_loss, self.stale_validations = val_loss, 0
        else:
            self.stale_validations += 1
        return improved


@dataclass(frozen=True)
class Loaded:
    """A model ready to write text, with the tokenizer and settings it was trained with."""

    model: AtlasLM
    tokenizer: AtlasTokenizer
    config: Config
    step: int
    path: Path


@dataclass(frozen=True)
class Moment:
    """A run between two steps: `state` has the keys of `KEYS`, the rest is for the sidecar."""

    state: dict[str, Any]
    epoch: float
    learning_rate: float
    parameters: int

    @property
    def progress(self) -> Progress:
        return Progress(**self.state["progress"])

    @property
    def step(self) -> int:
        return self.progress.step

    @property
    def bytes(self) -> int:
        """Of all its tensors."""
        return sum(tensor.nbytes for tensor in _tensors(self.state))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def file_name(kind: str, step: int, epoch: int) -> str:
    """The name of a checkpoint of `kind` "step", "epoch", "best" or "emergency"."""
    names = {
        "step": f"atlas_step_{step}.pt",
        "epoch": f"atlas_epoch_{epoch}_step_{step}.pt",
        "best": runs.BEST,
        "emergency": f"atlas_emergency_step_{step}.pt",
    }
    return names[kind]


def save(path: Path, moment: Moment, *, kind: str, before_counting: Callable[[], None] = lambda: None) -> int:
    """Write `moment` to `path`, then its sidecar; returns the bytes.

    A crash at any moment leaves either no new checkpoint or a whole one, and one that had this name before is whole
    until then. `before_counting` is called once the content is safe and before it counts. Raises `AtlasError` if the
    disk refuses.
    """
    progress = moment.progress
    size, digest = _write(path, moment.state, before_counting)
    validated = kind in ("best", "epoch")
    loss = progress.val_loss if validated else progress.loss
    about: dict[str, Any] = {
        "kind": kind,
        "step": progress.step,
        "epoch": moment.epoch,
        "loss": _finite(progress.loss),
        "val_loss": _finite(progress.val_loss),
        "perplexity": _finite(perplexity(loss)),
        "learning_rate": moment.learning_rate,
        "bytes": size,
        "sha256": digest,
        "saved_at": time.time(),
        "max_steps": moment.state["config"]["training"]["max_steps"],
        "stale_validations": progress.stale_validations,
        "parameters": moment.parameters,
    }
    about["seal"] = soundness.seal(about)
    try:
        write_atomically(runs.sidecar(path), json.dumps(about, indent=2).encode())
    except AtlasError:
        discard(path)  # it will never count, and takes room
        raise
    remove(runs.stand_in(path))
    return size


def _write(path: Path, state: dict[str, Any], before_counting: Callable[[], None]) -> tuple[int, str]:
    temporary = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            digested = _Digested(file)
            _save(state, digested)
            file.flush()
            os.fsync(file.fileno())
        before_counting()
        _step_aside(path)
        replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        discard(temporary)
        raise cannot_write(path, error) from error
    except AtlasError:
        discard(temporary)
        raise
    return digested.bytes, digested.sha256.hexdigest()


def _save(state: dict[str, Any], digested: _Digested) -> None:
    """`torch.save`, which reports a full disk as a `RuntimeError`: raise what the disk said instead."""
    try:
        torch.save(state, digested)  # type: ignore[arg-type]  # it asks for no more than to write and to flush
    except (RuntimeError, MemoryError) as error:
        if digested.error is None and is_out_of_memory(error):
            raise AtlasError("The memory is not enough to write it.", "Close other programs.") from error
        raise (digested.error or OSError()) from error


class _Digested:
    """A file that takes the digest of the bytes on their way to it.

    It protects more than reading them back, which would mostly read the system's memory of them, and would call good
    whatever was damaged on the way there.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.bytes = 0
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        try:
            written = self._file.write(content)
        except OSError as error:
            self.error = error
            raise
        self.sha256.update(content)
        self.bytes += written
        return written

    def flush(self) -> None:
        self._file.flush()


def _step_aside(path: Path) -> None:
    """Free the name of a checkpoint. A whole one stays so under the name of its stand-in."""
    if runs.read_sidecar(path) is not None:
        before = runs.stand_in(path)
        remove(before)
        write_atomically(runs.sidecar(before), runs.sidecar(path).read_bytes())  # counts once the file has come
        replace(path, before)
    runs.sidecar(path).unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a checkpoint, its sidecar first: without it the file does not count."""
    discard(runs.sidecar(path))
    discard(path)


def prune(run: Path, *, keep_steps: int, keep_epochs: int) -> list[Path]:
    """Delete the oldest step and epoch checkpoints beyond the given numbers; best and emergency ones stay."""
    removed = []
    for kind, keep in (("step", keep_steps), ("epoch", keep_epochs)):
        of_kind = [info.path for info in runs.checkpoints(run) if info.kind == kind]
        for path in of_kind[: max(0, len(of_kind) - keep)]:
            remove(path)
            removed.append(path)
    return removed


def set_aside_after(run: Path, step: int) -> list[Path]:
    """Move checkpoints of later steps out of the way of a run that goes on from `step`; returns where they are now.

    Otherwise "the newest" would be one that the run has taken back. Nothing is deleted.
    """
    return set_aside(run, [info.path for info in runs.checkpoints(run) if info.step > step])


def set_aside(run: Path, checkpoints: Iterable[Path]) -> list[Path]:
    """Move these checkpoints out of the way; returns where they are now. Nothing is deleted.

    One without its `.json` stays: it never counted, and the run writes it again when it comes to its step. Raises
    `AtlasError` if the disk refuses.
    """
    moved = []
    folder = run / runs.CHECKPOINTS_FOLDER / runs.SET_ASIDE_FOLDER
    try:
        for path in checkpoints:
            if runs.sidecar(path).exists():
                folder.mkdir(exist_ok=True)
                target = _free_name(folder, path)
                replace(runs.sidecar(path), runs.sidecar(target))  # first: without it the file does not count
                with suppress(FileNotFoundError):
                    replace(path, target)
                moved.append(target)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return moved


def _free_name(folder: Path, path: Path) -> Path:
    """A name that nothing in `folder` has yet, not even a sidecar that a crash left alone."""
    names = (folder / f"{path.stem}-{number}.pt" for number in itertools.count(1))
    return next(name for name in names if not name.exists() and not runs.sidecar(name).exists())


def load(path: Path, *, verify: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, weights on the CPU. `verify` compares it with its sidecar's digest first.

    Raises `CheckpointError` for anything that is not a whole checkpoint of ours; no code in it is run.
    """
    if verify:
        _verify(path)
    _refuse_foreign(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"There is no checkpoint {path}.", "Check the path.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.", "Check the path.") from error
    except MemoryError:
        raise
    except Exception as error:  # what torch raises depends on the bytes: nearly anything
        raise CheckpointError(f"{path} is not a readable checkpoint.",
                              "Choose another checkpoint of the run; each is whole by itself.") from error
    if isinstance(state, dict) and isinstance(state.get("format"), int) and state["format"] != FORMAT:
        raise CheckpointError(f"{path} has the format {state['format']}, this program reads {FORMAT}.",
                              "Open it with the version of Atlas Studio that wrote it.")
    if isinstance(state, dict) and "model_state_dict" in state:
        raise CheckpointError(f"{path} holds the weights of another program, without the settings of their network.",
                              "Train anew with that program's configuration file: atlas train --config FILE.")
    if not isinstance(state, dict) or any(key not in state for key in KEYS):
        raise CheckpointError(f"{path} is not a checkpoint of Atlas Studio.", "Choose an atlas_....pt file.")
    _check_progress(state, path)
    return state


def _refuse_foreign(path: Path) -> None:
    """Raises `CheckpointError` for a file that torch would unfold to more than it holds, or unpickle in an old way."""
    if not path.is_file():
        return  # what is wrong with it will be told by who opens it
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint.",
                              "Choose another checkpoint of the run; each is whole by itself.") from error
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or sum(member.file_size for member in members) > path.stat().st_size:
        raise CheckpointError(f"{path} would unfold to more than it holds, which no checkpoint does.",
                              "It looks like a trap: do not open it.")


def _check_progress(state: dict[str, Any], path: Path) -> None:
    """Raises `CheckpointError` if the file says nonsense of where the run stood."""
    with nonsense_told(path, "its progress is of another kind"):
        progress = Progress(**state["progress"])
        numbers = [getattr(progress, f.name) for f in dataclasses.fields(progress) if f.name != "recent_losses"]
        numbers += progress.recent_losses
    if not all(type(number) in (int, float) for number in numbers) or not 0 <= progress.step < 2**53:
        raise _not_ours(path, "its progress is not told in numbers")


@contextlib.contextmanager
def nonsense_told(path: Path, reason: str) -> Iterator[None]:
    """Turn what torch raises on values of another kind into a `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, AssertionError) as error:
        raise _not_ours(path, reason) from error


def _not_ours(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} does not fit together: {reason}.",
                           "The file is damaged or was made by another program.")


def _verify(path: Path) -> None:
    if runs.read_sidecar(path) is None:
        raise CheckpointError(f"{path} is not whole: its .json is missing or names another size.",
                              "Choose another checkpoint of the run.")
    if not soundness.is_as_written(path):
        raise CheckpointError(f"{path} is damaged: its content is not what was written.",
                              "Choose another checkpoint of the run.")


def load_model(path: Path, *, device: torch.device | str = "cpu", verify: bool = False) -> Loaded:
    """A checkpoint as a model in fp32 and evaluation mode, nothing else needed. Raises `CheckpointError`."""
    state = load(path, verify=verify)
    config = config_of(state, path)
    with torch.device("meta"), _Unfilled():  # no memory and no numbers for weights that are replaced at once
        model = AtlasLM(config.model)
    load_weights(model, state["model"], path, assign=True)
    tokenizer = AtlasTokenizer.from_dict(state["tokenizer"])
    if tokenizer.n_vocab > config.model.vocab_size:
        raise _not_ours(path, f"its network knows {config.model.vocab_size} tokens, its vocabulary has "
                              f"{tokenizer.n_vocab}")
    return Loaded(model.to(device, torch.float32).eval(), tokenizer, config, Progress(**state["progress"]).step, path)


class _Unfilled(TorchFunctionMode):
    """New layers are not filled with numbers. For tensors without memory torch would load its compiler to do so."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def config_of(state: dict[str, Any], path: Path) -> Config:
    try:
        return Config.from_dict(state["config"])
    except ConfigError as error:
        raise CheckpointError(f"The settings in {path} are not valid: {error.message}",
                              "It was written by another version of Atlas Studio.") from error


def made_on(state: dict[str, Any]) -> MadeOn:
    """Where a checkpoint was made; one of an older program does not say."""
    said = state.get("made_on", {})
    return MadeOn(**{name: said[name] for name in MadeOn.__dataclass_fields__ if name in said})


def weights(model: AtlasLM) -> dict[str, Tensor]:
    """The state dict without the tied copy of the embedding."""
    state = model.state_dict()
    if model.config.tie_weights:
        del state["head.weight"]
    return state


def load_weights(model: AtlasLM, state: dict[str, Tensor], path: Path, *, assign: bool = False) -> None:
    """Fill `model` with copies of the tensors in `state`, or (`assign`) with those very tensors.

    Raises `CheckpointError` naming the first one that is missing, left over or misshapen.
    """
    wanted = weights(model)
    if not isinstance(state, dict) or not all(map(_is_matrix, state.values())):
        raise _not_ours(path, "its weights are not plain numbers")
    for name in sorted(wanted.keys() | state.keys(), key=str):
        there = tuple(state[name].shape) if name in state else None
        needed = tuple(wanted[name].shape) if name in wanted else None
        if there != needed:
            raise CheckpointError(f"{path} does not fit its own settings: {name} is {there}, needed {needed}.",
                                  "The file is damaged or was made by another program.")
    model.load_state_dict(state, strict=False, assign=assign)
    model.tie()


def _is_matrix(tensor: Any) -> bool:
    """Whether it is a tensor of ordinary numbers, with each of them in the file.

    Strides let a few bytes pose as a matrix beyond any memory.
    """
    return (isinstance(tensor, Tensor) and tensor.layout == torch.strided and tensor.device.type == "cpu"
            and tensor.dtype in (torch.float32, torch.bfloat16, torch.float16) and tensor.is_contiguous())


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
