"""A short trial, before a run, of the ways this processor can compute it. What was found is remembered by shape.

A way is a number format and a kernel of attention. What a person has set by hand is not tried, nor bf16 where the
processor would imitate it; on a graphics card nothing is, for there the rules of `hardware/device.py` are safe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from atlas_core import __version__, paths
from atlas_core.config import Config
from atlas_core.errors import AtlasError
from atlas_core.events import Progress
from atlas_core.hardware import device as hardware
from atlas_core.hardware.processor import processor_name
from atlas_core.model.attention import WAYS as KERNELS
from atlas_core.model.gpt import Block
from atlas_core.model.heads import rotations
from atlas_core.reading import json_file
from atlas_core.training.weights import WORKING_TYPES

FILE_NAME = "calibration.json"
SECONDS = 3.0
MOST_ROUNDS = 12
HARDLY_SLOWER = 1.05
MOST_TOKENS, LONGEST = 4096, 1024  # of the trial; the fastest way for these is the fastest for more


class Way(NamedTuple):
    """How the network is computed: `training.precision` and `hardware.attention`."""

    precision: str
    attention: str


def calibrated(config: Config) -> Generator[Progress, None, Config]:
    """`Progress` while it tries, if it must; returns `config` with every "auto" of a way decided.

    Deciding once and for all matters: another way rounds otherwise, and a resumed run would not be the same.
    """
    device = hardware.choose_device(config.hardware.device)
    ways = candidates(config, device)
    way = ways[0] if len(ways) == 1 else _read().get(_key(config))
    if way not in ways:
        yield Progress(0, len(ways), "ways", f"Calibrating, {SECONDS:.0f} s")
        way = chosen(times(config, ways))
        with contextlib.suppress(AtlasError):  # a home that cannot be written to costs the trial again, never the run
            _remember(_key(config), way)
    return config.replace({"training.precision": way.precision, "hardware.attention": way.attention})


def candidates(config: Config, device: torch.device) -> list[Way]:
    """The ways among which time decides."""
    wished, attention = config.training.precision, config.hardware.attention
    usual = hardware.choose_precision(wished, device)
    tries = device.type == "cpu"
    precisions = ["fp32", "bf16"] if tries and wished == "auto" and usual == "bf16" else [usual]
    one_kernel = not tries or config.model.attention_dropout  # which only one of them can do
    kernels = [attention] if attention != "auto" else ["kernel"] if one_kernel else list(KERNELS)
    return [Way(*way) for way in itertools.product(precisions, kernels)]


def chosen(best: Mapping[Way, float]) -> Way:
    """The fastest; but by the kernel, which keeps no weights of attention, if that is hardly slower.

    So memory is not paid for chance: two trials of one way differ by as much.
    """
    fastest = min(best, key=lambda way: best[way])
    lean = fastest._replace(attention="kernel")
    return lean if best.get(lean, math.inf) <= HARDLY_SLOWER * best[fastest] else fastest


def times(config: Config, ways: Sequence[Way]) -> dict[Way, float]:
    """The best seconds of each way for one block of the network, there and back. They take turns."""
    trials = {way: _Trial(config, way) for way in ways}
    for trial in trials.values():
        trial.seconds()  # the first call also allocates and plans
    best = dict.fromkeys(ways, math.inf)
    until = time.perf_counter() + SECONDS
    for round in range(MOST_ROUNDS):
        if round and time.perf_counter() > until:
            break
        for way, trial in trials.items():
            best[way] = min(best[way], trial.seconds())
    return best


class _Trial:
    """One block of the network on numbers without meaning."""

    def __init__(self, config: Config, way: Way) -> None:
        hardware.use_threads(config.hardware.threads)
        hardware.use_fast_products(torch.device("cpu"))
        m = config.model
        T = min(m.max_seq_len, LONGEST)
        B = max(1, min(config.training.batch_size, MOST_TOKENS // T))
        dtype = WORKING_TYPES.get(way.precision, torch.float32)
        with torch.random.fork_rng(devices=[]):
            self._block = Block(m, 0).to(dtype)
            self._block.attention.way = way.attention
            self._x = torch.randn(B, T, m.hidden_size).to(dtype).requires_grad_()
        self._rotation: Tensor | None = rotations(torch.arange(T), m.head_size) if m.is_llama else None

    def seconds(self) -> float:
        started = time.perf_counter()
        with torch.random.fork_rng(devices=[]):  # dropout draws
            self._block(self._x, self._rotation).sum().backward()
        return time.perf_counter() - started


def _key(config: Config) -> str:
    """All that the answer depends on, readable by a person who opens the file."""
    t, h = config.training, config.hardware
    shape = {**dataclasses.asdict(config.model), "batch_size": t.batch_size, "precision": t.precision,
             "attention": h.attention, "threads": hardware.thread_count(h.threads)}
    return f"{processor_name()}, torch {torch.__version__}, Atlas {__version__}, {json.dumps(shape, sort_keys=True)}"


def _file() -> Path:
    return paths.home() / FILE_NAME


def _read() -> dict[str, Way]:
    """What was remembered; a file that makes no sense counts as nothing."""
    try:
        return {key: Way(*way) for key, way in json_file(_file()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(key: str, way: Way) -> None:
    paths.write_atomically(_file(), json.dumps({**_read(), key: way}, indent=1).encode())
