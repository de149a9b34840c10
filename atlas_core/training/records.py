"""What a run leaves for its reader: `metrics.jsonl`, `samples.jsonl`, `training.log` and TensorBoard files.

A pass-through: events go in and come out unchanged. Never decides anything.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil
import torch

from atlas_core import __version__, history, runs
from atlas_core import format as people
from atlas_core.config import Config
from atlas_core.errors import AtlasError
from atlas_core.events import (
    CheckpointSaved,
    Cooling,
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
    StepDone,
    StepSkipped,
)
from atlas_core.pace import Pace
from atlas_core.paths import cannot_write
from atlas_core.text.dataset import Dataset
from atlas_core.training.lines import Lines

if TYPE_CHECKING:
    from atlas_core.training.trainer import Trainer

LOG_SECONDS = 10.0  # a step line in the log at most this often
CURVE = (StepDone, StepSkipped, EvalDone, RolledBack)


class Record(Protocol):
    """Something that writes events down."""

    def write(self, event: Event) -> None: ...


def recorded(session: Trainer, run: Path, config: Config, dataset: Dataset) -> Iterator[Event]:
    """The events of a session, each written down before it is passed on; later lines than its first step are dropped.

    A checkpoint counts only after the lines before it are durable, so it never knows more than the curve.
    """
    step = session.progress.step
    for name in (runs.METRICS_FILE, runs.SAMPLES_FILE):
        history.truncate(run / name, step if step else -1)
    with ExitStack() as opened:
        files = {name: opened.enter_context(closing(Lines(run / name)))
                 for name in (runs.METRICS_FILE, runs.SAMPLES_FILE, runs.LOG_FILE)}
        log = TrainingLog(files[runs.LOG_FILE], config, dataset)
        records: list[Record] = [
            JsonLines(files[runs.METRICS_FILE], CURVE),
            JsonLines(files[runs.SAMPLES_FILE], (SampleDrawn,)),
            log,
        ]
        if config.logging.tensorboard:
            records.append(opened.enter_context(closing(TensorBoard(run / runs.TENSORBOARD_FOLDER, step))))
        session.saver.before_counting = lambda: _sync(files)
        events = opened.enter_context(closing(session.events()))  # closed first, while there is where to write
        disk = Disk(files.values())
        try:
            for event in events:
                try:
                    notices = [*_write_down(event, records), *disk.news()]
                except (OSError, AtlasError) as error:  # too much waits: the session saves, if it can, and ends
                    yield events.throw(cannot_write(run, error) if isinstance(error, OSError) else error)
                    continue
                yield event
                for notice in notices:
                    log.write(notice)
                    yield notice
        except Exception as error:
            with suppress(OSError):  # a full disk must not hide what went wrong first
                log.line(f"FAILED: {type(error).__name__}: {error}")
            raise


def _write_down(event: Event, records: list[Record]) -> Iterator[Notice]:
    for record in list(records):
        try:
            record.write(event)
        except OSError:
            if not isinstance(record, TensorBoard):
                raise
            records.remove(record)
            yield Notice("TensorBoard's files cannot be written and end here; the run's own curve goes on.", "warning")


def _sync(files: dict[str, Lines]) -> None:
    """Make the curve durable, or raise; and what else there is, if the disk allows."""
    for name, lines in files.items():
        with suppress(OSError, AtlasError) if name != runs.METRICS_FILE else nullcontext():
            lines.sync()


class Disk:
    """Tells when it stops taking the lines of a run, and when it takes them again."""

    def __init__(self, files: Iterable[Lines]) -> None:
        self._files = files
        self._full = False

    def news(self) -> Iterator[Notice]:
        full = any(lines.waiting_bytes for lines in self._files)
        if full and not self._full:
            yield Notice("The run's curve and log cannot be written now; what they miss is kept in memory. Free some "
                         "space: they will be complete.", "warning")
        elif self._full and not full:
            yield Notice("The run's curve and log are complete again.")
        self._full = full


class JsonLines:
    """One JSON object a line, for events of the given kinds.

    Where the run goes back, so does the file: no step stands twice.
    """

    def __init__(self, lines: Lines, kinds: tuple[type[Event], ...]) -> None:
        self._lines, self._kinds = lines, kinds

    def write(self, event: Event) -> None:
        if isinstance(event, RolledBack):
            self._lines.cut_back(event.to_step)
        if isinstance(event, self._kinds):
            self._lines.add(event.to_json())


class TrainingLog:
    """The story of the run in plain words, session after session."""

    def __init__(self, lines: Lines, config: Config, dataset: Dataset) -> None:
        self._lines = lines
        self._config, self._dataset = config, dataset
        self._last_step_line = -LOG_SECONDS
        self._last_val_loss: float | None = None
        self._cooling = ""
        self._pace = Pace()

    def line(self, text: str) -> None:
        self._lines.add(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {people.plain(text)}")

    def write(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._session(event)
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, EvalDone):
            self._validation(event)
        elif isinstance(event, EpochDone):
            self.line(f"EPOCH {event.epoch} done: mean loss {event.mean_loss:.4f}, perplexity {event.perplexity:.2f}, "
                      f"{event.tokens:,} tokens in {people.duration(event.seconds)}")
        elif isinstance(event, CheckpointSaved):
            self.line(f"saved {event.path.name} ({people.size(event.bytes)} in {event.seconds:.2f} s)")
        elif isinstance(event, Cooling):
            cooling = people.cooling(event.state, event.target_c, event.idle, event.limit_w)
            self._cooling = f"  {cooling}" if cooling else ""
        elif isinstance(event, StateChanged):
            self.line(f"{event.state} at step {event.step}")
        elif isinstance(event, StepSkipped):
            self.line(f"SKIPPED: {event.reason}")
        elif isinstance(event, RolledBack):
            self.line(f"ROLLED BACK: {event.reason}")
        elif isinstance(event, (Notice, Healed)):
            self.line(event.message)
        elif isinstance(event, Finished):
            self._summary(event)

    def _session(self, event: RunStarted) -> None:
        self._lines.add("=" * 88)
        self.line(f"SESSION {event.name}, Atlas Studio {__version__}")
        if event.resumed_from:
            self.line(f"RESUMED from step {event.resumed_from}")
        memory = psutil.virtual_memory()
        m, t, meta = self._config.model, self._config.training, self._dataset.meta
        val_tokens = meta.splits["val"].tokens if "val" in meta.splits else 0
        self.line(f"system: {platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}, "
                  f"{memory.total / 2**30:.1f} GiB memory")
        self.line(f"device: {event.device}, {event.precision}, attention: {event.attention}, {event.threads} threads")
        self.line(f"model: {event.parameters:,} parameters; {m.num_layers} layers, width {m.hidden_size}, "
                  f"{m.num_heads} heads, context {m.max_seq_len}, vocabulary {m.vocab_size}")
        self.line(f"dataset: {meta.name}; {event.train_tokens:,} tokens to learn from, "
                  f"{val_tokens:,} to validate; fingerprint {meta.fingerprint[:16]}")
        self.line(f"plan: {event.max_steps:,} steps of {event.tokens_per_step:,} tokens, learning rate "
                  f"{t.learning_rate:g} {t.scheduler_type}, {t.warmup_steps} warm-up steps")

    def _step(self, event: StepDone) -> None:
        self._pace.add(event.step, event.seconds)
        now = time.monotonic()
        if now - self._last_step_line < LOG_SECONDS:
            return
        self._last_step_line = now
        max_steps = self._config.training.max_steps
        seconds_left = self._pace.seconds_left(max_steps)
        eta = people.DASH if seconds_left is None else people.duration(seconds_left)
        self.line(f"step {event.step}/{max_steps}  epoch {event.epoch:.2f}  loss {event.loss:.4f}  "
                  f"perplexity {history.perplexity(event.loss):.2f}  lr {event.learning_rate:.2e}  "
                  f"{event.tokens_per_s:,.0f} tokens/s  memory {_memory_gib():.2f} GiB  ETA {eta}{self._cooling}")

    def _validation(self, event: EvalDone) -> None:
        change = ""
        if self._last_val_loss is not None:
            change = f" ({event.val_loss - self._last_val_loss:+.4f})"
        self._last_val_loss = event.val_loss
        mark = "  best so far" if event.improved else f"  best is {event.best:.4f}"
        self.line(f"VALIDATION at step {event.step}: loss {event.val_loss:.4f}{change}, perplexity "
                  f"{event.val_perplexity:.2f}, {event.val_bits_per_byte:.3f} bits/byte over "
                  f"{event.tokens:,} tokens{mark}")

    def _summary(self, event: Finished) -> None:
        d = event.details
        best = f"best validation loss {d['best_val_loss']:.4f}, " if math.isfinite(d["best_val_loss"]) else ""
        if event.message:
            self.line(event.message)
        self.line(f"FINISHED ({event.reason}) at step {d['step']}/{d['max_steps']}: loss {d['loss']:.4f}, "
                  f"{best}{d['tokens_seen']:,} tokens in "
                  f"{people.duration(d['seconds'])}")


class TensorBoard:
    """Scalars and samples for `tensorboard --logdir RUN`."""

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise AtlasError("logging.tensorboard is on, but TensorBoard is not installed.",
                             "Install it with: pip install tensorboard") from error
        self._open: Callable[[int], Any] = lambda step: SummaryWriter(str(folder), purge_step=step + 1)
        self._writer = self._open(step)

    def write(self, event: Event) -> None:
        if isinstance(event, RolledBack):
            self._writer.close()
            self._writer = self._open(event.to_step)
        scalars: dict[str, float] = {}
        if isinstance(event, StepDone):
            scalars = {"train/loss": event.loss, "train/perplexity": history.perplexity(event.loss),
                       "train/learning_rate": event.learning_rate, "train/grad_norm": event.grad_norm,
                       "train/tokens_per_s": event.tokens_per_s}
        elif isinstance(event, EvalDone):
            scalars = {"val/loss": event.val_loss, "val/perplexity": event.val_perplexity,
                       "val/bits_per_byte": event.val_bits_per_byte}
        elif isinstance(event, SampleDrawn):
            self._writer.add_text("sample", event.prompt + event.text, event.step)
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, event.step)  # type: ignore[attr-defined]

    def close(self) -> None:
        with suppress(OSError):  # a full disk; it was told
            self._writer.close()


def _memory_gib() -> float:
    """Of the card the most that training has held so far; without one, what this process holds now."""
    on_card = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
    return (on_card or float(psutil.Process().memory_info().rss)) / 2**30
