"""The question how many more steps a finished run shall take, and what that does to its learning rate. Only asks."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from atlas_core import config as configuration
from atlas_core import continuity, runs
from atlas_core import format as people
from atlas_core.config import Config
from atlas_core.runs import RunInfo
from atlas_core.schedule import learning_rate
from atlas_gui import theme
from atlas_gui.widgets.number_spin import NumberSpin

WIDTH_PX = 480


class ExtendDialog(QDialog):
    """Offers what is left of a run that ended early, else as many steps as it has taken. Closing it changes nothing."""

    extend_requested = Signal(object)  # the settings to go on with, by their dotted keys

    def __init__(self, info: RunInfo, config: Config, *, parent: QWidget | None = None) -> None:
        assert info.checkpoints, "there is nothing to go on from"
        super().__init__(parent)
        self._info, self._config = info, config
        self._early = runs.out_of_patience(info.checkpoints[-1].stale_validations, config.training)
        self.setObjectName("extendDialog")
        self.setWindowTitle("Train on for more steps?")
        self.setMinimumWidth(WIDTH_PX)
        self._build()
        self._lay_out()
        self._tell()

    def changes(self) -> Mapping[str, object]:
        """What the person has chosen, as settings."""
        steps: dict[str, object] = {"training.max_steps": self._info.step + int(self.steps_spin.value())}
        return {**steps, "training.early_stopping_patience": 0} if self._early else steps

    def _build(self) -> None:
        step, low = self._info.step, 1
        self.steps_spin = NumberSpin(low, configuration.settings()["training.max_steps"].high or step, whole=True,
                                     suffix="more steps", step=max(1, step // 10))
        self.steps_spin.setObjectName("extendStepsSpin")
        self.steps_spin.setAccessibleName("More steps")
        self.steps_spin.set_value(max(self._config.training.max_steps - step, 0) or step)
        self.steps_spin.value_edited.connect(self._tell)
        self.explanation = QLabel()
        self.explanation.setObjectName("extendExplanation")
        self.explanation.setTextFormat(Qt.TextFormat.PlainText)
        self.explanation.setWordWrap(True)
        self.explanation.setProperty("role", "muted")
        self.go_on_button = QPushButton(theme.icon("play", "on_accent"), "Train on")
        self.go_on_button.setObjectName("extendStartButton")
        self.go_on_button.setToolTip("Go on from the last checkpoint (Enter)")
        self.go_on_button.setProperty("role", "primary")
        self.go_on_button.setDefault(True)
        self.go_on_button.clicked.connect(self.accept)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setObjectName("extendCancelButton")
        self.cancel_button.clicked.connect(self.reject)

    def _lay_out(self) -> None:
        name = QLabel(self._info.name)
        name.setTextFormat(Qt.TextFormat.PlainText)
        name.setProperty("role", "title")
        buttons = QHBoxLayout()
        buttons.addWidget(self.cancel_button)
        buttons.addStretch(1)
        buttons.addWidget(self.go_on_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(*[3 * theme.spacing] * 4)
        column.setSpacing(theme.spacing * 3 // 2)
        for widget in (name, self.steps_spin, self.explanation):
            column.addWidget(widget)
        column.addSpacing(theme.spacing)
        column.addLayout(buttons)
        self.steps_spin.setFocus()

    def _tell(self) -> None:
        info, before = self._info, self._config.training
        after = self._config.replace(self.changes()).training
        ended = "ended early" if self._early else "finished"
        told = [f"It {ended} at step {people.count(info.step)}, and will end at step {people.count(after.max_steps)}.",
                continuity.rates(before, after, info.step, factor=self._factor())]
        if self._early:
            told.append("Early stopping is turned off for it.")
        self.explanation.setText(" ".join(filter(None, told)))

    def _factor(self) -> float:
        """What the seat-belt has made of the learning rate: the last step's, over the schedule's."""
        planned = learning_rate(max(0, self._info.step - 1), self._config.training)
        return self._info.checkpoints[-1].learning_rate / planned if planned else 1.0

    def accept(self) -> None:
        self.extend_requested.emit(self.changes())
        super().accept()
