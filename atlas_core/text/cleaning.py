"""Optional tidying of text, counted: nothing is dropped that the summary does not tell of.

A pure function of text and settings. Not here: leaving out whole documents.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import cache

from atlas_core import config

# Characters that end a line by another name: vertical tab, form feed, next line, line and paragraph separator.
_OTHER_LINE_ENDS = re.compile("[\x0b\x0c\x85\u2028\u2029]")
# C0 and C1 controls except tab and line feed, the byte order mark inside a text, and the zero-width space.
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\u200b]")
_SHORT_CHARS = 1024
_MANY_EMPTY_LINES = re.compile(r"\n{4,}")


@dataclass(frozen=True)
class Cleaned:
    """The tidied text and, in characters, what became of the rest."""

    text: str
    recomposed: int = 0          # characters by which NFC made the text shorter, or 1 if only replaced
    controls_removed: int = 0
    line_ends_replaced: int = 0
    blanks_removed: int = 0

    @property
    def counts(self) -> dict[str, int]:
        return {"recomposed": self.recomposed, "controls_removed": self.controls_removed,
                "line_ends_replaced": self.line_ends_replaced, "blanks_removed": self.blanks_removed}


def clean(text: str, data: config.Data) -> Cleaned:
    """`text` tidied as `data.clean_*` says. Cleaning twice is the same as cleaning once."""
    recomposed = controls = line_ends = blanks = 0
    if data.clean_control:
        text, line_ends = _OTHER_LINE_ENDS.subn("\n", text)
        text, controls = _CONTROLS.subn("", text)
    if data.clean_unicode and (composed := _composed(text)) != text:
        text, recomposed = composed, max(1, abs(len(text) - len(composed)))
    if data.clean_whitespace:
        tidy = _tidy_blanks(text)
        text, blanks = tidy, len(text) - len(tidy)
    return Cleaned(text, recomposed, controls, line_ends, blanks)


def _composed(text: str, cuts: str = "\n ") -> str:
    """`text` in NFC. Rows of more than 1024 marks on one letter are left as they stand.

    Python orders the marks of a letter in quadratic time: a megabyte of them would take an hour. Looking for such rows
    is slow too, so it is done only in long words: nothing composes with a line end or a blank.
    """
    if text.isascii():
        return text
    if len(text) <= _SHORT_CHARS:
        return unicodedata.normalize("NFC", text)
    if cuts:
        return cuts[0].join(_composed(part, cuts[1:]) for part in text.split(cuts[0]))
    parts = _long_rows_of_marks().split(text)  # every other part is such a row
    return "".join(part if place % 2 else unicodedata.normalize("NFC", part) for place, part in enumerate(parts))


@cache
def _long_rows_of_marks() -> re.Pattern[str]:
    marks = "".join(filter(unicodedata.combining, map(chr, range(sys.maxunicode + 1))))
    return re.compile(f"([{marks}]{{{_SHORT_CHARS + 1},}})")


def _tidy_blanks(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.split("\n"))
    return _MANY_EMPTY_LINES.sub("\n\n\n", lines)
