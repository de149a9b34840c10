"""Let a model continue prompts, as a stream of text."""

from __future__ import annotations

import argparse
from pathlib import Path

from atlas_core import config as settings
from atlas_core import jobs, runs
from atlas_core.cli import arguments
from atlas_core.cli.interrupt import stoppable
from atlas_core.cli.resume import settings_of
from atlas_core.cli.show import Show

FLAGS = [s for s in settings.settings().values() if s.section == "sampling" and s.name not in ("prompts", "interval")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN|CHECKPOINT", type=Path)


def run(args: argparse.Namespace, show: Show) -> None:
    raise AssertionError
