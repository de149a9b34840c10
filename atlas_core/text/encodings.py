"""Which encoding a text file is in, and whether it is text at all. Knows nothing of files' names or of archives."""

from __future__ import annotations

import codecs
from typing import BinaryIO

import charset_normalizer

_SAMPLE_BYTES = 2**18
_BLOCK_BYTES = 2**20

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# charset-normalizer guesses well among few: left alone it takes rare code pages for common ones.
_CANDIDATES = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r",
               "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr", "mac_roman"]
_LAST_RESORT = "cp1252"


def is_binary(start: bytes) -> bool:
    """Whether a file that begins so is no text: it holds NUL bytes and no mark that explains them."""
    return _mark(start) is None and b"\0" in start


def detect(stream: BinaryIO) -> str:
    """The encoding of all of `stream`, which is read once, a block at a time.

    A byte order mark decides; else UTF-8 if every byte agrees; else the likeliest code page for the text around
    the first byte that does not. A file that is UTF-8 but for a few damaged bytes stays UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    block = stream.read(_BLOCK_BYTES)
    mark = _mark(block)
    if mark:
        return mark
    while block:
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            return _guess(block[max(0, error.start - _SAMPLE_BYTES // 2):][:_SAMPLE_BYTES])
        block = stream.read(_BLOCK_BYTES)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "utf-8"  # cut off in the middle of its last character
    return "utf-8"


def _mark(start: bytes) -> str | None:
    return next((name for mark, name in _MARKS if start.startswith(mark)), None)


def _guess(sample: bytes) -> str:
    tolerant = sample.decode("utf-8", "replace")
    damaged = tolerant.count("\ufffd")
    whole = sum(not character.isascii() for character in tolerant) - damaged
    if whole > 4 * damaged:  # other encodings hardly ever form whole UTF-8 characters by chance
        return "utf-8"
    # Lines of plain ASCII are the same in every candidate and would only water the evidence down.
    telling = b"\n".join(line for line in sample.splitlines() if not line.isascii())
    best = charset_normalizer.from_bytes(telling, cp_isolation=_CANDIDATES).best()
    return best.encoding if best else _LAST_RESORT
