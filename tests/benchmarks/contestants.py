"""What takes part in a contest, each in a process of its own. How the turns are taken is in `contest.py`.

A contestant is a function of configuration and dataset that builds everything and returns one training step.
Libraries are imported where they are needed, so that no contestant carries another's memory.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas_core.config import Config

Step = Callable[[], object]
PRODUCT_SHAPES = ((2048, 2048, 2048), (4096, 1024, 2048), (1024, 4096, 2048), (4096, 2048, 1024))  # (M, K, N)
PRODUCT_FLOPS = 2 * 2048**3  # the same for each of them, so that a step is a step
PRODUCT_TRIALS = 5


def atlas(config: Config, dataset: Path) -> Step:
    """The trainer of this program, as it runs."""
    from atlas_core.control import Control
    from atlas_core.text.dataset import Dataset
    from atlas_core.training.trainer import Trainer

    return Trainer(config, Dataset.open(dataset), Path("no-run"), Control())._step


def transformers(config: Config, dataset: Path) -> Step:
    """`transformers` GPT-2 as its users run it: fp32, default settings, the loss it computes from labels.

    The optimizer is the default of its own `Trainer`, the fused AdamW.
    """
    return _transformers(config, dataset, {}, contextlib.nullcontext)


def transformers_best(config: Config, dataset: Path) -> Step:
    """The same with everything that helps on a processor and needs no compiler: bf16 autocast, fast fp32, no cache."""
    import torch

    torch.set_float32_matmul_precision("medium")
    return _transformers(config, dataset, {"use_cache": False},
                         lambda: torch.autocast("cpu", dtype=torch.bfloat16))


def _transformers(config: Config, dataset: Path, options: dict[str, Any],
                  precision: Callable[[], contextlib.AbstractContextManager[object]]) -> Step:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers import logging as its_logging

    from atlas_core.hardware.device import use_threads
    from atlas_core.text.dataset import Dataset, Windows

    data = Dataset.open(dataset)
    m, t = config.model, config.training
    its_logging.set_verbosity_error()
    use_threads(config.hardware.threads)
    torch.manual_seed(t.seed)
    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=m.vocab_size, n_positions=m.max_seq_len, n_embd=m.hidden_size, n_layer=m.num_layers,
        n_head=m.num_heads, n_inner=int(m.hidden_size * m.mlp_ratio),
        resid_pdrop=m.dropout, embd_pdrop=m.dropout, attn_pdrop=m.attention_dropout,
        bos_token_id=data.tokenizer.eos_id, eos_token_id=data.tokenizer.eos_id, **options,
    )).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=t.learning_rate, betas=(t.beta1, t.beta2),
                                  weight_decay=t.weight_decay, fused=True)
    windows = Windows(data.tokens("train"), context=m.max_seq_len, stride=config.data.stride, seed=t.seed)
    position = 0

    def step() -> float:
        nonlocal position
        tokens = torch.from_numpy(windows.batch(position, t.batch_size)[0])  # (B, T); it shifts the labels itself
        position += t.batch_size
        with precision():
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), t.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def product_fp32(config: Config, _dataset: Path) -> Step:
    """One large matrix product in fp32 as torch comes, in the shape that is fastest here."""
    return _product(config, "float32")


def product_bf16(config: Config, _dataset: Path) -> Step:
    """The same in bf16: what no training step can surpass."""
    return _product(config, "bfloat16")


def _product(config: Config, dtype: str) -> Step:
    import torch

    from atlas_core.hardware.device import use_threads

    use_threads(config.hardware.threads)

    def candidate(M: int, K: int, N: int) -> Step:
        a, b = (torch.randn(shape).to(getattr(torch, dtype)) for shape in ((M, K), (K, N)))
        out = a @ b  # kept: fresh memory would cost more than it should
        return lambda: torch.mm(a, b, out=out)

    def seconds(step: Step) -> float:
        started = time.perf_counter()
        for _ in range(PRODUCT_TRIALS):
            step()
        return time.perf_counter() - started

    return min((candidate(*shape) for shape in PRODUCT_SHAPES), key=seconds)


KINDS: dict[str, Callable[[Config, Path], Step]] = {
    function.__name__: function for function in (atlas, transformers, transformers_best, product_fp32, product_bf16)
}
