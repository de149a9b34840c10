"""Every hostile input gets its sentence, and the page of them is what the program says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile import case
from tests.hostile.case import Case, Ground
from tests.hostile.table import GROUPS, PAGE, cases, page


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return case.shared(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("hostile", [pytest.param(found, id=f"{group}: {found.name}") for group, found in cases()])
def test_a_hostile_input_gets_its_sentence(hostile: Case, tmp_path: Path, shared: tuple[Path, Path]) -> None:
    outcome = case.meet(hostile, Ground(tmp_path, *shared))
    assert (outcome.goes_on, outcome.said) == (hostile.goes_on, hostile.says)


def test_the_page_is_made_of_these_inputs() -> None:
    written = page({(group, hostile.name): hostile.says for group, hostile in cases()})
    assert PAGE.read_text(encoding="utf-8") == written, "write it anew: python -m tests.hostile --write"


def test_every_refusal_says_something_and_every_name_is_there_once() -> None:
    for group, (_, found) in GROUPS.items():
        assert len({hostile.name for hostile in found}) == len(found), group
        assert all(hostile.goes_on or hostile.says for hostile in found), group
