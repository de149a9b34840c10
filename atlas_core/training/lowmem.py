"""AdamW in little memory: moments of 8 bits, and weights of bf16 that need no fp32 masters.

What is kept is small, what is computed is fp32: each step widens one piece of a parameter at a time. The quantised
step itself is that of bitsandbytes.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from atlas_core.errors import ConfigError
from atlas_core.memory import PIECE
from atlas_core.training.chance import seed_of_step

BLOCK = 256  # moments that share a scale; divides PIECE
SMALLEST = 4096  # tensors of fewer numbers keep moments of fp32: there is nothing to gain


class LeanAdamW(Optimizer):
    """AdamW (Loshchilov and Hutter 2019) for parameters of fp32 or bf16, with moments of 32 or of 8 bits.

    8 bits are those of Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization". A weight of bf16 has no
    room for most updates, which are smaller than the distance to its neighbour, so it is rounded at random: up as often
    as the update is near to the number above. Then updates add up in the mean (Zamirai et al. 2020, "Revisiting
    BFloat16 Training"). The chance is a function of (seed, step).
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, lr: float, betas: tuple[float, float], eight_bits: bool,
                 seed: int, eps: float = 1e-8) -> None:
        """Raises `ConfigError` if moments of 8 bits are wished for where they cannot be had."""
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})
        self._parameters = [(p, group) for group in self.param_groups for p in group["params"]]
        self._device = device = self._parameters[0][0].device
        self._quantised = _Quantised(device) if eight_bits else None
        self._seed, self._chance = seed, torch.Generator(device)
        rounded = [p.numel() for p, _ in self._parameters if p.dtype != torch.float32]
        size = min(PIECE, max(rounded, default=0))
        self._wide = torch.empty(2, size, device=device)  # a piece of the weights, and one of the gradients
        self._noise = torch.empty(size, dtype=torch.int32, device=device)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        step = self.state[self._parameters[0][0]].get("step", 0) + 1
        # Counted backwards, for the dropout masks have the seeds of the steps themselves.
        self._chance.manual_seed(seed_of_step(self._seed, -step))
        for p, group in self._parameters:
            assert p.grad is not None
            state = self.state[p] or self._begin(p)
            state["step"] = step
            weights, gradients = p.view(-1), p.grad.view(-1)
            for part in _pieces(p.numel()):
                self._move(weights[part], gradients[part], state, part, group)

    def _begin(self, p: nn.Parameter) -> dict[str, Any]:
        n = p.numel()
        state = self.state[p]
        if self._quantised is None or n < SMALLEST:
            state["mean"], state["square"] = (torch.zeros(n, device=self._device) for _ in range(2))
        else:
            state["mean"], state["square"] = (torch.zeros(n, dtype=torch.uint8, device=self._device) for _ in range(2))
            blocks = math.ceil(n / BLOCK)
            state["mean_scale"], state["square_scale"] = (torch.zeros(blocks, device=self._device) for _ in range(2))
        return state

    def _move(self, weights: Tensor, gradients: Tensor, state: dict[str, Any], part: slice,
              group: dict[str, Any]) -> None:
        """One step of one piece."""
        wide, gradient = weights, gradients
        if weights.dtype != torch.float32:
            wide, gradient = (buffer[: len(weights)] for buffer in self._wide)
            wide.copy_(weights)
            gradient.copy_(gradients)
        if "mean_scale" in state:
            assert self._quantised is not None
            self._quantised.step(wide, gradient, state, part, group)
        else:
            _step(wide, gradient, state["mean"][part], state["square"][part], step=state["step"], group=group)
        if wide is not weights:
            round_at_random(wide, weights, self._noise[: len(wide)], self._chance)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As the base class does it, which would though turn every tensor into one of the parameter's type."""
        for number, state in state_dict["state"].items():
            self.state[self._parameters[number][0]] = {
                key: value.to(self._device, copy=True) if isinstance(value, Tensor) else value
                for key, value in state.items()}
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"})


class _Quantised:
    """The step of AdamW on moments of 8 bits, and the codes they are written in."""

    def __init__(self, device: torch.device) -> None:
        if device.type not in ("cpu", "cuda"):
            raise ConfigError([f"training.optimizer_type adamw8bit does not run on {device.type}"],
                              "Set training.optimizer_type to adamw.")
        self._library = _bitsandbytes()
        self._signed, self._unsigned = (
            self._library.create_dynamic_map(signed=signed).to(device) for signed in (True, False))

    def step(self, weights: Tensor, gradients: Tensor, state: dict[str, Any], part: slice,
             group: dict[str, Any]) -> None:
        blocks = slice(part.start // BLOCK, math.ceil(part.stop / BLOCK))
        beta1, beta2 = group["betas"]
        self._library.optimizer_update_8bit_blockwise(
            "adam", gradients, weights, state["mean"][part], state["square"][part], beta1, beta2, 0.0, 0.0,
            group["eps"], state["step"], group["lr"], self._signed, self._unsigned, state["mean_scale"][blocks],
            state["square_scale"][blocks], group["weight_decay"])


def _bitsandbytes() -> ModuleType:
    # It wants to fetch kernels for 4-bit products from the network, through a package, or else warns that it cannot.
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        import bitsandbytes.functional
    except ImportError as error:
        raise ConfigError(["training.optimizer_type adamw8bit needs the package bitsandbytes"],
                          'Install it (pip install "atlas-studio[lowmem]"), or set training.optimizer_type to adamw '
                          "and training.master_weights to true.") from error
    library: ModuleType = bitsandbytes.functional
    return library


def _step(weights: Tensor, gradients: Tensor, mean: Tensor, square: Tensor, *, step: int,
          group: dict[str, Any]) -> None:
    """The step of AdamW on moments of fp32."""
    beta1, beta2 = group["betas"]
    mean.lerp_(gradients, 1 - beta1)
    square.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
    spread = square.sqrt().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
    weights.mul_(1 - group["lr"] * group["weight_decay"])
    weights.addcdiv_(mean, spread, value=-group["lr"] / (1 - beta1**step))


def round_at_random(wide: Tensor, into: Tensor, noise: Tensor, chance: torch.Generator) -> None:
    """Round `wide` (fp32, overwritten) to `into` (bf16): each number up or down, so that the mean is `wide`.

    bf16 is the upper half of fp32, so adding 16 random bits below and cutting them off rounds up as often as it
    should. All are of one shape; `noise` is memory of int32.
    """
    bits = wide.view(torch.int32)
    bits.add_(noise.random_(0, 2**16, generator=chance)).bitwise_and_(-(2**16))
    into.copy_(wide)


def _pieces(count: int) -> Iterator[slice]:
    for start in range(0, count, PIECE):
        yield slice(start, min(start + PIECE, count))
