"""From logits to the next token, as pure functions: temperature, then top-k, then the nucleus.

Nothing here knows of a model or of text, and nothing touches the global random stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from atlas_core.config import Sampling
from atlas_core.errors import NumericsError

COLDEST = 1e-6  # below this, dividing by the temperature overflows fp32; such text is greedy anyway


def probabilities(logits: Tensor, settings: Sampling, *, forbidden: Sequence[int] = ()) -> Tensor:
    """How likely each token is to be drawn: logits (..., V) -> fp32 (..., V), each row summing to 1.

    The order is Hugging Face's: the temperature reshapes the distribution, top-k keeps the k likeliest,
    and the nucleus (Holtzman et al. 2020) keeps the fewest of those that together reach top_p, measured
    among themselves; the likeliest token always stays. Of equal logits exactly as many stay as fit.
    Temperature 0 is greedy: all on one likeliest token. `forbidden` ids get nothing.

    Raises `NumericsError` for logits that are infinite or not numbers.
    """
    chances, ids = _candidates(logits, settings, forbidden)
    return torch.zeros(logits.shape, device=logits.device).scatter(-1, ids, chances)


def next_token(logits: Tensor, settings: Sampling, generator: torch.Generator,
               *, forbidden: Sequence[int] = ()) -> Tensor:
    """One id for each row, drawn by `probabilities`: logits (..., V) -> (...) int64.

    The generator lives on the device of the logits. Errors are those of `probabilities`.
    """
    chances, ids = _candidates(logits, settings, forbidden)  # drawing among few is faster than among all
    K = ids.shape[-1]
    place = torch.multinomial(chances.reshape(-1, K), 1, generator=generator)  # (rows, 1)
    return ids.reshape(-1, K).gather(-1, place).view(logits.shape[:-1])


def _candidates(logits: Tensor, settings: Sampling, forbidden: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The chances and ids of the tokens that may be drawn, both (..., K) with K up to V."""
    logits = _allowed(logits, forbidden)
    vocabulary = logits.shape[-1]
    if settings.temperature < COLDEST:
        best = logits.argmax(-1, keepdim=True)
        return torch.ones_like(best, dtype=torch.float32), best
    scaled = (logits - logits.amax(-1, keepdim=True)) / settings.temperature  # the largest becomes 0: no overflow
    kept = min(settings.top_k or vocabulary, vocabulary)
    if kept == vocabulary and settings.top_p >= 1:
        return scaled.softmax(-1), torch.arange(vocabulary, device=logits.device).expand_as(logits)
    # Selecting a few is some ten times faster than sorting the whole vocabulary.
    values, ids = scaled.topk(kept, dim=-1) if kept < vocabulary else scaled.sort(dim=-1, descending=True)
    chances = values.softmax(-1)
    if settings.top_p < 1:
        chances = chances.masked_fill(_beyond_nucleus(chances, settings.top_p), 0.0)
        chances = chances / chances.sum(-1, keepdim=True)
    return chances, ids


def _allowed(logits: Tensor, forbidden: Sequence[int]) -> Tensor:
    """A checked fp32 copy in which forbidden tokens are impossible."""
    if not torch.isfinite(logits).all():
        raise NumericsError("The model's predictions are no longer numbers.",
                            "Its training went astray: use an earlier checkpoint, or a lower learning rate.")
    logits = logits.float().clone()
    logits[..., list(forbidden)] = float("-inf")
    return logits


def _beyond_nucleus(chances: Tensor, top_p: float) -> Tensor:
    """True where the likelier tokens already reach `top_p`; never for the first. chances fall along the last axis."""
    beyond = chances.cumsum(-1) - chances >= top_p
    beyond[..., 0] = False
    return beyond
