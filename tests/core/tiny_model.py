"""Small models with something to say, for the tests of network, generation and export.

A freshly initialised model is nearly indifferent between tokens, so that comparing its choices would prove
little. These have weights of a size that training gives them.
"""

from __future__ import annotations

from typing import Any

import torch

from atlas_core import config
from atlas_core.model.gpt import AtlasLM
from atlas_core.text.tokenizer import AtlasTokenizer, train_bpe

SHAPES: dict[str, dict[str, Any]] = {  # every kind of network there is
    "gpt2": {},
    "llama": {"family": "llama"},
    "llama, grouped": {"family": "llama", "num_kv_heads": 2},
}
TEXT = "The king and queen of night speak sweet sorrow to my lord, who answers: fair is foul.\n"


def lively_model(*, seed: int = 0, **changes: Any) -> AtlasLM:
    """A model in evaluation mode whose predictions are decided: no token is as likely as the next."""
    shape = {"vocab_size": 300, "max_seq_len": 32, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "dropout": 0.0}
    torch.manual_seed(seed)
    model = AtlasLM(config.Model(**{**shape, **changes}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.2 * noise)
            else:
                parameter.mul_(16.0)
    return model.eval()


def small_vocabulary() -> AtlasTokenizer:
    """300 ids: every byte, 40 merges learned from TEXT, and the four specials."""
    return train_bpe([TEXT * 3], 300)


def random_tokens(model: AtlasLM, *shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(model.config.vocab_size, shape, generator=torch.Generator().manual_seed(seed))
