"""The last minutes of one reading, as a small filled line between fixed bounds. A run's loss is for `sparkline`."""

from __future__ import annotations

from collections import deque

from PySide6.QtCore import QPointF, QSize
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QWidget

from atlas_gui import theme

POINTS = 120  # two minutes at one reading a second
FILL_OPACITY = 50  # of 255


class Trace(QWidget):
    """Values from `low` to `high`; new ones come in at the right. None adds nothing."""

    def __init__(self, low: float, high: float, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._low, self._high = low, high
        self._values: deque[float] = deque(maxlen=POINTS)
        theme.notifier.changed.connect(self.update)

    def add(self, value: float | None) -> None:
        if value is not None:
            self._values.append(value)
            self.update()

    @property
    def values(self) -> list[float]:
        return list(self._values)

    def sizeHint(self) -> QSize:
        return QSize(120, 4 * theme.spacing)

    def minimumSizeHint(self) -> QSize:
        return QSize(40, 3 * theme.spacing)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002
        if len(self._values) < 2:
            return
        width, height = self.width() - 1, self.height() - 2
        start = POINTS - len(self._values)
        points = [QPointF(width * (start + i) / (POINTS - 1), 1 + height * (1 - self._share(value)))
                  for i, value in enumerate(self._values)]
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line, fill = QColor(theme.colors().train), QColor(theme.colors().train)
        fill.setAlpha(FILL_OPACITY)
        painter.setBrush(fill)
        painter.setPen(QColor(0, 0, 0, 0))
        floor = float(self.height())
        painter.drawPolygon(QPolygonF([QPointF(points[0].x(), floor), *points, QPointF(points[-1].x(), floor)]))
        painter.setPen(QPen(line, 1.2))
        painter.drawPolyline(QPolygonF(points))
        painter.end()

    def _share(self, value: float) -> float:
        return min(1.0, max(0.0, (value - self._low) / (self._high - self._low)))
