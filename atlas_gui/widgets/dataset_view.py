"""A prepared dataset as the model will meet it: its numbers, the lengths of its documents, a page in tokens.

It shows what `meta.json` says and opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QStackedLayout, QVBoxLayout, QWidget

from atlas_core import format
from atlas_core.text.preview import Histogram
from atlas_gui import theme
from atlas_gui.widgets.length_histogram import LengthHistogram
from atlas_gui.widgets.token_view import TokenView

FIGURES = ("documents", "tokens", "characters a token", "epochs in this run")


class DatasetView(QWidget):
    """Shows one dataset, or says what to do to get one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._numbers: dict[str, QLabel] = {}
        self.histogram = LengthHistogram()
        self.token_view = TokenView()
        self._pages = QStackedLayout(self)
        self._pages.addWidget(self._build_invitation())
        self._pages.addWidget(self._build_dataset())

    def _build_invitation(self) -> QWidget:
        page = QWidget()
        picture = QLabel()
        picture.setPixmap(theme.icon("book-open-page-variant-outline", "muted").pixmap(QSize(48, 48)))
        title, about = QLabel("No dataset yet"), QLabel(
            "Prepare turns your text into the numbers that a model learns from.\n"
            "Train does it by itself if you go ahead at once.")
        theme.set_role(title, "title")
        theme.set_role(about, "muted")
        column = QVBoxLayout(page)
        column.addStretch(1)
        for label in (picture, title, about):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            column.addWidget(label)
        column.addStretch(1)
        return page

    def _build_dataset(self) -> QWidget:
        page = QWidget()
        figures = QGridLayout()
        for column, name in enumerate(FIGURES):
            number, caption = QLabel(format.DASH), QLabel(name)
            number.setFont(theme.mono_font(points=15))
            theme.set_role(caption, "muted")
            figures.addWidget(number, 0, column)
            figures.addWidget(caption, 1, column)
            figures.setColumnStretch(column, 1)
            self._numbers[name] = number
        page_title = QLabel("A page, token by token")
        theme.set_role(page_title, "title")
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.spacing)
        layout.addLayout(figures)
        layout.addWidget(self.histogram)
        layout.addWidget(page_title)
        layout.addWidget(self.token_view, 1)
        return page

    @property
    def empty(self) -> bool:
        return self._pages.currentIndex() == 0

    def show_dataset(self, summary: Mapping[str, Any], pieces: Sequence[str], lengths: Histogram | None) -> None:
        """`summary` is a `meta.json`, `pieces` the first tokens' texts, `lengths` those of documents."""
        self._show("documents", format.count(summary["documents"]))
        self._show("tokens", format.short_count(tokens(summary)))
        self._show("characters a token", f"{characters_per_token(summary):.2f}")
        self.histogram.set_lengths(lengths)
        self.token_view.set_pieces(pieces)
        self._pages.setCurrentIndex(1)

    def set_epochs(self, epochs: float | None) -> None:
        """How often the run on the Model tab reads the whole text; None while nobody knows."""
        text = format.DASH
        if epochs is not None:
            text = f"{epochs:.{1 if epochs >= 1 else 2}f}" if epochs < 100 else format.count(epochs)
        self._show("epochs in this run", text)

    def _show(self, name: str, text: str) -> None:
        self._numbers[name].setText(text)
        self._numbers[name].setAccessibleName(f"{name}: {text}")

    def clear(self) -> None:
        self._pages.setCurrentIndex(0)


def tokens(summary: Mapping[str, Any]) -> int:
    """All tokens of a `meta.json`, over its splits."""
    return sum(split["tokens"] for split in summary["splits"].values())


def characters_per_token(summary: Mapping[str, Any]) -> float:
    return sum(split["characters"] for split in summary["splits"].values()) / max(1, tokens(summary))
