"""What covers the window while files are dragged over it: where to let go, and whether they will be taken.

It only shows; the window decides what is taken.
"""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from atlas_gui import theme

VEIL_OPACITY = 250  # of 255: what lies below is felt, and no line of it crosses the sentence
FRAME_MARGIN = 4 * theme.spacing


class DropOverlay(QWidget):
    """A veil with one big sentence. Lets every mouse and drag event through to the window."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("dropOverlay")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._window = parent
        self._taken = True
        self._sentence = ""
        self.hide()

    def announce(self, sentence: str, *, taken: bool) -> None:
        """Say what would happen if the files were dropped now."""
        self._taken, self._sentence = taken, sentence
        self.setAccessibleName(sentence)
        self.place()
        self.show()
        self.raise_()
        self.update()

    def place(self) -> None:
        """Cover the window; it calls this when its size changes."""
        self.setGeometry(self._window.rect())

    @property
    def sentence(self) -> str:
        return self._sentence

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002
        colors = theme.colors()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        veil = QColor(colors.window)
        veil.setAlpha(VEIL_OPACITY)
        painter.fillRect(self.rect(), veil)
        color = QColor(colors.accent if self._taken else colors.bad)
        frame = QRectF(self.rect()).adjusted(FRAME_MARGIN, FRAME_MARGIN, -FRAME_MARGIN, -FRAME_MARGIN)
        painter.setPen(QPen(color, 3, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(frame, 2 * theme.spacing, 2 * theme.spacing)
        sign = theme.icon("tray-arrow-down" if self._taken else "cancel", "accent" if self._taken else "bad")
        side = 6 * theme.spacing
        center = frame.center()
        sign.paint(painter, int(center.x()) - side // 2, int(center.y()) - side - theme.spacing, side, side)
        font = painter.font()
        font.setPointSizeF(font.pointSizeF() * 1.5)
        painter.setFont(font)
        painter.setPen(QColor(colors.text))
        below = QRectF(frame.left(), center.y() + theme.spacing, frame.width(), frame.height() / 2)
        layout = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop | Qt.TextFlag.TextWordWrap
        painter.drawText(below, int(layout), self._sentence)
        painter.end()
