"""What is due after which step of a run: reports, validations, samples, checkpoints; and how often in all.

Carries nothing out, and looks at no clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from atlas_core.config import Config

SPEED_STEPS = 10  # steps after which the speed counts as known
SAVES_PER_RUN = 20  # a short run is saved about this often
FEWEST_STEPS_BETWEEN_SAVES = 25
WRITING_SHARE = 10  # a save begins when a tenth of its interval is left, for training goes on while it is written


class Agenda:
    """Asked once after every step. The trainer sets `saved_step` when it has saved."""

    def __init__(self, config: Config, *, first_step: int) -> None:
        self.config = config
        self.saved_step = first_step  # before the first step there is nothing to keep
        self._first_step = first_step
        self._first_seconds: float | None = None

    def reports(self, step: int) -> bool:
        return self._due(self.config.logging.log_interval, step)

    def evaluates(self, step: int) -> bool:
        return self._due(self.config.evaluation.eval_interval, step) or step == self.config.training.max_steps

    def samples(self, step: int) -> bool:
        return self._due(self.config.sampling.interval, step)

    def saves(self, step: int, seconds: float) -> bool:
        """Whether a step checkpoint is due. `seconds` is the training time up to this step."""
        return step - self.saved_step >= save_spacing(self.save_interval(step, seconds))

    def save_interval(self, step: int, seconds: float) -> int:
        """The most steps that may be at stake: done, and in no checkpoint on the disk."""
        if self._first_seconds is None:
            self._first_seconds = seconds  # the first step is slow: the speed is taken from those after it
        steps = step - self._first_step - 1
        known = steps >= SPEED_STEPS
        return save_interval(self.config, (seconds - self._first_seconds) / steps if known else None)

    def _due(self, interval: int, step: int) -> bool:
        return interval > 0 and (step % interval == 0 or step == self.config.training.max_steps)


def save_interval(config: Config, seconds_per_step: float | None) -> int:
    """The most steps that a crash may cost: `save_interval` until the speed is known, then those of `save_minutes`."""
    wished = config.checkpointing
    if not wished.save_minutes or seconds_per_step is None:
        return wished.save_interval
    by_time = int(wished.save_minutes * 60 / max(seconds_per_step, 1e-9))
    for_short_runs = max(config.training.max_steps // SAVES_PER_RUN, FEWEST_STEPS_BETWEEN_SAVES)
    return max(1, min(by_time, for_short_runs))


def save_spacing(interval: int) -> int:
    """Steps from the beginning of one save to that of the next, so that it is over within `interval` of the first."""
    return max(1, interval - max(1, interval // WRITING_SHARE))


def epochs_apart(config: Config, train_windows: int) -> int:
    """Every how many epochs the end of one is validated and kept: a tiny text ends one at almost every step.

    A function of the settings and the text alone, so a run that goes on validates where it would have.
    """
    t = config.training
    return math.ceil(FEWEST_STEPS_BETWEEN_SAVES * t.batch_size * t.gradient_accumulation_steps / train_windows)


@dataclass(frozen=True)
class Tally:
    """How often a whole run does what is not a step. `best_saves` is the most there can be."""

    validations: int
    samples: int
    step_saves: int
    epoch_saves: int
    best_saves: int


def tally(config: Config, *, seconds_per_step: float, train_windows: int | None, validates: bool = True) -> Tally:
    """A run from its first to its last step, in closed form. `train_windows` None leaves ends of epochs out."""
    steps = config.training.max_steps
    epochs = _counted_epochs(config, train_windows) if train_windows else 0
    validations = (_times(config.evaluation.eval_interval, steps) or 1) + epochs if validates else 0
    drawn = _times(config.sampling.interval, steps)
    return Tally(
        validations=validations, best_saves=validations, epoch_saves=epochs,
        samples=(drawn + 1) * len(config.sampling.prompts) if drawn else 0,  # one before the first step
        step_saves=_times(save_spacing(save_interval(config, seconds_per_step)), steps),
    )


def _times(interval: int, steps: int) -> int:
    """How often something is due that is also due at the end; 0 if never."""
    return -(-steps // interval) if interval else 0


def _counted_epochs(config: Config, train_windows: int) -> int:
    """Ends of epochs that are far enough apart to count."""
    t = config.training
    windows = t.max_steps * t.batch_size * t.gradient_accumulation_steps
    return windows // (train_windows * epochs_apart(config, train_windows))
