"""GELU in its tanh form (Hendrycks and Gimpel 2016), on processors by quicker ways: torch's tanh costs most of it.

0.5 x (1 + tanh(u / 2)) is x sigmoid(u), with u = 2 sqrt(2 / pi) (x + 0.044715 x^3). What torch computes in one pass
takes several here, so they go over pieces that stay in the processor's cache. bf16 takes the form that this one
approximates, x Phi(x): torch computes it in a quarter of the time, and the two are 0.0005 apart at most, where bf16
itself rounds by up to 0.004.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from atlas_core.memory import GELU_PIECE

aten = torch.ops.aten
CUBIC = 0.044715
SLOPE = 2 * math.sqrt(2 / math.pi)


def gelu(x: Tensor) -> Tensor:
    """gelu(x) for each number of `x` (..., M)."""
    if not _by_sigmoid(x):
        return F.gelu(x, approximate=_form(x))
    y = torch.empty_like(x)
    for part, out in zip(_pieces(x), _pieces(y), strict=True):
        wide = _widened(part)
        torch.mul(_sigmoid(wide, wide.square()), wide, out=out)
    return y


def gelu_backward_(d_y: Tensor, x: Tensor) -> Tensor:
    """Turn the gradient of gelu(x) into that of `x` (..., M), in place."""
    if not _by_sigmoid(x):
        gradient: Tensor = aten.gelu_backward.grad_input(d_y, x, approximate=_form(x), grad_input=d_y)
        return gradient
    for part, piece in zip(_pieces(x), _pieces(d_y), strict=True):
        wide = _widened(part)
        slope = wide.square()
        gate = _sigmoid(wide, slope)
        slope.mul_(3 * SLOPE * CUBIC).add_(SLOPE)                               # of u
        slope.mul_(wide).mul_(gate).addcmul_(slope, gate, value=-1).add_(gate)  # gate + x gate (1 - gate) u'
        piece.copy_(slope.mul_(piece))
    return d_y


def _sigmoid(x: Tensor, square: Tensor) -> Tensor:
    return torch.addcmul(x, x, square, value=CUBIC).mul_(SLOPE).sigmoid_()


def _by_sigmoid(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype != torch.bfloat16 and not torch.compiler.is_compiling()


def _form(x: Tensor) -> str:
    """As torch calls it: "none" is x Phi(x)."""
    return "none" if x.device.type == "cpu" and x.dtype == torch.bfloat16 else "tanh"


def _widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _pieces(x: Tensor) -> Iterator[Tensor]:
    yield from x.view(-1, x.shape[-1]).split(max(1, GELU_PIECE // x.shape[-1]))
