"""A page of text with its tokens told apart by colour, so that one sees what the model will read.

It gets the pieces ready-made and has no tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtGui import QColor, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QFrame, QTextEdit, QWidget

from atlas_gui import theme
from atlas_gui.widgets.eliding_label import plain_tip

TINT_ALPHA = 70  # of 255: the text stays readable on both backgrounds
TINTS = theme.SERIES[:5]
SHOWN_TOKENS = 1000


class TokenView(QTextEdit):
    """Shows pieces of text, each on the tint after its neighbour's."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("tokenView")
        self.setAccessibleName("A page of the text, split into tokens")
        self.setReadOnly(True)
        self.setUndoRedoEnabled(False)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self._pieces: list[str] = []
        theme.notifier.changed.connect(self._fill)

    def set_pieces(self, pieces: Sequence[str]) -> None:
        """The texts of consecutive tokens; a line break is shown as ↵ and breaks the line."""
        self._pieces = list(pieces[:SHOWN_TOKENS])
        self._fill()

    def _fill(self) -> None:
        self.clear()
        cursor = QTextCursor(self.document())
        cursor.beginEditBlock()
        for place, piece in enumerate(self._pieces):
            style = QTextCharFormat()
            tint = QColor(TINTS[place % len(TINTS)])
            tint.setAlpha(TINT_ALPHA)
            style.setBackground(tint)
            style.setForeground(QColor(theme.colors().text))
            style.setFont(theme.mono_font())
            style.setToolTip(plain_tip(f"token {place + 1}: {piece!r}"))
            cursor.insertText(piece.replace("\n", "↵").replace("↵", "↵\n"), style)
        cursor.endEditBlock()
        self.moveCursor(QTextCursor.MoveOperation.Start)
