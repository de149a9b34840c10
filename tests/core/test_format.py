"""Numbers as people read them."""

from __future__ import annotations

import pytest

from atlas_core import format


@pytest.mark.parametrize(("number", "said"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"),
                                              (1240, f"1{format.SPACE}240 steps")])
def test_one_thing_is_no_plural(number: int, said: str) -> None:
    assert format.many(number, "step") == said


@pytest.mark.parametrize(("days", "said"), [(40, "40 d"), (730, "730 d"), (731, "2.0 years"), (2448, "6.7 years"),
                                            (400_000, "1 095 years")])
def test_long_times_are_told_in_days_and_then_in_years(days: int, said: str) -> None:
    assert format.duration(days * format.DAY).replace(format.SPACE, " ") == said
