"""Write a checkpoint as a file that llama.cpp, Ollama and LM Studio open, and prove it."""

from __future__ import annotations

import argparse
from pathlib import Path

from atlas_core import jobs
from atlas_core.cli.interrupt import stoppable
from atlas_core.cli.show import Show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN|CHECKPOINT", type=Path)
    parser.add_argument("--to", metavar="FILE", type=Path, required=True, help="the file to write, such as model.gguf")
    parser.add_argument("--type", metavar="f32|f16|...", default="f16",
                        help="number format of the matrices (default: f16)")
    parser.add_argument("--no-verify", action="store_false", dest="verify", help="do not reopen and compare the file")


def run(args: argparse.Namespace, show: Show) -> None:
    with stoppable(show) as control:
        for event in jobs.export(args.model, args.to, control, type=args.type, verify=args.verify):
            show(event)
