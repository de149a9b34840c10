"""One quantity over a run: faint raw values, a smoothed line, validation points, marks of events.

It shows the columns it is given and draws when told to; when to draw, and from what, its owner decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QColor, QFont, QImage, QPen
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout

from atlas_core import format
from atlas_gui import theme

Column = Sequence[float] | NDArray[np.float64]
Formatter = Callable[[float], str]

AXIS_WIDTH = 46  # fixed, so that the curve does not move when a number grows a digit
FAINT = 70  # opacity of 255 for the unsmoothed values


@dataclass(frozen=True)
class Curves:
    """What a plot shows. Each `*_x` is as long as its values; `smoothed` belongs to `x` too."""

    x: Column = ()
    raw: Column = ()
    smoothed: Column = ()
    val_x: Column = ()
    val: Column = ()
    checkpoints_x: Column = ()
    resumed_x: Column = ()
    skipped_x: Column = ()
    rolled_back_x: Column = ()
    note: str = ""  # stands behind the values: "best 2.398 @ 1 200"


@dataclass(frozen=True)
class AxisUnit:
    """What the horizontal axis counts, and how its numbers are written."""

    name: str
    text: Formatter
    distances: tuple[float, ...] = ()  # between ticks, where powers of ten read badly
    low: float = 0.0  # below this nothing exists, though the view may reach there

    def ticks(self, low: float, high: float, most: int) -> tuple[float, list[float]]:
        """Their distance and their places; none between two whole numbers."""
        distance = next((d for d in self.distances if (high - low) / d <= most), None)
        if distance is None and high - low < most:
            distance = 1.0
        return round_ticks(low, high, most, distance=distance)


STEPS = AxisUnit("step", format.count)
TIME = AxisUnit("time", format.duration, (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400,
                                          28800, 86400, 2 * 86400, 7 * 86400))
TOKENS = AxisUnit("tokens", format.short_count)


class MetricPlot(QFrame):
    """A titled plot with its newest values as a line of text above it.

    A `compact` one is small, has no horizontal axis, and its text is one number. `follow_changed(False)` tells
    that a person took the view in hand.
    """

    follow_changed = Signal(bool)

    def __init__(self, title: str, value_text: Formatter, *, compact: bool = False) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName(f"{title} plot")
        self._value_text = value_text
        self._compact = compact
        self._curves = Curves()
        self._follow = True
        self._leader: MetricPlot | None = None
        self._hovered_x: float | None = None
        self._build(title)
        self._connect()
        self._paint_colors()

    # ---- what the owner asks -------------------------------------------------------------------

    def set_curves(self, curves: Curves) -> None:
        """Draw these values. Values that are not numbers leave no point."""
        self._curves = curves
        self._raw.setData(*_finite(curves.x, curves.raw))
        self._smoothed.setData(*_finite(curves.x, curves.smoothed))
        self._val.setData(*_finite(curves.val_x, curves.val))
        self._checkpoints.setXVals(list(curves.checkpoints_x))
        self._resumed.setXVals(list(curves.resumed_x))
        self._skipped.setXVals(list(curves.skipped_x))
        self._rolled_back.setXVals(list(curves.rolled_back_x))
        empty = not len(curves.x) and not len(curves.val_x)
        self._hint.setVisible(empty)
        self._y_axis.setStyle(showValues=not empty)
        self._x_axis.setStyle(showValues=not empty and not self._compact)
        self._show_values()

    def set_hint(self, text: str) -> None:
        """What an empty plot says."""
        self._hint.setText(text)

    def set_x_unit(self, unit: AxisUnit) -> None:
        self._x_axis.set_unit(unit)

    def set_log_scale(self, on: bool) -> None:
        self.plot_item.setLogMode(y=on)

    def set_follow(self, on: bool) -> None:
        """Keep the whole run in view, or leave the view to the person."""
        self._follow = on
        self.plot_item.enableAutoRange(x=on and self._leader is None, y=on)

    def link_x(self, other: MetricPlot) -> None:
        """Show the same horizontal range as another plot."""
        # pyqtgraph's own link lines views up by their places on the screen, which shifts plots side by side.
        self._leader = other
        other.plot_item.getViewBox().sigXRangeChanged.connect(self._on_leader_moved)
        self.set_follow(self._follow)

    def image(self) -> QImage:
        """The plot as it is on the screen."""
        return self.grab().toImage()

    @property
    def legend(self) -> str:
        """The line of values, without its colours."""
        return self._legend.accessibleName()

    @property
    def curves(self) -> Curves:
        return self._curves

    @property
    def drawn_raw(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The points of the faint line: those of `curves.raw` that are numbers."""
        return self._raw.xData, self._raw.yData

    @property
    def hint(self) -> str:
        """What the empty plot says; nothing once there is a curve."""
        return "" if self._hint.isHidden() else self._hint.text()

    # ---- building ------------------------------------------------------------------------------

    def _build(self, title: str) -> None:
        self._title = QLabel(title)
        self._title.setProperty("role", "title")
        self._legend = QLabel()
        self._legend.setFont(theme.mono_font())
        self._legend.setTextFormat(Qt.TextFormat.RichText)
        header = QHBoxLayout()
        header.addWidget(self._title)
        header.addStretch()
        header.addWidget(self._legend)

        self._x_axis = _UnitAxis("bottom", STEPS)
        self._y_axis = _ValueAxis("left", self._value_text)
        self._view = pg.PlotWidget(axisItems={"bottom": self._x_axis, "left": self._y_axis}, background=None)
        self.plot_item = self._view.getPlotItem()
        self._build_plot_item()
        self._hint = QLabel("", self._view)
        self._hint.setProperty("role", "muted")
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._hint.setWordWrap(True)
        self._hint.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        QVBoxLayout(self._view).addWidget(self._hint)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.spacing, theme.spacing, theme.spacing, theme.spacing // 2)
        layout.setSpacing(theme.spacing // 2)
        layout.addLayout(header)
        layout.addWidget(self._view, 1)

    def _build_plot_item(self) -> None:
        item = self.plot_item
        item.setMenuEnabled(False)
        item.hideButtons()
        item.setDownsampling(auto=True, mode="peak")  # 1 M points cost 10 ms instead of 36, and no spike is lost
        item.setClipToView(True)
        self._raw = item.plot()
        self._smoothed = item.plot()
        self._val = item.plot(symbol="o", symbolSize=5)
        self._checkpoints = pg.VTickGroup(yrange=[0.0, 0.03])
        self._resumed = pg.VTickGroup(yrange=[0.0, 1.0])
        self._skipped = pg.VTickGroup(yrange=[0.94, 1.0])
        self._rolled_back = pg.VTickGroup(yrange=[0.0, 1.0])
        for marks in (self._checkpoints, self._resumed, self._skipped, self._rolled_back):
            item.addItem(marks, ignoreBounds=True)
        self._y_axis.setWidth(AXIS_WIDTH)
        if self._compact:
            self._x_axis.setStyle(tickLength=0)
            self._x_axis.setHeight(theme.spacing)
            self._y_axis.tick_count = 3

    def _connect(self) -> None:
        theme.notifier.changed.connect(self._paint_colors)
        self.plot_item.getViewBox().sigRangeChangedManually.connect(self._on_moved_by_hand)
        if not self._compact:
            self._view.scene().sigMouseMoved.connect(self._on_mouse_moved)

    def _paint_colors(self) -> None:
        colors = theme.colors()
        train, faint = QColor(colors.train), QColor(colors.train)
        faint.setAlpha(FAINT)
        self._raw.setPen(pg.mkPen(faint, width=1))
        # Software rendering draws lines wider than one pixel many times slower; two is still quick enough.
        self._smoothed.setPen(pg.mkPen(train, width=1 if self._compact else 2))
        self._val.setPen(pg.mkPen(colors.validation, width=1.5, style=Qt.PenStyle.DashLine))
        self._val.setSymbolBrush(colors.validation)
        self._val.setSymbolPen(None)
        self._checkpoints.setPen(_flat_pen(colors.good, 2))
        self._resumed.setPen(_flat_pen(colors.muted, 1, Qt.PenStyle.DotLine))
        self._skipped.setPen(_flat_pen(colors.bad, 2))
        self._rolled_back.setPen(_flat_pen(colors.bad, 1, Qt.PenStyle.DashLine))
        font = QFont(self.font())
        font.setPointSizeF(max(7.0, font.pointSizeF() - 2))
        for axis in (self._x_axis, self._y_axis):
            axis.setPen(colors.border)
            axis.setTextPen(colors.muted)
            axis.setTickFont(font)
        self.plot_item.showGrid(x=not self._compact, y=True, alpha=0.25)
        self._view.setBackground(colors.panel)
        self._show_values()

    # ---- the line of values --------------------------------------------------------------------

    def _show_values(self) -> None:
        """The values under the mouse, else the newest, each in its colour."""
        colors, curves = theme.colors(), self._curves
        index = self._shown_index()
        parts: list[tuple[str, str]] = []
        if self._hovered_x is not None and 0 <= index < len(curves.x):
            parts.append((self._x_axis.unit.text(float(curves.x[index])), colors.muted))
        line = curves.smoothed if len(curves.smoothed) else curves.raw
        if 0 <= index < len(line):
            name = "train " if len(curves.val) and not self._compact else ""
            parts.append((name + self._value_text(float(line[index])), colors.train))
        if len(curves.val) and not self._compact:
            parts.append(("val " + self._value_text(self._val_near(index)), colors.validation))
        if curves.note:
            parts.append((curves.note, colors.muted))
        self._legend.setAccessibleName("   ".join(text for text, _ in parts))
        colored = (f'<span style="color:{color}">{text}</span>' for text, color in parts)
        self._legend.setText("&nbsp;&nbsp;&nbsp;".join(colored))

    def _shown_index(self) -> int:
        x = self._curves.x
        if self._hovered_x is None or not len(x):
            return len(x) - 1
        return min(int(np.searchsorted(np.asarray(x), self._hovered_x)), len(x) - 1)

    def _val_near(self, index: int) -> float:
        """The last validation at or before a training step; the first of all if none was before."""
        curves = self._curves
        if not 0 <= index < len(curves.x) - 1:
            return float(curves.val[-1])
        before = int(np.searchsorted(np.asarray(curves.val_x), curves.x[index], side="right"))
        return float(curves.val[max(0, before - 1)])

    def _on_mouse_moved(self, place: QPointF) -> None:
        view = self.plot_item.getViewBox()
        inside = view.sceneBoundingRect().contains(place)
        self._hovered_x = view.mapSceneToView(place).x() if inside else None
        self._show_values()

    def _on_leader_moved(self, _view: object, span: tuple[float, float]) -> None:
        self.plot_item.setXRange(*span, padding=0)

    def _on_moved_by_hand(self) -> None:
        if self._follow:
            self._follow = False
            self.follow_changed.emit(False)

    def leaveEvent(self, event: QEvent) -> None:
        self._hovered_x = None
        self._show_values()
        super().leaveEvent(event)


class _ValueAxis(pg.AxisItem):
    """A vertical axis that writes numbers for people and keeps its width."""

    def __init__(self, side: str, text: Formatter) -> None:
        super().__init__(side)
        self._text = text
        self.tick_count = 6
        self.enableAutoSIPrefix(False)

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
        most = min(self.tick_count, int(size // 24))
        return [log_ticks(low, high, most) if self.logMode else round_ticks(low, high, most)]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:  # noqa: ARG002
        numbers = [10.0**value for value in values] if self.logMode else values
        return [short_number(value) for value in numbers]


class _UnitAxis(pg.AxisItem):
    """A horizontal axis in steps, time or tokens."""

    def __init__(self, side: str, unit: AxisUnit) -> None:
        super().__init__(side)
        self.unit = unit
        self.enableAutoSIPrefix(False)

    def set_unit(self, unit: AxisUnit) -> None:
        self.unit = unit
        self.picture = None  # pyqtgraph's drawn axis; without it the ticks are written anew
        self.update()

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
        return [self.unit.ticks(low, high, max(2, int(size // 90)))]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:  # noqa: ARG002
        return [self.unit.text(value) if value >= self.unit.low else "" for value in values]


def round_ticks(low: float, high: float, most: int, *, distance: float | None = None) -> tuple[float, list[float]]:
    """Their distance, and about `most` places between `low` and `high`: 1, 2 or 5 times a power of ten."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return 1.0, []
    if distance is None:
        rough = span / max(1, most)
        power = 10.0 ** math.floor(math.log10(rough))
        distance = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    return distance, [number * distance for number in range(math.ceil(low / distance), math.floor(high / distance) + 1)]


def log_ticks(low: float, high: float, most: int) -> tuple[float, list[float]]:
    """The same on a logarithmic scale, where `low` and `high` are powers of ten."""
    if not math.isfinite(high - low):
        return 1.0, []
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        logs = [math.log10(factor) for factor in factors]
        places = [decade + log for decade in range(math.floor(low), math.ceil(high)) for log in logs]
        seen = [place for place in places if low <= place <= high]
        if len(seen) <= most:
            break
    return 1.0, seen[:: math.ceil(len(seen) / max(1, most)) or 1]


def short_number(value: float) -> str:
    """A tick's number in at most six characters: 0, 2.5, 120, 14 k, 6e-4."""
    if value == 0:
        return "0"
    if abs(value) >= 10000:
        return format.short_count(value).replace(".0", "")
    if abs(value) < 0.01:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.4g}"


def _finite(x: Column, y: Column) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Only the points that can be drawn."""
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if not len(ys):
        return np.empty(0), np.empty(0)
    good = np.isfinite(ys)
    return (xs, ys) if good.all() else (xs[good], ys[good])


def _flat_pen(color: str, width: float, style: Qt.PenStyle = Qt.PenStyle.SolidLine) -> QPen:
    """A pen whose width is in pixels whatever the scale of the plot."""
    return pg.mkPen(color, width=width, style=style, cosmetic=True)
