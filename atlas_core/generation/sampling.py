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
    logits = _allowed(logits, forbidden)
    if settings.temperature < COLDEST:
        likeliest = logits.argmax(-1, keepdim=True)
        return torch.zeros_like(logits).scatter(-1, likeliest, 1.0)
    scaled = (logits - logits.amax(-1, keepdim=True)) / settings.temperature  # the largest becomes 0: no overflow
    vocabulary = logits.shape[-1]
    kept = min(settings.top_k or vocabulary, vocabulary)
    if kept == vocabulary and settings.top_p >= 1:
        return scaled.softmax(-1)
    # Partial selection is some ten times faster than sorting the whole vocabulary.
    values, ids = scaled.topk(kept, dim=-1) if kept < vocabulary else scaled.sort(dim=-1, descending=True)
    weights = values.softmax(-1)
    if settings.top_p < 1:
        weights = weights.masked_fill(_beyond_nucleus(weights, settings.top_p), 0.0)
        weights = weights / weights.sum(-1, keepdim=True)
    return torch.zeros_like(logits).scatter(-1, ids, weights)


def next_token(logits: Tensor, settings: Sampling, generator: torch.Generator,
               *, forbidden: Sequence[int] = ()) -> Tensor:
    """One id drawn for each row: logits (..., V) -> (...) int64.

    The generator lives on the device of the logits. Errors are those of `probabilities`.
    """
    chances = probabilities(logits, settings, forbidden=forbidden)
    rows = chances.reshape(-1, chances.shape[-1])
    return torch.multinomial(rows, 1, generator=generator).reshape(chances.shape[:-1])


def _allowed(logits: Tensor, forbidden: Sequence[int]) -> Tensor:
    """A checked fp32 copy in which forbidden tokens are impossible."""
    if not torch.isfinite(logits).all():
        raise NumericsError("The model's predictions are no longer numbers.",
                            "Its training went astray: use an earlier checkpoint, or a lower learning rate.")
    logits = logits.float().clone()
    logits[..., list(forbidden)] = float("-inf")
    return logits


def _beyond_nucleus(weights: Tensor, top_p: float) -> Tensor:
    """True where the likelier tokens already reach `top_p`; never for the first. weights fall along the last axis."""
    beyond = weights.cumsum(-1) - weights >= top_p
    beyond[..., 0] = False
    return beyond
