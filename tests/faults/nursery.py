"""A process that has imported everything and computed nothing; its children are trainings that start at once.

Importing torch and its optimizers takes five seconds, and a harness starts a thousand trainings.
`Nursery` is the side of one who orders them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults import victim
from tests.faults.victim import Plan

ROOT = Path(__file__).resolve().parents[2]
WARM = ("torch", "torch._dynamo", "atlas_core.cli", "atlas_core.jobs", "atlas_core.text.dataset",
        "atlas_core.training.trainer", "atlas_core.training.records", "atlas_core.training.calibration",
        "atlas_core.hardware.telemetry", "wakepy")
PATIENCE_S = 240.0  # no training here takes a tenth of that


class Nursery:
    """Starts trainings as processes. Close it, or use it as a context."""

    def __init__(self, home: Path) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"], cwd=ROOT, env=environment(home), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def start(self, words: Sequence[str], plan: Plan, *, out: Path, cold: bool = False) -> int:
        """The number of a new process; what it says goes to the file `out`, errors to `out` + ".err".

        `cold`: started as a person would, without any plan, importing everything itself.
        """
        return int(self._ask({"words": list(words), "plan": plan.to_json(), "out": str(out), "cold": cold}))

    def wait(self, process: int, *, patience_s: float = PATIENCE_S) -> int | None:
        """Its exit status, negative for a signal; None if it still runs after `patience_s`."""
        status = self._ask({"wait": process, "patience_s": patience_s})
        return None if status is None else int(status)

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self._server.stdin is not None and self._server.stdout is not None
        print(json.dumps(order), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())


def environment(home: Path) -> dict[str, str]:
    """What every process here finds: a home of its own, and one thread, so that sums keep their order."""
    return {**os.environ, "ATLAS_HOME": str(home), "OMP_NUM_THREADS": "1"}


def serve() -> None:
    for name in WARM:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else a child's first collection copies all that it shares with this process
    children: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        answer = _wait(order, children) if "wait" in order else _born(order)
        if "wait" not in order:
            children.add(answer)
        print(json.dumps(answer), flush=True)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _wait(order: dict[str, Any], children: set[int]) -> int | None:
    give_up_at = time.monotonic() + order["patience_s"]
    while True:
        process, status = os.waitpid(order["wait"], os.WNOHANG)
        if process:
            children.discard(process)
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= give_up_at:
            return None
        time.sleep(0.002)


def _born(order: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        for name, number, flags in ((os.devnull, 0, os.O_RDONLY), (order["out"], 1, os.O_WRONLY | os.O_CREAT),
                                    (order["out"] + ".err", 2, os.O_WRONLY | os.O_CREAT)):
            os.dup2(os.open(name, flags, 0o666), number)
        if order["cold"]:
            os.execv(sys.executable, [sys.executable, "-m", "atlas_core", *order["words"]])
        status = victim.live(Plan.from_json(order["plan"]), order["words"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve()
