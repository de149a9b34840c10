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
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1  # more threads spin, and crawl where the machine is busy
    p.warmup, p.fit_params, p.ui = False, False, False
    p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    return p


def _tokenize(server: Any, request: dict[str, Any]) -> list[int]:
    reply = _post(server, "/tokenize", content=request["text"], add_special=False, parse_special=False)
    tokens: list[int] = reply["tokens"]
    return tokens


def _greedy(server: Any, request: dict[str, Any]) -> list[int]:
    reply = _complete(server, request["ids"], n_predict=request["count"], ignore_eos=True, return_tokens=True)
    tokens: list[int] = reply["tokens"]
    return tokens


def _logprobs(server: Any, request: dict[str, Any]) -> list[float]:
    # The server reports no probabilities beside a token that is half a character, so "a" is made to come. They
    # are the model's own, from before this.
    reply = _complete(server, request["ids"], n_predict=1, n_probs=request["vocabulary"], logit_bias=[["a", 1e6]])
    found = {choice["id"]: choice["logprob"] for choice in reply["completion_probabilities"][0]["top_logprobs"]}
    return [found[token] for token in range(request["vocabulary"])]


def _complete(server: Any, ids: list[int], **settings: Any) -> dict[str, Any]:
    return _post(server, "/completion", prompt=ids, temperature=0.0, cache_prompt=False, **settings)


def _post(server: Any, path: str, **body: Any) -> dict[str, Any]:
    """Ask the server over HTTP; the waiting is limited by the parent."""
    call = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(),
                                  {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(call) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


_OPERATIONS = {"tokenize": _tokenize, "greedy": _greedy, "logprobs": _logprobs}


if __name__ == "__main__":
    main()
