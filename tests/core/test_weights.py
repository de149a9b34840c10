"""The working copies and their masters: what the optimizer moves is fp32, whatever the network computes in."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from atlas_core import config
from atlas_core.model import embedding
from atlas_core.model.attention import attention
from atlas_core.model.gpt import AtlasLM
from atlas_core.training.weights import Weights

SHAPE = config.Model(vocab_size=60, max_seq_len=24, hidden_size=32, num_layers=2, num_heads=4, dropout=0.0)


def model_and_batch(**changes: object) -> tuple[AtlasLM, Tensor, Tensor]:
    torch.manual_seed(3)
    tokens = torch.randint(60, (3, 25))
    return AtlasLM(config.Model(**{**vars(SHAPE), **changes})), tokens[:, :-1], tokens[:, 1:]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_gradients_are_those_of_autograd_alone(family: str, tied: bool, checkpointing: bool) -> None:
    model, tokens, targets = model_and_batch(family=family, tie_weights=tied)
    plain = copy.deepcopy(model)
    plain.tie()
    model.gradient_checkpointing = checkpointing
    plain.loss(tokens, targets).backward()
    weights = Weights(model, "fp32")
    for _ in range(2):
        model.loss(tokens, targets, share=0.5).backward()
    for (name, wanted), found in zip(plain.named_parameters(), weights.gradients, strict=True):
        assert wanted.grad is not None
        torch.testing.assert_close(found, wanted.grad, atol=1e-6, rtol=1e-4, msg=name)


def test_bf16_gradients_are_near_those_of_fp32_and_summed_in_fp32() -> None:
    model, tokens, targets = model_and_batch()
    exact = Weights(copy.deepcopy(model), "fp32")
    exact.model.tie()
    exact.model.loss(tokens, targets).backward()
    coarse = Weights(model, "bf16")
    for _ in range(4):
        model.loss(tokens, targets, share=0.25).backward()
    for name, found, wanted in zip(coarse.names, coarse.gradients, exact.gradients, strict=True):
        assert found.dtype == torch.float32
        assert (found - wanted).norm() < 0.03 * wanted.norm(), name
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_knows_nothing_of_the_gradients_before_it(precision: str) -> None:
    """Though those of the step before are still there when its first ones come."""
    model, tokens, targets = model_and_batch()
    fresh = Weights(copy.deepcopy(model), precision)
    fresh.model.tie()
    weights = Weights(model, precision)
    for _ in range(2):
        model.loss(tokens, targets).backward()
        weights.clip(0)
        weights.zero_gradients()
    for either in (weights, fresh):
        for _ in range(2):
            either.model.loss(tokens.flip(0), targets, share=0.5).backward()
        either.clip(0)
    for name, found, wanted in zip(weights.names, weights.gradients, fresh.gradients, strict=True):
        assert torch.equal(found, wanted), name


@pytest.mark.parametrize("steps", [1, 2])
def test_a_weight_that_takes_no_part_in_a_step_has_no_gradient(steps: int) -> None:
    model, tokens, targets = model_and_batch()
    weights = Weights(model, "bf16")
    model.loss(tokens, targets).backward()
    for _ in range(steps):
        weights.zero_gradients()
        weights.clip(0)
    assert not any(gradient.any() for gradient in weights.gradients)


def test_updates_too_small_for_bf16_add_up_in_the_masters() -> None:
    model, _, _ = model_and_batch()
    weights = Weights(model, "bf16")
    before = model.tokens.weight.clone()
    with torch.no_grad():
        for _ in range(100):
            for master in weights.masters:
                master.add_(2e-6)
        weights.publish()
    moved = (model.tokens.weight - before).float().mean()
    assert moved.item() == pytest.approx(2e-4, rel=0.1)


def test_clipping_shortens_a_long_gradient_and_leaves_a_short_one() -> None:
    model, tokens, targets = model_and_batch()
    weights = Weights(model, "fp32")
    model.loss(tokens, targets).backward()
    length = weights.clip(0)
    assert weights.clip(2 * length) == pytest.approx(length)
    assert weights.clip(length / 2) == pytest.approx(length)
    assert weights.clip(0) == pytest.approx(length / 2, rel=1e-4)


@pytest.mark.parametrize("T", [2, 63, 130, 300])
def test_attention_in_blocks_is_attention(T: int) -> None:
    torch.manual_seed(T)
    q, k, v, dy = (torch.randn(2, 3, T, 16) for _ in range(4))
    exact = [t.double().requires_grad_() for t in (q, k, v)]
    coarse = [t.bfloat16().requires_grad_() for t in (q, k, v)]
    weights = (exact[0] @ exact[1].mT / 4).masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf).softmax(-1)
    wanted = weights @ exact[2]
    found = attention(*coarse, mask=None, dropout=0.0)
    assert found.grad_fn is not None and "Blocked" in found.grad_fn.next_functions[0][0].name()
    assert (found - wanted).norm() < 0.01 * wanted.norm()
    wanted.backward(dy.double())
    found.backward(dy.bfloat16())
    for one, other in zip(coarse, exact, strict=True):
        assert one.grad is not None and other.grad is not None
        assert (one.grad - other.grad).norm() < 0.015 * other.grad.norm()


def test_where_each_row_would_be_rounded_the_gradient_of_an_embedding_is_summed_first(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a graphics card, whose kernel adds up in fp32; the processor's, which stands in for it, is coarser."""
    monkeypatch.setattr(embedding, "_rounds_each_row", lambda _: True)
    weight = nn.Parameter(torch.randn(8, 4).bfloat16())
    weight.main_grad = torch.ones_like(weight)  # type: ignore[attr-defined]
    tokens, d_y = torch.randint(0, 3, (2, 400)), torch.rand(2, 400, 4).bfloat16()
    embedding.embed(tokens, weight).backward(d_y)
    exact = torch.zeros(8, 4).index_add_(0, tokens.flatten(), d_y.flatten(0, 1).float()) + 1
    assert torch.allclose(weight.main_grad.float(), exact, rtol=0.03)  # type: ignore[attr-defined]
