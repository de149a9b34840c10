"""The optimizers, as the settings wish them. No loop, no schedule."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from atlas_core.config import Training
from atlas_core.training.lowmem import LeanAdamW
from atlas_core.training.muon import Muon

WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")  # beside `step`, which needs no gradients


def build_optimizers(named: Mapping[str, nn.Parameter], t: Training, precision: str = "fp32") -> list[Optimizer]:
    """What moves the parameters, each one of them moved by one optimizer.

    AdamW (Loshchilov and Hutter 2019); with "muon" the blocks' matrices go to Muon (Jordan et al. 2024) instead,
    whose steps are scaled to the size of AdamW's (Liu et al. 2025), so that one learning rate serves both. Only
    matrices decay, for norms and biases have no size to shrink. `precision` is what the network computes in.
    """
    muons = {}
    if t.optimizer_type == "muon":
        muons = {name: p for name, p in named.items() if name.startswith("blocks.") and p.dim() == 2}
    optimizers: list[Optimizer] = [_adamw([p for name, p in named.items() if name not in muons], t)]
    if muons:
        optimizers.append(without_compiler(Muon)(
            list(muons.values()), lr=t.learning_rate, weight_decay=t.weight_decay, momentum=t.beta1,
            parts=[_parts(name, matrix) for name, matrix in muons.items()], interval=t.muon_interval,
            products=torch.bfloat16 if precision == "bf16" else torch.float32))
    return optimizers


def _parts(name: str, matrix: nn.Parameter) -> Sequence[int]:
    """The rows of the matrices that are joined to this one: queries, keys and values are."""
    rows, columns = matrix.shape
    return (columns, *[(rows - columns) // 2] * 2) if name.endswith("attention.qkv.weight") else (rows,)


@cache
def without_compiler(kind: type[Optimizer]) -> Any:
    """`kind` with its methods as they are written.

    Torch wraps them to keep its compiler off them, and each wrapper loads the compiler for that: 1.5 to 2 s before the
    first step and 84 MB (torch 2.13 on a processor), also where nothing is compiled.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(inspect.unwrap(kind.step))})


def _adamw(parameters: Sequence[nn.Parameter], t: Training) -> Optimizer:
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": t.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    eight_bits = t.optimizer_type == "adamw8bit"
    if eight_bits or not t.master_weights:
        return without_compiler(LeanAdamW)(groups, lr=t.learning_rate, betas=(t.beta1, t.beta2), eight_bits=eight_bits,
                                           seed=t.seed)
    fused = parameters[0].device.type in ("cpu", "cuda")  # one pass over memory where the kernel exists
    return without_compiler(torch.optim.AdamW)(groups, lr=t.learning_rate, betas=(t.beta1, t.beta2), fused=fused)


def load_optimizers(optimizers: Sequence[Optimizer], states: Sequence[dict[str, Any]]) -> None:
    """Take the moments from a checkpoint; decay and betas stay as they are set now."""
    for optimizer, state in zip(optimizers, states, strict=True):
        wished = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        # AdamW keeps its count of steps where "fused" says, which is for the device of here to decide.
        saved = [group | ({"fused": here["fused"]} if "fused" in here else {})
                 for group, here in zip(state["param_groups"], wished, strict=True)]
        optimizer.load_state_dict({**state, "param_groups": saved})
        for group, options in zip(optimizer.param_groups, wished, strict=True):
            group.update(options)


def set_learning_rate(optimizers: Sequence[Optimizer], rate: float, *, beside_muon: float = 1.0) -> None:
    """Of all of them; where Muon is among them, the others have `beside_muon` times the rate."""
    has_muon = any(isinstance(optimizer, Muon) for optimizer in optimizers)
    for optimizer in optimizers:
        own = rate * beside_muon if has_muon and not isinstance(optimizer, Muon) else rate
        for group in optimizer.param_groups:
            group["lr"] = own
