"""Queries, keys and values of every head out of their joint projection, turned by position where a family does so."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ROPE_BASE = 10000.0


def rotations(positions: Tensor, head_size: int) -> Tensor:
    """How far each pair of a head's values turns at each position: (..., T) -> (..., 1, T, D / 2) complex.

    Rotary positions (Su et al. 2021): pair i turns by position x base^(-2i / D), so that a product of query and
    key depends on their distance alone.
    """
    pairs = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32)
    angles = positions[..., None, :, None] * ROPE_BASE ** (-pairs / head_size)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn neighbouring values of `x` (B, heads, T, D), llama.cpp's pairing for `llama`; the type stays.

    A pair is a complex number: one multiplication is 3 times as fast as sines and cosines on slices.
    """
    exact = x.to(torch.promote_types(x.dtype, torch.float32))  # there are no complex numbers of 16 bits
    pairs = torch.view_as_complex(exact.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)


def split_heads(qkv: Tensor, rotation: Tensor | None, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, heads + 2 kv_heads, D) -> queries (B, heads, T, D), keys and values (B, kv_heads, T, D).

    The former two are turned by `rotation`, if there is one.
    """
    if torch.compiler.is_compiling():  # a compiler joins the steps of both directions by itself
        return _split(qkv, rotation, heads, kv_heads)
    parts: tuple[Tensor, Tensor, Tensor] = _SplitHeads.apply(qkv, rotation, heads, kv_heads)
    return parts


def _split(qkv: Tensor, rotation: Tensor | None, heads: int, kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    qk, v = qkv.transpose(1, 2).split([heads + kv_heads, kv_heads], dim=1)
    if rotation is not None:
        qk = rotate(qk, rotation)
    q, k = qk.split([heads, kv_heads], dim=1)
    return q, k, v


class _SplitHeads(torch.autograd.Function):
    """Its gradients go straight to their places in that of `qkv`; PyTorch would join them, turn that and join again."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rotation: Tensor | None, heads: int, kv_heads: int) -> tuple[Tensor, ...]:
        ctx.save_for_backward(rotation)
        return _split(qkv, rotation, heads, kv_heads)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (rotation,) = ctx.saved_tensors
        dq, dk, dv = grads
        B, heads, T, D = dq.shape
        d_qkv = dq.new_empty(B, T, heads + dk.shape[1] + dv.shape[1], D)
        d_heads = d_qkv.transpose(1, 2)
        for place, gradient in zip(d_heads.split([heads, dk.shape[1], dv.shape[1]], dim=1), grads, strict=True):
            place.copy_(gradient)
        if rotation is not None:
            turned = d_heads[:, : heads + dk.shape[1]]
            turned.copy_(rotate(turned, rotation.conj()))
        return d_qkv, None, None, None
