"""SIGTERM, SIGHUP and SIGINT, which ask to end: the run is saved first, and the exit status says 130."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.life import INTERRUPTED, Case, Life, Ward, has_ended, law, newest_good, tells_step, wait_for

TITLE = "signals that ask to end"
NUMBERS = {"TERM": [signal.SIGTERM], "HUP": [signal.SIGHUP], "INT": [signal.SIGINT],
           "INT twice": [signal.SIGINT, signal.SIGINT], "TERM and INT": [signal.SIGTERM, signal.SIGINT]}


def cases(ward: Ward, seed: int, *, share: float = 1.0) -> Iterator[Case]:
    chance = random.Random(seed)
    for name, numbers in NUMBERS.items():
        for number in range(6):
            if chance.random() < share:
                yield Case(f"wishes/{name}:{number}", lambda n=numbers, s=f"{seed}{name}{number}": _asked(ward, n, s))


def _asked(ward: Ward, numbers: list[int], seed: str) -> None:
    ward.figures.faults += 1
    chance = random.Random(seed)
    life = Life(ward, "wishes")

    def meanwhile(process: int, out: Path) -> None:
        wait_for(out, tells_step(chance.randint(1, 40)), process)
        time.sleep(chance.uniform(0, 0.01))
        for number in numbers:
            if not has_ended(process):
                os.kill(process, number)
            time.sleep(chance.uniform(0, 0.01))

    session = life.live(meanwhile=meanwhile)
    if session.status != 0:  # else it was done before the signal came
        law(session.status == INTERRUPTED, f"the exit status is not that of an interruption: {session}")
        law(session.of("finished") and newest_good(life.run) == session.reached, f"not saved at the end: {session}")
        life.killed()
        life.finish()
