"""The whole chain as the terminal walks it, for a process that is watched: `python -m tests.hostile.chain FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from atlas_core.cli import main
from tests import tiny


def walk(folder: Path, *, verify: bool) -> None:
    """Prepare, train, resume, generate, evaluate and export; raises if a step fails."""
    settings = [f"--set={key}={value}" for key, value in tiny.SETTINGS.items() if key != "training.max_steps"]
    data, run = str(folder / "data"), str(folder / "run")
    for argv in (
        ["start", "--help"],
        ["prepare", str(tiny.write_texts(folder / "texts")), "--out", data, "--tokenizer", "bpe:300"],
        ["estimate", "--preset", "NANO", *settings, "--data", data],
        ["train", "--preset", "NANO", *settings, "--set=training.max_steps=4", "--data", data, "--out", run],
        ["train", "--resume", run, "--set=training.max_steps=6"],
        ["generate", run, "--prompt", "the king"],
        ["evaluate", run],
        ["runs", run],
        ["export", run, "--to", str(folder / "model.gguf"), *([] if verify else ["--no-verify"])],
    ):
        try:
            status = main(argv)
        except SystemExit as end:  # --help
            status = int(end.code or 0)
        if status:
            raise SystemExit(f"{argv[0]} ended with status {status}")


if __name__ == "__main__":
    walk(Path(sys.argv[1]), verify="--verify" in sys.argv)
