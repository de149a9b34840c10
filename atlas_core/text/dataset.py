"""A prepared dataset: a folder of token files that are read through memory maps, and the windows cut from them.

Works without torch. Not here: how the folder is made; that is `prepare.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from atlas_core.errors import DataError
from atlas_core.format import many
from atlas_core.reading import json_file
from atlas_core.text import shuffle
from atlas_core.text.tokenizer import AtlasTokenizer

FORMAT = 1
META_NAME = "meta.json"
SPLITS = ("train", "val", "test")
_DTYPES = ("uint16", "uint32")
_AGAIN = "Prepare the dataset again."


@dataclass(frozen=True)
class Split:
    """How much one part of a dataset holds: `documents` are the pieces between two EOS tokens, `bytes` (UTF-8)
    and `characters` are of the text, special tokens left out."""

    documents: int
    tokens: int
    bytes: int
    characters: int


@dataclass(frozen=True)
class Meta:
    """What `meta.json` says of a dataset."""

    name: str
    created: str                     # ISO 8601, UTC
    dtype: str                       # "uint16" or "uint32", little-endian in the files
    tokenizer: str
    tokenizer_fingerprint: str
    n_vocab: int
    documents: int                   # of the sources, before any was cut
    splits: dict[str, Split]
    split_by: str                    # "documents", "tails" (the end of each document) or "none"
    chunk_tokens: int                # 0: documents are whole
    documents_left_out: dict[str, int] = field(default_factory=dict)    # reason -> how many
    cleaned: dict[str, int] = field(default_factory=dict)               # what was tidied -> characters
    skipped: list[dict[str, Any]] = field(default_factory=list)         # reason, count, examples
    settings: dict[str, Any] = field(default_factory=dict)              # the data and tokenizer settings
    fingerprint: str = ""            # SHA-256 over the token files
    format: int = FORMAT

    @property
    def tokens(self) -> int:
        return sum(split.tokens for split in self.splits.values())

    def sizes(self) -> dict[str, int]:
        """How much there is to train on and to validate on, as `forecast` wants to know it."""
        return {f"{name}_tokens": self.splits[name].tokens if name in self.splits else 0 for name in ("train", "val")}

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> Meta:
        """Raises `TypeError`, `KeyError` or `AttributeError` if `raw` is no description of a dataset."""
        splits = {name: Split(**values) for name, values in raw["splits"].items()}
        meta = Meta(**{**raw, "splits": splits})
        _check_types(meta)
        return meta


class Dataset:
    """An opened dataset folder. Holds no file open but the memory maps that are in use."""

    def __init__(self, path: Path, meta: Meta) -> None:
        self.path = path
        self.meta = meta

    @staticmethod
    def open(folder: Path) -> Dataset:
        """Read and check `folder`. Raises `DataError` if it is no dataset, damaged or of another version."""
        dataset = Dataset(folder, read_meta(folder))
        for name, split in dataset.meta.splits.items():
            expected = split.tokens * dataset.dtype.itemsize
            if _file_size(token_file(folder, name)) != expected or not offsets_file(folder, name).is_file():
                raise DataError(f"The dataset {folder} is damaged: {name}.bin is incomplete.", _AGAIN)
        return dataset

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.meta.dtype).newbyteorder("<")

    @cached_property
    def tokenizer(self) -> AtlasTokenizer:
        """The tokenizer that made the token files. Raises `TokenizerError`, or `DataError` if it is another one."""
        tokenizer = AtlasTokenizer.load(self.path)
        if tokenizer.fingerprint != self.meta.tokenizer_fingerprint:
            raise DataError(f"The dataset {self.path} is damaged: its tokenizer is another one.", _AGAIN)
        return tokenizer

    def tokens(self, split: str) -> np.ndarray:
        """All ids of "train", "val" or "test" in the file's order, unloaded until touched.  # (tokens,)"""
        if self._split(split).tokens == 0:
            return np.empty(0, dtype=self.dtype)  # an empty file cannot be mapped
        return np.memmap(token_file(self.path, split), dtype=self.dtype, mode="r")

    def offsets(self, split: str) -> np.ndarray:
        """Where each document begins, and at last the number of tokens.  # (documents + 1,) int64"""
        documents = self._split(split).documents
        try:
            offsets = np.load(offsets_file(self.path, split), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, SyntaxError, EOFError) as error:  # its head is Python's spelling of a dict
            raise DataError(f"The dataset {self.path} is damaged: {split}.offsets.npy is no array.", _AGAIN) from error
        if not isinstance(offsets, np.ndarray) or offsets.dtype != np.int64 or offsets.shape != (documents + 1,):
            raise DataError(f"The dataset {self.path} is damaged: {split}.offsets.npy is of another size.", _AGAIN)
        return offsets

    def document(self, split: str, index: int) -> np.ndarray:
        """The ids of one document, its special tokens included."""
        offsets = self.offsets(split)
        if not 0 <= index < len(offsets) - 1:
            raise IndexError(f"document {index} of {len(offsets) - 1} in {split}")
        return self.tokens(split)[offsets[index]:offsets[index + 1]]

    def bytes_per_token(self, split: str) -> float:
        """UTF-8 bytes of text behind a token on average: nats a token / this / ln 2 = bits a byte."""
        counts = self._split(split)
        return counts.bytes / max(1, counts.tokens)

    def _split(self, split: str) -> Split:
        if split not in self.meta.splits:
            held = ", ".join(self.meta.splits)
            raise DataError(f"The dataset {self.path} has no part '{split}', only {held}.",
                            f"Prepare it again with data.{split}_fraction above 0." if split in SPLITS else "")
        return self.meta.splits[split]


