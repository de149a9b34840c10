"""Dropout against its definition and torch's own; the masks follow torch's generator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atlas_core.model.dropout import Dropout

SHAPE = (7, 301, 99)  # not a multiple of four numbers


def dropped(x: Tensor, p: float, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return Dropout(p).train()(x)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_of_zeros_is_p_and_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    y = dropped(torch.ones(SHAPE, dtype=dtype), p)
    n = y.numel()
    zeros = int((y == 0).sum())
    assert y.dtype == dtype
    assert abs(zeros - n * p) < 5 * (n * p * (1 - p)) ** 0.5, "five standard deviations"
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=4e-3 if dtype == torch.bfloat16 else 1e-3)


def test_neighbours_and_their_successors_are_independent() -> None:
    """Four numbers come of one draw, and the generator has a period of its own."""
    zero = (dropped(torch.ones(1_000_000), 0.5) == 0).double() - 0.5
    for distance in (1, 2, 3, 4, 5, 8, 624, 1248, 2496):
        together = (zero[:-distance] * zero[distance:]).sum() * 4
        assert abs(together) < 5 * len(zero) ** 0.5, distance


def test_gradients_pass_where_numbers_do_and_grow_alike() -> None:
    x, d_y = torch.randn(SHAPE, requires_grad=True), torch.randn(SHAPE)
    y = dropped(x, 0.3)
    y.backward(d_y)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, d_y * (y / x).detach())


def test_the_same_seed_draws_the_same_mask_on_any_number_of_threads() -> None:
    x = torch.ones(300_000)
    threads = torch.get_num_threads()
    first = dropped(x, 0.2)
    try:
        torch.set_num_threads(1)
        assert torch.equal(dropped(x, 0.2), first)
    finally:
        torch.set_num_threads(threads)
    assert not torch.equal(dropped(x, 0.2, seed=2), first)
    assert not torch.equal(Dropout(0.2).train()(x), first), "the generator has moved on"


def test_what_is_computed_twice_is_dropped_alike() -> None:
    """Gradient checkpointing restores torch's generator before it computes a block once more."""
    layer = nn.Sequential(nn.Linear(40, 40), Dropout(0.5)).train()
    x = torch.randn(50, 40)
    gradients = []
    for forward in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        torch.manual_seed(4)
        layer.zero_grad()
        forward(x).square().sum().backward()
        gradients.append([p.grad for p in layer.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("layer", [Dropout(0.5).eval(), Dropout(0.0).train()])
def test_otherwise_it_does_nothing(layer: Dropout) -> None:
    x = torch.randn(3, 4)
    assert layer(x) is x


def test_numbers_in_another_order_in_memory_are_dropped_too() -> None:
    x = torch.ones(200, 300).T
    y = dropped(x, 0.5)
    assert 0.45 < (y == 0).float().mean() < 0.55
    assert y.shape == x.shape
