"""Our vocabulary in the form that GGUF and Hugging Face share: tokens as printable text, and merges in order.

Both spell a byte as one printable character (GPT-2's `bytes_to_unicode`). Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from gguf import TokenType

from atlas_core.errors import ExportError
from atlas_core.text.tokenizer import AtlasTokenizer


@dataclass(frozen=True)
class Vocabulary:
    """One token and type for each row of the embedding; `merges` as "left right", first learned first."""

    tokens: list[str]
    types: list[int]
    merges: list[str]


def build(tokenizer: AtlasTokenizer, *, rows: int) -> Vocabulary:
    """The vocabulary for an embedding of `rows` rows. Raises `ExportError` if it does not fit.

    A slot that text never produces gets a name no text looks for: were GPT-2's 50256 called <|endoftext|>,
    llama.cpp would make it a control token and end texts there.
    """
    if rows < tokenizer.n_vocab:
        raise ExportError(f"The model has {rows} rows for a vocabulary of {tokenizer.n_vocab} tokens.",
                          "The checkpoint and its tokenizer do not belong together.")
    ordinary = len(tokenizer.ranks)
    tokens = [spell(token) for token in tokenizer.vocabulary[:ordinary]]
    types = [int(TokenType.NORMAL)] * ordinary
    names = {token: name for name, token in tokenizer.special_tokens.items()}
    for token in range(ordinary, rows):
        tokens.append(names.get(token, f"<|unused_{token}|>"))
        types.append(int(TokenType.CONTROL if token in names else TokenType.UNUSED))
    return Vocabulary(tokens, types, merges(tokenizer.ranks))


def spell(token: bytes) -> str:
    """Bytes as GPT-2's printable characters; a blank becomes Ġ."""
    return token.decode("latin-1").translate(_alphabet())


def merges(ranks: Mapping[bytes, int]) -> list[str]:
    """The merges behind `ranks`, recovered by building each token from the ones before it.

    Raises `ExportError` for a vocabulary that no sequence of merges produces.
    """
    found = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) == 1:
            continue
        parts = _parts(token, ranks)
        if len(parts) != 2:
            raise ExportError(f"The token {token!r} cannot be built by merging two others.",
                              "The vocabulary is not byte-level BPE, which GGUF needs.")
        found.append(" ".join(map(spell, parts)))
    return found


def _parts(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """What byte-pair encoding makes of `token` with the merges learned before it."""
    limit = ranks[token]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        joined = [ranks.get(left + right, limit) for left, right in pairwise(parts)]
        best = min(joined)
        if best >= limit:
            break
        place = joined.index(best)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


@cache
def _alphabet() -> dict[int, str]:
    """Byte -> printable character: itself where it is printable in Latin-1, else the next one from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + i) for i, byte in enumerate(others)}}
