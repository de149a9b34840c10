"""Cross-entropy of the output layer without ever holding all its logits.

For 2 048 tokens and GPT-2's vocabulary the logits and their gradient would be 800 MB. A walk over slices
of rows computes loss and gradients together and keeps one slice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from atlas_core.memory import head_rows
from atlas_core.model.summing import add_to

SOFTMAX_ROWS = 64  # on the processor this many rows stay in its cache: 1.5 times as fast as all at once

SMALLEST = torch.finfo(torch.float32).tiny  # no probability counts as less, so no token costs infinitely much


class Buffers:
    """Memory that is kept from step to step: for blocks of many megabytes, fresh memory costs more than the arithmetic.

    Touching 200 MB for the first time takes a processor longer than a matrix product into it.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def let_go(self) -> None:
        """Give the memory back; what is taken next is allocated anew."""
        self._kept.clear()

    def take(self, name: str, like: Tensor, rows: int, columns: int) -> Tensor:
        """An uninitialised (rows, columns) tensor of `like`'s type and device; the last one of that name is lost."""
        kept = self._kept.get(name)
        if kept is None or kept.numel() < rows * columns or kept.dtype != like.dtype or kept.device != like.device:
            with torch.inference_mode(False):  # what is made in that mode could not serve training later
                kept = self._kept[name] = like.new_empty(rows * columns)
        return kept[: rows * columns].view(rows, columns)


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, *, share: float = 1.0,
                         rows: int | None = None, buffers: Buffers | None = None) -> Tensor:
    """`share` times the mean of -log softmax(hidden @ weight.T)[target], in nats a token.

    hidden: (N, H), weight: (V, H), targets: (N,) int64. Under autocast the products run in its type. The loss
    is summed in fp32. Differentiable in `hidden` and `weight`; if `weight` has a `main_grad` (see
    `training/weights.py`), its gradient is added to that in the forward pass, and autograd gets none.
    """
    scale, device = share / len(hidden), hidden.device.type
    work = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    rows = rows or head_rows(len(hidden), len(weight), work.itemsize)
    learning = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    with torch.autocast(device, enabled=False):
        if not learning:
            return _loss(hidden.to(work), weight.to(work), targets, rows, buffers or Buffers()) * scale
        loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, work, scale, rows, buffers or Buffers())
        return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradients are computed in `forward`, where the slice of logits is at hand, and scaled in `backward`."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, work: torch.dtype, scale: float, rows: int,
                buffers: Buffers) -> Tensor:
        main_grad = getattr(weight, "main_grad", None)
        d_weight = torch.zeros_like(weight) if main_grad is None else main_grad
        loss, d_hidden = _walk(hidden, weight.to(work), targets, d_weight, scale, rows, buffers)
        ctx.save_for_backward(d_hidden, d_weight if main_grad is None else None)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_weight = ctx.saved_tensors
        return (d_hidden * grads[0], None if d_weight is None else d_weight.mul_(grads[0]), *[None] * 5)


def _loss(hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, buffers: Buffers) -> Tensor:
    """The summed loss alone, with its softmax in fp32."""
    loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
    for h, target in zip(hidden.split(rows), targets.split(rows), strict=True):
        logits = torch.mm(h, weight.T, out=buffers.take("logits", h, len(h), len(weight)))
        rows_at_once = _softmax_rows(logits)
        for part, wanted in zip(logits.split(rows_at_once), target.split(rows_at_once), strict=True):
            loss -= torch.log_softmax(part, -1, dtype=torch.float32).gather(-1, wanted[:, None]).sum()
    return loss


def _walk(hidden: Tensor, weight: Tensor, targets: Tensor, d_weight: Tensor, scale: float, rows: int,
          buffers: Buffers) -> tuple[Tensor, Tensor]:
    """`scale` times the summed loss, and its gradient in `hidden`; that in `weight` is added to `d_weight`."""
    N, V = len(hidden), len(weight)
    loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
    d_hidden = torch.empty_like(hidden)
    for start in range(0, N, rows):
        part = slice(start, start + rows)
        h, target = hidden[part].to(weight.dtype), targets[part]
        logits = torch.mm(h, weight.T, out=buffers.take("logits", h, len(h), V))
        loss += _to_gradient(logits, target)
        d_hidden[part] = logits @ weight
        if d_weight.dtype == h.dtype:
            d_weight.addmm_(logits.T, h, alpha=scale)
            continue
        slice_grad = torch.mm(logits.T, h, out=buffers.take("head gradient", h, *weight.shape))
        add_to(d_weight, slice_grad, alpha=scale)  # scaled in fp32: in fp16 it would vanish
    return loss * scale, d_hidden.mul_(scale)


def _to_gradient(logits: Tensor, target: Tensor) -> Tensor:
    """Turn logits (rows, V) in place into the loss's gradient in them; returns the summed loss (fp32).

    The softmax is computed in fp32 and rounded to the logits' type as it is stored: in bf16 the loss of a token
    is within 0.002 nats, to either side.
    """
    if logits.dtype == torch.float16:  # which knows no probabilities below 6e-8
        wide = logits.float()
        loss = _to_gradient(wide, target)
        logits.copy_(wide)
        return loss
    for part in logits.split(_softmax_rows(logits)):
        torch.softmax(part, -1, out=part)
    row = torch.arange(len(target), device=target.device)
    p_wanted = logits[row, target].float().clamp_min(SMALLEST)
    logits[row, target] = (p_wanted - 1).to(logits.dtype)
    return -p_wanted.log().sum()


def _softmax_rows(logits: Tensor) -> int:
    return SOFTMAX_ROWS if logits.device.type == "cpu" else len(logits)
