"""List the runs in a folder, or look at one of them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from atlas_core import format as people
from atlas_core import paths
from atlas_core import runs as folders
from atlas_core.cli import resume
from atlas_core.cli.sentences import perplexity_of
from atlas_core.cli.show import Show
from atlas_core.errors import CheckpointError
from atlas_core.events import Event, Finished
from atlas_core.runs import RunInfo


@dataclass(frozen=True)
class RunListed(Event):
    """A run at a glance, with its checkpoints."""

    event: ClassVar[str] = "run_listed"
    info: RunInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path,
                        help="a run, or a folder of runs (default: yours)")


def run(args: argparse.Namespace, show: Show) -> None:
    folder = args.folder or paths.runs_dir()
    if args.folder and not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder}.", "Check the path.")
    if folders.is_run(folder):
        show_run(folders.inspect(folder), show)
    else:
        show_runs(folder, show)
    show(Finished())


def show_runs(folder: Path, show: Show) -> None:
    found = folders.list_runs(folder)
    for info in found:
        show(RunListed(info))
    if not found:
        show.say(f"No runs in {folder} yet. Begin one with: atlas train")
        return
    show.table(("run", "preset", "state", "step", "loss", "best val", "parameters", "size", "touched"), [
        (info.name, info.preset, info.state, f"{people.count(info.step)}/{people.count(info.max_steps)}",
         people.loss(info.loss), people.loss(info.best_val_loss), people.short_count(info.parameters),
         people.size(info.bytes), people.ago(info.updated_at)) for info in found
    ])


def show_run(info: RunInfo, show: Show) -> None:
    show(RunListed(info))
    show.table(("run", info.name), [
        ("folder", str(info.path)),
        ("preset", info.preset),
        ("dataset", str(info.dataset or people.DASH)),
        ("state", f"{info.state} at step {people.count(info.step)} of {people.count(info.max_steps)}"),
        ("parameters", people.short_count(info.parameters)),
        ("loss", people.loss(info.loss)),
        ("best validation loss", people.loss(info.best_val_loss)),
        ("size", people.size(info.bytes)),
    ])
    show.table(("checkpoint", "step", "epoch", "loss", "perplexity", "val loss", "val perplexity", "size", "saved"), [
        (point.path.name, people.count(point.step), f"{point.epoch:.2f}", people.loss(point.loss),
         perplexity_of(point.loss), people.loss(point.val_loss), perplexity_of(point.val_loss),
         people.size(point.bytes), people.ago(point.saved_at)) for point in info.checkpoints
    ])
    if info.state == "interrupted":
        show.say(f"Go on with: {resume.command(info.path)}")
