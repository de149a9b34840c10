"""Text to token ids and back: GPT-2's vocabulary, or one learned from the user's own text, both run by tiktoken.

No network, ever: the ranks travel with the program or with the dataset. Not here: reading files and cutting
documents.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import difflib
import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rustbpe
import tiktoken

from atlas_core.errors import TokenizerError
from atlas_core.paths import resource, write_atomically
from atlas_core.reading import json_file
from atlas_core.text import cuts

FILE_NAME = "tokenizer.json"
FORMAT = 1

# tiktoken's form of GPT-2's pattern: the same matches as OpenAI's, faster. Every vocabulary here uses it,
# because it is the one that llama.cpp knows as "gpt-2".
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""

GPT2_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"  # tiktoken's own constant
GPT2_ENDOFTEXT = b"<|endoftext|>"

SPECIAL_NAMES = ("<|bos|>", "<|eos|>", "<|pad|>", "<|unk|>")
SMALLEST_BPE = 256 + len(SPECIAL_NAMES)
LARGEST_BPE = 2**20

_NAME_CHARS = 100  # of a vocabulary's name; ours are far shorter

_CHOICES = "Choose gpt2, bpe:4096 or a dataset folder."

# Long enough to lose no speed. The pattern's backtracking overflows near a million blanks in one string.
_PIECE_CHARS = 2**16


class AtlasTokenizer:
    """A byte-level BPE vocabulary and, after it, BOS, EOS, PAD and UNK.

    `ranks` maps each token's bytes to its id, which is also its priority when pairs are merged. `unused` are
    ids between the ranks and the specials that text never produces (GPT-2's <|endoftext|>).
    """

    def __init__(self, name: str, ranks: dict[bytes, int], *, unused: Sequence[bytes] = ()) -> None:
        self.name = name
        self.pattern = PATTERN
        self.ranks = ranks
        first = len(ranks) + len(unused)
        self.bos_id, self.eos_id, self.pad_id, self.unk_id = range(first, first + len(SPECIAL_NAMES))
        self.n_vocab = first + len(SPECIAL_NAMES)
        self.special_tokens = {text: first + i for i, text in enumerate(SPECIAL_NAMES)}
        self.special_ids = frozenset(self.special_tokens.values())
        self._unused = tuple(unused)
        # tiktoken is told no special tokens, so whatever a text contains is ordinary text.
        self._encoding = tiktoken.Encoding(name, pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})

    @cached_property
    def vocabulary(self) -> tuple[bytes, ...]:
        """The bytes of every id, in order; a special token's are its name."""
        base = sorted(self.ranks, key=self.ranks.__getitem__)
        return (*base, *self._unused, *(name.encode() for name in SPECIAL_NAMES))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that are equal only if every id means the same bytes."""
        digest = hashlib.sha256(self.pattern.encode())
        for token in self.vocabulary:
            digest.update(len(token).to_bytes(4, "little") + token)
        return digest.hexdigest()[:16]

    def encode(self, text: str, *, add_bos: bool = False, add_eos: bool = False) -> list[int]:
        """The ids of `text`, none of them special except the ones asked for.

        Halves of surrogate pairs, which no file can hold, become U+FFFD.
        """
        ids = [self.bos_id] if add_bos else []
        for piece in cuts.pieces(text, _PIECE_CHARS):
            ids += self._encoding.encode_ordinary(piece)
        if add_eos:
            ids.append(self.eos_id)
        return ids

    def encode_batch(self, texts: Iterable[str], *, add_bos: bool = False, add_eos: bool = False) -> list[list[int]]:
        return [self.encode(text, add_bos=add_bos, add_eos=add_eos) for text in texts]

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD. An id beyond the vocabulary is an IndexError."""
        kept = (i for i in ids if not (skip_special and i in self.special_ids))
        return b"".join(map(self.token_bytes, kept)).decode("utf-8", "replace")

    def decode_batch(self, rows: Iterable[Iterable[int]], *, skip_special: bool = True) -> list[str]:
        return [self.decode(ids, skip_special=skip_special) for ids in rows]

    def token_bytes(self, token: int) -> bytes:
        if token < 0:
            raise IndexError(f"token id {token}")
        return self.vocabulary[token]

    def token_text(self, token: int) -> str:
        """One token as a person can read it: line ends and tabs as signs, parts of characters as \\xNN."""
        try:
            text = self.token_bytes(token).decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02x}" for byte in self.token_bytes(token))
        return "".join(_printable(character) for character in text)

    def stream(self) -> StreamDecoder:
        return StreamDecoder(self)

    def byte_lengths(self) -> np.ndarray:
        """UTF-8 bytes of text behind each id, 0 for special tokens.  # (n_vocab,) int64"""
        return self._lengths(len)

    def character_lengths(self) -> np.ndarray:
        """Characters begun by each id: its bytes that do not continue a UTF-8 character.  # (n_vocab,) int64"""
        return self._lengths(lambda token: sum(byte & 0xC0 != 0x80 for byte in token))

    def _lengths(self, measure: Any) -> np.ndarray:
        lengths = np.array([measure(token) for token in self.vocabulary], dtype=np.int64)
        lengths[sorted(self.special_ids)] = 0
        return lengths

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or a checkpoint; GPT-2's vocabulary goes by name and checksum."""
        head = {"format": FORMAT, "name": self.name, "n_vocab": self.n_vocab, "fingerprint": self.fingerprint}
        if self.name == "gpt2":
            return {**head, "ranks_sha256": GPT2_SHA256}
        tokens = self.vocabulary[: len(self.ranks)]
        return {**head, "ranks": [base64.b64encode(token).decode("ascii") for token in tokens]}

    @staticmethod
    def from_dict(raw: dict[str, Any]) -> AtlasTokenizer:
        """The tokenizer that `to_dict` described. Raises `TokenizerError` if it is damaged or unknown."""
        if not isinstance(raw, dict):
            raise _damaged("it is no description of a vocabulary")
        if raw.get("format") != FORMAT:
            raise TokenizerError("The tokenizer is of a format that this version does not know.",
                                 "Prepare the dataset again, or update the program.")
        if raw.get("name") == "gpt2":
            tokenizer = gpt2()
        else:
            tokenizer = AtlasTokenizer(str(raw.get("name"))[:_NAME_CHARS], _ranks_from_base64(raw.get("ranks")))
        if raw.get("fingerprint") != tokenizer.fingerprint:
            raise _damaged("its fingerprint does not match its vocabulary")
        return tokenizer

    def save(self, path: Path) -> Path:
        """Write `path`, or `tokenizer.json` in it if it is a folder."""
        target = path / FILE_NAME if path.is_dir() else path
        write_atomically(target, json.dumps(self.to_dict()).encode())
        return target

    @staticmethod
    def load(path: Path) -> AtlasTokenizer:
        """Read a `tokenizer.json`, or the one in a folder. Raises `TokenizerError` with the reason."""
        source = path / FILE_NAME if path.is_dir() else path
        try:
            raw = json_file(source)
        except FileNotFoundError:
            raise TokenizerError(f"There is no tokenizer at {source}.", _CHOICES) from None
        except OSError as error:
            raise TokenizerError(f"The tokenizer {source} cannot be read: {error.strerror}.", _CHOICES) from error
        except ValueError as error:
            raise _damaged(f"{source} is not JSON") from error
        return AtlasTokenizer.from_dict(raw)


