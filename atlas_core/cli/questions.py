"""Questions to the person at the keyboard, asked again until the answer makes sense.

They go to standard error, so that standard output stays what it is for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from atlas_core import format as people
from atlas_core.errors import AtlasError

Answer = TypeVar("Answer")


def ask(question: str, read: Callable[[str], Answer], *, default: str = "") -> Answer:
    """Ask until `read` makes something of the answer; it raises `ValueError` with a sentence if it cannot.

    An empty answer means `default`. Raises `AtlasError` when there is nobody to answer.
    """
    hint = f" [{default}]" if default else ""
    while True:
        try:
            return read(_answer(f"{question}{hint} ") or default)
        except ValueError as problem:
            tell(str(problem))


def yes_no(question: str, *, default: bool = True) -> bool:
    """A question for yes or no."""
    return ask(f"{question} (y/n)", _yes_or_no, default="y" if default else "n")


def _yes_or_no(answer: str) -> bool:
    words = {"y": True, "yes": True, "n": False, "no": False}
    if answer.lower() not in words:
        raise ValueError("Please answer y or n.")
    return words[answer.lower()]


def line(question: str) -> str | None:
    """One line of the person's, or None at the end of the input."""
    _write(question)
    answer = sys.stdin.readline()
    if answer:
        return answer.rstrip("\r\n")
    _write("\n")
    return None


def _answer(question: str) -> str:
    answer = line(question)
    if answer is None:
        raise AtlasError("There was no answer.", "Run it in a terminal, or give the answers as arguments.")
    return answer.strip()


def tell(sentence: str) -> None:
    """A line that belongs to a question."""
    _write(sentence + "\n")


def _write(text: str) -> None:
    sys.stderr.write(text.replace(people.SPACE, " "))  # a terminal's font often lacks narrow spaces
    sys.stderr.flush()
