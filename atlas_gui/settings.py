"""What the window remembers between two starts: its place, its look, the texts, the device. An .ini file, nothing else.

How a model learns is not kept here: that is a preset or a run's own `config.yaml`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QByteArray, QSettings

from atlas_core import config, paths

DEVICES = config.settings()["hardware.device"].choices
MOST_THREADS = int(config.settings()["hardware.threads"].high or 0)
NUMBER = re.compile(r"-?[0-9]{1,6}")
THEMES = ("system", "light", "dark")


class Settings:
    """Typed access to the file. A value that makes no sense counts as never set."""

    def __init__(self) -> None:
        self._file = QSettings(str(paths.home() / "atlas-studio.ini"), QSettings.Format.IniFormat)

    @property
    def theme(self) -> str:
        name = self._text("theme")
        return name if name in THEMES else "system"

    @theme.setter
    def theme(self, name: str) -> None:
        self._file.setValue("theme", name)

    @property
    def dark(self) -> bool | None:
        """The theme as `theme.apply` takes it: None follows the system."""
        return {"light": False, "dark": True}.get(self.theme)

    @property
    def geometry(self) -> QByteArray:
        return self._bytes("window/geometry")

    @geometry.setter
    def geometry(self, geometry: QByteArray) -> None:
        self._file.setValue("window/geometry", geometry)

    @property
    def tab(self) -> int:
        return self._number("window/tab")

    @tab.setter
    def tab(self, index: int) -> None:
        self._file.setValue("window/tab", index)

    @property
    def hardware_collapsed(self) -> bool:
        return self._text("window/hardware_collapsed") == "true"

    @hardware_collapsed.setter
    def hardware_collapsed(self, collapsed: bool) -> None:
        self._file.setValue("window/hardware_collapsed", "true" if collapsed else "false")

    @property
    def device(self) -> str:
        """A value of `hardware.device`."""
        device = self._text("machine/device")
        return device if device in DEVICES else "auto"

    @device.setter
    def device(self, device: str) -> None:
        self._file.setValue("machine/device", device)

    @property
    def threads(self) -> int:
        """A value of `hardware.threads`."""
        return min(max(0, self._number("machine/threads")), MOST_THREADS)

    @threads.setter
    def threads(self, threads: int) -> None:
        self._file.setValue("machine/threads", threads)

    @property
    def sources(self) -> tuple[Path, ...]:
        """The texts that were chosen last, as far as they are still there."""
        value = self._file.value("text/sources")  # of a list with one item it makes the item
        names = value if isinstance(value, list) else [value]
        # `Path.exists` raises for a folder that may not be looked into.
        there = [name for name in names if isinstance(name, str) and os.path.exists(name)]  # noqa: PTH110
        return tuple(map(Path, there))

    @sources.setter
    def sources(self, sources: Sequence[Path]) -> None:
        self._file.setValue("text/sources", [str(path) for path in sources])

    def _text(self, key: str) -> str:
        value = self._file.value(key)
        return value if isinstance(value, str) else ""

    def _number(self, key: str) -> int:
        found = NUMBER.fullmatch(str(self._file.value(key)))
        return int(found[0]) if found else 0

    def _bytes(self, key: str) -> QByteArray:
        value = self._file.value(key)
        return value if isinstance(value, QByteArray) else QByteArray()
