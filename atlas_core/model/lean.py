"""Norms and non-linearities with the products behind them, keeping what goes into either for the backward pass.

PyTorch keeps every elementary step's result. Here only the inputs and what the products multiplied are kept, and the
steps between are computed once more. The formulas are those of `torch.nn.functional`'s `rms_norm`, `gelu`, `silu`,
`relu` and `linear`, against which the tests hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atlas_core.model.gelu import gelu, gelu_backward_


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


class Norm(NamedTuple):
    """A norm over the last dimension."""

    forward: Callable[..., tuple[Tensor, ...]]   # (x, eps, *parameters) -> what comes out, each vector's statistics
    backward: Callable[..., tuple[Tensor, ...]]  # (its gradient, x, statistics, *parameters) -> those of x, parameters


def _rms_norm(x: Tensor, eps: float, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Sums run in fp32 at least, the rest in the type of `x`."""
    exact = torch.promote_types(x.dtype, torch.float32)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
    scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)  # (..., 1)
    return (x * scale).mul_(weight), scale


def _rms_norm_backward(d_y: Tensor, x: Tensor, statistics: Sequence[Tensor], weight: Tensor) -> tuple[Tensor, Tensor]:
    (scale,) = statistics
    normed = x * scale
    d_scaled = d_y * normed
    along = (d_scaled @ weight)[..., None] / -x.shape[-1]  # the part of the gradient that only changes the length
    d_x = torch.addcmul(d_y * weight, normed, along).mul_(scale)
    return d_x, d_scaled.flatten(0, -2).sum(0)


