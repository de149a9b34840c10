"""The laws of reading: what is text is read, what is not is told, and no archive does harm."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from atlas_core.errors import DataError
from atlas_core.text import archives, encodings, sources
from atlas_core.text.sources import Document, documents, list_sources


def read(*paths: Path, text_field: str = "text") -> tuple[list[Document], list[tuple[str, str]]]:
    skips: list[tuple[str, str]] = []
    found = list(documents(paths, text_field=text_field, on_skip=lambda name, reason: skips.append((name, reason))))
    return found, skips


def texts(*paths: Path) -> list[str]:
    return [document.text for document in read(*paths)[0]]


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    path.write_bytes(zip_bytes(members))
    return path


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


# ---- what is read -----------------------------------------------------------------------------------


def test_a_folder_is_read_to_its_depth_in_a_fixed_order(tmp_path: Path) -> None:
    root = tmp_path / "books"
    (root / "b" / "deep").mkdir(parents=True)
    (root / "z.txt").write_text("z")
    (root / "a.md").write_text("a")
    (root / "b" / "deep" / "c").write_text("no suffix")
    found, skips = read(root)
    assert [(d.name, d.text) for d in found] == [
        ("books/a.md", "a"), ("books/z.txt", "z"), ("books/b/deep/c", "no suffix")]
    assert skips == []


def test_archives_within_archives_are_read(tmp_path: Path) -> None:
    inner = zip_bytes({"in/deep.txt": b"deep"})
    path = zip_of(tmp_path / "all.zip", {"top.txt": b"top", "more/inner.zip": inner, "LICENSE": b"plain"})
    found, _ = read(path)
    assert {d.name: d.text for d in found} == {
        "all.zip/top.txt": "top", "all.zip/more/inner.zip/in/deep.txt": "deep", "all.zip/LICENSE": "plain"}


def test_archives_nested_too_deep_are_skipped(tmp_path: Path) -> None:
    content = zip_bytes({"a.txt": b"never seen"})
    for _ in range(archives.MAX_DEPTH):
        content = zip_bytes({"inner.zip": content})
    (tmp_path / "nest.zip").write_bytes(content)
    found, skips = read(tmp_path / "nest.zip")
    assert found == []
    assert "deep" in skips[0][1]


def test_the_combined_file_of_the_wikipedia_archive_is_skipped_with_a_word(tmp_path: Path) -> None:
    members = {"AllCombined.txt": b"one two", "1of2/wiki_00": b"one", "2of2/wiki_01": b"two"}
    found, skips = read(zip_of(tmp_path / "wiki.zip", members))
    assert [d.text for d in found] == ["one", "two"]
    assert skips == [("wiki.zip/AllCombined.txt", "repeats the wiki_ files beside it")]
    with zipfile.ZipFile(tmp_path / "wiki.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert texts(tmp_path / "unpacked") == ["one", "two"]


def test_a_combined_file_that_stands_alone_is_read(tmp_path: Path) -> None:
    assert texts(zip_of(tmp_path / "w.zip", {"AllCombined.txt": b"one two"})) == ["one two"]


def test_lines_are_documents_and_bad_lines_are_told_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = ['{"body": "first"}', "", "{broken", '{"title": "no body"}', "[1]", '{"body": 3}', '{"body": "l\\r\\nast"}']
    path.write_text("\ufeff" + "\r\n".join(rows))
    found, skips = read(path, text_field="body")
    assert [d.text for d in found] == ["first", "l\nast"]
    assert [name for name, _ in skips] == [f"rows.jsonl line {n}" for n in (3, 4, 5, 6)]
    assert skips[0][1] == "lines that are not JSON"
    assert skips[1][1] == "lines without a text in the field 'body'"


def test_json_nested_without_end_and_half_surrogates_are_survived(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("[" * 200_000 + "\n" + '{"text": "a\\ud800b"}\n')
    found, skips = read(path)
    assert [d.text for d in found] == ["a\ufffdb"]
    assert len(skips) == 1


def test_a_line_beyond_the_limit_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 100)
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "x" * 1000}) + "\n" + json.dumps({"text": "short"}) + "\n")
    found, skips = read(path)
    assert [d.text for d in found] == ["short"]
    assert skips == [("rows.jsonl line 1", "lines longer than 64 MiB")]


def test_what_is_not_read_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / ".git").mkdir()
    (tmp_path / "in" / ".git" / "config.txt").write_text("secret")
    for name, content in {"p.pdf": b"%PDF", "b": b"\0\1", "n.txt": b"a\0b", ".h.txt": b"x"}.items():
        (tmp_path / "in" / name).write_bytes(content)
    found, skips = read(tmp_path / "in")
    assert found == []
    assert dict(skips) == {"in/.git/": "hidden folder", "in/.h.txt": "hidden file", "in/b": "binary, not text",
                           "in/n.txt": "binary, not text", "in/p.pdf": ".pdf files are not read"}


def test_the_list_says_what_reading_does(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"a.txt": b"abc", "r.jsonl": b"{}", "x.png": b"PNG", "__MACOSX/._a.txt": b"m"})
    entries = list_sources([path])
    assert [(e.name, e.kind, e.bytes, bool(e.skipped)) for e in entries] == [
        ("a.zip/__MACOSX/._a.txt", "other", 1, True), ("a.zip/a.txt", "text", 3, False),
        ("a.zip/r.jsonl", "lines", 2, False), ("a.zip/x.png", "other", 3, True)]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file or folder"):
        list_sources([tmp_path / "nothing"])


def test_links_that_point_nowhere_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    try:
        (tmp_path / "in" / "broken.txt").symlink_to(tmp_path / "gone")
    except OSError:
        pytest.skip("this system forbids links")
    assert read(tmp_path / "in") == ([], [("in/broken.txt", "neither a file nor a folder")])


# ---- long files -------------------------------------------------------------------------------------


def test_a_long_file_comes_in_pieces_of_bounded_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PIECE_CHARS", 1000)
    text = "".join(f"Line {i}, of some length.\n" for i in range(400)) + "x" * 5000
    (tmp_path / "long.txt").write_text(text)
    found, _ = read(tmp_path / "long.txt")
    assert "".join(d.text for d in found) == text
    assert max(len(d.text) for d in found) <= 1500
    assert [d.continues for d in found] == [True] * (len(found) - 1) + [False]
    assert sum(d.bytes for d in found) == len(text)
    assert all(d.text.startswith("\n") for d in found[1:8])  # cut before a line, not in a word


def test_a_file_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PIECE_CHARS", 2**16)
    (tmp_path / "long.txt").write_bytes(b"word and word\n" * 500_000)  # 7 MB
    pieces = documents([tmp_path / "long.txt"], on_skip=print)
    first = next(pieces)
    assert first.continues
    assert len(first.text) <= 1.5 * 2**16


# ---- encodings --------------------------------------------------------------------------------------

GERMAN = "Über den Flüssen hängen süße Früchte, und die Bäume grünen schön. Größe fällt dafür öfter auf. " * 20
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. " * 20
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で。" * 20


@pytest.mark.parametrize(("text", "encoding"), [
    (GERMAN, "utf-8"), (GERMAN, "utf-8-sig"), (GERMAN, "utf-16"), (GERMAN, "utf-32"), (GERMAN, "cp1252"),
    (RUSSIAN, "utf-8"), (RUSSIAN, "cp1251"), (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp"), (JAPANESE, "utf-16"),
])
def test_text_is_the_same_in_every_encoding(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert texts(tmp_path / "a.txt") == [text]


def test_a_few_damaged_bytes_do_not_make_utf8_something_else_and_are_told_once(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_bytes(GERMAN.encode() + b"\xff" + GERMAN.encode() + b"\xff")
    monkeypatch.setattr(sources, "PIECE_CHARS", len(GERMAN) // 2)
    found, skips = read(tmp_path / "a.txt")
    assert len(found) > 2 and "".join(d.text for d in found) == GERMAN + "\ufffd" + GERMAN + "\ufffd"
    assert skips == [("a.txt", "bytes that are no characters became \ufffd")]


def test_a_foreign_byte_far_into_a_long_file_is_noticed() -> None:
    content = b"plain ASCII line\n" * 200_000 + GERMAN.encode("cp1252")
    assert content.decode(encodings.detect(io.BytesIO(content))).endswith(GERMAN)


def test_line_ends_of_every_system_become_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a\r\nb\rc\nd")
    assert texts(tmp_path / "a.txt") == ["a\nb\nc\nd"]


def test_an_empty_file_is_an_empty_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    assert texts(tmp_path / "a.txt") == [""]


# ---- hostile archives -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/etc/out.txt", "C:/out.txt", "..\\out.txt",
                                  "\\out.txt"])
def test_an_archive_that_writes_outside_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="points outside"):
        list_sources([zip_of(tmp_path / "evil.zip", {"fine.txt": b"x", name: b"x"})])


def test_an_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("passwords.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="holds a link"):
        list_sources([tmp_path / "evil.zip"])


def test_an_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({"a.txt": b"secret"}))
    for header, flag in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(header) + flag] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(DataError, match="password"):
        list_sources([tmp_path / "locked.zip"])


def test_a_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    bomb = {"a.txt": b"\n" * (archives._BOMB_BYTES + 1)}
    with pytest.raises(DataError, match="would unfold"):
        list_sources([zip_of(tmp_path / "bomb.zip", bomb)])
    with pytest.raises(DataError, match="would unfold"):
        list_sources([zip_of(tmp_path / "wrapped.zip", {"inner.zip": zip_bytes(bomb)})])


def test_a_bomb_of_many_small_members_is_refused(tmp_path: Path) -> None:
    part = b"\n" * (archives._BOMB_BYTES // 4)
    with pytest.raises(DataError, match="would unfold"):
        list_sources([zip_of(tmp_path / "bomb.zip", {f"{i}.txt": part for i in range(6)})])


def test_a_member_that_is_longer_than_it_claims_is_not_read_beyond(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({"a.txt": b"long text " * 1000}))
    central = content.index(b"PK\1\2")
    content[central + 24:central + 28] = (5).to_bytes(4, "little")
    (tmp_path / "liar.zip").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path / "liar.zip")


@pytest.mark.parametrize("cut", [0, 10, -30])
def test_a_damaged_archive_is_one_sentence(cut: int, tmp_path: Path) -> None:
    (tmp_path / "half.zip").write_bytes(zip_bytes({"a.txt": b"some text " * 100})[:cut])
    with pytest.raises(DataError, match=r"half\.zip is damaged"):
        list_sources([tmp_path / "half.zip"])


def test_damage_within_a_member_is_one_sentence(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({"a.txt": bytes(range(32, 127)) * 100}))
    content[60:80] = b"\xff" * 20
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path / "bad.zip")


def test_reading_an_archive_leaves_nothing_behind(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"x/a.txt": b"x", "inner.zip": zip_bytes({"b.txt": b"y"})})
    assert sorted(texts(path)) == ["x", "y"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text_is_read_and_told_all_the_same(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("coffee")
    (tmp_path / os.fsdecode(b"caf\xe9.pdf")).write_text("")
    assert [entry.name.encode() for entry in list_sources([tmp_path])]  # encode: no half surrogates are left
    assert [document.text for document in documents([tmp_path], on_skip=lambda *_: None)] == ["coffee"]
