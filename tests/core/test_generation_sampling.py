"""The laws of drawing a token from logits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from atlas_core.config import Sampling
from atlas_core.errors import NumericsError
from atlas_core.generation.sampling import next_token, probabilities

LOGITS = torch.tensor([2.0, -1.0, 0.5, 2.5, 0.0, -3.0])


def settings(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Sampling:
    return Sampling(temperature=temperature, top_k=top_k, top_p=top_p)


def slow_probabilities(logits: list[float], s: Sampling) -> Tensor:
    """The documented order, token by token in fp64: temperature, then top-k, then the nucleus."""
    scaled = torch.tensor(logits, dtype=torch.float64) / s.temperature
    order = sorted(range(len(logits)), key=lambda token: -logits[token])
    kept = order[: s.top_k or len(order)]
    share = dict(zip(kept, scaled[kept].softmax(0).tolist(), strict=True))
    nucleus, reached = [], 0.0
    for token in kept:
        if nucleus and reached >= s.top_p:
            break
        nucleus.append(token)
        reached += share[token]
    result = torch.zeros(len(logits), dtype=torch.float64)
    result[nucleus] = torch.tensor([share[token] for token in nucleus], dtype=torch.float64)
    return result / result.sum()


@given(
    logits=st.lists(st.integers(-400, 400), min_size=1, max_size=40, unique=True),
    temperature=st.floats(0.05, 20), top_k=st.integers(0, 60), top_p=st.sampled_from([0.0, 0.1, 0.37, 0.8, 0.993, 1.0]),
)
def test_fast_probabilities_are_those_of_the_slow_obvious_way(
    logits: list[int], temperature: float, top_k: int, top_p: float
) -> None:
    values = [value / 50 for value in logits]
    chosen = settings(temperature, top_k, top_p)
    fast = probabilities(torch.tensor(values), chosen)
    slow = slow_probabilities(values, chosen)
    # Where the sum reaches top_p within rounding, either side of the border is right.
    border = abs(slow.cumsum(0) - top_p).min() < 1e-5
    assert border or torch.allclose(fast.double(), slow, atol=1e-5)
    assert abs(fast.sum().item() - 1) < 1e-5


def test_plain_settings_are_the_softmax() -> None:
    assert torch.equal(probabilities(LOGITS, settings()), LOGITS.softmax(-1))


@pytest.mark.parametrize("temperature", [0.0, 1e-9])
def test_temperature_zero_is_greedy(temperature: float) -> None:
    assert probabilities(LOGITS, settings(temperature)).tolist() == [0, 0, 0, 1, 0, 0]


def test_a_very_cold_temperature_does_not_overflow() -> None:
    chances = probabilities(1e4 * LOGITS, settings(2e-6, 3, 0.9))
    assert chances.tolist() == [0, 0, 0, 1, 0, 0]


def test_a_very_hot_temperature_makes_tokens_equal() -> None:
    torch.testing.assert_close(probabilities(LOGITS, settings(100.0)), torch.full((6,), 1 / 6), atol=0.01, rtol=0)


def test_top_k_keeps_the_k_likeliest() -> None:
    assert probabilities(LOGITS, settings(top_k=2)).nonzero().flatten().tolist() == [0, 3]
    assert torch.equal(probabilities(LOGITS, settings(top_k=99)), LOGITS.softmax(-1))


def test_of_equal_logits_exactly_k_stay() -> None:
    chances = probabilities(torch.zeros(10), settings(top_k=4))
    assert sorted(chances.tolist()) == [0.0] * 6 + [0.25] * 4
    assert (probabilities(torch.zeros(10), settings(temperature=0)) > 0).sum() == 1


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    assert probabilities(logits, settings(top_p=0.6)).nonzero().flatten().tolist() == [0, 1]
    torch.testing.assert_close(probabilities(logits, settings(top_p=0.6)), torch.tensor([0.625, 0.375, 0, 0]))


def test_top_p_zero_keeps_the_likeliest() -> None:
    assert probabilities(LOGITS, settings(top_p=0.0)).tolist() == [0, 0, 0, 1, 0, 0]


def test_the_nucleus_is_measured_among_what_top_k_left() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    # Of the two kept, the first alone has 0.4 / 0.7 = 0.57.
    assert probabilities(logits, settings(top_k=2, top_p=0.55)).tolist() == [1, 0, 0, 0]
    assert (probabilities(logits, settings(top_k=0, top_p=0.55)) > 0).sum() == 2


@pytest.mark.parametrize("chosen", [settings(0), settings(1.0), settings(1.0, 3), settings(1.0, 0, 0.5)])
def test_a_forbidden_token_is_never_drawn(chosen: Sampling) -> None:
    chances = probabilities(LOGITS, chosen, forbidden=[3, 0])
    assert chances[3] == chances[0] == 0
    assert abs(chances.sum().item() - 1) < 1e-6


def test_the_callers_logits_stay_as_they_are() -> None:
    before = LOGITS.clone()
    probabilities(LOGITS, settings(0.7, 3, 0.5), forbidden=[1])
    assert torch.equal(LOGITS, before)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_refused(broken: float, temperature: float) -> None:
    logits = LOGITS.clone()
    logits[2] = broken
    with pytest.raises(NumericsError, match="no longer numbers"):
        probabilities(logits, settings(temperature))


def test_rows_are_independent() -> None:
    rows = torch.stack([LOGITS, -LOGITS, LOGITS.roll(1)])
    chosen = settings(0.8, 4, 0.9)
    together = probabilities(rows[None], chosen)  # (1, 3, V)
    for row, alone in zip(together[0], rows, strict=True):
        assert torch.equal(row, probabilities(alone, chosen))


def test_half_precision_logits_give_full_precision_probabilities() -> None:
    assert probabilities(LOGITS.bfloat16(), settings(0.8, 4, 0.9)).dtype == torch.float32


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    rows = LOGITS.expand(20_000, -1)
    chosen = settings(0.8, 4, 0.95)
    drawn = next_token(rows, chosen, torch.Generator().manual_seed(0))
    assert drawn.shape == (20_000,)
    shares = drawn.bincount(minlength=6) / 20_000
    torch.testing.assert_close(shares, probabilities(LOGITS, chosen), atol=0.015, rtol=0)


def test_drawing_repeats_with_the_seed_and_leaves_the_global_stream_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = [int(next_token(LOGITS, settings(), generator)) for generator in [torch.Generator().manual_seed(7)] * 20]
    again = [int(next_token(LOGITS, settings(), generator)) for generator in [torch.Generator().manual_seed(7)] * 20]
    assert first == again
    assert len(set(first)) > 1
    assert torch.equal(torch.random.get_rng_state(), before)
