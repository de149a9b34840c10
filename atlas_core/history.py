"""The curve of a run: `metrics.jsonl` in and out, smoothing, perplexity. Plain lists, no drawing."""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas_core import format as people
from atlas_core.events import CheckpointSaved, EvalDone, Event, RolledBack, RunStarted, StepDone, StepSkipped
from atlas_core.pace import Pace
from atlas_core.paths import write_atomically
from atlas_core.reading import json_value, lines


class History:
    """Everything reported of a run so far, one list a quantity, in the order of the steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.perplexities: list[float] = []
        self.learning_rates: list[float] = []
        self.tokens_per_s: list[float] = []
        self.grad_norms: list[float] = []
        self.seconds: list[float] = []
        self.tokens_seen: list[int] = []
        self.eval_steps: list[int] = []
        self.val_losses: list[float] = []
        self.val_perplexities: list[float] = []
        self.checkpoint_steps: list[int] = []
        self.resumed_steps: list[int] = []
        self.skipped_steps: list[int] = []
        self.rolled_back_steps: list[int] = []  # where the run went on from
        self.rate_factor = 1.0  # on the schedule's learning rate, since it went back last
        self.pace = Pace()

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and value of the lowest validation loss."""
        if not self.val_losses:
            return None
        loss = min(self.val_losses)
        return self.eval_steps[self.val_losses.index(loss)], loss

    def add(self, event: Event | dict[str, Any]) -> None:
        """Take in an event or a line of `metrics.jsonl`; other kinds are passed over."""
        if isinstance(event, (StepDone, StepSkipped, EvalDone, CheckpointSaved, RunStarted, RolledBack)):
            event = event.to_dict()
        if not isinstance(event, dict):
            return
        kind = event.get("event")
        if kind == "step":
            self._add_step(event)
        elif kind == "eval":
            self.eval_steps.append(event["step"])
            self.val_losses.append(_number(event["val_loss"]))
            self.val_perplexities.append(perplexity(_number(event["val_loss"])))
        elif kind == "skipped":
            self.skipped_steps.append(event["step"])
        elif kind == "rolled_back":
            self._forget_after(event["to_step"])
            self.rolled_back_steps.append(event["to_step"])
            self.rate_factor = _number(event["learning_rate_factor"])
        elif kind == "checkpoint":
            self.checkpoint_steps.append(event["step"])
        elif kind == "run":
            self.pace = Pace()  # what an earlier session took says nothing of this one
            if event.get("resumed_from"):
                self._forget_after(event["resumed_from"])  # if the newest checkpoint was damaged, there is more
                self.resumed_steps.append(event["resumed_from"])

    def _add_step(self, event: dict[str, Any]) -> None:
        loss = _number(event["loss"])
        self.steps.append(event["step"])
        self.losses.append(loss)
        self.perplexities.append(perplexity(loss))
        self.learning_rates.append(_number(event["learning_rate"]))
        self.tokens_per_s.append(_number(event["tokens_per_s"]))
        self.grad_norms.append(_number(event["grad_norm"]))
        self.seconds.append(_number(event["seconds"]))
        self.tokens_seen.append(event["tokens_seen"])
        self.pace.add(self.steps[-1], self.seconds[-1])

    def _forget_after(self, step: int) -> None:
        taken = bisect_right(self.steps, step)
        for column in (self.steps, self.losses, self.perplexities, self.learning_rates, self.tokens_per_s,
                       self.grad_norms, self.seconds, self.tokens_seen):
            del column[taken:]
        validated = bisect_right(self.eval_steps, step)
        for column in (self.eval_steps, self.val_losses, self.val_perplexities):
            del column[validated:]
        for marks in (self.checkpoint_steps, self.resumed_steps, self.skipped_steps, self.rolled_back_steps):
            marks[:] = [mark for mark in marks if mark <= step]

    @staticmethod
    def read(path: Path) -> History:
        """The history in a `metrics.jsonl`; empty if there is none. A torn line is passed over."""
        history = History()
        for _, record in records(path):
            history.add(record)
        return history


