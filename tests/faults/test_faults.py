"""The fault harness in short: some of the moments of each section, always the same ones, and a few random kills."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.__main__ import SECTIONS, cases
from tests.faults.life import Figures, Ward
from tests.faults.nursery import Nursery

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the harness forks its trainings")

@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    with tempfile.TemporaryDirectory(prefix="atlas-faults-") as place, Nursery(Path(place) / "home") as nursery:
        Path(place).chmod(0o755)  # some trainings run as somebody else
        yield Ward(Path(place), nursery)


@pytest.mark.parametrize("name", SECTIONS)
def test_no_fault_loses_a_run_or_makes_it_another(name: str, ward: Ward) -> None:
    ward.figures = Figures()
    for case in cases(name, ward, seed=1, quick=True):
        case.run()
    assert ward.figures.kills + ward.figures.faults > 0
