"""A loss curve at a glance: one line without axes. Not for reading values off; `metric_plot` is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from PySide6.QtCore import QPointF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from atlas_core import format as people
from atlas_gui import theme

MARGIN = 4  # pixels, so that neither the line nor its last point is cut off


class Sparkline(QWidget):
    """Shows a list of numbers as a line from edge to edge, with a dot at the latest one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: list[float] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setAccessibleName("Loss curve")
        theme.notifier.changed.connect(self.update)

    def set_values(self, values: Sequence[float]) -> None:
        """Show `values` in their order; those that are not finite are left out."""
        self._values = [value for value in values if math.isfinite(value)]
        self.setAccessibleDescription(described(self._values))
        self.setToolTip(described(self._values))
        self.update()

    def values(self) -> list[float]:
        return list(self._values)

    def sizeHint(self) -> QSize:
        return QSize(160, 48)

    def minimumSizeHint(self) -> QSize:
        return QSize(80, 32)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002 - the widget is small and drawn whole
        palette = theme.colors()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        baseline = self.height() - MARGIN
        painter.setPen(QPen(QColor(palette.grid), 1))
        painter.drawLine(MARGIN, baseline, self.width() - MARGIN, baseline)
        if len(self._values) < 2:
            return
        points = self._points()
        painter.setPen(QPen(QColor(palette.train), 1.5, c=Qt.PenCapStyle.RoundCap, j=Qt.PenJoinStyle.RoundJoin))
        painter.drawPolyline(QPolygonF(points))
        painter.setBrush(QColor(palette.train))
        painter.drawEllipse(points[-1], 2, 2)

    def _points(self) -> list[QPointF]:
        """The curve in pixels; never more points than pixels, since more cannot be seen."""
        width, height = self.width() - 2 * MARGIN, self.height() - 2 * MARGIN
        shown = thin(self._values, max(2, width // 2))
        low, high = min(shown), max(shown)
        span = (high - low) or 1.0
        step = width / (len(shown) - 1)
        return [QPointF(MARGIN + i * step, MARGIN + height * (high - value) / span) for i, value in enumerate(shown)]


def thin(values: Sequence[float], limit: int) -> list[float]:
    """At most `limit` values: the means of as many equally long stretches."""
    if len(values) <= limit:
        return list(values)
    edges = [len(values) * i // limit for i in range(limit + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]


def described(values: Sequence[float]) -> str:
    """The curve in words, for the tooltip and for those who cannot see it."""
    if not values:
        return "No loss recorded yet"
    return f"Loss from {people.loss(values[0])} to {people.loss(values[-1])} over {people.count(len(values))} reports"
