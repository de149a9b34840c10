"""A walk for beginners: data, preset and training, with questions."""

from __future__ import annotations

import argparse

from atlas_core.cli.show import Show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults()


def run(args: argparse.Namespace, show: Show) -> None:
    raise AssertionError
