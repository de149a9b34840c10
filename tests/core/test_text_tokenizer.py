"""The laws of the tokenizers: nothing is lost, nobody's text is special, and HF's implementation agrees."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from atlas_core.errors import TokenizerError
from atlas_core.export import vocabulary
from atlas_core.text import cuts
from atlas_core.text.tokenizer import AtlasTokenizer, StreamDecoder, bpe_size, gpt2, open_tokenizer, train_bpe

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
unhurried = settings(deadline=None, max_examples=60)  # a busy machine is no fault of the code
VERSES = ["Shall I compare thee to a summer's day?\nThou art more lovely and more temperate.\n" * 20,
          "Über naïve Füße\n" * 9]


@pytest.fixture(scope="module")
def own() -> AtlasTokenizer:
    return train_bpe(VERSES, 300)


def test_gpt2_has_its_ranks_its_unused_slot_and_four_special_tokens() -> None:
    tokenizer = gpt2()
    assert (len(tokenizer.ranks), tokenizer.n_vocab) == (50256, 50261)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id) == (50257, 50258, 50259, 50260)
    assert tokenizer.token_bytes(50256) == b"<|endoftext|>"
    assert tokenizer.encode("Hello world") == [15496, 995]  # as published for GPT-2


@pytest.mark.parametrize("text", ["<|endoftext|>", "<|bos|><|eos|>", "a<|pad|>b"])
def test_names_of_special_tokens_in_a_text_are_ordinary_text(text: str, own: AtlasTokenizer) -> None:
    for tokenizer in (gpt2(), own):
        ids = tokenizer.encode(text)
        assert max(ids) < len(tokenizer.ranks)
        assert tokenizer.decode(ids) == text


@unhurried
@given(any_text)
def test_decoding_gives_back_every_text(text: str) -> None:
    assert gpt2().decode(gpt2().encode(text)) == text


@unhurried
@given(any_text)
def test_a_vocabulary_of_ones_own_gives_back_texts_it_never_saw(text: str) -> None:
    tokenizer = learned_once()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@unhurried
@given(st.lists(st.integers(0, 50260), max_size=60))
def test_the_stream_says_what_decoding_at_once_says(ids: list[int]) -> None:
    decoder = StreamDecoder(gpt2())
    assert "".join(map(decoder.feed, ids)) + decoder.flush() == gpt2().decode(ids)


@unhurried
@given(any_text)
def test_the_stream_never_shows_half_a_character(text: str) -> None:
    decoder = gpt2().stream()
    shown = ""
    for token in gpt2().encode(text):
        shown += decoder.feed(token)
        assert text.startswith(shown)
    assert shown + decoder.flush() == text


def test_the_stream_owns_up_to_a_character_that_never_became_whole() -> None:
    decoder = gpt2().stream()
    first_byte = gpt2().ranks["é".encode()[:1]]
    assert decoder.feed(first_byte) == ""
    assert decoder.flush() == "\ufffd"


@unhurried
@given(st.text(st.sampled_from(" \n\tab1.é'\u3000中"), max_size=300), st.integers(1, 20))
def test_a_text_cut_into_pieces_is_still_the_text(text: str, size: int) -> None:
    assert "".join(cuts.pieces(text, size)) == text
    assert all(len(piece) <= 2 * size for piece in cuts.pieces(text, size))


@unhurried
@given(st.lists(st.sampled_from(["word", " ", "\n", "\n\n", "  ", "don't", "12", "?!", "\t", "中文"]), max_size=80))
def test_a_cut_before_a_word_changes_no_token(words: list[str]) -> None:
    text = "".join(words)
    for place in range(len(text)):
        if cuts.last_cut(text, place, place) == place and text[place] in " \n" and text[place + 1:place + 2].strip():
            cut = gpt2().encode(text[:place]) + gpt2().encode(text[place:])
            assert cut == gpt2().encode(text)


@pytest.mark.parametrize("text", [" " * 1_200_000, "a" * 300_000, "\n" * 300_000, "word " * 60_000])
def test_long_runs_are_encoded_without_overflow(text: str) -> None:
    assert gpt2().decode(gpt2().encode(text)) == text


def test_pieces_of_a_long_text_have_the_tokens_of_the_whole() -> None:
    text = "\n\n".join(f"Line {i} of a long text, with  blanks." for i in range(12_000))
    assert len(text) > 3 * 2**17
    assert gpt2().encode(text) == gpt2()._encoding.encode_ordinary(text)


def test_a_lone_surrogate_becomes_a_replacement_character() -> None:
    assert gpt2().decode(gpt2().encode("a\ud800b")) == "a\ufffdb"


def test_bos_and_eos_come_when_asked_and_go_when_skipped(own: AtlasTokenizer) -> None:
    ids = own.encode("day", add_bos=True, add_eos=True)
    assert (ids[0], ids[-1]) == (own.bos_id, own.eos_id)
    assert own.decode(ids) == "day"
    assert own.decode(ids, skip_special=False) == "<|bos|>day<|eos|>"
    assert own.encode_batch(["day", ""], add_eos=True) == [ids[1:], [own.eos_id]]
    assert own.decode_batch([ids, []]) == ["day", ""]


def test_a_learned_vocabulary_has_exactly_the_size_asked_for(own: AtlasTokenizer) -> None:
    assert (own.n_vocab, own.name) == (300, "bpe:300")
    assert sorted(own.ranks.values()) == list(range(296))
    assert own.special_ids == frozenset(range(296, 300))


def test_learning_twice_gives_the_same_vocabulary(own: AtlasTokenizer) -> None:
    assert train_bpe(VERSES, 300).fingerprint == own.fingerprint != gpt2().fingerprint


def test_a_text_too_short_for_the_vocabulary_gives_a_smaller_one() -> None:
    tokenizer = train_bpe(["aaaa"], 4096)
    assert 260 < tokenizer.n_vocab < 300
    assert tokenizer.name == f"bpe:{tokenizer.n_vocab}"


def test_a_saved_tokenizer_is_the_same_when_loaded(own: AtlasTokenizer, tmp_path: Path) -> None:
    for tokenizer in (own, gpt2()):
        tokenizer.save(tmp_path)
        loaded = open_tokenizer(str(tmp_path))
        assert loaded.to_dict() == tokenizer.to_dict()
        assert loaded.encode("Thou art more") == tokenizer.encode("Thou art more")
    assert (tmp_path / "tokenizer.json").stat().st_size < 1000  # GPT-2 goes by name


@pytest.mark.parametrize("damage", [{"ranks": ["!"]}, {"ranks": None}, {"ranks": ["YQ=="] * 300}, {"fingerprint": "0"},
                                    {"format": 9}])
def test_a_damaged_tokenizer_is_refused(damage: dict[str, object], own: AtlasTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(own.to_dict() | damage))
    with pytest.raises(TokenizerError) as caught:
        AtlasTokenizer.load(path)
    assert caught.value.remedy


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"[]", b"\xff"):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(TokenizerError):
            AtlasTokenizer.load(tmp_path)


@pytest.mark.parametrize("spec", ["gpt3", "bpe:", "bpe:many", "bpe:259", "bpe:99999999", "", "/nowhere"])
def test_an_unknown_tokenizer_is_refused_with_the_choices(spec: str) -> None:
    with pytest.raises(TokenizerError) as caught:
        open_tokenizer(spec)
    assert "bpe:" in caught.value.remedy


def test_a_setting_asks_for_learning_only_as_bpe() -> None:
    assert (bpe_size("bpe:4096"), bpe_size("gpt2"), bpe_size("bpe")) == (4096, None, None)


def test_tokens_are_shown_so_that_a_person_can_read_them() -> None:
    show = gpt2().token_text
    assert [show(gpt2().encode(text)[0]) for text in ("\n", "\t", " the")] == ["↵", "⇥", " the"]
    assert show(gpt2().ranks[b"\xe4"]) == "\\xe4"
    assert show(gpt2().eos_id) == "<|eos|>"


def test_lengths_of_tokens_add_up_to_the_text() -> None:
    text = "naïve 中文 🙂 text\n"
    ids = gpt2().encode(text, add_bos=True, add_eos=True)
    assert gpt2().byte_lengths()[ids].sum() == len(text.encode())
    assert gpt2().character_lengths()[ids].sum() == len(text)


def test_an_id_beyond_the_vocabulary_is_our_own_mistake() -> None:
    for token in (-1, 50261):
        with pytest.raises(IndexError):
            gpt2().token_bytes(token)


@unhurried
@given(any_text)
def test_hugging_faces_tokenizers_agrees_on_every_text(text: str) -> None:
    assert judge().encode(text).ids == gpt2().encode(text)


@cache
def learned_once() -> AtlasTokenizer:
    """hypothesis calls a test many times; learning once is enough."""
    return train_bpe(VERSES, 300)


@cache
def judge() -> Tokenizer:
    """GPT-2's vocabulary in HF `tokenizers`, its merges recovered from our ranks."""
    vocab = {vocabulary.spell(token): rank for token, rank in gpt2().ranks.items()}
    merges = [(left, right) for left, right in map(str.split, vocabulary.merges(gpt2().ranks))]
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer
