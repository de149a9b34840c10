"""The network, small to large: norm, attention, MLP, block, model. Nothing here knows of training or of text.

A pre-norm decoder of one of two families: `gpt2` (LayerNorm, learned positions, biases; Radford et al. 2019) and
`llama` (RMSNorm, rotary positions, SwiGLU, no biases; Touvron et al. 2023). It computes exactly what llama.cpp's
architectures of these names compute, so that an export is the same model.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atlas_core import config, memory
from atlas_core.model.attention import attention
from atlas_core.model.cache import Cache
from atlas_core.model.dropout import Dropout
from atlas_core.model.embedding import embed
from atlas_core.model.heads import rotations, split_heads
from atlas_core.model.lean import RMSNorm, linear_of_activation, linear_of_swiglu, linears_of_norm
from atlas_core.model.loss import Buffers, linear_cross_entropy

NORM_EPSILON = 1e-5
INIT_STD = 0.02
EMBEDDING_STD = 0.2  # of one that only reads: MICRO learned faster so (docs/performance.md)


def norm(c: config.Model) -> nn.Module:
    """A layer that brings every token's vector to length sqrt(H); the families differ in whether it is centred."""
    return RMSNorm(c.hidden_size, eps=NORM_EPSILON) if c.is_llama else nn.LayerNorm(c.hidden_size, eps=NORM_EPSILON)


