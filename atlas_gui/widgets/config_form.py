"""A form for a whole configuration, made from the table of settings; it names no setting itself.

Built once and updated in place. It speaks only in valid configurations: values that contradict each
other stay on the screen with a sentence, and go nowhere until they agree.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QLabel, QLineEdit, QScrollArea, QVBoxLayout, QWidget

from atlas_core.config import SECTIONS, Config, settings
from atlas_core.errors import ConfigError
from atlas_gui import theme
from atlas_gui.widgets.setting_editor import label_text
from atlas_gui.widgets.setting_row import SettingRow


class ConfigForm(QWidget):
    """Shows a `Config`, marks what differs from its original, and hands out each valid change."""

    config_changed = Signal(Config)
    problems_changed = Signal(list)  # sentences; empty once everything agrees

    def __init__(self, *, sections: Iterable[str] = tuple(SECTIONS), parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._config = self._original = Config()
        self._pending: dict[str, Any] = {}  # entered, but contradicting something
        self._problems: list[str] = []
        self._rows: dict[str, SettingRow] = {}
        self._headings: dict[str, QWidget] = {}
        self._build(tuple(sections))
        self._connect()
        self._show_values()
        self._filter()

    def _build(self, sections: tuple[str, ...]) -> None:
        self.search_edit = QLineEdit()
        self.search_edit.setObjectName("settingsSearch")
        self.search_edit.setAccessibleName("Search settings")
        self.search_edit.setPlaceholderText("Search settings, such as dropout or memory")
        self.search_edit.setClearButtonEnabled(True)
        self.search_edit.addAction(theme.icon("magnify", "muted"), QLineEdit.ActionPosition.LeadingPosition)
        self.advanced_check = QCheckBox("Advanced")
        self.advanced_check.setObjectName("advancedCheck")
        self.advanced_check.setToolTip("Also show the settings that are rarely touched")
        self._nothing = QLabel("No setting matches. Try another word, or clear the search.")
        theme.set_role(self._nothing, "muted")

        self._page = page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, theme.spacing, 0)
        column.setSpacing(0)
        column.addWidget(self._nothing)
        for section in sections:
            column.addWidget(self._heading(section))
            for setting in settings().values():
                if setting.section == section:
                    self._rows[setting.key] = SettingRow(setting, page)
                    column.addWidget(self._rows[setting.key])
        column.addStretch(1)
        self.scroll_area = QScrollArea()
        self.scroll_area.setWidgetResizable(True)
        self.scroll_area.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll_area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll_area.setWidget(page)
        self.scroll_area.viewport().setAutoFillBackground(False)
        page.setAutoFillBackground(False)

        top = QHBoxLayout()
        top.addWidget(self.search_edit, 1)
        top.addWidget(self.advanced_check)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.spacing)
        layout.addLayout(top)
        layout.addWidget(self.scroll_area, 1)

    def _heading(self, section: str) -> QWidget:
        heading = QWidget()
        line = QHBoxLayout(heading)
        line.setContentsMargins(0, theme.spacing, 0, theme.spacing)
        title, about = QLabel(section.capitalize()), QLabel(inspect.getdoc(SECTIONS[section]) or "")
        theme.set_role(title, "title")
        theme.set_role(about, "muted")
        line.addWidget(title)
        line.addWidget(about, 1)
        self._headings[section] = heading
        return heading

    def _connect(self) -> None:
        self.search_edit.textChanged.connect(self._filter)
        self.advanced_check.toggled.connect(self._filter)
        for row in self._rows.values():
            row.edited.connect(self.edit)
            row.reset_requested.connect(lambda key: self.edit(key, self._original.get(key)))

    def config(self) -> Config:
        """The last configuration in which everything agreed."""
        return self._config

    def set_config(self, config: Config, *, original: Config | None = None) -> None:
        """Show `config`; dots mark what differs from `original` (default: nothing differs).

        Entries that were waiting to agree with others are dropped. Emits no `config_changed`.
        """
        self._config, self._original = config, original or config
        self._pending.clear()
        self._show_values()
        self._set_problems([])

    def set_locked(self, locked: bool) -> None:
        """Locked, everything can still be read and searched, but not changed."""
        self._page.setEnabled(not locked)

    def changes(self) -> dict[str, Any]:
        """What differs from the original, by dotted key."""
        return {key: self._config.get(key) for key in settings() if self._config.get(key) != self._original.get(key)}

    def problems(self) -> list[str]:
        """Why the values on the screen cannot be used together; empty if they can."""
        return list(self._problems)

    def pending(self) -> dict[str, Any]:
        """Entries that wait to agree with others, by dotted key."""
        return dict(self._pending)

    def edit(self, key: str, value: Any) -> None:
        """Change one entry as the person does: with all that is pending or, if that fails, by itself."""
        self._pending[key] = value
        problems: list[str] = []
        before = self._config
        try:
            self._config = self._config.replace(self._pending)
            self._pending.clear()
        except ConfigError as error:
            problems = error.problems
            if self._agrees({key: value}):
                self._config = self._config.replace({key: self._pending.pop(key)})
        self._show_values()
        self._set_problems(problems)
        if self._config != before:
            self.config_changed.emit(self._config)

    def _agrees(self, changes: dict[str, Any]) -> bool:
        try:
            self._config.replace(changes)
        except ConfigError:
            return False
        return True

    def _show_values(self) -> None:
        for key, row in self._rows.items():
            row.show_value(self._pending.get(key, self._config.get(key)), self._original.get(key))

    def _set_problems(self, problems: list[str]) -> None:
        """Put each sentence under the pending rows it names, or under all pending ones if it names none."""
        for key, row in self._rows.items():
            named = [p for p in problems if key in p or not any(k in p for k in self._pending)]
            told = "\n".join(f"{in_words(p)}; not used." for p in named)
            row.show_problem(told if key in self._pending else "")
        if problems != self._problems:
            self._problems = list(problems)
            self.problems_changed.emit(self._problems)
        self._filter()

    def _filter(self) -> None:
        """Show the rows that match and mean something to this network, and those a problem names.

        A search looks into the advanced ones too.
        """
        words = self.search_edit.text().lower().split()
        shown = set()
        for row in self._rows.values():
            wanted = row.matches(words) if words else self.advanced_check.isChecked() or not row.setting.advanced
            wanted = wanted and row.setting.applies(self._config)
            wanted = wanted or row.wrong or any(row.setting.key in problem for problem in self._problems)
            row.setVisible(wanted)
            if wanted:
                shown.add(row.setting.section)
        for section, heading in self._headings.items():
            heading.setVisible(section in shown)
        self._nothing.setVisible(not shown)


def in_words(problem: str) -> str:
    """A sentence about settings, which it calls by their keys, with the names that the form shows."""
    table = settings()
    return re.sub(r"\b[a-z]+\.[a-z0-9_]+\b",
                  lambda found: label_text(table[found[0]]) if found[0] in table else found[0], problem)
