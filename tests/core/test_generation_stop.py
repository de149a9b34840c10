"""A stop string is never shown, not even its beginning, and nothing else is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atlas_core.generation.stop import StopGate


def passed(stops: list[str], pieces: list[str]) -> list[str]:
    """What comes out after each piece, and at the end."""
    gate = StopGate(stops)
    return [*map(gate.push, pieces), gate.flush()]


def test_text_without_stop_strings_passes_at_once() -> None:
    assert passed([], ["one", " two"]) == ["one", " two", ""]


def test_a_possible_beginning_is_held_until_it_is_decided() -> None:
    assert passed(["\n\nQ:"], ["end\n", "\nAll", ""]) == ["end", "\n\nAll", "", ""]
    assert passed(["\n\nQ:"], ["end\n", "\n", "Q: why"]) == ["end", "", "", ""]


def test_a_beginning_at_the_end_of_the_text_is_shown() -> None:
    assert passed(["STOP"], ["no STO"]) == ["no ", "STO"]


def test_the_first_of_several_stop_strings_ends_the_text() -> None:
    assert passed(["###", "b"], ["a###", "b"]) == ["a", "", ""]
    assert passed(["###", "b"], ["aabc###"]) == ["aa", ""]


def test_a_doubtful_end_may_begin_inside_another() -> None:
    assert passed(["aab"], ["aa", "ab!"]) == ["", "a", ""]


def test_an_empty_stop_string_stops_nothing() -> None:
    assert passed([""], ["all of it"]) == ["all of it", ""]


@given(
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    pieces=st.lists(st.text("abc", max_size=5), max_size=8),
)
def test_what_is_shown_is_the_text_before_the_first_stop_string(stops: list[str], pieces: list[str]) -> None:
    text = "".join(pieces)
    gate = StopGate(stops)
    shown = ""
    for piece in pieces:
        shown += gate.push(piece)
        assert not any(stop in shown for stop in stops)
    shown += gate.flush()
    # The text grows character by character, so the stop string that is complete first ends it.
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    if not ends:
        assert shown == text
        assert not gate.stopped
    else:
        assert gate.stopped
        assert text.startswith(shown)
        assert any(text[len(shown):].startswith(stop) for stop in stops)
