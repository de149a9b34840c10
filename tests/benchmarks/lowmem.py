"""Curves of training in little memory, side by side with those of AdamW on fp32 masters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from atlas_core import presets
from tests.benchmarks import learners, sample
from tests.benchmarks.section import Column, Effort, Row, Section

STEPS, STEPS_BETWEEN = 250, 50
# NANO's step of eight windows, two at a time: so bf16 gradients are summed, too.
COMMON: dict[str, Any] = {
    "training.optimizer_type": "adamw", "training.precision": "bf16",
    "training.batch_size": 2, "training.gradient_accumulation_steps": 4,
    "evaluation.eval_batches": 60, "sampling.interval": 0,
}
REFERENCE = "adamw"
KINDS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    "adamw, other seed": {"training.seed": 1},  # how far chance alone carries
    "adamw8bit": {"training.optimizer_type": "adamw8bit"},
    "adamw8bit, no masters": {"training.optimizer_type": "adamw8bit", "training.master_weights": False},
    "adamw, no masters": {"training.master_weights": False},
}


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each validation, of the same 15 000 tokens of held-out text. The runs go on in turn."""
    steps, between = (6, 3) if effort.quick else (STEPS, STEPS_BETWEEN)
    config, dataset = sample.ready(home, presets.find("NANO").config.replace(COMMON))
    config = config.replace({"training.max_steps": steps, "training.warmup_steps": steps // 10,
                             "evaluation.eval_interval": between})
    with TemporaryDirectory() as runs:
        curves = [learners.atlas(config.replace(changes), dataset, Path(runs, str(number)))
                  for number, changes in enumerate(KINDS.values())]
        for points in zip(*curves, strict=True):
            yield {"step": points[0].step,
                   **{kind: point.bits_per_byte for kind, point in zip(KINDS, points, strict=True)}}


SECTION = Section("lowmem", "Bits per byte of the held-out plays, NANO in little memory", (
    Column("step", "step"),
    *(Column(kind, kind, lambda bits: f"{bits:.3f}") for kind in KINDS),
), rows)
