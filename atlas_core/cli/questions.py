"""Questions to the person at the keyboard, asked again until the answer makes sense.

They go to standard error, so that standard output stays what it is for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from atlas_core.errors import AtlasError

Answer = TypeVar("Answer")


def ask(question: str, read: Callable[[str], Answer], *, default: str = "") -> Answer:
    """Ask until `read` makes something of the answer; it raises `ValueError` with a sentence if it cannot.

    An empty answer means `default`. Raises `AtlasError` when there is nobody to answer.
    """
    hint = f" [{default}]" if default else ""
    while True:
        try:
            return read(_line(f"{question}{hint} ") or default)
        except ValueError as problem:
            _tell(f"{problem}\n")


def yes_no(question: str, *, default: bool = True) -> bool:
    """A question for yes or no."""
    return ask(f"{question} (y/n)", _yes_or_no, default="y" if default else "n")


def _yes_or_no(answer: str) -> bool:
    words = {"y": True, "yes": True, "n": False, "no": False}
    if answer.lower() not in words:
        raise ValueError("Please answer y or n.")
    return words[answer.lower()]


def _line(question: str) -> str:
    _tell(question)
    line = sys.stdin.readline()
    if not line:
        _tell("\n")
        raise AtlasError("There was no answer.", "Run it in a terminal, or give the answers as arguments.")
    return line.strip()


def _tell(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
