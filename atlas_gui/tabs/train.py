"""The Train tab: the run's curves, the texts it wrote on the way, and its log.

Looks at a history and draws it at display rate; starting, pausing and saving belong to the window.
"""

from __future__ import annotations

import html
from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QImage, QShowEvent, QTextCursor
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSlider,
    QSplitter,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from atlas_core import format
from atlas_core.events import Event, RolledBack, SampleDrawn
from atlas_core.history import History
from atlas_gui import theme
from atlas_gui.widgets.growing_column import Array, GrowingColumn
from atlas_gui.widgets.metric_plot import STEPS, TIME, TOKENS, AxisUnit, Curves, MetricPlot

REDRAW_MS = 200  # five pictures a second; with 15, drawing on two cores took half the speed of a small network
LOG_LINES = 2000
SAMPLES_KEPT = 200
SMOOTHING_TICKS = 100  # of the slider; see `smoothing_amount`
DEFAULT_SMOOTHING = 30
NO_CURVE = "Press Train: the curve grows here, step by step."
FIRST_STEPS = "The first steps are being made ready. From the second on there is a curve."
NO_SAMPLES = "Every few hundred steps the model writes a few lines. From noise to words: watch it learn here."


def smoothing_amount(tick: int) -> float:
    """The slider's place as an averaging amount: 0 is off, then finer and finer up to 0.999."""
    return 1.0 - 10.0 ** (-3.0 * tick / SMOOTHING_TICKS)


