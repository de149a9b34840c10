"""What to change when memory runs out in the middle of a run. Arithmetic only; `trainer.py` lets go and goes on.

The same windows in the same order make the same step; only the last digits differ, and the masks of dropout, which
are drawn for each batch.
"""

from __future__ import annotations

from atlas_core import format as people
from atlas_core.config import Config, settings
from atlas_core.events import Healed


def smaller(config: Config) -> Config | None:
    """The settings that compute the same steps, and validate on the same text, in less memory; None if none do.

    First smaller batches, by the smallest factor there is (half for an even batch), with as many more of them; then
    activations that are computed twice.
    """
    t = config.training
    factor = next((n for n in range(2, t.batch_size + 1) if t.batch_size % n == 0), 0)
    most = settings()["training.gradient_accumulation_steps"].high or 0
    if factor and t.gradient_accumulation_steps * factor <= most:
        return config.in_batches_of(t.batch_size // factor)
    return None if t.gradient_checkpointing else config.replace({"training.gradient_checkpointing": True})


def told(before: Config, after: Config, step: int) -> Healed:
    """What is told of it after `step` steps."""
    old, new = before.training, after.training
    if new.batch_size != old.batch_size:
        how = (f"each step adds up {new.gradient_accumulation_steps} batches of {new.batch_size} instead of "
               f"{old.gradient_accumulation_steps} of {old.batch_size}, as many tokens as before")
    else:
        how = "activations are computed twice (training.gradient_checkpointing)"
    return Healed(step, new.batch_size, new.gradient_accumulation_steps, new.gradient_checkpointing,
                  f"Memory ran out after step {people.count(step)}: from here on {how}.")
