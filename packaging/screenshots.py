"""Takes the pictures of the documentation from the running program: a real window, a real (short) run.

    python packaging/screenshots.py                      light and dark, 1280 x 800, into docs/images
    python packaging/screenshots.py --size 1920x1080 --theme dark --out FOLDER --steps 300

Works without a screen. Uses a home folder of its own, so it neither sees nor touches your runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication, QDialog, QWidget

from atlas_gui import sentences, theme
from atlas_gui.dialogs.error import ErrorDialog
from atlas_gui.main_window import MainWindow
from atlas_gui.session import IDLE, PAUSED, TRAINING
from atlas_gui.settings import Settings

OUT = Path(__file__).resolve().parent.parent / "docs" / "images"
DEFAULT_SIZE = "1280x800"
PATIENCE_SECONDS = 1800
SETTLE_SECONDS = 0.4  # for the plots' timer, and for what the last step set going


class Studio:
    """A window that is led through its paces, and a folder for the pictures."""

    def __init__(self, app: QApplication, out: Path, *, size: str, steps: int, themes: list[bool]) -> None:
        self._app, self._out, self._themes = app, out, themes
        self._suffix = "" if size == DEFAULT_SIZE else f"-{size}"
        self._width, self._height = map(int, size.split("x"))
        self._steps = steps
        out.mkdir(parents=True, exist_ok=True)

    def window(self) -> MainWindow:
        window = MainWindow(Settings())
        window.resize(self._width, self._height)
        window.show()
        self.settle()
        return window

    def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Let the program run until something holds. Raises `TimeoutError` if it never does."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not ready():
            if time.monotonic() > end:
                raise TimeoutError("the program did not get as far as this picture")
            self._app.processEvents()
            time.sleep(0.005)

    def take(self, name: str, widget: QWidget) -> None:
        """One picture in each theme."""
        for dark in self._themes:
            theme.apply(self._app, dark)
            self.settle()
            path = self._out / f"{name}-{'dark' if dark else 'light'}{self._suffix}.png"
            widget.grab().save(str(path))
            print(path)

    def tour(self) -> None:
        """Every tab and dialog, in the order in which a newcomer meets them."""
        window = self.window()
        session, tabs = window.session, window.tabs
        self.wait(lambda: session.looked is not None)
        window.file_drags.overlay.announce(sentences.drop([Path("my-letters.zip")])[0], taken=True)
        self.take("drop", window)
        window.file_drags.overlay.hide()

        every = max(1, self._steps // 6)
        window.model_tab.apply_changes({
            "training.max_steps": self._steps, "training.warmup_steps": min(20, self._steps),
            "evaluation.eval_interval": every, "sampling.interval": every, "checkpointing.save_interval": every,
        })
        window.run_bar.train_button.click()
        self.wait(lambda: session.state == TRAINING and len(session.history.steps) >= self._steps * 2 // 3)
        session.pause()
        self.wait(lambda: session.state == PAUSED)
        for index, name in enumerate(("data", "model", "train")):
            tabs.setCurrentIndex(index)
            self.take(name, window)

        tabs.setCurrentWidget(window.playground_tab)
        window.playground_tab.set_prompt("KING.\n")
        window.playground_tab.generate_button.click()
        self.wait(window.playground_tab.generate_button.isEnabled)
        self.take("playground", window)
        session.stop()
        self.wait(lambda: session.state == IDLE)
        tabs.setCurrentWidget(window.runs_tab)
        self.settle(1.0)
        self.take("runs", window)
        self.dialogs(window)
        window.close()
        self.resume()

    def dialogs(self, window: MainWindow) -> None:
        window.run_bar.export_button.click()
        export = self.dialog(window, "exportDialog")
        self.take("export", export)
        done: list[object] = []
        window.session.exported.connect(done.append)
        window.session.export_failed.connect(done.append)
        export.start_button.click()  # type: ignore[attr-defined]
        self.wait(lambda: bool(done))
        self.take("exported", export)
        export.close()
        window.run_bar.settings_button.click()
        settings = self.dialog(window, "settingsDialog")
        self.take("settings", settings)
        settings.close()
        error = ErrorDialog("letters.zip is damaged: its directory cannot be read.", "Download or pack it again.",
                            parent=window)
        error.open()
        self.take("error", error)
        error.close()

    def resume(self) -> None:
        window = self.window()
        self.wait(lambda: window.findChild(QDialog, "resumeDialog") is not None)
        dialog = self.dialog(window, "resumeDialog")
        self.take("resume", dialog)
        dialog.close()
        window.close()

    def dialog(self, window: MainWindow, name: str) -> QDialog:
        dialog = window.findChild(QDialog, name)
        assert dialog is not None, f"{name} did not open"
        return dialog


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the pictures")
    parser.add_argument("--size", default=DEFAULT_SIZE, help="of the window, such as 1920x1080")
    parser.add_argument("--theme", choices=("light", "dark", "both"), default="both")
    parser.add_argument("--steps", type=int, default=240, help="length of the run in the pictures")
    args = parser.parse_args()
    themes = {"light": [False], "dark": [True], "both": [False, True]}[args.theme]
    out = args.out.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["ATLAS_HOME"] = "Atlas Studio"  # relative, so that no picture shows a path of this machine
        app = QApplication(sys.argv[:1])
        theme.apply(app, themes[0])
        Studio(app, out, size=args.size, steps=args.steps, themes=themes).tour()
        os.chdir(out)  # Windows removes no folder that a program stands in
    return 0


if __name__ == "__main__":
    sys.exit(main())
