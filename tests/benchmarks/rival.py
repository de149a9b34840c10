"""`transformers` GPT-2 in the plainest training loop, on our datasets: what the engine is compared with."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel
from transformers import logging as its_logging

from atlas_core.config import Config
from atlas_core.hardware.device import use_threads
from atlas_core.schedule import learning_rate
from atlas_core.text.dataset import Dataset, Windows
from atlas_core.training.optim import set_learning_rate


class Rival:
    """Shape, batches, learning rates and clipping are those of `config`; AdamW is fused, its own trainer's default.

    options: for its `GPT2Config`. precision: the context of the forward pass.
    """

    def __init__(self, config: Config, dataset: Path, *, options: dict[str, Any] | None = None,
                 precision: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext) -> None:
        its_logging.set_verbosity_error()
        m, t = config.model, config.training
        use_threads(config.hardware.threads)
        torch.manual_seed(t.seed)
        self.training, self.precision = t, precision
        self.data = Dataset.open(dataset)
        special = self.data.tokenizer.eos_id
        self.model = GPT2LMHeadModel(GPT2Config(
            vocab_size=m.vocab_size, n_positions=m.max_seq_len, n_embd=m.hidden_size, n_layer=m.num_layers,
            n_head=m.num_heads, n_inner=int(m.hidden_size * m.mlp_ratio), resid_pdrop=m.dropout, embd_pdrop=m.dropout,
            attn_pdrop=m.attention_dropout, bos_token_id=special, eos_token_id=special, **(options or {}),
        ))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=t.learning_rate, betas=(t.beta1, t.beta2),
                                           weight_decay=t.weight_decay, fused=True)
        self.windows = Windows(self.data.tokens("train"), context=m.max_seq_len, stride=config.data.stride, seed=t.seed)
        self.val_windows = Windows(self.data.tokens("val"), context=m.max_seq_len)
        self.steps = 0

    def step(self) -> float:
        """One optimizer step; the loss."""
        t = self.training
        self.model.train()
        set_learning_rate([self.optimizer], learning_rate(self.steps, t))
        tokens = torch.from_numpy(self.windows.batch(self.steps * t.batch_size, t.batch_size)[0])  # (B, T)
        with self.precision():
            loss = self.model(input_ids=tokens, labels=tokens).loss  # it shifts the labels itself
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), t.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1
        return float(loss.detach())

    def bits_per_byte(self) -> float:
        """On all held-out text, as our own validation counts them."""
        self.model.eval()
        nats, count = 0.0, 0
        batches = self.val_windows.sequential(self.val_windows.count, batch_size=self.training.batch_size)
        for tokens, targets in batches:
            with torch.inference_mode(), self.precision():
                logits = self.model(input_ids=torch.from_numpy(tokens)).logits  # (B, T, V)
            wanted = torch.from_numpy(targets).flatten()
            nats += float(F.cross_entropy(logits.flatten(0, 1).float(), wanted, reduction="sum"))
            count += targets.size
        return nats / count / self.data.bytes_per_token("val") / math.log(2)
