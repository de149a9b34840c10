"""The user's datasets: the same texts and settings find the same folder, under a name that people can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas_core.text import library
from atlas_core.text.dataset import read_meta
from tests import tiny


def folder_of(texts: Path, **changes: object) -> Path:
    return library.folder_for([texts], library.digest_of([texts]), tiny.config(**changes))


def test_other_texts_or_settings_go_to_another_folder_and_the_same_to_the_same(tmp_path: Path) -> None:
    texts = tiny.write_texts(tmp_path / "letters")
    first = folder_of(texts)
    assert folder_of(texts) == first
    assert folder_of(texts, data__stride=8) == first  # how it is read, not what is in it
    assert folder_of(texts, tokenizer__name="gpt2") != first
    assert folder_of(texts, data__min_chars=9) != first
    (texts / "play_00.txt").write_text("changed")
    assert folder_of(texts) != first


def test_hidden_files_which_are_not_read_make_no_other_text(tmp_path: Path) -> None:
    texts = tiny.write_texts(tmp_path / ".letters")  # hidden itself, but chosen
    first = library.digest_of([texts])
    (texts / ".DS_Store").write_bytes(b"x")
    (texts / ".git").mkdir()
    (texts / ".git" / "index.txt").write_bytes(b"x")
    assert library.digest_of([texts]) == first
    (texts / "new.txt").write_bytes(b"x")
    assert library.digest_of([texts]) != first


def test_a_long_name_leaves_room_for_what_is_added_to_it(tmp_path: Path) -> None:
    text = tmp_path / ("\u6587" * 80 + ".txt")  # 240 bytes
    text.write_text("a")
    assert len(folder_of(text).name.encode()) < 150
    assert folder_of(text).name.startswith("\u6587" * 33 + "-")


def test_a_file_name_that_is_no_text_has_a_folder_too(tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    try:
        (odd / "caf\udce9.txt").write_text("a")
    except OSError:
        pytest.skip("this file system allows only proper names")
    assert len(library.digest_of([odd])) == 64


@pytest.mark.parametrize("name, title", [
    ("letters-bpe-300-0a1b2c3d", "letters-bpe-300"), ("my-notebook", "my-notebook"), ("0a1b2c3d", "0a1b2c3d")])
def test_a_title_drops_the_digits_that_keep_folders_apart_and_nothing_else(
        dataset: Path, name: str, title: str) -> None:
    import dataclasses

    assert library.title(dataclasses.replace(read_meta(dataset), name=name)) == title
