"""Causal attention in one of two ways: by PyTorch's fused kernel, or by plain products in blocks of queries.

On a processor in bf16 the fused kernel takes about twice as long as plain products; on a graphics card it is
always the one to take. Nothing here knows of caches, projections or what the heads mean.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from atlas_core.memory import query_block

WAYS = ("kernel", "blocks")


def attention(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None, dropout: float, way: str = "auto") -> Tensor:
    """softmax(q k^T / sqrt(D)) v, each query seeing the keys up to its own (B, heads, T, D).

    `mask` (bool, True where a query may look) takes the place of causality. A single query sees all keys. `way` is
    one of `WAYS`, or "auto" for a rule of thumb; what only the kernel can do (masks, dropout) it does anyway.
    """
    causal = mask is None and q.shape[2] > 1
    if way == "auto":
        way = "blocks" if q.dtype == torch.bfloat16 and q.device.type == "cpu" else "kernel"
    if way == "blocks" and causal and not dropout:
        return _blocked(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)


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
        ctx.scale, ctx.block = 1 / math.sqrt(D), min(T, query_block(T, q.itemsize))
        hiding = _hiding(ctx.block, T, q)
        y, kept = torch.empty_like(q), []
        for start in range(0, T, ctx.block):
            end = min(start + ctx.block, T)
            mask, seen = hiding[: end - start, T - start : T + end - start], k[:, :end].transpose(1, 2)
            scores = torch.baddbmm(mask, q[:, start:end], seen, alpha=ctx.scale)  # (N, block, end)
            weights = torch.softmax(scores, -1, out=scores)
            torch.bmm(weights, v[:, :end], out=y[:, start:end])
            kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (dy,) = grads
        q, k, v, *kept = ctx.saved_tensors
        T = q.shape[1]
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for start, weights in reversed([*zip(range(0, T, ctx.block), kept, strict=True)]):
            part, seen = slice(start, start + ctx.block), slice(0, start + weights.shape[1])
            d_weights = torch.bmm(dy[:, part], v[:, seen].transpose(1, 2))
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            torch.bmm(d_scores, k[:, seen], out=dq[:, part])
            if start + ctx.block >= T:  # the last block, which comes first, sees all keys
                torch.bmm(weights.transpose(1, 2), dy[:, part], out=dv)
                torch.bmm(d_scores.transpose(1, 2), q[:, part], out=dk)
            else:  # `baddbmm_` into a part would take one matrix after the other
                dv[:, seen].add_(torch.bmm(weights.transpose(1, 2), dy[:, part]))
                dk[:, seen].add_(torch.bmm(d_scores.transpose(1, 2), q[:, part]))
            del d_weights, d_scores
        return dq.mul_(ctx.scale), dk.mul_(ctx.scale), dv


def _hiding(block: int, T: int, like: Tensor) -> Tensor:
    """What added to scores leaves each of `block` queries the keys up to its own: (block, T + block).

    The first query's own key is at T, so a block that begins at `start` reads from T - start on.
    """
    own = torch.full((block, block), -math.inf, dtype=like.dtype, device=like.device).triu_(1)
    return F.pad(own, (T, 0))
