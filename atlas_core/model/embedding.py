"""Looking up rows of a matrix, with a gradient that touches only the rows that were looked up."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, autograd


def embed(tokens: Tensor, weight: Tensor) -> Tensor:
    """weight[tokens]: tokens (...) int64, weight (V, H) -> (..., H).

    If `weight` has a `main_grad` (see `training/weights.py`), the gradient is added there, row by row: a dense
    gradient of GPT-2's vocabulary would be the largest tensor of a step.
    """
    y: Tensor = _Embed.apply(tokens, weight) if hasattr(weight, "main_grad") else F.embedding(tokens, weight)
    return y


class _Embed(autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.weight = weight
        return F.embedding(tokens, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        (tokens,) = ctx.saved_tensors
        into, gradient = ctx.weight.main_grad, grads[0]
        if _rounds_each_row(into):
            into.add_(torch.ops.aten.embedding_dense_backward(gradient, tokens, len(into), -1, False))
        else:
            into.index_add_(0, tokens.flatten(), gradient.flatten(0, -2).to(into.dtype))
        return None, None


def _rounds_each_row(into: Tensor) -> bool:
    """Whether adding row by row would round to 16 bits each time: a processor adds up first, a card does not."""
    return into.dtype.itemsize < 4 and into.device.type != "cpu"
