"""Hostile prompts. Most are only odd: a model continues whatever there is."""

from __future__ import annotations

from collections.abc import Callable

from tests.hostile.case import Case, Ground


def generate(ground: Ground, *words: object) -> list[object]:
    return ["generate", ground.run, "--max-new-tokens", "4", "--device", "cpu", *words]


def prompt(text: str, *more: object) -> Callable[[Ground], list[object]]:
    return lambda ground: generate(ground, f"--prompt={text}", *more)


def from_file(content: bytes) -> Callable[[Ground], list[object]]:
    return lambda ground: generate(ground, "--prompts-file", ground.write("prompts.txt", content))


CASES = [
    Case("empty", prompt(""), "", goes_on=True),
    Case("longer than the context", prompt("the king and queen " * 100), "", goes_on=True),
    Case("a megabyte", prompt("the king and queen " * 55_000), "", goes_on=True),
    Case("a megabyte of one letter", prompt("x" * 2**20), "", goes_on=True),
    Case("control characters and NUL", prompt("\x00\x1b[2J\x07\x7f\x9b"), "", goes_on=True),
    Case("right to left, and signs that turn the direction", prompt("שלום \u202eevil\u202c עולם"), "", goes_on=True),
    Case("emoji, joined and coloured", prompt("👩‍👧‍👦 👍🏽 🏳️‍🌈"), "", goes_on=True),
    Case("half a surrogate pair", prompt("a \ud800 b \udc80"), "", goes_on=True),
    Case("the names of special tokens", prompt("<|endoftext|><|eos|><|bos|>"), "", goes_on=True),
    Case("an empty text to stop at", prompt("the king", "--stop="), "", goes_on=True),
    Case("a temperature that is no number", prompt("the king", "--temperature", "nan"),
         "sampling.temperature must be a number (0 to 100), not nan."),
    Case("more tokens than anybody waits for", prompt("the king", "--max-new-tokens", "1000000000000"),
         "sampling.max_new_tokens must be 1 to 1,000,000 tokens, not 1000000000000."),
    Case("a file that is empty", from_file(b"\n\n"), "There are no prompts in …/prompts.txt. Write one on each line."),
    Case("a file that is no UTF-8", from_file(b"\xff\xfe\xff"),
         "The prompts in …/prompts.txt are not text in UTF-8. Save them as UTF-8."),
    Case("a file of 65 MiB", from_file(b"x" * (65 * 2**20)),
         "The prompts in …/prompts.txt are longer than 64 MiB. Divide them among several files."),
    Case("a file that never ends", lambda ground: generate(ground, "--prompts-file", "/dev/zero"),
         "The prompts in /dev/zero are longer than 64 MiB. Divide them among several files."),
    Case("a folder for a file", lambda ground: generate(ground, "--prompts-file", ground.here),
         "The prompts in … cannot be read (Is a directory). It must be a text file in UTF-8."),
]
