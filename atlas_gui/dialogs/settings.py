"""The few settings of the program itself. What a run learns and how is set on the Model tab, not here."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from atlas_core.config import settings
from atlas_gui import theme
from atlas_gui.widgets.setting_slider import whole_box

WIDTH_PX = 520
THEMES = {"system": "As the system", "light": "Light", "dark": "Dark"}
DEVICES = {"auto": "Automatic", "cpu": "Processor", "cuda": "NVIDIA or AMD graphics card", "mps": "Apple graphics"}


class SettingsDialog(QDialog):
    """Every change holds at once, so there is nothing to confirm."""

    theme_changed = Signal(str)  # "system", "light" or "dark"
    device_changed = Signal(str)  # a value of hardware.device
    threads_changed = Signal(int)  # 0: one for every core
    open_folder_requested = Signal(Path)

    def __init__(self, *, theme_name: str, home: Path, device: str, threads: int,
                 parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._home = home
        self.setObjectName("settingsDialog")
        self.setWindowTitle("Settings")
        self.setMinimumWidth(WIDTH_PX)
        self._build(theme_name, device, threads)
        self._lay_out()
        self._connect()

    def _build(self, theme_name: str, device: str, threads: int) -> None:
        self.theme_combo = _combo("themeCombo", "Theme", THEMES, theme_name)
        self.device_combo = _combo("deviceCombo", "Device", DEVICES, device)
        self.device_combo.setToolTip(settings()["hardware.device"].help)
        self.threads_spin = whole_box(settings()["hardware.threads"], "Threads")
        self.threads_spin.setObjectName("threadsSpin")
        self.threads_spin.setSpecialValueText("all cores")
        self.threads_spin.setValue(threads)
        self.home_edit = QLineEdit(str(self._home))
        self.home_edit.setObjectName("homeEdit")
        self.home_edit.setAccessibleName("Folder of datasets and runs")
        self.home_edit.setReadOnly(True)
        self.home_edit.setCursorPosition(0)
        self.home_edit.setToolTip("Set the environment variable ATLAS_HOME before the start to move it")
        self.open_button = QPushButton(theme.icon("folder-open-outline"), "Open")
        self.open_button.setAutoDefault(False)
        self.open_button.setToolTip("Show this folder in the file manager")
        self.close_button = QPushButton("Close")
        self.close_button.setDefault(True)

    def _lay_out(self) -> None:
        home = QHBoxLayout()
        home.addWidget(self.home_edit, 1)
        home.addWidget(self.open_button)
        form = QFormLayout()
        form.setSpacing(2 * theme.spacing)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.addRow("Theme", self.theme_combo)
        form.addRow("Device", self.device_combo)
        form.addRow("Threads", self.threads_spin)
        form.addRow("Folder", home)
        note = QLabel("The device counts from the next training or text on, threads from the next training on. "
                      "To move the folder, set the environment variable ATLAS_HOME.")
        note.setWordWrap(True)
        note.setProperty("role", "muted")
        column = QVBoxLayout(self)
        column.setContentsMargins(*[3 * theme.spacing] * 4)
        column.setSpacing(2 * theme.spacing)
        column.addLayout(form)
        column.addWidget(note)
        column.addStretch(1)
        column.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignRight)

    def _connect(self) -> None:
        self.theme_combo.currentIndexChanged.connect(lambda: self.theme_changed.emit(self.theme_combo.currentData()))
        self.device_combo.currentIndexChanged.connect(lambda: self.device_changed.emit(self.device_combo.currentData()))
        self.threads_spin.valueChanged.connect(self.threads_changed)
        self.open_button.clicked.connect(lambda: self.open_folder_requested.emit(self._home))
        self.close_button.clicked.connect(self.accept)


def _combo(name: str, label: str, choices: dict[str, str], value: str) -> QComboBox:
    combo = QComboBox()
    combo.setObjectName(name)
    combo.setAccessibleName(label)
    for key, text in choices.items():
        combo.addItem(text, key)
    combo.setCurrentIndex(max(0, combo.findData(value)))
    return combo
