"""Muon (Jordan et al. 2024) for matrices of which some are joined from several.

`torch.optim.Muon` takes a joined matrix for one, always multiplies in bf16, which most processors have to imitate, and
takes two to three times as many operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# a x + b x^3 + c x^5, one after the other: each brings what those before it make of singular values in [0.05, 1] as
# near to 1 as such a polynomial can (Amsel et al. 2025, "The Polar Express"), in the end to 0.78 to 1.22. Jordan's one
# polynomial needs five steps to come to 0.68 to 1.13.
POLYNOMIALS = ((6.7524, -18.351, 13.2633), (2.5379, -1.8747, 0.4413))
SMALLEST_NORM = 1e-15


class Muon(Optimizer):
    """Moves nearly as `torch.optim.Muon` does with steps as long as AdamW's, by other polynomials.

    parts: for each matrix, of how many rows those are that it is joined from; each is turned for itself. Without it
    each matrix is one. interval: each matrix moves every so many steps, by the momentum of them all and by the sum of
    their learning rates; they take turns, so that the work is spread over the steps. products: the type that directions
    are multiplied in, fp32 or bf16, which bring singular values equally near to 1.
    """

    def __init__(self, matrices: Sequence[nn.Parameter], *, lr: float, weight_decay: float, momentum: float = 0.95,
                 parts: Sequence[Sequence[int]] | None = None, interval: int = 1,
                 products: torch.dtype = torch.float32) -> None:
        self._products = products
        parts = parts or [(len(matrix),) for matrix in matrices]
        super().__init__([{"params": matrices, "parts": parts}],
                         {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "interval": interval})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient and whose turn it is.

        Raises `ValueError` for a `closure`, which nobody here gives.
        """
        if closure is not None:
            raise ValueError("a closure is not called here")
        for group in self.param_groups:
            for turn, (parameter, rows) in enumerate(zip(group["params"], group["parts"], strict=True)):
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, rows, group, turn)

    def _move(self, parameter: Tensor, gradient: Tensor, rows: Sequence[int], group: dict[str, Any], turn: int) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        state["steps"] = state.get("steps", 0) + 1
        state["owed"] = rate = state.get("owed", 0.0) + group["lr"]
        if (state["steps"] + turn) % group["interval"]:
            return
        state["owed"] = 0.0
        ahead = gradient.lerp(momentum, group["momentum"])  # Nesterov's
        parameter.mul_(1 - rate * group["weight_decay"])
        for part, direction in zip(parameter.split(rows), ahead.split(rows), strict=True):
            part.add_(orthogonal_(direction, self._products), alpha=-rate * 0.2 * math.sqrt(max(part.shape)))


def orthogonal_(matrix: Tensor, products: torch.dtype = torch.float32) -> Tensor:
    """About U V^T of `matrix` = U S V^T, of type `products`, by Newton and Schulz's iteration with quintics.

    `matrix` is used up.

    A step takes X to P X with P = a + b G + c G^2 of G = X X^T, and so G to P G P. Only the small square G is iterated,
    and X multiplied once by the product of all P: a third less work for a matrix three times as long as wide.

    The largest singular value must not be above 1. Most divide X by the root of the sum of all s^2, which can be many
    times that value; the eighth root of the sum of all s^8 is near to it, and the length of G^2 tells it for nothing.
    """
    is_long = matrix.size(0) > matrix.size(1)
    matrix.div_(matrix.norm().clamp(min=SMALLEST_NORM))  # so that no s^8 vanishes
    x = (matrix.T if is_long else matrix).to(products)
    gram = x @ x.T
    square = gram @ gram
    largest = square.norm(dtype=torch.float32).sqrt().clamp(min=SMALLEST_NORM)  # of the s^2
    first = _polynomial(gram.div_(largest), square.div_(largest.square()), POLYNOMIALS[0])
    gram = first @ gram @ first
    second = _polynomial(gram, gram @ gram, POLYNOMIALS[1])
    moved = (second @ first).div_(largest.sqrt()) @ x
    return moved.T if is_long else moved


def _polynomial(gram: Tensor, square: Tensor, coefficients: tuple[float, float, float]) -> Tensor:
    """a + b `gram` + c `square`; `square`, which is that of `gram`, is used up."""
    a, b, c = coefficients
    square.mul_(c).add_(gram, alpha=b).diagonal().add_(a)
    return square
