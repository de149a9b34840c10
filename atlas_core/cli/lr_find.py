"""Find a good learning rate: a short training at rising rates, thrown away afterwards."""

from __future__ import annotations

import argparse
from pathlib import Path

from atlas_core import jobs
from atlas_core.cli import arguments
from atlas_core.cli.interrupt import stoppable
from atlas_core.cli.sample import sample_dataset
from atlas_core.cli.show import Show
from atlas_core.events import RateFound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    parser.add_argument("--data", metavar="DATASET", type=Path, help="a prepared dataset (default: the sample text)")
    parser.add_argument("--steps", metavar="N", type=int, default=jobs.RATE_STEPS,
                        help="how many steps the test takes (default: %(default)s)")
    parser.add_argument("--low", metavar="RATE", type=float, default=jobs.LOWEST_RATE,
                        help="the rate of the first step (default: %(default)g)")
    parser.add_argument("--high", metavar="RATE", type=float, default=jobs.HIGHEST_RATE,
                        help="the rate of the last step (default: %(default)g)")


def run(args: argparse.Namespace, show: Show) -> None:
    config = arguments.read_config(args)
    dataset = args.data or sample_dataset(config, show)
    if dataset is None:
        return
    with stoppable(show) as control:
        for event in jobs.find_learning_rate(config, dataset, control, steps=args.steps, low=args.low, high=args.high):
            show(event)
            if isinstance(event, RateFound):
                show.say(f"Use it with: --set training.learning_rate={event.learning_rate:g}")
