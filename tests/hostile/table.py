"""All hostile inputs with what the program says to each, and the document that is made of them."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.hostile import checkpoints, configs, datasets, exports, prompts, run_folders, texts
from tests.hostile.case import Case

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hostile-input.md"

GROUPS: dict[str, tuple[str, list[Case]]] = {
    "Settings": ("A configuration file, a preset or `--set`, met by `atlas estimate`.", configs.CASES),
    "Texts and archives": ("Met by `atlas prepare`. What is passed over is counted, and the first are named.",
                           texts.CASES),
    "Datasets": ("A prepared folder from somebody else, met by `atlas train`.", datasets.CASES),
    "Checkpoints": ("A `.pt` file from somebody else, met by `atlas generate`.", checkpoints.CASES),
    "Run folders": ("A run's folder from somebody else, met by `atlas runs` and `atlas train`.",
                    run_folders.CASES),
    "Prompts": ("Met by `atlas generate`.", prompts.CASES),
    "Exports": ("Where `atlas export` is to write.", exports.CASES),
}

HEAD = """\
# Hostile input

What anybody can hand to the program, and what it says. This page is made from the tests (`tests/hostile`): each row is
one input that a test brings about, hands to the real command, and compares with the sentence that stands here. None of
them ends in a traceback, runs code, writes outside the chosen folder or takes memory beyond bounds. `…` stands for the
folder the test works in. Where the program goes on, what it left out stands in the last column.

It is written anew by `python -m tests.hostile --write`.
"""


def cases() -> list[tuple[str, Case]]:
    """Every case with its group; what only POSIX knows is left out elsewhere."""
    assert sys.platform != "win32", "pipes, rights and odd names are POSIX's"
    return [(group, case) for group, (_, found) in GROUPS.items() for case in found]


def page(said: dict[tuple[str, str], str]) -> str:
    """The document, with the sentence for each group and name."""
    parts = [HEAD]
    for group, (about, found) in GROUPS.items():
        rows = [f"| {cell(case.name)} | {'goes on' if case.goes_on else 'refused'} | {cell(said[group, case.name])} |"
                for case in found]
        parts.append("\n".join([f"## {group}\n", f"{about}\n", "| input | | sentence |", "| --- | --- | --- |", *rows]))
    return "\n".join([parts[0], *(part + "\n" for part in parts[1:])])


def cell(text: str) -> str:
    """Text for one cell: no signs of Markdown or HTML are left to mean something."""
    text = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
    for sign in "\\`*_<>|[]":
        text = text.replace(sign, f"\\{sign}")
    return text
