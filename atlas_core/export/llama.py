"""Questions to a real llama.cpp about a GGUF file: its tokens, its probabilities, its greedy text.

llama.cpp comes with the extra `verify` (the package xllamacpp) and runs in a child process that cannot hang
ours. What the answers mean is judged in `verify.py` and in the tests.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atlas_core.errors import ExportError

TIMEOUT_SECONDS = 300.0


class LlamaUnavailable(Exception):  # noqa: N818  not an error of the file or of the user
    """No llama.cpp could be asked. Says nothing about the file."""


def llama_installed() -> bool:
    """Whether there is a llama.cpp to ask. A frozen program has no interpreter to start the child with."""
    return not getattr(sys, "frozen", False) and importlib.util.find_spec("xllamacpp") is not None


def llama_tokenize(path: Path, texts: Sequence[str], *, timeout_seconds: float = TIMEOUT_SECONDS) -> list[list[int]]:
    """llama.cpp's ids of each text, all of it taken as ordinary text. Errors as for `llama_greedy`."""
    return _ask(path, [{"do": "tokenize", "text": text} for text in texts], timeout_seconds)


def llama_logprobs(path: Path, token_ids: Sequence[Sequence[int]], *, vocabulary: int,
                   timeout_seconds: float = TIMEOUT_SECONDS) -> list[list[float]]:
    """For each list of ids, llama.cpp's log-probability of every token of the vocabulary as the next one."""
    requests = [{"do": "logprobs", "ids": list(ids), "vocabulary": vocabulary} for ids in token_ids]
    return _ask(path, requests, timeout_seconds)


def llama_greedy(path: Path, ids: Sequence[int], count: int, *,
                 timeout_seconds: float = TIMEOUT_SECONDS) -> list[int]:
    """The `count` likeliest ids after `ids`, one after the other, the end of text left out.

    Raises `ExportError` if llama.cpp refuses the file, `LlamaUnavailable` if there is none to ask or it does
    not answer in time.
    """
    answer: list[int] = _ask(path, [{"do": "greedy", "ids": list(ids), "count": count}], timeout_seconds)[0]
    return answer


def _ask(path: Path, requests: list[dict[str, Any]], timeout_seconds: float) -> list[Any]:
    if not llama_installed():
        raise LlamaUnavailable("llama.cpp is not installed")
    question = json.dumps({"path": str(path.resolve()), "requests": requests})
    try:
        child = subprocess.run([sys.executable, "-m", "atlas_core.export.llama_child"], input=question.encode(),
                               capture_output=True, timeout=timeout_seconds, check=False,
                               creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0))
    except subprocess.TimeoutExpired:
        raise LlamaUnavailable(f"llama.cpp did not answer within {timeout_seconds:.0f} seconds") from None
    except OSError as error:
        raise LlamaUnavailable(f"llama.cpp could not be started ({error.strerror})") from error
    return _read_answer(child)


def _read_answer(child: subprocess.CompletedProcess[bytes]) -> list[Any]:
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        raise LlamaUnavailable(f"llama.cpp ended without an answer (status {child.returncode})") from None
    if "unavailable" in answer:
        raise LlamaUnavailable(f"llama.cpp could not be loaded ({answer['unavailable']})")
    if "refused" in answer:
        raise ExportError(f"llama.cpp refuses to open the exported file: {_first_complaint(child.stderr)}.",
                          "If memory is short, close other programs or skip the verification; else please report it.")
    answers: list[Any] = answer["answers"]
    return answers


def _first_complaint(log: bytes) -> str:
    """The first error in llama.cpp's log, whose lines read "time E source: message"; the others follow from it."""
    errors = [line.partition(" E ")[2] for line in log.decode("utf-8", "replace").splitlines() if " E " in line]
    return errors[0].strip().rstrip(".") if errors else "it gives no reason"
