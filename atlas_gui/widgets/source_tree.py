"""The chosen files, folders and archives, and in each what will be read and what will not, with the reason.

Opens nothing: it groups the entries that it is given.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QBrush, QColor
from PySide6.QtWidgets import (
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from atlas_core import format
from atlas_core.text.sources import SourceEntry
from atlas_gui import theme
from atlas_gui.widgets.eliding_label import plain_tip

SHOWN_ENTRIES = 300  # of one source; an archive may hold a hundred thousand
KINDS = {"text": "text", "lines": "one document a line", "other": "other"}
KIND_WIDTH = 200  # pixels
SOURCE_ROLE = Qt.ItemDataRole.UserRole


class _PathDelegate(QStyledItemDelegate):
    """Shortens a path in its middle: the name of the file is at its end."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideMiddle


class SourceTree(QTreeWidget):
    """One line a source, unfolding to its entries, those left out first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sourceTree")
        self.setAccessibleName("Sources")
        self.setHeaderLabels(["Name", "Size", "Kind"])
        self.setSelectionMode(QTreeWidget.SelectionMode.ExtendedSelection)
        self.setUniformRowHeights(True)
        self.setFrameShape(QTreeWidget.Shape.NoFrame)
        self.setItemDelegateForColumn(0, _PathDelegate(self))
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Fixed)  # a long reason must not squeeze the names
        header.resizeSection(2, KIND_WIDTH)
        self._sources: list[Path] = []
        self._entries: list[SourceEntry] = []
        self._looking = False
        theme.notifier.changed.connect(self._fill)

    def show_sources(self, sources: Sequence[Path], entries: Sequence[SourceEntry] | None) -> None:
        """`entries` is None while somebody still looks into the sources."""
        self._sources, self._entries, self._looking = list(sources), list(entries or ()), entries is None
        self._fill()

    def selected_sources(self) -> list[Path]:
        """The sources that are selected, or one of whose entries is."""
        tops = [item.parent() or item for item in self.selectedItems()]
        return list(dict.fromkeys(item.data(0, SOURCE_ROLE) for item in tops))

    def _fill(self) -> None:
        self.clear()
        for source in self._sources:
            entries = [entry for entry in self._entries if entry.source == source]
            self.addTopLevelItem(self._source_item(source, entries))

    def _source_item(self, source: Path, entries: list[SourceEntry]) -> QTreeWidgetItem:
        if len(entries) == 1 and entries[0].name == source.name:
            item = self._entry_item(entries[0])
        else:
            item = self._folder_item(source, entries)
        item.setData(0, SOURCE_ROLE, source)
        item.setToolTip(0, plain_tip(str(source)))
        item.setIcon(0, theme.icon(_icon_name(source, entries)))
        return item

    def _folder_item(self, source: Path, entries: list[SourceEntry]) -> QTreeWidgetItem:
        kept, left_out = [e for e in entries if not e.skipped], [e for e in entries if e.skipped]
        said = f"{format.count(len(kept))} file{'s' * (len(kept) != 1)}"
        if left_out:
            said += f", {format.count(len(left_out))} skipped"
        item = QTreeWidgetItem([source.name, format.size(sum(e.bytes for e in kept)), said] if entries else
                               [source.name, format.DASH, "looking inside …" if self._looking else "nothing in it"])
        item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        shared = posixpath.commonpath([posixpath.dirname(e.name.rstrip("/")) for e in entries]) if entries else ""
        for entry in (left_out + kept)[:SHOWN_ENTRIES]:
            item.addChild(self._entry_item(entry, below=shared))
        if len(entries) > SHOWN_ENTRIES:
            item.addChild(QTreeWidgetItem([f"… and {format.count(len(entries) - SHOWN_ENTRIES)} more"]))
        return item

    def _entry_item(self, entry: SourceEntry, *, below: str = "") -> QTreeWidgetItem:
        name = posixpath.relpath(entry.name, below) if below else entry.name
        item = QTreeWidgetItem([name, format.size(entry.bytes), KINDS.get(entry.kind, entry.kind)])
        item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        item.setToolTip(0, plain_tip(entry.name))
        if entry.skipped:
            item.setText(2, f"skipped: {entry.skipped}")
            item.setToolTip(2, plain_tip(entry.skipped))
            for column in range(3):
                item.setForeground(column, QBrush(QColor(theme.colors().muted)))
        return item


def _icon_name(source: Path, entries: list[SourceEntry]) -> str:
    if source.suffix.lower() == ".zip":
        return "folder-zip-outline"
    return "folder-outline" if any("/" in entry.name for entry in entries) else "file-document-outline"
