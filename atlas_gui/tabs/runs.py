"""The runs: every training so far as a card, and what to do with it. Lists and asks; touches no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QPushButton,
    QStackedLayout,
    QVBoxLayout,
    QWidget,
)

from atlas_core import format as people
from atlas_core.runs import RunInfo
from atlas_gui import theme
from atlas_gui.widgets.run_card import RunCard

ICON_PX = 48


class RunsTab(QWidget):
    """Shows runs as they are given, and emits wishes that carry a run's folder."""

    resume_requested = Signal(Path)
    extend_requested = Signal(Path)
    curve_requested = Signal(Path)
    play_requested = Signal(Path)
    export_requested = Signal(Path)
    delete_requested = Signal(Path)  # the person has already agreed
    open_folder_requested = Signal(Path)
    refresh_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._infos: list[RunInfo] = []
        self._losses: dict[Path, Sequence[float]] = {}
        self._shown: dict[Path, tuple[RunInfo, tuple[float, ...], str]] = {}  # what each card was made of
        self._active: Path | None = None
        self._paused = False
        self._build()
        self._lay_out()
        self.set_runs([], {})

    def set_runs(self, infos: Sequence[RunInfo], losses: Mapping[Path, Sequence[float]]) -> None:
        """Show these runs in this order; `losses` maps a run's folder to its curve."""
        self._infos, self._losses = list(infos), dict(losses)
        self._rebuild()

    def set_active(self, run: Path | None, *, paused: bool = False) -> None:
        """The run that is being trained: it can be neither resumed nor deleted."""
        if (run, paused) != (self._active, self._paused):
            self._active, self._paused = run, paused
            self._rebuild()

    def show_ages(self) -> None:
        """Time goes by."""
        for card in self._cards():
            card.show_age()

    def selected(self) -> Path | None:
        item = self.runs_list.currentItem()
        return item.data(Qt.ItemDataRole.UserRole) if item else None

    def card(self, run: Path) -> RunCard:
        """The card of a run that is shown."""
        return next(card for card in self._cards() if card.info.path == run)

    def _build(self) -> None:
        self.runs_list = _CardList()
        self.runs_list.setObjectName("runsList")
        self.runs_list.setAccessibleName("Runs")
        self.runs_list.currentItemChanged.connect(self._on_current_changed)
        self.runs_list.delete_pressed.connect(self._on_delete_pressed)
        self.runs_list.itemActivated.connect(self._on_activated)
        self.refresh_button = QPushButton(theme.icon("refresh"), "Refresh")
        self.refresh_button.setObjectName("refreshRunsButton")
        self.refresh_button.setToolTip("Look at the folder again")
        self.refresh_button.clicked.connect(self.refresh_requested)
        self.total_label = QLabel()
        self.total_label.setProperty("role", "muted")

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.addWidget(self.total_label)
        head.addStretch(1)
        head.addWidget(self.refresh_button)
        self._pages = QStackedLayout()
        self._pages.addWidget(_empty_state())
        self._pages.addWidget(self.runs_list)
        column = QVBoxLayout(self)
        column.setContentsMargins(*[2 * theme.spacing] * 4)
        column.setSpacing(theme.spacing)
        column.addLayout(head)
        column.addLayout(self._pages, 1)

    def _rebuild(self) -> None:
        """A new card for each run that shows something new; the chosen one, the focus and the place on the page stay.
        """
        place = self.runs_list.verticalScrollBar().value()
        anew = [info.path for info in self._infos] != [card.info.path for card in self._cards()]
        if anew:
            self._new_rows()
        for row, info in enumerate(self._infos):
            shows = (info, tuple(self._losses.get(info.path, ())), self._state(info))
            if self._shown.get(info.path) != shows:
                self._shown[info.path] = shows
                self._put_card(self.runs_list.item(row), self._new_card(*shows))
        if anew:
            self.runs_list.doItemsLayout()  # until then the scroll bar believes the list to be empty
            self.runs_list.verticalScrollBar().setValue(place)
        self._pages.setCurrentIndex(1 if self._infos else 0)
        self.total_label.setText(total(self._infos))

    def _new_rows(self) -> None:
        chosen = self.selected()
        self.runs_list.clear()
        self._shown.clear()
        for info in self._infos:
            item = QListWidgetItem(self.runs_list)
            item.setData(Qt.ItemDataRole.UserRole, info.path)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, info.name)
            if info.path == chosen:
                self.runs_list.setCurrentItem(item)

    def _put_card(self, item: QListWidgetItem, card: RunCard) -> None:
        """Show `card` in a row, in whose last card the focus may be."""
        before, focused = self.runs_list.itemWidget(item), QApplication.focusWidget()
        name = focused.objectName() if before and focused and before.isAncestorOf(focused) else ""
        item.setSizeHint(QSize(0, card.sizeHint().height()))
        self.runs_list.setItemWidget(item, card)
        card.set_selected(item is self.runs_list.currentItem())
        if name and (again := card.findChild(QWidget, name)):
            again.setFocus()

    def _state(self, info: RunInfo) -> str:
        return info.state if info.path != self._active else "paused" if self._paused else "running"

    def _new_card(self, info: RunInfo, losses: Sequence[float], state: str) -> RunCard:
        card = RunCard(info, losses, state=state)
        card.resume_requested.connect(self.resume_requested)
        card.extend_requested.connect(self.extend_requested)
        card.curve_requested.connect(self.curve_requested)
        card.play_requested.connect(self.play_requested)
        card.export_requested.connect(self.export_requested)
        card.open_folder_requested.connect(self.open_folder_requested)
        card.delete_requested.connect(self._ask_to_delete)
        return card

    def _cards(self) -> list[RunCard]:
        widgets = [self.runs_list.itemWidget(self.runs_list.item(row)) for row in range(self.runs_list.count())]
        return [widget for widget in widgets if isinstance(widget, RunCard)]

    def _on_current_changed(self) -> None:
        chosen = self.selected()
        for card in self._cards():
            card.set_selected(card.info.path == chosen)

    def _on_activated(self, item: QListWidgetItem) -> None:
        self.curve_requested.emit(item.data(Qt.ItemDataRole.UserRole))

    def _on_delete_pressed(self) -> None:
        chosen = self.selected()
        if chosen is not None and chosen != self._active:
            self._ask_to_delete(chosen)

    def _ask_to_delete(self, run: Path) -> None:
        info = next(info for info in self._infos if info.path == run)
        question = QMessageBox(self)
        question.setObjectName("deleteRunDialog")
        question.setWindowTitle("Delete this run?")
        question.setIcon(QMessageBox.Icon.Warning)
        question.setTextFormat(Qt.TextFormat.PlainText)
        question.setText(f"Delete {info.name} with its {people.many(len(info.checkpoints), 'checkpoint')}?")
        question.setInformativeText(f"This frees {people.size(info.bytes)} and cannot be undone. Exported files stay.")
        delete = question.addButton("Delete", QMessageBox.ButtonRole.DestructiveRole)
        keep = question.addButton("Keep", QMessageBox.ButtonRole.RejectRole)
        question.setDefaultButton(keep)
        question.setEscapeButton(keep)
        question.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        delete.clicked.connect(lambda: self.delete_requested.emit(run))
        question.open()


