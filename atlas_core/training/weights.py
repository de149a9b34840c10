"""The two faces of the weights: fp32 masters that the optimizer moves, and the model's working copies.

A step's updates are smaller than bf16 can add to a weight, so the sum is kept in fp32 (Micikevicius et al.
2018, "Mixed Precision Training"). Gradients are summed in fp32 too, in memory that is kept from step to step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from atlas_core.model.gpt import AtlasLM
from atlas_core.model.summing import add_to

WORKING_TYPES = {"bf16": torch.bfloat16}  # fp16 overflows without autocast's care: it works on the masters themselves


class Weights:
    """Turns `model` into working copies of `precision`, and holds their masters and gradients.

    Every parameter gets a `main_grad`, its gradient in fp32, but with fp16, where autograd sums them: the loss and the
    embedding add to it directly, so do the products of `model/lean.py` if they are of its type, and the others through
    a hook. With fp32 master and working copy are the same tensor. Without `masters` the working copies are all there
    is, their gradients are of `precision` too, and the optimizer has to round with care (`lowmem.py`).
    """

    def __init__(self, model: AtlasLM, precision: str, *, masters: bool = True) -> None:
        self.model = model
        dtype = WORKING_TYPES.get(precision, torch.float32)
        self.names, self.working = zip(*model.named_parameters(), strict=True)
        self.masters = tuple(_split(p, dtype) if masters else _turn(p, dtype) for p in self.working)
        self.gradients = [torch.zeros_like(master) for master in self.masters]
        self.sums = [_Sum(gradient) for gradient in self.gradients]
        for working, master, total in zip(self.working, self.masters, self.sums, strict=True):
            master.grad = total.gradient
            if precision != "fp16":  # there the scaler scales the loss, and autograd has to see every gradient
                _sum_gradients(working, total)

    def zero_gradients(self) -> None:
        """Forget the gradients, also those that a backward pass left behind which did not come to its end.

        What a hook adds to keeps its old numbers until the next ones take their place.
        """
        for total in self.sums:
            total.forget()
        _zero(total for total in self.sums if not total.is_old)
        for working, gradient in zip(self.working, self.gradients, strict=True):
            if working.grad is not gradient:
                working.grad = None

    def clip(self, limit: float) -> float:
        """Shorten the gradients to the total length `limit` (0: never); returns the length they had."""
        _zero(total for total in self.sums if total.is_old)  # to which nothing came in this step
        norms = torch._foreach_norm(self.gradients, dtype=torch.float32)
        norm = float(torch.linalg.vector_norm(torch.stack(norms)))
        if limit and norm > limit:
            torch._foreach_mul_(self.gradients, limit / norm)
        return norm

    def are_numbers(self) -> bool:
        """Whether no weight is infinite or no number; takes no memory worth speaking of."""
        norms = torch._foreach_norm(self.masters, dtype=torch.float32)
        return bool(torch.isfinite(torch.stack(norms)).all())

    def publish(self) -> None:
        """Bring the working copies up to the masters, after the optimizer has moved those."""
        if self.masters[0] is not self.working[0]:
            with torch.no_grad():
                torch._foreach_copy_(list(self.working), list(self.masters))

    def named(self) -> dict[str, nn.Parameter]:
        """The masters by the names of the model's parameters."""
        return dict(zip(self.names, self.masters, strict=True))

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the numbers that `state` once gave."""
        with torch.no_grad():
            for name, master in self.named().items():
                master.copy_(state[name])
        self.publish()

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of the model: all its numbers."""
        return {name: master.detach() for name, master in self.named().items()}


def _split(working: nn.Parameter, dtype: torch.dtype) -> nn.Parameter:
    """The master of a weight that is `dtype` from now on; itself if it is that already."""
    if dtype == working.dtype:
        return working
    master = nn.Parameter(working.detach().clone())
    _turn(working, dtype)
    return master


def _turn(working: nn.Parameter, dtype: torch.dtype) -> nn.Parameter:
    working.data = working.data.to(dtype)
    return working


class _Sum:
    """The sum of one weight's gradients over the batches of a step."""

    def __init__(self, gradient: Tensor) -> None:
        self.gradient = gradient
        self.came_by_hook = False  # in this step
        self.is_old = False        # whether it still holds the step before

    def add(self, parameter: Tensor) -> None:
        """The hook of a working copy: what autograd left there is taken."""
        if parameter.grad is None:
            return
        if self.is_old:  # a copy costs half of clearing and adding
            self.gradient.copy_(parameter.grad)
        else:
            add_to(self.gradient, parameter.grad)
        parameter.grad, self.came_by_hook, self.is_old = None, True, False

    def forget(self) -> None:
        """What came by the hook will come that way again; everything else is added to, and has to be cleared."""
        self.is_old, self.came_by_hook = self.came_by_hook, False


def _zero(sums: Iterable[_Sum]) -> None:
    sums = list(sums)
    if sums:
        torch._foreach_zero_([total.gradient for total in sums])
    for total in sums:
        total.is_old = False


def _sum_gradients(working: nn.Parameter, total: _Sum) -> None:
    working.main_grad = total.gradient  # type: ignore[attr-defined]
    if working.grad is not total.gradient:  # autograd itself adds to a gradient that is there
        working.register_post_accumulate_grad_hook(total.add)
