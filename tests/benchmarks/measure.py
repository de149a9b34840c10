"""The true peak of torch's allocator over one training step, block by block. Not the process's memory.

The profiler is told of every allocation, also of those that kernels make for themselves, which neither a dispatch
mode nor fake tensors see. The price: the steps are really computed.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.text.dataset import Dataset
from atlas_core.training.trainer import Trainer

LAST_STEP = "the measured step"


@dataclass(frozen=True)
class Peak:
    """The moment of a step at which most memory is taken, in bytes."""

    peak_bytes: int
    earlier_bytes: int      # the highest moment before that step: building, first step
    kept_bytes: int         # held before the step and still after it
    items: dict[str, int]   # what is held at the peak: known tensors by role, others by the operator that took them


@dataclass(frozen=True)
class Block:
    """A piece of memory that is in use."""

    bytes: int
    operator: str


def peak_bytes(config: Config, dataset: Dataset, *, steps: int = 2) -> Peak:
    """Build a trainer of `config` and take the peak of the last of `steps` steps: the first makes what later ones keep.

    The vocabulary may be larger than the dataset's: embedding rows that no token asks for take as much room.
    """
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        trainer = Trainer(config, dataset, Path("no-run"), Control())
        for _ in range(steps - 1):
            trainer.step()
        with record_function(LAST_STEP):
            trainer.step()
    return _read(recorded, _roles(trainer))


def _read(recorded: profile, roles: dict[int, str]) -> Peak:
    """Replay every allocation in the order of time, up to the end of the measured step."""
    assert recorded.profiler is not None
    assert recorded.profiler.kineto_results is not None
    events = list(_walk(recorded.profiler.kineto_results.experimental_event_tree()))
    (step,) = [event for event in events if event.name == LAST_STEP]
    allocations = sorted((e for e in events if e.name == "[memory]"), key=lambda e: e.start_time_ns)
    held: dict[int, Block] = {}
    earlier = _replay([e for e in allocations if e.start_time_ns < step.start_time_ns], held)
    before = dict(held)
    at_peak = _replay([e for e in allocations if step.start_time_ns <= e.start_time_ns <= step.end_time_ns], held)
    kept = {pointer: block for pointer, block in held.items() if before.get(pointer) is block}
    return Peak(_bytes(at_peak), _bytes(earlier), _bytes(kept), _itemised(at_peak, before, roles))


def _replay(allocations: list[Any], held: dict[int, Block]) -> dict[int, Block]:
    """Bring `held` (by address) up to date; what was held at the highest moment on the way."""
    total = highest = _bytes(held)
    at_peak = dict(held)
    for event in allocations:
        pointer, size = event.extra_fields.ptr, event.extra_fields.alloc_size
        if size > 0:
            held[pointer] = Block(size, _operator(event))
            total += size
        elif pointer in held:  # else it was taken before we looked, and is none of ours
            total -= held.pop(pointer).bytes
        if total > highest:
            highest, at_peak = total, dict(held)
    return at_peak


def _bytes(held: dict[int, Block]) -> int:
    return sum(block.bytes for block in held.values())


def _itemised(held: dict[int, Block], before: dict[int, Block], roles: dict[int, str]) -> dict[str, int]:
    """Bytes by role, the largest first."""
    items: dict[str, int] = defaultdict(int)
    for pointer, block in held.items():
        kept = before.get(pointer) is block
        unnamed = f"{'kept' if kept else 'step'}: {block.operator}"
        items[roles.get(pointer, unnamed) if kept else unnamed] += block.bytes
    return dict(sorted(items.items(), key=lambda item: -item[1]))


def _roles(trainer: Trainer) -> dict[int, str]:
    """Where the tensors lie that have a name. Masters are what the optimizer moves where the network has copies."""
    network = list(trainer.model.parameters())
    optimizers = trainer.optimizers
    moved = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    gradients = [getattr(p, name, None) for p in (*network, *moved) for name in ("grad", "main_grad")]
    moments = [value for optimizer in optimizers for state in optimizer.state.values() for value in state.values()]
    named = {"masters": moved, "weights": network, "gradients": gradients, "optimizer": moments}
    return {tensor.untyped_storage().data_ptr(): role for role, tensors in named.items() for tensor in tensors
            if isinstance(tensor, torch.Tensor)}


def _walk(nodes: list[Any]) -> Iterator[Any]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children)


def _operator(event: Any) -> str:
    """The operator of the network behind an allocation: the outermost one inside the step."""
    name = "outside any operator"
    while (event := event.parent) is not None and event.name != LAST_STEP:
        name = event.name
    return name
