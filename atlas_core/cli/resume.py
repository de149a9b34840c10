"""What `atlas train` will do: begin a new run, or go on with one, and from which checkpoint.

Only decides, and clears up after a run that has nothing to go on with. A run that exists is never begun anew in its
own folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from atlas_core import continuity, jobs, paths, runs, soundness
from atlas_core import format as people
from atlas_core.claim import claimed, is_claimed, taken
from atlas_core.cli import arguments, questions, sentences
from atlas_core.config import Config
from atlas_core.continuity import MadeOn
from atlas_core.errors import AtlasError, CheckpointError
from atlas_core.runs import CheckpointInfo
from atlas_core.shell import quoted

MODES = ("auto", "ask", "never")


@dataclass(frozen=True)
class Plan:
    """A training to come. `dataset` is None for the sample text.

    `resume` is a checkpoint that was named, a run for the newest it has by then, or None for a new run. `changes` says
    what was changed in the settings of a run that goes on; training says it too.
    """

    config: Config
    dataset: Path | None
    run: Path
    resume: Path | None = None
    notices: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


def plan(args: argparse.Namespace) -> Plan:
    """Read the arguments of `atlas train`, and ask the person where that is wanted.

    Raises `CheckpointError` if the run to go on with is finished or has nothing to go on from.
    """
    unasked = "ask" if sys.stdin.isatty() and not args.json else "auto"
    mode = unasked if args.resume is None else args.resume
    if mode not in MODES:
        return _go_on_from(args, Path(mode))
    run = None if mode == "never" else _run_to_go_on_with(args, anywhere=mode == "ask" or bool(args.resume))
    found, damaged = soundness.newest_sound(run) if run else (None, ())
    if found is None:
        return _warned(_begin(args), damaged)
    going_on = dataclasses.replace(_go_on(args, found.path), resume=run)
    if mode == "ask":
        for sentence in (describe(found, going_on), *going_on.changes):
            questions.tell(sentence)
        if not questions.yes_no("Resume it?"):
            return _begin(args)
    return going_on


def describe(info: CheckpointInfo, plan: Plan) -> str:
    """An interrupted run in one sentence."""
    return (f"{plan.run.name} was interrupted at step {people.count(info.step)} of "
            f"{people.count(plan.config.training.max_steps)} (epoch {info.epoch:.1f}, loss {people.loss(info.loss)}, "
            f"perplexity {sentences.perplexity_of(info.loss)}), saved {people.ago(info.saved_at)}.")


def command(run: Path) -> str:
    """What to type to go on with `run`."""
    return f"atlas train --resume {quoted(run)}"


def _run_to_go_on_with(args: argparse.Namespace, *, anywhere: bool) -> Path | None:
    """The run in `--out`; without it, and if it may be `anywhere`, the fitting one that was interrupted last."""
    if args.out:
        return Path(args.out)
    named = arguments.named_config(args)
    fitting = (run for run in runs.list_runs() if anywhere and run.state == "interrupted"
               and (named is None or named.name == run.preset)
               and (args.data is None or run.dataset == args.data.resolve()))
    last = next(fitting, None)
    return last.path if last else None


def _go_on_from(args: argparse.Namespace, place: Path) -> Plan:
    """A checkpoint that is named is taken or refused; of a run, the newest one that is sound."""
    found, damaged = soundness.newest_sound(place) if place.is_dir() else (None, ())
    if found is not None:
        return dataclasses.replace(_go_on(args, found.path), resume=place)
    if place.is_dir() and is_claimed(place):  # before its first save
        raise taken(place)
    if damaged:
        raise CheckpointError(f"Every checkpoint of {place} is damaged.", "Begin anew with --resume never.")
    if place.is_dir() and runs.is_run(place):
        raise CheckpointError(f"{place} ended before anything was saved.", "Begin anew with --resume never.")
    return _go_on(args, runs.resolve(place))


def _warned(plan: Plan, damaged: Sequence[Path]) -> Plan:
    """The `plan` of a new run, with a sentence about the checkpoints that are not what was written."""
    if not damaged:
        return plan
    flaws = ", ".join(map(soundness.flaw, damaged))
    return dataclasses.replace(plan, notices=(f"{flaws}: training begins anew in {plan.run}.", *plan.notices))


def _begin(args: argparse.Namespace) -> Plan:
    config = arguments.read_config(args)
    dataset = args.data or (Path(config.dataset) if config.dataset else None)
    default = f"{config.name.lower()}-{dataset.absolute().name if dataset else jobs.SAMPLE_NAME}"
    run = _free(args.out) if args.out else paths.fresh_folder(paths.runs_dir(), default)
    return Plan(config, dataset, run, notices=_moved(args, run))


def _go_on(args: argparse.Namespace, checkpoint: Path) -> Plan:
    """The run's own settings are the base; `--set` is laid on them."""
    base, of_settings = jobs.settings_of(checkpoint)
    config = arguments.changed(args, base)
    home = runs.home_of(checkpoint)
    info = runs.read_sidecar(checkpoint)
    if info and info.step >= config.training.max_steps:
        if home:  # killed after its last step was safe: nobody will go on here and clear up
            with suppress(AtlasError), claimed(home):
                runs.sweep(home)
        raise CheckpointError(
            f"{home or checkpoint} has finished its {people.many(info.step, 'step')}.",
            f"Let it go on with --set training.max_steps={2 * info.step}, or begin anew with --resume never.")
    if home and (args.out is None or _same(args.out, home)):
        run = home
    else:
        run = _free(args.out) if args.out else paths.fresh_folder(paths.runs_dir(), config.name.lower())
    dataset = args.data or (Path(base.dataset) if base.dataset else None)
    return Plan(config, dataset, run, checkpoint, notices=_moved(args, run) + of_settings + _not_used(args, base),
                changes=_changed(base, config, info.step if info else 0))


def _changed(base: Config, config: Config, step: int) -> tuple[str, ...]:
    nothing_known = MadeOn()  # of this machine, before torch is loaded
    return (*continuity.future(base, config, step), *continuity.digits(base, config, nothing_known, nothing_known))


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _free(wanted: Path) -> Path:
    """`wanted` if nothing is there yet, or a run that ended before its first save; else a folder beside it."""
    is_free = not wanted.exists() or (wanted.is_dir() and runs.is_unsaved(wanted))
    return wanted if is_free else paths.fresh_folder(wanted.parent, wanted.name)


def _moved(args: argparse.Namespace, run: Path) -> tuple[str, ...]:
    """The sentence for an `--out` that is another's."""
    return (f"{args.out} is taken; the new run goes to {run}.",) if args.out and not _same(args.out, run) else ()


def _not_used(args: argparse.Namespace, base: Config) -> tuple[str, ...]:
    """The sentence for a `--preset` or `--config` that a run going on does not heed."""
    named = arguments.named_config(args)
    if named is None or named.name == base.name:
        return ()
    return (f"The run goes on with its own settings ({base.name}), not with {named.name}; "
            "change single ones with --set.",)
