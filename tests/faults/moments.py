"""Every call that changes a file of the run, from nothing to the second clean-up of old checkpoints.

Killed before it, in the middle of it if it is a write, and with what the disk was not told to keep lost.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator

from tests.faults.life import EVERY, Case, Life, Ward, kill_at, law, tells_saved, tells_step
from tests.faults.victim import Plan

TITLE = "chosen moments: every call that changes a file, from nothing to the second clean-up"
STARTS = (0, *range(EVERY, 5 * EVERY, EVERY))  # the fourth save of a step cleans up, and the fifth again
WITH_LINES = (STARTS[0], STARTS[-1])  # a line added to a file is like the next; two sessions of them are enough
FINISHED_SHARE = 5  # one in five goes on to the end; the others show their curve a little beyond the next save


def cases(ward: Ward, seed: int, *, share: float = 1.0) -> Iterator[Case]:
    """Each moment of the sessions that begin at `STARTS` and end after the next save; or a `share` of them."""
    chance = random.Random(seed)
    for start in STARTS:
        for number, call in calls(ward, start):
            for way in _ways(call, lines=start in WITH_LINES):
                if chance.random() < share:
                    yield Case(f"moments/{start}/{call.split(maxsplit=1)[0]}-{number}:{way}",
                               lambda s=start, n=number, w=way, c=call: _die(ward, s, n, w, c))


def _ways(call: str, *, lines: bool) -> tuple[str, ...]:
    """After a call is before the next one, of whatever thread, and so needs no case of its own."""
    name = call.split(maxsplit=1)[0]
    if name == "add":
        return ("before", "cut") if lines else ()
    return ("before", "power", "cut") if name == "write" else ("before", "power")


def calls(ward: Ward, start: int) -> list[tuple[int, str]]:
    """The calls of a healthy session from `start` until its first save of a step is announced."""
    listed = ward.place / f"calls-{start}.txt"
    if not listed.exists():
        life = Life(ward, f"healthy-{start}", born_from=ward.run_at(start))
        life.live(Plan(str(life.run), calls=str(listed)), meanwhile=kill_at(tells_saved(start + EVERY)))
    numbered = (line.split(" ", 1) for line in listed.read_text().splitlines())
    return [(int(number), call) for number, call in numbered]


def _die(ward: Ward, start: int, number: int, way: str, call: str) -> None:
    life = Life(ward, "moment", born_from=ward.run_at(start))
    plan = Plan(str(life.run), moment=number, when="cut" if way == "cut" else "before", power=way == "power",
                lines=call.startswith("add"))
    session = life.live(plan, meanwhile=kill_at(tells_saved(start + 2 * EVERY)))
    law(session.status == -signal.SIGKILL, f"{call} came not again: {session}")
    life.killed()
    if number % FINISHED_SHARE == 0:
        life.finish()
    else:
        life.live(meanwhile=kill_at(tells_step(start + EVERY + 5)))
        life.killed()