class Attention(nn.Module):
    """Causal self-attention on the normed stream, with one joined projection for queries, keys and values.

    With fewer heads of keys and values, each serves a group of neighbouring queries (Ainslie et al. 2023).
    """

    def __init__(self, c: config.Model, layer: int) -> None:
        super().__init__()
        self.layer, self.heads, self.kv_heads, self.head_size = layer, c.num_heads, c.kv_heads, c.head_size
        self.qkv = nn.Linear(c.hidden_size, (c.num_heads + 2 * c.kv_heads) * c.head_size, bias=not c.is_llama)
        self.output = nn.Linear(c.hidden_size, c.hidden_size, bias=not c.is_llama)
        self.weight_dropout = c.attention_dropout
        self.way = "auto"  # of computing it: see `attention.py`

    def forward(self, x: Tensor, norm: nn.Module, rotation: Tensor | None, mask: Tensor | None,
                cache: Cache | None) -> Tensor:
        B, T, H = x.shape
        (qkv,) = linears_of_norm(x, norm, self.qkv)
        q, k, v = split_heads(qkv.view(B, T, -1, self.head_size), rotation, self.heads, self.kv_heads)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
        if self.kv_heads < self.heads:
            k, v = (shared.repeat_interleave(self.heads // self.kv_heads, dim=1) for shared in (k, v))
        y = attention(q, k, v, mask=mask, dropout=self.weight_dropout if self.training else 0.0, way=self.way)
        return self.output(y.transpose(1, 2).reshape(B, T, H))


class MLP(nn.Module):
    """Norm, widen, bend, narrow."""

    def __init__(self, c: config.Model) -> None:
        super().__init__()
        inner = memory.inner_size(c)
        self.activation = c.activation
        self.up = nn.Linear(c.hidden_size, inner)
        self.down = nn.Linear(inner, c.hidden_size)

    def forward(self, x: Tensor, norm: nn.Module) -> Tensor:
        (wide,) = linears_of_norm(x, norm, self.up)
        return linear_of_activation(wide, self.down.weight, self.down.bias, self.activation)


class GatedMLP(nn.Module):
    """Norm, widen twice, let one half open and close the other, narrow: SwiGLU (Shazeer 2020)."""

    def __init__(self, c: config.Model) -> None:
        super().__init__()
        inner = memory.inner_size(c)
        self.gate = nn.Linear(c.hidden_size, inner, bias=False)
        self.up = nn.Linear(c.hidden_size, inner, bias=False)
        self.down = nn.Linear(inner, c.hidden_size, bias=False)

    def forward(self, x: Tensor, norm: nn.Module) -> Tensor:
        gate, up = linears_of_norm(x, norm, self.gate, self.up)
        return linear_of_swiglu(gate, up, self.down.weight)


class Block(nn.Module):
    """Attention, then MLP, each reading a normed copy of the stream and adding to it."""

    def __init__(self, c: config.Model, layer: int) -> None:
        super().__init__()
        self.attention_norm = norm(c)
        self.attention = Attention(c, layer)
        self.mlp_norm = norm(c)
        self.mlp = GatedMLP(c) if c.is_llama else MLP(c)
        self.dropout = Dropout(c.dropout)

    def forward(self, x: Tensor, rotation: Tensor | None = None, mask: Tensor | None = None,
                cache: Cache | None = None) -> Tensor:
        x = x + self.dropout(self.attention(x, self.attention_norm, rotation, mask, cache))
        return x + self.dropout(self.mlp(x, self.mlp_norm))


class AtlasLM(nn.Module):
    """A language model of either family. `gradient_checkpointing` trades time for memory in training mode only."""

    def __init__(self, c: config.Model, *, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = c
        self.gradient_checkpointing = gradient_checkpointing
        self.tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.positions = None if c.is_llama else nn.Embedding(c.max_seq_len, c.hidden_size)
        self.dropout = Dropout(c.dropout)
        self.blocks = nn.ModuleList(Block(c, layer) for layer in range(c.num_layers))
        self.norm = norm(c)
        self.head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        self.loss_buffers = Buffers()
        self._compiled: list[nn.Module] = []
        self._initialise()
        self.tie()

    def tie(self) -> None:
        """Let the output layer share the embedding's matrix, if the model is to."""
        if self.config.tie_weights:
            self.head.weight = self.tokens.weight

    def _initialise(self) -> None:
        """GPT-2's: normal with 0.02; what adds to the residual stream scaled down by its 2 x layers additions.

        In `llama`, an embedding that the output layer does not share begins wider.
        """
        only_reads = self.config.is_llama and not self.config.tie_weights
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" not in name:
                additive = name.endswith(("attention.output.weight", "mlp.down.weight"))
                std = INIT_STD / math.sqrt(2 * self.config.num_layers) if additive else INIT_STD
                if name == "tokens.weight" and only_reads:
                    std = EMBEDDING_STD
                nn.init.normal_(parameter, std=std)

    @property
    def device(self) -> torch.device:
        return self.tokens.weight.device

    def attend(self, way: str) -> None:
        """Choose how attention is computed: "auto" or one of `attention.WAYS`."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.way = way

    def compile_training(self, backend: str | Callable[..., object] = "inductor") -> None:
        """Let torch compile the blocks for training; texts, whose length changes at each token, run without."""
        self._compiled = [torch.compile(block, backend=backend) for block in self.blocks]  # type: ignore[misc]

    def count_parameters(self) -> int:
        """Trainable numbers; a tied matrix counts once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def new_cache(self, batch: int = 1) -> Cache:
        """An empty cache for this model: see `hidden`."""
        c = self.config
        return Cache(c.num_layers, batch, c.kv_heads, c.max_seq_len, c.head_size,
                     device=self.device, dtype=self.tokens.weight.dtype)

    def hidden(self, tokens: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None,
               cache: Cache | None = None) -> Tensor:
        """The stream behind the last norm: tokens (B, T) int64 -> (B, T, H).

        positions: (B, T) where they are not simply the next ones. mask: bool, broadcastable to
        (B, heads, T, keys), True where a query may look; it narrows causality, never widens it.
        cache: keys and values of earlier tokens, extended by this call; T + cache.length must not
        exceed the context.
        """
        T = tokens.shape[1]
        past = cache.length if cache is not None else 0
        if past + T > self.config.max_seq_len:
            raise ValueError(f"{past + T} tokens exceed the context of {self.config.max_seq_len}")
        if positions is None:
            positions = torch.arange(past, past + T, device=tokens.device)
        if mask is not None or (past and T > 1):
            mask = _causal(T, past, tokens.device) if mask is None else mask & _causal(T, past, tokens.device)
        x, rotation = embed(tokens, self.tokens.weight), None       # (B, T, H)
        if self.positions is None:
            rotation = rotations(positions, self.config.head_size)  # (1 or B, 1, T, D / 2)
        else:
            x = x + self.positions(positions)
        x = self.dropout(x)
        for block in self._compiled if self.training and self._compiled else self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, rotation, mask, use_reentrant=False)
            else:
                x = block(x, rotation, mask, cache)
        if cache is not None:
            cache.length += T
        return self.norm(x)

    def forward(self, tokens: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None,
                cache: Cache | None = None) -> Tensor:
        """Logits (B, T, V) for the token after each one; arguments as for `hidden`."""
        return self.head(self.hidden(tokens, positions=positions, mask=mask, cache=cache))

    def loss(self, tokens: Tensor, targets: Tensor, *, share: float = 1.0) -> Tensor:
        """`share` times the mean cross-entropy in nats a token; tokens and targets (B, T)."""
        return linear_cross_entropy(self.hidden(tokens).flatten(0, 1), self.head.weight, targets.flatten(),
                                    share=share, buffers=self.loss_buffers)


def _causal(T: int, past: int, device: torch.device) -> Tensor:
    """(T, past + T) bool: a token sees itself and what came before."""
    return torch.ones(T, past + T, dtype=torch.bool, device=device).tril(past)
