"""Two trainers and one folder: the second is refused, and a killed one leaves no lock behind."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator

from tests.faults.life import EVERY, FAILED, Case, Life, Ward, law, tells_step, wait_for

TITLE = "two trainers on one folder"


def cases(ward: Ward, seed: int, *, share: float = 1.0) -> Iterator[Case]:
    chance = random.Random(seed)
    for number in range(6):
        if chance.random() < share:
            yield Case(f"rivals/{number}", lambda n=number: _refused(ward, 3 + 7 * n))


def _refused(ward: Ward, at: int) -> None:
    ward.figures.faults += 1
    life = Life(ward, "rivals", born_from=ward.run_at(EVERY))
    first, out = life.start()
    wait_for(out, tells_step(EVERY + at), first)
    os.kill(first, signal.SIGSTOP)  # it holds the folder however long the second takes to start
    before = {path: path.read_bytes() for path in life.run.rglob("*") if path.is_file()}
    second = life.live(resumes=False)
    law(second.status == FAILED and "being trained by another process" in second.failure, f"not refused: {second}")
    after = {path: path.read_bytes() for path in life.run.rglob("*") if path.is_file()}
    law(before == after, "the one that was refused has changed something")
    os.kill(first, signal.SIGKILL)
    life.end(first, out)
    life.killed()
    life.finish()
