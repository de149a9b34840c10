"""Training tokens/s, memory and page faults against `transformers` GPT-2, shape by shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas_core import format as people
from atlas_core import presets
from atlas_core.config import Config
from tests.benchmarks import sample
from tests.benchmarks.contest import contest
from tests.benchmarks.section import Column, Effort, Row, Section

CONTESTANTS = ("atlas", "transformers", "transformers_best")

# What makes the work the same for all.
EQUAL: dict[str, Any] = {"model.family": "gpt2", "model.num_kv_heads": 0, "model.dropout": 0.0,
                         "model.tie_weights": True, "training.optimizer_type": "adamw",
                         "training.gradient_checkpointing": False}
# The shapes are the presets'. TINY's batch is what one pass computes; SMALL's 24 x 1 024 would take minutes.
CHANGES: dict[str, dict[str, Any]] = {
    "NANO": {},
    "MICRO": {},
    "TINY": {"training.gradient_accumulation_steps": 1},
    "SMALL": {"training.gradient_accumulation_steps": 1, "training.batch_size": 2, "model.max_seq_len": 512},
}


def contest_config(preset: str) -> Config:
    """A preset as every contestant can train it, in a batch of at most a few seconds."""
    return presets.find(preset).config.replace({**EQUAL, **CHANGES[preset]})


def shape(config: Config) -> str:
    """Layers x width, batch x context."""
    m = config.model
    return f"{m.num_layers} x {m.hidden_size}, {config.training.batch_size} x {m.max_seq_len}"


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each preset and contestant."""
    for preset in effort.matching(effort.few(list(CHANGES))):
        config, dataset = sample.ready(home, contest_config(preset))
        results = contest(CONTESTANTS, config, dataset, effort)
        ours = results["atlas"]
        for kind, result in results.items():
            yield {
                "preset": preset,
                "shape": shape(config),
                "contestant": kind,
                "tokens_per_s": config.tokens_per_step / result.seconds_per_step,
                "atlas_times_as_fast": ours.times_as_fast_as(result),
                "peak_process_bytes": result.peak_process_bytes,
                "atlas_share_of_memory": ours.peak_process_bytes / result.peak_process_bytes,
                "page_faults_per_step": result.page_faults_per_step,
            }


SECTION = Section("throughput", "Training against transformers' GPT-2 (dropout 0), in turn", (
    Column("preset", "preset"),
    Column("shape", "layers x width, batch x context"),
    Column("contestant", "contestant"),
    Column("tokens_per_s", "tokens/s", people.count),
    Column("atlas_times_as_fast", "Atlas is", lambda ratio: f"{ratio:.2f} x"),
    Column("peak_process_bytes", "peak memory", people.size),
    Column("atlas_share_of_memory", "Atlas takes", lambda ratio: f"{ratio:.2f} x"),
    Column("page_faults_per_step", "page faults a step", people.count),
), rows)
