"""Curves of training in little memory, side by side with those of AdamW on fp32 masters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from atlas_core import presets
from tests.benchmarks import learners, sample
from tests.benchmarks.formats import can_train, multiplied
from tests.benchmarks.section import Column, Effort, Row, Section

STEPS, STEPS_BETWEEN = 200, 50
SEEDS = (1337, 1)  # how far chance alone carries
# NANO's step of eight windows, two at a time: so bf16 gradients are summed, too. At 5e-3, once NANO's rate, chance
# carries further than any optimizer.
COMMON: dict[str, Any] = {
    "training.optimizer_type": "adamw", "training.precision": multiplied()[-1], "training.learning_rate": 2e-3,
    "training.batch_size": 2, "training.gradient_accumulation_steps": 4,
    "evaluation.eval_batches": 60, "sampling.interval": 0,
}
KINDS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "adamw8bit": {"training.optimizer_type": "adamw8bit"},
    "adamw8bit, no masters": {"training.optimizer_type": "adamw8bit", "training.master_weights": False,
                              "training.precision": "bf16"},
}


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each validation, of the same 15 000 tokens of held-out text. The runs go on in turn."""
    steps, between = (6, 3) if effort.quick else (STEPS, STEPS_BETWEEN)
    config, dataset = sample.ready(home, presets.find("NANO").config.replace(COMMON))
    config = config.replace({"training.max_steps": steps, "training.warmup_steps": steps // 10,
                             "evaluation.eval_interval": between})
    with TemporaryDirectory() as runs:
        field = {kind: its for kind, changes in KINDS.items() if can_train(its := config.replace(changes))}
        curves = {(kind, seed): learners.atlas(its.replace({"training.seed": seed}), dataset,
                                               Path(runs, f"{number}-{seed}"))
                  for number, (kind, its) in enumerate(field.items()) for seed in effort.few(SEEDS)}
        for points in zip(*curves.values(), strict=True):
            found = dict(zip(curves, points, strict=True))
            yield {"step": points[0].step,
                   **{kind: [found[kind, seed].bits_per_byte for seed in effort.few(SEEDS)] for kind in field}}


SECTION = Section("lowmem", "Bits per byte in little memory, with each seed", (
    Column("step", "step"),
    *(Column(kind, kind, lambda bits: "  ".join(f"{value:.3f}" for value in bits)) for kind in KINDS),
), rows)