def _layer_norm(x: Tensor, eps: float, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.native_layer_norm(x, weight.shape, weight, bias, eps)


def _layer_norm_backward(d_y: Tensor, x: Tensor, statistics: Sequence[Tensor], weight: Tensor,
                         bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    all_three = [True, True, True]
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_layer_norm_backward(
        d_y, x, weight.shape, *statistics, weight, bias, all_three)
    return gradients


NORMS: dict[type[nn.Module], Norm] = {
    RMSNorm: Norm(_rms_norm, _rms_norm_backward),
    nn.LayerNorm: Norm(_layer_norm, _layer_norm_backward),
}


def linears_of_norm(x: Tensor, norm: nn.Module, *linears: nn.Linear) -> tuple[Tensor, ...]:
    """linear(norm(x)) for each of `linears`: x (..., H) -> one (..., out) for each."""
    own_kernel = isinstance(norm, RMSNorm) and x.device.type != "cpu"
    if own_kernel or torch.compiler.is_compiling() or not torch.is_grad_enabled():  # a compiler decides what to keep
        normed = norm(x)
        return tuple(linear(normed) for linear in linears)
    weights = _in_autocast_type(*(linear.weight for linear in linears))
    biases = [None if linear.bias is None else linear.bias.to(weights[0].dtype) for linear in linears]
    with _without_autocast(x):
        ys: tuple[Tensor, ...] = _LinearsOfNorm.apply(NORMS[type(norm)], norm.eps, x, len(linears), *weights, *biases,
                                                      *norm.parameters())
    return ys


class Activation(NamedTuple):
    """A non-linearity."""

    forward: Callable[[Tensor], Tensor]             # (x)
    backward_: Callable[[Tensor, Tensor], Tensor]   # (its gradient, which becomes that of x, x)


aten = torch.ops.aten
ACTIVATIONS = {
    "gelu": Activation(gelu, gelu_backward_),
    "silu": Activation(F.silu, lambda d, x: aten.silu_backward.grad_input(d, x, grad_input=d)),
    "relu": Activation(F.relu, lambda d, x: aten.threshold_backward.grad_input(d, x, 0, grad_input=d)),
}


def linear_of_activation(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """activation(x) @ weight.T + bias: x (..., M), weight (H, M), bias (H,) -> (..., H)."""
    x, weight, bias = _in_autocast_type(x, weight, bias)
    with _without_autocast(x):
        y: Tensor = _LinearOfActivation.apply(x, weight, bias, activation)
    return y


def linear_of_swiglu(gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
    """(silu(gate) * up) @ weight.T (Shazeer 2020): gate and up (..., M), weight (H, M) -> (..., H)."""
    gate, up, weight = _in_autocast_type(gate, up, weight)
    with _without_autocast(gate):
        y: Tensor = _LinearOfSwiGLU.apply(gate, up, weight)
    return y


def _without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Entering torch's own context takes as long as a small norm, so only where there is something to leave."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def _in_autocast_type(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All of them as a product under autocast would take them; unchanged outside."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(x.to(torch.get_autocast_dtype(device)) for x in tensors)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, scale = _rms_norm(x, eps, weight)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        return *_rms_norm_backward(grads[0], x, (scale,), weight), None


class _LinearsOfNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, norm: Norm, eps: float, x: Tensor, count: int, *parameters: Tensor) -> tuple[Tensor, ...]:
        weights, biases, own = parameters[:count], parameters[count:2 * count], parameters[2 * count:]
        ctx.norm, ctx.has_bias = norm, [bias is not None for bias in biases]
        ctx.parts = slice(count), slice(count, count + len(own)), slice(count + len(own), None)
        ctx.sums = [_own_sum(weight) for weight in weights]
        y, *statistics = norm.forward(x, eps, *own)
        normed = y.to(weights[0].dtype)
        ctx.save_for_backward(x, normed, *weights, *own, *statistics)
        return tuple(_linear(normed, weight, bias) for weight, bias in zip(weights, biases, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, normed, *others = ctx.saved_tensors
        weights, own, statistics = (others[part] for part in ctx.parts)
        d_weights = [_weight_gradient(d, normed, total) for d, total in zip(grads, ctx.sums, strict=True)]
        d_biases = [d.flatten(0, -2).sum(0) if has_bias else None
                    for d, has_bias in zip(grads, ctx.has_bias, strict=True)]
        d_normed = grads[0].flatten(0, -2) @ weights[0]
        for d, weight in zip(grads[1:], weights[1:], strict=True):
            d_normed.addmm_(d.flatten(0, -2), weight)
        d_x, *d_own = ctx.norm.backward(d_normed.view_as(x).to(x.dtype), x, statistics, *own)
        return None, None, d_x, None, *d_weights, *d_biases, *d_own


class _LinearOfActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
        bent = ACTIVATIONS[activation].forward(x)
        ctx.save_for_backward(x, bent, weight)
        ctx.activation, ctx.sum = activation, _own_sum(weight)
        return _linear(bent, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, bent, weight = ctx.saved_tensors
        d_weight = _weight_gradient(grads[0], bent, ctx.sum)
        d_x = ACTIVATIONS[ctx.activation].backward_(grads[0] @ weight, x)
        return d_x, d_weight, grads[0].flatten(0, -2).sum(0), None


class _LinearOfSwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
        opened = F.silu(gate).mul_(up)
        ctx.save_for_backward(gate, up, opened, weight)
        ctx.sum = _own_sum(weight)
        return F.linear(opened, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, opened, weight = ctx.saved_tensors
        d_weight = _weight_gradient(grads[0], opened, ctx.sum)
        d_inner = grads[0] @ weight
        d_up = F.silu(gate).mul_(d_inner)
        return torch.ops.aten.silu_backward(d_inner.mul_(up), gate), d_up, d_weight


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x @ weight.T + bias: (..., in), (out, in) and (out,) -> (..., out).

    Of bf16 on a processor torch first fills the result with the bias and then adds the product to it; oneDNN itself
    adds the bias before it writes anything.
    """
    if bias is None or x.dtype != torch.bfloat16 or x.device.type != "cpu":
        return F.linear(x, weight, bias)
    if torch.compiler.is_compiling() or not _onednn_has_bf16():  # a compiler takes it for frozen weights alone
        return F.linear(x, weight, bias)
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


@cache
def _onednn_has_bf16() -> bool:
    """Whether this build of torch has oneDNN, and this processor what oneDNN needs for products of bf16."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _own_sum(weight: Tensor) -> Tensor | None:
    """Where gradients of `weight` are summed (see `training/weights.py`), if a product of its type can add to it."""
    total: Tensor | None = getattr(weight, "main_grad", None)
    return total if total is not None and total.dtype == weight.dtype else None


def _weight_gradient(d_y: Tensor, x: Tensor, total: Tensor | None) -> Tensor | None:
    """Of y = x @ weight.T, over all tokens: (..., H) and (..., M) -> (H, M), added to `total` if there is one."""
    d_y, x = d_y.flatten(0, -2), x.flatten(0, -2)
    if total is None:
        return d_y.T @ x
    total.addmm_(d_y.T, x)
    return None
