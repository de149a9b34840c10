"""The hardware panel shows what the machine tells and hides what it does not; reading it never stops the window."""

from __future__ import annotations

import itertools
import time

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QCheckBox, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from atlas_core import format as people
from atlas_core.control import Control
from atlas_core.hardware.telemetry import Reading
from atlas_gui.errands import readings
from atlas_gui.main_window import MainWindow
from atlas_gui.widgets.hardware_panel import COLLAPSED_WIDTH, USUAL_TARGET_C, WIDTH, HardwareNews, HardwarePanel
from atlas_gui.widgets.number_spin import NumberSpin
from atlas_gui.widgets.trace import POINTS, Trace

CARD = Reading("RTX 4070", temperature_c=64.0, memory_used_bytes=5 * 2**30, memory_total_bytes=12 * 2**30,
               utilization_percent=97.0, power_w=180.0, fan_percent=45.0)
PROCESSOR = Reading("AMD EPYC", memory_used_bytes=2**30, memory_total_bytes=24 * 2**30, utilization_percent=12.0)


@pytest.fixture
def panel(qtbot: QtBot) -> HardwarePanel:
    panel = HardwarePanel()
    qtbot.addWidget(panel)
    panel.show()
    return panel


def rows(panel: HardwarePanel) -> set[str]:
    """What can be read on it."""
    return {widget.accessibleName() for widget in panel.findChildren(QWidget) if widget.isVisible()} - {""}


def test_a_card_tells_everything(panel: HardwarePanel) -> None:
    panel.show_news(HardwareNews(CARD, is_gpu=True))
    told = {name.replace("\u202f", " ") for name in rows(panel)}
    assert {"GPU 97 %", "VRAM 5.0 GB / 12.0 GB", "Temperature 64 °C", "Power 180 W", "Fan 45 %"} <= told
    assert not panel.hint.isVisible()


def test_without_a_card_it_shows_the_processor_and_says_so_kindly(panel: HardwarePanel) -> None:
    panel.show_news(HardwareNews(PROCESSOR, is_gpu=False))
    told = {name.replace("\u202f", " ") for name in rows(panel)}
    assert {"CPU 12 %", "RAM 1.0 GB / 24.0 GB"} <= told
    assert panel.hint.isVisible()
    assert not [name for name in told if name.startswith(("Temperature", "Power", "Fan"))]


def test_a_sensor_that_comes_and_goes_takes_its_row_along(panel: HardwarePanel) -> None:
    panel.show_news(HardwareNews(CARD, is_gpu=True))
    panel.show_news(HardwareNews(Reading("RTX 4070", utilization_percent=50.0), is_gpu=True))
    assert not [name for name in rows(panel) if name.startswith(("Temperature", "Power", "VRAM"))]


def test_cool_mode_tells_its_cost_while_it_works(panel: HardwarePanel) -> None:
    panel.show_news(HardwareNews(CARD, is_gpu=True))
    assert not panel.cooling.isVisible()
    panel.show_cooling(people.cooling("holding", 65.0, 0.23))
    assert panel.cooling.isVisible() and people.plain(panel.cooling.text()) == "Cooling: 23 % idle, holding 65 °C"
    panel.show_cooling(people.cooling("ready", 65.0, 0.0))
    assert not panel.cooling.isVisible()


def test_a_temperature_to_keep_is_wished_for_with_a_click(panel: HardwarePanel, qtbot: QtBot) -> None:
    panel.show_news(HardwareNews(CARD, is_gpu=True))
    check, spin = panel.findChild(QCheckBox, "targetCheck"), panel.findChild(NumberSpin, "targetTemperatureSpin")
    assert check is not None and spin is not None
    with qtbot.waitSignal(panel.target_wished) as told:
        qtbot.mouseClick(check, Qt.MouseButton.LeftButton, pos=QPoint(8, check.height() // 2))
    assert told.args == [USUAL_TARGET_C]
    with qtbot.waitSignal(panel.target_wished) as told:
        spin.stepBy(-1)
    assert told.args[0] < USUAL_TARGET_C
    with qtbot.waitSignal(panel.target_wished) as told:
        qtbot.mouseClick(check, Qt.MouseButton.LeftButton, pos=QPoint(8, check.height() // 2))
    assert told.args == [0.0] and not spin.isEnabled()


def test_a_target_set_elsewhere_is_shown_and_not_wished_again(panel: HardwarePanel, qtbot: QtBot) -> None:
    check, spin = panel.findChild(QCheckBox, "targetCheck"), panel.findChild(NumberSpin, "targetTemperatureSpin")
    assert check is not None and spin is not None
    with qtbot.assertNotEmitted(panel.target_wished):
        panel.set_target(62.0)
        assert check.isChecked() and spin.value() == 62.0
        panel.set_target(0.0)
    assert not check.isChecked()


def test_without_a_thermometer_there_is_no_temperature_to_keep(panel: HardwarePanel) -> None:
    panel.show_news(HardwareNews(PROCESSOR, is_gpu=False))
    check = panel.findChild(QCheckBox, "targetCheck")
    assert check is not None and not check.isVisible()


def test_the_wish_reaches_settings_and_run(tiny_window: MainWindow) -> None:
    tiny_window.hardware_panel.target_wished.emit(60.0)
    assert tiny_window.session.config.hardware.target_temperature == 60.0
    assert tiny_window.session._train_control.target_temperature == 60.0
    tiny_window.model_tab.apply_changes({"hardware.target_temperature": 0.0})
    check = tiny_window.hardware_panel.findChild(QCheckBox, "targetCheck")
    assert check is not None and not check.isChecked()


def test_collapsed_it_is_narrow_and_still_tells_the_numbers(panel: HardwarePanel, qtbot: QtBot) -> None:
    toggle = panel.findChild(QPushButton, "hardwareToggle")
    assert toggle is not None
    assert panel.width() == WIDTH
    with qtbot.waitSignal(panel.collapsed_changed) as told:
        qtbot.mouseClick(toggle, Qt.MouseButton.LeftButton)
    assert told.args == [True]
    assert panel.width() == COLLAPSED_WIDTH
    panel.show_news(HardwareNews(CARD, is_gpu=True))
    assert {"load 97\u202f%", "memory 42\u202f%", "temp 64\u202f°C"} <= rows(panel)


def test_the_trace_keeps_the_last_two_minutes(qtbot: QtBot) -> None:
    trace = Trace(0, 100)
    qtbot.addWidget(trace)
    for value in range(POINTS + 30):
        trace.add(float(value))
    trace.add(None)
    assert trace.values == [float(value) for value in range(30, POINTS + 30)]


def test_readings_come_until_they_are_stopped() -> None:
    control = Control()
    stream = readings(control)
    first = next(stream)
    assert first.reading.memory_total_bytes
    control.stop()
    assert list(itertools.islice(stream, 5)) == []


def test_showing_a_reading_takes_less_than_a_frame(panel: HardwarePanel) -> None:
    panel.show_news(HardwareNews(CARD, is_gpu=True))
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        panel.show_news(HardwareNews(CARD, is_gpu=True))
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.005
