"""The lean norms and halves of MLPs against PyTorch's own, finite differences, and their promise to keep little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from atlas_core.model import gelu, lean
from atlas_core.model.lean import ACTIVATIONS, RMSNorm, linear_of_activation, linear_of_swiglu, linears_of_norm

EPSILON = 1e-5


class Called(TorchDispatchMode):
    """The names of torch's operators that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(operator.overloadpacket.__name__)
        return operator(*args, **(kwargs or {}))


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return noise.requires_grad_()


def given(module: nn.Module, **parameters: Tensor) -> nn.Module:
    """`module` with these very tensors in the place of its parameters."""
    for name, tensor in parameters.items():
        module._parameters[name] = tensor  # type: ignore[assignment]
    return module


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    made = nn.Linear(1, 1, bias=bias is not None)
    return given(made, weight=weight) if bias is None else given(made, weight=weight, bias=bias)  # type: ignore[return-value]


def lean_norm(x: Tensor, weight: Tensor) -> Tensor:
    return given(RMSNorm(len(weight), eps=EPSILON), weight=weight)(x)


def lean_norm_and_two_linears(x: Tensor, weight: Tensor, one: Tensor, other: Tensor) -> Tensor:
    norm = given(RMSNorm(len(weight), eps=EPSILON), weight=weight)
    return torch.cat(linears_of_norm(x, norm, linear(one), linear(other)), -1)


def plain_norm_and_two_linears(x: Tensor, weight: Tensor, one: Tensor, other: Tensor) -> Tensor:
    normed = plain_norm(x, weight)
    return torch.cat([F.linear(normed, one), F.linear(normed, other)], -1)


