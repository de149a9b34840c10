"""`python -m tests.faults [SECTION ...]`: kill, damage and starve the real program, and see that no run is lost.

Prints a line for each section and every law that was broken, with the name by which `--only` repeats it.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults import clock, damage, disk, kills, moments, places, rivals, wishes
from tests.faults.life import BrokenLawError, Case, Figures, Ward
from tests.faults.nursery import Nursery

KILLS, QUICK_KILLS = 200, 10
SECTIONS: dict[str, Any] = {"moments": moments, "damage": damage, "disk": disk, "places": places, "rivals": rivals,
                            "clock": clock, "wishes": wishes, "kills": kills}
QUICK_SHARES = {"moments": 0.02, "damage": 0.1, "places": 0.3, "rivals": 0.2}
QUICK_SHARE = 0.1


def main(arguments: Sequence[str]) -> int:
    args = _parser().parse_args(arguments)
    broken = 0
    with tempfile.TemporaryDirectory(prefix="atlas-faults-") as place, Nursery(Path(place) / "home") as nursery:
        Path(place).chmod(0o755)  # some trainings run as somebody else
        ward = Ward(Path(place), nursery)
        for name in args.sections or SECTIONS:
            started, ward.figures = time.monotonic(), Figures()
            for case in cases(name, ward, seed=args.seed, quick=args.quick, kill=args.kills):
                if args.only is None or fnmatch.fnmatch(case.name, args.only):
                    attend(ward, case)
            print(f"{name}: {SECTIONS[name].TITLE}\n    {ward.figures.line(time.monotonic() - started)}", flush=True)
            broken += len(ward.figures.broken)
    return 1 if broken else 0


def cases(section: str, ward: Ward, *, seed: int, quick: bool, kill: int = KILLS) -> Iterator[Case]:
    """The cases of a section, or `quick` a few of them."""
    if section == "kills":
        return kills.cases(ward, seed, kills=min(kill, QUICK_KILLS) if quick else kill)
    share = QUICK_SHARES.get(section, QUICK_SHARE) if quick else 1.0
    found: Iterator[Case] = SECTIONS[section].cases(ward, seed, share=share)
    return found


def attend(ward: Ward, case: Case) -> None:
    """Carry out a case; a law that is broken is told and counted."""
    try:
        case.run()
    except BrokenLawError as error:
        ward.figures.broken.append(case.name)
        print(f"BROKEN {case.name}: {error}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", choices=[[], *SECTIONS],
                        help=f"what to do: {', '.join(SECTIONS)}; default all")
    parser.add_argument("--kills", type=int, default=KILLS, metavar="N", help=f"random kills (default {KILLS})")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is random (default 0)")
    parser.add_argument("--quick", action="store_true", help="a few of the moments and ten kills")
    parser.add_argument("--only", metavar="MOMENT", help="only this moment, by its name or a pattern such as 'disk/*'")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
