"""`atlas demo`, as a newcomer without a screen runs it: nothing given, a verified model at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from atlas_core import runs
from atlas_core.export.llama import llama_installed


@pytest.mark.timeout(1500)
def test_the_demo_ends_with_a_verified_model_that_has_learned(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "atlas_core", "demo", "--out", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1400, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and done.stderr == ""
    last = events[-1]
    assert last["event"] == "finished" and last["details"]["verified"]
    assert Path(last["details"]["gguf"]).stat().st_size > 1e6
    assert runs.inspect(Path(last["details"]["run"])).state == "done"

    (exported,) = [e for e in events if e["event"] == "exported"]
    assert "llama.cpp agrees on 32 of 32 tokens" in exported["checks"] or not llama_installed()

    validations = [e["val_bits_per_byte"] for e in events if e["event"] == "eval"]
    # gzip needs 3.2 bits a byte for this text; a hundred steps, the fewest there are, came to 2.48.
    assert validations[-1] < 2.6
    text = last["details"]["text"]
    words = {"the", "and", "to", "of", "I", "you", "my"} & set(text.replace(",", " ").split())
    assert len(words) >= 3, text


def test_a_demo_too_short_to_learn_in_says_how_long_it_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "atlas_core", "demo", "--out", str(tmp_path), "--minutes", "0.01"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "too few to learn from" in done.stderr and "Give it" in done.stderr and "Traceback" not in done.stderr
