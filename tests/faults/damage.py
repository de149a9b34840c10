"""What lies in the folder of a run that is not being trained, damaged: cut short, flipped, swapped, deleted.

Damage is looked for in what the program says, in what it goes on from, and in what is left of the damaged file.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from atlas_core import runs
from tests.faults.life import (
    EVERY,
    Case,
    Life,
    Session,
    Ward,
    curve,
    difference,
    kill_at,
    law,
    newest_good,
    newest_step,
    tells_step,
)

TITLE = "damaged files"
AT = 4 * EVERY  # the newest checkpoints are of this step or a little later; the run was killed ten steps on
NEWEST, BEST = "newest step", "atlas_best"
Damage = Callable[[Path, random.Random], None]


def _cut(path: Path, size: int) -> None:
    with open(path, "r+b") as file:
        file.truncate(size)


def _flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


WAYS: dict[str, Damage] = {
    "empty": lambda path, _: _cut(path, 0),
    "half": lambda path, _: _cut(path, path.stat().st_size // 2),
    "minus-one": lambda path, _: _cut(path, path.stat().st_size - 1),
    "flip-1": _flip, "flip-2": _flip, "flip-3": _flip,
    "zeros": lambda path, _: path.write_bytes(bytes(path.stat().st_size)) and None,
    "deleted": lambda path, _: path.unlink(),
}


def cases(ward: Ward, seed: int, *, share: float = 1.0) -> Iterator[Case]:
    chance = random.Random(seed)
    for case in _all(ward, seed):
        if chance.random() < share:
            yield case


def _all(ward: Ward, seed: int) -> Iterator[Case]:
    for way, damage in WAYS.items():
        for stems in ([NEWEST], [BEST], [NEWEST, BEST]):
            for end in (".pt", ".json"):
                yield _case(ward, seed, f"{' and '.join(stems)}{end}:{way}",
                            lambda life, c, d=damage, s=stems, e=end: _checkpoints(life, s, e, d, c))
        yield _case(ward, seed, f"{runs.CONFIG_FILE}:{way}", lambda life, c, d=damage: _config(life, d, c))
        for name in (runs.TOKENIZER_FILE, runs.LOG_FILE, runs.SAMPLES_FILE):
            yield _case(ward, seed, f"{name}:{way}", lambda life, c, d=damage, n=name: _aside(life, n, d, c))
        yield _case(ward, seed, f"{runs.METRICS_FILE}:{way}", lambda life, c, d=damage: _middle(life, d, c))
    for way, tail in (("line cut in the middle", None), ("NUL tail", bytes(300)), ("torn UTF-8", b'{"event": "\xc3')):
        yield _case(ward, seed, f"{runs.METRICS_FILE}:{way}", lambda life, _, t=tail: _tail(life, t))
    yield _case(ward, seed, "sidecar of another checkpoint", lambda life, _: _swapped(life))
    yield _case(ward, seed, "both files of the newest deleted", lambda life, _: _both_deleted(life))
    yield _case(ward, seed, "every checkpoint", _everything)


def _case(ward: Ward, seed: int, what: str, run: Callable[[Life, random.Random], None]) -> Case:
    name = f"damage/{what}"

    def tried() -> None:
        ward.figures.faults += 1
        run(_killed_later(ward), random.Random(f"{seed}{name}"))

    return Case(name, tried)


def _killed_later(ward: Ward) -> Life:
    """A run that was killed ten steps after its newest save, so that the curve goes on beyond it."""
    kept = ward.place / "run-for-damage"
    if not kept.exists():
        life = Life(ward, "before-damage", born_from=ward.run_at(AT))
        life.live(meanwhile=kill_at(tells_step(AT + EVERY // 2)))
        life.killed()
        shutil.copytree(life.run, kept)
    return Life(ward, "damage", born_from=kept)


def _checkpoints(life: Life, stems: list[str], end: str, damage: Damage, chance: random.Random) -> None:
    folder, left = life.run / runs.CHECKPOINTS_FOLDER, {}
    names = [(newest_step(life.run).stem if stem == NEWEST else stem) + end for stem in stems]
    for name in names:
        damage(folder / name, chance)
        if (folder / name).exists():
            left[name] = _digest(folder / name)
    session = life.live(meanwhile=kill_at(tells_step(AT - 5)), strict=False)
    for name in names:
        law(_names(session, Path(name).stem), f"nothing was said of {name}: {session}")
    there = {_digest(path) for path in life.run.rglob("atlas_*") if path.is_file()}
    for name, digest in left.items():
        law(digest in there, f"the damaged {name} is gone")
    finished = life.finish(strict=False)
    if end == ".pt" or damage is not WAYS["deleted"]:  # else told until the run has come to that step again
        law(not any(_names(finished, Path(name).stem) for name in names), f"told twice: {finished}")


def _config(life: Life, damage: Damage, chance: random.Random) -> None:
    """Settings that cannot be trusted are told; a value that became another is told by name, for it may be meant.

    A changed interval of validation or saving is a wish like any other, and changes no step.
    """
    damage(life.run / runs.CONFIG_FILE, chance)
    session = life.live(strict=False, compare=False)
    law(session.status == 0, f"does not go on: {session}")
    if _names(session, runs.CONFIG_FILE):
        life.is_as_undisturbed()
    elif "Changed since the checkpoint" not in session.notices and "other last digits" not in session.notices:
        mine, wanted = ([line for line in lines if line[0] == "step"] for lines in (curve(life.run), life.ward.curve))
        law(mine == wanted, f"learned otherwise, and nothing was said: {session}")


def _aside(life: Life, name: str, damage: Damage, chance: random.Random) -> None:
    """Files that no training reads."""
    path = life.run / name
    if path.exists() and path.stat().st_size:
        damage(path, chance)
    life.finish()
    if name == runs.TOKENIZER_FILE:
        law(path.read_bytes() == (life.ward.reference / name).read_bytes(), "the tokenizer was not put right")


def _middle(life: Life, damage: Damage, chance: random.Random) -> None:
    """The curve before the checkpoint: what is lost cannot come back, and is told; all else is as it was."""
    damage(life.run / runs.METRICS_FILE, chance)
    at = newest_good(life.run)
    session = life.live(strict=False, compare=False)
    law(session.status == 0, f"does not go on: {session}")
    mine, wanted = curve(life.run, strict=True), life.ward.curve
    places, all_places = [line[:2] for line in mine], [line[:2] for line in wanted]
    law(len(set(places)) == len(places), "the curve has a step twice")
    if places != all_places:  # a digit of a loss that became another is not noticed
        law(_names(session, runs.METRICS_FILE),
            f"lines are lost, and nothing was said: {difference(mine, wanted)}: {session}")
        law([line for line in mine if line[1] > at] == [line for line in wanted if line[1] > at],
            "the curve after the damage is another one")


def _tail(life: Life, tail: bytes | None) -> None:
    path = life.run / runs.METRICS_FILE
    if tail is None:
        _cut(path, path.stat().st_size - 60)
    else:
        with open(path, "ab") as file:
            file.write(tail)
    life.finish()


def _swapped(life: Life) -> None:
    newest = newest_step(life.run)
    other = min(newest.parent.glob("atlas_step_*.json"))
    shutil.copy(other, newest.with_suffix(".json"))
    law(_names(life.finish(strict=False), newest.name), "nothing was said of the checkpoint")


def _both_deleted(life: Life) -> None:
    newest = newest_step(life.run)
    newest.unlink()
    newest.with_suffix(".json").unlink()
    life.safe_step = 0
    life.finish(strict=False)


def _everything(life: Life, chance: random.Random) -> None:
    """With no good checkpoint left there is nothing to go on from: that is said, and what is there stays there."""
    found = list((life.run / runs.CHECKPOINTS_FOLDER).glob("*.pt"))
    for path in found:
        _flip(path, chance)
    left = {_digest(path) for path in found}
    session = life.live(strict=False, resumes=False)
    law(all(_names(session, path.stem) for path in found), f"not every damaged checkpoint was named: {session}")
    law(left <= {_digest(path) for path in life.run.rglob("*.pt")}, "a damaged checkpoint is gone")


def _names(session: Session, name: str) -> bool:
    return name in session.notices + session.failure


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
