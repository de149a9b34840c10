"""What is due after which step of a run: reports, validations, samples, checkpoints; and how often in all.

Carries nothing out, and looks at no clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from atlas_core.config import Config

SAVES_PER_RUN = 20  # a short run is saved about this often
FEWEST_STEPS_BETWEEN_SAVES = 25
FIRST_SAVE_S = 60.0  # of training in a new run: from then on there is something to resume, to talk to and to export
WRITING_SHARE = 10  # a save begins when a tenth of its interval is left, for training goes on while it is written


class Agenda:
    """Asked once after every step. The trainer tells when it has begun to save."""

    def __init__(self, config: Config, *, step: int = 0, seconds: float = 0.0) -> None:
        """A session begins at `step`, up to which training took `seconds`: there is nothing new to keep."""
        self.config = config
        self.begun_to_save(step, seconds)

    def begun_to_save(self, step: int, seconds: float) -> None:
        """The newest step checkpoint, on the disk or on its way, is of `step`."""
        self._saved = step, seconds

    def reports(self, step: int) -> bool:
        return self._due(self.config.logging.log_interval, step)

    def evaluates(self, step: int) -> bool:
        return self._due(self.config.evaluation.eval_interval, step) or step == self.config.training.max_steps

    def samples(self, step: int) -> bool:
        return self._due(self.config.sampling.interval, step)

    def saves(self, step: int, seconds: float, *, again: bool = False) -> bool:
        """Whether a step checkpoint is to be begun after `seconds` of training; `again` if the last one failed."""
        steps, longest = save_interval(self.config)
        saved_step, saved_seconds = self._saved
        spacing, share = save_spacing(steps), 1 - 1 / WRITING_SHARE
        if again:
            spacing, share = max(1, steps - spacing), 1 / WRITING_SHARE
        due_s = share * longest
        if saved_step == 0 and self.config.checkpointing.save_minutes:
            due_s = min(due_s, FIRST_SAVE_S)
        return step - saved_step >= spacing or seconds - saved_seconds >= due_s

    def waits(self, steps: int, seconds: float) -> bool:
        """Whether training has to wait for a checkpoint on its way: an interval's steps or seconds are at stake."""
        most_steps, longest = save_interval(self.config)
        return steps >= most_steps or seconds >= longest

    def _due(self, interval: int, step: int) -> bool:
        return interval > 0 and (step % interval == 0 or step == self.config.training.max_steps)


def save_interval(config: Config) -> tuple[int, float]:
    """The most steps, and the most seconds of training, that a crash may cost."""
    wished = config.checkpointing
    if not wished.save_minutes:
        return wished.save_interval, math.inf
    return max(config.training.max_steps // SAVES_PER_RUN, FEWEST_STEPS_BETWEEN_SAVES), 60 * wished.save_minutes


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
        validations=validations, best_saves=validations,
        epoch_saves=epochs if config.checkpointing.keep_epochs else 0,
        samples=(drawn + 1) * len(config.sampling.prompts) if drawn else 0,  # one before the first step
        step_saves=_step_saves(config, seconds_per_step),
    )


def _step_saves(config: Config, seconds_per_step: float) -> int:
    """The first one, those that follow it at an interval's distance, and that of the last step."""
    interval, longest = save_interval(config)
    between = min(save_spacing(interval), _steps_in((1 - 1 / WRITING_SHARE) * longest, seconds_per_step))
    first = between
    if config.checkpointing.save_minutes:
        first = min(between, _steps_in(FIRST_SAVE_S, seconds_per_step))
    return 1 + _times(between, max(0, config.training.max_steps - first))


def _steps_in(seconds: float, seconds_per_step: float) -> float:
    """How many steps it takes until so many seconds are over, at least one."""
    steps = seconds / max(seconds_per_step, 1e-9)
    return max(1, math.ceil(steps)) if math.isfinite(steps) else steps


def _times(interval: float, steps: float) -> int:
    """How often something is due that is also due at the end; 0 if never."""
    return math.ceil(steps / interval) if interval else 0


def _counted_epochs(config: Config, train_windows: int) -> int:
    """Ends of epochs that are far enough apart to count."""
    t = config.training
    windows = t.max_steps * t.batch_size * t.gradient_accumulation_steps
    return windows // (train_windows * epochs_apart(config, train_windows))
