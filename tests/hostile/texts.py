"""Hostile texts: files, folders and archives that somebody is to learn from."""

from __future__ import annotations

import io
import os
import random
import socket
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.hostile.case import Case, Ground
from tests.hostile.powers import of_an_ordinary_user, of_no_room
from tests.tiny import TEXT

GOOD = (TEXT + "\n").encode() * 20
SECRET = "the-key-to-everything"


def prepare(ground: Ground, source: Path, *more: object) -> list[object]:
    return ["prepare", source, "--out", ground.path("out"), "--tokenizer", "bpe:300", "--val-fraction", "0", *more]


def file(content: bytes, name: str = "a.txt", *more: object) -> Callable[[Ground], list[object]]:
    return lambda ground: prepare(ground, ground.write(name, content), *more)


def lines(*rows: str | bytes) -> Callable[[Ground], list[object]]:
    """A good line, then these."""
    good = b'{"text": "' + TEXT.encode() + b'"}'
    content = b"\n".join([good, *(row.encode() if isinstance(row, str) else row for row in rows)]) + b"\n"
    return file(content, "rows.jsonl")


def zipped(members: Iterable[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def archive(*members: tuple[str | zipfile.ZipInfo, bytes], **options: Any) -> Callable[[Ground], list[object]]:
    return lambda ground: prepare(ground, ground.write("a.zip", zipped(members, **options)))


def spoilt(change: Callable[[bytearray], object], *members: tuple[str, bytes]) -> Callable[[Ground], list[object]]:
    """An archive of one good text (or of `members`) that was changed afterwards."""

    def make(ground: Ground) -> list[object]:
        content = bytearray(zipped(members or [("a.txt", GOOD)]))
        change(content)
        return prepare(ground, ground.write("a.zip", bytes(content)))

    return make


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def locked(content: bytearray) -> None:
    for header, flag in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(header) + flag] |= 1


def no_utf8_name(content: bytearray) -> None:
    """Both headers claim a name in UTF-8 that is none."""
    for header, flag in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        content[content.index(header) + flag] |= 8
    for place in (content.index(b"a.txt"), content.rindex(b"a.txt")):
        content[place] = 0xff


def same_name(content: bytearray) -> None:
    content[:] = content.replace(b"b.txt", b"a.txt")


def shorter_claim(content: bytearray) -> None:
    place = content.index(b"PK\1\2")
    content[place + 24:place + 28] = (5).to_bytes(4, "little")


def overlapping(ground: Ground) -> list[object]:
    """3 000 names for the same 100 KB, which unfold to 9 MB each (after David Fifield's, 2019)."""
    text = random.Random(7).randbytes(15_000).hex().encode() * 300
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(text) + packer.flush()
    crc, name = zlib.crc32(text), b"a.txt"
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(packed), len(text), len(name), 0) + name
    central = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(packed), len(text), 8, 0, 0, 0, 0, 0, 0)
        + b"%04d.txt" % number for number in range(3000))
    start = len(local) + len(packed)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 3000, 3000, len(central), start, 0)
    return prepare(ground, ground.write("a.zip", local + packed + central + end))


def forty_two(ground: Ground) -> list[object]:
    """An archive in an archive: each unfolds less than 100 times, both together 2 000 times."""
    text = random.Random(7).randbytes(5000).hex().encode() * 100
    inner = zipped((f"{number}.txt", text) for number in range(30))
    return prepare(ground, ground.write("a.zip", zipped([("inner.zip", inner)])))


def nested(ground: Ground) -> list[object]:
    content = GOOD
    for level in range(5):
        content = zipped([("good.txt", GOOD), ("inner.zip" if level else "inner.txt", content)])
    return prepare(ground, ground.write("a.zip", content))


def links(ground: Ground) -> list[object]:
    """A folder with links out of it, to itself and to nowhere."""
    folder = ground.write("in/good.txt", GOOD).parent
    (folder / "secret.txt").symlink_to(ground.write("secret.txt", SECRET * 50))
    (folder / "round").symlink_to(folder)
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    (folder / "self.txt").symlink_to(folder / "self.txt")
    return prepare(ground, folder)


def nothing_secret(ground: Ground) -> None:
    """The dataset does not hold what the link pointed to."""
    from atlas_core.text.dataset import Dataset

    dataset = Dataset.open(ground.path("out"))
    assert SECRET not in dataset.tokenizer.decode(dataset.tokens("train").tolist())


def many_files(ground: Ground) -> list[object]:
    for number in range(10_000):
        ground.write(f"in/{number // 100}/{number}.txt", f"{number}: {TEXT}")
    return prepare(ground, ground.path("in"))


def odd_names(ground: Ground) -> list[object]:
    folder = ground.write("in/good.txt", GOOD).parent
    (folder / os.fsdecode(b"caf\xe9\x1b[2J.pdf")).write_bytes(b"%PDF")
    (folder / "new\nline.pdf").write_bytes(b"%PDF")
    return prepare(ground, folder)


