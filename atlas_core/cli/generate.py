"""Let a model continue prompts, as a stream of text."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from atlas_core import config as settings
from atlas_core import jobs, paths, runs
from atlas_core.cli import arguments, questions
from atlas_core.cli.interrupt import stoppable
from atlas_core.cli.show import Show
from atlas_core.config import Sampling
from atlas_core.control import Control
from atlas_core.errors import DataError
from atlas_core.events import Event, Finished, Generated, Notice, TextPiece

FLAGS = [s for s in settings.settings().values() if s.section == "sampling" and s.name not in ("prompts", "interval")]
MAX_PROMPTS_BYTES = 64 * 2**20
BATCH = 16  # prompts computed together; more would want much memory for their caches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN|CHECKPOINT", type=Path, help="of a run, the newest checkpoint is taken")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prompt", metavar="TEXT", action="append", dest="prompts",
                        help="text to continue; may be repeated")
    source.add_argument("--prompts-file", metavar="FILE", type=Path,
                        help="prompts, one a line, or with --separator one between every two lines of that")
    source.add_argument("--interactive", action="store_true", help="ask for prompts until 'exit' or the end of input")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the texts to this file instead of the screen")
    parser.add_argument("--separator", metavar="LINE", help="line between two texts (default: an empty one)")
    parser.add_argument("--device", metavar="auto|cpu|cuda|mps", default="auto",
                        help="where to compute (default: auto)")
    sampling = parser.add_argument_group("sampling", "What is not given is as it was in training.")
    sampling.add_argument("--greedy", action="store_const", const=0.0, dest="temperature",
                          help="always take the likeliest token: the same as --temperature 0")
    arguments.add_settings(sampling, FLAGS)


def run(args: argparse.Namespace, show: Show) -> None:
    show.keep_stdout_clean()
    checkpoint = runs.resolve(args.model)
    wished = jobs.settings_of(checkpoint)[0].replace(arguments.given_settings(args, FLAGS)).sampling
    if args.out:
        paths.refuse_unwritable(args.out)
    if args.interactive:
        converse(args, checkpoint, wished, show)
    else:
        prompts = args.prompts or read_prompts(args.prompts_file, separator=args.separator)
        continue_all(args, checkpoint, prompts, wished, show)


def continue_all(args: argparse.Namespace, checkpoint: Path, prompts: Sequence[str], wished: Sampling,
                 show: Show) -> None:
    """Every prompt with its continuation, to the screen or to `--out`."""
    collected: list[str] = []
    texts = InOrder(prompts, collected.append if args.out else show.text, separator=args.separator or "")
    with stoppable(show) as control:
        for event in stream(checkpoint, prompts, wished, control, device=args.device):
            texts.take(event)
            show(event)
    if args.out:
        write_texts(args.out, collected)
        show(Notice(f"Written to {args.out}."))
    show(Finished("stopped" if control.stopping else "done"))


def converse(args: argparse.Namespace, checkpoint: Path, wished: Sampling, show: Show) -> None:
    """Prompts and continuations in turn. Ctrl+C ends the text at hand, or, at the prompt, the conversation."""
    show.say("This is a base model: it continues what you begin. Ctrl+C ends a text, 'exit' the conversation.")
    collected: list[str] = []

    def write(piece: str) -> None:
        collected.append(piece)
        show.text(piece)

    while (prompt := questions.line("> ")) not in (None, "exit"):
        if not prompt:
            continue
        texts = InOrder([prompt], write)
        with stoppable(show) as control:
            for event in stream(checkpoint, [prompt], wished, control, device=args.device):
                texts.take(event)
                show(event)
        if args.out:  # after each text: Ctrl+C at the next prompt must not lose any
            write_texts(args.out, collected)
    show(Finished())


def write_texts(file: Path, pieces: Sequence[str]) -> None:
    paths.write_atomically(file, "".join(pieces).encode("utf-8", errors="replace"))


def stream(checkpoint: Path, prompts: Sequence[str], wished: Sampling, control: Control,
           *, device: str) -> Iterator[Event]:
    """The events of `jobs.generate` for any number of prompts, a batch at a time, without `Finished`.

    Row r draws with `wished.seed` + r, whatever the size of the batches.
    """
    for start in range(0, len(prompts), BATCH):
        of_batch = dataclasses.replace(wished, seed=(wished.seed + start) % 2**63)
        for event in jobs.generate(checkpoint, prompts[start:start + BATCH], of_batch, control, device=device):
            if isinstance(event, (TextPiece, Generated)):
                yield dataclasses.replace(event, row=event.row + start)
        if control.stopping:
            return


def read_prompts(file: Path, *, separator: str | None = None) -> list[str]:
    """The prompts in a text file: its lines that are not empty, or what stands between lines of `separator`.

    Raises `DataError` if the file cannot be read or holds none.
    """
    try:
        with open(file, "rb") as stream:  # may be a pipe
            content = stream.read(MAX_PROMPTS_BYTES + 1)
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"The prompts in {file} cannot be read ({error.strerror}).",
                        "It must be a text file in UTF-8.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"The prompts in {file} are not text in UTF-8.", "Save them as UTF-8.") from error
    if len(content) > MAX_PROMPTS_BYTES:
        raise DataError(f"The prompts in {file} are longer than {MAX_PROMPTS_BYTES // 2**20} MiB.",
                        "Divide them among several files.")
    prompts = [line for line in lines if line.strip()] if separator is None else _between(lines, separator)
    if not prompts:
        raise DataError(f"There are no prompts in {file}.", "Write one on each line.")
    return prompts


def _between(lines: Sequence[str], separator: str) -> list[str]:
    prompts: list[list[str]] = [[]]
    for line in lines:
        if line == separator:
            prompts.append([])
        else:
            prompts[-1].append(line)
    return ["\n".join(prompt) for prompt in prompts if prompt]


class InOrder:
    """Writes texts one after another although they are generated together: the first as it comes, the others after.

    A text is its prompt and its continuation; between two texts stands a line that holds `separator`.
    """

    def __init__(self, prompts: Sequence[str], write: Callable[[str], None], *, separator: str = "") -> None:
        self._waiting = list(prompts)
        self._ended = [False] * len(prompts)
        self._row = 0
        self._write = write
        self._separator = separator
        self._begun = False

    def take(self, event: Event) -> None:
        if not self._begun:  # not before: a model that cannot be opened must not leave half a line
            self._begun = True
            self._begin()
        if isinstance(event, TextPiece):
            if event.row == self._row:
                self._write(event.text)
            else:
                self._waiting[event.row] += event.text
        elif isinstance(event, Generated):
            self._ended[event.row] = True
            while self._row < len(self._ended) and self._ended[self._row]:
                self._next()

    def _begin(self) -> None:
        self._write(self._waiting[self._row])

    def _next(self) -> None:
        self._write("\n")
        self._row += 1
        if self._row < len(self._waiting):
            self._write(self._separator + "\n")
            self._begin()
