"""Which documents are kept aside for validation and test. Pure arithmetic on their lengths, no text.

Whole documents go where they can, so that nothing of a validation text was ever learned. Where they are too few
or too unequal for that, the end of each one is kept aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from atlas_core.config import Data
from atlas_core.errors import DataError
from atlas_core.text import shuffle

_SMALLEST_TAIL = 2  # one token to read, one to predict


@dataclass(frozen=True)
class Part:
    """Tokens `start` to `stop` of one document, and the split they belong to."""

    split: str
    document: int
    start: int
    stop: int


def wanted(data: Data) -> dict[str, float]:
    """The splits beside "train" that the settings ask for, with their share of the tokens."""
    shares = {"val": data.val_fraction, "test": data.test_fraction}
    return {split: share for split, share in shares.items() if share > 0}


def by_documents(lengths: np.ndarray, data: Data) -> list[str] | None:
    """The split of each document, or None if whole documents cannot come near the shares that are asked for.

    `lengths` are tokens. Documents are drawn in an order that depends on `data.split_seed` alone, and passed
    over where they would make a split more than twice as large as wanted.
    """
    splits = ["train"] * len(lengths)
    order = shuffle.permutation(len(lengths), seed=data.split_seed)
    for split, share in wanted(data).items():
        target, taken = share * float(lengths.sum()), 0
        for document in order:
            if taken >= target:
                break
            if splits[document] == "train" and taken + lengths[document] <= 2 * target:
                splits[document] = split
                taken += int(lengths[document])
        if taken < target / 2:
            return None
    return splits if "train" in splits else None


def whole_parts(lengths: np.ndarray, splits: list[str]) -> Iterator[Part]:
    """Every document as one part."""
    for document, split in enumerate(splits):
        yield Part(split, document, 0, int(lengths[document]))


def tail_parts(lengths: np.ndarray, data: Data) -> Iterator[Part]:
    """Every document as its beginning for "train" and its end for the other splits.

    Raises `DataError` if even the longest is too short for that.
    """
    longest = int(lengths.argmax())
    for document, length in enumerate(lengths.tolist()):
        smallest = _SMALLEST_TAIL if document == longest else 0
        tails = {split: max(smallest, int(share * length)) for split, share in wanted(data).items()}
        start = length - sum(tails.values())
        if start < 0:
            raise DataError("The texts are too short to keep parts of each aside.",
                            "Add longer texts, or set data.val_fraction or data.test_fraction to 0.")
        yield Part("train", document, 0, start)
        for split, tokens in tails.items():
            yield Part(split, document, start, start + tokens)
            start += tokens


def chunks(part: Part, *, tokens: int, overlap: int) -> Iterator[Part]:
    """`part` in pieces of at most `tokens`, each beginning with the last `overlap` of the one before; 0: whole."""
    if part.stop <= part.start:
        return
    if not tokens:
        yield part
        return
    start = part.start
    while True:
        stop = min(start + tokens, part.stop)
        yield Part(part.split, part.document, start, stop)
        if stop == part.stop:
            return
        start = stop - overlap
