"""A run and its accidents, and the laws that are looked after at each of its starts and ends.

What a law says is computed here once more, slowly and obviously, and not asked of the program.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from atlas_core import runs
from tests import tiny
from tests.faults.nursery import PATIENCE_S, Nursery
from tests.faults.victim import Plan

STEPS = 120
INTERVAL, EVERY = 22, 20  # the most steps that may be lost; so a save begins after these
NEEDED = {"kind", "step", "epoch", "loss", "val_loss", "perplexity", "learning_rate", "bytes", "sha256", "saved_at",
          "max_steps", "parameters"}  # what a sidecar tells
FAILED, INTERRUPTED = 1, 130
Event = dict[str, Any]
Curve = list[tuple[Any, ...]]


class BrokenLawError(AssertionError):
    """A law that did not hold."""


def law(holds: object, what: str) -> None:
    """Raises `BrokenLawError` unless it `holds`."""
    if not holds:
        raise BrokenLawError(what)


@dataclass(frozen=True)
class Case:
    """One moment: its name, by which it can be had again, and what is done."""

    name: str
    run: Callable[[], None]


@dataclass
class Figures:
    """What is printed at the end."""

    kills: int = 0
    faults: int = 0
    resumes: int = 0
    steps_lost: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def line(self, seconds: float) -> str:
        lost = self.steps_lost or [0]
        return (f"{self.kills} kills, {self.faults} other faults, {self.resumes} resumes, "
                f"{len(self.broken)} laws broken; steps lost: median {statistics.median(lost):g}, "
                f"worst {max(lost)} of {INTERVAL} that may be; {seconds:.0f} s")


@dataclass(frozen=True)
class Session:
    """What one process said, and how it ended: `status` is its exit status, negative for a signal."""

    events: list[Event]
    status: int | None
    errors: str

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["event"] == kind]

    @property
    def resumed_from(self) -> int | None:
        """The step it began at, None if it never came so far."""
        started = self.of("run")
        return int(started[0]["resumed_from"]) if started else None

    @property
    def reached(self) -> int:
        """The last step it told of, else the one it began at."""
        return max([self.resumed_from or 0, *(event["step"] for event in self.of("step"))])

    @property
    def notices(self) -> str:
        return "\n".join(event["message"] for event in self.of("notice"))

    @property
    def failure(self) -> str:
        return "\n".join(f"{event['error']} {event['remedy']}" for event in self.of("failed"))

    def __str__(self) -> str:
        return f"status {self.status}; {self.notices} {self.failure} {self.errors[-1500:]}"


class Ward:
    """What all cases share: a place, a dataset, settings, a nursery and the run that nobody disturbed."""

    def __init__(self, place: Path, nursery: Nursery) -> None:
        self.place, self.nursery, self.figures = place, nursery, Figures()
        self.config = tiny.config(
            training__max_steps=STEPS, training__batch_size=4, training__gradient_accumulation_steps=1,
            evaluation__eval_interval=EVERY, checkpointing__save_interval=INTERVAL,
            checkpointing__keep_checkpoints=3, checkpointing__keep_epochs=1, sampling__interval=0,
            logging__log_interval=1, hardware__keep_awake=False)
        self.config.save(place / "config.yaml")
        self.dataset = tiny.make_dataset(place, self.config)

    @cached_property
    def reference(self) -> Path:
        life = Life(self, "reference")
        session = life.live()
        law(session.status == 0, f"the undisturbed run failed: {session}")
        return life.run

    def run_at(self, step: int) -> Path | None:
        """A run that was killed once the save of `step` was announced; None for 0, where there is none yet."""
        if step == 0:
            return None
        kept = self.place / f"run-at-{step}"
        if not kept.exists():
            life = Life(self, f"until-{step}", born_from=self.run_at(step - EVERY))
            life.live(meanwhile=kill_at(tells_saved(step)))
            life.killed()
            shutil.copytree(life.run, kept)
        return kept

    @cached_property
    def curve(self) -> Curve:
        return curve(self.reference)

    @cached_property
    def told(self) -> set[tuple[Any, ...]]:
        return set(self.curve)

    @cached_property
    def weights(self) -> dict[str, Any]:
        return state(self.reference / "checkpoints" / f"atlas_step_{STEPS}.pt")

    @cached_property
    def best_step(self) -> int:
        return int(sidecar(self.reference / "checkpoints" / runs.BEST)["step"])


class Life:
    """One run folder from its birth on, whatever happens to it."""

    def __init__(self, ward: Ward, name: str, *, born_from: Path | None = None) -> None:
        self.ward, self.home = ward, ward.place / "lives" / re.sub(r"[^\w.-]", "-", name)
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.run = self.home / "run"
        self.story: list[str] = []
        self.reached = 0  # the last step that was told of
        self.announced: set[str] = set()  # kinds of checkpoints that were told to be safe
        self.safe_step = 0
        if born_from is not None:
            shutil.copytree(born_from, self.run)
            self.reached = max([0, *(line[1] for line in curve(self.run) if line[0] == "step")])
            self.announced, self.safe_step = {"best", "step"}, newest_good(self.run)

    # ---- processes --------------------------------------------------------------------------------

    def words(self, *more: str) -> list[str]:
        return ["train", "--config", str(self.ward.place / "config.yaml"), "--data", str(self.ward.dataset),
                "--out", str(self.run), "--resume", "auto", "--json", *more]

    def start(self, plan: Plan | None = None, *more: str, cold: bool = False) -> tuple[int, Path]:
        """Begin a session; returns its process and the file it writes to."""
        out = self.home / f"out-{len(self.story)}"
        self.story.append(str(plan))
        return self.ward.nursery.start(self.words(*more), plan or Plan(), out=out, cold=cold), out

    def live(self, plan: Plan | None = None, *more: str, meanwhile: Callable[[int, Path], None] | None = None,
             strict: bool = True, resumes: bool = True, compare: bool = True, cold: bool = False) -> Session:
        """One session from start to end, with the laws of both.

        `meanwhile` is given the process and its output. `strict`: what was announced as safe is there and at most an
        interval is lost. `resumes`: it begins training, unless it is killed before. `compare`: its curve is right.
        """
        before = newest_good(self.run)
        process, out = self.start(plan, *more, cold=cold)
        if meanwhile is not None:
            meanwhile(process, out)
        session = self.end(process, out)
        if session.resumed_from is not None:
            self._went_on_from(session, before, strict=strict, compare=compare)
        elif resumes:
            law(session.status == -signal.SIGKILL, f"the run does not resume: {session}")
        return session

    def end(self, process: int, out: Path) -> Session:
        """Wait for a session and take in what it told; a child that hangs breaks a law."""
        status = self.ward.nursery.wait(process)
        if status is None:
            os.kill(process, signal.SIGKILL)
            self.ward.nursery.wait(process)
        session = Session(read_events(out), status, out.with_name(out.name + ".err").read_text(errors="replace"))
        law(status is not None, f"still running after {PATIENCE_S:g} s: {session}")
        law("Traceback" not in session.errors, f"a traceback: {session}")
        law(status == -signal.SIGKILL or status in (0, FAILED, INTERRUPTED), f"ended in a strange way: {session}")
        if status == -signal.SIGKILL:
            self.ward.figures.kills += 1
        if session.resumed_from is not None:
            self.reached = session.reached
        for event in session.of("checkpoint"):
            self.announced.add(event["kind"])
            self.safe_step = max(self.safe_step, event["step"])
        return session

    def _went_on_from(self, session: Session, before: int, *, strict: bool, compare: bool) -> None:
        assert session.resumed_from is not None
        law(session.resumed_from == before,
            f"went on from step {session.resumed_from}, the newest good checkpoint was of {before}: {session}")
        if self.story[1:] or before:
            self.ward.figures.resumes += 1
        if compare:
            self._compare_curve(whole=False)
        if strict:
            self.best_is_whole()

    # ---- laws -------------------------------------------------------------------------------------

    def killed(self) -> None:
        """The laws of a folder whose trainer was killed just now."""
        good = newest_good(self.run)
        law(good >= self.safe_step, f"step {self.safe_step} was announced as safe, and the newest good is {good}")
        lost = self.reached - good
        law(lost <= INTERVAL, f"{lost} steps are lost: from {self.reached} back to {good}")
        self.ward.figures.steps_lost.append(max(0, lost))
        self.best_is_whole()
        self._compare_curve(whole=False)

    def best_is_whole(self) -> None:
        if "best" in self.announced:
            found = runs.best(self.run)
            law(found is not None and is_good(found.path), "the best checkpoint is gone or not whole")

    def finish(self, **more: Any) -> Session:
        """Go on to the last step, and compare all with the run that nobody disturbed."""
        if newest_good(self.run) == STEPS:  # only its last word was cut off: there is nothing to go on with
            session = self.live(resumes=False, **more)
            law("has finished its" in session.failure, f"strange of a whole run: {session}")
        else:
            session = self.live(**more)
            law(session.status == 0 and session.of("finished")[0]["reason"] == "done", f"did not finish: {session}")
        self.is_as_undisturbed()
        return session

    def is_as_undisturbed(self) -> None:
        """Every step once and in order, each loss to the last digit, the same weights and the same best."""
        self._compare_curve(whole=True)
        last = newest_good_path(self.run)
        law(last is not None and sidecar(last)["step"] == STEPS, "there is no checkpoint of the last step")
        assert last is not None
        ours = state(last)
        law(same(ours, self.ward.weights), "the last checkpoint is another one than without the fault")
        best = runs.best(self.run)
        law(best is not None and is_good(best.path), "there is no whole best checkpoint at the end")
        assert best is not None
        law(best.step == self.ward.best_step, f"the best is of step {best.step}, undisturbed {self.ward.best_step}")
        left = [path.name for path in (self.run / "checkpoints").glob(".*")]
        law(not left, f"temporary files are left: {left}")

    def _compare_curve(self, *, whole: bool) -> None:
        text = (self.run / runs.METRICS_FILE).read_bytes() if (self.run / runs.METRICS_FILE).exists() else b""
        if whole:
            law(text.endswith(b"\n"), "the last line of the curve is torn")
            mine = curve(self.run, strict=True)
            law(mine == self.ward.curve, f"the curve is another one: {difference(mine, self.ward.curve)}")
            return
        if self.run == self.ward.place / "lives" / "reference" / "run":
            return
        mine = curve(self.run)
        strange = [line for line in mine if line not in self.ward.told]
        law(not strange, f"lines of the curve that an undisturbed run does not have: {strange[:3]}")
        steps = [line[1] for line in mine if line[0] == "step"]
        law(len(set(steps)) == len(steps), "a step is twice in the curve")


# ---- looking at folders, independently of the program ---------------------------------------------


def read_events(out: Path) -> list[Event]:
    """The whole lines of standard output; the last may have been cut off by a kill."""
    lines = out.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1]]


def curve(run: Path, *, strict: bool = False) -> Curve:
    """Kind, step and every number that may not differ. Torn lines are passed over unless `strict`."""
    found: Curve = []
    for line in (run / runs.METRICS_FILE).read_bytes().splitlines() if (run / runs.METRICS_FILE).exists() else []:
        try:
            r = json.loads(line)
        except ValueError:
            law(not strict, f"a line of the curve is no JSON: {line[:80]!r}")
            continue
        numbers = ("loss", "grad_norm", "learning_rate") if r.get("event") == "step" else ("val_loss",)
        found.append((r.get("event"), r.get("step"), *(repr(r.get(name)) for name in numbers)))
    return found


def difference(ours: Curve, theirs: Curve) -> str:
    """Where two curves part."""
    for mine, wanted in zip(ours, theirs, strict=False):
        if mine != wanted:
            return f"{mine} instead of {wanted}"
    return f"{len(ours)} lines instead of {len(theirs)}"


def sidecar(checkpoint: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(checkpoint.with_suffix(".json").read_text())
    return found


def is_good(checkpoint: Path) -> bool:
    """Whether a checkpoint has the size and the digest that its sidecar names."""
    try:
        if not checkpoint.stat().st_mode & 0o444:  # root could read it, the training could not
            return False
        about, content = sidecar(checkpoint), checkpoint.read_bytes()
        told = json.dumps({name: about[name] for name in about if name != "seal"}, sort_keys=True).encode()
        return bool(about.keys() >= NEEDED and about["bytes"] == len(content)
                    and about["sha256"] == hashlib.sha256(content).hexdigest()
                    and about["seal"] == hashlib.sha256(told).hexdigest())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def newest_good(run: Path) -> int:
    """The step of the newest checkpoint that is good, 0 if there is none."""
    path = newest_good_path(run)
    return int(sidecar(path)["step"]) if path else 0


def newest_step(run: Path) -> Path:
    """The newest checkpoint of a step: due every `EVERY` steps."""
    return max((run / "checkpoints").glob("atlas_step_*.pt"), key=lambda path: int(path.stem.rpartition("_")[2]))


def newest_good_path(run: Path) -> Path | None:
    good = [path for path in (run / "checkpoints").glob("atlas_*.pt") if is_good(path)]
    return max(good, key=lambda path: int(sidecar(path)["step"]), default=None)


def state(checkpoint: Path) -> dict[str, Any]:
    """All that decides how a run goes on; not what time it took."""
    found: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    progress = {key: value for key, value in found["progress"].items() if "seconds" not in key}
    return {"model": found["model"], "optimizers": found["optimizers"], "progress": progress}


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, tensors included."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or repr(one) == repr(other) == "nan")


def wait_for(out: Path, seen: Callable[[str], bool], process: int) -> None:
    """Return once a line of standard output is `seen`, or the process has ended."""
    give_up_at, told = time.monotonic() + PATIENCE_S, 0
    while time.monotonic() < give_up_at:
        lines = out.read_text(errors="replace").split("\n")[:-1] if out.exists() else []
        if any(map(seen, lines[told:])):
            return
        told = len(lines)
        if has_ended(process):
            return
        time.sleep(0.003)
    raise BrokenLawError(f"{out} does not tell what it was waited for")


def has_ended(process: int) -> bool:
    """Whether a process is a zombie by now; its status is still to be asked for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except FileNotFoundError:
        return True


