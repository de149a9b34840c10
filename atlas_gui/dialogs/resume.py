"""The question at start when a run was interrupted: go on, look at it, or begin anew. Only asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from atlas_core import format as people
from atlas_core import history
from atlas_core.runs import RunInfo
from atlas_gui import theme
from atlas_gui.widgets.eliding_label import ElidingLabel
from atlas_gui.widgets.sparkline import Sparkline

WIDTH_PX = 560
CURVE_HEIGHT_PX = 112

RESUME, OPEN, FRESH, LATER = "resume", "open", "fresh", "later"


class ResumeDialog(QDialog):
    """Offers the interrupted runs, the latest first. Closing it means "later"; nothing is lost either way.

    Show it with `exec()` and ask `answer()`, or with `open()` and listen to `answered`.
    """

    answered = Signal(str, object)  # "resume", "open", "fresh" or "later", and the RunInfo it is about

    def __init__(self, runs: Sequence[RunInfo], losses: Mapping[Path, Sequence[float]], *,
                 parent: QWidget | None = None) -> None:
        assert runs, "there is nothing to resume"
        super().__init__(parent)
        self._runs, self._losses = list(runs), dict(losses)
        self._action = LATER
        self.setObjectName("resumeDialog")
        self.setWindowTitle("Continue where you left off?")
        self.setMinimumWidth(WIDTH_PX)
        self._build()
        self._lay_out()
        self._on_run_chosen(0)
        self.finished.connect(lambda: self.answered.emit(*self.answer()))

    def answer(self) -> tuple[str, RunInfo]:
        """What the person decided, and for which run."""
        return self._action, self._run()

    def _run(self) -> RunInfo:
        return self._runs[max(0, self.run_combo.currentIndex())]

    def _build(self) -> None:
        self.run_combo = QComboBox()
        self.run_combo.setObjectName("resumeRunCombo")
        self.run_combo.setAccessibleName("Interrupted run")
        for run in self._runs:
            self.run_combo.addItem(f"{run.name} · {people.ago(run.updated_at)}")
        self.run_combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.run_combo.setVisible(len(self._runs) > 1)
        self.run_combo.currentIndexChanged.connect(self._on_run_chosen)
        self._name = ElidingLabel()
        self._name.setProperty("role", "title")
        self._explanation = _label("muted")
        self._explanation.setWordWrap(True)
        self._sparkline = Sparkline()
        self._sparkline.setFixedHeight(CURVE_HEIGHT_PX)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(theme.spacing)
        self._bar.setAccessibleName("Share of the steps already taken")
        self._facts = {what: _fact() for what in ("step", "loss", "best validation", "perplexity")}

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(*[3 * theme.spacing] * 4)
        column.setSpacing(theme.spacing * 3 // 2)
        for widget in (self.run_combo, self._name, self._explanation, self._sparkline, self._bar):
            column.addWidget(widget)
        column.addLayout(self._fact_grid())
        column.addSpacing(theme.spacing)
        column.addLayout(self._buttons())
        self._resume.setFocus()

    def _fact_grid(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setVerticalSpacing(theme.spacing // 2)
        for place, (what, number) in enumerate(self._facts.items()):
            heading = _label("muted")
            heading.setText(what)
            grid.addWidget(heading, 0, place)
            grid.addWidget(number, 1, place)
            grid.setColumnStretch(place, 1)
        return grid

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.addWidget(self._button("Later", LATER, "Decide another time; the run stays as it is (Esc)"))
        row.addStretch(1)
        row.addWidget(self._button("Start fresh", FRESH, "Begin a new run; this one stays as it is"))
        row.addWidget(self._button("Open", OPEN, "Look at it and talk to it without training on"))
        self._resume = self._button("Resume", RESUME, "Train on from the last checkpoint (Enter)")
        self._resume.setProperty("role", "primary")
        self._resume.setIcon(theme.icon("play", "on_accent"))
        self._resume.setDefault(True)
        row.addWidget(self._resume)
        return row

    def _button(self, text: str, action: str, help: str) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(f"{action}Button")
        button.setToolTip(help)
        button.setAccessibleDescription(help)
        button.clicked.connect(lambda: self._decide(action))
        return button

    def _decide(self, action: str) -> None:
        self._action = action
        self.done(QDialog.DialogCode.Rejected if action == LATER else QDialog.DialogCode.Accepted)

    def _on_run_chosen(self, index: int) -> None:
        run = self._runs[index]
        self._name.setText(run.name)
        self._explanation.setText(f"{run.preset}, {people.short_count(run.parameters)} parameters. It stopped "
                                  f"{people.ago(run.updated_at)} and goes on from its last save as if it had not.")
        self._sparkline.set_values(self._losses.get(run.path, ()))
        self._bar.setRange(0, run.max_steps)
        self._bar.setValue(run.step)
        perplexity = None if run.loss is None else history.perplexity(run.loss)
        self._facts["step"].setText(f"{people.count(run.step)} / {people.count(run.max_steps)}")
        self._facts["loss"].setText(people.loss(run.loss))
        self._facts["best validation"].setText(people.loss(run.best_val_loss))
        self._facts["perplexity"].setText(people.perplexity(perplexity))


def _label(role: str) -> QLabel:
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setProperty("role", role)
    return label


def _fact() -> QLabel:
    label = _label("")
    label.setFont(theme.mono_font())
    return label
