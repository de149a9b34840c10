"""The number formats this machine multiplies. One that it imitates would take hours, and measure the imitation."""

from __future__ import annotations

import torch

from atlas_core.config import Config
from atlas_core.hardware.device import imitates

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def multiplied() -> list[str]:
    """The formats there are units for, the fastest last."""
    return [name for name in DTYPES if not imitates(name, torch.device("cpu"))]


def can_train(config: Config) -> bool:
    """Whether the machine multiplies what `config` asks for."""
    return config.training.precision in ("auto", *multiplied())