def tells_step(step: int) -> Callable[[str], bool]:
    """Whether a line tells of `step` or a later one."""
    found = re.compile(r'"event": "step", "step": (\d+)')

    def seen(line: str) -> bool:
        match = found.search(line)
        return match is not None and int(match[1]) >= step

    return seen


def tells_saved(step: int, kind: str = "step") -> Callable[[str], bool]:
    """Whether a line tells that a checkpoint of `step` is safe."""
    def seen(line: str) -> bool:
        event = json.loads(line)
        return bool(event["event"] == "checkpoint" and event["kind"] == kind and event["step"] >= step)

    return seen


def kill_at(seen: Callable[[str], bool], number: int = signal.SIGKILL) -> Callable[[int, Path], None]:
    """For `Life.live(meanwhile=...)`: a signal as soon as a line is seen."""
    def meanwhile(process: int, out: Path) -> None:
        wait_for(out, seen, process)
        if not has_ended(process):
            os.kill(process, number)

    return meanwhile


def kill_after(seconds: float, number: int = signal.SIGKILL) -> Callable[[int, Path], None]:
    def meanwhile(process: int, _: Path) -> None:
        give_up_at = time.monotonic() + seconds
        while time.monotonic() < give_up_at and not has_ended(process):
            time.sleep(0.001)
        if not has_ended(process):
            os.kill(process, number)

    return meanwhile


