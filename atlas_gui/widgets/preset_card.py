"""One preset as a card that is chosen like a radio button: name, size, character, memory, time.

It shows numbers that others computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from PySide6.QtCore import QPoint, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QRadioButton, QSizePolicy, QWidget

from atlas_core import format
from atlas_gui import theme
from atlas_gui.widgets.memory_bar import MemoryBar

VERDICT_ROLES = {"fits": "good", "tight": "warning", "too big": "bad"}
VERDICT_SIGNS = {"fits": "✓", "tight": "△", "too big": "✕"}


@dataclass(frozen=True)
class CardFacts:
    """What a card says. `verdict` is "" while the machine is unknown, `time` while the speed is."""

    parameters: int
    character: str
    memory: dict[str, int] = field(default_factory=dict)
    available_bytes: int = 0
    verdict: str = ""
    time: str = ""


class PresetCard(QRadioButton):
    """A card in an exclusive group: arrow keys walk through it, Space or a click chooses."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = name
        self.setObjectName(f"preset{name}")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._build()
        theme.notifier.changed.connect(self.update)

    def _build(self) -> None:
        self._name, self._parameters = QLabel(self.name), QLabel()
        self._verdict, self._character, self._need = QLabel(), QLabel(), QLabel()
        self._bar = MemoryBar()
        theme.set_role(self._name, "title")
        self._parameters.setFont(theme.mono_font())
        for label in (self._parameters, self._character, self._need):
            theme.set_role(label, "muted")
        self._character.setWordWrap(True)
        # Room for the longest, so that all bars are equally long.
        self._need.setMinimumWidth(self._need.fontMetrics().horizontalAdvance("roughly 23 h 59 min · 999 MB"))
        self._need.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        grid = QGridLayout(self)
        grid.setContentsMargins(12, 6, 12, 6)
        grid.setHorizontalSpacing(theme.spacing)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(1, 1)
        grid.addWidget(self._name, 0, 0)
        grid.addWidget(self._parameters, 0, 1)
        grid.addWidget(self._verdict, 0, 2, Qt.AlignmentFlag.AlignRight)
        grid.addWidget(self._character, 1, 0, 1, 3)
        grid.addWidget(self._bar, 2, 0, 1, 2)
        grid.addWidget(self._need, 2, 2)
        for child in self.findChildren(QWidget):
            child.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)

    def show_facts(self, facts: CardFacts) -> None:
        self._parameters.setText(format.short_count(facts.parameters))
        self._character.setText(facts.character)
        self._character.setVisible(bool(facts.character))
        self._verdict.setText(f"{VERDICT_SIGNS[facts.verdict]} {facts.verdict}" if facts.verdict else "")
        theme.set_role(self._verdict, VERDICT_ROLES.get(facts.verdict, "muted"))
        self._bar.set_memory(facts.memory, facts.available_bytes)
        need = [format.size(self._bar.total_bytes)]
        if facts.time:
            need.insert(0, facts.time)
        self._need.setText(" · ".join(need))
        self.setToolTip(self._bar.sentence())
        self.setAccessibleName(f"{self.name}, {format.short_count(facts.parameters)} parameters, {facts.verdict}")
        self.setAccessibleDescription(f"{facts.character} {self._need.text()}".strip())

    def hitButton(self, position: QPoint) -> bool:
        return self.rect().contains(position)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002 - everything is drawn anew
        palette = theme.colors()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        chosen, warm = self.isChecked(), self.underMouse() and self.isEnabled()
        width = 2 if chosen else 1
        frame = QRectF(self.rect()).adjusted(width / 2, width / 2, -width / 2, -width / 2)
        painter.setPen(QPen(QColor(palette.accent if chosen else palette.border), width))
        painter.setBrush(QColor(palette.hover if warm else palette.panel))
        painter.drawRoundedRect(frame, 8, 8)
        if self.hasFocus():
            painter.setPen(QPen(QColor(palette.accent), 1, Qt.PenStyle.DotLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(frame.adjusted(3, 3, -3, -3), 6, 6)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.updateGeometry()  # the character may need another number of lines

    def sizeHint(self) -> QSize:
        """As high as the layout needs at this width, which without a character is the same at any; a button would ask
        for the height of its own text.
        """
        layout = self.layout()
        assert layout is not None, "built in the constructor"
        height = layout.totalHeightForWidth(self.width())
        return QSize(layout.minimumSize().width(), height if height >= 0 else layout.totalSizeHint().height())

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()
