"""Keys and values of the tokens already seen, so that each new token costs one token's work."""

from __future__ import annotations

import torch
from torch import Tensor


class Cache:
    """Room for `context` tokens of every layer, allocated once. `length` tokens are filled."""

    def __init__(self, layers: int, batch: int, heads: int, context: int, head_size: int,
                 *, device: torch.device, dtype: torch.dtype) -> None:
        shape = (layers, batch, heads, context, head_size)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0

    @property
    def context(self) -> int:
        return self.keys.shape[3]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store `k` and `v` (B, heads, T, D) of one layer behind the others; returns all of them.

        `length` itself moves once, after the last layer: see `AtlasLM.hidden`.
        """
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def clear(self) -> None:
        self.length = 0
