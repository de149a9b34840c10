"""Everything a job may report, as frozen values. Knows nothing of who listens.

A job is an iterator of these; the terminal prints them, the window turns them into signals, and
`to_json` turns them into one line of `--json` output or of `metrics.jsonl`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from atlas_core.forecast import Forecast


@dataclass(frozen=True)
class Event:
    """The root of all events; `event` is the name it carries in JSON."""

    event: ClassVar[str] = "event"

    def to_dict(self) -> dict[str, Any]:
        """The event as plain JSON values; a number that JSON cannot hold becomes `null`."""
        values = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"event": self.event, **values}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True)
class Progress(Event):
    """How far a job is: `done` of `total` `unit`s. `total` is 0 while nobody knows."""

    event: ClassVar[str] = "progress"
    done: int
    total: int
    unit: str
    label: str = ""


@dataclass(frozen=True)
class Notice(Event):
    """One sentence the person should see; `level` is "info" or "warning"."""

    event: ClassVar[str] = "notice"
    message: str
    level: str = "info"


@dataclass(frozen=True)
class Prepared(Event):
    """A dataset is ready. `summary` is what its `meta.json` says."""

    event: ClassVar[str] = "prepared"
    path: Path
    summary: dict[str, Any]


@dataclass(frozen=True)
class RunStarted(Event):
    """Training is about to take its first step (after `resumed_from` steps of an earlier session)."""

    event: ClassVar[str] = "run"
    run: Path
    name: str
    parameters: int
    device: str
    precision: str
    attention: str
    threads: int
    max_steps: int
    tokens_per_step: int
    train_tokens: int
    resumed_from: int = 0


@dataclass(frozen=True)
class StepDone(Event):
    """One optimizer step. `loss` is in nats a token, `seconds` is training time since step 0.

    Rests for cooling count: `seconds` and `tokens_per_s` are what a clock on the wall would tell.
    """

    event: ClassVar[str] = "step"
    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_s: float
    tokens_seen: int
    seconds: float


@dataclass(frozen=True)
class StepSkipped(Event):
    """A step whose loss or gradient was no number: its text is passed over, the weights stay. `reason` says it."""

    event: ClassVar[str] = "skipped"
    step: int
    reason: str


@dataclass(frozen=True)
class RolledBack(Event):
    """Training came apart at `step` and goes on from the good state of `to_step`, past the text that led there.

    Its learning rates are those of the schedule times `learning_rate_factor` from now on. `reason` is a sentence.
    """

    event: ClassVar[str] = "rolled_back"
    step: int
    to_step: int
    learning_rate_factor: float
    reason: str


@dataclass(frozen=True)
class Healed(Event):
    """Memory ran out after `step`: these settings take its place, with as many tokens a step. `message` says it."""

    event: ClassVar[str] = "healed"
    step: int
    batch_size: int
    gradient_accumulation_steps: int
    gradient_checkpointing: bool
    message: str


@dataclass(frozen=True)
class Cooling(Event):
    """How cool mode stands. `idle` is the share of about the last minute that was spent idle.

    `state` is "ready" (cool enough: full speed), "holding" (rests keep the target), "saving" (rests keep the power),
    "hot" (work waits until it is cooler) or "blind" (no sensible reading: a safe pace). A `limit_w` of 0 is none.
    """

    event: ClassVar[str] = "cooling"
    state: str
    temperature_c: float | None
    target_c: float
    idle: float
    limit_w: float = 0.0


@dataclass(frozen=True)
class EvalDone(Event):
    """A validation pass, averaged over tokens. `best` is the lowest `val_loss` so far, this included."""

    event: ClassVar[str] = "eval"
    step: int
    epoch: float
    val_loss: float
    val_perplexity: float
    val_bits_per_byte: float
    tokens: int
    best: float
    improved: bool


@dataclass(frozen=True)
class EpochDone(Event):
    """The training text has been seen once more."""

    event: ClassVar[str] = "epoch"
    step: int
    epoch: int
    mean_loss: float
    perplexity: float
    seconds: float
    tokens: int


@dataclass(frozen=True)
class SampleDrawn(Event):
    """Text the model wrote between two steps. `seed` makes it repeatable."""

    event: ClassVar[str] = "sample"
    step: int
    prompt: str
    text: str
    seed: int


@dataclass(frozen=True)
class Choice:
    """A token that could have come, and how probable it was."""

    text: str
    probability: float


@dataclass(frozen=True)
class TextPiece(Event):
    """A piece of generated text: whole characters only, so it may be empty between two tokens.

    `row` tells the prompts of a batch apart. `choices` are the likeliest tokens at this place.
    """

    event: ClassVar[str] = "piece"
    text: str
    token: int
    probability: float
    choices: tuple[Choice, ...] = ()
    row: int = 0


@dataclass(frozen=True)
class Generated(Event):
    """A finished text for one prompt; `reason` is "length", "eos", "stop" or "stopped"."""

    event: ClassVar[str] = "generated"
    prompt: str
    text: str
    tokens: int
    tokens_per_s: float
    reason: str
    seed: int
    row: int = 0


@dataclass(frozen=True)
class CheckpointSaved(Event):
    """A checkpoint is safe on disk; `kind` is "step", "epoch", "best" or "emergency".

    `step` is the one it holds: training may be further by now. Writing took `seconds`, training waited `stall_s`.
    """

    event: ClassVar[str] = "checkpoint"
    path: Path
    kind: str
    step: int
    bytes: int
    seconds: float
    stall_s: float = 0.0


@dataclass(frozen=True)
class StateChanged(Event):
    """A long job changed its state: "paused" or "running"."""

    event: ClassVar[str] = "state"
    state: str
    step: int = 0


@dataclass(frozen=True)
class Estimate(Event):
    """What a configuration needs. `memory` maps each item to bytes and holds `total_bytes`.

    `epochs` is None without a dataset; `time` is None unless it was measured, now or earlier on this machine.
    """

    event: ClassVar[str] = "estimate"
    parameters: int
    memory: dict[str, int]
    fits: str
    device_bytes: int
    tokens_per_step: int
    checkpoint_bytes: int
    disk_bytes: int
    tokens: int
    epochs: float | None = None
    time: Forecast | None = None


@dataclass(frozen=True)
class RatePoint(Event):
    """One step of a learning-rate range test. `smoothed` is the mean of the losses so far, the newest counting most."""

    event: ClassVar[str] = "rate_point"
    step: int
    steps: int
    learning_rate: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class RateFound(Event):
    """What a learning-rate range test suggests as the highest rate of a run, and what it saw."""

    event: ClassVar[str] = "rate_found"
    learning_rate: float
    points: tuple[RatePoint, ...]


@dataclass(frozen=True)
class Exported(Event):
    """A file another program can open, of the model after `step`; `checks` says, sentence by sentence, what was
    verified."""

    event: ClassVar[str] = "exported"
    path: Path
    type: str
    bytes: int
    verified: bool
    tensors: int
    step: int
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished(Event):
    """The last event of a job that went well; `reason` is "done", "early" (nothing more to gain), "stopped" (by a
    wish, gently) or "interrupted" (broken off at once)."""

    event: ClassVar[str] = "finished"
    reason: str = "done"
    message: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the job came to its own end."""
        return self.reason in ("done", "early")


@dataclass(frozen=True)
class Failed(Event):
    """The last event of a job that did not; text only, so that no traceback pins memory."""

    event: ClassVar[str] = "failed"
    error: str
    remedy: str = ""
    details: str = ""
