"""How much memory this process may have. Not what it has taken, and not the memory of a card."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def total_and_available_bytes(*, cgroup: Path = CGROUP) -> tuple[int, int]:
    """The machine's memory and what of it is free to take, or the container's where that is less.

    psutil sees the whole machine even inside a container; the kernel ends a process that goes by that.
    """
    machine = psutil.virtual_memory()
    limit_bytes = _read_bytes(cgroup / "memory.max")
    used_bytes = _read_bytes(cgroup / "memory.current")
    if limit_bytes is None or used_bytes is None or limit_bytes >= machine.total:
        return machine.total, machine.available
    # The file cache counts as used there but is given up on demand.
    used_bytes -= _file_cache_bytes(cgroup / "memory.stat")
    return limit_bytes, max(0, min(limit_bytes - used_bytes, machine.available))


def _read_bytes(path: Path) -> int | None:
    """A number from a control file; None for a file that is not there or that says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _file_cache_bytes(path: Path) -> int:
    try:
        fields = dict(line.split() for line in path.read_text().splitlines())
        return int(fields.get("inactive_file", 0))
    except (OSError, ValueError):
        return 0
