"""One number of the configuration as a spin box with a slider under it.

The spin box takes everything the setting allows; the slider spans only what is useful day to day.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractSpinBox, QDoubleSpinBox, QGridLayout, QLabel, QSlider, QSpinBox, QWidget

from atlas_core.config import Setting
from atlas_gui import theme

LARGEST_INT = 2**31 - 1  # what a QSpinBox can hold
NUMBER_WIDTH_PX = 120


@dataclass(frozen=True)
class Span:
    """The useful part of a setting's range, and the step of slider and arrows."""

    low: float
    high: float
    step: float


class SettingSlider(QWidget):
    """Label, number and slider for one setting; the slider stands at its end for a number beyond it."""

    def __init__(self, setting: Setting, label: str, span: Span, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._span = span
        self._whole = setting.type is int
        make = whole_box if self._whole else decimal_box
        self.spin: QSpinBox | QDoubleSpinBox = make(setting, label, step=span.step)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(round(span.low / span.step), round(span.high / span.step))
        self.slider.setPageStep(max(1, self.slider.maximum() // 10))
        self.slider.setAccessibleName(f"{label} slider")
        self.slider.setToolTip(self.spin.toolTip())
        self._lay_out(label)
        self.spin.valueChanged.connect(self._on_number_changed)
        self.slider.valueChanged.connect(self._on_slider_moved)
        self._on_number_changed(self.spin.value())

    def value(self) -> float:
        return self.spin.value()

    def _lay_out(self, label: str) -> None:
        title = QLabel(label)
        title.setBuddy(self.spin)
        title.setToolTip(self.spin.toolTip())
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(theme.spacing // 2)
        grid.addWidget(title, 0, 0)
        grid.addWidget(self.spin, 0, 1)
        grid.addWidget(self.slider, 1, 0, 1, 2)
        grid.setColumnStretch(0, 1)

    def _on_number_changed(self, value: float) -> None:
        self.slider.blockSignals(True)  # a number between two slider steps must stay as it was typed
        self.slider.setValue(round(value / self._span.step))
        self.slider.blockSignals(False)

    def _on_slider_moved(self, position: int) -> None:
        value = position * self._span.step
        if isinstance(self.spin, QSpinBox):
            self.spin.setValue(round(value))
        else:
            self.spin.setValue(value)


def whole_box(setting: Setting, label: str, *, step: float = 1) -> QSpinBox:
    """A spin box for a whole number with the setting's bounds, default and help."""
    low, high = _bounds(setting)
    box = QSpinBox()
    box.setRange(int(low), min(int(high), LARGEST_INT))
    box.setSingleStep(round(step))
    box.setValue(setting.default)
    _describe(box, setting, label)
    return box


def decimal_box(setting: Setting, label: str, *, step: float) -> QDoubleSpinBox:
    """The same for a number with decimals."""
    box = QDoubleSpinBox()
    box.setDecimals(2)
    box.setRange(*_bounds(setting))
    box.setSingleStep(step)
    box.setValue(setting.default)
    _describe(box, setting, label)
    return box


def _bounds(setting: Setting) -> tuple[float, float]:
    assert setting.low is not None and setting.high is not None, f"{setting.key} has no bounds"
    return setting.low, setting.high


def _describe(box: QAbstractSpinBox, setting: Setting, label: str) -> None:
    box.setFixedWidth(NUMBER_WIDTH_PX)
    box.setAlignment(Qt.AlignmentFlag.AlignRight)
    box.setFont(theme.mono_font())
    box.setAccessibleName(label)
    box.setAccessibleDescription(setting.help)
    box.setToolTip(f"{setting.help} ({setting.bounds})")
