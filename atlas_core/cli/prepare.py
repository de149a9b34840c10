"""Turn text files, folders and archives into a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from atlas_core import config as settings
from atlas_core import jobs, paths
from atlas_core.cli import arguments
from atlas_core.cli.interrupt import stoppable
from atlas_core.cli.show import Show
from atlas_core.config import Config
from atlas_core.shell import quoted

CLEANING = tuple(s.name.removeprefix("clean_") for s in settings.settings().values() if s.name.startswith("clean_"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", metavar="SOURCE", nargs="+", type=Path,
                        help=".txt, .md or .jsonl files, folders or zip archives of them")
    parser.add_argument("--out", metavar="DATASET", type=Path, help="folder to write (default: among your datasets)")
    parser.add_argument("--tokenizer", metavar="NAME",
                        help="gpt2, bpe:4096 to learn 4096 tokens from the text, or a folder with a tokenizer")
    parser.add_argument("--clean", metavar="WHAT", type=cleaning,
                        help=f"all, none, or some of {','.join(CLEANING)} (default: all)")
    parser.add_argument("--field", metavar="NAME", help="which field of a .jsonl line holds the text (default: text)")
    parser.add_argument("--val-fraction", metavar="X", type=float,
                        help="share of the text kept aside for validation (default: 0.05)")
    arguments.add_config(parser)


def run(args: argparse.Namespace, show: Show) -> None:
    config = wanted_config(args)
    out = args.out or paths.fresh_folder(paths.datasets_dir(), args.sources[0].stem)
    with stoppable(show) as control:
        for event in jobs.prepare(args.sources, out, config, control):
            show(event)
    if not show.interrupted:
        show.say(f"Train on it: atlas train --data {quoted(out)}")


def wanted_config(args: argparse.Namespace) -> Config:
    """The configuration with this verb's own flags laid on it."""
    changes = {"tokenizer.name": args.tokenizer, "data.text_field": args.field, "data.val_fraction": args.val_fraction}
    if args.clean is not None:
        changes |= {f"data.clean_{name}": name in args.clean for name in CLEANING}
    given = {key: value for key, value in changes.items() if value is not None}
    return arguments.read_config(args, default=Config()).replace(given)


def cleaning(text: str) -> tuple[str, ...]:
    """ "all", "none" or names joined by commas."""
    names = {"all": CLEANING, "none": ()}.get(text, tuple(text.split(",")))
    for name in names:
        if name not in CLEANING:
            raise argparse.ArgumentTypeError(f"'{name}' is none of all, none, {', '.join(CLEANING)}")
    return names
