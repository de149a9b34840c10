"""What strangers may hand to the window: run folders, prompts, and a settings file that makes no sense."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from atlas_core import paths, runs
from atlas_gui import errands, theme
from atlas_gui.main_window import MainWindow
from atlas_gui.settings import Settings
from atlas_gui.tabs.playground import PlaygroundTab
from atlas_gui.tabs.runs import RunsTab
from tests.hostile.run_folders import FOREIGN_LINES

SIDECAR = {"kind": "step", "step": 1, "epoch": 0.5, "loss": 1.0, "val_loss": None, "perplexity": 2.0,
           "learning_rate": 1e-3, "bytes": 3, "saved_at": 1.7e9, "max_steps": 10, "parameters": 10}


def hostile_run(name: str, config: bytes, sidecar: str) -> Path:
    """A run among the user's own, every file of which is a stranger's."""
    run = paths.runs_dir() / name
    checkpoint = run / runs.CHECKPOINTS_FOLDER / "atlas_step_1.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"abc")
    runs.sidecar(checkpoint).write_text(sidecar)
    (run / runs.CONFIG_FILE).write_bytes(config)
    for file in (runs.METRICS_FILE, runs.SAMPLES_FILE, runs.LOG_FILE, runs.TOKENIZER_FILE):
        (run / file).write_text(FOREIGN_LINES)
    return run


def test_hostile_runs_are_listed_and_opened(qtbot: QtBot, qapp: object) -> None:
    whole = json.dumps(SIDECAR)
    hostile_run("tagged", b"model: !!python/name:os.system", whole)
    hostile_run("binary", bytes(range(256)), whole)
    hostile_run("<b>bold\u202e", b"name: <img src=x>\ndescription: '<script>'\n", whole)
    hostile_run("odd numbers", b"", json.dumps(SIDECAR | {"saved_at": 1e300, "step": "one"}))
    hostile_run("deep", b"[" * 100_000, "[" * 100_000)
    theme.apply(qapp, dark=False)  # type: ignore[arg-type]
    tab = RunsTab()
    qtbot.addWidget(tab)
    seen = errands.see_runs({})
    tab.set_runs(seen.infos, seen.losses)
    with qtbot.waitExposed(tab):
        tab.show()
    assert tab.runs_list.count() == 5
    for info in seen.infos:
        opened = errands.open_run(info.path)
        assert opened.history.losses == [] and opened.samples == ()


@pytest.mark.parametrize("prompt", [
    "", "\x00\x1b[2J", "שלום \u202eevil", "👩\u200d👧 👍🏽", "a \ud800 b", "king " * 200_000,
])
def test_any_prompt_is_asked_for_as_it_is(prompt: str, qtbot: QtBot, qapp: object) -> None:
    theme.apply(qapp, dark=False)  # type: ignore[arg-type]
    tab = PlaygroundTab()
    qtbot.addWidget(tab)
    tab.set_sources([("live", "live")], "live")
    tab.set_prompt(prompt)
    with qtbot.waitSignal(tab.generate_requested) as asked:
        tab.generate_button.click()
    assert asked.args is not None
    assert asked.args[0] == prompt.replace("\ud800", "")  # Qt keeps no half surrogate pairs


@pytest.mark.parametrize("content", [
    "[window]\ntab=" + "9" * 5000 + "\ngeometry=@ByteArray(nonsense)\n[machine]\ndevice=toaster\nthreads=-7\n",
    "[window]\ntab=--5\nhardware_collapsed=@Invalid()\n[machine]\nthreads=1e9, 2\ndevice=a, b\ntheme=@Size(1 2)\n",
    "\0\1\2 not [a file",
])
def test_a_settings_file_that_makes_no_sense_counts_as_never_set(
        content: str, make_window: Callable[[], MainWindow]) -> None:
    (paths.home() / "atlas-studio.ini").write_text(content)
    settings = Settings()
    assert settings.device == "auto" and settings.threads == 0 and settings.theme == "system"
    window = make_window()
    assert window.tabs.currentIndex() == 0
