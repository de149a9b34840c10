"""Events in words, one line each. Pure functions; where the words go is not known here."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from atlas_core import format as people
from atlas_core.events import (
    CheckpointSaved,
    EpochDone,
    Estimate,
    EvalDone,
    Event,
    Exported,
    Finished,
    Generated,
    Healed,
    Prepared,
    Progress,
    RateFound,
    RatePoint,
    RolledBack,
    RunStarted,
    StateChanged,
    StepDone,
    StepSkipped,
)
from atlas_core.fitting import may_learn_by_heart
from atlas_core.forecast import THROTTLED, Forecast
from atlas_core.history import perplexity


@singledispatch
def sentence(_event: Event) -> str:
    """The event in one line; empty for one that is shown otherwise or not at all."""
    return ""


@sentence.register
def _(event: Prepared) -> str:
    train = event.summary["splits"]["train"]["tokens"]
    documents = event.summary["documents"]
    return (f"Dataset {event.path}: {people.many(documents, 'document')}, "
            f"{people.count(train)} tokens to learn from.")


@sentence.register
def _(event: RunStarted) -> str:
    begun = f"Going on with {event.name} after step {people.count(event.resumed_from)}" if event.resumed_from \
        else f"Training {event.name}"
    return (f"{begun}: {people.short_count(event.parameters)} parameters, {people.count(event.max_steps)} steps of "
            f"{people.count(event.tokens_per_step)} tokens, on {event.device} in {event.precision}, attention by "
            f"{'plain products' if event.attention == 'blocks' else 'the kernel'}. Run: {event.run}")


@sentence.register
def _(event: StepSkipped | RolledBack) -> str:
    return event.reason


@sentence.register
def _(event: Healed) -> str:
    return event.message


@sentence.register
def _(event: EvalDone) -> str:
    return (f"validation at step {people.count(event.step)}: loss {people.loss(event.val_loss)}, perplexity "
            f"{people.perplexity(event.val_perplexity)}, {event.val_bits_per_byte:.3f} bits a byte")


@sentence.register
def _(event: EpochDone) -> str:
    return (f"epoch {event.epoch} done at step {people.count(event.step)}: mean loss {people.loss(event.mean_loss)}, "
            f"{people.duration(event.seconds)}")


@sentence.register
def _(event: CheckpointSaved) -> str:
    return f"saved {event.path.name} ({people.size(event.bytes)})"


@sentence.register
def _(event: StateChanged) -> str:
    return f"{event.state} at step {people.count(event.step)}"


@sentence.register
def _(event: Estimate) -> str:
    total, device = people.size(event.memory["total_bytes"]), people.size(event.device_bytes)
    verdict = {"fits": "fits", "tight": "is tight", "too big": "is too big"}[event.fits]
    epochs = "" if event.epochs is None else f" ({people.times(event.epochs)} the text)"
    if event.epochs is not None and may_learn_by_heart(event.epochs):
        epochs = f" ({people.times(event.epochs)} the text, which it may learn by heart)"
    said = (f"{people.short_count(event.parameters)} parameters, {people.count(event.tokens_per_step)} tokens a step, "
            f"{people.short_count(event.tokens)} in all{epochs}; training needs {total} of memory: it {verdict} in "
            f"{device}. One checkpoint takes {people.size(event.checkpoint_bytes)}, a run at most "
            f"{people.size(event.disk_bytes)} of disk.")
    return said if event.time is None else f"{said}\n{forecast(event.time)}"


@sentence.register
def _(event: Generated) -> str:
    ends = {"length": "as long as allowed", "eos": "the model ended it", "stop": "stop text", "stopped": "stopped"}
    return (f"{people.many(event.tokens, 'token')}, {people.short_count(event.tokens_per_s)} tokens/s, "
            f"seed {event.seed} ({ends[event.reason]})")


@sentence.register
def _(event: Exported) -> str:
    proof = "verified: " + "; ".join(event.checks) if event.verified else "not verified"
    return (f"Exported {event.path} (step {people.count(event.step)}, {event.type}, {people.size(event.bytes)}), "
            f"{proof}.")


@sentence.register
def _(event: RateFound) -> str:
    return f"Suggested learning rate: {people.learning_rate(event.learning_rate)}"


@sentence.register
def _(event: Finished) -> str:
    return event.message or {"done": "", "stopped": "Stopped.", "interrupted": "Interrupted."}[event.reason]


def step(event: StepDone, *, max_steps: int, seconds_left: float | None) -> str:
    """The numbers beside the training bar."""
    left = "" if seconds_left is None else f"  {people.duration(seconds_left)} left"
    return (f"{people.count(event.step)}/{people.count(max_steps)}  loss {people.loss(event.loss)}  "
            f"ppl {perplexity_of(event.loss)}  lr {people.learning_rate(event.learning_rate)}  "
            f"{people.short_count(event.tokens_per_s)} tokens/s{left}")


def perplexity_of(loss: float | None) -> str:
    """The perplexity that goes with a loss in nats a token."""
    return people.DASH if loss is None else people.perplexity(perplexity(loss))


def rate_point(event: RatePoint) -> str:
    """The numbers beside the bar of a range test."""
    return (f"{event.step}/{event.steps}  lr {people.learning_rate(event.learning_rate)}  "
            f"loss {people.loss(event.smoothed)}")


def forecast(time: Forecast) -> str:
    """How long a run takes, what the time goes to, and what it draws where that can be read."""
    parts = {"training": time.training_s, "validation": time.validation_s, "checkpoints": time.checkpoints_s,
             "samples": time.samples_s}
    said = (f"It takes about {people.duration(time.total_s)} here ({people.duration(time.low_s)} to "
            f"{people.duration(time.high_s)}): " + ", ".join(
                f"{name} {people.duration(seconds)}" for name, seconds in parts.items()) +
            f"; {people.milliseconds(time.step_s)} a step, {people.short_count(time.tokens_per_s)} tokens/s.")
    if time.slowdown > THROTTLED:
        said += (f" The machine slowed down by {people.percent(time.slowdown - 1)} while it was measured, for heat or "
                 "other work; the slower pace is the one reckoned with.")
    if time.energy_wh is not None:
        said += f" The graphics card draws about {people.energy(time.energy_wh)}."
    return said


def compared(event: EvalDone) -> str:
    """How a validation stands among those of its run."""
    return "best so far" if event.improved else f"best {people.loss(event.best)}"


def progress(event: Progress) -> str:
    """ "12 of 37 documents", "1 of 1 window"; bytes in units people know; "..." while there is nothing to count."""
    if not event.done and not event.total:
        return "..."
    number = people.size if event.unit == "bytes" else people.count
    noun = event.unit.removesuffix("s") if (event.total or event.done) == 1 else event.unit
    unit = "" if event.unit == "bytes" else f" {noun}"
    return f"{number(event.done)} of {number(event.total)}{unit}" if event.total else f"{number(event.done)}{unit}"


def memory_items(event: Estimate) -> Iterator[tuple[str, int]]:
    """What the memory is for, and how many bytes; the sum comes last."""
    items = dict(event.memory)
    total = items.pop("total_bytes")
    yield from items.items()
    yield "total", total
