"""The small jobs of the session: look at texts, read a dataset, list the runs, watch the machine.

Plain functions without Qt, most of them for a worker; what they bring back are frozen values.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from atlas_core import config as settings
from atlas_core import history as curves
from atlas_core import jobs, runs, soundness
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.errors import CheckpointError, DataError, NumericsError
from atlas_core.events import Event, SampleDrawn
from atlas_core.forecast import Speed
from atlas_core.hardware import speeds
from atlas_core.hardware.telemetry import best_telemetry
from atlas_core.history import History
from atlas_core.reading import lines
from atlas_core.runs import RunInfo
from atlas_core.text import library
from atlas_core.text.dataset import Dataset, Meta, is_dataset
from atlas_core.text.preview import Histogram, preview
from atlas_core.text.sources import SourceEntry, list_sources
from atlas_gui.widgets.hardware_panel import HardwareNews

READING_SECONDS = 1.0
LOG_LINES = 500  # of earlier sessions
LOG_LINE_CHARS = 2000  # ours are shorter

Curves = dict[Path, tuple[tuple[int, int], Sequence[float]]]  # by run: size and time of its file, and its losses


@dataclass(frozen=True)
class Looked:
    """What was found in the chosen texts."""

    entries: tuple[SourceEntry, ...]
    digest: str


@dataclass(frozen=True)
class Shown:
    """A dataset as the Data tab shows it."""

    path: Path
    meta: Meta
    first_tokens: tuple[str, ...]
    lengths: Histogram | None


@dataclass(frozen=True)
class RunsSeen:
    """The user's runs, and each one's losses for its small curve."""

    infos: tuple[RunInfo, ...]
    losses: dict[Path, Sequence[float]]


@dataclass(frozen=True)
class Opened:
    """A run as its folder tells it, up to its newest checkpoint."""

    info: RunInfo
    history: History
    samples: tuple[SampleDrawn, ...]
    log: tuple[str, ...]  # the last lines of its training.log


@dataclass(frozen=True)
class TakenUp:
    """A run that is to go on, and what it goes on with."""

    opened: Opened
    config: Config
    dataset: Path


@dataclass(frozen=True)
class CameApart:
    """The loss is no number any more. Comes before the error, of which only the text leaves its thread."""


def look(sources: Sequence[Path]) -> Iterator[Looked]:
    """The files in the chosen texts, and the fingerprint of them all."""
    yield Looked(tuple(list_sources(sources)), library.digest_of(sources))


def show(folder: Path) -> Shown:
    """A dataset's description and beginning. Raises `DataError` if it is damaged."""
    dataset = Dataset.open(folder)
    seen = preview(dataset)
    return Shown(folder, dataset.meta, tuple(piece.text for piece in seen.pieces), seen.lengths)


def see_runs(known: Curves) -> RunsSeen:
    """The runs there are. A curve that is `known` is read anew only if its file has changed: all runs are looked at
    after each save.
    """
    infos, curves = runs.list_runs(), dict(known)
    known.clear()
    for info in infos:
        with suppress(OSError):
            about = (info.path / runs.METRICS_FILE).stat()
            stamp = about.st_size, about.st_mtime_ns
            before = curves.get(info.path)
            known[info.path] = before if before and before[0] == stamp else (
                stamp, History.read(info.path / runs.METRICS_FILE).losses)
    return RunsSeen(tuple(infos), {path: losses for path, (_, losses) in known.items()})


def readings(control: Control) -> Iterator[HardwareNews]:
    """The machine's state once a second, until stopped."""
    telemetry = best_telemetry()
    while not control.stopping:
        yield HardwareNews(telemetry.read(), telemetry.is_gpu)
        control.wait(READING_SECONDS)


def load_torch() -> Iterable[object]:
    import torch  # noqa: F401 - the point is that it is loaded

    return ()


def remember(config: Config, speed: Speed) -> Iterable[object]:
    """Keep the speed that a run has shown."""
    speeds.remember(config, speed)
    return ()


def open_run(folder: Path) -> Opened:
    """A run up to its newest checkpoint: what was recorded after it is dropped by the next session anyway."""
    info = runs.inspect(folder)
    history = History()
    for _, record in curves.records(folder / runs.METRICS_FILE):
        if curves.stands_at(record) <= info.step:
            history.add(record)
    history.checkpoint_steps = [checkpoint.step for checkpoint in info.checkpoints]
    samples = [SampleDrawn(record["step"], record["prompt"], record["text"], record["seed"])
               for _, record in curves.records(folder / runs.SAMPLES_FILE)
               if record.get("event") == "sample" and record["step"] <= info.step]
    return Opened(info, history, tuple(samples), _last_lines(folder / runs.LOG_FILE))


def take_up(folder: Path, *, rate_factor: float = 1.0, changes: Mapping[str, object] | None = None) -> TakenUp:
    """What is needed to go on with a run, its learning rate times `rate_factor`, with `changes` of its settings.

    Raises `AtlasError`.
    """
    opened, (newest, _) = open_run(folder), soundness.newest_sound(folder)
    config = jobs.settings_of(newest.path)[0] if newest else settings.load(folder / runs.CONFIG_FILE)
    dataset = dataset_of(replace(opened.info, dataset=Path(config.dataset) if config.dataset else None))
    rate = config.training.learning_rate * rate_factor
    return TakenUp(opened, config.replace({"training.learning_rate": rate, **(changes or {})}), dataset)


def watched(events: Iterable[Event]) -> Iterator[Event | CameApart]:
    """The events of a training, and a word before the error if it comes apart."""
    try:
        yield from events
    except NumericsError:
        yield CameApart()
        raise


def _last_lines(log: Path) -> tuple[str, ...]:
    if not log.is_file():
        return ()
    return tuple(deque((line[:LOG_LINE_CHARS] for line in lines(log)), maxlen=LOG_LINES))


def dataset_of(info: RunInfo) -> Path:
    """The dataset a run learns from. Raises `DataError` if it is gone."""
    if info.step == 0 and not info.checkpoints:
        raise CheckpointError(f"{info.name} has no checkpoint to go on from.", "Start a fresh run.")
    if info.dataset is None or not is_dataset(info.dataset):
        raise DataError(f"The dataset of {info.name} is gone: {info.dataset}.",
                        "Prepare the same text again at that place, or start a fresh run.")
    return info.dataset
