"""How the playground draws its text: temperature, top-k, top-p, length and seed.

Knows the settings and nothing of the model or of the text.
"""

from __future__ import annotations

import random

from PySide6.QtCore import QSignalBlocker
from PySide6.QtWidgets import QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from atlas_core.config import Sampling, settings
from atlas_gui import theme
from atlas_gui.widgets.setting_slider import SettingSlider, Span, whole_box

LARGEST_DRAWN_SEED = 999_999  # six digits can be read out and typed again


class SamplingPanel(QWidget):
    """A slim column of sliders; `sampling()` is what they say.

    The seed is drawn anew for every text unless it is locked, and typing one locks it.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.temperature = self._slider("temperature", "Temperature", "temperatureSpin", Span(0, 2, 0.05))
        self.top_k = self._slider("top_k", "Top-k", "topKSpin", Span(0, 200, 1))
        self.top_p = self._slider("top_p", "Top-p", "topPSpin", Span(0, 1, 0.01))
        self.max_tokens = self._slider("max_new_tokens", "Max tokens", "maxTokensSpin", Span(0, 1000, 10))
        self.seed = whole_box(settings()["sampling.seed"], "Seed")
        self.lock = QToolButton()
        self._build_seed()
        self._lay_out()

    def sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature.value(),
            top_k=int(self.top_k.value()),
            top_p=self.top_p.value(),
            max_new_tokens=int(self.max_tokens.value()),
            seed=self.seed.value(),
        )

    def draw_seed(self) -> None:
        """A new seed for a new text, unless the person holds on to the old one."""
        if not self.lock.isChecked():
            with QSignalBlocker(self.seed):
                self.seed.setValue(random.randint(0, LARGEST_DRAWN_SEED))

    def _slider(self, name: str, label: str, object_name: str, span: Span) -> SettingSlider:
        row = SettingSlider(settings()[f"sampling.{name}"], label, span)
        row.spin.setObjectName(object_name)
        row.slider.setObjectName(object_name.replace("Spin", "Slider"))
        return row

    def _build_seed(self) -> None:
        self.seed.setObjectName("seedSpin")
        self.seed.valueChanged.connect(lambda: self.lock.setChecked(True))
        self.lock.setObjectName("seedLock")
        self.lock.setCheckable(True)
        self.lock.setAccessibleName("Lock the seed")
        self.lock.toggled.connect(self._on_lock_toggled)
        self._on_lock_toggled(False)

    def _lay_out(self) -> None:
        seed = QHBoxLayout()
        label = QLabel("Seed")
        label.setBuddy(self.seed)
        label.setToolTip(self.seed.toolTip())
        seed.addWidget(label, 1)
        seed.addWidget(self.lock)
        seed.addWidget(self.seed)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2 * theme.spacing)
        for row in (self.temperature, self.top_k, self.top_p, self.max_tokens):
            column.addWidget(row)
        column.addLayout(seed)

    def _on_lock_toggled(self, locked: bool) -> None:
        if locked:
            self.lock.setIcon(theme.icon("lock", "accent"))
            self.lock.setToolTip("Locked: every text is drawn with this seed")
        else:
            self.lock.setIcon(theme.icon("lock-open-variant-outline", "muted"))
            self.lock.setToolTip("Unlocked: every text gets a new seed; lock to repeat one")
