"""Numbers as people read them."""

from __future__ import annotations

import pytest

from atlas_core import format


@pytest.mark.parametrize(("number", "said"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"),
                                              (1240, f"1{format.SPACE}240 steps")])
def test_one_thing_is_no_plural(number: int, said: str) -> None:
    assert format.many(number, "step") == said
