"""How the cost grows: one setting at a time, around a middling shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas_core import format as people
from atlas_core.config import Config
from tests.benchmarks import sample
from tests.benchmarks.ceiling import share
from tests.benchmarks.contest import contest
from tests.benchmarks.flops import training_flops
from tests.benchmarks.section import Column, Effort, Row, Section

TOKENIZER = {"tokenizer.name": "bpe:512"}  # below every vocabulary here; which rows are asked for costs nothing
MIDDLE: dict[str, Any] = {
    "model.hidden_size": 256, "model.num_layers": 4, "model.num_heads": 4, "model.max_seq_len": 256,
    "model.vocab_size": 4096, "model.dropout": 0.0, "training.batch_size": 8,
    "training.gradient_accumulation_steps": 1,
}
GROWING: dict[str, tuple[int, ...]] = {
    "training.batch_size": (1, 4, 8, 16, 32),
    "model.max_seq_len": (64, 128, 256, 512, 1024),
    "model.num_layers": (1, 2, 4, 8, 16),
    "model.hidden_size": (64, 128, 256, 512, 1024),
    "model.vocab_size": (1024, 4096, 16384, 50261),
}
SHARE_OF_A_TURN = 0.25  # many cases, so shorter turns than elsewhere


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each value of each setting."""
    shorter = dataclasses.replace(effort, seconds=effort.seconds * SHARE_OF_A_TURN)
    base, dataset = sample.ready(home, Config().replace(TOKENIZER))
    for key, values in effort.few(list(GROWING.items())):
        for value in effort.few(values, 2):
            config = base.replace({**MIDDLE, key: value})
            results = contest(("atlas", "product"), config, dataset, shorter)
            seconds = results["atlas"].seconds_per_step
            yield {
                "setting": key,
                "value": value,
                "seconds_per_step": seconds,
                "tokens_per_s": config.tokens_per_step / seconds,
                "share": share(training_flops(config), results["atlas"], results["product"]),
                "peak_process_bytes": results["atlas"].peak_process_bytes,
            }


SECTION = Section("scaling", "Cost as one setting grows (else 4 layers of 256, 8 windows of 256, 4 096 tokens)", (
    Column("setting", "setting"),
    Column("value", "value", people.count),
    Column("seconds_per_step", "a step", lambda seconds: f"{1000 * seconds:.0f} ms"),
    Column("tokens_per_s", "tokens/s", people.count),
    Column("share", "share of the matrix ceiling", people.percent),
    Column("peak_process_bytes", "peak memory", people.size),
), rows)
