"""Looking up rows of a matrix, with a gradient that touches only the rows that were looked up."""

from __future__ import annotations

from typing import Any

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
        into = ctx.weight.main_grad
        into.index_add_(0, tokens.flatten(), grads[0].flatten(0, -2).to(into.dtype))
        return None, None
