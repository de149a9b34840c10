"""The laws of setting text aside: seeded, near the share asked for, and no token in two places."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_core.config import Data
from atlas_core.errors import DataError
from atlas_core.text import shuffle, splits
from atlas_core.text.splits import Part

lengths_of_documents = st.lists(st.integers(1, 500), min_size=1, max_size=60).map(np.array)


@given(st.integers(0, 300), st.integers(0, 2**63 - 1), st.integers(0, 9))
def test_a_permutation_has_every_number_once(count: int, seed: int, round: int) -> None:
    assert sorted(shuffle.permutation(count, seed=seed, round=round)) == list(range(count))


def test_a_permutation_never_changes_between_versions() -> None:
    assert shuffle.permutation(10, seed=1337).tolist() == [4, 7, 5, 0, 8, 2, 6, 9, 1, 3]
    assert shuffle.permutation(10, seed=1337, round=1).tolist() == [6, 8, 5, 1, 2, 4, 7, 3, 9, 0]


@given(lengths_of_documents, st.integers(0, 2**40))
def test_shares_are_near_what_was_asked_for_or_nothing_is_promised(lengths: np.ndarray, seed: int) -> None:
    data = Data(val_fraction=0.2, test_fraction=0.1, split_seed=seed)
    assigned = splits.by_documents(lengths, data)
    if assigned is None:
        return
    for split, share in (("val", 0.2), ("test", 0.1)):
        tokens = sum(length for length, where in zip(lengths, assigned, strict=True) if where == split)
        assert share / 2 <= tokens / lengths.sum() <= 2 * share


def test_many_equal_documents_are_always_split_whole() -> None:
    lengths = np.full(200, 100)
    assigned = splits.by_documents(lengths, Data(val_fraction=0.1))
    assert assigned is not None
    assert assigned.count("val") == 20
    assert assigned == splits.by_documents(lengths, Data(val_fraction=0.1))
    assert assigned != splits.by_documents(lengths, Data(val_fraction=0.1, split_seed=2))


@pytest.mark.parametrize("lengths", [[1000], [500, 500], [10_000, 10, 10]])
def test_too_few_or_too_unequal_documents_are_not_split_whole(lengths: list[int]) -> None:
    assert splits.by_documents(np.array(lengths), Data(val_fraction=0.05)) is None


@given(lengths_of_documents)
def test_tails_and_beginnings_make_up_the_text(lengths: np.ndarray) -> None:
    lengths = np.append(lengths, 20)
    parts = list(splits.tail_parts(lengths, Data(val_fraction=0.2, test_fraction=0.1)))
    for document, length in enumerate(lengths):
        pieces = [(p.start, p.stop) for p in parts if p.document == document]
        assert [i for start, stop in pieces for i in range(start, stop)] == list(range(length))
    assert all(sum(p.stop - p.start for p in parts if p.split == split) >= 2 for split in ("val", "test"))


@given(st.integers(0, 300), st.integers(1, 50), st.data())
def test_chunks_cover_a_part_and_overlap_as_told(length: int, tokens: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tokens - 1))
    chunks = list(splits.chunks(Part("train", 7, 10, 10 + length), tokens=tokens, overlap=overlap))
    assert {i for c in chunks for i in range(c.start, c.stop)} == set(range(10, 10 + length))
    assert all(c.stop - c.start <= tokens and c.document == 7 for c in chunks)
    assert all(after.start == before.stop - overlap for before, after in pairwise(chunks))


@pytest.mark.parametrize("lengths", [[3, 3, 3], [1, 3, 3]])
def test_texts_too_short_to_keep_two_parts_aside_are_refused(lengths: list[int]) -> None:
    with pytest.raises(DataError, match="too short"):
        list(splits.tail_parts(np.array(lengths), Data(val_fraction=0.05, test_fraction=0.05)))


def test_a_part_that_is_left_whole_is_one_chunk() -> None:
    part = Part("val", 0, 5, 9)
    assert list(splits.chunks(part, tokens=0, overlap=0)) == [part]
