"""Walk the whole chain on the sample text: dataset, model, a sample of its writing, verified GGUF file."""

from __future__ import annotations

import argparse
from pathlib import Path

from atlas_core import jobs, paths
from atlas_core.cli import arguments
from atlas_core.cli.interrupt import stoppable
from atlas_core.cli.show import Show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where to put it all (default: a new folder)")
    arguments.add_minutes(parser, default=jobs.DEMO_SECONDS / 60)


def run(args: argparse.Namespace, show: Show) -> None:
    out = args.out or paths.fresh_folder(paths.home(), "demo")
    with stoppable(show, saves=True) as control:
        for event in jobs.demo(out, control, 60 * args.minutes):
            show(event)
    if show.finished and not show.interrupted:
        show.say(f"It writes:\n\n{show.finished.details['text']}\n\nAll of it lies in {out}.")
