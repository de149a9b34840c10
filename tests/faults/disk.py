"""A disk that fills up while a run trains, and has room again later.

As root on a small file system in memory; for anybody else with a limit on the size of files.
"""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.life import EVERY, FAILED, Case, Life, Session, Ward, law, tells_step, wait_for
from tests.faults.victim import Plan

TITLE = "full disks"
DISK_BYTES = 16 * 2**20
LEFT_BYTES = (0, 5_000, 200_000, 466_000, 700_000, 1_200_000)  # a checkpoint is of half a megabyte
LIMITS = (100_000, 300_000, 460_000)  # more than what the training says


def cases(ward: Ward, seed: int, *, share: float = 1.0) -> Iterator[Case]:
    chance = random.Random(seed)
    mounts = sys.platform == "linux" and os.geteuid() == 0
    for left in LEFT_BYTES if mounts else ():
        for comes_back in ("during", "after"):
            for at in (7, EVERY + 7, 4 * EVERY - 2):
                if chance.random() < share:
                    yield Case(f"disk/{left}-left:{at}:{comes_back}",
                               lambda n=left, w=at, c=comes_back: _filled(ward, n, w, during=c == "during"))
    for limit in LIMITS:
        if chance.random() < share:
            yield Case(f"disk/files-of-{limit}", lambda n=limit: _limited(ward, n))


def _filled(ward: Ward, left_bytes: int, at: int, *, during: bool) -> None:
    """From step `at` on there are `left_bytes` left; room comes back twenty-five steps later or after the end."""
    ward.figures.faults += 1
    life = Life(ward, "disk")
    life.run = life.home / "small" / "run"  # what the program says goes elsewhere
    with small_disk(life.run.parent) as ballast:
        def meanwhile(process: int, out: Path) -> None:
            wait_for(out, tells_step(at), process)
            fill(ballast, left_bytes)
            if during:
                wait_for(out, tells_step(at + EVERY + 5), process)
                ballast.unlink()

        session = life.live(meanwhile=meanwhile, strict=False, resumes=False)
        _told(session)
        ballast.unlink(missing_ok=True)
        if session.status == 0:
            life.is_as_undisturbed()
        else:
            life.finish(strict=False)


def _limited(ward: Ward, limit_bytes: int) -> None:
    ward.figures.faults += 1
    life = Life(ward, "limit")
    session = life.live(Plan(str(life.run), limit_bytes=limit_bytes), strict=False, resumes=False)
    law(session.status == FAILED, f"saved what cannot be saved: {session}")
    _told(session)
    life.finish(strict=False)


def _told(session: Session) -> None:
    if session.status:
        law(session.status == FAILED and session.of("failed"), f"ended without a sentence: {session}")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own at `folder`; gives the name of a file to fill it with."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], check=True)
    try:
        yield folder / "ballast"
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(ballast: Path, left_bytes: int) -> None:
    """Leave about `left_bytes`; training writes meanwhile, so what was free may be gone."""
    with open(ballast, "wb") as file:
        while True:
            room = os.statvfs(ballast.parent)
            size = room.f_bavail * room.f_frsize - left_bytes
            try:
                os.posix_fallocate(file.fileno(), 0, max(size, 1))
                return
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                left_bytes += 4096
