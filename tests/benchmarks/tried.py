"""What might make training faster and does not, or costs more than it brings: each beside the trainer as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import sample
from tests.benchmarks.contest import contest
from tests.benchmarks.contestants import IDEAS
from tests.benchmarks.section import Column, Effort, Row, Section
from tests.benchmarks.throughput import contest_config

AS_IT_IS = "atlas"
PRESETS = ("MICRO", "TINY")


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each preset and idea."""
    for preset in effort.matching(effort.few(PRESETS)):
        config, dataset = sample.ready(home, contest_config(preset))
        results = contest((AS_IT_IS, *effort.few(list(IDEAS), 2)), config, dataset, effort)
        ours = results.pop(AS_IT_IS)
        for idea, result in results.items():
            yield {
                "preset": preset,
                "idea": idea,
                "times_as_fast": result.times_as_fast_as(ours),
                "share_of_memory": result.peak_process_bytes / ours.peak_process_bytes,
            }


SECTION = Section("tried", "What was tried: beside the trainer as it is, in turn", (
    Column("preset", "preset"),
    Column("idea", "idea"),
    Column("times_as_fast", "speed", lambda ratio: f"{ratio:.2f} x"),
    Column("share_of_memory", "peak memory", lambda ratio: f"{ratio:.2f} x"),
), rows)
