"""What a section of the benchmarks is: a title, columns, and rows that come one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int = 5         # turns of each contestant
    seconds: float = 6.0    # about how long a turn lasts
    quick: bool = False     # only the first few cases of each section
    only: str = "*"         # a shell's pattern for which cases

    def few(self, cases: Sequence[T], count: int = 1) -> Sequence[T]:
        """All cases, or the first `count` when in a hurry."""
        return cases[:count] if self.quick else cases

    def matching(self, names: Sequence[str]) -> list[str]:
        """Those that are wished for."""
        return [name for name in names if fnmatch(name, self.only)]


@dataclass(frozen=True)
class Column:
    """One column of the table: where its value lies in a row, and how people read it."""

    key: str
    heading: str
    show: Callable[[Any], str] = str


@dataclass(frozen=True)
class Section:
    """`rows(home, effort)` measures and yields them; datasets are kept below the folder `home`."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Callable[[Path, Effort], Iterator[Row]]
    remark: Callable[[list[Row]], str] = lambda rows: ""  # noqa: ARG005 - said below the table, of all its rows
