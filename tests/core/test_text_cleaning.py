"""The laws of tidying: it is optional, counted, and doing it twice changes nothing more."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas_core.config import Data
from atlas_core.text.cleaning import clean

NOTHING = Data(clean_unicode=False, clean_control=False, clean_whitespace=False)


def only(**changes: bool) -> Data:
    return dataclasses.replace(NOTHING, **changes)  # type: ignore[arg-type]


@given(st.text(max_size=100))
def test_with_everything_off_the_text_stays_as_it_is(text: str) -> None:
    cleaned = clean(text, NOTHING)
    assert cleaned.text == text
    assert not any(cleaned.counts.values())


@settings(deadline=None)
@given(st.text(st.sampled_from("ab \n\t\r\x00\x0c\x85\u2028\u0301\u200b\ufeffé\u212b한가"), max_size=60))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = clean(text, Data())
    again = clean(once.text, Data())
    assert again.text == once.text
    assert not any(again.counts.values())
    assert any(once.counts.values()) == (once.text != text)  # whatever changed was counted


def test_equal_looking_characters_get_one_form() -> None:
    cleaned = clean("e\u0301te\u0301", only(clean_unicode=True))
    assert (cleaned.text, cleaned.recomposed) == ("été", 2)


def test_control_characters_go_and_tabs_and_lines_stay() -> None:
    cleaned = clean("a\x00b\x1b\tc\n\ufeffd\u200be", only(clean_control=True))
    assert (cleaned.text, cleaned.controls_removed) == ("ab\tc\nde", 4)


def test_page_breaks_become_line_ends_and_do_not_glue_words() -> None:
    cleaned = clean("one\x0ctwo\u2028three", only(clean_control=True))
    assert (cleaned.text, cleaned.line_ends_replaced) == ("one\ntwo\nthree", 2)


@pytest.mark.parametrize(("text", "tidy"), [("a  \nb\t\n", "a\nb\n"), ("a\n\n\n\n\nb", "a\n\n\nb"),
                                            ("  a  b", "  a  b"), ("a\n \n \n \n \nb", "a\n\n\nb")])
def test_blanks_at_line_ends_and_many_empty_lines_go(text: str, tidy: str) -> None:
    cleaned = clean(text, only(clean_whitespace=True))
    assert (cleaned.text, cleaned.blanks_removed) == (tidy, len(text) - len(tidy))


def test_long_runs_of_blanks_take_no_longer_than_their_length() -> None:
    assert clean("a" + " " * 2_000_000 + "b", Data()).blanks_removed == 0
