"""The vocabulary in GGUF's spelling, and the merges recovered from the ranks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from gguf import TokenType

from atlas_core.errors import ExportError
from atlas_core.export import vocabulary
from atlas_core.text.tokenizer import AtlasTokenizer, gpt2
from tests.core.tiny_model import TEXT, small_vocabulary

TEXTS = [TEXT, "", " ", "  two  blanks \n\n\ttabs\r\n", "naïve café — “quotes” …", "日本語テキスト 🙂\u200d🙂",
         "<|endoftext|>", "it's we'll I'd 1234567 a1b2", "\u00a0\u2003x\u200b", "ᚠᛇᚻ\U00010348"]


def merged(text: str, tokenizer: AtlasTokenizer, built: vocabulary.Vocabulary) -> list[int]:
    """Textbook BPE by the written tokens and merges alone, on tiktoken's words."""
    order = {tuple(merge.split(" ")): rank for rank, merge in enumerate(built.merges)}
    ids = {token: number for number, token in enumerate(built.tokens)}
    found: list[int] = []
    for word in words(text, tokenizer):
        parts = list(vocabulary.spell(word))
        while True:
            pairs = [(order[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in order]
            if not pairs:
                break
            place = min(pairs)[1]
            parts[place : place + 2] = ["".join(parts[place : place + 2])]
        found += [ids[part] for part in parts]
    return found


def words(text: str, tokenizer: AtlasTokenizer) -> list[bytes]:
    """The pattern's pieces, from the third-party `regex` that transformers brings."""
    import regex

    return [match.encode() for match in regex.findall(tokenizer.pattern, text)]


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_and_merges_alone_tokenise_as_we_do(text: str) -> None:
    for tokenizer in (gpt2(), small_vocabulary()):
        assert merged(text, tokenizer, vocabulary.build(tokenizer, rows=tokenizer.n_vocab)) == tokenizer.encode(text)


def test_gpt2s_merges_begin_as_openai_published_them() -> None:
    found = vocabulary.merges(gpt2().ranks)
    assert len(found) == 50_000
    assert found[:6] == ["Ġ t", "Ġ a", "h e", "i n", "r e", "o n"]


def test_every_byte_has_one_printable_spelling_and_it_is_gpt2s() -> None:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    ours = {byte: vocabulary.spell(bytes([byte])) for byte in range(256)}
    assert ours == bytes_to_unicode()


def test_specials_are_control_and_slots_unused() -> None:
    built = vocabulary.build(gpt2(), rows=50_270)
    assert built.tokens[50_256] == "<|unused_50256|>"
    assert built.tokens[50_257:50_261] == ["<|bos|>", "<|eos|>", "<|pad|>", "<|unk|>"]
    assert built.types[50_256:] == [TokenType.UNUSED, *[TokenType.CONTROL] * 4, *[TokenType.UNUSED] * 9]
    assert set(built.types[:50_256]) == {TokenType.NORMAL}
    assert len(set(built.tokens)) == len(built.tokens) == 50_270


def test_fewer_rows_than_tokens_are_refused() -> None:
    with pytest.raises(ExportError, match="299 rows for a vocabulary of 300"):
        vocabulary.build(small_vocabulary(), rows=299)


def test_a_vocabulary_that_no_merges_make_is_refused() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    with pytest.raises(ExportError, match="cannot be built by merging"):
        vocabulary.merges({**ranks, b"abc": 256})

