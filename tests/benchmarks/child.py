"""The inside of a contestant's process: builds it, makes steps on command and reads what they cost. Linux only."""

from __future__ import annotations

import ctypes
import re
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from atlas_core.config import Config
from tests.benchmarks.contestants import KINDS, Step

PR_SET_PDEATHSIG = 1  # linux/prctl.h

_step: Step


@dataclass(frozen=True)
class Reading:
    """Some steps in a row."""

    steps: int
    seconds: float
    page_faults: int
    peak_process_bytes: int  # since the process began, libraries included

    @property
    def seconds_per_step(self) -> float:
        return self.seconds / self.steps


def end_with_parent() -> None:
    """Have the system kill this process when the one that began it is gone, so that nobody is left with its memory."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def build(kind: str, config: Config, dataset: Path) -> None:
    """Make this process the contestant `kind`."""
    global _step  # noqa: PLW0603 - a process is one contestant
    _step = KINDS[kind](config, dataset)


def run(steps: int) -> Reading:
    """Make `steps` steps."""
    faults, started = _page_faults(), time.perf_counter()
    for _ in range(steps):
        _step()
    return Reading(steps, time.perf_counter() - started, _page_faults() - faults, peak_process_bytes())


def peak_process_bytes() -> int:
    """The most physical memory this process has held; `ru_maxrss` would also count its parent's before `exec`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _page_faults() -> int:
    """Pages the system had to supply without reading a disk, mostly the first touch of fresh memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
