"""What a person wants to see of a dataset: its first tokens one by one, and how long its documents are.

Reads a few kilobytes of the tokens, whatever their number, and where documents end. Not here: drawing it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas_core.text.dataset import Dataset

BARS_PER_DOUBLING = 2


@dataclass(frozen=True)
class Piece:
    """One token and the text it shows as; a special token shows its name."""

    text: str
    token: int
    special: bool = False


@dataclass(frozen=True)
class Histogram:
    """How long documents are, in tokens: in bar i are `counts[i]`, of 2^((`first` + i) / 2) tokens and more.

    One without tokens counts as one of a single token. `middle` is the median.
    """

    first: int
    counts: tuple[int, ...]
    shortest: int
    middle: int
    longest: int


@dataclass(frozen=True)
class Preview:
    """The beginning of the training text, and the lengths of its documents in tokens."""

    pieces: tuple[Piece, ...]
    lengths: Histogram | None  # None without documents


def preview(dataset: Dataset, characters: int = 2000) -> Preview:
    """The first `characters` of the training text as tokens, and a histogram of its documents' lengths."""
    return Preview(tuple(_pieces(dataset, characters)), histogram(np.diff(dataset.offsets("train"))))


def histogram(lengths: np.ndarray) -> Histogram | None:
    """Lengths counted in bars of equal width on a logarithmic scale; None if there are none."""
    if len(lengths) == 0:
        return None
    places = np.floor(np.log2(np.maximum(lengths, 1)) * BARS_PER_DOUBLING).astype(np.int64)
    first = int(places.min())
    middle = np.partition(lengths, len(lengths) // 2)[len(lengths) // 2]
    return Histogram(first, tuple(np.bincount(places - first).tolist()),
                     int(lengths.min()), int(middle), int(lengths.max()))


def _pieces(dataset: Dataset, characters: int) -> list[Piece]:
    tokenizer = dataset.tokenizer
    decoder = tokenizer.stream()
    pieces: list[Piece] = []
    shown = 0
    # A token is at least one byte and a character at most four, so so many tokens are always enough.
    for token in dataset.tokens("train")[: 4 * characters].tolist():
        if shown >= characters:
            break
        special = token in tokenizer.special_ids
        text = tokenizer.token_text(token) if special else decoder.feed(token)
        pieces.append(Piece(text, token, special))
        shown += len(text)
    return pieces
