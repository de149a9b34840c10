"""The learning-rate range test (Smith 2017): a short training whose rate rises until the loss comes apart.

What it trains is thrown away: it writes no file and belongs to no run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from atlas_core.config import Config, settings
from atlas_core.control import Control
from atlas_core.errors import ConfigError, NumericsError
from atlas_core.events import Notice, RateFound, RatePoint
from atlas_core.format import many
from atlas_core.history import Smoother
from atlas_core.text.dataset import Dataset
from atlas_core.training.trainer import Trainer

SMOOTHING = 0.8  # over about five steps: single batches differ by more than one step teaches
EXPLODED = 4.0  # times the lowest loss
MOST_OF_THE_FALL = 0.8
SMALLEST_FALL = 0.02  # of the first loss; less is the noise of the batches
FEWEST_STEPS = 20


def range_test(config: Config, dataset: Dataset, control: Control, *, low: float, high: float,
               steps: int) -> Iterator[RatePoint | RateFound | Notice]:
    """Train a fresh model for `steps` steps at rates from `low` to `high`; the last event is `RateFound`.

    Ends early when the smoothed loss is `EXPLODED` times its lowest or no number, or (without `RateFound`) when
    `control` says stop. Raises `ConfigError` for a range in which nothing can be found.
    """
    refuse_blind(low, high, steps)
    trainer = Trainer(config, dataset, Path(), control, rate=rising(low, high, steps))  # no folder: it never saves
    smoother, points = Smoother(SMOOTHING), list[RatePoint]()
    while len(points) < steps and not control.stopping and not exploded(points):
        try:
            done = trainer.step()
        except NumericsError:  # what we came to see
            break
        points.append(RatePoint(done.step, steps, done.learning_rate, done.loss, smoother(done.loss)))
        yield points[-1]
    if control.stopping:
        return
    rate = suggestion(points)
    if len(points) == steps and lowest(points) is points[-1]:
        yield Notice(f"The loss was still falling at {high:g}, the highest rate tried: try higher ones too.", "warning")
    yield RateFound(float(f"{rate:.1e}"), tuple(points))  # finer than two digits no such test can tell rates apart


def refuse_blind(low: float, high: float, steps: int) -> None:
    """Raises `ConfigError` for a range in which nothing can be found, or nothing that a run could take."""
    if steps < FEWEST_STEPS:
        raise ConfigError([f"A range test of {many(steps, 'step')} is too short to find anything"],
                          f"Take at least {FEWEST_STEPS} steps.")
    for name, rate in (("lowest", low), ("highest", high)):
        if allowed := settings()["training.learning_rate"].range_for(rate):
            raise ConfigError([f"The {name} rate of a range test must be {allowed}, as any learning rate, "
                               f"not {rate:g}"], "Choose one within.")
    if low >= high:
        raise ConfigError([f"The lowest rate of the range test ({low:g}) is not below the highest ({high:g})"],
                          "Lower the one or raise the other.")


def rising(low: float, high: float, steps: int) -> Callable[[int], float]:
    """The rate of each step: `low` at step 0, `high` at the last, in between always the same factor more."""
    return lambda step: low * (high / low) ** (step / (steps - 1))


def exploded(points: Sequence[RatePoint]) -> bool:
    """Whether the newest loss says that higher rates can only be worse."""
    return bool(points) and not (math.isfinite(points[-1].loss)
                                 and points[-1].smoothed < EXPLODED * lowest(points).smoothed)


def lowest(points: Sequence[RatePoint]) -> RatePoint:
    """Where the smoothed loss was lowest."""
    return min(points, key=lambda point: point.smoothed)


def suggestion(points: Sequence[RatePoint]) -> float:
    """The rate at which four fifths of the smoothed loss's whole fall lay behind.

    Smith reads the rates off the curve by eye. Of the rules in use, a tenth of the rate at the lowest loss is too
    careful for AdamW; where the loss falls steepest is nearly as good as this one, but decided by fewer batches.
    `docs/architecture.md` has the figures. Raises `ConfigError` if the loss hardly fell.
    """
    first = points[0].smoothed if points else math.nan
    fall = first - lowest(points).smoothed if points else 0.0
    if not fall > SMALLEST_FALL * first:
        raise ConfigError(["The loss fell at none of the learning rates tried"],
                          "Begin at a lower rate, or end at a higher one.")
    return next(point.learning_rate for point in points if point.smoothed <= first - MOST_OF_THE_FALL * fall)
