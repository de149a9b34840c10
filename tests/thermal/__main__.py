"""`python -m tests.thermal [--seeds N] [--save]`: how well cool mode holds a temperature, on simulated cards.

Prints a table for every card and length of step, and with `--save` renews the table and the pictures of
`docs/cooling.md`. What the columns mean stands there.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tests.thermal.card import CARDS, HOT_ROOM, LAPTOP, Card, ideal_duty
from tests.thermal.plot import Line, svg
from tests.thermal.trial import TARGET_C, TRIAL_S, Trial, run, uncooled

PIECES_S = (0.1, 1.5, 5.0, 20.0)
DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "cooling.md"
TABLE = re.compile(r"(<!-- printed by python -m tests\.thermal -->\n).*?(<!-- end -->)", re.DOTALL)
BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe and Ito's


def row(card: Card, piece_s: float, seeds: int) -> tuple[str, ...]:
    """The worst of all seeds."""
    trials = [run(card, piece_s=piece_s, seed=seed) for seed in range(seeds)]
    return (card.name, f"{piece_s:g} s", f"{ideal_duty(card, TARGET_C, piece_s):.0%}",
            f"{min(trial.share_of_ideal for trial in trials):.1%}",
            f"{max(0.0, *(trial.overshoot_c for trial in trials)):.1f} °C",
            f"{max(trial.swing_c for trial in trials):.1f} °C")


def table(seeds: int) -> str:
    heading = ("card", "step", "ideal duty", "share of it reached", "overshoot", "swing")
    rows = [heading, ("---",) * len(heading), *(row(card, piece_s, seeds) for card in CARDS for piece_s in PIECES_S)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def picture(card: Card, piece_s: float) -> str:
    lines = [_line("full speed", ORANGE, uncooled(card, piece_s=piece_s)),
             _line(f"cool mode at {TARGET_C:g} °C", BLUE, run(card, piece_s=piece_s))]
    return svg(f"{card.name}, steps of {piece_s:g} s", lines, target_c=TARGET_C, minutes=TRIAL_S / 60)


def _line(label: str, color: str, trial: Trial) -> Line:
    return Line(label, color, [at / 60 for at in trial.times_s], trial.peaks_c)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.thermal", description="Try cool mode on simulated cards.")
    parser.add_argument("--seeds", type=int, default=3, help="trials a line, each with other noise (default: 3)")
    parser.add_argument("--save", action="store_true", help="renew the table and the pictures of docs/cooling.md")
    args = parser.parse_args()
    text = table(args.seeds)
    print(text)
    if args.save:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(TABLE.sub(lambda found: found[1] + text + "\n" + found[2], page), encoding="utf-8")
        for card, name in ((LAPTOP, "laptop"), (HOT_ROOM, "hot-room")):
            (DOCS / "images" / f"cooling-{name}.svg").write_text(picture(card, 1.5), encoding="utf-8")


if __name__ == "__main__":
    main()
