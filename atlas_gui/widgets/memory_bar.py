"""Memory as a bar, split by what it is for, against what the machine has. Adds up nothing but its parts.

The kinds are told apart by colour and, in the large form, by a legend with their sizes.
"""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from atlas_core import format
from atlas_gui import theme

THIN_HEIGHT, THICK_HEIGHT = 8, 20
SWATCH = 10  # pixels, the legend's coloured square


class MemoryBar(QWidget):
    """Shows items in bytes; what goes beyond the machine's memory sticks out over a marked edge."""

    def __init__(self, *, legend: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._legend = legend
        self._items: dict[str, int] = {}
        self._available_bytes = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Memory")
        theme.notifier.changed.connect(self.update)

    def set_memory(self, items: dict[str, int], available_bytes: int) -> None:
        """Show `items` (bytes by kind); `available_bytes` is 0 while the machine is unknown."""
        self._items, self._available_bytes = dict(items), available_bytes
        self.setToolTip("\n".join(f"{kind}: {format.size(part)}" for kind, part in items.items()))
        self.setAccessibleDescription(self.sentence())
        self.updateGeometry()
        self.update()

    @property
    def total_bytes(self) -> int:
        return sum(self._items.values())

    def sentence(self) -> str:
        """The bar in words, for those who cannot see it."""
        whole = f" of {format.size(self._available_bytes)}" if self._available_bytes else ""
        parts = ", ".join(f"{kind} {format.size(part)}" for kind, part in self._items.items())
        return f"{format.size(self.total_bytes)}{whole}: {parts}"

    def _paint_parts(self, painter: QPainter, bar: QRectF) -> None:
        scale = bar.width() / max(self.total_bytes, self._available_bytes, 1)
        outline = QPainterPath()
        outline.addRoundedRect(bar, 4, 4)
        painter.save()
        painter.setClipPath(outline)
        painter.fillRect(bar, QColor(theme.colors().hover))
        left = bar.left()
        for part, color in zip(self._items.values(), theme.SERIES, strict=False):
            painter.fillRect(QRectF(left, bar.top(), part * scale, bar.height()), QColor(color))
            left += part * scale
        painter.restore()
        if 0 < self._available_bytes < self.total_bytes:
            edge = bar.left() + self._available_bytes * scale
            painter.setPen(QPen(QColor(theme.colors().bad), 2))
            painter.drawLine(QPointF(edge, bar.top() - 3), QPointF(edge, bar.bottom() + 3))

    def _paint_legend(self, painter: QPainter) -> None:
        """One entry a kind, in rows of equal columns so that nothing moves when a number changes."""
        metrics = QFontMetrics(self.font())
        column, row = self._cell(metrics)
        columns = self._columns()
        for place, ((kind, part), color) in enumerate(zip(self._items.items(), theme.SERIES, strict=False)):
            left = place % columns * column
            top = THICK_HEIGHT + theme.spacing + place // columns * row
            painter.fillRect(QRectF(left, top + (row - SWATCH) / 2, SWATCH, SWATCH), QColor(color))
            painter.setPen(QColor(theme.colors().muted))
            text = QRectF(left + SWATCH + 6, top, column - SWATCH - 6, row)
            painter.drawText(text, Qt.AlignmentFlag.AlignVCenter, f"{kind} {format.size(part)}")

    def _cell(self, metrics: QFontMetrics) -> tuple[int, int]:
        """Width and height of one entry of the legend."""
        widest = max((metrics.horizontalAdvance(f"{kind} 999.9 MB") for kind in self._items), default=0)
        return SWATCH + 6 + widest + 2 * theme.spacing, metrics.height() + 4

    def _columns(self) -> int:
        fitting = self.width() // max(self._cell(QFontMetrics(self.font()))[0], 1)
        return min(max(fitting, 1), 3)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002 - everything is drawn anew
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        height = THICK_HEIGHT if self._legend else THIN_HEIGHT
        self._paint_parts(painter, QRectF(0, 3, self.width(), height - 6 + (6 if not self._legend else 0)))
        if self._legend:
            self._paint_legend(painter)

    def sizeHint(self) -> QSize:
        if not self._legend:
            return QSize(120, THIN_HEIGHT + 6)
        metrics = QFontMetrics(self.font())
        rows = -(-max(len(self._items), 1) // 3)
        return QSize(360, THICK_HEIGHT + theme.spacing + rows * self._cell(metrics)[1])

    def minimumSizeHint(self) -> QSize:
        return QSize(60, self.sizeHint().height())
