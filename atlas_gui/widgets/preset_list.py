"""The presets as a column of cards, exactly one chosen or none. Orders nothing and computes nothing."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QButtonGroup, QFrame, QScrollArea, QVBoxLayout, QWidget

from atlas_gui import theme
from atlas_gui.widgets.preset_card import CardFacts, PresetCard

PLACED_MS = 50  # until a new card has its place


class PresetList(QScrollArea):
    """Cards that work like radio buttons; `chosen` comes only from the person."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("presetList")
        self.setAccessibleName("Presets, smallest to largest")
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._cards: dict[str, PresetCard] = {}
        self._group = QButtonGroup(self)
        page = QWidget()
        self._column = QVBoxLayout(page)
        self._column.setContentsMargins(0, 0, theme.spacing, 0)
        self._column.setSpacing(theme.spacing)
        self._column.addStretch(1)
        self.setWidget(page)
        page.setAutoFillBackground(False)
        self.viewport().setAutoFillBackground(False)

    def set_names(self, names: Iterable[str]) -> None:
        """Make one card a name, in this order."""
        for card in self._cards.values():
            self._group.removeButton(card)
            self._column.removeWidget(card)
            card.hide()
            card.deleteLater()
        self._cards = {name: PresetCard(name) for name in names}
        for place, card in enumerate(self._cards.values()):
            self._group.addButton(card)
            self._column.insertWidget(place, card)
            card.toggled.connect(lambda on, card=card: self._on_toggled(card, on))

    def card(self, name: str) -> PresetCard:
        return self._cards[name]

    def names(self) -> list[str]:
        return list(self._cards)

    def show_facts(self, name: str, facts: CardFacts) -> None:
        self._cards[name].show_facts(facts)

    def select(self, name: str) -> None:
        """Choose a card without telling anyone; an unknown name leaves none chosen."""
        self._group.setExclusive(False)
        for card in self._cards.values():
            card.blockSignals(True)
            card.setChecked(card.name == name)
            card.blockSignals(False)
            card.update()
        self._group.setExclusive(True)
        QTimer.singleShot(PLACED_MS, self, self._show_chosen)

    def selected(self) -> str:
        """The chosen card's name, or ""."""
        card = self._group.checkedButton()
        return card.name if isinstance(card, PresetCard) else ""

    def _show_chosen(self) -> None:
        card = self._group.checkedButton()
        if card is not None:
            self.ensureWidgetVisible(card, 0, theme.spacing)

    def _on_toggled(self, card: PresetCard, on: bool) -> None:
        if on:
            self._show_chosen()
            self.chosen.emit(card.name)
