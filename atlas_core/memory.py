"""Parameters and memory as arithmetic, before anything is built.

What is not here: time, and any measurement. The tests hold these sums against the real network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from atlas_core.config import Config, Model

GIB = 2**30
RUNTIME_BYTES = {"cpu": 360 * 2**20, "cuda": 700 * 2**20, "mps": 500 * 2**20}
LOGITS = 2**26  # numbers of the output layer that exist at once


@dataclass(frozen=True)
class Memory:
    """Peak memory of a training step, item by item, in bytes."""

    items: dict[str, int]

    @property
    def total_bytes(self) -> int:
        return sum(self.items.values())


def count_parameters(model: Model) -> int:
    """Trainable numbers of the whole network; a tied output matrix counts once."""
    H, V = model.hidden_size, model.vocab_size
    matrices = V * H if model.tie_weights else 2 * V * H
    last_norm = H if model.is_llama else 2 * H
    return matrices + position_parameters(model) + model.num_layers * block_parameters(model) + last_norm


def position_parameters(model: Model) -> int:
    """Learned positions; `llama` computes its own."""
    return 0 if model.is_llama else model.max_seq_len * model.hidden_size


def block_parameters(model: Model) -> int:
    """One block: two norms, the joined query-key-value projection, its output, and the MLP.

    In `gpt2` everything has a bias; in `llama` nothing has, and the MLP has a third matrix, its gate.
    """
    H, M = model.hidden_size, inner_size(model)
    qkv = qkv_size(model)
    if model.is_llama:
        return 2 * H + H * qkv + H * H + 3 * H * M
    norms = 2 * 2 * H
    attention = (H * qkv + qkv) + (H * H + H)
    mlp = (H * M + M) + (M * H + H)
    return norms + attention + mlp


def qkv_size(model: Model) -> int:
    """Width of queries, keys and values together."""
    return (model.num_heads + 2 * model.kv_heads) * model.head_size


def inner_size(model: Model) -> int:
    """Width of the MLP's hidden layer.

    `llama` takes two thirds, so that its three matrices hold as much as two of `gpt2`, rounded up to a multiple
    of 32: rows of whole blocks for the quantised types of GGUF.
    """
    if model.is_llama:
        return 32 * math.ceil(model.hidden_size * model.mlp_ratio * 2 / 96)
    return int(model.hidden_size * model.mlp_ratio)


def estimate(config: Config, *, device: str = "cpu", precision: str = "fp32") -> Memory:
    """Peak memory of training `config`.

    The optimizer holds fp32 weights, gradients and two moments; below fp32, autocast keeps half-size
    copies of the matrices and halves most activations. The peak is the end of the forward pass.
    """
    model, training = config.model, config.training
    n = count_parameters(model)
    half = precision != "fp32"
    matrices = n - position_parameters(model)  # norms and biases are too few to matter
    return Memory({
        "weights": 4 * n + (2 * matrices if half else 0),
        "gradients": 4 * n,
        "optimizer": 8 * n,
        "activations": _activation_bytes(model, training.batch_size, half=half,
                                         checkpointing=training.gradient_checkpointing),
        "head": _head_bytes(model, training.batch_size, half=half),
        "runtime": RUNTIME_BYTES[device],
    })


def _activation_bytes(model: Model, batch: int, *, half: bool, checkpointing: bool) -> int:
    """What the backward pass needs of the blocks: a walk through the saved tensors of one token.

    In units of the width: two residuals in fp32; two norm outputs, query-key-value (3), attention's
    output, and the MLP before and after its non-linearity, in the precision of the arithmetic. `llama` also
    keeps queries and keys as they were before they turned, or shared keys and values once for each head of
    queries; and the MLP's gate.
    """
    H, M = model.hidden_size, inner_size(model)
    attention, mlp = 3 * H, 2 * M
    if model.is_llama:
        attention += 2 * H if model.kv_heads == model.num_heads else model.kv_heads * model.head_size
        mlp += M
    width = 2 if half else 4
    dropout_masks = 2 * H if model.dropout else 0
    token = 2 * 4 * H + width * (2 * H + attention + H + mlp) + dropout_masks + 4 * model.num_heads
    if model.attention_dropout:  # no fast path: the attention matrix itself is kept, before and after dropout
        token += model.num_heads * model.max_seq_len * (2 * width + 1)
    tokens = batch * model.max_seq_len
    if checkpointing:
        return tokens * (model.num_layers * 4 * H + token)
    return tokens * model.num_layers * token


def _head_bytes(model: Model, batch: int, *, half: bool) -> int:
    """Final norm and loss: hidden states and their gradient, one slice of logits, the matrix's gradient."""
    tokens = batch * model.max_seq_len
    rows = head_rows(tokens, model.vocab_size)
    logits = rows * model.vocab_size * (4 + (2 if half else 4))
    return tokens * model.hidden_size * 12 + logits + 4 * model.vocab_size * model.hidden_size


def head_rows(tokens: int, vocab_size: int) -> int:
    """How many tokens the loss takes at a time: as even slices as there need be."""
    slices = math.ceil(tokens * vocab_size / LOGITS)
    return math.ceil(tokens / slices)


def verdict(total_bytes: int, available_bytes: int) -> str:
    """ "fits", "tight" (less than a sixth left over) or "too big"."""
    if total_bytes > available_bytes:
        return "too big"
    return "fits" if total_bytes <= available_bytes * 5 / 6 else "tight"


def checkpoint_bytes(model: Model) -> int:
    """One checkpoint on disk: fp32 weights and AdamW's two moments."""
    return 12 * count_parameters(model)


def disk_bytes(config: Config) -> int:
    """All the checkpoints a run may hold at once, the one being written included."""
    kept = config.checkpointing.keep_checkpoints + config.checkpointing.keep_epochs + 1
    return (kept + 1) * checkpoint_bytes(config.model)
