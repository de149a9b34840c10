"""The laws of a dataset: damage is told, and windows are a pure function of seed and position."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.errors import DataError
from atlas_core.text.dataset import Dataset, Windows, check_context, is_dataset, read_meta
from atlas_core.text.prepare import prepare
from atlas_core.text.preview import histogram, preview


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [f"Row {i}: naïve words, {'and more ' * (i % 7)}so on.\n" for i in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    config = Config().replace({"data.chunk_tokens": 32})
    assert list(prepare([tmp_path / "rows.jsonl"], tmp_path / "dataset", config, Control()))
    return tmp_path / "dataset"


# ---- the folder -------------------------------------------------------------------------------------


def test_a_dataset_says_what_its_files_hold(folder: Path) -> None:
    dataset = Dataset.open(folder)
    tokens = dataset.tokens("train")
    assert (tokens.dtype, dataset.meta.dtype) == (np.dtype("<u2"), "uint16")
    assert len(tokens) * 2 == (folder / "train.bin").stat().st_size
    assert dataset.offsets("train")[-1] == len(tokens)
    documents = [dataset.document("train", i) for i in range(dataset.meta.splits["train"].documents)]
    assert np.array_equal(np.concatenate(documents), tokens)


def test_bits_a_byte_can_be_had_from_nats_a_token(folder: Path) -> None:
    dataset = Dataset.open(folder)
    text = dataset.tokenizer.decode(dataset.tokens("val").tolist())
    assert math.isclose(dataset.bytes_per_token("val"), len(text.encode()) / len(dataset.tokens("val")))


def test_a_part_that_is_not_there_is_refused_with_the_setting(folder: Path) -> None:
    with pytest.raises(DataError, match="only train, val") as caught:
        Dataset.open(folder).tokens("test")
    assert "data.test_fraction" in caught.value.remedy


def test_a_document_beyond_the_last_is_our_own_mistake(folder: Path) -> None:
    for index in (-1, 10**6):
        with pytest.raises(IndexError):
            Dataset.open(folder).document("train", index)


@pytest.mark.parametrize("missing", ["train.bin", "val.offsets.npy", "meta.json"])
def test_a_dataset_with_a_file_missing_is_refused(missing: str, folder: Path) -> None:
    (folder / missing).unlink()
    with pytest.raises(DataError) as caught:
        Dataset.open(folder)
    assert caught.value.remedy


def test_a_token_file_that_is_cut_off_is_refused(folder: Path) -> None:
    content = (folder / "val.bin").read_bytes()
    (folder / "val.bin").write_bytes(content[:-2])
    with pytest.raises(DataError, match=r"val\.bin is incomplete"):
        Dataset.open(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"format": 1}', '{"format": 1, "splits": {"train": {}}}',
                                     '{"format": 1, "splits": 3}'])
def test_a_description_that_is_damaged_is_refused(content: str, folder: Path) -> None:
    (folder / "meta.json").write_text(content)
    with pytest.raises(DataError, match="damaged"):
        read_meta(folder)


def test_a_dataset_of_another_version_is_refused(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text()) | {"format": 99}
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="format 99"):
        Dataset.open(folder)


def test_a_tokenizer_that_was_exchanged_is_noticed(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text()) | {"tokenizer_fingerprint": "0" * 16}
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="another one"):
        _ = Dataset.open(folder).tokenizer


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    assert not is_dataset(tmp_path)
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(DataError, match="not a dataset"):
            Dataset.open(path)


def test_a_context_beyond_the_chunks_is_refused_with_both_numbers(folder: Path) -> None:
    dataset = Dataset.open(folder)
    check_context(dataset, 32)
    with pytest.raises(DataError, match=r"max_seq_len \(33\) exceeds .*chunk_tokens \(32\)"):
        check_context(dataset, 33)


def test_datasets_are_read_without_torch() -> None:
    code = "import sys, atlas_core.text.prepare, atlas_core.text.preview; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---- windows ----------------------------------------------------------------------------------------


def slow_starts(length: int, context: int, stride: int) -> list[int]:
    """Every place a window begins, the obvious way."""
    starts = [0]
    while starts[-1] + context + 1 < length:
        starts.append(min(starts[-1] + stride, length - context - 1))
    return starts


shapes = st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(0, 200)).map(
    lambda t: (t[0], min(t[0], t[1]), t[0] + 1 + t[2]))  # context, stride <= context, length


@given(shapes, st.integers(0, 2**60))
def test_an_epoch_shows_every_window_once(shape: tuple[int, int, int], seed: int) -> None:
    context, stride, length = shape
    windows = Windows(np.arange(length), context=context, stride=stride, seed=seed)
    for epoch in (0, 3):
        inputs, targets = windows.batch(epoch * windows.count, windows.count)
        assert sorted(inputs[:, 0].tolist()) == slow_starts(length, context, stride)
        assert np.array_equal(targets, inputs + 1)
        assert set(inputs.ravel()) | set(targets.ravel()) == set(range(length))


@given(shapes, st.integers(0, 2**60), st.integers(0, 500), st.integers(1, 9))
def test_a_batch_depends_on_its_position_alone(shape: tuple[int, int, int], seed: int, first: int, count: int) -> None:
    context, stride, length = shape
    fresh = Windows(np.arange(length), context=context, stride=stride, seed=seed)
    used = Windows(np.arange(length), context=context, stride=stride, seed=seed)
    for position in range(0, first, 7):
        used.batch(position, 3)
    one_by_one = np.concatenate([fresh.batch(first + i, 1)[0] for i in range(count)])
    assert np.array_equal(used.batch(first, count)[0], one_by_one)


def test_epochs_and_seeds_give_different_orders() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        windows = Windows(np.arange(1001), context=10, seed=seed)
        return windows.batch(epoch * windows.count, windows.count)[0][:, 0].tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4
    assert order(1, 0) != sorted(order(1, 0))


def test_batches_are_what_torch_wants() -> None:
    inputs, targets = Windows(np.arange(100, dtype=np.uint16), context=8).batch(0, 4)
    for rows in (inputs, targets):
        assert (rows.shape, rows.dtype, rows.flags.c_contiguous) == ((4, 8), np.int64, True)


def test_an_epoch_is_counted_in_windows() -> None:
    windows = Windows(np.arange(101), context=10)
    assert windows.count == 10
    assert (windows.epoch(0), windows.epoch(5), windows.epoch(20)) == (0.0, 0.5, 2.0)


@given(st.integers(1, 20), st.integers(0, 200), st.integers(1, 8))
def test_validation_sees_the_whole_text_in_order(context: int, more: int, batch_size: int) -> None:
    length = context + 1 + more
    batches = list(Windows(np.arange(length), context=context).sequential(10**6, batch_size=batch_size))
    assert [target for _, targets in batches for target in targets.ravel()] == list(range(1, length)), "each token once"
    assert all((targets == inputs + 1).all() for inputs, targets in batches)
    assert all(len(inputs) <= batch_size for inputs, _ in batches)


def test_validation_of_a_long_text_is_capped_and_spread_over_it() -> None:
    starts = [inputs[0, 0] for inputs, _ in Windows(np.arange(1001), context=10).sequential(5)]
    assert len(starts) == 5
    assert (starts[0], starts[-1]) == (0, 990)


def test_a_text_shorter_than_a_window_is_refused_with_the_number_that_fits() -> None:
    with pytest.raises(DataError) as caught:
        Windows(np.arange(100), context=100)
    assert "at most 99" in caught.value.remedy
    assert Windows(np.arange(100), context=99).count == 1


@pytest.mark.parametrize("length", [0, 1])
def test_no_text_is_no_endless_loop(length: int) -> None:
    with pytest.raises(DataError):
        Windows(np.arange(length), context=length - 1)


# ---- the preview ------------------------------------------------------------------------------------


def test_the_preview_shows_the_beginning_token_by_token(folder: Path) -> None:
    dataset = Dataset.open(folder)
    shown = preview(dataset, 200)
    assert [piece.token for piece in shown.pieces] == dataset.tokens("train")[:len(shown.pieces)].tolist()
    plain = "".join(piece.text for piece in shown.pieces if not piece.special)
    assert dataset.tokenizer.decode(dataset.tokens("train").tolist()).startswith(plain)
    assert 200 <= sum(len(piece.text) for piece in shown.pieces) < 250
    assert any(piece.text == "<|eos|>" and piece.special for piece in shown.pieces)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=100))
def test_the_histogram_counts_every_document_in_its_bar(lengths: list[int]) -> None:
    bars = histogram(np.array(lengths, dtype=np.int64))
    assert sum(bars.counts) == len(lengths)
    assert bars.counts[0] and bars.counts[-1]
    for place, count in enumerate(bars.counts, bars.first):
        assert count == sum(2 ** (place / 2) <= max(1, length) < 2 ** ((place + 1) / 2) for length in lengths)
    assert (bars.shortest, bars.middle, bars.longest) == (
        min(lengths), sorted(lengths)[len(lengths) // 2], max(lengths))


def test_of_no_documents_there_is_no_histogram() -> None:
    assert histogram(np.array([], dtype=np.int64)) is None


def test_a_description_with_unknown_numbers_is_refused(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text()) | {"dtype": "uint7"}
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="damaged"):
        Dataset.open(folder)
