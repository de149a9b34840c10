"""How long a run will take on this machine: what is known, and measuring it while nothing else is at work.

Measuring happens in a process of its own: it can be ended at any moment, and leaves no memory behind.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.errors import AtlasError
from atlas_core.fitting import Fitted, fit_to_time
from atlas_core.forecast import Speed, forecast
from atlas_core.hardware import speeds
from atlas_core.text.dataset import Meta

LOOK_SECONDS = 0.5  # how often the process is looked at; a wish to stop is heeded at once


@dataclass(frozen=True)
class Expected:
    """The time of a whole run: measured here, or else guessed from other work that was."""

    seconds: float
    measured: bool


def expected(config: Config, meta: Meta | None = None) -> Expected | None:
    """What is known of `config` on this machine, on a dataset if there is one; None before anything was measured."""
    speed = _speed(config)
    if speed is None:
        return None
    time = forecast(config, speed, **(meta.sizes() if meta else {}))
    return Expected(time.total_s, measured=speeds.known(config) is not None)


def within(config: Config, seconds: float, meta: Meta | None = None) -> Fitted:
    """`config` with as many steps as this machine makes in `seconds`, as far as is known.

    Raises `AtlasError` before anything was measured, and for a time too short for anything.
    """
    speed = _speed(config)
    if speed is None:
        raise AtlasError("How fast this machine is with these settings is not known.",
                         "See that there is memory to measure it, or choose a smaller preset.")
    return fit_to_time(config, speed, seconds, **(meta.sizes() if meta else {}))


def _speed(config: Config) -> Speed | None:
    return speeds.known(config) or speeds.guess(config)


def measured(config: Config, dataset: Path | None, control: Control) -> Iterator[object]:
    """Let `atlas estimate --measure` measure and remember; yields nothing. Raises `AtlasError` with its words."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings, told = Path(folder, "config.yaml"), Path(folder, "events.jsonl")
        config.save(settings)
        command = [sys.executable, "-m", "atlas_core", "estimate", "--config", str(settings), "--measure", "--json",
                   *(("--data", str(dataset)) if dataset else ())]
        with open(told, "wb") as output:
            child = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL,
                                     creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0))
        try:
            while child.poll() is None and not control.stopping:
                control.wait(LOOK_SECONDS)
        finally:
            child.kill()
            child.wait()
        if child.returncode and not control.stopping:
            raise AtlasError(f"The speed could not be measured: {_last_words(told)}")
    yield from ()


def _last_words(told: Path) -> str:
    """The sentence of the last event, if it tells of a failure."""
    lines = told.read_text(encoding="utf-8").splitlines()
    try:
        return str(json.loads(lines[-1])["error"])
    except (IndexError, KeyError, ValueError):
        return "the process that measures ended without a word."