class TrainTab(QWidget):
    """Curves on the left, what the model wrote and what happened on the right."""

    sample_now_requested = Signal()
    save_now_requested = Signal()
    image_export_requested = Signal(QImage)
    numbers_export_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._history = History()
        self._changed = False
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._unit = STEPS
        self._new_columns()
        self._build()
        self._connect()
        self.set_live(False)
        self.set_waiting(False)
        self._show_samples()
        self._redraw()

    # ---- what the window tells -----------------------------------------------------------------

    def set_history(self, history: History) -> None:
        """Show this run from now on. The history is shared: whoever owns it lets it grow and calls `append`."""
        self._history = history
        self._new_columns()
        for plot in self._plots:
            plot.set_follow(True)
        self._follow.setChecked(True)
        self._changed = True

    def append(self, event: Event) -> None:
        """The history has grown by `event`; the curves follow with the next picture."""
        if isinstance(event, SampleDrawn):
            self.add_sample(event)
        elif isinstance(event, RolledBack):
            self._new_columns()  # the history has become shorter, and may be as long as before when it is drawn
            self._samples[:] = [sample for sample in self._samples if sample.step <= event.to_step]
            self._show_samples()
        self._changed = True

    def set_samples(self, samples: Sequence[SampleDrawn]) -> None:
        """Show these texts, of which the last is the newest."""
        self._samples[:] = samples[:-SAMPLES_KEPT - 1:-1]
        self._show_samples()

    def add_sample(self, sample: SampleDrawn) -> None:
        """Put a text on top of the others."""
        self._samples.insert(0, sample)
        del self._samples[SAMPLES_KEPT:]
        self._show_samples()

    @property
    def samples(self) -> tuple[SampleDrawn, ...]:
        """The texts in sight, the newest first."""
        return tuple(self._samples)

    @property
    def samples_text(self) -> str:
        """All of them as they can be read."""
        return self._samples_view.toPlainText()

    def set_log(self, lines: Iterable[str]) -> None:
        """Show what was noted before now."""
        self._log.clear()
        self._log.extend(lines)
        self._on_filter_changed()

    def add_log(self, line: str) -> None:
        self._log.append(line)
        if self._passes_filter(line):
            self._log_view.appendPlainText(line)

    def clear(self) -> None:
        """Forget the run: no curves, no texts, no log."""
        self._samples.clear()
        self._log.clear()
        self._show_samples()
        self._log_view.clear()
        self.set_history(History())

    def set_live(self, live: bool) -> None:
        """Whether there is a run in progress that could save or write a sample now."""
        self._save_now.setEnabled(live)
        self._sample_now.setEnabled(live)

    def set_waiting(self, waiting: bool) -> None:
        """Whether a run has been asked for: what an empty plot says."""
        self._loss.set_hint(FIRST_STEPS if waiting else NO_CURVE)

    # ---- building ------------------------------------------------------------------------------

    def _build(self) -> None:
        self._loss = MetricPlot("Loss", format.loss)
        self._loss.setObjectName("lossPlot")
        self._perplexity = MetricPlot("Perplexity", format.perplexity, compact=True)
        self._perplexity.setObjectName("perplexityPlot")
        self._rate = MetricPlot("Learning rate", format.learning_rate, compact=True)
        self._speed = MetricPlot("Tokens/s", format.count, compact=True)
        self._gradient = MetricPlot("Gradient", lambda norm: f"{norm:.2f}", compact=True)
        self._perplexity.set_log_scale(True)  # from thousands to tens: a linear scale shows only the first steps
        self._perplexity.setToolTip("How many tokens the model hesitates between: e to the loss. On a log scale.")
        self._gradient.setToolTip("Length of the gradient before it is clipped; spikes announce trouble.")
        self._small = (self._perplexity, self._rate, self._speed, self._gradient)
        self._plots = (self._loss, *self._small)

        row = QHBoxLayout()
        row.setSpacing(theme.spacing)
        for plot in self._small:
            plot.link_x(self._loss)
            row.addWidget(plot, 1)
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.spacing)
        column.addWidget(self._loss, 3)
        column.addLayout(row, 1)
        column.addLayout(self._build_controls())

        side = QSplitter(Qt.Orientation.Vertical)
        side.addWidget(self._build_samples())
        side.addWidget(self._build_log())
        side.setSizes([300, 220])
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.addWidget(left)
        splitter.addWidget(side)
        splitter.setStretchFactor(0, 1)
        splitter.setSizes([760, 300])
        splitter.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.spacing, theme.spacing, theme.spacing, theme.spacing)
        layout.addWidget(splitter)

    def _build_controls(self) -> QHBoxLayout:
        self._smoothing = QSlider(Qt.Orientation.Horizontal)
        self._smoothing.setObjectName("smoothingSlider")
        self._smoothing.setAccessibleName("Smoothing")
        self._smoothing.setToolTip("How much of the past the strong line averages. The faint line is never smoothed.")
        self._smoothing.setRange(0, SMOOTHING_TICKS)
        self._smoothing.setValue(DEFAULT_SMOOTHING)
        self._smoothing.setMaximumWidth(160)
        self._log_scale = QCheckBox("Log scale")
        self._log_scale.setObjectName("logScaleCheck")
        self._log_scale.setToolTip("Equal ratios become equal distances: late progress stays visible.")
        self._x_choice = QComboBox()
        self._x_choice.setObjectName("xAxisCombo")
        self._x_choice.setAccessibleName("Horizontal axis")
        for unit in (STEPS, TIME, TOKENS):
            self._x_choice.addItem(f"by {unit.name}", unit)
        self._x_choice.setToolTip("What the curves are drawn over.")
        self._follow = QCheckBox("Follow")
        self._follow.setObjectName("followCheck")
        self._follow.setChecked(True)
        self._follow.setToolTip("Keep the whole run in view. Dragging or the wheel lets go; this takes it back.")
        self._image = _small_button("image-outline", "Save the loss curve as a picture", "exportImageButton")
        self._numbers = _small_button("table-arrow-down", "Save the numbers of this run as CSV", "exportNumbersButton")
        self._save_now = QPushButton(theme.icon("content-save-outline"), "Save now")
        self._save_now.setObjectName("saveNowButton")
        self._save_now.setToolTip("Write a checkpoint after the step at hand (Ctrl+S)")

        row = QHBoxLayout()
        row.setSpacing(theme.spacing)
        row.addWidget(QLabel("Smoothing"))
        for widget in (self._smoothing, self._log_scale, self._x_choice, self._follow):
            row.addWidget(widget)
        row.addStretch()
        for button in (self._image, self._numbers, self._save_now):
            row.addWidget(button)
        return row

    def _build_samples(self) -> QWidget:
        self._samples: list[SampleDrawn] = []
        self._sample_now = QPushButton(theme.icon("auto-fix"), "Sample now")
        self._sample_now.setObjectName("sampleNowButton")
        self._sample_now.setToolTip("Let the model write a few lines after the step at hand")
        self._samples_view = QTextBrowser()
        self._samples_view.setObjectName("samplesView")
        self._samples_view.setAccessibleName("Texts written during training")
        self._samples_view.setFrameShape(QFrame.Shape.NoFrame)
        self._samples_view.setProperty("role", "plain")
        return _card("Samples", self._sample_now, self._samples_view)

    def _build_log(self) -> QWidget:
        self._filter = QLineEdit()
        self._filter.setObjectName("logFilterEdit")
        self._filter.setAccessibleName("Filter the log")
        self._filter.setPlaceholderText("filter")
        self._filter.setClearButtonEnabled(True)
        self._filter.setMaximumWidth(140)
        self._log_view = QPlainTextEdit()
        self._log_view.setObjectName("logView")
        self._log_view.setAccessibleName("Log")
        self._log_view.setReadOnly(True)
        self._log_view.setFrameShape(QFrame.Shape.NoFrame)
        self._log_view.setProperty("role", "plain")
        self._log_view.setMaximumBlockCount(LOG_LINES)
        self._log_view.setFont(theme.mono_font(points=max(7.0, self.font().pointSizeF() - 1)))
        self._log_view.setPlaceholderText("What happens during training is noted here, and in the run's training.log.")
        return _card("Log", self._filter, self._log_view)

    def _connect(self) -> None:
        self._timer = QTimer(self)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self._redraw_if_seen)
        self._smoothing.valueChanged.connect(self._on_smoothing_changed)
        self._log_scale.toggled.connect(self._loss.set_log_scale)
        self._x_choice.currentIndexChanged.connect(self._on_x_chosen)
        self._follow.toggled.connect(self._on_follow_toggled)
        for plot in self._plots:
            plot.follow_changed.connect(self._follow.setChecked)
        self._image.clicked.connect(self._on_image_wished)
        self._numbers.clicked.connect(self.numbers_export_requested)
        self._save_now.clicked.connect(self.save_now_requested)
        self._sample_now.clicked.connect(self.sample_now_requested)
        self._filter.textChanged.connect(self._on_filter_changed)
        self._log_bottom = 0  # where its scroll bar ended so far
        self._log_view.verticalScrollBar().rangeChanged.connect(self._on_log_grown)
        theme.notifier.changed.connect(self._show_samples)

    # ---- drawing -------------------------------------------------------------------------------

    def _new_columns(self) -> None:
        self._columns = {name: GrowingColumn() for name in _COLUMNS}
        self._smooth_losses = GrowingColumn(smoothing_amount(self._amount_tick()))
        self._smooth_speeds = GrowingColumn(0.8)

    def _amount_tick(self) -> int:
        return self._smoothing.value() if hasattr(self, "_smoothing") else DEFAULT_SMOOTHING

    def _redraw_if_seen(self) -> None:
        if self._changed and self.isVisible():
            self._redraw()

    def _redraw(self) -> None:
        self._changed = False
        history = self._history
        column = {name: self._columns[name].follow(getattr(history, name)) for name in _COLUMNS}
        x = column[_COLUMN_OF[self._unit]]
        marks = {"checkpoints_x": self._places(history.checkpoint_steps, column["steps"], x),
                 "resumed_x": self._places(history.resumed_steps, column["steps"], x),
                 "skipped_x": self._places(history.skipped_steps, column["steps"], x),
                 "rolled_back_x": self._places(history.rolled_back_steps, column["steps"], x)}
        val_x = self._places(history.eval_steps, column["steps"], x)
        smooth = self._smooth_losses.follow(history.losses)
        self._loss.set_curves(Curves(x, column["losses"], smooth, val_x, column["val_losses"], **marks,
                                     note=self._best()))
        # The exponential of the smoothed loss: the same curve in another unit, so both plots agree.
        self._perplexity.set_curves(Curves(x, column["perplexities"], np.exp(np.minimum(smooth, 700.0)),
                                           val_x, column["val_perplexities"]))
        self._rate.set_curves(Curves(x, smoothed=column["learning_rates"]))
        self._speed.set_curves(Curves(x, column["tokens_per_s"], self._smooth_speeds.follow(history.tokens_per_s)))
        self._gradient.set_curves(Curves(x, smoothed=column["grad_norms"]))
        for button in (self._image, self._numbers):
            button.setEnabled(bool(len(x)))

    def _places(self, at_steps: list[int], steps: Array, x: Array) -> Array:
        """Where on the horizontal axis these steps lie."""
        if self._unit is STEPS or not len(steps):
            return np.asarray(at_steps, dtype=float)
        return np.asarray(np.interp(at_steps, steps, x))

    def _best(self) -> str:
        best = self._history.best
        return f"best {format.loss(best[1])} @ {format.count(best[0])}" if best else ""

    def _show_samples(self) -> None:
        muted = theme.colors().muted
        blocks = []
        for sample in self._samples:
            prompt = f"<b>{_as_html(sample.prompt)}</b>" if sample.prompt else ""
            where = f"step {format.count(sample.step)} · seed {sample.seed}"
            blocks.append(f'<p><span style="color:{muted}">{where}</span><br>{prompt}{_as_html(sample.text)}</p>')
        hint = f'<p style="color:{muted}">{NO_SAMPLES}</p>'
        self._samples_view.setHtml("".join(blocks) or hint)
        self._samples_view.moveCursor(QTextCursor.MoveOperation.Start)

    # ---- wishes of the person ------------------------------------------------------------------

    def _on_smoothing_changed(self, tick: int) -> None:
        self._smooth_losses = GrowingColumn(smoothing_amount(tick))
        self._changed = True

    def _on_x_chosen(self, index: int) -> None:
        unit: AxisUnit = self._x_choice.itemData(index)
        self._unit = unit
        self._follow.setChecked(True)  # the place that was looked at has other numbers now
        for plot in self._plots:
            plot.set_x_unit(unit)
        self._redraw()

    def _on_follow_toggled(self, on: bool) -> None:
        for plot in self._plots:
            plot.set_follow(on)

    def _on_image_wished(self) -> None:
        self.image_export_requested.emit(self._loss.image())

    def _on_log_grown(self, _top: int, bottom: int) -> None:
        """Follow the end unless the person reads further up. Qt alone loses it: lines are wrapped only when drawn."""
        bar = self._log_view.verticalScrollBar()
        if bar.value() >= self._log_bottom:
            bar.setValue(bottom)
        self._log_bottom = bottom

    def _on_filter_changed(self) -> None:
        self._log_view.setPlainText("\n".join(filter(self._passes_filter, self._log)))
        self._log_view.moveCursor(QTextCursor.MoveOperation.End)

    def _passes_filter(self, line: str) -> bool:
        return self._filter.text().strip().lower() in line.lower()

    def showEvent(self, event: QShowEvent) -> None:
        self._timer.start()
        super().showEvent(event)

    def hideEvent(self, event: QHideEvent) -> None:
        self._timer.stop()
        super().hideEvent(event)


_COLUMNS = ("steps", "losses", "perplexities", "learning_rates", "tokens_per_s", "grad_norms", "seconds",
            "tokens_seen", "val_losses", "val_perplexities")
_COLUMN_OF = {STEPS: "steps", TIME: "seconds", TOKENS: "tokens_seen"}


def _as_html(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def _small_button(icon: str, tooltip: str, name: str) -> QPushButton:
    button = QPushButton(theme.icon(icon), "")
    button.setProperty("role", "flat")
    button.setObjectName(name)
    button.setToolTip(tooltip)
    button.setAccessibleName(tooltip)
    return button


def _card(title: str, corner: QWidget, content: QWidget) -> QFrame:
    """A panel with a title, something in its corner, and its content below."""
    card = QFrame()
    card.setProperty("role", "card")
    label = QLabel(title)
    label.setProperty("role", "title")
    header = QHBoxLayout()
    header.addWidget(label)
    header.addStretch()
    header.addWidget(corner)
    layout = QVBoxLayout(card)
    layout.setContentsMargins(theme.spacing, theme.spacing, theme.spacing, theme.spacing)
    layout.setSpacing(theme.spacing // 2)
    layout.addLayout(header)
    layout.addWidget(content)
    return card
