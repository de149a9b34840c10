"""Cross-entropy of the output layer without ever holding all its logits.

For 2 048 tokens and GPT-2's vocabulary the logits and their gradient would be 800 MB. A walk over slices
of rows computes loss and gradients together and keeps one slice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from atlas_core.memory import HEAD_ROWS


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, *, rows: int = HEAD_ROWS) -> Tensor:
    """Mean of -log softmax(hidden @ weight.T)[target], in nats a token.

    hidden: (N, H), weight: (V, H), targets: (N,) int64. Under autocast the products run in its type,
    softmax and sums in fp32. Differentiable in `hidden` and `weight`.
    """
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, rows)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradients are computed in `forward`, where the slice of logits is at hand, and scaled in `backward`."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> Tensor:
        device = hidden.device.type
        work = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            loss, d_hidden, d_weight = _walk(hidden, weight, targets, rows, work, grad=any(ctx.needs_input_grad))
        ctx.save_for_backward(d_hidden, d_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * grads[0], d_weight.mul_(grads[0]), None, None


def _walk(
    hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, work: torch.dtype, *, grad: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Loss and, if wanted, its gradients with respect to `hidden` and `weight`."""
    N = len(hidden)
    matrix = weight.to(work)
    loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
    d_hidden = torch.empty_like(hidden) if grad else None
    d_weight = torch.zeros_like(weight) if grad else None
    for first in range(0, N, rows):
        slice_ = slice(first, first + rows)
        h, target = hidden[slice_].to(work), targets[slice_, None]
        logits = (h @ matrix.T).float()                           # (rows, V)
        lse = logits.logsumexp(-1, keepdim=True)                  # (rows, 1)
        loss += (lse - logits.gather(-1, target)).sum()
        if d_hidden is None or d_weight is None:
            continue
        d_logits = logits.sub_(lse).exp_()                        # softmax - onehot, in place
        d_logits[torch.arange(len(h), device=h.device), target[:, 0]] -= 1
        d_work = d_logits.div_(N).to(work)
        d_hidden[slice_] = d_work @ matrix
        d_weight += d_work.T @ h
    return loss / N, d_hidden, d_weight
