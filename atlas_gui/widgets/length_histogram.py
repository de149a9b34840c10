"""How long the documents are, as bars over a logarithmic axis. Counts nothing; knows no dataset."""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from atlas_core import format
from atlas_core.text.preview import BARS_PER_DOUBLING, Histogram
from atlas_gui import theme


class LengthHistogram(QWidget):
    """Shows lengths in tokens, and where the model's context lies among them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lengths: Histogram | None = None
        self._context = 0
        self.setAccessibleName("Histogram of document lengths")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme.notifier.changed.connect(self.update)

    def set_lengths(self, lengths: Histogram | None) -> None:
        """Show these; None is nothing."""
        self._lengths = lengths
        self._describe()

    def set_context(self, tokens: int) -> None:
        """The model's context; documents longer than it are seen in several windows. 0 hides the mark."""
        self._context = tokens
        self._describe()

    def _describe(self) -> None:
        self.setToolTip(self.sentence())
        self.setAccessibleDescription(self.sentence())
        self.update()

    def sentence(self) -> str:
        if self._lengths is None:
            return ""
        shortest, middle, longest = map(format.count, (
            self._lengths.shortest, self._lengths.middle, self._lengths.longest))
        return f"Documents: shortest {shortest}, half of them up to {middle}, longest {longest} tokens"

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002 - everything is drawn anew
        if self._lengths is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = QFontMetrics(self.font())
        area = QRectF(0, metrics.height() + 4, self.width(), self.height() - 2 * metrics.height() - 10)
        self._paint_bars(painter, area, self._lengths.counts)
        self._paint_labels(painter, area, self._lengths.first, len(self._lengths.counts))

    def _paint_bars(self, painter: QPainter, area: QRectF, counts: tuple[int, ...]) -> None:
        width = area.width() / len(counts)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(theme.colors().train))
        for place, number in enumerate(counts):
            # a bar of one document among thousands is still to be seen
            height = max(2.0, area.height() * number / max(counts)) if number else 0.0
            painter.drawRect(QRectF(area.left() + place * width + 1, area.bottom() - height, max(width - 2, 1), height))
        painter.setPen(QColor(theme.colors().grid))
        painter.drawLine(area.bottomLeft(), area.bottomRight())

    def _paint_labels(self, painter: QPainter, area: QRectF, first: int, bars: int) -> None:
        painter.setPen(QColor(theme.colors().muted))
        painter.drawText(QPointF(0, area.top() - 6), self.sentence())
        below = QRectF(area.left(), area.bottom() + 4, area.width(), self.height() - area.bottom() - 4)
        start, end = 2 ** (first / BARS_PER_DOUBLING), 2 ** ((first + bars) / BARS_PER_DOUBLING)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, format.short_count(start))
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, f"{format.short_count(end)} tokens")
        if not self._context:
            return
        place = (math.log2(self._context) * BARS_PER_DOUBLING - first) / bars
        if 0 <= place <= 1:
            left = area.left() + place * area.width()
            painter.setPen(QPen(QColor(theme.colors().validation), 2, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(left, area.top()), QPointF(left, area.bottom()))
            if 0.15 < place < 0.75:  # elsewhere the ends of the axis have their labels
                label = QRectF(left - 80, below.top(), 160, below.height())
                painter.drawText(label, Qt.AlignmentFlag.AlignHCenter, "context")

    def sizeHint(self) -> QSize:
        return QSize(320, 130)