class StreamDecoder:
    """Text from one token at a time, never half a character. Special tokens are silent."""

    def __init__(self, tokenizer: AtlasTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The characters that `token` completes; often one word, sometimes nothing."""
        if token in self._tokenizer.special_ids:
            return ""
        return self._decoder.decode(self._tokenizer.token_bytes(token))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole, else nothing."""
        return self._decoder.decode(b"", final=True)


@cache
def gpt2() -> AtlasTokenizer:
    """GPT-2's vocabulary: 50 256 ranks, its <|endoftext|> as an unused slot, and our four: 50 261 ids."""
    path = resource("tokenizers", "gpt2", "r50k_base.tiktoken.gz")
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise _damaged_gpt2() from error
    if hashlib.sha256(content).hexdigest() != GPT2_SHA256:
        raise _damaged_gpt2()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, content.splitlines())}
    return AtlasTokenizer("gpt2", ranks, unused=[GPT2_ENDOFTEXT])


def train_bpe(texts: Iterable[str], vocab_size: int) -> AtlasTokenizer:
    """Learn a byte-level BPE vocabulary of `vocab_size` ids, the four special tokens included.

    A short text may hold fewer pairs worth merging; then there are fewer ids. Runs on all cores and returns
    when done: seconds for tens of megabytes. Raises `TokenizerError` for a size out of bounds.
    """
    check_bpe_size(vocab_size)
    trainer = rustbpe.Tokenizer()
    # The trainer splits each text by itself in parallel, so it wants pieces, not one huge string.
    parts = (part for text in texts for part in cuts.pieces(text, _PIECE_CHARS))
    trainer.train_from_iterator(parts, vocab_size - len(SPECIAL_NAMES), pattern=PATTERN)
    ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    return AtlasTokenizer(f"bpe:{len(ranks) + len(SPECIAL_NAMES)}", ranks)


