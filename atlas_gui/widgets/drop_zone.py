"""The place where text is dropped; once there is some, it becomes the list of it.

What is dropped the window takes, here as anywhere; this only invites, and shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QColor, QKeySequence, QPainter, QPaintEvent, QPen, QShortcut
from PySide6.QtWidgets import QFrame, QLabel, QStackedWidget, QVBoxLayout, QWidget

from atlas_core.text.sources import SourceEntry
from atlas_gui import theme
from atlas_gui.widgets.source_tree import SourceTree


class DropZone(QFrame):
    """An invitation, or the list of sources; says which of them shall go."""

    remove_requested = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("dropZone")
        self.setAccessibleName("Text to learn from: drop files, folders or zip archives here")
        self.tree = SourceTree()
        self._more = QLabel("Drop more here, or press Delete to take a selected source off the list.")
        self._more.setAlignment(Qt.AlignmentFlag.AlignCenter)
        theme.set_role(self._more, "muted")
        self._pages = QStackedWidget()
        self._pages.addWidget(self._build_invitation())
        self._pages.addWidget(self.tree)
        self._more.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*(theme.spacing,) * 4)
        layout.addWidget(self._pages, 1)
        layout.addWidget(self._more)
        delete = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), self.tree)
        delete.setContext(Qt.ShortcutContext.WidgetShortcut)
        delete.activated.connect(lambda: self.remove_requested.emit(self.tree.selected_sources()))
        theme.notifier.changed.connect(self.update)

    def _build_invitation(self) -> QWidget:
        page = QWidget()
        self._picture = QLabel()
        self._paint_picture()
        theme.notifier.changed.connect(self._paint_picture)
        title = QLabel("Drop your text here")
        theme.set_role(title, "title")
        about = QLabel("Files (.txt, .md, .jsonl), folders or a .zip of them.\nOr begin with the sample text.")
        theme.set_role(about, "muted")
        column = QVBoxLayout(page)
        column.addStretch(1)
        for label in (self._picture, title, about):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            column.addWidget(label)
        column.addStretch(1)
        return page

    def _paint_picture(self) -> None:
        self._picture.setPixmap(theme.icon("tray-arrow-down", "muted").pixmap(QSize(48, 48)))

    def show_sources(self, sources: Sequence[Path], entries: Sequence[SourceEntry] | None) -> None:
        self.tree.show_sources(sources, entries)
        self._pages.setCurrentIndex(1 if sources else 0)
        self._more.setVisible(bool(sources))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002 - everything is drawn anew
        palette = theme.colors()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        inviting = self._pages.currentIndex() == 0
        line = Qt.PenStyle.DashLine if inviting else Qt.PenStyle.SolidLine
        painter.setPen(QPen(QColor(palette.border), 2 if inviting else 1, line))
        painter.setBrush(QColor(palette.panel))
        painter.drawRoundedRect(self.rect().adjusted(1, 1, -2, -2), 8, 8)
