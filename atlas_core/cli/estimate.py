"""Say how large a model is and what training it needs; with `--measure`, also how long it takes here."""

from __future__ import annotations

import argparse
from pathlib import Path

from atlas_core import jobs
from atlas_core.cli import arguments
from atlas_core.cli.show import Show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    parser.add_argument("--data", metavar="DATASET", type=Path, help="judge for this prepared dataset")
    parser.add_argument("--measure", action="store_true",
                        help="train a few steps that are thrown away, and tell how long the whole run takes")
    arguments.add_fit(parser)
    arguments.add_minutes(parser)
    parser.add_argument("--device-memory", metavar="SIZE", type=arguments.memory_size, dest="device_bytes",
                        help="judge for a device with this much memory, such as 8GiB (default: this machine's)")


def run(args: argparse.Namespace, show: Show) -> None:
    config = arguments.read_config(args)
    if args.fit:
        config = arguments.fitted(config, show, device_bytes=args.device_bytes)
    if args.minutes:
        config = arguments.within(config, args.minutes, args.data, show)
    measure = args.measure and not args.minutes  # which has measured already
    for event in jobs.estimate(config, dataset=args.data, device_bytes=args.device_bytes, measure=measure):
        show(event)