class Windows:
    """Training examples cut from a row of tokens: `context` tokens, and the same moved on by one as targets.

    They begin every `stride` tokens (0: every `context`); a last one ends with the text, so that none is lost.
    The order is endless: each epoch is a permutation of all windows that depends on `seed` and the epoch alone,
    so a run that resumes at a position sees what it would have seen. With a `vocabulary` (its size), a batch that holds
    an id beyond it raises `DataError`: a flipped bit would else reach the model as a wrong index.
    """

    def __init__(self, tokens: np.ndarray, *, context: int, stride: int = 0, seed: int = 0,
                 vocabulary: int = 0) -> None:
        if len(tokens) < 2:
            raise DataError(f"The text has {many(len(tokens), 'token')}, too few to learn from.", "Add more text.")
        if len(tokens) < context + 1:
            raise DataError(f"The text has {many(len(tokens), 'token')}, too few for a window of {context} and its "
                            "next token.", f"Lower model.max_seq_len to at most {len(tokens) - 1} or add more text.")
        self.tokens = tokens
        self.context = context
        self.stride = stride or context
        self.seed = seed
        self.vocabulary = vocabulary
        self.count = -(-(len(tokens) - 1 - context) // self.stride) + 1
        self._order_of: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets at positions `first` to `first + count` of the endless order.  # 2 x (count, T) int64"""
        indices = np.array([self._window_at(position) for position in range(first, first + count)])
        return self._cut(indices)

    def epoch(self, position: int) -> float:
        """How often the text has been seen before `position`."""
        return position / self.count

    def sequential(self, count_limit: int, *, batch_size: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Each window once, in order, as batches of at most `batch_size` rows.  # 2 x (<= batch_size, T) int64

        Of more than `count_limit` windows, so many are taken, evenly spread over the text. The last one of the text is
        as short as what the others leave, and comes by itself, so that no token is counted twice.
        """
        taken = min(count_limit, self.count)
        indices = np.linspace(0, self.count - 1, taken).round().astype(np.int64)
        rest = (len(self.tokens) - 1) - (self.count - 1) * self.stride  # tokens that the last window has for itself
        whole = indices[:-1] if rest < self.context and indices[-1] == self.count - 1 else indices
        for start in range(0, len(whole), batch_size):
            yield self._cut(whole[start:start + batch_size])
        if len(whole) < taken:
            tokens, targets = self._cut(indices[-1:])
            yield np.ascontiguousarray(tokens[:, -rest:]), np.ascontiguousarray(targets[:, -rest:])

    def _window_at(self, position: int) -> int:
        epoch, index = divmod(position, self.count)
        if self._order_of[0] != epoch:
            self._order_of = epoch, shuffle.permutation(self.count, seed=self.seed, round=epoch)
        return int(self._order_of[1][index])

    def _cut(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        T = self.context
        starts = np.minimum(indices * self.stride, len(self.tokens) - 1 - T)      # (B,)
        rows = self.tokens[starts[:, None] + np.arange(T + 1)].astype(np.int64)   # (B, T + 1)
        if self.vocabulary and rows.max() >= self.vocabulary:
            raise DataError(f"The dataset is damaged: it holds the token {rows.max()}, and its vocabulary ends at "
                            f"{self.vocabulary - 1}.", _AGAIN)
        return np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])


def check_context(dataset: Dataset, context: int) -> None:
    """Raises `DataError` if windows of `context` tokens would always run over the ends of the dataset's pieces."""
    chunk = dataset.meta.chunk_tokens
    if chunk and context > chunk:
        raise DataError(f"model.max_seq_len ({context}) exceeds the dataset's data.chunk_tokens ({chunk}).",
                        "Prepare the dataset again or lower model.max_seq_len.")


def is_dataset(folder: Path) -> bool:
    return (folder / META_NAME).is_file()


def read_meta(folder: Path) -> Meta:
    """The description of a dataset without opening its token files. Raises `DataError` with a remedy."""
    try:
        raw = json_file(folder / META_NAME)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{folder} is not a dataset.", "Choose a prepared folder, or prepare one.") from None
    except OSError as error:
        raise DataError(f"The dataset {folder} cannot be read: {error.strerror}.",
                        "Check that it is there and that you may read it.") from error
    except ValueError as error:
        raise DataError(f"The dataset {folder} is damaged: {META_NAME} is not JSON.", _AGAIN) from error
    if isinstance(raw, dict) and raw.get("format") != FORMAT:
        raise DataError(f"The dataset {folder} has format {raw.get('format')}, this version reads {FORMAT}.", _AGAIN)
    try:
        meta = Meta.from_dict(raw)
    except (TypeError, KeyError, AttributeError) as error:
        raise DataError(f"The dataset {folder} is damaged: {META_NAME} lacks something or says nonsense.",
                        _AGAIN) from error
    if meta.dtype not in _DTYPES:
        raise DataError(f"The dataset {folder} is damaged: {META_NAME} names no type of numbers we know.", _AGAIN)
    return meta


def _check_types(meta: Meta) -> None:
    """Raises `TypeError` for values that are not what they must be; a name of a split is also one of a file."""
    counts = [meta.n_vocab, meta.documents, meta.chunk_tokens,
              *(count for split in meta.splits.values() for count in dataclasses.astuple(split))]
    texts = (meta.name, meta.created, meta.dtype, meta.tokenizer, meta.tokenizer_fingerprint, meta.split_by,
             meta.fingerprint)
    sound = (all(type(count) is int and 0 <= count < 2**62 for count in counts)
             and all(isinstance(text, str) for text in texts)
             and {"train"} <= meta.splits.keys() <= set(SPLITS)
             and all(isinstance(value, dict) for value in (meta.documents_left_out, meta.cleaned, meta.settings))
             and all(isinstance(value, dict) for value in meta.settings.values())
             and isinstance(meta.skipped, list) and all(isinstance(skip, dict) for skip in meta.skipped))
    if not sound:
        raise TypeError(meta.name)


def token_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.bin"


def offsets_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.offsets.npy"


def _file_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
