"""What this machine's processor is called and how many threads it runs well. Not what it can multiply."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import psutil


@cache
def processor_name() -> str:
    """Its short name, such as "AMD Ryzen 7 7840U"."""
    return tidy_name(_reported_name() or platform.machine() or "processor")


def usable_cores() -> int:
    """Physical cores this process may run on.

    Two threads on one physical core share its arithmetic units and gain nothing in matrix products; a container
    or `taskset` may allow fewer than the machine has.
    """
    allowed = os.cpu_count() or 1
    if sys.platform == "linux":
        allowed = len(os.sched_getaffinity(0))
    physical = psutil.cpu_count(logical=False) or allowed
    return min(allowed, physical)


def load_per_core() -> float:
    """Processes that want to compute, over the last minute, for each core: at rest about 0."""
    return psutil.getloadavg()[0] / usable_cores()


def tidy_name(name: str) -> str:
    """The name without trademarks, core counts, clock rates and built-in graphics."""
    name = re.sub(r"\((R|TM|tm|C)\)", "", name)
    name = re.sub(r"\s+(@|w/|with)\s.*$", "", name)
    name = re.sub(r"\s+(CPU|Processor|\d+-Core)\b", "", name)
    return " ".join(name.split())


def _reported_name() -> str:
    if sys.platform == "linux":
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", _read_text(Path("/proc/cpuinfo")), re.MULTILINE)
        return found[1] if found else ""
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string")
    if sys.platform == "win32":  # `platform.processor()` knows only family and model numbers there
        import winreg

        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0])
    return platform.processor()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
