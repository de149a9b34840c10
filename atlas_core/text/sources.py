"""The user's files, folders and archives as a stream of documents, in bounded memory.

Says of everything that it does not read why. Not here: cleaning, tokens, and what is done with a document.
"""

from __future__ import annotations

import codecs
import dataclasses
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias

from atlas_core.errors import DataError
from atlas_core.reading import json_value
from atlas_core.text import archives, cuts, encodings

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".markdown"})
LINES_SUFFIXES = frozenset({".jsonl", ".ndjson"})
ARCHIVE_SUFFIXES = frozenset({".zip"})

PIECE_CHARS = 4 * 2**20       # a longer document comes in several pieces
MAX_LINE_BYTES = 64 * 2**20   # a longer line of .jsonl is no document
_REST_BYTES = 2**20           # of which it is passed over in pieces of this size
_PEEK_BYTES = 2**13

# The "plain text Wikipedia" archive: everything twice, once in small files and once in one.
_COMBINED = "AllCombined.txt"
_WIKI_PART = re.compile(r"wiki_\d+")

OnSkip: TypeAlias = Callable[[str, str], None]
"""Called with a name and the reason whenever something is not read as it stands."""

DAMAGED = "bytes that are no characters became \ufffd"  # the one reason to tell of a file that is read all the same
ADD_TEXT = "Add .txt, .md or .jsonl files, folders of them, or a .zip."


@dataclass(frozen=True)
class Document:
    """A document, or a piece of one: `continues` says that the next `Document` goes on with the same text.

    `bytes` is what it took of its source, so that the sum over all documents measures progress.
    """

    name: str
    text: str
    continues: bool = False
    bytes: int = 0


@dataclass(frozen=True)
class SourceEntry:
    """A file as the drop zone shows it: `kind` is "text", "lines" or "other", `skipped` says why it is not read."""

    name: str
    kind: str
    bytes: int
    skipped: str = ""
    source: Path | None = None  # that it was found in


@dataclass(frozen=True)
class _Found:
    """An entry and how to open it. Only good until the walk goes on: an archive closes behind it."""

    entry: SourceEntry
    open: Callable[[], AbstractContextManager[BinaryIO]]


def list_sources(paths: Iterable[Path]) -> list[SourceEntry]:
    """What `documents` would read and what it would skip, without reading the texts.

    Raises `DataError` for a path that is not there and for an archive that is damaged or not safe.
    """
    with _reading():
        return [dataclasses.replace(found.entry, source=path) for path in paths for found in _walk([path])]


def documents(paths: Iterable[Path], *, text_field: str = "text", on_skip: OnSkip) -> Iterator[Document]:
    """Every document of `paths`, in a fixed order, long ones in pieces of about 4 million characters.

    A text file is one document, a line of .jsonl another. Line ends become "\\n". Raises `DataError` as
    `list_sources` does, and for files that cannot be read.
    """
    with _reading():
        for found in _walk(paths):
            entry = found.entry
            if entry.skipped:
                on_skip(entry.name, entry.skipped)
            elif entry.kind == "lines":
                yield from _line_documents(found, text_field, on_skip)
            else:
                yield from _text_documents(found, on_skip)


