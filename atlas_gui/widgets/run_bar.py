"""The toolbar: one primary button that says what it will do, stop, one sentence, how far the run is.

Shows what it is told and emits wishes; what a wish means now is the window's business.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QToolBar,
    QWidget,
)

from atlas_gui import theme
from atlas_gui.widgets.eliding_label import ElidingLabel, plain_tip

PRIMARY_WIDTH = 120
TITLE_WIDTH = 240
BAR_STEPS = 1000
BAR_HEIGHT = 4


@dataclass(frozen=True)
class RunBarState:
    """Everything the bar shows. `primary` is "train", "resume" or "pause"."""

    primary: str = "train"
    primary_enabled: bool = True
    stop_enabled: bool = False
    new_run_offered: bool = False
    export_enabled: bool = False
    title: str = ""
    sentence: str = ""
    share: float | None = None  # how much is done, None while nobody knows
    busy: bool = False  # there is something to show a bar for


class RunBar(QToolBar):
    """Buttons at the left, words and bar in the middle, export and settings at the right."""

    train_requested = Signal()
    resume_requested = Signal()
    pause_requested = Signal()
    stop_requested = Signal()
    new_run_requested = Signal()
    export_requested = Signal()
    settings_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Run", parent)
        self.setObjectName("runBar")
        self.setMovable(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self._state = RunBarState()
        self._focus_owed = False
        self._build()
        self._connect()
        self.show_state(self._state)

    def show_state(self, state: RunBarState) -> None:
        """Show all of it; only what differs is redrawn by Qt."""
        self._state = state
        self._hold_focus()
        self._primary.setCurrentWidget(self._primary_button)
        self.train_button.setText("Resume" if state.primary == "resume" else "Train")
        self.train_button.setToolTip("Go on with this run (Ctrl+R)" if state.primary == "resume"
                                     else "Start training (Ctrl+R)")
        self.train_button.setEnabled(state.primary_enabled)
        self.pause_button.setEnabled(state.primary_enabled)
        self.stop_button.setEnabled(state.stop_enabled)
        self.new_run_button.setVisible(state.new_run_offered)
        self.export_button.setEnabled(state.export_enabled)
        shown = self._title.fontMetrics().elidedText(state.title, Qt.TextElideMode.ElideMiddle, TITLE_WIDTH)
        self._title.setText(shown)
        self._title.setToolTip("" if shown == state.title else plain_tip(state.title))
        self._title.setAccessibleName(state.title)
        self._title.setVisible(bool(state.title))
        self._sentence.setText(state.sentence)
        self._bar.setVisible(state.busy)
        self._bar.setRange(0, BAR_STEPS if state.share is not None else 0)
        if state.share is not None:
            self._bar.setValue(round(state.share * BAR_STEPS))
        self._give_focus_back()

    @property
    def _primary_button(self) -> QPushButton:
        """The large button that is in sight."""
        return self.pause_button if self._state.primary == "pause" else self.train_button

    def _hold_focus(self) -> None:
        """Qt would hand the focus of a button that hides or rests to the next one, and Space would press that."""
        going = [] if self._state.new_run_offered else [self.new_run_button]
        for button in (self.train_button, self.pause_button, *going):
            if button.hasFocus():
                button.clearFocus()
                self._focus_owed = True

    def _give_focus_back(self) -> None:
        if self._focus_owed and self._state.primary_enabled:
            self._focus_owed = False
            if QApplication.focusWidget() is None:  # the person has not gone elsewhere meanwhile
                self._primary_button.setFocus()

    @property
    def sentence(self) -> str:
        return self._sentence.text()

    def _build(self) -> None:
        self.train_button = _button("Train", "play", "trainButton", "", role="primary")
        self.pause_button = _button("Pause", "pause", "pauseButton", "Pause after the step at hand (Ctrl+R)",
                                    role="primary")
        self._primary = QStackedWidget()
        self._primary.setFixedWidth(PRIMARY_WIDTH)
        self._primary.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        for button in (self.train_button, self.pause_button):
            self._primary.addWidget(button)
        self.stop_button = _button("Stop", "stop", "stopButton", "Finish the step at hand, save, and stop (Ctrl+.)")
        self.new_run_button = _button("New run", "plus", "newRunButton",
                                      "Train afresh with the chosen text and model; the last run stays as it is")
        self.export_button = _button("Export", "export-variant", "exportButton",
                                     "Take the model away as a GGUF file (Ctrl+E)")
        self.settings_button = _button("", "cog-outline", "settingsButton", "Settings (Ctrl+,)", role="flat")
        self.settings_button.setAccessibleName("Settings")
        self._title = QLabel()
        self._title.setTextFormat(Qt.TextFormat.PlainText)
        self._title.setProperty("role", "title")
        self._title.ensurePolished()  # the role decides the font, and the font how much fits
        self._sentence = ElidingLabel()
        self._sentence.setObjectName("planSentence")
        self._bar = QProgressBar(self)  # lies along the lower edge, so that nothing jumps when it comes and goes
        self._bar.setObjectName("runProgress")
        self._bar.setAccessibleName("Progress of the run")
        self._bar.setTextVisible(False)
        self.addWidget(self._lay_out())

    def _lay_out(self) -> QWidget:
        page = QWidget()
        row = QHBoxLayout(page)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.spacing)
        for widget in (self._primary, self.stop_button, self.new_run_button):
            row.addWidget(widget)
        row.addSpacing(theme.spacing)
        row.addWidget(self._title)
        row.addSpacing(theme.spacing)
        row.addWidget(self._sentence, 1)
        row.addSpacing(theme.spacing)
        for widget in (self.export_button, self.settings_button):
            row.addWidget(widget)
        return page

    def _connect(self) -> None:
        self.train_button.clicked.connect(self._on_train_clicked)
        self.pause_button.clicked.connect(self.pause_requested)
        self.stop_button.clicked.connect(self.stop_requested)
        self.new_run_button.clicked.connect(self.new_run_requested)
        self.export_button.clicked.connect(self.export_requested)
        self.settings_button.clicked.connect(self.settings_requested)

    def click_primary(self) -> None:
        """What the keyboard's shortcut does: press the button that is in sight."""
        self._primary_button.click()

    def _on_train_clicked(self) -> None:
        (self.resume_requested if self._state.primary == "resume" else self.train_requested).emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._bar.setGeometry(0, self.height() - BAR_HEIGHT, self.width(), BAR_HEIGHT)


def _button(text: str, icon: str, name: str, tooltip: str, *, role: str = "") -> QPushButton:
    button = QPushButton(theme.icon(icon, "on_accent" if role == "primary" else "text"), text)
    button.setObjectName(name)
    button.setToolTip(tooltip)
    button.setAccessibleName(text)
    if role:
        button.setProperty("role", role)
    return button
