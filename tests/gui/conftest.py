"""What the tests of the window share: a tiny text and a tiny model, and a real window that leaves no thread behind."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from atlas_core.config import Config
from atlas_gui import theme
from atlas_gui.main_window import MainWindow
from atlas_gui.session import IDLE
from atlas_gui.settings import Settings

JOB_MS = 60_000  # the machine of the tests may be busy with others

TINY: dict[str, Any] = {
    "model.max_seq_len": 16, "model.hidden_size": 16, "model.num_layers": 1, "model.num_heads": 2,
    "tokenizer.name": "bpe:512", "data.val_fraction": 0.2,
    "training.max_steps": 12, "training.batch_size": 2, "training.gradient_accumulation_steps": 1,
    "training.warmup_steps": 2, "training.precision": "fp32", "hardware.threads": 1,
    "evaluation.eval_interval": 4, "evaluation.eval_batches": 2,
    "sampling.interval": 6, "sampling.max_new_tokens": 4,
}


@pytest.fixture(autouse=True)
def nothing_is_measured_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of the tests is never quiet; the tests of measuring undo this."""
    monkeypatch.setattr("atlas_gui.session.MEASURE_AFTER_MS", 10**9)


@pytest.fixture
def zipped_text(tmp_path: Path) -> Path:
    """A few short tales in an archive."""
    path = tmp_path / "tales.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(8):
            archive.writestr(f"tale-{number}.txt", f"Once upon a time there was fox number {number}. " * 40)
    return path


@pytest.fixture
def tiny_config() -> Config:
    return Config(name="NANO").replace(TINY)


@pytest.fixture
def make_window(qapp: QApplication, qtbot: QtBot) -> Iterator[Callable[[], MainWindow]]:
    """Opens windows as `atlas-studio` does; at the end each is closed and its threads are joined."""
    windows: list[MainWindow] = []
    theme.apply(qapp, False)

    def make() -> MainWindow:
        window = MainWindow(Settings())
        windows.append(window)
        window.show()
        qtbot.waitExposed(window)
        return window

    yield make
    for window in windows:
        window.session.stop()
        qtbot.waitUntil(lambda window=window: window.session.state == IDLE, timeout=JOB_MS)
        window.close()
        window.deleteLater()
    qapp.sendPostedEvents()
    qapp.processEvents()


@pytest.fixture
def window(make_window: Callable[[], MainWindow], qtbot: QtBot) -> MainWindow:
    """A window that has looked at its sample text."""
    window = make_window()
    qtbot.waitUntil(lambda: window.session.looked is not None, timeout=JOB_MS)
    return window


@pytest.fixture
def tiny_window(window: MainWindow, zipped_text: Path, qtbot: QtBot) -> MainWindow:
    """A window with the tales and the tiny model chosen: training takes a second."""
    window.data_tab.set_sources([zipped_text])
    window.model_tab.apply_changes(TINY)
    qtbot.waitUntil(lambda: window.session.looked is not None, timeout=JOB_MS)
    return window
