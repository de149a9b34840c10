"""One setting on one row of a form: a dot if it was changed, its name, its editor, a way back, its help.

It shows what it is told; which values are the original ones is the form's knowledge.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QToolButton, QWidget

from atlas_core.config import Setting
from atlas_gui import theme
from atlas_gui.widgets.setting_editor import SettingEditor, label_text

DOT_WIDTH, NAME_WIDTH, EDITOR_WIDTH = 12, 190, 190


class SettingRow(QWidget):
    """Shows one value; says when the person changes it or wants it back."""

    edited = Signal(str, object)  # key, new value
    reset_requested = Signal(str)  # key

    def __init__(self, setting: Setting, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setting = setting
        self.editor = SettingEditor(setting, self)
        self._build()
        self.editor.edited.connect(lambda value: self.edited.emit(setting.key, value))
        self.reset_button.clicked.connect(lambda: self.reset_requested.emit(setting.key))

    def _build(self) -> None:
        s = self.setting
        tip = f"<b>{s.key}</b><br>{s.help}" + (f"<br>Allowed: {s.bounds}" if s.bounds else "")
        self._dot = QLabel("")
        self._dot.setFixedWidth(DOT_WIDTH)
        theme.set_role(self._dot, "warning")
        name = QLabel(label_text(s))
        name.setFixedWidth(NAME_WIDTH)
        name.setBuddy(self.editor.widget)
        name.setToolTip(tip)
        self.editor.widget.setToolTip(tip)
        self.editor.widget.setMinimumWidth(EDITOR_WIDTH)
        self.reset_button = QToolButton()
        self.reset_button.setIcon(theme.icon("undo-variant"))
        self.reset_button.setAccessibleName(f"Reset {label_text(s)}")
        policy = self.reset_button.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # nothing jumps when it appears
        self.reset_button.setSizePolicy(policy)
        self.reset_button.hide()
        self._help = QLabel(s.help)
        self._help.setWordWrap(True)
        theme.set_role(self._help, "muted")
        self._problem = QLabel("")
        self._problem.setWordWrap(True)
        self._problem.hide()
        theme.set_role(self._problem, "bad")
        self._lay_out(name)

    def _lay_out(self, name: QLabel) -> None:
        line = QHBoxLayout()
        line.addWidget(self._dot)
        line.addWidget(name)
        wide = self.setting.type in (str, tuple) and not self.setting.choices
        line.addWidget(self.editor.widget, 1 if wide else 0)
        line.addWidget(self.reset_button)
        if not wide:
            line.addStretch(1)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, theme.spacing)
        grid.setVerticalSpacing(2)
        grid.setHorizontalSpacing(0)
        line.setSpacing(theme.spacing)
        grid.setColumnMinimumWidth(0, DOT_WIDTH + theme.spacing)
        grid.setColumnStretch(1, 1)
        grid.addLayout(line, 0, 0, 1, 2)
        grid.addWidget(self._help, 1, 1)
        grid.addWidget(self._problem, 2, 1)

    @property
    def wrong(self) -> bool:
        return bool(self._problem.text())

    def show_value(self, value: Any, original: Any) -> None:
        """Show `value`, with a dot and a way back if it is not the original one."""
        self.editor.set_value(value)
        changed = value != original
        self._dot.setText("●" if changed else "")
        self._dot.setToolTip("Changed" if changed else "")
        self.reset_button.setVisible(changed)
        self.reset_button.setToolTip(f"Back to {_shown(original)}")

    def show_problem(self, sentence: str) -> None:
        """Say why this value cannot stand; an empty sentence takes it back."""
        self._problem.setText(sentence)
        self._problem.setVisible(bool(sentence))

    def matches(self, words: list[str]) -> bool:
        """Whether every word occurs in what the row says of itself."""
        s = self.setting
        text = f"{s.key} {label_text(s)} {s.help} {' '.join(s.choices)}".lower()
        return all(word in text for word in words)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " | ".join(value) or "nothing"
    return str(value)
