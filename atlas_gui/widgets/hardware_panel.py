"""The machine at a glance: load, memory, temperature, power. Shows readings; somebody else takes them."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from atlas_core import format
from atlas_core.config import COOLEST_TARGET_C, settings
from atlas_core.hardware.telemetry import Reading
from atlas_gui import theme
from atlas_gui.widgets.number_spin import NumberSpin
from atlas_gui.widgets.trace import Trace

WIDTH = 216
COLLAPSED_WIDTH = 64
HOT_C, VERY_HOT_C = 80.0, 90.0
USUAL_TARGET_C = 70.0  # what is proposed to whoever wishes for the first time
NO_CARD = "No graphics card that this program can use. The processor does the work: small models learn well on it."


@dataclass(frozen=True)
class HardwareNews:
    """One reading, and whether it is of a graphics card."""

    reading: Reading
    is_gpu: bool


class HardwarePanel(QDockWidget):
    """A dock at the right edge, wide or (collapsed) only as wide as its numbers."""

    collapsed_changed = Signal(bool)
    target_wished = Signal(float)  # °C; 0: full speed

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Hardware", parent)
        self.setObjectName("hardwarePanel")
        self.setAccessibleName("Hardware")
        self.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
        self._collapsed = False
        self.setTitleBarWidget(self._build_title())
        self._pages = QStackedWidget()
        self._pages.addWidget(self._build_wide())
        self._pages.addWidget(self._build_narrow())
        self.setWidget(self._pages)
        self.set_collapsed(False)

    def show_news(self, news: HardwareNews) -> None:
        """Show one reading. What the hardware does not tell has no row."""
        reading = news.reading
        self._name.setText(reading.name)
        self._name.setToolTip(reading.name)
        self.hint.setVisible(not news.is_gpu)
        self._show_load(reading.utilization_percent, "GPU" if news.is_gpu else "CPU")
        self._show_memory(reading.memory_used_bytes, reading.memory_total_bytes, "VRAM" if news.is_gpu else "RAM")
        self._show_temperature(reading.temperature_c)
        self._show_power(reading.power_w, reading.fan_percent)

    def show_cooling(self, sentence: str) -> None:
        """How cool mode stands; empty while it does nothing."""
        self.cooling.setText(sentence[:1].upper() + sentence[1:])
        self.cooling.setVisible(bool(sentence))

    def set_target(self, celsius: float) -> None:
        """The temperature that cool mode is to keep; 0 if it is off. Emits nothing."""
        self._target_check.blockSignals(True)
        self._target_check.setChecked(celsius > 0)
        self._target_check.blockSignals(False)
        self._target_spin.setEnabled(celsius > 0)
        if celsius:
            self._target_spin.set_value(celsius)

    @property
    def collapsed(self) -> bool:
        return self._collapsed

    def set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self._pages.setCurrentIndex(1 if collapsed else 0)
        self._title.setVisible(not collapsed)
        self._toggle.setIcon(theme.icon("chevron-left" if collapsed else "chevron-right", "muted"))
        self._toggle.setToolTip("Show the hardware panel" if collapsed else "Make the hardware panel narrow")
        self.setFixedWidth(COLLAPSED_WIDTH if collapsed else WIDTH)

    # ---- building ------------------------------------------------------------------------------

    def _build_title(self) -> QWidget:
        self._title = QLabel("Hardware")
        self._title.setProperty("role", "title")
        self._toggle = QPushButton()
        self._toggle.setProperty("role", "flat")
        self._toggle.setObjectName("hardwareToggle")
        self._toggle.setAccessibleName("Collapse or expand the hardware panel")
        self._toggle.clicked.connect(self._on_toggled)
        bar = QWidget()
        row = QHBoxLayout(bar)
        row.setContentsMargins(theme.spacing * 2, theme.spacing // 2, theme.spacing, 0)
        row.addWidget(self._title)
        row.addStretch()
        row.addWidget(self._toggle)
        return bar

    def _build_wide(self) -> QWidget:
        self._name = QLabel()
        self._name.setWordWrap(True)
        self._load, self._load_trace = _Row("Load"), Trace(0, 100)
        self._load_trace.setAccessibleName("Load over the last two minutes")
        self._memory, self._memory_bar = _Row("Memory"), QProgressBar()
        self._memory_bar.setAccessibleName("Memory in use")
        self._memory_bar.setRange(0, 1000)
        self._memory_bar.setTextVisible(False)
        self._memory_bar.setFixedHeight(theme.spacing)
        self._temperature, self._temperature_trace = _Row("Temperature"), Trace(30, 95)
        self._temperature_trace.setAccessibleName("Temperature over the last two minutes")
        self._target = self._build_target()
        self._power, self._fan = _Row("Power"), _Row("Fan")
        self.hint = QLabel(NO_CARD)
        self.hint.setProperty("role", "muted")
        self.hint.setWordWrap(True)
        self.hint.hide()
        self.cooling = QLabel()
        self.cooling.setObjectName("coolingLine")
        self.cooling.setWordWrap(True)
        self.cooling.hide()
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(theme.spacing * 2, theme.spacing, theme.spacing * 2, theme.spacing)
        column.setSpacing(theme.spacing)
        for widget in (self._name, self._load, self._load_trace, self._memory, self._memory_bar, self._temperature,
                       self._temperature_trace, self._target, self.cooling, self._power, self._fan, self.hint):
            column.addWidget(widget)
        column.addStretch()
        for widget in (self._temperature, self._temperature_trace, self._target, self._power, self._fan):
            widget.hide()
        return page

    def _build_target(self) -> QWidget:
        tip = "Rest between pieces of work so that it stays this cool. Changes no result, only the time."
        self._target_check = QCheckBox("Keep at")
        self._target_check.setObjectName("targetCheck")
        self._target_check.setAccessibleName("Keep a temperature")
        self._target_check.toggled.connect(self._on_target_edited)
        highest = settings()["hardware.target_temperature"].high
        assert highest is not None
        self._target_spin = NumberSpin(COOLEST_TARGET_C, highest, whole=False, suffix="°C", step=1)
        self._target_spin.setObjectName("targetTemperatureSpin")
        self._target_spin.setAccessibleName("The temperature to keep")
        self._target_spin.set_value(USUAL_TARGET_C)
        self._target_spin.setEnabled(False)
        self._target_spin.value_edited.connect(self._on_target_edited)
        line = QWidget()
        row = QHBoxLayout(line)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._target_check)
        row.addWidget(self._target_spin, 1)
        for widget in (self._target_check, self._target_spin):
            widget.setToolTip(tip)
        return line

    def _build_narrow(self) -> QWidget:
        self._narrow = {name: _Figure(name) for name in ("load", "memory", "temp")}
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, theme.spacing, 0, theme.spacing)
        column.setSpacing(theme.spacing)
        for figure in self._narrow.values():
            column.addWidget(figure)
        self._narrow["temp"].hide()
        column.addStretch()
        return page

    # ---- showing -------------------------------------------------------------------------------

    def _show_load(self, percent: float | None, what: str) -> None:
        text = format.DASH if percent is None else format.percent(percent / 100)
        self._load.show_value(text, title=what)
        self._load_trace.add(percent)
        self._narrow["load"].show_value(text)

    def _show_memory(self, used: int | None, total: int | None, what: str) -> None:
        if used is None or not total:
            self._memory.hide()
            self._memory_bar.hide()
            return
        self._memory.show_value(f"{format.size(used)} / {format.size(total)}", title=what)
        self._memory.setToolTip("Memory in use")
        self._memory_bar.setValue(round(1000 * used / total))
        self._memory.show()
        self._memory_bar.show()
        self._narrow["memory"].show_value(format.percent(used / total))

    def _show_temperature(self, celsius: float | None) -> None:
        there = celsius is not None
        for widget in (self._temperature, self._temperature_trace, self._target, self._narrow["temp"]):
            widget.setVisible(there)
        if celsius is None:
            return
        text = f"{celsius:.0f}{format.SPACE}°C"
        role = "bad" if celsius >= VERY_HOT_C else "warning" if celsius >= HOT_C else ""
        self._temperature.show_value(text, role=role)
        self._temperature_trace.add(celsius)
        self._narrow["temp"].show_value(text)

    def _show_power(self, watts: float | None, fan_percent: float | None) -> None:
        self._power.setVisible(watts is not None)
        self._fan.setVisible(fan_percent is not None)
        if watts is not None:
            self._power.show_value(f"{watts:.0f}{format.SPACE}W")
        if fan_percent is not None:
            self._fan.show_value(format.percent(fan_percent / 100))

    def _on_target_edited(self) -> None:
        wished = self._target_check.isChecked()
        self._target_spin.setEnabled(wished)
        self.target_wished.emit(float(self._target_spin.value()) if wished else 0.0)

    def _on_toggled(self) -> None:
        self.set_collapsed(not self._collapsed)
        self.collapsed_changed.emit(self._collapsed)


class _Row(QWidget):
    """A name at the left, its value at the right in digits of one width."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = QLabel(title)
        self._title.setProperty("role", "muted")
        self._value = QLabel(format.DASH)
        self._value.setFont(theme.mono_font())
        self._value.setAlignment(Qt.AlignmentFlag.AlignRight)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._title)
        row.addWidget(self._value, 1)

    def show_value(self, text: str, *, title: str | None = None, role: str = "") -> None:
        self._value.setText(text)
        theme.set_role(self._value, role)
        if title is not None:
            self._title.setText(title)
        self.setAccessibleName(f"{self._title.text()} {text}")


class _Figure(QWidget):
    """The same for the narrow form: the value above its name."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._value = QLabel(format.DASH)
        self._value.setFont(theme.mono_font())
        self._name = title
        name = QLabel(title)
        name.setProperty("role", "muted")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for label in (self._value, name):
            label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            column.addWidget(label)

    def show_value(self, text: str) -> None:
        self._value.setText(text)
        self.setAccessibleName(f"{self._name} {text}")
