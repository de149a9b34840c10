"""A spin box for every number of the configuration, whole or not, however large.

Qt's own end at 32 bits or at fixed decimals; a seed has 63 and a learning rate has an exponent. This one
knows no setting by name.
"""

from __future__ import annotations

import math
import re

from PySide6.QtCore import Signal
from PySide6.QtGui import QValidator, QWheelEvent
from PySide6.QtWidgets import QAbstractSpinBox, QWidget

from atlas_core import format
from atlas_gui import theme


class NumberSpin(QAbstractSpinBox):
    """Holds an `int` (`whole`) or a `float` between `low` and `high`, both included.

    `value_edited` comes with every key that leaves a valid number, since a click on the toolbar's Train
    takes no focus and would otherwise miss the last entry.
    """

    value_edited = Signal(object)

    def __init__(self, low: float, high: float, *, whole: bool, suffix: str = "", step: int = 0,
                 parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._low, self._high, self._whole, self._step = low, high, whole, step
        self._suffix = f" {suffix}" if suffix else ""
        self._value: int | float = self._as_number(low)
        self.lineEdit().setTextMargins(theme.spacing // 2, 0, 0, 0)  # a style sheet's padding does not reach it
        self.lineEdit().textEdited.connect(self._on_text_edited)
        self.editingFinished.connect(self._show)
        self._show()

    def value(self) -> int | float:
        return self._value

    def set_value(self, value: float) -> None:
        """Show `value` without telling anyone."""
        if value == self._value:
            return
        self._value = self._as_number(min(max(value, self._low), self._high))
        self._show()

    def _as_number(self, value: float) -> int | float:
        return int(value) if self._whole else float(value)

    def _show(self) -> None:
        text = with_gaps(self._value) + self._suffix
        if self.lineEdit().text() != text:
            self.lineEdit().setText(text)
            self.lineEdit().setCursorPosition(len(text) - len(self._suffix))

    def _on_text_edited(self, text: str) -> None:
        number = self._read(text)
        if number is not None and self._low <= number <= self._high and number != self._value:
            self._value = number
            self.value_edited.emit(number)

    def _read(self, text: str) -> int | float | None:
        """The number in `text`, with or without the unit and the gaps; None if there is none.

        "0,5" is a half, as much of the world writes it; in a whole number a mark before three digits is a gap.
        """
        bare = re.sub(r"[\s_]", "", text.removesuffix(self._suffix.strip()))
        bare = re.sub(r"[,.](?=\d{3}(?!\d))", "", bare) if self._whole else bare.replace(",", ".")
        try:
            number = int(bare) if self._whole and "e" not in bare.lower() else float(bare)
        except ValueError:
            return None
        if not math.isfinite(number) or (self._whole and number != int(number)):
            return None
        return self._as_number(number)

    def stepBy(self, steps: int) -> None:
        number = self._as_number(min(max(self._stepped(steps), self._low), self._high))
        if number != self._value:
            self._value = number
            self._show()
            self.value_edited.emit(number)
        self.selectAll()

    def _stepped(self, steps: int) -> float:
        """The value some steps on, always a multiple of the step: 500 and 510 follow 495."""
        step = max(1, self._step or round(step_size(self._value))) if self._whole else step_size(self._value)
        place = self._value / step
        nearest = math.floor(place + 1e-9) if steps > 0 else math.ceil(place - 1e-9)
        return float(f"{(nearest + steps) * step:.12g}")  # 0.1 + 0.2 is meant to be 0.3

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:
        flags = QAbstractSpinBox.StepEnabledFlag.StepNone
        if self._value > self._low:
            flags |= QAbstractSpinBox.StepEnabledFlag.StepDownEnabled
        if self._value < self._high:
            flags |= QAbstractSpinBox.StepEnabledFlag.StepUpEnabled
        return flags

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Everything may be typed; what is no number in bounds is put back when the field is left."""
        number = self._read(text)
        allowed = number is not None and self._low <= number <= self._high
        return (QValidator.State.Acceptable if allowed else QValidator.State.Intermediate), text, position

    def fixup(self, text: str) -> str:  # noqa: ARG002 - Qt hands over what was typed; the last good number returns
        return with_gaps(self._value) + self._suffix

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Scrolling a form must not change the numbers under the pointer."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


def with_gaps(value: float) -> str:
    """`10000` as "10 000"; fractions at their shortest, small ones with an exponent."""
    if isinstance(value, int):
        return format.count(value)
    return repr(value) if value == 0 or abs(value) >= 1e-4 else f"{value:g}"


def step_size(value: float) -> float:
    """A tenth of the leading digit's place: 1 for 42, 100 for 1 200, 1e-5 for 6e-4."""
    return 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 0.01
