"""A hostile input, how it is brought about, and what came of it. Not here: the inputs themselves."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas_core import jobs
from atlas_core.cli import main
from atlas_core.control import Control
from tests import tiny


@dataclass(frozen=True)
class Ground:
    """The folder of one case, and what all of them share and must not write to: a dataset and a run on it."""

    here: Path
    dataset: Path
    run: Path

    def path(self, name: str) -> Path:
        return self.here / name

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def own_run(self) -> Path:
        """A copy of the run, to be spoilt."""
        return Path(shutil.copytree(self.run, self.here / "run"))

    def own_dataset(self) -> Path:
        return Path(shutil.copytree(self.dataset, self.here / "data"))

    def own_checkpoint(self) -> Path:
        """A copy of the run's newest checkpoint, alone and without its sidecar."""
        return Path(shutil.copy(self.run / "checkpoints" / "atlas_step_2.pt", self.here / "stranger.pt"))

    def nothing_new(self, *expected: str) -> None:
        """Nothing lies here but what the case itself has put here."""
        assert sorted(path.name for path in self.here.iterdir()) == sorted(expected)


@dataclass(frozen=True)
class Case:
    """`make` puts the input in its place and returns the command that meets it. `says` is what the program must say
    then: error and remedy, or, if it goes on, its warnings; paths before the last name are written as an ellipsis.

    `around` holds while the command runs, `check` looks at what is left.
    """

    name: str
    make: Callable[[Ground], list[object]]
    says: str
    goes_on: bool = False
    check: Callable[[Ground], None] | None = None
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it said."""

    goes_on: bool
    said: str


def meet(case: Case, ground: Ground) -> Outcome:
    """Make the input, run the command, look at what is left."""
    argv = [str(word) for word in case.make(ground)]
    with case.around():
        status, events = run(argv)
    outcome = Outcome(status == 0, said(events, ground))
    assert status in (0, 1), events
    assert "unforeseen" not in outcome.said
    if case.check is not None:
        case.check(ground)
    return outcome


def run(argv: list[str]) -> tuple[int, list[dict[str, Any]]]:
    """The real program, in this process; its exit status and its events."""
    out, complaints = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints):
        status = main([*argv, "--json"])
    assert complaints.getvalue() == ""
    return status, [json.loads(line) for line in out.getvalue().splitlines()]


def said(events: list[dict[str, Any]], ground: Ground) -> str:
    """The error and its remedy, or the warnings, without the folders of this machine."""
    if events[-1]["event"] == "failed":
        text = f"{events[-1]['error']} {events[-1]['remedy']}".strip()
    else:
        text = " ".join(event["message"] for event in events if event["event"] == "notice"
                        and event["level"] == "warning")
    text = re.sub(r"[\d,.]+ MiB from [\d,.]+ MiB", "N MiB from M MiB", text)  # depends on the version of zlib
    for folder in (ground.here, ground.run.parent):
        text = text.replace(str(folder), "…")
    return text


def shared(folder: Path) -> tuple[Path, Path]:
    """A dataset and a run of two steps on it."""
    config = tiny.config(training__max_steps=2, training__warmup_steps=0, sampling__interval=0,
                         hardware__keep_awake=False)
    dataset = tiny.make_dataset(folder, config)
    tiny.drain(jobs.train(config, dataset, folder / "run", Control()))
    return dataset, folder / "run"