def records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each whole line of a metrics file, as text and as a mapping.

    A line that a crash cut short, or that is not ours, is left out.
    """
    if not path.is_file():
        return
    for line in lines(path):
        record = _record(line)
        if record is not None:
            yield line, record


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json_value(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and _is_ours(record) else None


# What a record of each kind needs, so that it can be shown. A number may be null, for what JSON cannot hold.
_STEPS = {"step": ("step",), "eval": ("step",), "sample": ("step",), "skipped": ("step",), "checkpoint": ("step",),
          "rolled_back": ("step", "to_step")}
_NUMBERS = {
    "step": ("loss", "learning_rate", "tokens_per_s", "grad_norm", "seconds", "tokens_seen"),
    "eval": ("val_loss",),
    "rolled_back": ("learning_rate_factor",),
    "sample": ("seed",),
}
_TEXTS = {"sample": ("prompt", "text")}


def _is_ours(record: dict[str, Any]) -> bool:
    """Whether a line of a run's file is what this program writes; of kinds it does not know only the steps matter."""
    kind = record.get("event")
    return (isinstance(kind, str)
            and all(name in record for name in _STEPS.get(kind, ()))
            and all(_is_step(record.get(name, 0)) for name in ("step", "to_step"))
            and _is_step(record.get("resumed_from") or 0)
            and all(_is_number(record.get(name, "missing")) for name in _NUMBERS.get(kind, ()))
            and all(isinstance(record.get(name), str) for name in _TEXTS.get(kind, ())))


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    return value is None or type(value) is float or (type(value) is int and abs(value) < 2**64)


def flaw(path: Path, step: int, interval: int) -> str:
    """In a sentence, what is missing of the curve up to `step`, if one step in `interval` was recorded; else empty.

    Lines that were torn after `step` are no loss: the steps are taken again.
    """
    if not path.is_file():
        return f"{path.name} is gone: the curve begins at step {step}." if step else ""
    last, wrong = -1, 0
    waiting = 0  # lines that tell nothing or are of later steps, unless what follows shows them to be out of place
    for line in lines(path):
        record = _record(line)
        if record is None or record["event"] not in _STEPS or stands_at(record) > step:
            waiting += 1
        elif stands_at(record) < last:
            wrong += 1
        else:
            at = stands_at(record)
            if last >= 0:  # a run that was begun from another's checkpoint has no first steps
                interval = max(interval, at - last)
            last, wrong, waiting = at, wrong + waiting, 0
    if wrong:
        lost = f"{people.many(wrong, 'line')} of the curve before step {step}"
        return f"{path.name} is damaged: {lost} {'is' if wrong == 1 else 'are'} not what was written."
    if step - max(0, last) < interval:
        return ""
    return (f"{path.name} holds no curve up to step {step}." if last < 0 else
            f"{path.name} is damaged: the curve has a gap from step {last} to {step}.")


def truncate(path: Path, step: int) -> None:
    """Forget what was recorded after `step`, so that a resumed run writes no step twice."""
    if path.exists():
        kept, last = [], 0  # of lines behind that of `step`, damage may have made earlier ones
        for line, record in records(path):
            at = stands_at(record)
            if at <= step and not at < last == step:
                kept.append(line)
                last = at
        write_atomically(path, "".join(line + "\n" for line in kept).encode())


def length_up_to(content: bytes, step: int) -> int:
    """How many bytes of a run's file stand before its first line of a later step."""
    length = 0
    for line in content.splitlines(keepends=True):
        record = _record(line.decode("utf-8", errors="replace"))
        if record is not None and stands_at(record) > step:
            break
        length += len(line)
    return length


def stands_at(record: dict[str, Any]) -> int:
    """The step to which a record belongs; a run that went back goes on from there."""
    return int(record.get("to_step", record.get("step", 0)))


def as_csv(history: History) -> str:
    """Every step as a row, for a spreadsheet; a validation loss stands in the row of its step."""
    validated = dict(zip(history.eval_steps, history.val_losses, strict=True))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["step", "loss", "val_loss", "learning_rate", "grad_norm", "tokens_per_s", "tokens_seen", "seconds"])
    columns = zip(history.steps, history.losses, history.learning_rates, history.grad_norms, history.tokens_per_s,
                  history.tokens_seen, history.seconds, strict=True)
    for step, loss, *others in columns:
        rows.writerow([step, loss, validated.pop(step, ""), *others])
    rows.writerows([step, "", loss] for step, loss in validated.items())  # measured at a step that was not reported
    return text.getvalue()


def perplexity(loss: float) -> float:
    """exp(loss), infinite where a float would overflow."""
    return math.inf if loss >= 700 else math.exp(loss)


class Smoother:
    """Exponential moving average with bias correction (Kingma and Ba 2015, section 3), one value at a time.

    `amount` from 0 (as it is) to below 1; the first value is never pulled towards zero, and values
    that are not numbers are passed over.
    """

    def __init__(self, amount: float) -> None:
        self._amount = amount
        self._mean = self._weight = 0.0

    def __call__(self, value: float) -> float:
        """The average once `value` has come."""
        if math.isfinite(value):
            self._mean = self._amount * self._mean + (1 - self._amount) * value
            self._weight = self._amount * self._weight + (1 - self._amount)
        return self._mean / self._weight if self._weight else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
