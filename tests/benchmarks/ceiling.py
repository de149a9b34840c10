"""How much of what the machine can multiply ends up in training: each step beside plain matrix products, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from atlas_core import format as people
from tests.benchmarks import sample
from tests.benchmarks.contest import Result, contest
from tests.benchmarks.contestants import PRODUCT_FLOPS
from tests.benchmarks.flops import training_flops
from tests.benchmarks.formats import multiplied
from tests.benchmarks.section import Column, Effort, Row, Section
from tests.benchmarks.throughput import CHANGES, contest_config, shape


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each preset."""
    for preset in effort.matching(effort.few(list(CHANGES))):
        config, dataset = sample.ready(home, contest_config(preset))
        results = contest(("atlas", "product", "product_fp32"), config, dataset, effort)
        flops = training_flops(config)
        yield {
            "preset": preset,
            "shape": shape(config),
            "flops_per_step": flops,
            "flops_per_s": flops / results["atlas"].seconds_per_step,
            "format": multiplied()[-1],
            "ceiling_flops_per_s": PRODUCT_FLOPS / results["product"].seconds_per_step,
            "ceiling_fp32_flops_per_s": PRODUCT_FLOPS / results["product_fp32"].seconds_per_step,
            "share": share(flops, results["atlas"], results["product"]),
        }


def share(flops: int, training: Result, product: Result) -> float:
    """What training reaches of the product's speed: the median of the rounds, each against its neighbour in time."""
    return median(flops / ours.seconds_per_step * theirs.seconds_per_step / PRODUCT_FLOPS
                  for ours, theirs in zip(training.readings, product.readings, strict=True))


def _gigaflops(per_s: float) -> str:
    return people.count(per_s / 1e9)


SECTION = Section("ceiling", "Share of the matrix ceiling measured in the same run", (
    Column("preset", "preset"),
    Column("shape", "layers x width, batch x context"),
    Column("flops_per_step", "GFLOP a step", _gigaflops),
    Column("flops_per_s", "GFLOP/s in training", _gigaflops),
    Column("format", "fastest format"),
    Column("ceiling_flops_per_s", "its product", _gigaflops),
    Column("ceiling_fp32_flops_per_s", "fp32 product as torch comes", _gigaflops),
    Column("share", "share of the fastest", people.percent),
), rows)
