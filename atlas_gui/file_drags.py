"""Files that are dragged over the window and dropped on it, wherever that is.

What is taken and what becomes of it the window says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, Signal
from PySide6.QtGui import QDragEnterEvent, QDragMoveEvent, QDropEvent
from PySide6.QtWidgets import QWidget

from atlas_gui.widgets.drop_overlay import DropOverlay

Judge = Callable[[Sequence[Path]], tuple[str, bool]]


class FileDrags(QObject):
    """Watches a window that is built. `judge` says what would happen to the files, and whether any is taken."""

    dropped = Signal(list)  # of Path
    refused = Signal(str)

    def __init__(self, window: QWidget, judge: Judge) -> None:
        super().__init__(window)
        self._window, self._judge = window, judge
        self.overlay = DropOverlay(window)
        self._taken = False  # any of what hangs over the window; to look at thousands of files takes a while
        window.setAcceptDrops(True)
        for widget in (window, *window.findChildren(QWidget)):
            if widget.acceptDrops():
                widget.installEventFilter(self)

    def _enter(self, event: QDragEnterEvent) -> None:
        sentence, self._taken = self._judge(files_of(event))
        self.overlay.announce(sentence, taken=self._taken)
        event.acceptProposedAction()  # refused here, the drag would never be seen leaving

    def _move(self, event: QDragMoveEvent) -> None:
        event.setAccepted(self._taken)

    def _drop(self, event: QDropEvent) -> None:
        self.overlay.hide()
        files = files_of(event)
        sentence, taken = self._judge(files)
        if taken:
            event.acceptProposedAction()
            self.dropped.emit(files)
        else:
            self.refused.emit(sentence)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is not self._window:  # a field for text: of a file it would only show the address
            if isinstance(event, QDragEnterEvent) and event.mimeData().hasUrls():
                event.ignore()  # so it goes on to the window
                return True
            return False
        if isinstance(event, QDragEnterEvent):
            self._enter(event)
        elif isinstance(event, QDragMoveEvent):
            self._move(event)
        elif isinstance(event, QDropEvent):
            self._drop(event)
        elif event.type() == QEvent.Type.DragLeave:
            self.overlay.hide()
        else:
            if event.type() == QEvent.Type.Resize:
                self.overlay.place()
            return False
        return True


def files_of(event: QDropEvent) -> list[Path]:
    """The files and folders of this computer that hang on a drag."""
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
