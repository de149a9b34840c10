"""Where the time of a training step goes, by the profiler: what is left to win beside the products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from atlas_core import format as people
from atlas_core.config import Config
from tests.benchmarks import contestants, sample
from tests.benchmarks.contest import WARM_UP_STEPS, in_fresh_process
from tests.benchmarks.section import Column, Effort, Row, Section
from tests.benchmarks.throughput import CHANGES, contest_config, shape

STEPS = {"NANO": 20, "MICRO": 10}  # of larger networks two tell enough
FEW_STEPS = 2
REST = "the rest"
ACTIVATION = "activation"  # GELU is many operators, which others use too
PARTS = {  # by the names torch gives its operators; what is in none is the rest
    "products": ("aten::mm", "aten::addmm", "aten::addmm_"),
    "attention": ("aten::bmm", "aten::baddbmm_", "aten::_softmax_backward_data",
                  "aten::_scaled_dot_product_flash_attention_for_cpu",
                  "aten::_scaled_dot_product_flash_attention_for_cpu_backward"),
    "softmax": ("aten::_softmax",),  # of attention and of the output layer
    ACTIVATION: (ACTIVATION, "aten::silu", "aten::silu_backward"),
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
    from atlas_core.model import lean

    seen = {name: lean.Activation(*map(_named, activation)) for name, activation in lean.ACTIVATIONS.items()}
    with patch.dict(lean.ACTIVATIONS, seen):
        step = contestants.atlas(config, folder)
        for _ in range(WARM_UP_STEPS):
            step()
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            for _ in range(steps):
                step()
    times: Counter[str] = Counter()
    for event in watched.events():
        times[_part(event)] += event.self_cpu_time_total
    return {part: times[part] / times.total() for part in (*PARTS, REST)}


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which the profiler sees as `ACTIVATION`."""
    def seen(*arguments: Any) -> Any:
        with record_function(ACTIVATION):
            return function(*arguments)

    return seen


def _part(event: FunctionEvent | None) -> str:
    """Of which part it is, itself or what called it."""
    while event is not None:
        for part, names in PARTS.items():
            if event.name in names:
                return part
        event = event.cpu_parent
    return REST


SECTION = Section("profile", "Where the time of a training step goes", (
    Column("preset", "preset"),
    Column("shape", "layers x width, batch x context"),
    *(Column(part, part, people.percent) for part in (*PARTS, REST)),
), rows)
