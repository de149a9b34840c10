"""What a person wants to see of a dataset: its first tokens one by one, and how long its documents are.

Reads a few kilobytes of the dataset, whatever its size. Not here: drawing it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlas_core.text.dataset import Dataset

_BINS = 24


@dataclass(frozen=True)
class Piece:
    """One token and the text it shows as; a special token shows its name."""

    text: str
    token: int
    special: bool = False


@dataclass(frozen=True)
class Histogram:
    """`counts[i]` documents have `edges[i]` to `edges[i + 1]` tokens. The edges grow by a constant factor."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Preview:
    """The beginning of the training text, and the lengths of its documents in tokens."""

    pieces: tuple[Piece, ...]
    lengths: Histogram


def preview(dataset: Dataset, characters: int = 2000) -> Preview:
    """The first `characters` of the training text as tokens, and a histogram of its documents' lengths."""
    return Preview(tuple(_pieces(dataset, characters)), histogram(np.diff(dataset.offsets("train"))))


def histogram(lengths: np.ndarray, *, bins: int = _BINS) -> Histogram:
    """Lengths counted in bins of equal width on a logarithmic scale."""
    if len(lengths) == 0:
        return Histogram((), ())
    low, high = max(1, int(lengths.min())), int(lengths.max()) + 1
    edges = np.geomspace(low, high, bins + 1)
    # geomspace may round the outermost edges inwards, past the shortest or longest document.
    edges[0], edges[-1] = low, high
    counts, _ = np.histogram(np.maximum(lengths, low), bins=edges)
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


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