def pipe(ground: Ground) -> list[object]:
    os.mkfifo(ground.path("a.txt"))
    return prepare(ground, ground.path("a.txt"))


def pipe_in_a_folder(ground: Ground) -> list[object]:
    folder = ground.write("in/good.txt", GOOD).parent
    os.mkfifo(folder / "pipe.txt")
    with closing(socket.socket(socket.AF_UNIX)) as ear:
        here = Path.cwd()
        os.chdir(folder)  # the name of a socket may have 100 bytes
        ear.bind("socket.txt")
        os.chdir(here)
    return prepare(ground, folder)


def unreadable(name: str, *, mode: int = 0) -> Callable[[Ground], list[object]]:
    def make(ground: Ground) -> list[object]:
        ground.write("in/good.txt", GOOD)
        ground.write("in/closed/b.txt", GOOD)
        ground.path(name).chmod(mode)
        return prepare(ground, ground.path("in"))

    return make


def onto(place: Callable[[Ground], object]) -> Callable[[Ground], list[object]]:
    def make(ground: Ground) -> list[object]:
        source = ground.write("a.txt", GOOD)
        return ["prepare", source, "--out", place(ground), "--tokenizer", "bpe:300"]

    return make


def read_only(ground: Ground) -> Path:
    folder = ground.path("closed")
    folder.mkdir(mode=0o555)
    return folder / "out"


def only_sources(*names: str) -> Callable[[Ground], None]:
    return lambda ground: ground.nothing_new(*names)


