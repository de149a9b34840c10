"""Clocks that are wrong: turned back a day in the middle of a run, or years ahead in an earlier session."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.faults.life import EVERY, Case, Life, Ward, kill_at, tells_step
from tests.faults.victim import Plan

TITLE = "clocks"
DAY_S, YEAR_S = 86_400.0, 365 * 86_400.0


def cases(ward: Ward, seed: int, *, share: float = 1.0) -> Iterator[Case]:
    chance = random.Random(seed)
    for looks in (1, 2, 3, 5, 8):
        for name, clock in (("back a day", (0.0, looks, -DAY_S)), ("ahead a year", (0.0, looks, YEAR_S)),
                            ("from the future", (YEAR_S, looks, -YEAR_S))):
            if chance.random() < share:
                yield Case(f"clock/{name}:{looks}", lambda c=clock: _wrong(ward, c))


def _wrong(ward: Ward, clock: tuple[float, int, float]) -> None:
    ward.figures.faults += 1
    life = Life(ward, "clock")
    life.live(Plan(clock=clock), meanwhile=kill_at(tells_step(3 * EVERY + 5)))
    life.killed()
    life.live(Plan(clock=(-YEAR_S, 0, -YEAR_S)), meanwhile=kill_at(tells_step(4 * EVERY + 5)))
    life.killed()
    life.finish()