def lean_layer_norm_and_linear(x: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    norm = given(nn.LayerNorm(len(scale), eps=EPSILON), weight=scale, bias=shift)
    return torch.cat(linears_of_norm(x, norm, linear(weight, bias)))


def plain_layer_norm_and_linear(x: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(F.layer_norm(x, scale.shape, scale, shift, EPSILON), weight, bias)


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, EPSILON)


def plain_swiglu(gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
    return F.linear(F.silu(gate) * up, weight)


def plain_linear(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    return F.linear(PLAIN[activation](x), weight, bias)


PLAIN = {"gelu": partial(F.gelu, approximate="tanh"), "silu": F.silu, "relu": F.relu}
PAIRS = [
    pytest.param(lean_norm, plain_norm, ((3, 5, 8), (8,)), id="norm"),
    pytest.param(lean_norm_and_two_linears, plain_norm_and_two_linears, ((3, 5, 8), (8,), (4, 8), (6, 8)),
                 id="norm and linears"),
    pytest.param(lean_layer_norm_and_linear, plain_layer_norm_and_linear, ((3, 5, 8), (8,), (8,), (4, 8), (4,)),
                 id="classic norm and linear"),
    pytest.param(linear_of_swiglu, plain_swiglu, ((3, 5, 8), (3, 5, 8), (4, 8)), id="swiglu"),
    *(pytest.param(partial(linear_of_activation, activation=name), partial(plain_linear, activation=name),
                   ((3, 5, 8), (4, 8), (4,)), id=name) for name in ACTIVATIONS),
]


def inputs_of(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(numbers(*shape, dtype=dtype, seed=seed) for seed, shape in enumerate(shapes, 1))


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize(("lean", "plain", "shapes"), PAIRS)
def test_values_and_gradients_are_pytorchs(
    lean: Callable[..., Tensor], plain: Callable[..., Tensor], shapes: Sequence[tuple[int, ...]],
    dtype: torch.dtype, error: float,
) -> None:
    inputs = inputs_of(shapes, dtype)
    exact = tuple(x.detach().double().requires_grad_() for x in inputs)
    ours, wanted = lean(*inputs), plain(*exact)
    upstream = numbers(*ours.shape, dtype=dtype, seed=9).detach()
    found = torch.autograd.grad(ours, inputs, upstream)
    gradients = torch.autograd.grad(wanted, exact, upstream.double())
    for got, true in zip((ours, *found), (wanted, *gradients), strict=True):
        assert got.dtype == dtype
        assert (got.double() - true).norm() < error * true.norm()


@pytest.mark.parametrize(("lean", "plain", "shapes"), PAIRS)
def test_gradients_are_those_of_finite_differences(
    lean: Callable[..., Tensor], plain: Callable[..., Tensor], shapes: Sequence[tuple[int, ...]],  # noqa: ARG001
) -> None:
    assert torch.autograd.gradcheck(lean, inputs_of(shapes, torch.float64))


@pytest.mark.parametrize(("lean", "plain", "shapes"), PAIRS)
def test_nothing_is_kept_but_what_goes_into_either_and_two_numbers_a_row(
    lean: Callable[..., Tensor], plain: Callable[..., Tensor], shapes: Sequence[tuple[int, ...]],
) -> None:
    """Of a norm alone no more than its input."""
    def kept(function: Callable[..., Tensor]) -> int:
        inputs, found = inputs_of(shapes, torch.float32), {}
        theirs = {x.data_ptr() for x in inputs}
        with torch.autograd.graph.saved_tensors_hooks(lambda x: found.setdefault(x.data_ptr(), x), lambda x: x):
            function(*inputs)
        return sum(x.numel() for at, x in found.items() if at not in theirs)

    between = 0 if lean is lean_norm else 3 * 5 * 8
    assert between <= kept(lean) <= between + 2 * 3 * 5
    assert kept(plain) >= 3 * 5 * 8


def test_where_there_is_a_kernel_for_the_norm_training_takes_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    norm, linear = RMSNorm(8, eps=1e-5), torch.nn.Linear(8, 4, bias=False)
    rms_norm = F.rms_norm
    monkeypatch.setattr(F, "rms_norm", lambda x, *rest: taken.append(x.device.type) or rms_norm(x, *rest))
    for device in ("cpu", "meta"):
        (y,) = linears_of_norm(torch.ones(2, 8, device=device), norm.to(device), linear.to(device))
        assert y.shape == (2, 4) and y.requires_grad
    assert taken == ["meta"]


@pytest.mark.parametrize(("lean", "plain", "shapes"), PAIRS[1:])
def test_under_autocast_products_are_of_its_type_and_gradients_of_the_weights(
    lean: Callable[..., Tensor], plain: Callable[..., Tensor], shapes: Sequence[tuple[int, ...]],
) -> None:
    inputs = inputs_of(shapes, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = lean(*inputs), plain(*inputs)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    for got, wanted in zip(torch.autograd.grad(ours.sum(), inputs), torch.autograd.grad(theirs.sum(), inputs),
                           strict=True):
        assert got.dtype == torch.float32
        assert (got - wanted).norm() < 2e-2 * wanted.norm()


@pytest.mark.parametrize(("dtype", "form", "tolerance"),
                         [(torch.float32, "tanh", 1e-5), (torch.bfloat16, "none", 2**-7)])
def test_gelu_is_torchs(dtype: torch.dtype, form: str, tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several pieces, the last of them a shorter one; of 16 bits but the last may differ."""
    monkeypatch.setattr(gelu, "GELU_PIECE", 300)
    x = torch.cat([numbers(10, 100).detach() * 4, torch.linspace(-30, 30, 100)[None]]).to(dtype).view(1, 11, 100)
    d_y = numbers(1, 11, 100, dtype=dtype, seed=2).detach()
    d_x = gelu.gelu_backward_(d_y.clone(), x)
    for found, expected in ((gelu.gelu(x), F.gelu(x, approximate=form)),
                            (d_x, torch.ops.aten.gelu_backward(d_y, x, approximate=form))):
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=tolerance)


def test_the_form_of_gelu_in_bf16_is_as_near_to_the_other_as_is_said() -> None:
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64, requires_grad=True)
    usual, exact = F.gelu(x, approximate="tanh"), F.gelu(x)
    slopes = [torch.autograd.grad(y.sum(), x)[0] for y in (usual, exact)]
    assert (usual - exact).abs().max() < 5e-4
    assert (slopes[0] - slopes[1]).abs().max() < 1e-3


@pytest.mark.parametrize("onednn", [True, False])
def test_a_bias_is_added_in_bf16_with_and_without_onednn(onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if onednn and not lean._onednn_has_bf16():
        pytest.skip("no oneDNN for bf16 here")
    monkeypatch.setattr(lean, "_onednn_has_bf16", lambda: onednn)
    x, weight, bias = (numbers(*shape, dtype=torch.bfloat16).detach() for shape in ((3, 5, 64), (32, 64), (32,)))
    with Called() as called:
        y = lean._linear(x, weight, bias)
    assert ("_linear_pointwise" in called.names) == onednn
    exact = F.linear(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(y.double(), exact, rtol=2**-7, atol=2**-5)
