"""The terminal's words for what the window is about to do, ready to be copied. Runs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QWidget

from atlas_core.config import Config, settings
from atlas_core.shell import quoted
from atlas_gui import theme

COPIED_MS = 1500


class CommandLine(QWidget):
    """Shows one line and copies it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.line_edit = QLineEdit()
        self.line_edit.setReadOnly(True)
        self.line_edit.setObjectName("commandLine")
        self.line_edit.setAccessibleName("The same in the terminal")
        self.line_edit.setToolTip("What to type in a terminal for exactly this")
        self.line_edit.setFont(theme.mono_font())
        self.copy_button = QPushButton("Copy")
        self.copy_button.setObjectName("copyCommandButton")
        self.copy_button.setIcon(theme.icon("content-copy"))
        self.copy_button.setToolTip("Copy the command line")
        label = QLabel("In the terminal")
        theme.set_role(label, "muted")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(label)
        layout.addWidget(self.line_edit, 1)
        layout.addWidget(self.copy_button)
        self.copy_button.clicked.connect(self._on_copy)

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self.line_edit.text())
        self.copy_button.setText("Copied")
        QTimer.singleShot(COPIED_MS, self.copy_button, lambda: self.copy_button.setText("Copy"))

    def set_command(self, command: str) -> None:
        self.line_edit.setText(command)
        self.line_edit.setCursorPosition(0)


def train_command(config: Config, preset: Config, *, dataset: Path | None, run: Path | None) -> str:
    """`atlas train` with the preset's name and whatever differs from it.

    Without a dataset its place is named in capitals, to be filled in; without a run the terminal finds a new folder.
    """
    words = ["atlas", "train", "--preset", preset.name, "--data", str(dataset) if dataset else "DATASET"]
    if run:
        words += ["--out", str(run)]
    for key in settings():
        if config.get(key) != preset.get(key):
            words += ["--set", f"{key}={_as_yaml(config.get(key))}"]
    return quoted(*words)


def _as_yaml(value: Any) -> str:
    """A value as `--set` reads it: texts bare, all else as JSON, which is YAML too."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
