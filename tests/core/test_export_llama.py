"""A real llama.cpp opens our files: its probabilities, its greedy text and its tokens must be ours."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from atlas_core.config import Config, Sampling
from atlas_core.errors import ExportError
from atlas_core.events import Exported, Progress, TextPiece
from atlas_core.export import exporter, gguf, llama, verify
from atlas_core.generation.generator import stream
from atlas_core.model.gpt import AtlasLM
from atlas_core.text.tokenizer import AtlasTokenizer, gpt2
from tests.core.test_export_gguf import Trained
from tests.core.tiny_model import SHAPES, TEXT, lively_model, random_tokens, small_vocabulary

pytest.importorskip("xllamacpp", reason="llama.cpp comes with the extra 'verify'")


def trained(tokenizer: AtlasTokenizer, **changes: object) -> Trained:
    model = lively_model(vocab_size=tokenizer.n_vocab, max_seq_len=64, seed=10, **changes)  # a talkative one
    return Trained(model, tokenizer, Config(model=model.config))


def concluded(check: Generator[Progress, None, str]) -> str:
    """The sentence at the end of a check."""
    while True:
        try:
            next(check)
        except StopIteration as end:
            return str(end.value)


def written(what: Trained, path: Path, type: str) -> Path:
    for _ in gguf.write_gguf(what.model, what.tokenizer, what.config, path, type=type):
        assert path.exists()
    return path


@pytest.fixture(scope="module", params=["own", "gpt2", "llama"])
def what(request: pytest.FixtureRequest) -> Trained:
    """Each vocabulary in GPT-2's network, and our own in llama's with shared keys and values."""
    if request.param == "llama":
        return trained(small_vocabulary(), **SHAPES["llama, grouped"])
    return trained(small_vocabulary() if request.param == "own" else gpt2())


@pytest.fixture(scope="module")
def file(what: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(what, tmp_path_factory.mktemp("llama") / "model.gguf", "f32")


def greedy(model: AtlasLM, ids: list[int], count: int, *, without: int) -> list[int]:
    """Everything recomputed for every token; the id `without` is never taken."""
    found = list(ids)
    for _ in range(count):
        with torch.no_grad():
            logits = model(torch.tensor([found]))[0, -1]
        logits[without] = float("-inf")
        found.append(int(logits.argmax()))
    return found[len(ids):]


def difference(what: Trained, path: Path, prompts: list[list[int]]) -> tuple[float, float]:
    """The largest difference of a log-probability, and the share of equal first choices."""
    theirs = np.array(llama.llama_logprobs(path, prompts, vocabulary=what.tokenizer.n_vocab))
    with torch.inference_mode():
        ours = np.stack([what.model(torch.tensor([ids]))[0, -1].log_softmax(-1).numpy() for ids in prompts])
    return float(abs(ours - theirs).max()), float((ours.argmax(-1) == theirs.argmax(-1)).mean())


@pytest.mark.parametrize(("shape", "type", "gate"), [
    ("gpt2", "f32", 1e-2), ("gpt2", "f16", 2e-2),  # llama.cpp rounds GELU through a half-precision table
    ("llama", "f32", 1e-4), ("llama", "f16", 5e-2),  # large weights, rounded: that alone makes up to 4e-2 here
    ("llama, grouped", "f32", 1e-4), ("llama, grouped", "f16", 5e-2),
])
@pytest.mark.parametrize("tied", [True, False])
def test_probabilities_of_llama_cpp_are_ours(tmp_path: Path, shape: str, type: str, gate: float, tied: bool) -> None:
    what = trained(small_vocabulary(), tie_weights=tied, **SHAPES[shape])
    prompts = [random_tokens(what.model, length, seed=length).tolist() for length in (1, 2, 5, 9, 17, 30, 45, 63)]
    largest, agreement = difference(what, written(what, tmp_path / "model.gguf", type), prompts)
    assert largest < gate
    assert agreement == 1.0


def test_probabilities_agree_for_gpt2s_vocabulary_too(tmp_path: Path) -> None:
    what = trained(gpt2())
    prompts = [what.tokenizer.encode("The king and queen"), [what.tokenizer.eos_id]]
    largest, agreement = difference(what, written(what, tmp_path / "model.gguf", "f32"), prompts)
    assert largest < 1e-2
    assert agreement == 1.0


def test_greedy_text_of_llama_cpp_is_ours(what: Trained, file: Path) -> None:
    prompt = what.tokenizer.encode(TEXT)[:20]
    theirs = llama.llama_greedy(file, prompt, 32)
    assert theirs == greedy(what.model, prompt, 32, without=what.tokenizer.eos_id)
    assert len(set(theirs)) > 5, "a model that repeats itself would prove little"


def test_the_playgrounds_text_is_llama_cpps(what: Trained, file: Path) -> None:
    prompt = what.tokenizer.decode(what.tokenizer.encode(TEXT)[:12])
    events = stream(what.model, what.tokenizer, [prompt], Sampling(temperature=0.0, max_new_tokens=32))
    ours = [event.token for event in events if isinstance(event, TextPiece)]
    theirs = llama.llama_greedy(file, what.tokenizer.encode(prompt), 32)
    # llama.cpp would also write special tokens, which an untrained model does not shun; up to there both agree.
    text = list(itertools.takewhile(lambda token: token not in what.tokenizer.special_ids, theirs))
    assert len(text) >= 8
    assert ours[: len(text)] == text


def strange_texts(count: int) -> list[str]:
    """Random mixtures of what makes tokenizers stumble; no NUL, which llama.cpp ends a text at."""
    chance = random.Random(3)
    parts = [" ", "  ", "\n", "\n\n", "\t", "\r\n", "a", "Wort", "'s", "'ll", "123", "4", "é", "e\u0301", "ß", "日本",
             "🙂", "\U0001f469\u200d\U0001f467", "\u00a0", "\u200b", "\u3000", "<|endoftext|>", "<|eos|>",
             "<|unused_50256|>", "...", "!?", "_", "Ġ", "Ω", "\x07", "\u0085", "अनु", "ไทย", "\U00010348"]
    return ["".join(chance.choices(parts, k=chance.randint(1, 12))) for _ in range(count)]


def test_tokens_of_llama_cpp_are_ours(what: Trained, file: Path) -> None:
    texts = ["<|endoftext|>", "Hello <|endoftext|> there<|bos|>", " ", "\n", TEXT, *strange_texts(300)]
    theirs = llama.llama_tokenize(file, texts)
    assert dict(zip(texts, theirs, strict=True)) == {text: what.tokenizer.encode(text) for text in texts}


@pytest.mark.parametrize(("shape", "tensors", "settings"), [("gpt2", 28, 15), ("llama, grouped", 20, 18)])
def test_an_export_says_what_llama_cpp_said(tmp_path: Path, shape: str, tensors: int, settings: int) -> None:
    what = trained(small_vocabulary(), **SHAPES[shape])
    *_, last = exporter.export_checkpoint(what, tmp_path / "model.gguf", type="f32")
    assert isinstance(last, Exported)
    assert last.verified
    assert last.checks == (f"reopened: {tensors} tensors equal", f"{settings} settings equal",
                           "300 tokens and 40 merges equal", "llama.cpp agrees on 32 of 32 tokens")


def test_a_context_smaller_than_the_check_fits(tmp_path: Path) -> None:
    tokenizer = small_vocabulary()
    model = lively_model(vocab_size=tokenizer.n_vocab, max_seq_len=8)
    what = Trained(model, tokenizer, Config(model=model.config))
    path = written(what, tmp_path / "model.gguf", "f32")
    assert concluded(verify.llama_check(path, model, tokenizer)) == "llama.cpp agrees on 7 of 7 tokens"


def test_llama_cpp_notices_another_model(what: Trained, file: Path) -> None:
    other = lively_model(vocab_size=what.tokenizer.n_vocab, max_seq_len=64, seed=9)
    with pytest.raises(ExportError, match="agrees with this model on"):
        concluded(verify.llama_check(file, other, what.tokenizer))


def test_a_file_that_llama_cpp_refuses_fails_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(200))
    with pytest.raises(ExportError, match=r"refuses to open the exported file: .*bad GGUF version"):
        llama.llama_tokenize(path, ["x"])


def test_a_llama_cpp_that_takes_too_long_is_not_waited_for(what: Trained, file: Path) -> None:
    sentence = concluded(verify.llama_check(file, what.model, what.tokenizer, timeout_seconds=0.01))
    assert sentence.startswith("not checked with llama.cpp: llama.cpp did not answer within")


def test_an_export_that_is_stopped_while_llama_cpp_thinks_leaves_neither_child_nor_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "GLANCE_SECONDS", 0.001)
    before = set(psutil.Process().children())
    events = exporter.export_checkpoint(trained(small_vocabulary()), tmp_path / "model.gguf", type="f32")
    asking = (event for event in events if isinstance(event, Progress) and event.label == "Asking llama.cpp")
    next(asking), next(asking)  # the first comes before it is started
    assert set(psutil.Process().children()) > before
    events.close()  # type: ignore[attr-defined]
    assert set(psutil.Process().children()) == before
    assert not list(tmp_path.iterdir())


def test_without_llama_cpp_the_export_says_so(
    what: Trained, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)  # as if it were not installed
    assert not llama.llama_installed()
    assert concluded(verify.llama_check(file, what.model, what.tokenizer)) == (
        "not checked with llama.cpp: llama.cpp is not installed")


def test_the_child_says_when_its_llama_cpp_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('libgomp.so.1 is missing')")
    question = json.dumps({"path": "nowhere", "requests": []})
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import atlas_core.export.llama_child as c; c.main()"
    child = subprocess.run([sys.executable, "-c", code], input=question.encode(), capture_output=True, check=True,
                           timeout=60)
    assert json.loads(child.stdout) == {"unavailable": "libgomp.so.1 is missing"}
