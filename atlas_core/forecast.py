"""How long a whole run will take, from a few speeds that were measured. Arithmetic only; measures nothing.

What is left of a run at work is the business of `pace.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from atlas_core import agenda
from atlas_core.config import Config

DRIFT = 0.15      # a shared processor's speed drifts by about this share from one minute to another: measured
THROTTLED = 1.05  # a second half slower than this many times the first: the machine is getting hot, or busy


@dataclass(frozen=True)
class Speed:
    """What was measured of a configuration on one machine, in seconds; 0 stands for what was not.

    A tenth of the steps was quicker than `quick_step_s`, a tenth slower than `slow_step_s`.
    """

    step_s: float
    quick_step_s: float
    slow_step_s: float
    validation_batch_s: float = 0.0
    save_s: float = 0.0
    sample_token_s: float = 0.0
    power_w: float | None = None
    slowdown: float = 1.0  # the second half of the steps over the first


@dataclass(frozen=True)
class Forecast:
    """The time of a whole run and what it goes to; `low_s` to `high_s` is the range to reckon with."""

    step_s: float
    tokens_per_s: float
    training_s: float
    validation_s: float
    checkpoints_s: float
    samples_s: float
    total_s: float
    low_s: float
    high_s: float
    slowdown: float
    energy_wh: float | None


def forecast(config: Config, speed: Speed, *, train_tokens: int | None = None,
             val_tokens: int | None = None) -> Forecast:
    """The run as `agenda.tally` counts it, on a dataset of so many tokens.

    None stands for a text that is not known: ends of epochs are left out then, and validations are full ones.
    The range goes from "every step quick, only one validation the best" to "every step slow", and at least by `DRIFT`
    to both sides.
    """
    steps, context = config.training.max_steps, config.model.max_seq_len
    windows = None if train_tokens is None else max(1, train_tokens // (config.data.stride or context))
    counted = agenda.tally(config, seconds_per_step=speed.step_s, train_windows=windows, validates=val_tokens != 0)
    batches = config.evaluation.eval_batches
    if val_tokens is not None:
        batches = min(batches, -(-val_tokens // (context * config.training.batch_size)))
    training_s = steps * speed.step_s
    # The forward pass of a batch is a third of what learning from it takes.
    validation_batch_s = speed.validation_batch_s or speed.step_s / config.training.gradient_accumulation_steps / 3
    validation_s = counted.validations * batches * validation_batch_s
    samples_s = counted.samples * config.sampling.max_new_tokens * speed.sample_token_s
    checkpoints_s = (counted.step_saves + counted.epoch_saves + counted.best_saves) * speed.save_s
    total_s = training_s + validation_s + samples_s + checkpoints_s
    quick_s = total_s - steps * (speed.step_s - speed.quick_step_s) - max(0, counted.best_saves - 1) * speed.save_s
    slow_s = total_s + steps * (speed.slow_step_s - speed.step_s)
    return Forecast(
        step_s=speed.step_s, tokens_per_s=config.tokens_per_step / speed.step_s,
        training_s=training_s, validation_s=validation_s, checkpoints_s=checkpoints_s, samples_s=samples_s,
        total_s=total_s,
        low_s=min(quick_s, (1 - DRIFT) * total_s), high_s=max(slow_s, (1 + DRIFT) * total_s),
        slowdown=speed.slowdown,
        energy_wh=None if speed.power_w is None else speed.power_w * total_s / 3600,
    )
