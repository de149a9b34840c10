"""Export: which checkpoint, which number format, where to; one button; then the proof. Writes nothing itself."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from atlas_core import format as people
from atlas_core.events import Exported, Progress
from atlas_core.runs import CheckpointInfo
from atlas_gui import theme

WIDTH_PX = 640
STATUS_LINES = 2  # room for an error and its remedy, so that the buttons stay where they are
SUFFIX = ".gguf"
PROGRAMS = ("Run it with llama.cpp (llama-cli in releases before December 2025)", "or with Ollama")


@dataclass(frozen=True)
class FileType:
    """A number format of GGUF: what it costs a parameter, and what it is good for."""

    name: str
    bytes_per_parameter: float
    meaning: str


# Q8_0 stores 32 numbers as 32 bytes and one 2-byte scale.
FILE_TYPES = (
    FileType("f16", 2, "half size, as good as the original; recommended"),
    FileType("bf16", 2, "half size, wide range, a little coarser than f16"),
    FileType("q8_0", 34 / 32, "a quarter of the size, hardly any loss, fastest on a processor"),
    FileType("f32", 4, "every bit as trained"),
)


class ExportDialog(QDialog):
    """All defaults are right: Enter exports. While it works, closing it cancels."""

    export_requested = Signal(Path, Path, str)  # checkpoint, file to write, type
    cancel_requested = Signal()
    open_folder_requested = Signal(Path)

    def __init__(self, checkpoints: Sequence[CheckpointInfo], model_name: str, default_folder: Path, parameters: int, *,
                 parent: QWidget | None = None) -> None:
        assert checkpoints, "there is nothing to export"
        super().__init__(parent)
        self._name, self._folder, self._parameters = model_name, default_folder, parameters
        self._busy = False
        self.setObjectName("exportDialog")
        self.setWindowTitle(f"Export {model_name}")
        self.setMinimumWidth(WIDTH_PX)
        self._build()
        self._lay_out()
        self._connect()
        self.set_checkpoints(checkpoints)
        self._on_type_chosen()

    # ---- what it is told

    def set_checkpoints(self, checkpoints: Sequence[CheckpointInfo]) -> None:
        """Offer these from now on: while training goes on, new ones come and old ones go. The chosen one stays so."""
        chosen, found = self.checkpoint_combo.currentData(), offered(checkpoints)
        paths = [info.path for info in found]
        with QSignalBlocker(self.checkpoint_combo):
            self.checkpoint_combo.clear()
            for info in found:
                self.checkpoint_combo.addItem(checkpoint_label(info), info.path)
            self.checkpoint_combo.setCurrentIndex(paths.index(chosen) if chosen in paths else 0)
        if chosen not in paths and chosen is not None and not self._busy:
            self._say(f"{chosen.name} has made room for newer ones. Another one is chosen.", role="warning")

    def set_progress(self, progress: Progress) -> None:
        self.progress_bar.setRange(0, progress.total)  # without a total the bar runs to and fro
        self.progress_bar.setValue(progress.done)
        self._say(f"{progress.label or 'writing'} …")

    def set_exported(self, exported: Exported) -> None:
        """The file is there: say what was proved, and how to use it."""
        self._set_busy(False)
        proof = "verified" if exported.verified else "not verified"
        self._say(f"{exported.path.name} is written: step {people.count(exported.step)}, "  # a newer best may have come
                  f"{people.size(exported.bytes)}, {proof}.",
                  role="good" if exported.verified else "warning")
        self._proof.setText("\n".join(f"✓ {check}" for check in exported.checks))
        self._proof.setVisible(bool(exported.checks))
        for line, command in zip(self._commands, commands(exported.path, self._name), strict=True):
            line.setText(command)
            line.setCursorPosition(0)
        self._folder = exported.path.parent
        self._result.show()
        self.close_button.setText("Done")
        self.close_button.setDefault(True)
        self.close_button.setFocus()
        self.adjustSize()

    def set_failed(self, error: str, remedy: str = "") -> None:
        """Nothing was written, for the reason given; everything may be changed and tried again."""
        self._set_busy(False)
        self._say(f"{error} {remedy}".strip(), role="bad")
        self.adjustSize()

    # ---- how it is made

    def _build(self) -> None:
        self.checkpoint_combo = QComboBox()
        self.checkpoint_combo.setObjectName("exportCheckpointCombo")
        self.checkpoint_combo.setAccessibleName("Checkpoint")
        self.type_combo = QComboBox()
        self.type_combo.setObjectName("exportTypeCombo")
        self.type_combo.setAccessibleName("Type")
        for kind in FILE_TYPES:
            self.type_combo.addItem(f"{kind.name.upper()} – {kind.meaning}", kind)
        self.forecast_label = QLabel()
        self.forecast_label.setObjectName("exportForecast")
        self.forecast_label.setProperty("role", "muted")
        self.path_edit = QLineEdit()
        self.path_edit.setObjectName("exportPathEdit")
        self.path_edit.setAccessibleName("File")
        self.browse_button = QPushButton("Browse …")
        self.browse_button.setAutoDefault(False)
        self.progress_bar = QProgressBar()
        self.progress_bar.setTextVisible(False)
        self.progress_bar.setFixedHeight(theme.spacing)
        self.progress_bar.setAccessibleName("Progress of the export")
        _keep_room(self.progress_bar)
        self.progress_bar.hide()
        self.status_label = _plain("exportStatus")
        self.status_label.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.status_label.setMinimumHeight(STATUS_LINES * self.status_label.fontMetrics().lineSpacing())
        self.start_button = QPushButton(theme.icon("export-variant", "on_accent"), "Export")
        self.start_button.setObjectName("exportStartButton")
        self.start_button.setProperty("role", "primary")
        self.start_button.setToolTip("Write the file, open it again and compare (Enter)")
        self.start_button.setDefault(True)
        self.close_button = QPushButton("Cancel")
        self.close_button.setObjectName("exportCloseButton")
        self.close_button.setAutoDefault(False)
        self._build_result()

    def _build_result(self) -> None:
        self._proof = _plain("exportProof")
        self._commands = [_command_line("llama.cpp"), _command_line("Ollama")]
        self.folder_button = QPushButton(theme.icon("folder-open-outline"), "Open folder")
        self.folder_button.setObjectName("exportFolderButton")
        self.folder_button.setAutoDefault(False)
        self._result = QFrame()
        self._result.setProperty("role", "card")
        self._result.hide()

    def _lay_out(self) -> None:
        path = QHBoxLayout()
        path.addWidget(self.path_edit, 1)
        path.addWidget(self.browse_button)
        form = QFormLayout()
        form.setSpacing(theme.spacing * 3 // 2)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Checkpoint", self.checkpoint_combo)
        form.addRow("Type", self.type_combo)
        form.addRow("File", path)
        form.addRow("", self.forecast_label)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.close_button)
        buttons.addWidget(self.start_button)
        self._lay_out_result()
        column = QVBoxLayout(self)
        column.setContentsMargins(*[3 * theme.spacing] * 4)
        column.setSpacing(theme.spacing * 3 // 2)
        column.addLayout(form)
        column.addWidget(self.progress_bar)
        column.addWidget(self.status_label)
        column.addWidget(self._result)
        column.addStretch(1)
        column.addLayout(buttons)
        self.start_button.setFocus()

    def _lay_out_result(self) -> None:
        column = QVBoxLayout(self._result)
        column.setContentsMargins(*[2 * theme.spacing] * 4)
        column.setSpacing(theme.spacing)
        column.addWidget(self._proof)
        for program, line in zip(PROGRAMS, self._commands, strict=True):
            heading = QLabel(program)
            heading.setProperty("role", "muted")
            row = QHBoxLayout()
            row.addWidget(line, 1)
            row.addWidget(_copy_button(line))
            column.addWidget(heading)
            column.addLayout(row)
        column.addWidget(self.folder_button, 0, Qt.AlignmentFlag.AlignLeft)

    def _connect(self) -> None:
        self.type_combo.currentIndexChanged.connect(self._on_type_chosen)
        self.checkpoint_combo.currentIndexChanged.connect(self._forget_result)
        self.path_edit.textChanged.connect(self._on_path_changed)
        self.browse_button.clicked.connect(self._on_browse)
        self.start_button.clicked.connect(self._on_start)
        self.close_button.clicked.connect(self.reject)
        self.folder_button.clicked.connect(lambda: self.open_folder_requested.emit(self._folder))

    # ---- what the person does

    def _type(self) -> FileType:
        return self.type_combo.currentData()

    def _path(self) -> Path:
        path = Path(self.path_edit.text().strip()).expanduser()
        return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)

    def _on_type_chosen(self) -> None:
        self._forget_result()
        self.forecast_label.setText(f"about {people.size(forecast_bytes(self._parameters, self._type()))}")
        if not self.path_edit.isModified():  # a name that the person chose stays
            self.path_edit.setText(str(self._folder / f"{self._name}-{self._type().name}{SUFFIX}"))

    def _on_path_changed(self, text: str) -> None:
        self._forget_result()
        self.start_button.setEnabled(bool(Path(text.strip()).name))

    def _on_browse(self) -> None:
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Export to", self.path_edit.text(), f"GGUF (*{SUFFIX})",
            options=QFileDialog.Option.DontConfirmOverwrite)  # Export asks, and once is enough
        if chosen:
            self.path_edit.setText(chosen)
            self.path_edit.setModified(True)

    def _on_start(self) -> None:
        if self._path().is_file():  # a folder is refused, and that needs no question
            self._ask_to_overwrite()
        else:
            self._start()

    def _ask_to_overwrite(self) -> None:
        question = QMessageBox(self)
        question.setObjectName("overwriteDialog")
        question.setWindowTitle("Overwrite?")
        question.setIcon(QMessageBox.Icon.Question)
        question.setTextFormat(Qt.TextFormat.PlainText)
        question.setText(f"{self._path().name} exists already.")
        question.setInformativeText("The new file takes its place once it is complete.")
        overwrite = question.addButton("Overwrite", QMessageBox.ButtonRole.DestructiveRole)
        keep = question.addButton("Keep it", QMessageBox.ButtonRole.RejectRole)
        question.setDefaultButton(keep)
        question.setEscapeButton(keep)
        question.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        overwrite.clicked.connect(self._start)
        question.open()

    def _start(self) -> None:
        self._forget_result()
        self._set_busy(True)
        self._say("reading the checkpoint …")
        self.export_requested.emit(self.checkpoint_combo.currentData(), self._path(), self._type().name)

    def _set_busy(self, busy: bool) -> None:
        self._busy = busy
        self.progress_bar.setRange(0, 0)
        self.progress_bar.setVisible(busy)
        for widget in (self.checkpoint_combo, self.type_combo, self.path_edit, self.browse_button, self.start_button):
            widget.setEnabled(not busy)

    def _forget_result(self) -> None:
        """What is shown below belongs to another choice than the one above."""
        if self._busy:
            return
        self._say("")
        self._result.hide()
        self.close_button.setText("Cancel")
        self.start_button.setDefault(True)

    def _say(self, text: str, *, role: str = "muted") -> None:
        theme.set_role(self.status_label, role)
        self.status_label.setText(text)

    def reject(self) -> None:
        if self._busy:
            self._busy = False
            self.cancel_requested.emit()
        super().reject()


def forecast_bytes(parameters: int, kind: FileType) -> int:
    """The size of the weights in the file; norms and the vocabulary add a little."""
    return round(parameters * kind.bytes_per_parameter)


def offered(checkpoints: Sequence[CheckpointInfo]) -> list[CheckpointInfo]:
    """The best one first, then the newest; the first is the one most people want."""
    return sorted(checkpoints, key=lambda info: (info.kind == "best", info.step, info.saved_at), reverse=True)


def checkpoint_label(info: CheckpointInfo) -> str:
    value = info.val_loss if info.val_loss is not None else info.loss
    name = "best" if info.kind == "best" else f"{info.kind} checkpoint"
    return f"{name} · step {people.count(info.step)} · loss {people.loss(value)}"


def commands(path: Path, name: str) -> tuple[str, str]:
    """What to type for llama.cpp and for Ollama: in a shell, on Windows in PowerShell."""
    windows = sys.platform == "win32"
    quote = _for_powershell if windows else shlex.quote
    file, model = quote(str(path)), quote(name.lower())
    # Not llama-cli, which only chats since December 2025.
    llama = f'llama-completion -m {file} -no-cnv -p "Once upon a time"'
    # The template hands the text over as it is; Ollama would dress it up as a chat.
    lines = [quote(f"FROM {path}"), quote('TEMPLATE "{{ .Prompt }}"')]
    create, run = f"ollama create {model} -f Modelfile", f"ollama run {model}"
    if windows:
        return llama, f"{', '.join(lines)} | Set-Content Modelfile; {create}; {run}"
    return llama, f"printf '%s\\n' {' '.join(lines)} > Modelfile && {create} && {run}"


def _for_powershell(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _plain(name: str) -> QLabel:
    label = QLabel()
    label.setObjectName(name)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setWordWrap(True)
    return label


def _command_line(program: str) -> QLineEdit:
    line = QLineEdit()
    line.setReadOnly(True)
    line.setFont(theme.mono_font())
    line.setAccessibleName(f"Command for {program}")
    return line


def _copy_button(line: QLineEdit) -> QToolButton:
    button = QToolButton()
    button.setIcon(theme.icon("content-copy"))
    button.setToolTip("Copy the command")
    button.setAccessibleName("Copy the command")
    button.clicked.connect(lambda: QApplication.clipboard().setText(line.text()))
    return button


def _keep_room(widget: QWidget) -> None:
    """Let nothing below jump when the widget comes and goes."""
    policy = widget.sizePolicy()
    policy.setRetainSizeWhenHidden(True)
    widget.setSizePolicy(policy)
