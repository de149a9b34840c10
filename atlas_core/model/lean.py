"""Norms and non-linearities with the products behind them, keeping nothing but their inputs for the backward pass.

PyTorch keeps every elementary step's result. What a norm or a non-linearity hands to the product behind it is as wide
as the stream or as an MLP's inner layer, and costs little to compute once more. The formulas are those of
`torch.nn.functional`'s `rms_norm`, `gelu`, `silu`, `relu` and `linear`, against which the tests hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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
        return rms_norm(x, self.weight, eps=self.eps)


def rms_norm(x: Tensor, weight: Tensor, *, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight: x (..., H), weight (H,) -> (..., H)."""
    if x.device.type != "cpu":  # cards have a kernel for it
        return F.rms_norm(x, weight.shape, weight, eps)
    y: Tensor = _RMSNorm.apply(x, weight, eps)
    return y


def linears_of_norm(x: Tensor, norm: nn.Module, *linears: nn.Linear) -> tuple[Tensor, ...]:
    """linear(norm(x)) for each of `linears`: x (..., H) -> one (..., out) for each."""
    if torch.compiler.is_compiling():  # the compiler decides itself what to keep
        normed = norm(x)
        return tuple(linear(normed) for linear in linears)
    weights = _in_autocast_type(*(linear.weight for linear in linears))
    biases = [None if linear.bias is None else linear.bias.to(weights[0].dtype) for linear in linears]
    with torch.autocast(x.device.type, enabled=False):
        ys: tuple[Tensor, ...] = _LinearsOfNorm.apply(norm, len(linears), x, *weights, *biases, *norm.parameters())
    return ys


def _normed(norm: nn.Module, x: Tensor, *parameters: Tensor) -> Tensor:
    """norm(x) with these for its parameters."""
    if isinstance(norm, nn.LayerNorm):
        return F.layer_norm(x, norm.normalized_shape, parameters[0], parameters[1], norm.eps)
    assert isinstance(norm, RMSNorm)
    return rms_norm(x, *parameters, eps=norm.eps)


class Activation(NamedTuple):
    """A non-linearity."""

    forward: Callable[[Tensor], Tensor]             # (x)
    backward: Callable[[Tensor, Tensor], Tensor]    # (gradient of what came out, x) -> gradient of x


ACTIVATIONS = {
    "gelu": Activation(lambda x: F.gelu(x, approximate="tanh"),
                       lambda d, x: torch.ops.aten.gelu_backward(d, x, approximate="tanh")),
    "silu": Activation(F.silu, torch.ops.aten.silu_backward),
    "relu": Activation(F.relu, lambda d, x: torch.ops.aten.threshold_backward(d, x, 0)),
}


def linear_of_activation(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """activation(x) @ weight.T + bias: x (..., M), weight (H, M), bias (H,) -> (..., H)."""
    x, weight, bias = _in_autocast_type(x, weight, bias)
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = _LinearOfActivation.apply(x, weight, bias, activation)
    return y


def linear_of_swiglu(gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
    """(silu(gate) * up) @ weight.T (Shazeer 2020): gate and up (..., M), weight (H, M) -> (..., H)."""
    gate, up, weight = _in_autocast_type(gate, up, weight)
    with torch.autocast(gate.device.type, enabled=False):
        y: Tensor = _LinearOfSwiGLU.apply(gate, up, weight)
    return y


def _in_autocast_type(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All of them as a product under autocast would take them; unchanged outside."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(x.to(torch.get_autocast_dtype(device)) for x in tensors)


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


class _LinearsOfNorm(torch.autograd.Function):
    """Of the norm itself nothing is taken but its kind: its parameters come after the weights and biases."""

    @staticmethod
    def forward(ctx: Any, norm: nn.Module, count: int, x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        weights, biases, own = parameters[:count], parameters[count:2 * count], parameters[2 * count:]
        ctx.norm, ctx.count, ctx.has_bias = norm, count, [bias is not None for bias in biases]
        ctx.save_for_backward(x, *weights, *own)
        normed = _normed(norm, x, *own).to(weights[0].dtype)
        return tuple(F.linear(normed, weight, bias) for weight, bias in zip(weights, biases, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        weights, own = parameters[:ctx.count], parameters[ctx.count:]
        with torch.enable_grad():
            inputs = [tensor.detach().requires_grad_() for tensor in (x, *own)]
            y = _normed(ctx.norm, *inputs)
        normed = y.detach().to(weights[0].dtype)
        d_weights = [_weight_gradient(d, normed) for d in grads]
        d_biases = [d.flatten(0, -2).sum(0) if has_bias else None
                    for d, has_bias in zip(grads, ctx.has_bias, strict=True)]
        d_normed = grads[0].flatten(0, -2) @ weights[0]
        for d, weight in zip(grads[1:], weights[1:], strict=True):
            d_normed.addmm_(d.flatten(0, -2), weight)
        d_x, *d_own = torch.autograd.grad(y, inputs, d_normed.view_as(y).to(y.dtype))
        return None, None, d_x, *d_weights, *d_biases, *d_own


class _LinearOfActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.activation = activation
        return F.linear(ACTIVATIONS[activation].forward(x), weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        activation = ACTIVATIONS[ctx.activation]
        d_x = activation.backward(grads[0] @ weight, x)
        d_weight = _weight_gradient(grads[0], activation.forward(x))
        return d_x, d_weight, grads[0].flatten(0, -2).sum(0), None


class _LinearOfSwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        return F.linear(F.silu(gate).mul_(up), weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        gate, up, weight = ctx.saved_tensors
        opened = F.silu(gate)
        d_weight = _weight_gradient(grads[0], opened * up)
        d_inner = grads[0] @ weight
        d_up = opened.mul_(d_inner)
        return torch.ops.aten.silu_backward(d_inner.mul_(up), gate), d_up, d_weight


def _weight_gradient(d_y: Tensor, x: Tensor) -> Tensor:
    """Of y = x @ weight.T, over all tokens: (..., H) and (..., M) -> (H, M)."""
    return d_y.flatten(0, -2).T @ x.flatten(0, -2)
