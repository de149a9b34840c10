"""Walking generators to their end."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")


def result_of(work: Generator[Any, None, T]) -> T:
    """What a generator returns, for one who does not want to hear what it tells on the way."""
    while True:
        try:
            next(work)
        except StopIteration as ended:
            result: T = ended.value
            return result