@contextmanager
def _reading() -> Iterator[None]:
    """A file that vanishes, is forbidden or sits on a failing disk, in one sentence."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or 'A source'} cannot be read: {error.strerror or error}.",
                        "Check that it is there and that you may read it.") from error


# ---- finding files --------------------------------------------------------------------------------


def _walk(paths: Iterable[Path]) -> Iterator[_Found]:
    for path in paths:
        if path.is_dir():
            yield from _walk_folder(path)
        elif path.is_file():
            yield from _walk_file(path, _readable(path.name))
        else:
            what = f"{path} is neither a file nor a folder" if path.exists() else f"There is no file or folder {path}"
            raise DataError(f"{what}.", ADD_TEXT)


def _walk_folder(root: Path) -> Iterator[_Found]:
    parts = [Path(folder) / name for folder, _, names in _tree(root) for name in names if _WIKI_PART.fullmatch(name)]
    repeated = root / _COMBINED if parts else None
    for folder, hidden, names in _tree(root):
        for name in hidden:
            reason = "hidden folder" if name.startswith(".") else "a link to a folder"
            yield _skipped(f"{_shown(root, Path(folder) / name)}/", reason)
        for name in names:
            path = Path(folder) / name
            shown = _shown(root, path)
            if path.is_symlink() and path.exists() and not path.resolve().is_relative_to(root.resolve()):
                yield _skipped(shown, "a link that leads out of its folder")
            elif path == repeated:
                yield _repeated(shown, path.stat().st_size)
            else:
                yield from _walk_file(path, shown)


def _shown(root: Path, path: Path) -> str:
    return _readable(f"{root.absolute().name}/{path.relative_to(root).as_posix()}")


def _readable(name: str) -> str:
    """A file's name as text that can be shown: POSIX allows any bytes in it, also those that control a terminal.

    Python keeps foreign ones as half surrogate pairs.
    """
    text = name.encode("utf-8", "replace").decode()
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _tree(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Folder, its folders that are not entered (hidden ones and links) and its files, always in the same order."""
    for folder, folders, names in os.walk(root, onerror=_refused):
        passed = sorted(name for name in folders if name.startswith(".") or Path(folder, name).is_symlink())
        folders[:] = sorted(set(folders) - set(passed))
        yield folder, passed, sorted(names)


def _refused(error: OSError) -> None:
    raise error


def _walk_file(path: Path, shown: str) -> Iterator[_Found]:
    def open_file() -> BinaryIO:
        return path.open("rb")

    if not path.is_file():
        yield _skipped(shown, "neither a file nor a folder")
    elif path.suffix.lower() in ARCHIVE_SUFFIXES and not path.name.startswith("."):
        with open_file() as file:
            yield from _walk_archive(file, shown, archives.Allowance(path.stat().st_size), depth=1)
    else:
        yield _found(shown, path.stat().st_size, open_file)


def _walk_archive(file: BinaryIO, shown: str, allowance: archives.Allowance, *, depth: int) -> Iterator[_Found]:
    with archives.opened(file, shown, allowance) as archive:
        members = sorted((m for m in archive.infolist() if not m.is_dir()), key=lambda m: m.filename)
        parts = any(_WIKI_PART.fullmatch(PurePosixPath(m.filename).name) for m in members)
        for member in members:
            name = _readable(f"{shown}/{member.filename}")
            if parts and member.filename == _COMBINED:
                yield _repeated(name, member.file_size)
            elif _suffix(name) in ARCHIVE_SUFFIXES and not _hidden(member.filename):
                yield from _walk_nested(archive, member, name, allowance, depth=depth)
            else:
                yield _found(name, member.file_size, _opener(archive, member, name))


def _walk_nested(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, allowance: archives.Allowance,
                 *, depth: int) -> Iterator[_Found]:
    if depth >= archives.MAX_DEPTH:
        yield _skipped(name, f"an archive more than {archives.MAX_DEPTH} deep in archives", bytes=member.file_size)
        return
    with archives.nested(archive, member, name) as file:
        yield from _walk_archive(file, name, allowance, depth=depth + 1)


def _opener(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str
) -> Callable[[], AbstractContextManager[BinaryIO]]:
    @contextmanager
    def open_member() -> Iterator[BinaryIO]:
        with archives.damage_told(name), archive.open(member) as stream:
            yield stream  # type: ignore[misc]

    return open_member


