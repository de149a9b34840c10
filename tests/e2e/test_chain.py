"""The promise of the program, with the real command and a real llama.cpp:

text -> dataset -> training -> kill -> resume -> the same losses -> export -> opened elsewhere, saying the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas_core import runs
from atlas_core.export.llama import llama_greedy, llama_installed, llama_logprobs, llama_tokenize
from atlas_core.generation import generator
from atlas_core.training import checkpoint
from tests import tiny

STEPS, KILL_AT = 60, 30
# llama.cpp rounds GELU through a half-precision table: in F32 that is the whole difference.
LARGEST_DIFFERENCE = 1e-2


def atlas(*words: str) -> list[str]:
    return [sys.executable, "-m", "atlas_core", *words, "--json"]


def run_atlas(*words: str) -> list[dict[str, Any]]:
    """The events of a command that must succeed."""
    done = subprocess.run(atlas(*words), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def curve(run: Path) -> list[tuple[int, float]]:
    lines = (run / runs.METRICS_FILE).read_text().splitlines()
    return [(r["step"], r["loss"]) for r in map(json.loads, lines) if r["event"] == "step"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset made from a zip of texts, and the settings of the runs."""
    place = tmp_path_factory.mktemp("chain")
    with zipfile.ZipFile(place / "plays.zip", "w") as archive:
        for text in sorted(tiny.write_texts(place / "texts", documents=40).iterdir()):
            archive.write(text, f"plays/{text.name}")
    tiny.config(training__max_steps=STEPS, checkpointing__save_interval=8, model__max_seq_len=64,
                training__learning_rate=1e-2, model__hidden_size=64).save(place / "config.yaml")
    events = run_atlas("prepare", str(place / "plays.zip"), "--out", str(place / "dataset"), "--tokenizer", "bpe:300")
    assert [e["event"] for e in events][-2:] == ["prepared", "finished"]
    return place


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """A run that nobody disturbed."""
    return _train(folder, folder / "whole")


@pytest.fixture(scope="module")
def killed(folder: Path) -> Path:
    """A run that was killed without warning and went on."""
    run = folder / "killed"
    words = atlas("train", *_where(folder, run))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "step" and event["step"] == KILL_AT:
                process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
                break
    assert process.returncode not in (0, 130)
    last = runs.newest(run)
    assert last is not None and last.step < STEPS
    return _train(folder, run)


@pytest.fixture(scope="module")
def llama(folder: Path) -> Path:
    """A run of the other family, with shared keys and values."""
    return _train(folder, folder / "llama", "--set", "model.family=llama", "--set", "model.num_kv_heads=2")


def _where(folder: Path, run: Path) -> list[str]:
    return ["--config", str(folder / "config.yaml"), "--data", str(folder / "dataset"), "--out", str(run)]


def _train(folder: Path, run: Path, *more: str) -> Path:
    events = run_atlas("train", *_where(folder, run), "--resume", "auto", *more)
    assert events[-1]["event"] == "finished" and events[-1]["reason"] == "done"
    return run


def test_a_killed_run_takes_the_very_steps_it_would_have_taken(whole: Path, killed: Path) -> None:
    assert [step for step, _ in curve(killed)] == list(range(1, STEPS + 1))
    assert curve(killed) == curve(whole)  # bit for bit


def test_a_killed_run_ends_with_the_same_weights(whole: Path, killed: Path) -> None:
    one, other = (checkpoint.load(runs.resolve(run))["model"] for run in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.skipif(not llama_installed(), reason="llama.cpp comes with the extra [verify]")
@pytest.mark.parametrize("run_name", ["killed", "llama"])
def test_the_export_opens_in_llama_cpp_and_says_what_the_model_says(
    run_name: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    run: Path = request.getfixturevalue(run_name)
    to = folder / f"{run_name}.gguf"
    exported = run_atlas("export", str(run), "--to", str(to), "--type", "f32")[-2]
    assert exported["event"] == "exported" and exported["verified"]
    loaded = checkpoint.load_model(runs.resolve(run))
    texts = ["the king and queen", "sweet sorrow,\nmy lord: ", "Ünïcode, “quotes”, 漢字 and <|endoftext|>"]
    assert llama_tokenize(to, texts) == [loaded.tokenizer.encode(text) for text in texts]

    prompts = [loaded.tokenizer.encode(text)[:30] for text in texts]
    theirs = torch.tensor(llama_logprobs(to, prompts, vocabulary=loaded.tokenizer.n_vocab))
    with torch.inference_mode():
        ours = torch.stack([loaded.model(torch.tensor([ids]))[0, -1].log_softmax(-1) for ids in prompts])
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))  # top-1 agreement 1.000
    assert float((ours - theirs).abs().max()) < LARGEST_DIFFERENCE

    settings = tiny.config(sampling__temperature=0.0, sampling__max_new_tokens=32, sampling__stop_at_eos=False).sampling
    pieces = list(generator.stream(loaded.model, loaded.tokenizer, [texts[0]], settings))
    greedy = [piece.token for piece in pieces if hasattr(piece, "token")]
    assert llama_greedy(to, prompts[0], 32) == greedy


def test_the_model_continues_a_prompt_from_the_terminal(killed: Path) -> None:
    events = run_atlas("generate", str(killed), "--prompt", "the king", "--max-new-tokens", "8", "--seed", "3")
    (text,) = [e["text"] for e in events if e["event"] == "generated"]
    again = run_atlas("generate", str(killed), "--prompt", "the king", "--max-new-tokens", "8", "--seed", "3")
    assert text and [e["text"] for e in again if e["event"] == "generated"] == [text]


def test_evaluation_from_the_terminal_agrees_with_the_curve(whole: Path, folder: Path) -> None:
    events = run_atlas("evaluate", str(whole), "--data", str(folder / "dataset"))
    (result,) = [e for e in events if e["event"] == "eval"]
    assert result["step"] == STEPS and 0 < result["val_loss"] < 6
