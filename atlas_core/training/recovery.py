"""The seat-belt: whether training has come apart, since when, and where it stands once it went back. Moves no weight.

Everything is decided from what `Progress` keeps, so a run that was resumed decides what it would have decided. Going
back, passing over the text and going on is what Chowdhery et al. 2022 ("PaLM", section 5.1) did by hand; the lower
rate, and the rule that finds a spike, are ours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, median_low

from atlas_core import format as people
from atlas_core.config import Training
from atlas_core.errors import NumericsError
from atlas_core.training.checkpoint import Progress

SKIPS_IN_A_ROW = 3  # single bad batches are passed over; more of them are no accident
REFERENCE = 100  # losses that newer ones are compared with
FEWEST = 50  # of them without which nothing is said
# A loss is high above the median by more than both of these. Six deviations are rarely chance; 5 % of the loss is more
# than where it falls slowly and hardly varies.
DEVIATIONS, LEAST_RISE = 6.0, 0.05
MAD_TO_DEVIATION = 1.4826  # of a normal distribution (Leys et al. 2013 on the median absolute deviation)
SLOWER = 0.5  # times the learning rate, at each return
MOST_LOST_STEPS = 200  # rather than lose more, a first return trusts what it would not trust otherwise
PAST_STEPS = 100  # so far behind it, trouble counts as overcome
SMALLEST_SCALE = 1.0  # of fp16's scaler: an overflow at this one is none that a smaller scale mends


@dataclass(frozen=True)
class Trouble:
    """Training came apart with the step after `before_step`, as `reason` says.

    Checkpoints of steps up to `sound_step` are trusted; of those after it only one that was validated as the best.
    """

    before_step: int
    sound_step: int
    reason: str


def nonsense(loss: float, norm: float, *, scale: float = SMALLEST_SCALE) -> str:
    """What is no number of a step that must not reach the weights; empty for a step that may.

    `scale` is that of fp16's scaler, which sees to its own overflows as long as it can; 1 where there is none.
    """
    if not math.isfinite(loss):
        return "loss"
    return "gradient" if not math.isfinite(norm) and scale <= SMALLEST_SCALE else ""


def remembered(losses: Sequence[float], loss: float, t: Training) -> list[float]:
    """The losses that later decisions need, `loss` being the newest; that of a skipped step is NaN."""
    return [*losses, loss][-(REFERENCE + max(t.spike_patience, SKIPS_IN_A_ROW)):]


def in_doubt(progress: Progress, t: Training) -> bool:
    """Whether the last step was such that its weights had better not push a good checkpoint off the disk."""
    losses = progress.recent_losses
    return bool(losses) and not losses[-1] <= _high(losses[:-1], t)


def trouble(progress: Progress, t: Training) -> Trouble | None:
    """Whether the steps so far show that training has come apart.

    It has after `SKIPS_IN_A_ROW` steps without a number, and when the median of the last `spike_patience` losses is
    high among those before. A step's loss is that of the weights before it, so those just before the first bad step
    may be bad already; and a spike grows before it is seen, so as many steps again as it takes are not trusted.
    """
    losses = progress.recent_losses
    skipped = next((n for n, loss in enumerate(reversed(losses)) if math.isfinite(loss)), len(losses))
    if skipped >= SKIPS_IN_A_ROW:
        return _trouble(progress, skipped, 1, f"{skipped} steps in a row gave no number")
    newest, limit = losses[-t.spike_patience:], _high(losses[:-t.spike_patience], t)
    if not t.spike_patience or not limit < median_low(_or_infinite(newest)):
        return None
    first = next(n for n, loss in enumerate(newest) if not loss <= limit)
    return _trouble(progress, len(newest) - first, 1 + t.spike_patience,
                    f"the loss rose and stays above {people.loss(limit)}")


def went_back(before: Progress, good: Progress) -> Progress:
    """Where a run stands that has returned from `before` to `good`: past the text in between, at a lower rate."""
    return dataclasses.replace(
        good, seconds=before.seconds, skipped_steps=before.skipped_steps + before.step - good.step,
        rate_factor=before.rate_factor * SLOWER, rollbacks=in_a_row(before) + 1, trouble_step=before.step,
        good_step=good.step,
    )


def in_a_row(progress: Progress) -> int:
    """How often the run went back for trouble that does not lie far behind yet."""
    return progress.rollbacks if progress.step < progress.trouble_step + PAST_STEPS else 0


def told(trouble: Trouble, before: Progress, after: Progress) -> str:
    """What the person is told of going back."""
    return (f"Training came apart at step {people.count(before.step)}: {trouble.reason}. It goes on from step "
            f"{people.count(after.step)}, past the text that led there, at {after.rate_factor:g} times the learning "
            "rate.")


def surrender(trouble: Trouble, progress: Progress, good_step: int | None) -> NumericsError:
    """What the person is told when going back has not helped; `good_step` is that of the checkpoint that is kept."""
    returns = in_a_row(progress)
    again = f" again, after {people.many(returns, 'return')} to a good state" if returns else ""
    kept = (f"The checkpoint of step {people.count(good_step)} is good and is now the newest: resume"
            if good_step else "Start afresh")
    return NumericsError(
        f"Training came apart at step {people.count(progress.step)}{again}: {trouble.reason}.",
        f"{kept} with a lower training.learning_rate; if that does not help, look at the text.")


def _high(losses: Sequence[float], t: Training) -> float:
    """A loss above this is no chance; infinite while too few are known."""
    known = [loss for loss in losses if math.isfinite(loss)][-REFERENCE:]
    if not t.spike_patience or len(known) < FEWEST:
        return math.inf
    middle = median(known)
    deviation = MAD_TO_DEVIATION * median(abs(loss - middle) for loss in known)
    return middle + max(DEVIATIONS * deviation, LEAST_RISE * middle)


def _trouble(progress: Progress, steps: int, doubtful: int, reason: str) -> Trouble:
    """Trouble of the last `steps` steps, with `doubtful` ones before it.

    A run that went back for trouble does not go further back for more of it.
    """
    before_step, good_step = progress.step - steps, progress.good_step if in_a_row(progress) else 0
    return Trouble(max(before_step, good_step), max(before_step - doubtful, good_step), reason)


def _or_infinite(losses: Sequence[float]) -> list[float]:
    return [loss if math.isfinite(loss) else math.inf for loss in losses]
