"""Where the time of a training step goes, operator by operator: what is left to win beside the products."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch.utils._python_dispatch import TorchDispatchMode

from atlas_core import format as people
from atlas_core.config import Config
from tests.benchmarks import contestants, sample
from tests.benchmarks.contest import WARM_UP_STEPS, in_fresh_process
from tests.benchmarks.section import Column, Effort, Row, Section
from tests.benchmarks.throughput import CHANGES, contest_config, shape

STEPS = {"NANO": 40, "MICRO": 20}  # of larger networks a few tell enough
FEW_STEPS = 4
REST = "the rest"
ACTIVATION = "activation"  # GELU is many operators, which others use too
PARTS = {  # by the names torch gives its operators; what is in none is the rest
    "products": ("mm", "addmm", "addmm_", "_linear_pointwise"),
    "attention": ("bmm", "baddbmm", "_softmax_backward_data", "_scaled_dot_product_flash_attention_for_cpu",
                  "_scaled_dot_product_flash_attention_for_cpu_backward"),
    "softmax": ("softmax", "_softmax"),  # of attention and of the output layer
    ACTIVATION: (),
    "norms": ("native_layer_norm", "native_layer_norm_backward"),
    "optimizer": ("_fused_adamw_", "_foreach_norm", "_foreach_mul_", "_foreach_copy_", "_foreach_zero_"),
}
PART_OF = {name: part for part, names in PARTS.items() for name in names}


def rows(home: Path, effort: Effort) -> Iterator[Row]:
    """One row for each preset: the shares of its step."""
    for preset in effort.matching(effort.few(list(CHANGES))):
        config, dataset = sample.ready(home, contest_config(preset))
        yield {"preset": preset, "shape": shape(config),
               **in_fresh_process(shares, config, dataset, STEPS.get(preset, FEW_STEPS))}


def shares(config: Config, folder: Path, steps: int) -> dict[str, float]:
    """What share of the operators' time in `steps` training steps each of `PARTS` takes, and the rest of them."""
    from atlas_core.model import lean

    watch = _Watch()
    seen = {name: lean.Activation(*map(watch.of_activation, both)) for name, both in lean.ACTIVATIONS.items()}
    with patch.dict(lean.ACTIVATIONS, seen):
        step = contestants.atlas(config, folder)
        for _ in range(WARM_UP_STEPS):
            step()
        with watch:
            for _ in range(steps):
                step()
    return {part: watch.seconds[part] / watch.seconds.total() for part in (*PARTS, REST)}


class _Watch(TorchDispatchMode):
    """Times each operator as torch calls it.

    Torch's profiler would see mostly itself: beside it a step of MICRO touches 30 000 fresh pages instead of one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: Counter[str] = Counter()
        self.part: str | None = None  # of everything that is computed now

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        started = time.perf_counter()
        result = operator(*args, **(kwargs or {}))
        self.seconds[self.part or PART_OF.get(operator.overloadpacket.__name__, REST)] += time.perf_counter() - started
        return result

    def of_activation(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, all of whose operators count as `ACTIVATION`."""
        def seen(*arguments: Any) -> Any:
            self.part = ACTIVATION
            try:
                return function(*arguments)
            finally:
                self.part = None

        return seen


SECTION = Section("profile", "Where the time of a training step's operators goes", (
    Column("preset", "preset"),
    Column("shape", "layers x width, batch x context"),
    *(Column(part, part, people.percent) for part in (*PARTS, REST)),
), rows)
