"""Validation: the loss on text that was kept aside. Knows no run; changes nothing of the model."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from atlas_core import history
from atlas_core.events import EvalDone, Progress
from atlas_core.model.gpt import AtlasLM
from atlas_core.text.dataset import Dataset, Windows


def validation_windows(dataset: Dataset, split: str, context: int) -> Windows:
    """Windows over all of `split`; a split shorter than the context gets shorter ones."""
    tokens = dataset.tokens(split)
    return Windows(tokens, context=min(context, len(tokens) - 1), vocabulary=dataset.meta.n_vocab)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context for a model in fp32 whose products are to run in fp16; for other precisions it changes nothing."""
    return torch.autocast(device.type, dtype=torch.float16, enabled=precision == "fp16")


def evaluate(model: AtlasLM, dataset: Dataset, windows: Windows, precision: torch.autocast,
             *, batch_size: int, batches: int, split: str = "val") -> Iterator[Progress | EvalDone]:
    """Mean loss over at most `batches` batches of `windows`, in order, each token counted once.

    Touches no random stream and leaves the model as it was. Bits per byte compares across tokenizers:
    nats a token, times tokens a byte, over ln 2. The last event is `EvalDone`.
    """
    total, count = 0.0, 0
    windows_taken = min(batches * batch_size, windows.count)
    for done, (tokens, targets) in enumerate(windows.sequential(windows_taken, batch_size=batch_size), 1):
        was_training = model.training
        model.eval()
        with torch.inference_mode(), precision:
            loss = model.loss(torch.from_numpy(tokens).to(model.device), torch.from_numpy(targets).to(model.device))
        model.train(was_training)
        total, count = total + float(loss) * tokens.size, count + tokens.size
        yield Progress(min(done * batch_size, windows_taken), windows_taken, "windows", "Validating")
    mean = total / count
    yield EvalDone(step=0, epoch=0.0, val_loss=mean, val_perplexity=history.perplexity(mean),
                   val_bits_per_byte=mean / dataset.bytes_per_token(split) / math.log(2), tokens=count,
                   best=mean, improved=True)
