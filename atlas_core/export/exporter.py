"""Export from end to end: write beside the target, prove, and only then take the target's name.

A file that existed before survives everything but success. Formats and proofs are not here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from atlas_core.config import Config
from atlas_core.errors import ExportError
from atlas_core.events import Exported, Progress
from atlas_core.export import gguf
from atlas_core.export.verify import llama_check, prove
from atlas_core.model.gpt import AtlasLM
from atlas_core.paths import beside, cannot_write, refuse_unwritable, replace, sync_folder
from atlas_core.text.tokenizer import AtlasTokenizer


class Trained(Protocol):
    """What is exported: a model, and what it was trained with. A loaded checkpoint is one."""

    @property
    def model(self) -> AtlasLM: ...
    @property
    def tokenizer(self) -> AtlasTokenizer: ...
    @property
    def config(self) -> Config: ...
    @property
    def step(self) -> int: ...


def export_checkpoint(trained: Trained, to: Path, *, type: str = "f16", verify: bool = True,
                      name: str = "") -> Iterator[Progress | Exported]:
    """Write the model to the GGUF file `to`; the last event is `Exported`, with all that was checked.

    Raises `ExportError` for a model or type that GGUF cannot hold and for a file that fails its proof, and
    `AtlasError` where nothing can be written. Then, and if the consumer closes the stream, `to` is as before.
    """
    model, tokenizer, config = trained.model, trained.tokenizer, trained.config
    planned = gguf.plan(model, type)  # refuse before anything touches the disk
    make_room(to)
    unproven = beside(to)
    try:
        yield from gguf.write_gguf(model, tokenizer, config, unproven, type=type, name=name)
        checks: tuple[str, ...] = ()
        if verify:
            checks = yield from prove(unproven, model, tokenizer, config, type=type)
            agreed = yield from llama_check(unproven, model, tokenizer)
            checks = (*checks, agreed)
        replace(unproven, to)
        sync_folder(to.parent)
    except OSError as error:
        raise cannot_write(to, error) from error
    finally:
        with contextlib.suppress(PermissionError):  # Windows keeps a file that the failed proof still has open
            unproven.unlink(missing_ok=True)
    yield Exported(to, type, to.stat().st_size, verify, len(planned), trained.step, checks)


def make_room(to: Path) -> None:
    """Make the folder of `to`. Raises `AtlasError` if there can be no such file, or none may be written."""
    if to.is_dir():
        raise ExportError(f"{to} is a folder, not a file.", f"Choose a file name such as {to / 'model.gguf'}.")
    try:
        if to.exists() and to.stat().st_size and not _is_gguf(to):  # a checkpoint, or somebody's letters
            raise ExportError(f"{to} exists and is no GGUF file, so it is left alone.", "Choose another name.")
    except OSError as error:
        raise cannot_write(to, error) from error
    refuse_unwritable(to)


def _is_gguf(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"GGUF"
