"""The playground: a prompt, and the text a model continues it with. Asks for text and shows it; draws none itself."""

from __future__ import annotations

import time
from collections.abc import Sequence

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from atlas_core import format as people
from atlas_core.events import Generated, TextPiece
from atlas_gui import theme
from atlas_gui.widgets.eliding_label import plain_tip
from atlas_gui.widgets.output_view import OutputView
from atlas_gui.widgets.sampling_panel import SamplingPanel

LIVE = "live"  # the source that is the model in training, as it is now
KIND = "This is a base model: it does not answer, it continues. Give it the beginning of a text."
FIRST_PROMPT = "Once upon a time"
SIDE_WIDTH_PX = 300
PROMPT_LINES = 5
STATUS_INTERVAL_MS = 100

REASONS = {
    "length": "reached the length you set",
    "eos": "the model ended its text",
    "stop": "met a stop text",
    "stopped": "stopped",
}


class PlaygroundTab(QWidget):
    """Prompt above, output below, settings at the side.

    After a wish for text it is busy until `set_finished`, `set_failed` or `set_busy(False)`; pieces that
    come while it is not busy belong to somebody else and are passed over.
    """

    generate_requested = Signal(str, object, str)  # prompt, Sampling, "live" or a checkpoint's path
    stop_requested = Signal()
    source_changed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._busy = False
        self._tokens = 0
        self._first_token_at = 0.0
        self._build()
        self._lay_out()
        self._connect()
        self.set_sources([], None)

    # ---- what it is told

    def set_sources(self, sources: Sequence[tuple[str, str]], selected: str | None) -> None:
        """Offer models as (label, key) and select a key; None keeps the choice if it is still there."""
        wanted = self.source() if selected is None else selected
        self.source_combo.clear()
        for label, key in sources:
            self.source_combo.addItem(label, key)
        offered = self.source_combo.view()  # may be wider than the column: a step's number must not be left out
        offered.setMinimumWidth(offered.sizeHintForColumn(0) + 2 * theme.spacing)
        self.source_combo.setCurrentIndex(max(0, self.source_combo.findData(wanted)))
        if not sources:
            self.source_combo.setPlaceholderText("no model yet")
            self.source_combo.setCurrentIndex(-1)
        self._refresh_controls()

    def source(self) -> str:
        """The key of the chosen model; empty if there is none."""
        return self.source_combo.currentData() or ""

    def set_prompt(self, prompt: str) -> None:
        self.prompt_edit.setPlainText(prompt)

    def set_busy(self, busy: bool) -> None:
        """Say whether a text is being drawn."""
        if busy:
            self._status_timer.start()
        else:
            self._status_timer.stop()
            if self._busy:
                self._say(people.many(self._tokens, "token"))
        self._busy = busy
        self._refresh_controls()

    def add_piece(self, piece: TextPiece) -> None:
        if not self._busy or piece.row != 0:
            return
        if self._tokens == 0:
            self._first_token_at = time.perf_counter()
        self._tokens += 1
        self.output_view.add_piece(piece)

    def set_finished(self, generated: Generated) -> None:
        """The text is whole; what the job measured replaces what was counted here."""
        if not self._busy:
            return
        self.set_busy(False)
        why = REASONS.get(generated.reason, generated.reason)
        self._say(f"{speed(generated.tokens, generated.tokens_per_s)} · {why} · seed {generated.seed}")

    def set_failed(self, message: str) -> None:
        """No text will come, for the reason given."""
        self.set_busy(False)
        self._say(message, role="bad")

    # ---- how it is made

    def _build(self) -> None:
        self.prompt_edit = QPlainTextEdit(FIRST_PROMPT)
        self.prompt_edit.setObjectName("promptEdit")
        self.prompt_edit.setAccessibleName("Prompt")
        self.prompt_edit.setPlaceholderText("The beginning of a text. Empty: the model begins by itself.")
        self.prompt_edit.setTabChangesFocus(True)
        self.prompt_edit.setFixedHeight(PROMPT_LINES * self.prompt_edit.fontMetrics().lineSpacing() + 2 * theme.spacing)
        self.output_view = OutputView()
        self.output_view.setObjectName("outputView")
        self.output_view.setAccessibleName("Generated text")
        self.tint_check = QCheckBox("Show surprise")
        self.tint_check.setObjectName("tintCheck")
        self.tint_check.setToolTip("Tint tokens by how unlikely they were; point at one for its alternatives")
        self.copy_button = _tool("content-copy", "Copy prompt and text", "copyOutputButton")
        self.clear_button = _tool("broom", "Clear the text", "clearOutputButton")
        self.source_combo = QComboBox()
        self.source_combo.setObjectName("sourceCombo")
        self.source_combo.setAccessibleName("Model")
        self._show_source_tip("")
        self.sampling_panel = SamplingPanel()
        self.generate_button = QPushButton("Generate")
        self.generate_button.setObjectName("generateButton")
        self.generate_button.setProperty("role", "primary")
        self.generate_button.setIcon(theme.icon("creation", "on_accent"))
        self.stop_button = QPushButton("Stop")
        self.stop_button.setObjectName("stopTextButton")
        self.stop_button.setIcon(theme.icon("stop"))
        self.stop_button.setToolTip("End the text here (Esc)")
        self.status_label = QLabel()
        self.status_label.setObjectName("generationStatus")
        self.status_label.setTextFormat(Qt.TextFormat.PlainText)
        self.status_label.setFont(theme.mono_font())
        self.status_label.setWordWrap(True)
        self.status_label.setProperty("role", "muted")
        self._status_timer = QTimer(self)
        self._status_timer.setInterval(STATUS_INTERVAL_MS)

    def _lay_out(self) -> None:
        page = QHBoxLayout(self)
        page.setContentsMargins(*[2 * theme.spacing] * 4)
        page.setSpacing(2 * theme.spacing)
        page.addLayout(self._writing_column(), 1)
        page.addWidget(self._side_column())

    def _writing_column(self) -> QVBoxLayout:
        kind = QLabel(KIND)
        kind.setProperty("role", "muted")
        kind.setWordWrap(True)
        tools = QHBoxLayout()
        tools.addWidget(_title("Text"))
        tools.addStretch(1)
        tools.addWidget(self.tint_check)
        tools.addWidget(self.copy_button)
        tools.addWidget(self.clear_button)
        column = QVBoxLayout()
        column.setSpacing(theme.spacing)
        column.addWidget(_title("Prompt"))
        column.addWidget(self.prompt_edit)
        column.addWidget(kind)
        column.addLayout(tools)
        column.addWidget(self.output_view, 1)
        column.addWidget(self.status_label)
        return column

    def _side_column(self) -> QFrame:
        side = QFrame()
        side.setProperty("role", "card")
        side.setFixedWidth(SIDE_WIDTH_PX)
        buttons = QHBoxLayout()
        buttons.addWidget(self.generate_button, 1)
        buttons.addWidget(self.stop_button)
        column = QVBoxLayout(side)
        column.setContentsMargins(*[2 * theme.spacing] * 4)
        column.setSpacing(theme.spacing)
        column.addWidget(_title("Model"))
        column.addWidget(self.source_combo)
        column.addSpacing(theme.spacing)
        column.addWidget(self.sampling_panel)
        column.addStretch(1)
        column.addLayout(buttons)
        return side

    def _connect(self) -> None:
        self.generate_button.clicked.connect(self._on_generate)
        self.stop_button.clicked.connect(self._on_stop)
        self.source_combo.activated.connect(lambda: self.source_changed.emit(self.source()))
        self.source_combo.currentTextChanged.connect(self._show_source_tip)
        self.tint_check.toggled.connect(self.output_view.set_tinted)
        self.copy_button.clicked.connect(self._on_copy)
        self.clear_button.clicked.connect(self._on_clear)
        self._status_timer.timeout.connect(self._show_speed)
        for keys in ("Ctrl+Return", "Ctrl+Enter"):  # the large Enter key and the one of the number pad
            self._shortcut(keys, self.generate_button)
        self._shortcut("Esc", self.stop_button)

    def _shortcut(self, keys: str, button: QPushButton) -> None:
        shortcut = QShortcut(QKeySequence(keys), self)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)  # while the tab is in sight
        shortcut.activated.connect(button.click)  # a disabled button ignores it

    # ---- what the person does

    def _on_generate(self) -> None:
        prompt = self.prompt_edit.toPlainText()
        self.sampling_panel.draw_seed()
        self.output_view.begin(prompt)
        self._tokens = 0
        self._say("reading the prompt …")
        self.set_busy(True)
        self.generate_requested.emit(prompt, self.sampling_panel.sampling(), self.source())

    def _on_stop(self) -> None:
        self._say("stopping …")
        self.stop_button.setEnabled(False)
        self._status_timer.stop()
        self.stop_requested.emit()

    def _on_copy(self) -> None:
        QApplication.clipboard().setText(self.output_view.text())
        if not self._busy:
            self._say("copied")

    def _on_clear(self) -> None:
        self.output_view.begin("")
        self._say("")
        self._refresh_controls()

    def _show_source_tip(self, label: str) -> None:
        """With the whole name, of which the column may show the beginning alone."""
        help = "Which state of which model writes: the one in training, or a saved checkpoint"
        self.source_combo.setToolTip(plain_tip(f"{label}\n{help}" if label else help))

    def _refresh_controls(self) -> None:
        ready = bool(self.source())
        self.generate_button.setEnabled(ready and not self._busy)
        self.generate_button.setToolTip("Continue the prompt (Ctrl+Enter)" if ready
                                        else "There is no model yet: train one, or play a run from the Runs tab")
        self.stop_button.setEnabled(self._busy)
        self.clear_button.setEnabled(not self._busy)
        self.source_combo.setEnabled(ready and not self._busy)
        self.output_view.setPlaceholderText(
            "The continuation appears here, word by word." if ready else
            "There is no model to talk to yet. Press Train, and ask it while it learns;\n"
            "or open an earlier run with Play on the Runs tab.")

    def _show_speed(self) -> None:
        if self._tokens < 2:
            return
        seconds = time.perf_counter() - self._first_token_at
        self._say(speed(self._tokens, (self._tokens - 1) / max(seconds, 1e-9), steady=True))

    def _say(self, text: str, *, role: str = "muted") -> None:
        theme.set_role(self.status_label, role)
        self.status_label.setText(text)


def speed(tokens: int, tokens_per_s: float, *, steady: bool = False) -> str:
    """How much and how fast, like "87 tokens · 131 tokens/s"; `steady` in a width that does not change."""
    much, fast = people.many(tokens, "token"), people.count(tokens_per_s)
    return f"{much:>12} · {fast:>5} tokens/s" if steady else f"{much} · {fast} tokens/s"


def _title(text: str) -> QLabel:
    label = QLabel(text)
    label.setProperty("role", "title")
    return label


def _tool(icon: str, what: str, name: str) -> QToolButton:
    button = QToolButton()
    button.setObjectName(name)
    button.setIcon(theme.icon(icon))
    button.setToolTip(what)
    button.setAccessibleName(what)
    return button
