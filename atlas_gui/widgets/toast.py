"""A line of news that comes, stays a few seconds and goes; never asks anything, never takes the focus.

Decisions belong in dialogs, and mistakes in the error dialog.
"""

from __future__ import annotations

from collections import deque

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QSize, Qt, QTimer
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QTabWidget, QWidget

from atlas_gui import theme

NEWS_MS = 6000
WARNING_MS = 12000
BRIEF_MS = 2500  # while others wait
WIDTH, NARROWEST = 460, 320
LEAST_HEIGHT = 6 * theme.spacing
ABOVE_EDGE = 5 * theme.spacing  # clear of the status line
ICONS = {"info": ("information-outline", "accent"), "good": ("check-circle-outline", "good"),
         "warning": ("alert-outline", "warning")}


class Toast(QFrame):
    """A strip beside the names of the tabs, where it covers nothing; what has no room there, at the lower edge.

    News that comes meanwhile waits its turn.
    """

    def __init__(self, parent: QWidget, tabs: QTabWidget) -> None:
        super().__init__(parent)
        self._tabs = tabs
        tabs.installEventFilter(self)
        parent.installEventFilter(self)
        self.setObjectName("toast")
        self.setProperty("role", "card")
        self.setAccessibleName("News")
        self._window = parent
        self._waiting: deque[tuple[str, str]] = deque(maxlen=5)
        self._icon = QLabel()
        self._text = QLabel()
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._text.setWordWrap(True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        close = QPushButton(theme.icon("close", "muted"), "")
        close.setProperty("role", "flat")
        close.setToolTip("Dismiss")
        close.setAccessibleName("Dismiss")
        close.clicked.connect(self._next)
        self._layout = layout = QHBoxLayout(self)
        layout.setContentsMargins(theme.spacing * 2, theme.spacing, theme.spacing, theme.spacing)
        layout.addWidget(self._icon)
        layout.addWidget(self._text, 1)
        layout.addWidget(close)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._next)
        self.hide()

    def show_news(self, text: str, level: str = "info") -> None:
        """Show a sentence; `level` is "info", "good" or "warning"."""
        self._waiting.append((text, level))
        if self.isHidden():
            self._next()
        elif self._timer.remainingTime() > BRIEF_MS:  # what is shown has been read; newer news is waiting
            self._timer.start(BRIEF_MS)

    @property
    def text(self) -> str:
        """What is being shown; empty when nothing is."""
        return "" if self.isHidden() else self._text.text()

    def _next(self) -> None:
        if not self._waiting:
            self._timer.stop()
            self.hide()
            return
        text, level = self._waiting.popleft()
        name, color = ICONS[level]
        self._icon.setPixmap(theme.icon(name, color).pixmap(20, 20))
        self._text.setText(text)
        self._place()
        self.show()
        self.raise_()
        self._timer.start(BRIEF_MS if self._waiting else WARNING_MS if level == "warning" else NEWS_MS)

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:
        """Move along with the window and the tabs."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Move) and not self.isHidden():
            self._place()
        return False

    def _place(self) -> None:
        bar, seen = self._tabs.tabBar(), self._tabs.visibleRegion().boundingRect()
        free = QRect(QPoint(bar.sizeHint().width() + theme.spacing, 0),
                     QPoint(seen.right() - theme.spacing, bar.height() + 2 * theme.spacing))
        width = min(WIDTH, free.width())
        height = self._height(width)
        if seen.topLeft().isNull() and width >= NARROWEST and height <= free.height():
            corner = self._tabs.mapTo(self._window, QPoint(free.right() - width, 2))
            self.setGeometry(QRect(corner, QSize(width, height)))
            return
        window = self._window
        width = min(WIDTH, window.width() - 4 * theme.spacing)
        height = self._height(width)
        self.setGeometry((window.width() - width) // 2, window.height() - height - ABOVE_EDGE, width, height)

    def _height(self, width: int) -> int:
        return max(LEAST_HEIGHT, self._layout.totalHeightForWidth(width))
