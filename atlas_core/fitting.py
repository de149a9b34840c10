"""Makes a configuration fit into memory, or into a time, and says what was changed and why.

A step learns from as much as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from atlas_core import config as settings
from atlas_core import memory
from atlas_core.config import Config
from atlas_core.errors import ConfigError
from atlas_core.forecast import Speed, forecast
from atlas_core.format import count, duration, many, size, times

FEWEST_STEPS = 100  # a schedule shorter than that teaches next to nothing
MANY_READINGS = 8.0  # a rule of thumb: of the sample text NANO was best after 8, MICRO after 4 (docs/performance.md)

# What saves memory beside smaller batches, in the order of what it costs, each on top of those before it.
SAVERS: tuple[tuple[str, Any, str], ...] = (
    ("training.gradient_checkpointing", True,
     "Smaller batches alone do not suffice, so activations are computed twice, which takes up to a third more time."),
)


@dataclass(frozen=True)
class Fitted:
    """A configuration and why it is not the one that was asked for, in sentences; none of them, no change."""

    config: Config
    reasons: tuple[str, ...]


def fit(config: Config, available_bytes: int, *, device: str = "cpu", precision: str = "fp32") -> Fitted:
    """`config` if it fits, else the fastest that does: the largest whole share of the batch, as many more of them.

    Only where even single windows are too much, `SAVERS` are taken. Returns the smallest there is if nothing fits,
    and says so.
    """
    def needed_bytes(candidate: Config) -> int:
        return memory.estimate(candidate, device=device, precision=precision).total_bytes

    smallest = config
    for candidate in _ever_smaller(config):
        if needed_bytes(candidate) < needed_bytes(smallest):  # what saves in a large network may cost in a small one
            smallest = candidate
        if memory.verdict(needed_bytes(smallest), available_bytes) == "fits":
            break
    before, after = (memory.verdict(needed_bytes(found), available_bytes) for found in (config, smallest))
    reasons = _reasons(config, smallest)
    if reasons:
        reserve = ", of which a sixth should stay free" if before == "tight" else ""
        here = f"{config.name} as it is needs {size(needed_bytes(config))}; there are {size(available_bytes)}{reserve}."
        reasons = (here, *reasons)
    if after == "too big":
        reasons = (*reasons, f"At least {size(needed_bytes(smallest))} are needed: choose a smaller preset.")
    return Fitted(smallest, reasons)


def fit_to_time(config: Config, speed: Speed, seconds: float, *, train_tokens: int | None = None,
                val_tokens: int | None = None) -> Fitted:
    """`config` with as many steps as `speed` makes in `seconds`, all of the run counted (see `forecast`).

    The warm-up keeps its share of the steps, so that the learning rate rises and falls within the time: a run
    that is cut off while its rate is high has learned much less. Raises `ConfigError` for a time too short for
    anything.
    """
    def total_s(steps: int) -> float:
        return forecast(with_steps(config, steps), speed, train_tokens=train_tokens, val_tokens=val_tokens).total_s

    low, high = 0, settings.settings()["training.max_steps"].high
    assert isinstance(high, int)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if total_s(middle) <= seconds else (low, middle)
    if low < FEWEST_STEPS:
        raise ConfigError(
            [f"{config.name} takes {many(low, 'step')} in {duration(seconds)} here, too few to learn from"],
            f"Give it {duration(total_s(FEWEST_STEPS))} or more, or choose a smaller preset.")
    if low == config.training.max_steps:
        return Fitted(config, ())
    planned = with_steps(config, low)
    reasons = [f"In {duration(seconds)} {config.name} takes about {many(low, 'step')} here, so it is planned for as "
               f"many instead of {count(config.training.max_steps)}: its learning rate falls within that time."]
    readings = low * config.tokens_per_step / train_tokens if train_tokens else 0.0
    if may_learn_by_heart(readings):
        kept = "The best checkpoint is kept." if val_tokens else "No text is kept aside that would tell."
        reasons.append(f"It reads the text {times(readings)} then and may learn it by heart: more text, more "
                       f"model.dropout or less time may serve it better. {kept}")
    return Fitted(planned, tuple(reasons))


def may_learn_by_heart(readings: float) -> bool:
    """Whether a text is read so often that a model often comes to read others worse."""
    return readings > MANY_READINGS


def with_steps(config: Config, steps: int) -> Config:
    """`config` for so many steps; the warm-up keeps its share of them, and a head start ends within them."""
    t = config.training
    return config.replace({"training.max_steps": steps,
                           "training.warmup_steps": min(steps, round(t.warmup_steps * steps / t.max_steps)),
                           "training.head_start_steps": min(steps, t.head_start_steps)})


def _ever_smaller(config: Config) -> Iterator[Config]:
    """Candidates from the fastest to the smallest; the first is `config` itself."""
    batch = config.training.batch_size
    per_step = batch * config.training.gradient_accumulation_steps
    most = settings.settings()["training.gradient_accumulation_steps"].high
    assert most is not None
    shares = [share for share in range(batch, 0, -1) if batch % share == 0 and per_step // share <= most]
    changes: dict[str, Any] = {}
    for saver in (None, *SAVERS):
        if saver:
            changes[saver[0]] = saver[1]
        for share in shares:
            yield config.in_batches_of(share).replace(changes)


def _reasons(before: Config, after: Config) -> tuple[str, ...]:
    old, new = before.training, after.training
    said = []
    if new.batch_size != old.batch_size:
        windows = "1 window is" if new.batch_size == 1 else f"{new.batch_size} windows are"
        said.append(f"So {windows} computed at once instead of {old.batch_size}, and {new.gradient_accumulation_steps} "
                    f"such batches are added up instead of {old.gradient_accumulation_steps}: a step still learns from "
                    f"{count(after.tokens_per_step)} tokens.")
    said += [why for key, value, why in SAVERS if after.get(key) == value != before.get(key)]
    return tuple(said)
