"""Dropout with masks that a processor draws four numbers at a time.

Torch asks its generator once for each number, one after the other on a single thread: a sixth of MICRO's training step
(docs/tuning.md). Of 64 random bits, 16 are enough to decide on a number, and every thread can compare them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BITS = 16


class Dropout(nn.Module):
    """In training each number becomes 0 with the chance `p`, and the others grow so that the mean stays as it was.

    Srivastava et al. 2014. On a processor `p` is rounded to a multiple of 2^-16.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        y: Tensor = _Dropout.apply(x, round(self.p * 2**BITS))
        return y

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _Dropout(torch.autograd.Function):
    """`dropped` of 2^16 numbers become 0. The masks come from torch's own generator, so its seed decides on them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        bits = torch.empty(math.ceil(x.numel() * BITS / 64), dtype=torch.int64).random_(-(2**63), None)
        drawn = bits.view(torch.int16)[: x.numel()].view(x.shape)
        kept = torch.ge(drawn, dropped - 2 ** (BITS - 1), out=x.new_empty(x.shape))
        ctx.save_for_backward(kept)  # so that gradient checkpointing can let go of it
        ctx.grown = 2**BITS / (2**BITS - dropped)
        return _masked(x, kept, ctx.grown)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _masked(grads[0], kept, ctx.grown), None


def _masked(x: Tensor, mask: Tensor, factor: float) -> Tensor:
    """factor * mask * x in one pass."""
    return torch.addcmul(x.new_zeros(()), x, mask, value=factor)
