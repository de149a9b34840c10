"""The forecast of a run's time against the run: `python -m tests.benchmarks.forecast`, or a section among the others.

Each preset is measured for seconds, as `atlas estimate --measure` does it, then trained for minutes as anybody would.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from atlas_core import forecast, jobs, presets
from atlas_core import format as people
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.events import RunStarted
from atlas_core.forecast import Forecast, Speed
from atlas_core.text.dataset import Dataset
from atlas_core.training.measure import measure
from tests.benchmarks import sample
from tests.benchmarks.section import Column, Effort, Row, Section

PRESETS = ("NANO", "MICRO", "TINY")
RUN_SECONDS, HURRIED_SECONDS = 180.0, 15.0


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each preset."""
    for name in effort.matching(effort.few(PRESETS)):
        config, dataset = sample.ready(home, presets.find(name).config)
        yield row(config, dataset, home / f"run-{name}", HURRIED_SECONDS if effort.quick else RUN_SECONDS)


def row(config: Config, folder: Path, run: Path, run_seconds: float) -> Row:
    """Forecast and truth of as many steps of `config` as take about `run_seconds`."""
    dataset = Dataset.open(folder)
    *_, speed = measure(config, dataset)
    assert isinstance(speed, Speed)
    steps = max(1, round(run_seconds / speed.step_s))
    config = config.replace({"training.max_steps": steps,
                             "training.warmup_steps": min(steps, config.training.warmup_steps)})
    splits = dataset.meta.splits
    foreseen = forecast.forecast(config, speed, train_tokens=splits["train"].tokens, val_tokens=splits["val"].tokens)
    seconds = trained(config, folder, run)
    return {"preset": config.name, "steps": steps, **_parts(foreseen), "seconds": seconds,
            "error": foreseen.total_s / seconds - 1, "within_range": foreseen.low_s <= seconds <= foreseen.high_s}


def trained(config: Config, dataset: Path, run: Path) -> float:
    """Seconds from the first event of a run to its last: everything but building the model."""
    started = 0.0
    for event in jobs.train(config, dataset, run, Control()):
        if isinstance(event, RunStarted):
            started = time.perf_counter()
    return time.perf_counter() - started


def _parts(foreseen: Forecast) -> Row:
    return {"forecast_s": foreseen.total_s, "low_s": foreseen.low_s, "high_s": foreseen.high_s,
            "validation_s": foreseen.validation_s, "checkpoints_s": foreseen.checkpoints_s,
            "samples_s": foreseen.samples_s, "step_s": foreseen.step_s}


def _error(share: float) -> str:
    return f"{share * 100:+.1f}{people.SPACE}%"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}{people.SPACE}s"


SECTION = Section("forecast", "Time forecast from a few steps, against the run", (
    Column("preset", "preset"),
    Column("steps", "steps", people.count),
    Column("step_s", "a step", people.milliseconds),
    Column("forecast_s", "forecast", _seconds),
    Column("low_s", "from", _seconds),
    Column("high_s", "to", _seconds),
    Column("seconds", "run", _seconds),
    Column("error", "error", _error),
), rows)

if __name__ == "__main__":
    from tests.benchmarks.__main__ import main

    sys.exit(main(["forecast", *sys.argv[1:]]))
