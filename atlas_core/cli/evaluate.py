"""Measure a checkpoint on text that was kept aside."""

from __future__ import annotations

import argparse
from pathlib import Path

from atlas_core import jobs, runs
from atlas_core.cli.interrupt import stoppable
from atlas_core.cli.show import Show
from atlas_core.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN|CHECKPOINT", type=Path)
    parser.add_argument("--data", metavar="DATASET", type=Path, help="default: the one it was trained on")
    parser.add_argument("--split", choices=("val", "test", "train"), default="val", help="which part (default: val)")


def run(args: argparse.Namespace, show: Show) -> None:
    checkpoint = runs.resolve(args.model)
    dataset = args.data or Path(jobs.settings_of(checkpoint)[0].dataset)
    if dataset == Path():
        raise DataError(f"{checkpoint} does not say what it was trained on.", "Name a dataset with --data.")
    with stoppable(show) as control:
        for event in jobs.evaluate(checkpoint, dataset, control, split=args.split):
            show(event)
