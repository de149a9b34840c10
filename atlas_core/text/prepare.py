"""From the user's files to a dataset folder, as a stream of events. Whole or absent: it is built aside and renamed.

The documents are first encoded one after another into one file; then they are dealt out to train, validation
and test. Not here: reading files, tidying text, choosing splits, reading a dataset.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.errors import DataError
from atlas_core.events import Event, Notice, Prepared, Progress
from atlas_core.format import count, many
from atlas_core.paths import cannot_write, replace, write_atomically
from atlas_core.text import cuts, splits
from atlas_core.text.cleaning import clean
from atlas_core.text.dataset import META_NAME, Meta, Split, is_dataset
from atlas_core.text.sources import ADD_TEXT, DAMAGED, Document, documents, list_sources
from atlas_core.text.splits import Part
from atlas_core.text.token_files import DocumentFile, SplitFile, token_dtype
from atlas_core.text.tokenizer import AtlasTokenizer, bpe_size, open_tokenizer, train_bpe

MIN_TOKENS = 16                # less text than this teaches nothing
BPE_SAMPLE_BYTES = 64 * 2**20  # a vocabulary learned from more is hardly another one
_BPE_PIECE_CHARS = 2**16
_PROGRESS_STEP = 2**20         # bytes or tokens between two reports
_EXAMPLES = 3
ABANDONED_S = 24 * 3600.0


def prepare(sources: Sequence[Path], out: Path, config: Config, control: Control) -> Iterator[Event]:
    """Turn `sources` into a dataset folder `out`: `Progress` of each stage, `Notice`s, and `Prepared` at last.

    `control.stop()` ends it without `Prepared` and without a trace. A dataset at `out` is replaced only when the
    new one is complete. Raises `DataError` for sources that cannot be used, too little text, or an `out` that
    holds something else; `TokenizerError` for the tokenizer; `AtlasError` if the disk is full.
    """
    _check_out(out)
    _sweep(out)
    job = _Job(tuple(sources), config, control)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        tokenizer = yield from _tokenizer(job)
        encoded_path = temporary / "documents.tmp"
        with closing(DocumentFile(encoded_path, token_dtype(tokenizer.n_vocab))) as encoded:
            yield from _encode(job, tokenizer, encoded)
            meta = yield from _deal(job, tokenizer, encoded, temporary, name=out.name)
        encoded_path.unlink()
        tokenizer.save(temporary)
        write_atomically(temporary / META_NAME, json.dumps(meta.to_dict(), indent=2).encode())
        _move_into_place(temporary, out)
    except _Stopped:
        return
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    yield Prepared(out, meta.to_dict())


class _Stopped(Exception):  # noqa: N818 (a wish, not an error)
    """The person asked to stop."""


@dataclass
class _Job:
    """What is asked for, and what was found on the way."""

    sources: tuple[Path, ...]
    config: Config
    control: Control
    total_bytes: int = 0
    cleaned: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, list[str]] = field(default_factory=dict)      # reason -> the first few names
    skip_counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.total_bytes = sum(entry.bytes for entry in list_sources(self.sources) if not entry.skipped)

    def read(self, *, tell_skips: bool) -> Iterator[Document]:
        """All documents, until the person asks to stop."""
        on_skip = self._note_skip if tell_skips else _say_nothing
        for document in documents(self.sources, text_field=self.config.data.text_field, on_skip=on_skip):
            if self.control.stopping:
                raise _Stopped
            yield document

    def _note_skip(self, name: str, reason: str) -> None:
        self.skip_counts[reason] += 1
        examples = self.skipped.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(name)

    def skips(self) -> list[dict[str, Any]]:
        """What was not read, or not as it stands: reason, count and the first few names."""
        return [{"reason": reason, "count": self.skip_counts[reason], "examples": names}
                for reason, names in self.skipped.items()]


class _Meter:
    """Says now and then how far a stage is."""

    def __init__(self, total: int, unit: str, label: str) -> None:
        self._total, self._unit, self._label = total, unit, label
        self._done = self._shown = 0

    def add(self, count: int) -> Iterator[Progress]:
        self._done += count
        if self._done - self._shown >= _PROGRESS_STEP:
            self._shown = self._done
            yield self.now()

    def at_end(self) -> Progress:
        """All done, with what was passed over after the last document."""
        return Progress(self._total, self._total, self._unit, self._label)

    def now(self) -> Progress:
        return Progress(min(self._done, self._total), self._total, self._unit, self._label)


# ---- the three stages -----------------------------------------------------------------------------


def _tokenizer(job: _Job) -> Generator[Event, None, AtlasTokenizer]:
    """The tokenizer the settings name; one that must be learned sees an evenly spread share of the text."""
    size = bpe_size(job.config.tokenizer.name)
    if size is None:
        return open_tokenizer(job.config.tokenizer.name)
    share = min(1.0, BPE_SAMPLE_BYTES / max(1, job.total_bytes))
    meter = _Meter(job.total_bytes, "bytes", "Collecting text for the vocabulary")
    yield meter.now()
    sample: list[str] = []
    seen = 0
    for document in job.read(tell_skips=False):
        for piece in cuts.pieces(clean(document.text, job.config.data).text, _BPE_PIECE_CHARS):
            seen += 1
            if int(seen * share) > int((seen - 1) * share):
                sample.append(piece)
        yield from meter.add(document.bytes)
    yield Progress(0, 0, "tokens", f"Learning {count(size)} tokens")
    tokenizer = train_bpe(sample, size)
    if tokenizer.n_vocab < size:
        yield Notice(f"So short a text gives only {tokenizer.n_vocab} of the {size} tokens.", "warning")
    return tokenizer


def _encode(job: _Job, tokenizer: AtlasTokenizer, encoded: DocumentFile) -> Iterator[Event]:
    """Append every document that is wanted to `encoded`."""
    meter = _Meter(job.total_bytes, "bytes", "Reading and encoding")
    yield meter.now()
    document = _Whole()
    for piece in job.read(tell_skips=True):
        cleaned = clean(piece.text, job.config.data)
        job.cleaned.update(cleaned.counts)
        document.add(cleaned.text)
        encoded.add(tokenizer.encode(cleaned.text))
        if not piece.continues:
            reason = document.unwanted(job.config, tokens=encoded.pending_tokens)
            if reason:
                job.left_out[reason] += 1
                encoded.drop()
            else:
                encoded.keep(document.digest())
            document = _Whole()
        yield from meter.add(piece.bytes)
    yield meter.at_end()
    for skip in job.skips():
        yield Notice(_skip_sentence(**skip), "warning")


class _Whole:
    """What is known of a document while its pieces pass by."""

    def __init__(self) -> None:
        self._characters = 0
        self._blank = True
        self._digest = hashlib.blake2b(digest_size=8)

    def add(self, text: str) -> None:
        self._characters += len(text)
        self._blank = self._blank and not text.strip()
        self._digest.update(text.encode())

    def digest(self) -> int:
        """64 bits of the text: among ten million documents the chance of one false twin is 3 in a million."""
        return int.from_bytes(self._digest.digest(), "little")

    def unwanted(self, config: Config, *, tokens: int) -> str:
        """Why the document is left out, or nothing."""
        data = config.data
        if self._blank:
            return "empty"
        if self._characters < data.min_chars:
            return f"shorter than {data.min_chars} characters"
        if data.max_chars and self._characters > data.max_chars:
            return f"longer than {data.max_chars} characters"
        if tokens < data.min_tokens:
            return f"fewer than {many(data.min_tokens, 'token')}"
        return ""


def _deal(
    job: _Job, tokenizer: AtlasTokenizer, encoded: DocumentFile, folder: Path, *, name: str
) -> Generator[Event, None, Meta]:
    """Write the splits to `folder`, and describe them."""
    data = job.config.data
    kept = encoded.firsts()
    lengths = encoded.lengths()
    twins = len(lengths) - len(kept)
    if twins:
        job.left_out["identical to an earlier one"] += twins
    if job.left_out:
        yield Notice(_left_out_sentence(job.left_out), "warning" if twins else "info")
    lengths = lengths[kept]
    _check_enough(int(lengths.sum()), job)
    assigned = splits.by_documents(lengths, data)
    dealt = splits.whole_parts(lengths, assigned) if assigned else splits.tail_parts(lengths, data)
    if not assigned:
        yield Notice("There are too few documents to keep whole ones aside, so the end of each one is kept aside.")
    # Documents are numbered without the twins from here on; the file still holds them.
    parts = (dataclasses.replace(part, document=int(kept[part.document])) for part in dealt)
    held, fingerprint = yield from _write_splits(job, tokenizer, encoded, parts, folder)
    context = job.config.model.max_seq_len
    if held["train"].tokens <= context:
        yield Notice(f"The training text has {many(held['train'].tokens, 'token')}, fewer than one window of {context}"
                     f": lower model.max_seq_len to at most {held['train'].tokens - 1} or add more text.", "warning")
    return Meta(
        name=name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        dtype=token_dtype(tokenizer.n_vocab).name,
        tokenizer=tokenizer.name,
        tokenizer_fingerprint=tokenizer.fingerprint,
        n_vocab=tokenizer.n_vocab,
        documents=len(kept),
        splits=held,
        split_by=("documents" if assigned else "tails") if splits.wanted(data) else "none",
        chunk_tokens=data.chunk_tokens,
        documents_left_out=dict(job.left_out),
        cleaned=dict(job.cleaned),
        skipped=job.skips(),
        settings={"data": dataclasses.asdict(data), "tokenizer": dataclasses.asdict(job.config.tokenizer)},
        fingerprint=fingerprint,
    )


def _write_splits(
    job: _Job, tokenizer: AtlasTokenizer, encoded: DocumentFile, parts: Iterable[Part], folder: Path
) -> Generator[Event, None, tuple[dict[str, Split], str]]:
    """Write each part, in chunks if asked for, each followed by EOS. Returns what was written and its fingerprint."""
    data = job.config.data
    meter = _Meter(int(encoded.lengths().sum()), "tokens", "Writing the dataset")
    with ExitStack() as stack:
        files = {split: stack.enter_context(closing(SplitFile(folder, split, tokenizer)))
                 for split in ("train", *splits.wanted(data))}
        for part in parts:
            if job.control.stopping:
                raise _Stopped
            for chunk in splits.chunks(part, tokens=data.chunk_tokens, overlap=data.chunk_overlap):
                file = files[chunk.split]
                if job.config.tokenizer.add_bos:
                    file.add([tokenizer.bos_id])
                file.copy(encoded, chunk.document, chunk.start, chunk.stop)
                file.add([tokenizer.eos_id])
                file.end_document()
            yield from meter.add(part.stop - part.start)
        held = {split: file.finish() for split, file in files.items()}
        digests = b"".join(file.digest() for file in files.values())
    return held, hashlib.sha256(digests).hexdigest()


# ---- sentences and moves --------------------------------------------------------------------------


def _skip_sentence(*, reason: str, count: int, examples: list[str]) -> str:
    names = ", ".join(examples) + (", ..." if count > len(examples) else "")
    if reason == DAMAGED:
        return f"{count} read, though {reason}: {names}"
    return f"{count} skipped ({reason}): {names}"


def _left_out_sentence(left_out: Counter[str]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return f"Documents left out: {reasons}."


def _check_enough(tokens: int, job: _Job) -> None:
    if tokens >= MIN_TOKENS:
        return
    found = f"only {many(tokens, 'token')} of text" if tokens else "no text"
    why = "; ".join(_skip_sentence(**skip) for skip in job.skips())
    raise DataError(f"There {'are' if tokens > 1 else 'is'} {found} in what was chosen{f' ({why})' if why else ''}.",
                    f"{ADD_TEXT} For .jsonl, data.text_field names the field that holds the text.")


def _check_out(out: Path) -> None:
    if not out.name:
        raise DataError(f"{out} is no name for a dataset.", "Give the folder that is to be made a name of its own.")
    if out.exists() and not is_dataset(out) and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out} exists and is not a dataset, so it is left alone.", "Choose another name.")


def _move_into_place(temporary: Path, out: Path) -> None:
    """Rename, so that `out` is the old dataset or the new one. A folder in the way is moved aside first."""
    aside = temporary.with_suffix(".old")
    if out.exists():
        replace(out, aside)
    try:
        replace(temporary, out)
    except OSError:
        if aside.exists():
            replace(aside, out)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Delete what preparing `out` left behind that was killed: nobody has written to it for a day."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.tmp"):
        with suppress(OSError):
            if max(path.stat().st_mtime for path in (left, *left.iterdir())) < time.time() - ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)


def _say_nothing(name: str, reason: str) -> None:  # noqa: ARG001 (the first of two passes; the second tells)
    return