def bpe_size(spec: str) -> int | None:
    """The N of "bpe:N", or None if `spec` does not ask for a vocabulary to be learned.

    Raises `TokenizerError` if N is no size.
    """
    kind, colon, number = spec.partition(":")
    if kind.strip().lower() != "bpe" or not colon:
        return None
    if not number.strip().isascii() or not number.strip().isdigit():
        raise TokenizerError(f"'{spec}' does not name a vocabulary size.", "Write it like bpe:4096.")
    size = int(number)
    check_bpe_size(size)
    return size


def check_bpe_size(vocab_size: int) -> None:
    """Raises `TokenizerError` unless a vocabulary of this size can be learned."""
    if not SMALLEST_BPE <= vocab_size <= LARGEST_BPE:
        raise TokenizerError(f"A vocabulary of {vocab_size} tokens cannot be learned.",
                             f"Choose bpe:{SMALLEST_BPE} (every byte and four special tokens) to bpe:{LARGEST_BPE}.")


def open_tokenizer(spec: str, *, texts: Iterable[str] = ()) -> AtlasTokenizer:
    """The tokenizer that a setting names: "gpt2", "bpe:N" (learned from `texts`), a folder or a tokenizer.json.

    Raises `TokenizerError` for anything else.
    """
    if spec == "gpt2":
        return gpt2()
    size = bpe_size(spec)
    if size is not None:
        return train_bpe(texts, size)
    path = Path(spec).expanduser()
    if path.exists():
        return AtlasTokenizer.load(path)
    near = difflib.get_close_matches(spec.lower(), ("gpt2", "bpe:4096"), n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise TokenizerError(f"There is no tokenizer '{spec}'{hint}.", _CHOICES)


def _printable(character: str) -> str:
    signs = {"\n": "↵", "\t": "⇥", "\r": "␍"}
    if character in signs:
        return signs[character]
    if character == " " or character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _ranks_from_base64(tokens: Any) -> dict[bytes, int]:
    if not isinstance(tokens, list) or len(tokens) > LARGEST_BPE:
        raise _damaged("its vocabulary is missing or beyond all measure")
    try:
        ranks = {base64.b64decode(token, validate=True): rank for rank, token in enumerate(tokens)}
    except (TypeError, ValueError, binascii.Error) as error:
        raise _damaged("its vocabulary is not base64") from error
    if len(ranks) != len(tokens) or b"" in ranks or not all(bytes([byte]) in ranks for byte in range(256)):
        raise _damaged("its vocabulary is incomplete")
    return ranks


def _damaged(reason: str) -> TokenizerError:
    return TokenizerError(f"The tokenizer is damaged: {reason}.", "Prepare the dataset again.")


def _damaged_gpt2() -> TokenizerError:
    return TokenizerError("The embedded GPT-2 vocabulary is damaged.", "Install the program again.")
