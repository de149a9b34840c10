"""Generated text in one flow: the prompt, then each piece as it comes, with the odds behind it on hover.

Text is only ever inserted as plain text: what a model writes may look like markup and must stay text.
"""

from __future__ import annotations

import html
import math
from bisect import bisect_right
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint
from PySide6.QtGui import QColor, QHelpEvent, QTextCharFormat, QTextCursor, QTextOption
from PySide6.QtWidgets import QPlainTextEdit, QToolTip, QWidget

from atlas_core import format as people
from atlas_core.events import TextPiece
from atlas_gui import theme

LEAST_PROBABILITY = 1e-3  # tokens this unlikely or less get the full tint
STRONGEST_TINT = 0.42  # opacity; the letters on it keep their contrast
EXTRA_POINTS = 1.5  # it is here to be read
BAR_LETTERS = 12  # length of the bar of a certain token in the tooltip
NAMED_CHARACTERS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}


@dataclass(frozen=True)
class _Placed:
    """A piece and the place in the document where its text begins."""

    start: int
    piece: TextPiece


class OutputView(QPlainTextEdit):
    """Shows a prompt and the pieces that continue it; scrolls along only while the reader is at the end."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._prompt = ""
        self._placed: list[_Placed] = []
        self._tinted = False
        self.setReadOnly(True)
        self.setUndoRedoEnabled(False)
        self.document().setDocumentMargin(theme.spacing * 3 // 2)
        font = self.font()
        font.setPointSizeF(font.pointSizeF() + EXTRA_POINTS)
        self.setFont(font)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        theme.notifier.changed.connect(self._redraw)

    def begin(self, prompt: str) -> None:
        """Empty the view and show the prompt to be continued."""
        self._placed.clear()
        self._prompt = prompt
        self.clear()
        self._append(prompt, self._prompt_format())

    def add_piece(self, piece: TextPiece) -> None:
        """Append the next piece; one without text (half a character) waits for the rest of it."""
        if not piece.text:
            return
        self._placed.append(_Placed(self._end().position(), piece))
        self._append(piece.text, self._piece_format(piece))

    def text(self) -> str:
        """Prompt and continuation exactly as they came; Qt's own copy would change some spaces."""
        return self._prompt + self.continuation()

    def continuation(self) -> str:
        return "".join(placed.piece.text for placed in self._placed)

    def set_tinted(self, tinted: bool) -> None:
        """Show by colour how unlikely each token was, or no longer."""
        if tinted != self._tinted:
            self._tinted = tinted
            self._redraw()

    def piece_at(self, position: int) -> TextPiece | None:
        """The piece that wrote the character at a place of the document; None in the prompt."""
        index = bisect_right(self._placed, position, key=lambda placed: placed.start) - 1
        return self._placed[index].piece if index >= 0 else None

    def _append(self, text: str, style: QTextCharFormat) -> None:
        bar = self.verticalScrollBar()
        following = bar.value() >= bar.maximum() - 1
        self._end().insertText(text, style)
        if following:
            bar.setValue(bar.maximum())

    def _end(self) -> QTextCursor:
        """A cursor of our own at the end, so that the reader's selection stays untouched."""
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        return cursor

    def _redraw(self) -> None:
        """Insert everything again in today's colours, without moving the page."""
        place = self.verticalScrollBar().value()
        self.clear()
        cursor = self._end()
        cursor.beginEditBlock()  # one layout for all, or a long paragraph would be laid out once for every token
        cursor.insertText(self._prompt, self._prompt_format())
        for placed in self._placed:
            cursor.insertText(placed.piece.text, self._piece_format(placed.piece))
        cursor.endEditBlock()
        self.verticalScrollBar().setValue(place)

    def _prompt_format(self) -> QTextCharFormat:
        style = QTextCharFormat()
        style.setForeground(QColor(theme.colors().text))
        return style

    def _piece_format(self, piece: TextPiece) -> QTextCharFormat:
        style, palette = QTextCharFormat(), theme.colors()
        if self._tinted:
            style.setForeground(QColor(palette.text))
            style.setBackground(tint(piece.probability))
        else:
            style.setForeground(QColor(palette.accent))
        return style

    def _piece_under(self, point: QPoint) -> TextPiece | None:
        """The piece whose letter is under the pointer; the nearest gap between two letters tells which."""
        cursor = self.cursorForPosition(point)
        position = cursor.position()
        if point.x() < self.cursorRect(cursor).center().x():
            position -= 1
        return self.piece_at(position)

    def viewportEvent(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            piece = self._piece_under(event.pos())
            QToolTip.showText(event.globalPos(), odds(piece) if piece else "", self)
            return True
        return super().viewportEvent(event)


def surprise(probability: float) -> float:
    """0 for a certain token, 1 for one of probability 1/1000 or less: -log p on a scale of three tens."""
    if not probability > LEAST_PROBABILITY:
        return 1.0
    return min(1.0, max(0.0, math.log(probability) / math.log(LEAST_PROBABILITY)))


def tint(probability: float) -> QColor:
    """The background of a token: clear if it was expected, orange if it was a surprise."""
    color = QColor(theme.colors().validation)
    color.setAlphaF(STRONGEST_TINT * surprise(probability))
    return color


def odds(piece: TextPiece) -> str:
    """The tooltip: how probable this token was, and what else could have come. Escaped markup."""
    rows = [_row(choice.text, choice.probability, chosen=choice.text == piece.text) for choice in piece.choices]
    head = f"<b>{_escaped(piece.text)}</b> &nbsp;{_percent(piece.probability)}"
    return f"<p>{head}</p><table cellspacing='2'>{''.join(rows)}</table>" if rows else f"<p>{head}</p>"


def visible(text: str) -> str:
    """`text` with signs for what cannot be seen, so that " the" and "the" differ."""
    return "".join(NAMED_CHARACTERS.get(letter) or (letter if letter.isprintable() else "·") for letter in text)


def _row(text: str, probability: float, *, chosen: bool) -> str:
    bar = "█" * max(1, round(BAR_LETTERS * probability))
    name = f"<b>{_escaped(text)}</b>" if chosen else _escaped(text)
    return (f"<tr><td>{name}</td><td align='right'>&nbsp;{_percent(probability)}&nbsp;</td>"
            f"<td><font color='{theme.colors().train}'>{bar}</font></td></tr>")


def _escaped(text: str) -> str:
    return html.escape(visible(text)) or "(no text)"


def _percent(probability: float) -> str:
    return f"{probability * 100:.1f}{people.SPACE}%"
