"""A run at a glance: name, state, curve, best loss, size, and what can be done with it. Does nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from atlas_core import format as people
from atlas_core.runs import RunInfo
from atlas_gui import theme
from atlas_gui.widgets.eliding_label import plain_tip
from atlas_gui.widgets.sparkline import Sparkline

NAME_WIDTH_PX = 216
LABEL_WIDTH_PX = 112
BUTTON_WIDTH_PX = 96
FACT_WIDTH_PX = 136  # "100 000 / 100 000" in the monospaced font
STATES = {"running": ("in training", "good"), "paused": ("paused", "warning"), "done": ("finished", "good"),
          "interrupted": ("can go on", "warning"), "empty": ("nothing saved", "muted")}


class RunCard(QFrame):
    """One row of the runs list. Every wish carries the run's folder."""

    resume_requested = Signal(Path)
    extend_requested = Signal(Path)
    curve_requested = Signal(Path)
    play_requested = Signal(Path)
    export_requested = Signal(Path)
    delete_requested = Signal(Path)
    open_folder_requested = Signal(Path)

    def __init__(self, info: RunInfo, losses: Sequence[float], *, state: str = "",
                 parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.info = info
        self._state = state or info.state
        self.setProperty("role", "card")
        self.setAccessibleName(f"Run {info.name}")
        self._age = _label("", "muted")
        self.show_age()
        self._sparkline = Sparkline()
        self._sparkline.set_values(losses)
        self._lay_out()

    def set_selected(self, selected: bool) -> None:
        theme.set_role(self, "card-selected" if selected else "card")

    def show_age(self) -> None:
        """How long ago the run was touched, which grows."""
        self._age.setText(people.ago(self.info.updated_at))
        self.setAccessibleDescription(summary(self.info, self._state))

    def _lay_out(self) -> None:
        row = QHBoxLayout(self)
        row.setContentsMargins(*[theme.spacing * 3 // 2] * 4)
        row.setSpacing(2 * theme.spacing)
        row.addLayout(self._heading())
        row.addWidget(self._sparkline, 1)
        row.addLayout(self._facts())
        row.addLayout(self._buttons())

    def _heading(self) -> QVBoxLayout:
        word, role = STATES[self._state]
        parameters = f" · {people.short_count(self.info.parameters)} parameters" if self.info.parameters else ""
        column = QVBoxLayout()
        column.setSpacing(theme.spacing // 4)
        column.addStretch(1)
        column.addWidget(Elided(self.info.name, width_px=NAME_WIDTH_PX, role="title"))
        column.addWidget(_label(word, role))
        column.addWidget(Elided(self.info.preset + parameters, width_px=NAME_WIDTH_PX, role="muted"))
        column.addWidget(self._age)
        column.addStretch(1)
        return column

    def _facts(self) -> QGridLayout:
        info = self.info
        facts = [
            ("saved step", f"{people.count(info.step)} / {people.count(info.max_steps)}"),
            ("best validation", people.loss(info.best_val_loss)),
            ("training loss", people.loss(info.loss)),
            ("on disk", people.size(info.bytes)),
        ]
        grid = QGridLayout()
        grid.setVerticalSpacing(theme.spacing // 4)
        grid.setColumnMinimumWidth(0, LABEL_WIDTH_PX)
        grid.setColumnMinimumWidth(1, FACT_WIDTH_PX)
        for line, (what, value) in enumerate(facts):
            number = _label(value)
            number.setFont(theme.mono_font())
            grid.addWidget(_label(what, "muted"), line, 0)
            grid.addWidget(number, line, 1, Qt.AlignmentFlag.AlignRight)
        return grid

    def _buttons(self) -> QGridLayout:
        saved = bool(self.info.checkpoints)
        grid = QGridLayout()
        grid.setSpacing(theme.spacing // 2)
        grid.addWidget(self._go_on_button(), 0, 0)
        grid.addWidget(self._button("Play", "message-text-outline", "Talk to this model in the playground",
                                    self.play_requested.emit, enabled=saved), 0, 1)
        grid.addWidget(self._button("Export", "export-variant", "Write a file for llama.cpp, Ollama and LM Studio",
                                    self.export_requested.emit, enabled=saved), 1, 0)
        small = QHBoxLayout()
        small.addWidget(self._tool("chart-line", "Show curve", self.curve_requested.emit))
        small.addWidget(self._tool("folder-open-outline", "Open folder", self.open_folder_requested.emit))
        small.addWidget(self._tool("delete-outline", "Delete", self.delete_requested.emit,
                                   enabled=self._state not in ("running", "paused")))
        small.addStretch(1)
        grid.addLayout(small, 1, 1)
        return grid

    def _go_on_button(self) -> QPushButton:
        if self._state == "done":
            return self._button("Extend", "play", "Train on for more steps", self.extend_requested.emit, enabled=True)
        return self._button("Resume", "play", "Train on from the last checkpoint", self.resume_requested.emit,
                            enabled=self._state == "interrupted")

    def _button(self, text: str, icon: str, help: str, wish: Callable[[Path], None], *, enabled: bool) -> QPushButton:
        button = QPushButton(theme.icon(icon), text)
        button.setObjectName(f"run{text}Button")
        button.setMinimumWidth(BUTTON_WIDTH_PX)
        button.setToolTip(help)
        button.setAccessibleName(f"{text} {self.info.name}")
        button.setEnabled(enabled)
        button.clicked.connect(lambda: wish(self.info.path))
        return button

    def _tool(self, icon: str, text: str, wish: Callable[[Path], None], *, enabled: bool = True) -> QToolButton:
        button = QToolButton()
        button.setIcon(theme.icon(icon))
        button.setObjectName(f"run{text.replace(' ', '')}Button")
        button.setToolTip(text)
        button.setAccessibleName(f"{text}: {self.info.name}")
        button.setEnabled(enabled)
        button.clicked.connect(lambda: wish(self.info.path))
        return button


class Elided(QLabel):
    """A line of text in a fixed width; what does not fit is in the tooltip."""

    def __init__(self, text: str, *, width_px: int, role: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setProperty("role", role)
        self.setFixedWidth(width_px)
        self.ensurePolished()  # the role decides the font, and the font how much fits
        self.setText(self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideMiddle, width_px))
        self.setToolTip(plain_tip(text))


def summary(info: RunInfo, state: str) -> str:
    """The card in one sentence, for those who cannot see it."""
    word, _ = STATES[state]
    return (f"{word}, step {people.count(info.step)} of {people.count(info.max_steps)}, "
            f"best validation loss {people.loss(info.best_val_loss)}, {people.size(info.bytes)}, "
            f"{people.ago(info.updated_at)}")


def _label(text: str, role: str = "") -> QLabel:
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setProperty("role", role)
    return label
