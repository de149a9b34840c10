"""The folder itself goes wrong: nobody may write there any more, or it is renamed or deleted while a run trains."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.life import (
    EVERY,
    FAILED,
    STEPS,
    BrokenLawError,
    Case,
    Life,
    Session,
    Ward,
    law,
    newest_good,
    newest_step,
    tells_step,
    wait_for,
)
from tests.faults.victim import Plan

TITLE = "permissions and folders"
NOBODY = 65534  # root may write anywhere, so as root the training runs as this user
Trouble = Callable[[Life], None]


def cases(ward: Ward, seed: int, *, share: float = 1.0) -> Iterator[Case]:
    chance = random.Random(seed)
    found: dict[str, Callable[[], None]] = {
        "read-only from the start": lambda: _refused(ward),
        "read-only from step 10": lambda: _forbidden(ward, 10, ""),
        "read-only from step 50": lambda: _forbidden(ward, 50, ""),
        "checkpoints read-only from step 10": lambda: _forbidden(ward, 10, "checkpoints"),
        "checkpoints read-only from step 50": lambda: _forbidden(ward, 50, "checkpoints"),
        "unreadable checkpoint": lambda: _unreadable(ward),
        "deleted at step 10": lambda: _gone(ward, 10, _delete),
        "deleted at step 50": lambda: _gone(ward, 50, _delete),
        "renamed at step 10": lambda: _gone(ward, 10, _rename),
        "renamed at step 50": lambda: _gone(ward, 50, _rename),
        "replaced by a file at step 50": lambda: _gone(ward, 50, _replace),
        "checkpoints deleted at step 50": lambda: _gone(ward, 50, lambda run: _delete(run / "checkpoints")),
    }
    for name, run in found.items():
        if chance.random() < share:
            yield Case(f"places/{name}", run)


def _as_nobody(life: Life) -> Plan:
    """A plan for a process that permissions bind, in a folder that is its own."""
    if os.geteuid() != 0:
        return Plan(str(life.run))
    for path in (life.home, *life.home.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return Plan(str(life.run), user=NOBODY)


def _forbidden(ward: Ward, at: int, what: str) -> None:
    ward.figures.faults += 1
    life = Life(ward, "forbidden")

    def meanwhile(process: int, out: Path) -> None:
        wait_for(out, tells_step(at), process)
        (life.run / what).chmod(0o555)

    if what:
        (life.run / what).mkdir(parents=True)
    session = life.live(_as_nobody(life), meanwhile=meanwhile, strict=False, resumes=False)
    _told(session)
    (life.run / what).chmod(0o755)
    life.finish(plan=_as_nobody(life), strict=False)


def _refused(ward: Ward) -> None:
    ward.figures.faults += 1
    life = Life(ward, "read-only", born_from=ward.run_at(2 * EVERY))
    plan = _as_nobody(life)
    life.run.chmod(0o555)
    session = life.live(plan, strict=False, resumes=False)
    law(session.status == FAILED, f"trains where it may not write: {session}")
    _told(session)
    life.run.chmod(0o755)
    life.finish(plan=plan)


def _unreadable(ward: Ward) -> None:
    """A checkpoint that may not be read is passed over like a damaged one, and is still there."""
    ward.figures.faults += 1
    life = Life(ward, "unreadable", born_from=ward.run_at(2 * EVERY))
    plan = _as_nobody(life)
    newest = newest_step(life.run)
    newest.chmod(0)
    session = life.live(plan, strict=False)
    law(newest.name in session.notices, f"nothing was said of {newest.name}: {session}")
    life.is_as_undisturbed()


def _delete(folder: Path) -> None:
    """As a stubborn person does: again, if something was written meanwhile."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    raise BrokenLawError(f"{folder} cannot be deleted")


def _rename(run: Path) -> None:
    run.rename(run.with_name("elsewhere"))


def _replace(run: Path) -> None:
    gone = run.with_name("elsewhere")
    run.rename(gone)  # at once, whatever is being written in it
    run.write_text("not a folder")
    _delete(gone)


def _gone(ward: Ward, at: int, trouble: Callable[[Path], None]) -> None:
    """What is saved later makes the folder anew, or the end says why not; the weights of the last step are kept."""
    ward.figures.faults += 1
    life = Life(ward, "gone")

    def meanwhile(process: int, out: Path) -> None:
        wait_for(out, tells_step(at), process)
        trouble(life.run)
        life.announced.clear()

    session = life.live(meanwhile=meanwhile, strict=False, resumes=False)
    _told(session)
    if session.status == 0:
        law(newest_good(life.run) == STEPS, f"nothing of the last step was kept: {session}")
        return
    if life.run.is_file():
        life.run.unlink()
    life.announced.clear()
    life.safe_step = 0
    life.finish(strict=False)


def _told(session: Session) -> None:
    if session.status:
        law(session.status == FAILED and session.of("failed"), f"ended without a sentence: {session}")
        law("unforeseen" not in session.failure, f"nobody foresaw this: {session}")
