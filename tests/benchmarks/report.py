"""What came out, as tables for people and as a file for later: figures with machine, date and commit."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from atlas_core.hardware.processor import processor_name, usable_cores
from atlas_core.hardware.ram import total_and_available_bytes
from atlas_core.paths import write_atomically
from tests.benchmarks.formats import multiplied
from tests.benchmarks.section import Column, Row, Section

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
WIDTH = 120  # columns where no terminal says how many it has
LIBRARIES = ("torch", "transformers", "numpy")


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "processor": processor_name(),
        "cores": usable_cores(),
        "multiplies": multiplied(),
        "memory_bytes": total_and_available_bytes()[0],
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
    }


def commit() -> str:
    """The commit measured, with "+" if files differ from it; empty outside a repository."""
    asked = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"],
                           cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def default_path(now: datetime.datetime) -> Path:
    """A new file of results, which sorts by date."""
    return RESULTS / f"{now:%Y-%m-%d-%H%M}.json"


def save(path: Path, results: dict[str, list[Row]], *, now: datetime.datetime, arguments: Sequence[str]) -> None:
    """Write all rows so far; called after each section, so that an interrupted run keeps what it has."""
    about = {"command": " ".join(("python -m tests.benchmarks", *arguments)), "date": now.isoformat(timespec="seconds"),
             "commit": commit(), "machine": machine()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps({**about, "sections": results}, indent=1) + "\n").encode())


def console() -> Console:
    """Standard output, wide enough for a table when it is a file."""
    here = Console()
    return here if here.is_terminal else Console(width=WIDTH)


def show(console: Console, section: Section, rows: list[Row]) -> None:
    """Print a section's table and the remark below it."""
    table = Table(title=section.title, title_justify="left")
    for column in section.columns:
        is_number = any(isinstance(row.get(column.key), (int, float)) for row in rows)
        table.add_column(column.heading, justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*(_cell(column, row) for column in section.columns))
    console.print(table)
    if remark := section.remark(rows):
        console.print(remark, highlight=False)


def _cell(column: Column, row: Row) -> str:
    value = row.get(column.key)
    return "" if value is None else column.show(value)
