"""Muon (Jordan et al. 2024) for processors that would have to imitate bf16, in which torch's own multiplies always."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class WideMuon(torch.optim.Muon):
    """`torch.optim.Muon` with products in fp32. Options and state are torch's, so checkpoints serve both."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient. Raises `ValueError` for a `closure`, which nobody here gives."""
        if closure is not None:
            raise ValueError("a closure is not called here")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, rate = self.state[parameter], group["lr"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(momentum, group["momentum"])  # Nesterov's
        way = orthogonal_(ahead, group["ns_coefficients"], group["ns_steps"], group["eps"])
        parameter.mul_(1 - rate * group["weight_decay"])
        parameter.add_(way, alpha=-rate * 0.2 * math.sqrt(max(parameter.shape)))  # a step as long as AdamW's


def orthogonal_(matrix: Tensor, coefficients: Sequence[float], steps: int, eps: float) -> Tensor:
    """About U V^T of `matrix` = U S V^T, by Newton and Schulz's iteration with a quintic; `matrix` is used up."""
    a, b, c = coefficients
    is_high = matrix.size(0) > matrix.size(1)
    x = matrix.T if is_high else matrix  # the smaller products are those of the rows
    x.div_(x.norm().clamp(min=eps))
    for _ in range(steps):
        products = x @ x.T
        polynomial = torch.addmm(products, products, products, beta=b, alpha=c)
        x = torch.addmm(x, polynomial, x, beta=a)
    return x.T if is_high else x