def _found(shown: str, size: int, open: Callable[[], AbstractContextManager[BinaryIO]]) -> _Found:
    """Decide by the name what a file is; only one without a suffix is looked into."""
    suffix = _suffix(shown)
    if _hidden(shown):
        return _skipped(shown, "hidden file", bytes=size)
    if suffix in LINES_SUFFIXES:
        return _Found(SourceEntry(shown, "lines", size), open)
    if suffix in TEXT_SUFFIXES:
        return _Found(SourceEntry(shown, "text", size), open)
    if suffix:
        return _skipped(shown, f"{suffix} files are not read", bytes=size)
    with open() as stream:
        if encodings.is_binary(stream.read(_PEEK_BYTES)):
            return _skipped(shown, "binary, not text", bytes=size)
    return _Found(SourceEntry(shown, "text", size), open)


def _skipped(shown: str, reason: str, *, bytes: int = 0) -> _Found:
    return _Found(SourceEntry(shown, "other", bytes, skipped=reason), _never_opened)


def _repeated(shown: str, size: int) -> _Found:
    return _skipped(shown, "repeats the wiki_ files beside it", bytes=size)


def _never_opened() -> AbstractContextManager[BinaryIO]:
    raise AssertionError("a skipped file is not opened")


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _hidden(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name.startswith(".") or "__MACOSX" in path.parts  # macOS packs its notes into that folder


# ---- reading them ---------------------------------------------------------------------------------


def _text_documents(found: _Found, on_skip: OnSkip) -> Iterator[Document]:
    name, size = found.entry.name, found.entry.bytes
    with found.open() as stream:
        start = stream.read(_PEEK_BYTES)
    if encodings.is_binary(start):
        on_skip(name, "binary, not text")
        return
    # Twice through the file: once to know its encoding for certain, once for the text.
    with found.open() as stream:
        encoding = encodings.detect(stream)
    with found.open() as stream, io.TextIOWrapper(stream, encoding=encoding, errors="replace") as text:
        taken, damaged = 0, False
        for piece, continues in _pieces(text):
            if "\ufffd" in piece and not damaged:
                damaged = True
                on_skip(name, DAMAGED)
            part = min(len(piece.encode("utf-8", "replace")), size - taken) if continues else size - taken
            taken += part
            yield Document(name, piece, continues, part)


def _pieces(stream: io.TextIOBase) -> Iterator[tuple[str, bool]]:
    """The text in pieces of at most 1.5 x PIECE_CHARS, each with whether another follows."""
    held = stream.read(PIECE_CHARS)
    while more := stream.read(PIECE_CHARS):
        cut = cuts.last_cut(held, len(held) // 2, len(held))
        yield held[:cut], True
        held = held[cut:] + more
    yield held, False


def _line_documents(found: _Found, text_field: str, on_skip: OnSkip) -> Iterator[Document]:
    name = found.entry.name
    passed_over = 0
    with found.open() as stream:
        for number, (line, size) in enumerate(_lines(stream), start=1):
            place = f"{name} line {number}"
            text, reason = _field(line, text_field)
            if text is None:
                passed_over += size
                if reason:
                    on_skip(place, reason)
            else:
                yield Document(place, text, bytes=passed_over + size)
                passed_over = 0


def _lines(stream: BinaryIO) -> Iterator[tuple[bytes | None, int]]:
    """Each line and its length; None in place of a line beyond MAX_LINE_BYTES."""
    while line := stream.readline(MAX_LINE_BYTES):
        size = len(line)
        if size < MAX_LINE_BYTES or line.endswith(b"\n"):
            yield line, size
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(_REST_BYTES)
            size += len(line)
        yield None, size


def _field(line: bytes | None, text_field: str) -> tuple[str | None, str]:
    """The text in one line of .jsonl, or None and the reason; an empty line needs none."""
    if line is None:
        return None, "lines longer than 64 MiB"
    content = line.removeprefix(codecs.BOM_UTF8).strip()
    if not content:
        return None, ""
    try:
        row = json_value(content)
    except ValueError:  # no JSON or no Unicode
        return None, "lines that are not JSON"
    text = row.get(text_field) if isinstance(row, dict) else None
    if not isinstance(text, str):
        return None, f"lines without a text in the field '{text_field}'"
    # JSON may spell half a surrogate pair, which no encoding can hold.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\r\n", "\n").replace("\r", "\n"), ""
