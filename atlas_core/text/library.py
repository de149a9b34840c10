"""The user's datasets: one folder for each choice of texts, tokenizer and cleaning, so that none is prepared twice.

Only names and finds folders, the same for window and terminal; `jobs.prepare` fills them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from atlas_core import paths
from atlas_core.config import Config
from atlas_core.errors import DataError
from atlas_core.text.dataset import Dataset, Meta, is_dataset, read_meta

DIGITS = 8


def digest_of(sources: Iterable[Path]) -> str:
    """A fingerprint of names, sizes and times; reads no text, but walks folders.

    Hidden files, which are not read, do not count: a file manager's notes are no other text.
    """
    digest = hashlib.sha256()
    for source in sources:
        files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        for path in files:
            if path != source and any(part.startswith(".") for part in path.relative_to(source).parts):
                continue
            status = path.stat()
            digest.update(os.fsencode(path.resolve()) + f"|{status.st_size}|{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def name_of(sources: Sequence[Path]) -> str:
    """What people would call these texts."""
    first = sources[0].name if sources[0].is_dir() else sources[0].stem  # also of a file that is gone by now
    first = paths.shortened(first)
    return first if len(sources) == 1 else f"{first}-and-{len(sources) - 1}-more"


def folder_for(sources: Sequence[Path], sources_digest: str, config: Config) -> Path:
    """Where the dataset of these texts with this configuration lies, or will lie."""
    data = dataclasses.asdict(config.data)
    del data["stride"]  # how training reads the dataset, not what is in it
    settings = json.dumps([sources_digest, data, dataclasses.asdict(config.tokenizer)], sort_keys=True)
    digits = hashlib.sha256(settings.encode()).hexdigest()[:DIGITS]
    tokenizer = Path(config.tokenizer.name).name.replace(":", "-")
    return paths.datasets_dir() / f"{name_of(sources)}-{tokenizer}-{digits}"


def prepared() -> list[tuple[Meta, Path]]:
    """The user's datasets, newest first; a damaged one is left out."""
    found = []
    for folder in paths.datasets_dir().glob("*") if paths.datasets_dir().is_dir() else ():
        if is_dataset(folder):
            try:
                found.append((read_meta(folder), folder))
            except DataError:
                continue
    return sorted(found, key=lambda item: item[0].created, reverse=True)


def title(dataset: Dataset | Meta) -> str:
    """A dataset's name without the digits that keep folders apart."""
    meta = dataset.meta if isinstance(dataset, Dataset) else dataset
    head, _, tail = meta.name.rpartition("-")
    return head if re.fullmatch(rf"[0-9a-f]{{{DIGITS}}}", tail) and head else meta.name
