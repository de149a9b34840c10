"""The Data tab: on the left the text as it comes, on the right as the model will learn it.

A view: it hands out paths and wishes, and shows what others found in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from atlas_core import format
from atlas_core.config import Config
from atlas_core.events import Progress
from atlas_core.text.preview import Histogram
from atlas_core.text.sources import SourceEntry
from atlas_gui import theme
from atlas_gui.widgets.config_form import ConfigForm
from atlas_gui.widgets.dataset_view import DatasetView, characters_per_token, tokens
from atlas_gui.widgets.drop_zone import DropZone
from atlas_gui.widgets.setting_editor import CalmCombo
from atlas_gui.widgets.text_settings import TextSettings, text_settings

FILE_FILTER = "Text and archives (*.txt *.text *.md *.markdown *.jsonl *.ndjson *.zip);;All files (*)"
LEFT_WIDTH = 440
DATASETS_WIDTH = 340
SHOWN_NOTICES = 3
PROGRESS_STEPS = 1000  # the bar's own scale: sizes in bytes are beyond Qt's 32 bits


class DataTab(QWidget):
    """Holds the list of sources and the text settings; everything else is told to it."""

    sources_changed = Signal(list)  # of Path
    use_sample_requested = Signal()
    settings_changed = Signal(dict)  # every data.* and tokenizer.* setting, by dotted key
    prepare_requested = Signal(list, dict)  # sources, and settings as above
    cancel_requested = Signal()
    dataset_chosen = Signal(Path)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._sources: list[Path] = []
        self._notices: list[str] = []
        self._busy = self._training = False
        self._last_place = str(Path.home())  # where the file dialogs begin
        self._summary = ""  # what stands at the bottom while nothing is going on
        self._build()
        self._connect()
        self.set_config(Config())
        self.set_datasets([])
        self._show_sources(None)

    def _build(self) -> None:
        left = QVBoxLayout()
        left.setSpacing(theme.spacing)
        left.addLayout(self._build_source_buttons())
        self.drop_zone = DropZone()
        left.addWidget(self.drop_zone, 1)
        self.text_settings = TextSettings()
        left.addWidget(self.text_settings)
        left_side = QWidget()
        left_side.setMaximumWidth(LEFT_WIDTH)
        left_side.setLayout(left)
        left.setContentsMargins(0, 0, 0, 0)
        columns = QHBoxLayout()
        columns.setSpacing(2 * theme.spacing)
        columns.addWidget(left_side, 4)
        columns.addLayout(self._build_right(), 5)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*(2 * theme.spacing,) * 4)
        layout.setSpacing(theme.spacing)
        layout.addLayout(columns, 1)
        layout.addWidget(self._build_notices())
        layout.addLayout(self._build_bottom())

    def _build_source_buttons(self) -> QHBoxLayout:
        title = QLabel("Your text")
        theme.set_role(title, "title")
        self.add_button = _button("Add", "addFilesButton", "Choose files, archives or a folder", icon="plus")
        menu = QMenu(self.add_button)
        self.add_files_action = menu.addAction(theme.icon("file-document-outline"), "Files or archives…")
        self.add_folder_action = menu.addAction(theme.icon("folder-outline"), "A folder…")
        self.add_button.setMenu(menu)
        self.sample_button = _button("Use sample", "useSampleButton", "Learn from Shakespeare's works")
        self.remove_button = _button("Remove", "removeSourceButton", "Take the selected sources off the list")
        line = QHBoxLayout()
        line.addWidget(title, 1)
        for button in (self.add_button, self.sample_button, self.remove_button):
            line.addWidget(button)
        return line

    def _build_right(self) -> QVBoxLayout:
        self._right_title = QLabel("The dataset as it will be learned")
        theme.set_role(self._right_title, "title")
        self.dataset_combo = CalmCombo()
        self.dataset_combo.setObjectName("datasetCombo")
        self.dataset_combo.setAccessibleName("Prepared datasets")
        self.dataset_combo.setToolTip("Datasets that were prepared before")
        self.dataset_combo.setSizeAdjustPolicy(CalmCombo.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.dataset_combo.setMaximumWidth(DATASETS_WIDTH)
        self._right_title.setMinimumHeight(self.dataset_combo.sizeHint().height())  # also without a list
        line = QHBoxLayout()
        line.addWidget(self._right_title, 1)
        line.addWidget(self.dataset_combo, 3)
        self.dataset_view = DatasetView()
        self.form = ConfigForm(sections=("data", "tokenizer"))
        self._pages = QStackedWidget()
        self._pages.addWidget(self.dataset_view)
        self._pages.addWidget(self.form)
        column = QVBoxLayout()
        column.setSpacing(theme.spacing)
        column.addLayout(line)
        column.addWidget(self._pages, 1)
        return column

    def _build_notices(self) -> QLabel:
        self._notice_label = QLabel()
        self._notice_label.setObjectName("dataNotices")
        self._notice_label.setWordWrap(True)
        self._notice_label.hide()
        theme.set_role(self._notice_label, "warning")
        return self._notice_label

    def _build_bottom(self) -> QHBoxLayout:
        self.summary_label = QLabel()
        self.summary_label.setObjectName("datasetSummary")
        self.summary_label.setWordWrap(True)
        self.progress_bar = QProgressBar()
        self.progress_bar.setObjectName("prepareProgress")
        self.progress_bar.setAccessibleName("Preparing")
        self.progress_bar.setTextVisible(False)  # the sentence beside it says more
        self.progress_bar.setFixedWidth(240)
        self.cancel_button = _button("Cancel", "cancelPrepareButton", "Stop preparing; nothing half-made is kept")
        self.prepare_button = _button("Prepare", "prepareButton", "Turn the text into a dataset")
        line = QHBoxLayout()
        line.addWidget(self.summary_label, 1)
        for widget in (self.progress_bar, self.cancel_button, self.prepare_button):
            line.addWidget(widget)
        self.progress_bar.hide()
        self.cancel_button.hide()
        return line

    def _connect(self) -> None:
        self.add_files_action.triggered.connect(self._on_add_files)
        self.add_folder_action.triggered.connect(self._on_add_folder)
        self.sample_button.clicked.connect(self.use_sample_requested)
        self.remove_button.clicked.connect(lambda: self._remove(self.drop_zone.tree.selected_sources()))
        self.drop_zone.remove_requested.connect(self._remove)
        self.drop_zone.tree.itemSelectionChanged.connect(self._show_buttons)
        self.text_settings.edited.connect(self._on_text_setting)
        self.text_settings.more_button.toggled.connect(self._on_more)
        self.form.config_changed.connect(self._on_settings_changed)
        self.dataset_combo.activated.connect(lambda: self.dataset_chosen.emit(self.dataset_combo.currentData()))
        self.prepare_button.clicked.connect(
            lambda: self.prepare_requested.emit(list(self._sources), text_settings(self.form.config())))
        self.cancel_button.clicked.connect(self._on_cancel)

    def sources(self) -> list[Path]:
        return list(self._sources)

    def add_sources(self, paths: Iterable[Path]) -> None:
        """Put files, folders or archives on the list, each once; emits `sources_changed` if any is new."""
        self.set_sources([*self._sources, *paths])

    def set_sources(self, paths: Iterable[Path]) -> None:
        """Make this the list; emits `sources_changed` if it is another one."""
        sources = list(dict.fromkeys(Path(path) for path in paths))
        if sources == self._sources:
            return
        if self._busy:
            self.add_notice("The list cannot change while it is being prepared. Cancel first, or wait.")
            return
        self._sources = sources
        self._show_sources(None)
        self.sources_changed.emit(list(sources))

    def set_entries(self, entries: Sequence[SourceEntry]) -> None:
        """Show what was found in the sources: what will be read, and what not and why."""
        self._show_sources(entries)

    def set_config(self, config: Config, *, original: Config | None = None) -> None:
        """Show the text settings of `config`; dots mark what differs from `original`. Emits nothing."""
        if config != self.form.config():  # else an entry that still contradicts another would be lost
            self.form.set_config(config, original=original)
        self.text_settings.show_config(config)
        self.dataset_view.histogram.set_context(config.model.max_seq_len)

    def set_busy(self, busy: bool) -> None:
        """While preparing, offer only to cancel."""
        self._busy = busy
        if busy:
            self.set_progress(Progress(0, 0, "", "Looking at the text"))
        else:
            self.summary_label.setText(self._summary)
        self.cancel_button.setText("Cancel")
        self.progress_bar.setVisible(busy)
        self.cancel_button.setVisible(busy)
        self._show_buttons()

    def set_training(self, training: bool) -> None:
        """While a run is at work no text is prepared, and the settings stay as they are."""
        self._training = training
        self._show_buttons()
        if self.dataset_view.empty:
            self._show_invitation()

    def set_progress(self, progress: Progress) -> None:
        """Move the bar; without a known total it only shows that something is going on."""
        share = progress.done / progress.total if progress.total else 0.0
        self.progress_bar.setRange(0, PROGRESS_STEPS if progress.total else 0)
        self.progress_bar.setValue(round(share * PROGRESS_STEPS))
        told = f"{progress.label or 'Preparing'} …"
        if progress.total:
            in_bytes = progress.unit == "bytes"
            done, total = (format.size(n) if in_bytes else format.count(n) for n in (progress.done, progress.total))
            told += f" {done} of {total}" + ("" if in_bytes else f" {progress.unit}")
        self.summary_label.setText(told)

    def show_dataset(self, summary: Mapping[str, Any], preview: Sequence[str], lengths: Histogram | None) -> None:
        """Show a dataset's `meta.json`, the texts of its first tokens, and how long its documents are."""
        self.dataset_view.show_dataset(summary, preview, lengths)
        self.text_settings.show_counts(summary["cleaned"], {
            f"data.{key}": value for key, value in summary["settings"].get("data", {}).items()})
        self.text_settings.more_button.setChecked(False)
        said = [f"{summary['name']}: {format.many(summary['documents'], 'document')}",
                f"{format.count(tokens(summary))} tokens ({summary['tokenizer']})",
                f"{characters_per_token(summary):.2f} characters a token"]
        left_out = sum(summary["documents_left_out"].values())
        if left_out:
            said.append(f"{format.many(left_out, 'document')} left out")
        self._set_summary(" · ".join(said))

    def clear_dataset(self) -> None:
        """No dataset is open: say what to do next. What was said of another one holds no longer."""
        self.forget_notices()
        self.dataset_view.clear()
        self.text_settings.show_counts({}, {})
        self._show_invitation()

    def set_epochs(self, epochs: float | None) -> None:
        """How often the run on the Model tab reads the whole text."""
        self.dataset_view.set_epochs(epochs)

    def set_datasets(self, datasets: Sequence[tuple[str, Path]], *, selected: Path | None = None) -> None:
        """Datasets that were prepared before, by name and folder."""
        self.dataset_combo.clear()
        for name, path in datasets:
            self.dataset_combo.addItem(name, path)
        self.dataset_combo.setPlaceholderText("Open a prepared one")
        self.select_dataset(selected)
        self.dataset_combo.setVisible(bool(datasets))

    def select_dataset(self, path: Path | None) -> None:
        """The one of them that is shown; None if it is none of them."""
        paths = [self.dataset_combo.itemData(index) for index in range(self.dataset_combo.count())]
        self.dataset_combo.setCurrentIndex(paths.index(path) if path in paths else -1)

    def add_notice(self, sentence: str) -> None:
        """Show a sentence about the text until it is another one or prepared anew; the last few stay in sight."""
        self._notices.append(sentence)
        self._show_notices()

    def forget_notices(self) -> None:
        """For the text is another one, or is prepared anew."""
        self._notices.clear()
        self._show_notices()

    def _on_add_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Add text", self._last_place, FILE_FILTER)
        self._add_chosen(names)

    def _on_add_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Add a folder of text", self._last_place)
        self._add_chosen([name] if name else [])

    def _add_chosen(self, names: Sequence[str]) -> None:
        if names:
            self._last_place = str(Path(names[0]).parent)
            self.add_sources(map(Path, names))

    def _remove(self, paths: Sequence[Path]) -> None:
        self.set_sources([source for source in self._sources if source not in paths])

    def _on_more(self, on: bool) -> None:
        self._pages.setCurrentIndex(1 if on else 0)
        self._right_title.setText("All text settings" if on else "The dataset as it will be learned")

    def _on_text_setting(self, key: str, value: object) -> None:
        self.form.edit(key, value)
        self.text_settings.show_config(self.form.config())  # the switch goes back if the value was refused

    def _on_settings_changed(self, config: Config) -> None:
        self.text_settings.show_config(config)
        self.settings_changed.emit(text_settings(config))

    def _on_cancel(self) -> None:
        self.cancel_button.setText("Stopping …")
        self.cancel_button.setEnabled(False)
        self.cancel_requested.emit()

    def _show_sources(self, entries: Sequence[SourceEntry] | None) -> None:
        self.drop_zone.show_sources(self._sources, entries)
        self._show_buttons()
        if self.dataset_view.empty:
            self._show_invitation()

    def _show_invitation(self) -> None:
        invitation = "Press Prepare to turn this text into a dataset." if self._sources else (
            "Add some text, or use the sample, to begin.")
        self._set_summary("A run is at work. Text can be prepared once it has stopped." if self._training
                          else invitation)

    def _set_summary(self, sentence: str) -> None:
        self._summary = sentence
        if not self._busy:
            self.summary_label.setText(sentence)

    def _show_buttons(self) -> None:
        free = not self._busy
        for widget in (self.add_button, self.sample_button):
            widget.setEnabled(free)
        self.text_settings.set_locked(self._busy or self._training)
        self.text_settings.more_button.setEnabled(free)
        self.dataset_combo.setEnabled(free and not self._training)
        self.form.set_locked(self._busy or self._training)
        self.remove_button.setEnabled(free and bool(self.drop_zone.tree.selected_sources()))
        self.prepare_button.setEnabled(free and not self._training and bool(self._sources))
        self.prepare_button.setToolTip("Stop the run first" if self._training else "Turn the text into a dataset")
        self.cancel_button.setEnabled(self._busy)

    def _show_notices(self) -> None:
        self._notice_label.setText("\n".join(self._notices[-SHOWN_NOTICES:]))
        self._notice_label.setToolTip("\n".join(self._notices))
        self._notice_label.setVisible(bool(self._notices))


def _button(text: str, object_name: str, tip: str, *, icon: str = "") -> QPushButton:
    button = QPushButton(text)
    button.setObjectName(object_name)
    button.setAccessibleName(text)
    button.setToolTip(tip)
    if icon:
        button.setIcon(theme.icon(icon))
    return button
