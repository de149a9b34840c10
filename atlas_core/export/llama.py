"""Questions to a real llama.cpp about a GGUF file: its tokens, its probabilities, its greedy text.

llama.cpp comes with the extra `verify` (the package xllamacpp) and runs in a child process that cannot hang
ours. What the answers mean is judged in `verify.py` and in the tests.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from atlas_core.errors import ExportError
from atlas_core.walking import result_of

TIMEOUT_SECONDS = 300.0
GLANCE_SECONDS = 0.5  # while the child is at work, whoever waits may change their mind this often


class LlamaUnavailable(Exception):  # noqa: N818  not an error of the file or of the user
    """No llama.cpp could be asked. Says nothing about the file."""


def llama_installed() -> bool:
    """Whether there is a llama.cpp to ask. A frozen program has no interpreter to start the child with."""
    return not getattr(sys, "frozen", False) and importlib.util.find_spec("xllamacpp") is not None


def llama_tokenize(path: Path, texts: Sequence[str], *, timeout_seconds: float = TIMEOUT_SECONDS) -> list[list[int]]:
    """llama.cpp's ids of each text, all of it taken as ordinary text. Errors as for `llama_greedy`."""
    return result_of(_ask(path, [{"do": "tokenize", "text": text} for text in texts], timeout_seconds))


def llama_logprobs(path: Path, token_ids: Sequence[Sequence[int]], *, vocabulary: int,
                   timeout_seconds: float = TIMEOUT_SECONDS) -> list[list[float]]:
    """For each list of ids, llama.cpp's log-probability of every token of the vocabulary as the next one."""
    requests = [{"do": "logprobs", "ids": list(ids), "vocabulary": vocabulary} for ids in token_ids]
    return result_of(_ask(path, requests, timeout_seconds))


def llama_greedy(path: Path, ids: Sequence[int], count: int, *,
                 timeout_seconds: float = TIMEOUT_SECONDS) -> list[int]:
    """The `count` likeliest ids after `ids`, one after the other, the end of text left out.

    Raises `ExportError` if llama.cpp refuses the file, `LlamaUnavailable` if there is none to ask or it does
    not answer in time.
    """
    return result_of(greedy_steps(path, ids, count, timeout_seconds=timeout_seconds))


def greedy_steps(path: Path, ids: Sequence[int], count: int, *,
                 timeout_seconds: float = TIMEOUT_SECONDS) -> Generator[None, None, list[int]]:
    """`llama_greedy` for one who may lose patience: yields while it waits; closing it ends llama.cpp."""
    [answer] = yield from _ask(path, [{"do": "greedy", "ids": list(ids), "count": count}], timeout_seconds)
    return list(answer)


def _ask(path: Path, requests: list[dict[str, Any]], timeout_seconds: float) -> Generator[None, None, list[Any]]:
    """Start the child, yield while it thinks, return its answers. However this ends, the child has ended too."""
    if not llama_installed():
        raise LlamaUnavailable("llama.cpp is not installed")
    question: bytes | None = json.dumps({"path": str(path.resolve()), "requests": requests}).encode()
    try:
        child = subprocess.Popen([sys.executable, "-m", "atlas_core.export.llama_child"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0))
    except OSError as error:
        raise LlamaUnavailable(f"llama.cpp could not be started ({error.strerror})") from error
    give_up_at = time.monotonic() + timeout_seconds
    with child:
        try:
            while True:
                try:
                    left = give_up_at - time.monotonic()
                    output, log = child.communicate(question, timeout=max(0, min(GLANCE_SECONDS, left)))
                    return _read_answer(child.returncode, output, log)
                except subprocess.TimeoutExpired:
                    question = None  # it is on its way; nothing of the answer is lost
                    if time.monotonic() >= give_up_at:
                        raise LlamaUnavailable(
                            f"llama.cpp did not answer within {timeout_seconds:.0f} seconds") from None
                    yield
        finally:
            child.kill()


def _read_answer(status: int, output: bytes, log: bytes) -> list[Any]:
    try:
        answer = json.loads(output)
    except ValueError:
        raise LlamaUnavailable(f"llama.cpp ended without an answer (status {status})") from None
    if "unavailable" in answer:
        raise LlamaUnavailable(f"llama.cpp could not be loaded ({answer['unavailable']})")
    if "refused" in answer:
        raise ExportError(f"llama.cpp refuses to open the exported file: {_first_complaint(log)}.",
                          "If memory is short, close other programs or skip the verification; else please report it.")
    answers: list[Any] = answer["answers"]
    return answers


def _first_complaint(log: bytes) -> str:
    """The first error in llama.cpp's log, whose lines read "time E source: message"; the others follow from it."""
    errors = [line.partition(" E ")[2] for line in log.decode("utf-8", "replace").splitlines() if " E " in line]
    return errors[0].strip().rstrip(".") if errors else "it gives no reason"
