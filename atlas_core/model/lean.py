"""The llama family's norm and gate, keeping nothing but their inputs for the backward pass.

PyTorch composes both of elementary steps on the processor and keeps every step's result. The formulas are those of
`torch.nn.functional.rms_norm` and of `silu(gate) * up`, against which the tests hold them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang and Sennrich 2019)."""

    def __init__(self, size: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":  # cards have a kernel for it
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        y: Tensor = _RMSNorm.apply(x, self.weight, self.eps)
        return y


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up (Shazeer 2020); the backward pass computes silu(gate) once more instead of keeping it."""
    y: Tensor = _SwiGLU.apply(gate, up)
    return y


class _RMSNorm(torch.autograd.Function):
    """Sums run in fp32 at least, the rest in the type of `x`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        exact = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)  # (..., 1)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        normed = x * scale
        d_scaled = grads[0] * normed
        along = (d_scaled @ weight)[..., None] / -x.shape[-1]  # the part of the gradient that only changes the length
        d_x = torch.addcmul(grads[0] * weight, normed, along).mul_(scale)
        return d_x, d_scaled.flatten(0, -2).sum(0), None


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_gate = torch.ops.aten.silu_backward(grads[0] * up, gate)
        return d_gate, F.silu(gate).mul_(grads[0])
