"""`python -m tests.hostile` meets every hostile input and prints what is said; `--write` makes the page of it."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.hostile.case import Ground, meet, shared
from tests.hostile.table import PAGE, cases, page


def main() -> int:
    said, differing = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ATLAS_HOME"] = str(Path(folder, "home"))
        dataset, run = shared(Path(folder, "shared"))
        for number, (group, case) in enumerate(cases()):
            here = Path(folder, f"case-{number}")
            here.mkdir()
            started = time.perf_counter()
            outcome = meet(case, Ground(here, dataset, run))
            said[group, case.name] = outcome.said
            as_told = (outcome.goes_on, outcome.said) == (case.goes_on, case.says)
            differing += not as_told
            print(f"{'  ' if as_told else '! '}{time.perf_counter() - started:5.1f} s  {group}: {case.name}\n"
                  f"            {outcome.said}", flush=True)
    print(f"{len(said)} inputs, {differing} with another sentence than in the tests")
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(said), encoding="utf-8")
    return differing


if __name__ == "__main__":
    sys.exit(main())
