"""What takes part in a contest, each in a process of its own. How the turns are taken is in `contest.py`.

A contestant is a function of configuration and dataset that builds everything and returns one training step.
Libraries are imported where they are needed, so that no contestant carries another's memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from atlas_core.config import Config

Step = Callable[[], object]
PRODUCT_SHAPES = ((2048, 2048, 2048), (4096, 1024, 2048), (1024, 4096, 2048), (4096, 2048, 1024))  # (M, K, N)
PRODUCT_FLOPS = 2 * 2048**3  # the same for each of them, so that a step is a step
PRODUCT_TRIALS = 5


def atlas(config: Config, dataset: Path) -> Step:
    """The trainer of this program as a run has it: in the way that its calibration finds fastest."""
    from atlas_core.control import Control
    from atlas_core.text.dataset import Dataset
    from atlas_core.training.calibration import calibrated
    from atlas_core.training.trainer import Trainer

    *_, settled = calibrated(config)
    assert isinstance(settled, Config)
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


KINDS: dict[str, Callable[[Config, Path], Step]] = {
    function.__name__: function for function in (atlas, transformers, transformers_best, product_fp32, product)
}
