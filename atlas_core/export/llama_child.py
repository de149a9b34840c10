"""The process in which a real llama.cpp runs; `llama.py` starts it and reads its answer.

One JSON question on standard input, one JSON answer on standard output, then it ends. It is a process of its
own because llama.cpp aborts where Python would raise, and keeps threads that cannot be joined.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from typing import Any


def main() -> None:
    answer_to = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # llama.cpp talks; only the answer goes to standard output
    question = json.load(sys.stdin)
    with os.fdopen(answer_to, "w", encoding="utf-8") as file:
        json.dump(_answer(question), file)
    os._exit(0)  # the server's threads do not end by themselves


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    try:
        import xllamacpp
    except (ImportError, OSError) as error:
        return {"unavailable": str(error)}
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, question["path"]))
    except RuntimeError as error:
        return {"refused": str(error)}
    return {"answers": [_OPERATIONS[each["do"]](server, each) for each in question["requests"]]}


def _parameters(xllamacpp: Any, path: str) -> Any:
    """Full precision wherever llama.cpp offers it, so that differences are the file's."""
    p = xllamacpp.CommonParams()
    p.model.path = path
    p.n_ctx = 0  # the model's own
    p.n_parallel = 1
    p.n_gpu_layers = 0
    p.warmup, p.fit_params, p.ui = False, False, False
    p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    return p


def _tokenize(server: Any, request: dict[str, Any]) -> list[int]:
    body = {"content": request["text"], "add_special": False, "parse_special": False}
    call = urllib.request.Request(server.listening_address + "/tokenize", json.dumps(body).encode(),
                                  {"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=60) as reply:
        tokens: list[int] = json.load(reply)["tokens"]
    return tokens


def _greedy(server: Any, request: dict[str, Any]) -> list[int]:
    reply = _complete(server, request["ids"], n_predict=request["count"], n_probs=1, ignore_eos=True)
    return [place["id"] for place in reply]


def _logprobs(server: Any, request: dict[str, Any]) -> list[float]:
    reply = _complete(server, request["ids"], n_predict=1, n_probs=request["vocabulary"])
    by_id = {choice["id"]: choice["logprob"] for choice in reply[0]["top_logprobs"]}
    return [by_id[token] for token in range(request["vocabulary"])]


def _complete(server: Any, ids: list[int], **settings: Any) -> list[dict[str, Any]]:
    """The drawn places of a completion, each with its id and its log-probabilities."""
    reply = server.handle_completions({"prompt": ids, "temperature": 0.0, "cache_prompt": False, **settings})
    places: list[dict[str, Any]] = reply["choices"][0]["logprobs"]["content"]
    return places


_OPERATIONS = {"tokenize": _tokenize, "greedy": _greedy, "logprobs": _logprobs}


if __name__ == "__main__":
    main()
