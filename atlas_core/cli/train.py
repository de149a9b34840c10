"""Train a model on a dataset, or go on with a run that was interrupted."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

from atlas_core import format as people
from atlas_core import jobs
from atlas_core.cli import arguments, presets, resume
from atlas_core.cli.interrupt import stoppable
from atlas_core.cli.sample import sample_dataset
from atlas_core.cli.show import Show
from atlas_core.errors import ConfigError
from atlas_core.events import Notice
from atlas_core.shell import quoted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    parser.add_argument("--data", metavar="DATASET", type=Path, help="a prepared dataset (default: the sample text)")
    parser.add_argument("--out", metavar="RUN", type=Path,
                        help="folder of the run (default: a new one among your runs)")
    parser.add_argument("--resume", metavar="auto|ask|never|CHECKPOINT",
                        help="go on with the run in --out, or with this run or checkpoint "
                             "(default: ask, or auto where nobody can answer)")
    parser.add_argument("--device", metavar="auto|cpu|cuda|mps", action="append", dest="overrides", type=_device,
                        default=[], help="where to compute (default: auto)")
    arguments.add_fit(parser)
    arguments.add_minutes(parser)
    parser.add_argument("--help-settings", action="store_true", help="show every setting that --set can change")


def run(args: argparse.Namespace, show: Show) -> None:
    if args.help_settings:
        presets.show_settings(show)
        return
    plan = resume.plan(args)
    if args.fit:
        plan = dataclasses.replace(plan, config=arguments.fitted(plan.config, show))
    planned = _within(plan, args.minutes, show) if args.minutes else plan
    if planned is not None:
        train(planned, show)


def _within(plan: resume.Plan, minutes: float, show: Show) -> resume.Plan | None:
    """The plan with the steps of so many minutes; None if preparing the text for it was interrupted."""
    if plan.resume is not None:
        raise ConfigError(["--minutes plans a new run, and this one goes on"],
                          "Add --resume never for a new run, or choose its end with --set training.max_steps=N.")
    dataset = plan.dataset or sample_dataset(plan.config, show)
    if dataset is None:
        return None
    config = arguments.within(plan.config, minutes, dataset, show)
    return dataclasses.replace(plan, config=config, dataset=dataset)


def train(plan: resume.Plan, show: Show) -> bool:
    """Carry out a plan; False if it was interrupted."""
    for notice in plan.notices:
        show(Notice(notice, "warning"))
    dataset = plan.dataset or sample_dataset(plan.config, show)
    if dataset is None:
        return False
    with stoppable(show, saves=True) as control:
        for event in jobs.train(plan.config, dataset, plan.run, control, resume=plan.resume):
            show(event)
    assert show.finished is not None  # every job ends with it or raises
    show.say(summary(show.finished.details))
    if not show.interrupted:
        show.say(_next_steps(plan.run))
    elif show.finished.details["step"]:  # else there is nothing to go on with
        show.say(f"Go on later with: {resume.command(plan.run)}")
    return not show.interrupted


def summary(details: dict[str, Any]) -> str:
    """What came of a training, from the details of its `Finished`."""
    best = details["best_val_loss"]
    validated = f", best validation loss {people.loss(best)}" if math.isfinite(best) else ""
    return (f"{people.count(details['step'])} of {people.count(details['max_steps'])} steps in "
            f"{people.duration(details['seconds'])}: loss {people.loss(details['loss'])}{validated}.")


def _next_steps(run: Path) -> str:
    name = quoted(run)
    return f"Talk to it: atlas generate {name} --interactive\nTake it away: atlas export {name} --to model.gguf"


def _device(name: str) -> str:
    return f"hardware.device={name}"
