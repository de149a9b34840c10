"""Adding a gradient of 16 bits to a sum of 32 bits without a third tensor of that size."""

from __future__ import annotations

from torch import Tensor

from atlas_core.memory import SUM_PIECE


def add_to(total: Tensor, part: Tensor, *, alpha: float = 1.0) -> None:
    """total += alpha * part, both of one shape.

    Where the types differ, a processor first copies all of `part` into `total`'s type: for the output matrix of
    GPT-2's vocabulary 100 MB of fresh memory, which costs more than the addition. So it goes piece by piece there.
    """
    if total.dtype == part.dtype or total.device.type != "cpu" or part.numel() <= SUM_PIECE:
        total.add_(part, alpha=alpha)
        return
    rows = max(1, SUM_PIECE * len(part) // part.numel())
    for piece, addend in zip(total.split(rows), part.split(rows), strict=True):
        piece.add_(addend, alpha=alpha)
