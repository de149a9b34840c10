"""Where a long text may be cut so that its pieces have the same tokens as the whole.

GPT-2's pattern starts a token at the last white space before a word, so a cut just there changes nothing.
Not here: what the pieces are for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE_START = re.compile(r"\n(?=\S)")
_WORD_START = re.compile(r"[ \n](?=\S)")


def pieces(text: str, size: int) -> Iterator[str]:
    """`text` in pieces of `size` to 2 x `size` characters (the last may be shorter); joined, they are `text`."""
    start = 0
    while len(text) - start > 2 * size:
        cut = last_cut(text, start + size, start + 2 * size)
        yield text[start:cut]
        start = cut
    yield text[start:]


def last_cut(text: str, low: int, high: int) -> int:
    """The last place in `low` to `high` to cut at: before a line, else before a word, else `high` itself.

    Only the last case, a run of `high - low` characters without a word's start, can change a token.
    """
    for pattern in (_LINE_START, _WORD_START):
        # The look-ahead must see one character beyond the last place allowed.
        places = [match.start() for match in pattern.finditer(text, low, high + 1)]
        if places:
            return places[-1]
    return high
