"""The arithmetic a training step cannot do without. Time is elsewhere."""

from __future__ import annotations

from atlas_core import memory
from atlas_core.config import Config, Model

FORWARD_AND_BACKWARD = 3  # the backward pass has two products for each one of the forward pass


def training_flops(config: Config) -> int:
    """Floating-point operations of one optimizer step in matrix products, a multiplication and an addition each.

    6 for each weight and token, the output layer's included (Kaplan et al. 2020), and of attention the half that
    causality leaves. What gradient checkpointing computes twice counts once, so it lowers the share.
    """
    return FORWARD_AND_BACKWARD * config.tokens_per_step * forward_flops_per_token(config.model)


def forward_flops_per_token(model: Model) -> int:
    """Products with weights; and queries with keys, and shares with values, of the (T + 1) / 2 tokens one sees."""
    return 2 * multiplying_parameters(model) + 2 * (model.max_seq_len + 1) * model.hidden_size * model.num_layers


def multiplying_parameters(model: Model) -> int:
    """Blocks and output layer. Their norms and biases, less than one in a hundred, are counted with them."""
    return model.num_layers * memory.block_parameters(model) + model.vocab_size * model.hidden_size
