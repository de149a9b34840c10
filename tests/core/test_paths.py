"""Writing files: whole or not at all, and a refusal in words."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from atlas_core import paths
from atlas_core.errors import AtlasError


def test_a_path_that_leads_through_a_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(AtlasError, match="a part of its path is a file, not a folder"):
        paths.write_atomically(tmp_path / "letter" / "model.gguf", b"")


def test_a_folder_in_the_place_of_the_file_is_found_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="it is a folder"):
        paths.refuse_unwritable(tmp_path)
    paths.refuse_unwritable(tmp_path / "new" / "texts.txt")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_write_that_falls_short_speaks_of_the_disk() -> None:
    short = OSError("524288 requested and 460192 written")  # as numpy says it
    assert "the disk may be full" in paths.cannot_write(Path("model.gguf"), short).message


def test_a_reader_that_is_in_the_way_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "PATIENCE_SECONDS", 60.0)
    refusals, replace = [PermissionError(13, "in use"), PermissionError(13, "in use")], os.replace

    def busy(source: Path, target: Path) -> None:
        if refusals:
            raise refusals.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    paths.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not refusals


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such call")
@pytest.mark.parametrize(("number", "goes_on"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_file_system_that_cannot_sync_a_folder_is_written_to_all_the_same(
        number: int, goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def refuses(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuses)
    with contextlib.nullcontext() if goes_on else pytest.raises(AtlasError):
        paths.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_refusal_that_stays_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> None:
        raise PermissionError(13, "in use")

    monkeypatch.setattr(os, "replace", locked)
    monkeypatch.setattr(paths, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(AtlasError, match="in use"):
        paths.write_atomically(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "clean"), [
    ("a b/c", "a-b-c"), (".hidden.", "hidden"), ("a" * 99 + ". more", "a" * 99),
    ("\u6587" * 80, "\u6587" * 33), ("..", "untitled")])
def test_a_name_for_a_folder_is_short_and_has_no_end_that_windows_refuses(name: str, clean: str) -> None:
    assert paths.file_name(name) == clean