CASES = [
    Case("an empty file", file(b""),
         "There is no text in what was chosen. Add .txt, .md or .jsonl files, folders of them, or a .zip. For "
         ".jsonl, data.text_field names the field that holds the text."),
    Case("one byte", file(b"x"),
         "There is only 1 token of text in what was chosen. Add .txt, .md or .jsonl files, folders of them, or a "
         ".zip. For .jsonl, data.text_field names the field that holds the text."),
    Case("three bytes", file(b"x y"),
         "There are only 2 tokens of text in what was chosen. Add .txt, .md or .jsonl files, folders of them, or a "
         ".zip. For .jsonl, data.text_field names the field that holds the text."),
    Case("binary that calls itself text", file(bytes(range(256)) * 40),
         "There is no text in what was chosen (1 skipped (binary, not text): a.txt). Add .txt, .md or .jsonl "
         "files, folders of them, or a .zip. For .jsonl, data.text_field names the field that holds the text."),
    Case("binary without a suffix", file(bytes(range(256)) * 40, "a"),
         "There is no text in what was chosen (1 skipped (binary, not text): a). Add .txt, .md or .jsonl files, "
         "folders of them, or a .zip. For .jsonl, data.text_field names the field that holds the text."),
    Case("a picture", file(b"\x89PNG", "a.png"),
         "There is no text in what was chosen (1 skipped (.png files are not read): a.png). Add .txt, .md or "
         ".jsonl files, folders of them, or a .zip. For .jsonl, data.text_field names the field that holds the "
         "text."),
    Case("broken UTF-8", file("Größe ".encode() * 50 + b"\xff\xfe\xff" + GOOD),
         "1 read, though bytes that are no characters became �: a.txt", goes_on=True),
    Case("UTF-16 with its mark", file(GOOD.decode().encode("utf-16")), "", goes_on=True),
    Case("UTF-16 without a mark", file(GOOD.decode().encode("utf-16-le")),
         "There is no text in what was chosen (1 skipped (binary, not text): a.txt). Add .txt, .md or .jsonl "
         "files, folders of them, or a .zip. For .jsonl, data.text_field names the field that holds the text."),
    Case("control characters and half surrogates", file(b"\x1b[2J\x07" + GOOD + b"\xed\xa0\x80"), "", goes_on=True),
    Case("half a million marks on one letter", file(b"e" + "\u0301\u0323".encode() * 250_000 + GOOD), "",
         goes_on=True),
    Case("one line of 8 MB without a blank", file(b"x" * 2**23 + b"\n" + GOOD), "", goes_on=True),
    Case("10 000 files", many_files, "", goes_on=True),
    Case("names that are no text, or control a terminal", odd_names,
         "2 skipped (.pdf files are not read): in/caf?�[2J.pdf, in/new�line.pdf", goes_on=True),
    Case("no such file", lambda ground: prepare(ground, ground.path("none.txt")),
         "There is no file or folder …/none.txt. Add .txt, .md or .jsonl files, folders of them, or a .zip."),
    Case("links out of the folder, to itself and to nowhere", links,
         "1 skipped (a link to a folder): in/round/ 2 skipped (neither a file "
         "nor a folder): in/gone.txt, in/self.txt 1 skipped (a link that leads "
         "out of its folder): in/secret.txt", goes_on=True, check=nothing_secret),
    Case("a named pipe", pipe,
         "…/a.txt is neither a file nor a folder. Add .txt, .md or .jsonl files, folders of them, or a .zip."),
    Case("a pipe and a socket in a folder", pipe_in_a_folder,
         "2 skipped (neither a file nor a folder): in/pipe.txt, in/socket.txt", goes_on=True),
    Case("a device", lambda ground: prepare(ground, Path("/dev/zero")),
         "/dev/zero is neither a file nor a folder. Add .txt, .md or .jsonl files, folders of them, or a .zip."),
    Case("a folder that may not be read", unreadable("in/closed"),
         "…/in/closed cannot be read: Permission denied. Check that it is there and "
         "that you may read it.", around=of_an_ordinary_user),
    Case("a file that may not be read", unreadable("in/good.txt"),
         "…/in/good.txt cannot be read: Permission denied. Check that it is there and "
         "that you may read it.", around=of_an_ordinary_user),
    Case(".jsonl with another field", lines('{"body": "text"}', '{"text": 3}', "[1]"),
         "3 skipped (lines without a text in the field 'text'): rows.jsonl line 2, rows.jsonl line "
         "3, rows.jsonl line 4 The training text has 39 tokens, fewer than one window of 512: lower "
         "model.max_seq_len to at most 38 or add more text.", goes_on=True),
    Case(".jsonl with half a line", lines('{"text": "half'),
         "1 skipped (lines that are not JSON): rows.jsonl line 2 The training text has 39 tokens, "
         "fewer than one window of 512: lower model.max_seq_len to at most 38 or add more text.", goes_on=True),
    Case(".jsonl nested 100 000 deep", lines("[" * 100_000),
         "1 skipped (lines that are not JSON): rows.jsonl line 2 The training text has 39 tokens, "
         "fewer than one window of 512: lower model.max_seq_len to at most 38 or add more text.", goes_on=True),
    Case(".jsonl with a number of 5 000 digits", lines('{"text": "a", "n": ' + "9" * 5000 + "}"),
         "1 skipped (lines that are not JSON): rows.jsonl line 2 The training text has 39 tokens, "
         "fewer than one window of 512: lower model.max_seq_len to at most 38 or add more text.", goes_on=True),
    Case(".jsonl that is no UTF-8", lines(b'{"text": "\xff\xfe"}'),
         "1 skipped (lines that are not JSON): rows.jsonl line 2 The training text has 39 tokens, "
         "fewer than one window of 512: lower model.max_seq_len to at most 38 or add more text.", goes_on=True),
    Case(".jsonl with half a surrogate pair", lines(r'{"text": "a \ud800 b"}'),
         "The training text has 47 tokens, fewer than one window of 512: lower model.max_seq_len to "
         "at most 46 or add more text.", goes_on=True),
    Case(".jsonl with a line of 65 MiB", lines('{"text": "' + "x" * (65 * 2**20) + '"}'),
         "So short a text gives only 260 of the 300 tokens. 1 skipped (lines longer than 64 MiB): "
         "rows.jsonl line 2 The training text has 86 tokens, fewer than one window of 512: lower "
         "model.max_seq_len to at most 85 or add more text.", goes_on=True),
    Case(".jsonl without the wanted field", file(b'{"text": "a"}\n' * 50, "rows.jsonl", "--field", "body"),
         "There is no text in what was chosen (50 skipped (lines without a text in the field 'body'): rows.jsonl "
         "line 1, rows.jsonl line 2, rows.jsonl line 3, ...). Add .txt, .md or .jsonl files, folders of them, or a "
         ".zip. For .jsonl, data.text_field names the field that holds the text."),
    Case("zip: no archive at all", file(b"PK\3\4 not really", "a.zip"),
         "The archive a.zip is damaged (File is not a zip file). Download or pack it again."),
    Case("zip: zero bytes", file(b"", "a.zip"),
         "The archive a.zip is damaged (File is not a zip file). Download or pack it again."),
    Case("zip: truncated", spoilt(lambda content: content.__delitem__(slice(-60, None))),
         "The archive a.zip is damaged (File is not a zip file). Download or pack it again."),
    Case("zip: damaged in the middle", spoilt(lambda content: content.__setitem__(slice(60, 70), b"\xff" * 10)),
         "The archive a.zip/a.txt is damaged (Error -3 while decompressing data: invalid bit length repeat). "
         "Download or pack it again."),
    Case("zip: with a password", spoilt(locked),
         "The archive a.zip is protected by a password. Unpack it first and add the folder."),
    Case("zip: packed by another method", archive(("a.txt", GOOD), method=zipfile.ZIP_BZIP2),
         "The archive a.zip is packed with a method that cannot be read here (number 12). Pack it again as an "
         "ordinary zip."),
    Case("zip: a member longer than it claims", spoilt(shorter_claim),
         "The archive a.zip/a.txt is damaged (Bad CRC-32 for file 'a.txt'). Download or pack it again."),
    Case("zip: a name that is no UTF-8", spoilt(no_utf8_name),
         "The archive a.zip is damaged ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte). "
         "Download or pack it again."),
    Case("zip: out of its folder by ..", archive(("../../evil.txt", GOOD)),
         "The archive a.zip holds a file that points outside it ('../../evil.txt'). "
         "It is not to be trusted; unpack and look through it by yourself.", check=only_sources("a.zip")),
    Case("zip: an absolute name", archive(("/tmp/evil.txt", GOOD)),
         "The archive a.zip holds a file that points outside it ('/tmp/evil.txt'). It "
         "is not to be trusted; unpack and look through it by yourself.", check=only_sources("a.zip")),
    Case("zip: a drive letter", archive(("C:/evil.txt", GOOD)),
         "The archive a.zip holds a file that points outside it ('C:/evil.txt'). It "
         "is not to be trusted; unpack and look through it by yourself.", check=only_sources("a.zip")),
    Case("zip: backslashes", archive(("..\\..\\evil.txt", GOOD)),
         "The archive a.zip holds a file that points outside it "
         "('..\\\\..\\\\evil.txt'). It is not to be trusted; unpack and look through "
         "it by yourself.", check=only_sources("a.zip")),
    Case("zip: a link to /etc/passwd", archive((link("a.txt"), b"/etc/passwd")),
         "The archive a.zip holds a link (a.txt). Pack the files themselves.", check=only_sources("a.zip")),
    Case("zip: the same name twice", spoilt(same_name, ("a.txt", GOOD), ("b.txt", GOOD[::-1])), "", goes_on=True),
    Case("zip: a bomb", archive(("a.txt", b"\n" * 2**25)),
         "The archive a.zip would unfold to N MiB from M MiB. It looks like a "
         "trap; if you trust it, unpack it and add the folder.", check=only_sources("a.zip")),
    Case("zip: a bomb of many members", archive(*((f"{i}.txt", b"\n" * 2**20) for i in range(30))),
         "The archive a.zip would unfold to N MiB from M MiB. It looks like a trap; if you trust it, unpack it "
         "and add the folder."),
    Case("zip: a bomb of members on top of each other", overlapping,
         "The archive a.zip would unfold to N MiB from M MiB. It looks like a "
         "trap; if you trust it, unpack it and add the folder.", check=only_sources("a.zip")),
    Case("zip: a bomb of archives in archives", forty_two,
         "The archive a.zip/inner.zip would unfold to N MiB from M MiB. It "
         "looks like a trap; if you trust it, unpack it and add the folder.", check=only_sources("a.zip")),
    Case("zip: archives in archives, five deep", nested,
         "1 skipped (an archive more than 3 deep in archives): a.zip/inner.zip/inner.zip/inner.zip "
         "Documents left out: 2 identical to an earlier one.", goes_on=True),
    Case("--out: a folder of somebody's letters", onto(lambda ground: ground.write("letters/dear.txt", "x").parent),
         "…/letters exists and is not a dataset, so it is left alone. Choose another name.",
         check=lambda ground: ground.nothing_new("a.txt", "letters")),
    Case("--out: below a file", onto(lambda ground: ground.write("b.txt", "x") / "out"),
         "Cannot write …/b.txt/out: a part of its path is a file, not a folder. Free some space or choose a folder "
         "you may write to."),
    Case("--out: a place that may only be read", onto(read_only),
         "Cannot write …/closed/out: Permission denied. Free some space or choose a "
         "folder you may write to.", around=of_an_ordinary_user,
         check=lambda ground: ground.nothing_new("a.txt", "closed")),
    Case("--out: no room", file(GOOD * 50),
         "Cannot write …/out: File too large. Free some space or choose a folder you may write "
         "to.", around=of_no_room,
         check=only_sources("a.txt")),
    Case("--tokenizer: nobody knows it", file(GOOD, "a.txt", "--tokenizer", "gpt3"),
         "There is no tokenizer 'gpt3' (did you mean gpt2?). Choose gpt2, bpe:4096 or a dataset folder."),
    Case("--tokenizer: no size", file(GOOD, "a.txt", "--tokenizer", "bpe:many"),
         "'bpe:many' does not name a vocabulary size. Write it like bpe:4096."),
    Case("--tokenizer: too small and too large", file(GOOD, "a.txt", "--tokenizer", "bpe:99999999999999999999"),
         "A vocabulary of 99999999999999999999 tokens cannot be learned. Choose bpe:260 (every byte and four "
         "special tokens) to bpe:1048576."),
]