class _CardList(QListWidget):
    """A list whose rows are cards; the Delete key is a wish of its own."""

    delete_pressed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSpacing(theme.spacing // 2)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # The card shows by its border that it is chosen; the row behind it stays clear.
        self.setStyleSheet("QListWidget, QListWidget::item { background: transparent; border: none; }")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """A list that becomes narrower would leave its rows as wide as they were."""
        super().resizeEvent(event)
        self.scheduleDelayedItemsLayout()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Delete:
            self.delete_pressed.emit()
        else:
            super().keyPressEvent(event)


def total(infos: Sequence[RunInfo]) -> str:
    """The line above the list: how many, and how much room they take."""
    if not infos:
        return ""
    runs = "1 run" if len(infos) == 1 else f"{people.count(len(infos))} runs"
    return f"{runs} · {people.size(sum(info.bytes for info in infos))} on disk"


def _empty_state() -> QWidget:
    page = QWidget()
    picture = QLabel()
    picture.setPixmap(theme.icon("chart-bell-curve-cumulative", "muted").pixmap(ICON_PX, ICON_PX))
    title = QLabel("No runs yet")
    title.setProperty("role", "title")
    hint = QLabel("Press Train. Every training is kept here: resume it, talk to it, export it.")
    hint.setProperty("role", "muted")
    column = QVBoxLayout(page)
    column.setSpacing(theme.spacing)
    column.addStretch(2)
    for label in (picture, title, hint):
        column.addWidget(label, 0, Qt.AlignmentFlag.AlignHCenter)
    column.addStretch(3)
    return page
