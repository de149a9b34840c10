"""The laws of preparing: a dataset is whole or absent, tells what it left out, and is the same every time."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.errors import AtlasError, DataError, TokenizerError
from atlas_core.events import Event, Notice, Prepared, Progress
from atlas_core.text import prepare as module
from atlas_core.text import sources
from atlas_core.text.dataset import Dataset
from atlas_core.text.prepare import prepare


def run(source: Path, out: Path, **changes: Any) -> list[Event]:
    """Prepare to the end; `data__min_chars=3` sets data.min_chars."""
    config = Config().replace({key.replace("__", "."): value for key, value in changes.items()})
    return list(prepare([source], out, config, Control()))


def notices(events: list[Event]) -> str:
    return "\n".join(event.message for event in events if isinstance(event, Notice))


def verse(number: int) -> str:
    return f"Verse {number} is about the number {number * number}, and about nothing else in the world.\n"


@pytest.fixture
def poems(tmp_path: Path) -> Path:
    folder = tmp_path / "poems"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(verse(number) * (3 + number % 4), encoding="utf-8")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


def whole_text(dataset: Dataset, split: str) -> str:
    return dataset.tokenizer.decode(dataset.tokens(split).tolist())


def test_every_document_is_found_again_in_exactly_one_split(poems: Path, out: Path) -> None:
    run(poems, out, data__val_fraction=0.2, data__test_fraction=0.1)
    dataset = Dataset.open(out)
    found = [dataset.tokenizer.decode(dataset.document(split, i).tolist())
             for split, held in dataset.meta.splits.items() for i in range(held.documents)]
    assert sorted(found) == sorted(path.read_text(encoding="utf-8") for path in poems.iterdir())
    assert dataset.meta.split_by == "documents"
    assert set(dataset.meta.splits) == {"train", "val", "test"}


def test_documents_end_with_eos_and_begin_with_bos_if_asked(poems: Path, out: Path) -> None:
    run(poems, out)
    dataset = Dataset.open(out)
    assert dataset.document("train", 0)[-1] == dataset.tokenizer.eos_id
    assert dataset.document("train", 0)[0] != dataset.tokenizer.bos_id
    run(poems, out, tokenizer__add_bos=True)
    dataset = Dataset.open(out)
    assert dataset.document("train", 0)[0] == dataset.tokenizer.bos_id


def test_counts_of_bytes_and_characters_are_those_of_the_text(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.txt").write_text("Füße und 中文.\n" * 40, encoding="utf-8")
    run(tmp_path / "a.txt", out, data__val_fraction=0.0)
    dataset = Dataset.open(out)
    held, text = dataset.meta.splits["train"], whole_text(dataset, "train")
    assert text == "Füße und 中文.\n" * 40
    assert (held.documents, held.tokens) == (1, len(dataset.tokens("train")))
    assert (held.characters, held.bytes) == (len(text), len(text.encode()))
    assert dataset.meta.split_by == "none"


def test_progress_ends_at_the_total_and_prepared_comes_last(poems: Path, out: Path) -> None:
    events = run(poems, out)
    last = [event for event in events if isinstance(event, Progress) and event.unit == "bytes"][-1]
    assert last.done == last.total == sum(path.stat().st_size for path in poems.iterdir())
    assert isinstance(events[-1], Prepared)
    assert events[-1].path == out
    assert events[-1].summary == json.loads((out / "meta.json").read_text(encoding="utf-8"))


def test_preparing_twice_gives_the_same_bytes(poems: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(poems, tmp_path / name, tokenizer__name="bpe:300")
    for file in ("train.bin", "val.bin", "train.offsets.npy", "tokenizer.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    one, two = Dataset.open(tmp_path / "one").meta, Dataset.open(tmp_path / "two").meta
    assert one.fingerprint == two.fingerprint
    run(poems, tmp_path / "two", tokenizer__name="bpe:300", data__split_seed=5)
    assert Dataset.open(tmp_path / "two").meta.fingerprint != one.fingerprint


def test_a_vocabulary_can_be_learned_from_the_text(poems: Path, out: Path) -> None:
    run(poems, out, tokenizer__name="bpe:300")
    dataset = Dataset.open(out)
    assert (dataset.meta.tokenizer, dataset.meta.n_vocab) == ("bpe:300", 300)
    assert verse(7) in whole_text(dataset, "train") + whole_text(dataset, "val")


def test_a_vocabulary_of_another_dataset_can_be_used_again(poems: Path, tmp_path: Path) -> None:
    run(poems, tmp_path / "first", tokenizer__name="bpe:300")
    run(poems, tmp_path / "second", tokenizer__name=str(tmp_path / "first"))
    first, second = Dataset.open(tmp_path / "first").meta, Dataset.open(tmp_path / "second").meta
    assert second.tokenizer_fingerprint == first.tokenizer_fingerprint


def test_the_sample_for_a_vocabulary_is_bounded(poems: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    learn = module.train_bpe

    def weigh(texts: list[str], size: int) -> Any:
        seen.append(sum(map(len, texts)))
        return learn(texts, size)

    monkeypatch.setattr(module, "train_bpe", weigh)
    total = sum(path.stat().st_size for path in poems.iterdir())
    monkeypatch.setattr(module, "BPE_SAMPLE_BYTES", total // 4)
    run(poems, out, tokenizer__name="bpe:280")
    assert 0.1 * total < seen[0] < 0.4 * total


def test_a_text_too_short_for_its_vocabulary_is_told(poems: Path, out: Path) -> None:
    assert "of the 60000 tokens" in notices(run(poems, out, tokenizer__name="bpe:60000"))


def test_a_single_document_gives_its_end_for_validation(tmp_path: Path, out: Path) -> None:
    text = "".join(map(verse, range(100)))
    (tmp_path / "a.txt").write_text(text)
    events = run(tmp_path / "a.txt", out, data__val_fraction=0.1)
    dataset = Dataset.open(out)
    assert "the end of each one is kept aside" in notices(events)
    assert whole_text(dataset, "train") + whole_text(dataset, "val") == text
    assert 0.09 < len(dataset.tokens("val")) / dataset.meta.tokens < 0.11
    assert (dataset.meta.documents, dataset.meta.split_by) == (1, "tails")


def test_a_document_in_pieces_is_the_document_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(map(verse, range(300))))
    run(tmp_path / "a.txt", tmp_path / "one")
    monkeypatch.setattr(sources, "PIECE_CHARS", 2000)
    run(tmp_path / "a.txt", tmp_path / "pieces")
    assert (tmp_path / "one" / "train.bin").read_bytes() == (tmp_path / "pieces" / "train.bin").read_bytes()


def test_chunks_have_the_length_and_the_overlap_asked_for(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(map(verse, range(50))))
    run(tmp_path / "a.txt", out, data__chunk_tokens=64, data__chunk_overlap=16, data__val_fraction=0.0)
    dataset = Dataset.open(out)
    first, second = (dataset.document("train", i).tolist() for i in (0, 1))
    assert len(first) == len(second) == 64 + 1  # and EOS
    assert first[64 - 16:64] == second[:16]
    assert dataset.meta.documents == 1
    assert dataset.meta.splits["train"].documents > 10


def test_documents_left_out_are_counted_by_their_reason(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = ["", " \n ", "short", "twin " * 20, "twin " * 20, "x" * 5000, *map(verse, range(40))]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows) + "broken\n")
    events = run(path, out, data__min_chars=10, data__max_chars=1000)
    meta = Dataset.open(out).meta
    assert meta.documents_left_out == {"empty": 2, "shorter than 10 characters": 1, "longer than 1000 characters": 1,
                                       "identical to an earlier one": 1}
    assert meta.documents == 41
    assert meta.skipped == [{"reason": "lines that are not JSON", "count": 1, "examples": ["rows.jsonl line 47"]}]
    assert "1 identical to an earlier one" in notices(events)
    assert "1 skipped (lines that are not JSON): rows.jsonl line 47" in notices(events)


def test_documents_of_few_tokens_can_be_left_out(poems: Path, out: Path) -> None:
    (poems / "tiny.txt").write_text("tiny")
    run(poems, out, data__min_tokens=5)
    assert Dataset.open(out).meta.documents_left_out == {"fewer than 5 tokens": 1}


def test_what_was_tidied_is_counted(poems: Path, out: Path) -> None:
    (poems / "messy.txt").write_text("blank at the end \nand a bell\x07 and more words to read\n")
    run(poems, out)
    assert Dataset.open(out).meta.cleaned == {"recomposed": 0, "controls_removed": 1, "line_ends_replaced": 0,
                                              "blanks_removed": 1}


@pytest.mark.parametrize("content", ["", "  \n", "three little words"])
def test_too_little_text_is_refused_with_a_remedy(content: str, tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(DataError) as caught:
        run(tmp_path / "a.txt", out)
    assert "Add .txt" in caught.value.remedy
    assert not out.exists()


def test_a_folder_without_text_says_what_lay_there(tmp_path: Path, out: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(DataError, match=r"no text .*\.pdf files are not read"):
        run(tmp_path / "in", out)


@pytest.mark.parametrize("words", [16, 30, 60, 300])
def test_a_tiny_text_becomes_a_dataset_with_something_to_validate_on(words: int, tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.txt").write_text(" word" * words)
    events = run(tmp_path / "a.txt", out)
    dataset = Dataset.open(out)
    assert len(dataset.tokens("val")) >= 2
    assert "fewer than one window of 512" in notices(events)


def test_stopping_leaves_no_trace(poems: Path, out: Path) -> None:
    for tokenizer in ("gpt2", "bpe:300"):
        control = Control()
        events = prepare([poems], out, Config().replace({"tokenizer.name": tokenizer}), control)
        assert isinstance(next(events), Progress)
        control.stop()
        assert not any(isinstance(event, Prepared) for event in events)
        assert sorted(out.parent.iterdir()) == [poems]


def test_a_job_that_nobody_listens_to_any_more_leaves_no_trace(poems: Path, out: Path) -> None:
    events = prepare([poems], out, Config(), Control())
    assert isinstance(events, Iterator)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert sorted(out.parent.iterdir()) == [poems]


def test_a_failure_leaves_the_old_dataset_as_it_was(poems: Path, out: Path) -> None:
    run(poems, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(DataError):
        run(poems, out, data__min_chars=10**6)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(out.parent.iterdir()) == [out, poems]


def test_where_the_new_dataset_cannot_take_its_place_the_old_one_has_it_again(
        poems: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(poems, out)
    before, replace = (out / "meta.json").read_bytes(), module.replace

    def held(source: Path, target: Path) -> None:
        if source.suffix == ".tmp":
            raise PermissionError(13, "Access is denied", str(source))
        replace(source, target)

    monkeypatch.setattr(module, "replace", held)
    with pytest.raises(AtlasError, match="Access is denied"):
        run(poems, out, data__min_chars=3)
    assert (out / "meta.json").read_bytes() == before
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []


def test_what_a_killed_preparation_left_is_gone_after_a_day(poems: Path, out: Path) -> None:
    old, young, others = (out.with_name(name) for name in (".dataset.0a.tmp", ".dataset.0b.tmp", ".others.0a.tmp"))
    for left in (old, young, others):
        left.mkdir()
        (left / "documents.tmp").write_bytes(b"1")
        if left != young:
            for path in (left / "documents.tmp", left):
                os.utime(path, (1e9, 1e9))
    run(poems, out)
    assert (old.exists(), young.exists(), others.exists()) == (False, True, True)


def test_a_folder_that_is_no_dataset_is_never_replaced(poems: Path, out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="not a dataset"):
        run(poems, out)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_the_folder_one_is_in_is_no_name_for_a_dataset(poems: Path, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(DataError, match="no name for a dataset"):
        run(poems, Path())


def test_an_empty_folder_is_a_place_for_a_dataset(poems: Path, out: Path) -> None:
    out.mkdir()
    run(poems, out)
    assert Dataset.open(out).meta.documents == 40


def test_a_place_that_cannot_be_written_is_one_sentence(poems: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AtlasError) as caught:
        run(poems, tmp_path / "file" / "dataset")
    assert caught.value.remedy


def test_an_unknown_tokenizer_is_refused_before_anything_is_written(poems: Path, out: Path) -> None:
    with pytest.raises(TokenizerError):
        run(poems, out, tokenizer__name="gpt9")
    assert not out.exists()


def test_the_settings_of_a_dataset_are_kept_with_it(poems: Path, out: Path) -> None:
    run(poems, out, data__split_seed=9)
    assert Dataset.open(out).meta.settings["data"] == dataclasses.asdict(Config().replace({"data.split_seed": 9}).data)
