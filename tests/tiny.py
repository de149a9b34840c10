"""The smallest real things: a text, a configuration and a dataset that train in a second.

Every test that needs a model uses these, so that all speak of the same one.
"""

from __future__ import annotations

import random
from pathlib import Path

from atlas_core import jobs
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.events import Event

TEXT = "the king and queen of night speak sweet sorrow to my lord, who answers: fair is foul."

SETTINGS = {
    "model.vocab_size": 300, "model.max_seq_len": 16, "model.hidden_size": 32, "model.num_layers": 2,
    "model.num_heads": 4, "model.dropout": 0.1,
    "tokenizer.name": "bpe:300",
    "training.max_steps": 12, "training.batch_size": 4, "training.gradient_accumulation_steps": 2,
    "training.learning_rate": 3e-3, "training.warmup_steps": 4, "training.precision": "fp32",
    "evaluation.eval_interval": 5, "evaluation.eval_batches": 2,
    "checkpointing.save_interval": 5, "checkpointing.save_minutes": 0.0,
    "sampling.interval": 6, "sampling.max_new_tokens": 8,
    "hardware.device": "cpu", "hardware.threads": 1, "hardware.attention": "kernel",
}


def config(**changes: object) -> Config:
    """The tiny configuration; changes are written `training__max_steps=40`."""
    dotted = {key.replace("__", ".", 1): value for key, value in changes.items()}
    return Config().replace({**SETTINGS, **dotted})


def write_texts(folder: Path, *, documents: int = 12, words: int = 120) -> Path:
    """A folder of small .txt files, always the same."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(7)
    for number in range(documents):
        text = " ".join(chance.choice(TEXT.split()) for _ in range(words))
        (folder / f"play_{number:02}.txt").write_text(text.replace(": ", ":\n"), encoding="utf-8")
    return folder


def make_dataset(folder: Path, settings: Config | None = None) -> Path:
    """A prepared dataset in `folder / "dataset"`."""
    out = folder / "dataset"
    drain(jobs.prepare([write_texts(folder / "texts")], out, settings or config(), Control()))
    return out


def drain(events: object) -> list[Event]:
    """All events of a job."""
    return list(events)  # type: ignore[call-overload]
