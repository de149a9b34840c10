"""The forecast of `atlas_core.memory` against what training really takes, over a grid of configurations."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

from atlas_core import config as settings
from atlas_core import format as people
from atlas_core import memory, presets
from atlas_core.config import Config
from atlas_core.hardware import device as hardware
from atlas_core.text.dataset import Dataset
from tests.benchmarks import child, measure, sample
from tests.benchmarks.contest import in_fresh_process
from tests.benchmarks.formats import multiplied
from tests.benchmarks.section import Column, Effort, Row, Section

CASES = 72
PROCESS_EVERY = 6       # so many cases for each one whose whole process is measured too
PROCESS_STEPS = 4
SEED = 3
PROCESSOR = torch.device("cpu")

# Each value comes equally often, in an order of chance that is always the same. The largest case takes seconds a step.
CHOICES: dict[str, tuple[Any, ...]] = {
    "model.family": settings.settings()["model.family"].choices,
    "model.hidden_size": (64, 128, 256, 384, 512),
    "model.num_layers": (1, 2, 4, 8),
    "model.max_seq_len": (32, 64, 128, 256, 512),
    "model.num_heads": (2, 4, 8),
    "model.num_kv_heads": (0, 2),
    "model.vocab_size": (1024, 4096, 16384, 50261),
    "model.dropout": (0.0, 0.0, 0.1),
    "model.tie_weights": (True, True, False),
    "training.batch_size": (1, 2, 4, 8),
    "training.gradient_accumulation_steps": (1, 2),
    "training.gradient_checkpointing": (False, False, True),
    "training.optimizer_type": settings.settings()["training.optimizer_type"].choices,
    "training.precision": tuple(multiplied()),
    "training.master_weights": (True, False),
    "hardware.attention": ("kernel", "blocks"),
}
FIXED = {"tokenizer.name": "bpe:512",  # below every vocabulary of the grid
         "hardware.threads": 1}        # kernels take memory for each


def grid() -> list[Config]:
    """The small presets, then `CASES` mixtures of everything that costs memory, in the formats there are units for."""
    chance = random.Random(SEED)
    mixtures: list[dict[str, Any]] = [{} for _ in range(CASES)]
    for key, values in CHOICES.items():
        column = [values[i % len(values)] for i in range(CASES)]
        chance.shuffle(column)
        for mixture, value in zip(mixtures, column, strict=True):
            mixture[key] = value
    lean = {"training.precision": multiplied()[-1], "hardware.attention": "blocks"}
    small = [presets.find(name).config.replace({**FIXED, **lean}) for name in ("NANO", "MICRO", "TINY")]
    return [*small, *(Config().replace({**FIXED, **_consistent(mixture)}) for mixture in mixtures)]


def _consistent(mixture: dict[str, Any]) -> dict[str, Any]:
    """Without the settings that are for another family, format or optimizer: they keep their defaults."""
    lonely = mixture["training.precision"] == "bf16" and mixture["training.optimizer_type"] != "muon"
    return {key: value for key, value in mixture.items()
            if settings.settings()[key].family in ("", mixture["model.family"])
            and (key != "training.master_weights" or lonely)}


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each case; the process is measured for every sixth."""
    _, folder = sample.ready(home, Config().replace(FIXED))
    for number, config in enumerate(effort.few(grid(), 8)):
        yield row(config, folder, whole_process=number % PROCESS_EVERY == 0)


def row(config: Config, folder: Path, *, whole_process: bool) -> Row:
    """Forecast and truth of one case, in bytes and as relative errors (0.02: the forecast is 2 % too high)."""
    forecast = memory.estimate(config, precision=hardware.choose_precision(config.training.precision, PROCESSOR))
    allocator = forecast.total_bytes - forecast.items["runtime"]
    peak = measure.peak_bytes(config, Dataset.open(folder))
    result: Row = {
        "case": describe(config),
        "forecast_bytes": allocator,
        "peak_bytes": peak.peak_bytes,
        "error": allocator / peak.peak_bytes - 1,
        "forecast_items": forecast.items,
        "peak_items": peak.items,
        "settings": {key: config.get(key) for key in CHOICES},
    }
    if whole_process:
        process = in_fresh_process(process_peak_bytes, config, folder)
        result |= {"process_forecast_bytes": forecast.total_bytes, "process_bytes": process,
                   "process_error": forecast.total_bytes / process - 1}
    return result


def process_peak_bytes(config: Config, folder: Path) -> int:
    """The most this process has held after a few steps; to be asked in a fresh one."""
    child.build("atlas", config, folder)
    return child.run(PROCESS_STEPS).peak_process_bytes


def describe(config: Config) -> str:
    """What a case is, short enough for a line."""
    m, t = config.model, config.training
    marks = {f"{m.kv_heads} of {m.num_heads} heads": m.kv_heads < m.num_heads, "dropout": m.dropout,
             "checkpointing": t.gradient_checkpointing, "untied": not m.tie_weights, "no masters": not t.master_weights}
    words = (m.family, t.optimizer_type, t.precision, config.hardware.attention,
             *(mark for mark, holds in marks.items() if holds))
    return (f"{m.num_layers} x {m.hidden_size}, {t.batch_size} x {m.max_seq_len}, "
            f"{people.short_count(m.vocab_size)} tokens, {' '.join(words)}")


def summary(table: list[Row]) -> str:
    """The errors of all cases in a sentence."""
    sentences = []
    for key, what in (("error", "allocator"), ("process_error", "process")):
        errors = sorted((abs(row[key]), row["case"]) for row in table if key in row)
        worst, case = errors[-1]
        sentences.append(f"{what}: {len(errors)} cases, median error {median(e for e, _ in errors):.1%}, "
                         f"worst {worst:.1%} ({case})")
    return "\n".join(sentences)


def _signed(error: float) -> str:
    return f"{error:+.1%}"


SECTION = Section("memory", "Memory: the forecast against the peak of a training step", (
    Column("case", "layers x width, batch x context, vocabulary"),
    Column("forecast_bytes", "forecast", people.size),
    Column("peak_bytes", "allocator's peak", people.size),
    Column("error", "error", _signed),
    Column("process_forecast_bytes", "forecast", people.size),
    Column("process_bytes", "process's peak", people.size),
    Column("process_error", "error", _signed),
), rows, summary)
