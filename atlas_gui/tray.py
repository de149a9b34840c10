"""The icon beside the clock, and the desktop notifications that come from it. Where there is no tray it is silent.

Tells what happened while nobody looked; what is worth telling is decided elsewhere.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QMenu, QSystemTrayIcon, QWidget

LEVELS = {"warning": QSystemTrayIcon.MessageIcon.Warning, "bad": QSystemTrayIcon.MessageIcon.Critical}
SHOWN_MS = 10_000


class Tray(QObject):
    """Stands for `window` in the tray."""

    show_requested = Signal()
    quit_requested = Signal()

    def __init__(self, icon: QIcon, title: str, window: QWidget) -> None:
        super().__init__(window)
        self._window, self._title = window, title
        self._icon: QSystemTrayIcon | None = None
        if QSystemTrayIcon.isSystemTrayAvailable():
            self._icon = self._build(icon)

    def set_status(self, sentence: str) -> None:
        """What the icon says when it is pointed at."""
        if self._icon is not None:
            self._icon.setToolTip(f"{self._title}\n{sentence}" if sentence else self._title)

    def tell(self, sentence: str, level: str = "good") -> bool:
        """A desktop notification, if the window is not being looked at; whether there was one."""
        if self._icon is None or self._window.isActiveWindow():
            return False
        kind = LEVELS.get(level, QSystemTrayIcon.MessageIcon.Information)
        self._icon.showMessage(self._title, sentence, kind, SHOWN_MS)
        return True

    def _build(self, image: QIcon) -> QSystemTrayIcon:
        icon = QSystemTrayIcon(image, self)
        menu = QMenu(self._window)
        menu.addAction("Show the window").triggered.connect(self.show_requested)
        menu.addAction("Save and close").triggered.connect(self.quit_requested)
        icon.setContextMenu(menu)
        icon.activated.connect(self._on_activated)
        icon.messageClicked.connect(self.show_requested)
        icon.show()
        return icon

    def _on_activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason == QSystemTrayIcon.ActivationReason.Trigger:
            self.show_requested.emit()
