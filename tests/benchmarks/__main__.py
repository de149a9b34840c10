"""`python -m tests.benchmarks [SECTION ...]`: measure, print tables, keep the results."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.benchmarks import (
    ceiling,
    forecast,
    lowmem,
    memory_grid,
    optimizers,
    profile,
    quality,
    report,
    saving,
    scaling,
    throughput,
    tried,
    ways,
)
from tests.benchmarks.section import Effort, Row

MODULES = (throughput, ceiling, profile, ways, tried, memory_grid, forecast, quality, optimizers, lowmem,
           scaling, saving)
SECTIONS = {module.SECTION.name: module.SECTION for module in MODULES}


def main(arguments: Sequence[str]) -> int:
    args = _parser().parse_args(arguments)
    effort = Effort(rounds=args.repeats or (2 if args.quick else Effort.rounds),
                    seconds=0.5 if args.quick else Effort.seconds, quick=args.quick, only=args.only)
    now = datetime.datetime.now(datetime.timezone.utc)
    out = args.out or report.default_path(now)
    console, log = report.console(), Console(stderr=True)
    results: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as home:
        os.environ["ATLAS_HOME"] = home  # for all processes: what this machine remembers stays the user's own
        for name in args.sections or SECTIONS:
            section, rows = SECTIONS[name], results.setdefault(name, [])
            with log.status(section.title) as status:
                for row in section.rows(Path(home), effort):
                    rows.append(row)
                    status.update(f"{section.title}: {len(rows)} rows")
            report.show(console, section, rows)
            report.save(out, results, now=now, arguments=arguments)
    log.print(f"Results are in {out}", highlight=False)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", choices=[[], *SECTIONS],
                        help=f"what to measure: {', '.join(SECTIONS)}; default all")
    parser.add_argument("--quick", action="store_true", help="a few cases and short turns: does it work at all?")
    parser.add_argument("--repeats", type=int, metavar="N", help=f"turns of each contestant (default {Effort.rounds})")
    parser.add_argument("--only", default=Effort.only, metavar="PATTERN",
                        help="only the presets whose names match; of quality only the learners")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the results go (default: a new one in results)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
