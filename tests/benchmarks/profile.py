"""Where the time of a training step goes, by the profiler: what is left to win beside the products."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from atlas_core import format as people
from atlas_core.config import Config
from tests.benchmarks import contestants, sample
from tests.benchmarks.contest import WARM_UP_STEPS, in_fresh_process
from tests.benchmarks.section import Column, Effort, Row, Section
from tests.benchmarks.throughput import CHANGES, contest_config, shape

STEPS = {"NANO": 20, "MICRO": 10}  # of larger networks two tell enough
FEW_STEPS = 2
REST = "the rest"
PARTS = {  # by the names torch gives its operators; what is in none is the rest
    "products": ("aten::mm", "aten::addmm", "aten::addmm_"),
    "attention": ("aten::bmm", "aten::baddbmm_", "aten::_softmax_backward_data",
                  "aten::_scaled_dot_product_flash_attention_for_cpu",
                  "aten::_scaled_dot_product_flash_attention_for_cpu_backward"),
    "softmax": ("aten::_softmax",),  # of attention and of the output layer
    "activation": ("aten::gelu", "aten::gelu_backward", "aten::silu", "aten::silu_backward"),
    "optimizer": ("aten::_fused_adamw_", "aten::linalg_vector_norm", "aten::_foreach_norm"),
}


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each preset: the shares of its step."""
    for preset in effort.matching(effort.few(list(CHANGES))):
        config, dataset = sample.ready(home, contest_config(preset))
        yield {"preset": preset, "shape": shape(config),
               **in_fresh_process(shares, config, dataset, STEPS.get(preset, FEW_STEPS))}


def shares(config: Config, folder: Path, steps: int) -> dict[str, float]:
    """What share of `steps` training steps each of `PARTS` takes on the processor, and the rest."""
    step = contestants.atlas(config, folder)
    for _ in range(WARM_UP_STEPS):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        for _ in range(steps):
            step()
    times = {event.key: event.self_cpu_time_total for event in watched.key_averages()}
    found = {part: sum(times.get(name, 0) for name in names) / sum(times.values()) for part, names in PARTS.items()}
    return {**found, REST: 1 - sum(found.values())}


SECTION = Section("profile", "Where the time of a training step goes", (
    Column("preset", "preset"),
    Column("shape", "layers x width, batch x context"),
    *(Column(part, part, people.percent) for part in (*PARTS, REST)),
), rows)
