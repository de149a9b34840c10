"""The optimizers, as the settings wish them. No loop, no schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from atlas_core.config import Training
from atlas_core.training.lowmem import LeanAdamW
from atlas_core.training.muon import WideMuon


def build_optimizers(named: Mapping[str, nn.Parameter], t: Training) -> list[Optimizer]:
    """What moves the parameters, each one of them moved by one optimizer.

    AdamW (Loshchilov and Hutter 2019); with "muon" the blocks' matrices go to Muon (Jordan et al. 2024) instead,
    whose steps are scaled to the size of AdamW's (Liu et al. 2025), so that one learning rate serves both. Only
    matrices decay, for norms and biases have no size to shrink.
    """
    muons = []
    if t.optimizer_type == "muon":
        muons = [p for name, p in named.items() if name.startswith("blocks.") and p.dim() == 2]
    rest = {name: p for name, p in named.items() if not any(p is muon for muon in muons)}
    optimizers: list[Optimizer] = [_adamw(rest, t)]
    if muons:
        optimizers.append(_muon(muons, t))
    return optimizers


def _adamw(named: Mapping[str, nn.Parameter], t: Training) -> Optimizer:
    """A group for each rate and decay. Parameters keep their order, by which a checkpoint knows them."""
    matrices = [(name, p) for name, p in named.items() if p.dim() >= 2]
    groups: list[dict[str, Any]] = [
        {"params": [p for _, p in members], "weight_decay": t.weight_decay,
         "times": 1.0 if in_block else t.embedding_rate}
        for in_block, members in groupby(matrices, key=lambda member: member[0].startswith("blocks."))]
    groups.append({"params": [p for p in named.values() if p.dim() < 2], "weight_decay": 0.0, "times": 1.0})
    parameters = [p for group in groups for p in group["params"]]
    eight_bits = t.optimizer_type == "adamw8bit"
    if eight_bits or not t.master_weights:
        return LeanAdamW(groups, lr=t.learning_rate, betas=(t.beta1, t.beta2), eight_bits=eight_bits, seed=t.seed)
    fused = parameters[0].device.type in ("cpu", "cuda")  # one pass over memory where the kernel exists
    return torch.optim.AdamW(groups, lr=t.learning_rate, betas=(t.beta1, t.beta2), fused=fused)


def _muon(matrices: Sequence[nn.Parameter], t: Training) -> Optimizer:
    if hasattr(torch.optim, "Muon") and matrices[0].device.type != "cpu":
        return torch.optim.Muon(matrices, lr=t.learning_rate, weight_decay=t.weight_decay,
                                momentum=t.beta1, adjust_lr_fn="match_rms_adamw")
    return WideMuon(matrices, lr=t.learning_rate, weight_decay=t.weight_decay, momentum=t.beta1)


def load_optimizers(optimizers: Sequence[Optimizer], states: Sequence[dict[str, Any]]) -> None:
    """Take the moments from a checkpoint; groups, rates, decay and betas stay as they are set now.

    Raises `ValueError` for moments of other parameters.
    """
    for optimizer, state in zip(optimizers, states, strict=True):
        groups = optimizer.state_dict()["param_groups"]
        if _members(groups) != _members(state["param_groups"]):
            raise ValueError("moments of other parameters")
        optimizer.load_state_dict({**state, "param_groups": groups})


def _members(groups: Sequence[dict[str, Any]]) -> list[int]:
    return [number for group in groups for number in group["params"]]


def set_learning_rate(optimizers: Sequence[Optimizer], rate: float) -> None:
    """`rate`, or as many times that as a group is to have."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("times", 1.0)
