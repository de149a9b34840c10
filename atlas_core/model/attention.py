"""Causal attention by whatever computes it fastest: PyTorch's kernel, or blocks of plain products.

On a processor PyTorch's fused kernel takes about twice as long in bf16 as plain matrix products do; in fp32,
and on a graphics card, the fused kernel wins. Nothing here knows of heads' meaning, caches or dropout elsewhere.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LONG = 256  # tokens; up to here blocks of 64 queries are the faster ones, beyond it 128


def attention(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, dropout: float) -> Tensor:
    """softmax(q k^T / sqrt(D)) v, each query seeing the keys up to its own (B, heads, T, D).

    `mask` (bool, True where a query may look) takes the place of causality. A single query sees all keys.
    """
    T = q.shape[2]
    plain = mask is None and T > 1 and not dropout
    if plain and q.dtype == torch.bfloat16 and q.device.type == "cpu":
        return _blocked(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None and T > 1)


def _blocked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    B, heads, T, D = q.shape
    y: Tensor = _Blocked.apply(*(t.reshape(B * heads, T, D) for t in (q, k, v)))
    return y.view(B, heads, T, D)


class _Blocked(torch.autograd.Function):
    """A block of queries at a time against the keys up to its end, so that little of the upper triangle is computed.

    The weights of each block are kept for the backward pass: B x heads x T x T / 2 numbers.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        _, T, D = q.shape
        q = q * (1 / math.sqrt(D))  # scaled here, where it is small
        block = 64 if T <= LONG else 128
        future = torch.full((block, block), -math.inf, dtype=q.dtype).triu(1)
        y, kept = torch.empty_like(q), []
        for start in range(0, T, block):
            end = min(start + block, T)
            weights = torch.bmm(q[:, start:end], k[:, :end].transpose(1, 2))  # (N, block, end)
            weights[:, :, start:] += future[: end - start, : end - start]
            torch.softmax(weights, -1, out=weights)
            torch.bmm(weights, v[:, :end], out=y[:, start:end])
            kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.block = block
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (dy,) = grads
        q, k, v, *kept = ctx.saved_tensors
        _, T, D = q.shape
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for start, weights in zip(range(0, T, ctx.block), kept, strict=True):
            part, seen = slice(start, start + ctx.block), slice(0, start + weights.shape[1])
            dv[:, seen].baddbmm_(weights.transpose(1, 2), dy[:, part])
            d_weights = torch.bmm(dy[:, part], v[:, seen].transpose(1, 2))
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            torch.bmm(d_scores, k[:, seen], out=dq[:, part])
            dk[:, seen].baddbmm_(d_scores.transpose(1, 2), q[:, part])
        return dq.mul_(1 / math.sqrt(D)), dk, dv
