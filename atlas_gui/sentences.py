"""What the window says about a plan, a run and an event, as plain text. Decides nothing, draws nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from atlas_core import format, memory
from atlas_core.config import Config
from atlas_core.events import (
    CheckpointSaved,
    EpochDone,
    EvalDone,
    Event,
    Finished,
    Healed,
    Notice,
    RolledBack,
    RunStarted,
    SampleDrawn,
    StateChanged,
    StepSkipped,
)
from atlas_core.history import History
from atlas_core.pace import RECENT
from atlas_core.runs import RunInfo
from atlas_core.text import library
from atlas_core.text.dataset import Meta
from atlas_core.text.sources import ARCHIVE_SUFFIXES, LINES_SUFFIXES, TEXT_SUFFIXES
from atlas_gui.run_time import Expected

READ = "Text, Markdown and JSON Lines files, folders and zip archives are read."


def plan(config: Config, text_name: str, tokens: int | None, time: Expected | None, memory_bytes: int) -> str:
    """What pressing Train will do: "Train NANO (1.7 M) on shakespeare (1.4 M tokens): about 2 min, 0.6 GB of
    memory"."""
    if not text_name:
        return "Add some text on the Data tab, or use the sample, and training can begin."
    amount = f" ({format.short_count(tokens)} tokens)" if tokens else ""
    costs = [f"{format.size(memory_bytes)} of memory"]
    if time is not None:
        costs.insert(0, how_long(time))
    parameters = format.short_count(memory.count_parameters(config.model))
    return f"Train {config.name} ({parameters}) on {text_name}{amount}: {', '.join(costs)}"


def how_long(time: Expected) -> str:
    """ "about 2 min" if it was measured here, "roughly 2 min" if it is guessed from other work."""
    return f"{'about' if time.measured else 'roughly'} {format.duration(time.seconds)}"


def dataset_name(meta: Meta) -> str:
    """What people call a dataset: its folder's name without tokenizer and digits, which are told beside it."""
    return re.sub(r"-(gpt2|bpe-\d+)$", "", library.title(meta)) or meta.name


def progress(history: History, max_steps: int, *, paused: bool = False) -> str:
    """Where a run stands: "step 1 240 / 10 000   12 %   8 min left", in a width that stays."""
    step, total = (history.steps[-1] if history.steps else 0), format.count(max_steps)
    parts = [f"step {format.count(step):>{len(total)}} / {total}", f"{format.percent(step / max_steps):>5}"]
    left = history.pace.seconds_left(max_steps)
    if paused:
        parts.append("paused")
    elif left is not None and step < max_steps:
        parts.append(f"{format.duration(left)} left")
    return "   ".join(parts)


def standing(run: RunInfo) -> str:
    """Where a run stands that is not at work."""
    saved = f"saved {format.ago(run.checkpoints[-1].saved_at)}" if run.checkpoints else "nothing saved"
    return f"step {format.count(run.step)} of {format.count(run.max_steps)}, {saved}"


def status(state: str, name: str, history: History, saved_at: float | None, cooling: str = "") -> str:
    """The status line while there is a run."""
    parts = [f"{state} {name}".strip()]
    if history.tokens_per_s:
        recent = sorted(history.tokens_per_s[-RECENT:])
        parts.append(f"{format.count(recent[len(recent) // 2])} tokens/s")
    if saved_at is not None:
        parts.append(f"saved {format.ago(saved_at)}")
    if cooling:
        parts.append(cooling)
    return "  ·  ".join(parts)


def machine(started: RunStarted) -> str:
    """Where a run computes: "AMD EPYC (2 threads) · bf16, blocks"."""
    return f"{started.device}  ·  {started.precision}, {started.attention}"


def log_line(event: Event) -> str | None:
    """An event as a line of the log, with the time of day; None for those too many to note."""
    text = _told(event)
    return None if text is None else f"{time.strftime('%H:%M:%S')}  {text}"


def _told(event: Event) -> str | None:
    text = None
    match event:
        case RunStarted():
            begun = f"resumed at step {format.count(event.resumed_from)}" if event.resumed_from else "started"
            text = f"{event.run.name} {begun}: {format.short_count(event.parameters)} parameters, {machine(event)}"
        case EvalDone():
            better = ", the best so far" if event.improved else f", best {format.loss(event.best)}"
            text = f"step {format.count(event.step)}: validation loss {format.loss(event.val_loss)}{better}"
        case EpochDone():
            text = f"epoch {event.epoch} done: mean loss {format.loss(event.mean_loss)}"
        case CheckpointSaved():
            text = f"saved {event.path.name} ({format.size(event.bytes)})"
        case SampleDrawn():
            text = f"step {format.count(event.step)}: wrote a sample"
        case StateChanged():
            text = f"{event.state} at step {format.count(event.step)}"
        case StepSkipped() | RolledBack():
            text = event.reason
        case Notice() | Healed():
            text = event.message
        case Finished():
            text = event.message or ("done" if event.complete else "stopped and saved")
    return text


def news(event: Event) -> tuple[str, str] | None:
    """What deserves a desktop notification, and its level; None for most."""
    match event:
        case Finished() if event.complete:
            return event.message or f"Training is done after {format.many(event.details['step'], 'step')}.", "good"
        case Notice(level="warning"):  # paused by heat, say
            return event.message, "warning"
        case RolledBack():
            return event.reason, "warning"
    return None


def drop(paths: Sequence[Path]) -> tuple[str, bool]:
    """What happens if these are dropped, and whether anything of it will be taken."""
    suffixes = TEXT_SUFFIXES | LINES_SUFFIXES | ARCHIVE_SUFFIXES | {""}  # what has none is looked into
    good = [path for path in paths if path.is_dir() or path.suffix.lower() in suffixes]
    if not paths:
        return "This is not a file on this computer.", False
    if not good:
        return f"{paths[0].name} is not text. {READ}", False
    what = good[0].name if len(good) == 1 else f"{len(good)} sources"
    others = len(paths) - len(good)
    left = f" ({others} of another kind will be passed over)" if others else ""
    return f"Drop to learn from {what}{left}", True
