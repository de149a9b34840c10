"""The learning-rate range test to watch: loss against rate, and the rate it suggests. Trains nothing itself."""

from __future__ import annotations

import math

import pyqtgraph as pg
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from atlas_core import format as people
from atlas_core.events import RateFound, RatePoint
from atlas_gui import theme
from atlas_gui.widgets.metric_plot import AxisUnit, Curves, MetricPlot, short_number

SIZE_PX = (720, 520)
PLOT_HEIGHT_PX = 280
HEADROOM = 0.15  # of the first loss; how far it explodes beyond that says nothing
RATE = AxisUnit("learning rate", lambda exponent: short_number(10.0**exponent), (1.0,), low=-math.inf)

EXPLANATION = ("A short training on your text whose learning rate rises with every step; nothing of it is kept. While "
               "the loss falls, the rate teaches; where it turns upwards, the rate is too high.")
REASON = "There the loss had done four fifths of its fall, and had not turned yet."


class LearningRateDialog(QDialog):
    """Follows a test that runs while it is open; closing it before the end cancels the test."""

    rate_chosen = Signal(float)
    cancel_requested = Signal()

    def __init__(self, *, low: float, high: float, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._points: list[RatePoint] = []
        self._rate: float | None = None
        self._busy = True
        self.setObjectName("learningRateDialog")
        self.setWindowTitle("Find the learning rate")
        self.resize(*SIZE_PX)
        self._build(low, high)
        self._lay_out()
        self._connect()
        self._paint_mark()

    # ---- what it is told

    def add_point(self, point: RatePoint) -> None:
        self._points.append(point)
        self.progress_bar.setRange(0, point.steps)
        self.progress_bar.setValue(point.step)
        self._say(f"step {people.count(point.step)} of {people.count(point.steps)}, "
                  f"rate {people.learning_rate(point.learning_rate)}")
        self._draw()

    def set_found(self, found: RateFound) -> None:
        """The test is over: mark its suggestion and offer it."""
        self._points, self._rate = list(found.points), found.learning_rate
        self._draw()
        self._mark.setValue(math.log10(found.learning_rate))
        self._mark.show()
        text = people.learning_rate(found.learning_rate)
        self._end(f"Suggested: {text}. {REASON}", role="good")
        self.use_button.setText(f"Use {text}")
        self.use_button.setEnabled(True)
        self.use_button.setFocus()

    def set_failed(self, error: str, remedy: str = "") -> None:
        self._end(f"{error} {remedy}".strip(), role="bad")

    # ---- how it is made

    def _build(self, low: float, high: float) -> None:
        self._explanation = QLabel(EXPLANATION)
        self._explanation.setWordWrap(True)
        theme.set_role(self._explanation, "muted")
        self.plot = MetricPlot("Loss against learning rate", people.loss)
        self.plot.setObjectName("learningRatePlot")
        self.plot.setMinimumHeight(PLOT_HEIGHT_PX)
        self.plot.set_x_unit(RATE)
        self.plot.plot_item.setXRange(math.log10(low), math.log10(high), padding=0.02)  # the whole test from the start
        self._mark = pg.InfiniteLine(angle=90)
        self._mark.hide()
        self.plot.plot_item.addItem(self._mark, ignoreBounds=True)
        self.plot.set_hint("Warming up: loading PyTorch and the model …")
        self.plot.set_curves(Curves())
        self.progress_bar = QProgressBar()
        self.progress_bar.setRange(0, 0)
        self.progress_bar.setTextVisible(False)
        self.progress_bar.setFixedHeight(theme.spacing)
        self.progress_bar.setAccessibleName("Progress of the test")
        self.status_label = QLabel()
        self.status_label.setObjectName("learningRateStatus")
        self.status_label.setTextFormat(Qt.TextFormat.PlainText)
        self.status_label.setWordWrap(True)
        self.status_label.setMinimumHeight(2 * self.status_label.fontMetrics().lineSpacing())
        self.status_label.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.use_button = QPushButton("Use this rate")
        self.use_button.setObjectName("useRateButton")
        self.use_button.setToolTip("Put it into the settings as the highest learning rate of the run")
        self.use_button.setEnabled(False)
        self.use_button.setDefault(True)
        theme.set_role(self.use_button, "primary")
        self.close_button = QPushButton("Cancel")
        self.close_button.setObjectName("closeRateButton")
        self.close_button.setAutoDefault(False)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.close_button)
        buttons.addWidget(self.use_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(*[3 * theme.spacing] * 4)
        column.setSpacing(theme.spacing * 3 // 2)
        column.addWidget(self._explanation)
        column.addWidget(self.plot, 1)
        column.addWidget(self.progress_bar)
        column.addWidget(self.status_label)
        column.addLayout(buttons)

    def _connect(self) -> None:
        self.use_button.clicked.connect(self.accept)
        self.close_button.clicked.connect(self.reject)
        theme.notifier.changed.connect(self._paint_mark)

    def _draw(self) -> None:
        points = self._points
        smoothed = [point.smoothed for point in points]
        self.plot.set_curves(Curves([math.log10(point.learning_rate) for point in points],
                                    [point.loss for point in points], smoothed))
        first, lowest = smoothed[0], min(smoothed)
        self.plot.plot_item.setYRange(lowest - HEADROOM * (first - lowest), (1 + HEADROOM) * first, padding=0)

    def _paint_mark(self) -> None:
        self._mark.setPen(pg.mkPen(theme.colors().validation, width=2, style=Qt.PenStyle.DashLine))

    def _end(self, text: str, *, role: str) -> None:
        self._busy = False
        self.progress_bar.setRange(0, 1)  # full: hidden, it would move the plot
        self.progress_bar.setValue(1)
        self.plot.set_hint("")
        self.close_button.setText("Close")
        self._say(text, role=role)

    def _say(self, text: str, *, role: str = "muted") -> None:
        theme.set_role(self.status_label, role)
        self.status_label.setText(text)

    # ---- what the person does

    def accept(self) -> None:
        assert self._rate is not None  # the button is enabled with it
        self.rate_chosen.emit(self._rate)
        super().accept()

    def reject(self) -> None:
        if self._busy:
            self._busy = False
            self.cancel_requested.emit()
        super().reject()
