"""The lean norm and gate against PyTorch's own, finite differences, and their promise to keep little."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atlas_core.model.lean import RMSNorm, swiglu

EPSILON = 1e-5


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return noise.requires_grad_()


def lean_norm(x: Tensor, weight: Tensor) -> Tensor:
    norm = RMSNorm(len(weight), eps=EPSILON)
    del norm.weight
    norm.weight = weight
    return norm(x)


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, EPSILON)


def plain_swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


PAIRS = [pytest.param(lean_norm, plain_norm, (3, 5, 8), (8,), id="norm"),
         pytest.param(swiglu, plain_swiglu, (3, 5, 8), (3, 5, 8), id="swiglu")]


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize(("lean", "plain", "first", "second"), PAIRS)
def test_values_and_gradients_are_pytorchs(
    lean: Callable[..., Tensor], plain: Callable[..., Tensor], first: tuple[int, ...], second: tuple[int, ...],
    dtype: torch.dtype, error: float,
) -> None:
    inputs = numbers(*first, dtype=dtype), numbers(*second, dtype=dtype, seed=2)
    exact = tuple(x.detach().double().requires_grad_() for x in inputs)
    ours, wanted = lean(*inputs), plain(*exact)
    upstream = numbers(*first, dtype=dtype, seed=3).detach()
    found = torch.autograd.grad(ours, inputs, upstream)
    gradients = torch.autograd.grad(wanted, exact, upstream.double())
    for got, true in zip((ours, *found), (wanted, *gradients), strict=True):
        assert got.dtype == dtype
        assert (got.double() - true).norm() < error * true.norm()


@pytest.mark.parametrize(("lean", "first", "second"), [
    (lean_norm, (2, 3, 6), (6,)), (swiglu, (2, 3, 6), (2, 3, 6)),
])
def test_gradients_are_those_of_finite_differences(
    lean: Callable[..., Tensor], first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    inputs = numbers(*first, dtype=torch.float64), numbers(*second, dtype=torch.float64, seed=2)
    assert torch.autograd.gradcheck(lean, inputs)


@pytest.mark.parametrize(("lean", "plain", "first", "second"), PAIRS)
def test_nothing_but_the_inputs_and_a_scale_is_kept(
    lean: Callable[..., Tensor], plain: Callable[..., Tensor], first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    def kept(function: Callable[..., Tensor]) -> int:
        inputs, found = (numbers(*first), numbers(*second, seed=2)), {}
        theirs = {x.data_ptr() for x in inputs}
        with torch.autograd.graph.saved_tensors_hooks(lambda x: found.setdefault(x.data_ptr(), x), lambda x: x):
            function(*inputs)
        return sum(x.numel() for at, x in found.items() if at not in theirs)

    assert kept(lean) <= 3 * 5  # one number a row
    assert kept(plain) >= 3 * 5 * 8
