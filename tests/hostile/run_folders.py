"""Hostile runs: a folder from somebody else that is to be listed, resumed or opened."""

from __future__ import annotations

import os
from collections.abc import Callable

from atlas_core import runs
from tests.hostile.case import Case, Ground
from tests.hostile.powers import of_an_ordinary_user

FOREIGN_LINES = "\n".join([
    '{"event": "step", "step": 1}', '{"event": "step", "step": "one", "loss": 1.0}', '{"event": "step", "loss": "x"}',
    '{"event": ["step"], "step": 1}', '{"event": "eval", "step": 1, "val_loss": {}}', "[" * 100_000, "9" * 5000,
    '{"event": "sample", "step": 1, "prompt": 3, "text": [], "seed": null}', '{"event": "step", "step": 1e999}',
    '{"event": "step", "step": ' + "9" * 400 + ', "loss": 1.0}', '{"event": "run", "resumed_from": []}',
    "\0\0\0", "half {", "null",
])


def spoilt(name: str, content: str | bytes, *verb: str) -> Callable[[Ground], list[object]]:
    """A run of which one file holds something else, met by `verb` (default: the list of runs)."""

    def make(ground: Ground) -> list[object]:
        run = ground.own_run()
        ground.write(f"run/{name}", content)
        words = {"RUN": str(run), "HERE": str(ground.here), "LOG": str(ground.write("a.txt", FOREIGN_LINES))}
        return [words.get(word, word) for word in verb or ("runs", "HERE")]

    return make


def unlisted(ground: Ground) -> list[object]:
    """A folder of runs in which one may not be looked into, one is a pipe and one a link to itself."""
    ground.own_run()
    ground.write("closed/config.yaml", "").parent.chmod(0)
    os.mkfifo(ground.path("pipe"))
    ground.path("round").symlink_to(ground.path("round"))
    return ["runs", ground.here]


def pipes(ground: Ground) -> list[object]:
    """A run whose settings and sidecar are pipes, which never end."""
    run = ground.own_run()
    for path in (run / runs.METRICS_FILE, run / "checkpoints" / "atlas_step_2.json"):
        path.unlink()
        os.mkfifo(path)
    return ["runs", run]


def a_folder_for_a_file(ground: Ground) -> list[object]:
    run = ground.own_run()
    (run / runs.METRICS_FILE).unlink()
    (run / runs.METRICS_FILE).mkdir()
    return ["train", "--resume", run, "--set", "training.max_steps=3"]


NO_WARM_UP = "\ntraining: {warmup_steps: 0}"
OTHER = (NO_WARM_UP[:-1] + ", precision: fp32}\nhardware: {device: cpu, attention: kernel}\n"
         "model: {vocab_size: 300, max_seq_len: 16, hidden_size: 32, num_layers: 3, num_heads: 4}\n")
RESUME = ("train", "--resume", "RUN", "--set", "training.max_steps=3")

DAMAGED_SETTINGS = "config.yaml is damaged or gone: the settings are those that atlas_step_2.pt remembers."

CASES = [
    Case("config.yaml with a tag that would run code", spoilt("config.yaml", "a: !!python/name:os.system"), "",
         goes_on=True),
    Case("config.yaml with a tag, resumed", spoilt("config.yaml", "a: !!python/name:os.system", *RESUME),
         DAMAGED_SETTINGS, goes_on=True),
    Case("config.yaml that is binary", spoilt("config.yaml", bytes(range(256))), "", goes_on=True),
    Case("config.yaml of another network, resumed", spoilt("config.yaml", OTHER, *RESUME),
         DAMAGED_SETTINGS, goes_on=True),
    Case("config.yaml that names a dataset which is gone, resumed",
         spoilt("config.yaml", "dataset: /nowhere/at/all" + NO_WARM_UP, *RESUME),
         DAMAGED_SETTINGS, goes_on=True),
    Case("metrics.jsonl of foreign lines, resumed", spoilt("metrics.jsonl", FOREIGN_LINES, *RESUME),
         "metrics.jsonl holds no curve up to step 2.", goes_on=True),
    Case("metrics.jsonl that is a folder, resumed", a_folder_for_a_file,
         "Cannot write …/run/metrics.jsonl: it is a folder. Free some space or choose a folder you may write to."),
    Case("samples.jsonl of foreign lines, resumed", spoilt("samples.jsonl", FOREIGN_LINES, *RESUME), "", goes_on=True),
    Case("tokenizer.json that is no JSON, taken for a text",
         spoilt("tokenizer.json", "{", "prepare", "LOG", "--tokenizer", "RUN"),
         "The tokenizer is damaged: …/run/tokenizer.json is not JSON. Prepare the dataset again."),
    Case("metrics.jsonl and a sidecar that are pipes", pipes, "", goes_on=True),
    Case("a folder of runs with a closed one, a pipe and a link to itself", unlisted, "", goes_on=True,
         around=of_an_ordinary_user),
    Case("no such folder", lambda ground: ["runs", ground.path("none")], "There is no folder …/none. Check the path."),
    Case("a text for a run", lambda ground: ["runs", ground.write("a.txt", "x")],
         "There is no folder …/a.txt. Check the path."),
]
