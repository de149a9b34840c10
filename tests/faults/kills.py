"""Kills at random, start-up included: in chains, by the clock and by the count of calls, some without a nursery."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.faults.life import STEPS, Case, Life, Session, Ward, kill_after, newest_good
from tests.faults.victim import Plan

TITLE = "random kills, in chains"
LONGEST_CHAIN = 8
COLD = 0.05  # share of sessions that are started as a person would, importing everything


def cases(ward: Ward, seed: int, *, kills: int) -> Iterator[Case]:
    """Chains of kills, `kills` in all; a session that is done before it is killed ends its chain."""
    aimed = ward.figures.kills + kills
    number = 0
    while ward.figures.kills < aimed:
        yield Case(f"kills/{seed}/{number}", lambda n=number: _chain(ward, f"{seed}/{n}"))
        number += 1


def _chain(ward: Ward, seed: str) -> None:
    chance = random.Random(seed)
    life = Life(ward, "chain")
    for _ in range(chance.randint(1, LONGEST_CHAIN)):
        if newest_good(life.run) == STEPS:  # killed after its last save: there is nothing left to kill
            break
        session = _killed(life, chance)
        if session.status == 0:
            life.is_as_undisturbed()
            return
        life.killed()
    life.finish()


def _killed(life: Life, chance: random.Random) -> Session:
    way = chance.random()
    if way < COLD:
        return life.live(cold=True, meanwhile=kill_after(chance.uniform(0.0, 12.0)))
    if way < 0.4:
        return life.live(Plan(str(life.run), moment=chance.randint(1, 200), power=chance.random() < 0.3,
                              when=chance.choice(("before", "after", "cut")), lines=chance.random() < 0.2))
    return life.live(meanwhile=kill_after(chance.expovariate(1 / 0.7)))
