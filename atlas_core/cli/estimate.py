"""Say how large a model is and what training it needs, without building it."""

from __future__ import annotations

import argparse

from atlas_core import jobs
from atlas_core.cli import arguments
from atlas_core.cli.show import Show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_config(parser)
    parser.add_argument("--device-memory", metavar="SIZE", type=arguments.memory_size, dest="device_bytes",
                        help="judge for a device with this much memory, such as 8GiB (default: this machine's)")


def run(args: argparse.Namespace, show: Show) -> None:
    for event in jobs.estimate(arguments.read_config(args), device_bytes=args.device_bytes):
        show(event)
