"""The network, small to large: attention, MLP, block, model. The shape is GPT-2's.

Pre-norm decoder with learned positions (Radford et al. 2019). It computes exactly what llama.cpp's `gpt2`
architecture computes, so that an export is the same model. Nothing here knows of training or of text.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atlas_core import config, memory
from atlas_core.model.cache import Cache
from atlas_core.model.loss import linear_cross_entropy

NORM_EPSILON = 1e-5
INIT_STD = 0.02
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "relu": nn.ReLU,
}


class Attention(nn.Module):
    """Causal self-attention with one joined projection for queries, keys and values."""

    def __init__(self, c: config.Model, layer: int) -> None:
        super().__init__()
        self.layer, self.heads = layer, c.num_heads
        self.qkv = nn.Linear(c.hidden_size, 3 * c.hidden_size)
        self.output = nn.Linear(c.hidden_size, c.hidden_size)
        self.weight_dropout = c.attention_dropout

    def forward(self, x: Tensor, mask: Tensor | None, cache: Cache | None) -> Tensor:
        B, T, H = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, H // self.heads).permute(2, 0, 3, 1, 4)  # 3 x (B, heads, T, D)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
        dropout = self.weight_dropout if self.training else 0.0
        # Without a mask the kernel knows causality by itself and never builds the T x T matrix.
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None and T > 1)
        return self.output(y.transpose(1, 2).reshape(B, T, H))


class MLP(nn.Module):
    """Widen, bend, narrow."""

    def __init__(self, c: config.Model) -> None:
        super().__init__()
        inner = memory.inner_size(c)
        self.up = nn.Linear(c.hidden_size, inner)
        self.activation = ACTIVATIONS[c.activation]()
        self.down = nn.Linear(inner, c.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    """Attention, then MLP, each reading a normed copy of the stream and adding to it."""

    def __init__(self, c: config.Model, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(c.hidden_size, eps=NORM_EPSILON)
        self.attention = Attention(c, layer)
        self.mlp_norm = nn.LayerNorm(c.hidden_size, eps=NORM_EPSILON)
        self.mlp = MLP(c)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), mask, cache))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class AtlasLM(nn.Module):
    """A GPT-2-shaped language model. `gradient_checkpointing` trades time for memory in training mode only."""

    def __init__(self, c: config.Model, *, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = c
        self.gradient_checkpointing = gradient_checkpointing
        self.tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.positions = nn.Embedding(c.max_seq_len, c.hidden_size)
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(Block(c, layer) for layer in range(c.num_layers))
        self.norm = nn.LayerNorm(c.hidden_size, eps=NORM_EPSILON)
        self.head = nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        self._initialise()
        self.tie()

    def tie(self) -> None:
        """Let the output layer share the embedding's matrix, if the model is to."""
        if self.config.tie_weights:
            self.head.weight = self.tokens.weight

    def _initialise(self) -> None:
        """GPT-2's: normal with 0.02; what adds to the residual stream scaled down by its 2 x layers additions."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" not in name:
                additive = name.endswith(("attention.output.weight", "mlp.down.weight"))
                std = INIT_STD / math.sqrt(2 * self.config.num_layers) if additive else INIT_STD
                nn.init.normal_(parameter, std=std)

    @property
    def device(self) -> torch.device:
        return self.tokens.weight.device

    def count_parameters(self) -> int:
        """Trainable numbers; a tied matrix counts once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def new_cache(self, batch: int = 1) -> Cache:
        """An empty cache for this model: see `hidden`."""
        c = self.config
        return Cache(c.num_layers, batch, c.num_heads, c.max_seq_len, c.hidden_size // c.num_heads,
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
        x = self.dropout(self.tokens(tokens) + self.positions(positions))  # (B, T, H)
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, mask, use_reentrant=False)
            else:
                x = block(x, mask, cache)
        if cache is not None:
            cache.length += T
        return self.norm(x)

    def forward(self, tokens: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None,
                cache: Cache | None = None) -> Tensor:
        """Logits (B, T, V) for the token after each one; arguments as for `hidden`."""
        return self.head(self.hidden(tokens, positions=positions, mask=mask, cache=cache))

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats a token; tokens and targets (B, T)."""
        hidden = self.hidden(tokens)
        return linear_cross_entropy(hidden.flatten(0, 1), self.head.weight, targets.flatten())


def _causal(T: int, past: int, device: torch.device) -> Tensor:
    """(T, past + T) bool: a token sees itself and what came before."""
    return torch.ones(T, past + T, dtype=torch.bool, device=device).tril(past)
