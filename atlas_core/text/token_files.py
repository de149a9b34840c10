"""Writers of token files: documents one after another as they are encoded, and the splits of a dataset.

Both append to disk at once and keep a few numbers for each document. Not here: deciding what goes where.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from atlas_core.text.dataset import Split, offsets_file, token_file
from atlas_core.text.tokenizer import AtlasTokenizer

_BLOCK_TOKENS = 2**20


def token_dtype(n_vocab: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds every id, little-endian as in the files."""
    return np.dtype("<u2" if n_vocab <= 2**16 else "<u4")


class DocumentFile:
    """The tokens of all documents in one file, where the document at hand can still be dropped."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._file = path.open("w+b")
        self._starts = array("q", [0])
        self._digests = array("Q")
        self.pending_tokens = 0

    def add(self, ids: list[int]) -> None:
        """Append tokens to the document at hand."""
        self._file.write(np.array(ids, dtype=self._dtype).tobytes())
        self.pending_tokens += len(ids)

    def keep(self, digest: int) -> None:
        """End the document at hand. `digest` is 64 bits that tell its text from others'."""
        self._starts.append(self._starts[-1] + self.pending_tokens)
        self._digests.append(digest)
        self.pending_tokens = 0

    def drop(self) -> None:
        """Forget the document at hand."""
        self._file.seek(self._starts[-1] * self._dtype.itemsize)
        self._file.truncate()
        self.pending_tokens = 0

    def firsts(self) -> np.ndarray:
        """The indices of the documents whose text did not occur before, in order."""
        _, first = np.unique(np.frombuffer(self._digests, dtype=np.uint64), return_index=True)
        return np.sort(first)

    def lengths(self) -> np.ndarray:
        """Tokens of each document.  # (documents,) int64"""
        return np.diff(np.frombuffer(self._starts, dtype=np.int64))

    def read(self, document: int, start: int, stop: int) -> np.ndarray:
        """Tokens `start` to `stop` of a document."""
        self._file.seek((self._starts[document] + start) * self._dtype.itemsize)
        return np.frombuffer(self._file.read((stop - start) * self._dtype.itemsize), dtype=self._dtype)

    def close(self) -> None:
        self._file.close()


class SplitFile:
    """One split of a dataset: its token file, its document offsets, and what it holds."""

    def __init__(self, folder: Path, split: str, tokenizer: AtlasTokenizer) -> None:
        self._offsets_path = offsets_file(folder, split)
        self._file = token_file(folder, split).open("wb")
        self._dtype = token_dtype(tokenizer.n_vocab)
        self._byte_lengths = tokenizer.byte_lengths()
        self._character_lengths = tokenizer.character_lengths()
        self._offsets = array("q", [0])
        self._waiting: list[np.ndarray] = []
        self._tokens = self._written = self._bytes = self._characters = 0
        self._digest = hashlib.sha256()

    def copy(self, source: DocumentFile, document: int, start: int, stop: int) -> None:
        """Append tokens of a document, a bounded block at a time."""
        for block in range(start, stop, _BLOCK_TOKENS):
            self.add(source.read(document, block, min(block + _BLOCK_TOKENS, stop)))

    def add(self, ids: np.ndarray | list[int]) -> None:
        """Append tokens to the document at hand. They go to disk in blocks, for documents may be tiny."""
        self._waiting.append(np.asarray(ids, dtype=self._dtype))
        self._tokens += len(ids)
        if self._tokens - self._written >= _BLOCK_TOKENS:
            self._write()

    def end_document(self) -> None:
        self._offsets.append(self._tokens)

    def finish(self) -> Split:
        """Write everything, the tokens durably, and say what it is."""
        self._write()
        self._file.flush()
        os.fsync(self._file.fileno())
        np.save(self._offsets_path, np.frombuffer(self._offsets, dtype=np.int64), allow_pickle=False)
        return Split(len(self._offsets) - 1, self._tokens, self._bytes, self._characters)

    def digest(self) -> bytes:
        """SHA-256 of the token file, once it is finished."""
        return self._digest.digest()

    def _write(self) -> None:
        tokens = np.concatenate([np.empty(0, dtype=self._dtype), *self._waiting])
        content = tokens.tobytes()
        self._file.write(content)
        self._digest.update(content)
        self._bytes += int(self._byte_lengths[tokens].sum())
        self._characters += int(self._character_lengths[tokens].sum())
        self._waiting.clear()
        self._written = self._tokens

    def close(self) -> None:
        self._file.close()
