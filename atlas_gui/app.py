"""`atlas-studio`: the application object, the log, the last net for mistakes, and the window."""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys
import traceback
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from types import TracebackType

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from atlas_core import __version__, paths
from atlas_gui import theme
from atlas_gui.main_window import TITLE, MainWindow
from atlas_gui.settings import Settings

LOG_BYTES = 2**20
WARM_UP_MS = 1500  # the window is drawn and answers; now torch may be loaded behind it
SIGNAL_MS = 300


def main() -> int:
    """Show the window and stay until it is closed."""
    start_log()
    app = QApplication(sys.argv)
    app.setApplicationName("atlas-studio")
    app.setApplicationDisplayName(TITLE)
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("atlas-studio")  # as in packaging/atlas-studio.desktop; Wayland finds the icon by it
    app.setWindowIcon(QIcon(str(paths.resource("icons", "atlas-studio.svg"))))
    settings = Settings()
    theme.apply(app, settings.dark)
    app.styleHints().colorSchemeChanged.connect(lambda _scheme: theme.apply(app, settings.dark))
    window = MainWindow(settings)
    catch_mistakes(window)
    close_on_interrupt(window)
    app.commitDataRequest.connect(window.save_for_logout, Qt.ConnectionType.DirectConnection)
    show(window)
    QTimer.singleShot(WARM_UP_MS, window, window.session.warm_up)
    return app.exec()


def show(window: MainWindow) -> None:
    """Show the window; on a screen that it would fill to the edge it is maximised, else its frame hangs out."""
    room = window.screen().availableSize()
    if window.width() >= room.width() or window.height() >= room.height():
        window.showMaximized()
    else:
        window.show()


def start_log() -> None:
    """The program's own logs beside the user's data; a folder that cannot be written costs only those."""
    try:
        paths.home().mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = RotatingFileHandler(paths.log_file(), maxBytes=LOG_BYTES, backupCount=1,
                                                       encoding="utf-8")
    except OSError:
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("atlas_gui")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.info("atlas-studio %s", __version__)
    with suppress(OSError):  # open as long as the process lives: it is written to as that dies, in torch or Qt
        faulthandler.enable(open(paths.crash_file(), "ab"))  # noqa: SIM115


def catch_mistakes(window: MainWindow) -> None:
    """Whatever no one caught is told in the error dialog instead of ending on a terminal nobody sees."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            window.close()
            return
        details = "".join(traceback.format_exception(kind, error, trace))
        window.session.failed.emit(f"{kind.__name__}: {error}", "", details)  # by a signal, from whatever thread it is

    sys.excepthook = tell


def close_on_interrupt(window: MainWindow) -> None:
    """Ctrl+C in the terminal closes the window, and so does the system's wish to end, which has no time for questions.

    Python only notices signals while it runs, hence the timer.
    """
    signal.signal(signal.SIGINT, lambda *_: window.close())
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
            signal.signal(getattr(signal, name), lambda *_: window.save_and_close())
    timer = QTimer(window)
    timer.timeout.connect(lambda: None)
    timer.start(SIGNAL_MS)
