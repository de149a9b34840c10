"""What takes part in a contest, each in a process of its own. How the turns are taken is in `contest.py`.

A contestant is a function of configuration and dataset that builds everything and returns one training step.
Libraries are imported where they are needed, so that no contestant carries another's memory.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from atlas_core.config import Config

Step = Callable[[], object]
Build = Callable[[Config, Path], Step]
PRODUCT_SHAPES = ((2048, 2048, 2048), (4096, 1024, 2048), (1024, 4096, 2048), (4096, 2048, 1024))  # (M, K, N)
PRODUCT_FLOPS = 2 * 2048**3  # the same for each of them, so that a step is a step
PRODUCT_TRIALS = 5


def atlas(config: Config, dataset: Path) -> Step:
    """The trainer of this program as a run has it: in the way that its calibration finds fastest."""
    from atlas_core.control import Control
    from atlas_core.text.dataset import Dataset
    from atlas_core.training.calibration import calibrated
    from atlas_core.training.trainer import Trainer
    from atlas_core.walking import result_of

    settled = result_of(calibrated(config))
    return Trainer(settled, Dataset.open(dataset), Path("no-run"), Control()).step


def transformers(config: Config, dataset: Path) -> Step:
    """`transformers` GPT-2 as its users run it: fp32, default settings, the loss it computes from labels."""
    from tests.benchmarks.rival import Rival

    return Rival(config, dataset).step


def transformers_best(config: Config, dataset: Path) -> Step:
    """The same with everything that helps on a processor and needs no compiler.

    Fast fp32 products, no cache, and bf16 autocast where the processor multiplies bf16.
    """
    import torch

    from tests.benchmarks.formats import multiplied
    from tests.benchmarks.rival import Rival

    torch.set_float32_matmul_precision("medium")
    return Rival(config, dataset, options={"use_cache": False},
                 precision=lambda: torch.autocast("cpu", torch.bfloat16, enabled="bf16" in multiplied())).step


def product_fp32(config: Config, _dataset: Path) -> Step:
    """One large matrix product in fp32 as torch comes, in the shape that is fastest here."""
    return _product(config, "fp32")


def product(config: Config, _dataset: Path) -> Step:
    """The same in the fastest format this machine multiplies: what no training step can surpass."""
    from tests.benchmarks.formats import multiplied

    return _product(config, multiplied()[-1])


def _product(config: Config, number_format: str) -> Step:
    import torch

    from atlas_core.hardware.device import use_threads
    from tests.benchmarks.formats import DTYPES

    use_threads(config.hardware.threads)

    def candidate(M: int, K: int, N: int) -> Step:
        a, b = (torch.randn(shape).to(DTYPES[number_format]) for shape in ((M, K), (K, N)))
        out = a @ b  # kept: fresh memory would cost more than it should
        return lambda: torch.mm(a, b, out=out)

    def seconds(step: Step) -> float:
        started = time.perf_counter()
        for _ in range(PRODUCT_TRIALS):
            step()
        return time.perf_counter() - started

    return min((candidate(*shape) for shape in PRODUCT_SHAPES), key=seconds)


def atlas_with(changes: dict[str, Any], config: Config, dataset: Path) -> Step:
    """The trainer with other settings."""
    return atlas(config.replace(changes), dataset)


def one_thread_fewer(config: Config, dataset: Path) -> Step:
    """The trainer, which leaves one core to others."""
    from atlas_core.hardware.device import use_threads

    return atlas_with({"hardware.threads": max(1, use_threads() - 1)}, config, dataset)


def collecting(config: Config, dataset: Path) -> Step:
    """The trainer, with Python's garbage collected after each step."""
    step = atlas(config, dataset)

    def step_and_collect() -> None:
        step()
        gc.collect()

    return step_and_collect


def exact_products(config: Config, dataset: Path) -> Step:
    """The trainer, with torch told to multiply fp32 in no faster way."""
    import torch

    step = atlas(config, dataset)
    torch.set_float32_matmul_precision("highest")
    return step


def no_denormals(config: Config, dataset: Path) -> Step:
    """The trainer, with numbers too small for fp32's exponent taken as 0."""
    import torch

    torch.set_flush_denormal(True)
    return atlas(config, dataset)


# How long a contestant's threads wait in a busy loop, where it is not as this program has it. Users of `transformers`
# say nothing of it, and then GNU's OpenMP takes this (docs/faq.md).
ENVIRONMENT = {"transformers": {"GOMP_SPINCOUNT": "300000"}}

IDEAS: dict[str, Build] = {  # by what a table calls them
    "compiled by torch": partial(atlas_with, {"hardware.compile": True}),
    "attention by the kernel": partial(atlas_with, {"hardware.attention": "kernel"}),
    "attention in blocks": partial(atlas_with, {"hardware.attention": "blocks"}),
    "activations computed twice": partial(atlas_with, {"training.gradient_checkpointing": True}),
    "one thread fewer": one_thread_fewer,
    "garbage collected each step": collecting,
    "fp32 products as torch comes": exact_products,
    "denormals taken as 0": no_denormals,
}
KINDS: dict[str, Build] = {
    function.__name__: function for function in (atlas, transformers, transformers_best, product_fp32, product)
} | IDEAS
