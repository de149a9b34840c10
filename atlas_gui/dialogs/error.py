"""The one place where a failure is told: what happened, what to do, and the details for those who want them.

Decides nothing and retries nothing; a cancelled job is no failure and never gets here.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QApplication,
    QDialog,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from atlas_gui import theme

WIDTH_PX = 520
DETAILS_HEIGHT_PX = 200
ICON_PX = 32
NO_REMEDY = "This is a mistake in the program. The details below help to mend it; your saved work is safe."


class ErrorDialog(QDialog):
    """A sentence and its remedy. `details` (a traceback) are folded away, and copied with one click.

    `offer` is a button that carries the remedy out: `offer_taken`.
    """

    offer_taken = Signal()

    def __init__(self, message: str, remedy: str = "", details: str = "", *, log_path: Path | None = None,
                 offer: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._message, self._log_path, self._offer = message, log_path, offer
        self._remedy = remedy or (NO_REMEDY if details else "")
        self.setObjectName("errorDialog")
        self.setWindowTitle("That did not work")
        self.setMinimumWidth(WIDTH_PX)
        self._build(details)
        self._lay_out(has_details=bool(details))

    def text(self) -> str:
        """Everything the dialog says, ready to be sent to someone."""
        log = f"Log: {self._log_path}" if self._log_path else ""
        parts = (self._message, self._remedy, self.details_view.toPlainText(), log)
        return "\n\n".join(part for part in parts if part)

    def _build(self, details: str) -> None:
        self.message_label = _label(self._message, "title")
        self.message_label.setObjectName("errorMessage")
        self.remedy_label = _label(self._remedy)
        self.remedy_label.setObjectName("errorRemedy")
        self.remedy_label.setVisible(bool(self._remedy))
        self.details_view = QPlainTextEdit(details)
        self.details_view.setObjectName("errorDetails")
        self.details_view.setAccessibleName("Details")
        self.details_view.setReadOnly(True)
        self.details_view.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.details_view.setFont(theme.mono_font())
        self.details_view.setMinimumHeight(DETAILS_HEIGHT_PX)
        self.details_view.hide()
        self.log_label = _label(f"The log is {self._log_path}" if self._log_path else "", "muted")
        self.log_label.hide()
        self.details_button = QPushButton("Details")
        self.details_button.setObjectName("errorDetailsButton")
        self.details_button.setCheckable(True)
        self.details_button.setAutoDefault(False)
        self.details_button.setToolTip("Show what the program was doing")
        self.details_button.toggled.connect(self._on_details_toggled)
        self.copy_button = QPushButton(theme.icon("content-copy"), "Copy")
        self.copy_button.setObjectName("errorCopyButton")
        self.copy_button.setAutoDefault(False)
        self.copy_button.setToolTip("Copy all of it, to ask for help")
        self.copy_button.clicked.connect(lambda: QApplication.clipboard().setText(self.text()))
        self.close_button = QPushButton("Close")
        self.close_button.setObjectName("errorCloseButton")
        self.close_button.clicked.connect(self.reject)
        self.offer_button = QPushButton(self._offer)
        self.offer_button.setObjectName("errorOfferButton")
        self.offer_button.setVisible(bool(self._offer))
        self.offer_button.clicked.connect(self.accept)
        self.accepted.connect(self.offer_taken)
        self._main_button = self.offer_button if self._offer else self.close_button
        self._main_button.setProperty("role", "primary")
        self._main_button.setDefault(True)

    def _lay_out(self, *, has_details: bool) -> None:
        picture = QLabel()
        picture.setPixmap(theme.icon("alert-circle-outline", "bad").pixmap(ICON_PX, ICON_PX))
        words = QVBoxLayout()
        words.setSpacing(theme.spacing)
        words.addWidget(self.message_label)
        words.addWidget(self.remedy_label)
        words.addStretch(1)
        head = QHBoxLayout()
        head.setSpacing(2 * theme.spacing)
        head.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop)
        head.addLayout(words, 1)
        buttons = QHBoxLayout()
        buttons.addWidget(self.details_button)
        buttons.addWidget(self.copy_button)
        buttons.addStretch(1)
        buttons.addWidget(self.close_button)
        buttons.addWidget(self.offer_button)
        self.details_button.setVisible(has_details)
        column = QVBoxLayout(self)
        column.setContentsMargins(*[3 * theme.spacing] * 4)
        column.setSpacing(2 * theme.spacing)
        column.addLayout(head)
        column.addWidget(self.details_view, 1)
        column.addWidget(self.log_label)
        column.addLayout(buttons)
        self._main_button.setFocus()

    def _on_details_toggled(self, shown: bool) -> None:
        self.details_view.setVisible(shown)
        self.log_label.setVisible(shown and self._log_path is not None)
        self.adjustSize()


def show_error(parent: QWidget | None, message: str, remedy: str = "", details: str = "",
               log_path: Path | None = None, *, offer: str = "") -> ErrorDialog:
    """Tell of a failure without holding up the program: the dialog lives until it is closed."""
    dialog = ErrorDialog(message, remedy, details, log_path=log_path, offer=offer, parent=parent)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.open()
    return dialog


def _label(text: str, role: str = "") -> QLabel:
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)  # paths and other people's sentences are not markup
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setWordWrap(True)
    label.setProperty("role", role)
    return label
