"""The Model tab: the presets as cards, and behind the chosen one every setting.

A view: it shows a configuration and hands out the one the person made of it. Memory comes from
`memory.py`; speed, data and machine are told to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QDoubleSpinBox,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from atlas_core import fitting, format, memory
from atlas_core.config import SECTIONS, Config
from atlas_core.errors import ConfigError
from atlas_core.hardware.device import MachineMemory, expected_memory
from atlas_core.presets import Preset
from atlas_gui import sentences, theme
from atlas_gui.run_time import Expected
from atlas_gui.widgets.command_line import CommandLine, train_command
from atlas_gui.widgets.config_form import ConfigForm, in_words
from atlas_gui.widgets.eliding_label import ElidingLabel
from atlas_gui.widgets.memory_bar import MemoryBar
from atlas_gui.widgets.preset_card import VERDICT_ROLES, VERDICT_SIGNS, CardFacts
from atlas_gui.widgets.preset_list import PresetList
from atlas_gui.widgets.text_settings import vocabulary_size

CARDS_WIDTH = 400
MINUTES, USUAL_MINUTES = (0.1, 60 * 24 * 365.0), 10.0
ASK_WIDTH = 360  # else the title of the window does not fit
LEAST_SHARE = 0.01  # less is told as so much
TEXT_SECTIONS = ("data", "tokenizer")  # these are the Data tab's


class ModelTab(QWidget):
    """Cards on the left, the form on the right; always holds a valid configuration."""

    config_changed = Signal(Config)
    fit_requested = Signal()
    time_wished = Signal(float)  # minutes that a run may take
    rate_test_requested = Signal()
    save_preset_requested = Signal(str)
    delete_preset_requested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._presets: dict[str, Preset] = {}
        self._original = Config()
        self._machine_bytes = 0
        self._device = "cpu"
        self._dataset_tokens = 0
        self._times: dict[str, Expected] = {}
        self._time: Expected | None = None
        self._dataset: Path | None = None
        self._run: Path | None = None
        self._hardware: dict[str, Any] = {}
        self._locked = self._shows_the_run = False
        self._build()
        self._connect()
        self._show_config()

    def _build(self) -> None:
        self.preset_list = PresetList()
        self.preset_list.setFixedWidth(CARDS_WIDTH)
        self.form = ConfigForm(sections=[section for section in SECTIONS if section not in TEXT_SECTIONS])
        self.command_line = CommandLine()
        self._notice = QLabel()
        self._notice.setWordWrap(True)
        self._notice.setObjectName("modelNotice")
        theme.set_role(self._notice, "warning")
        right = QVBoxLayout()
        right.setSpacing(theme.spacing)
        right.addLayout(self._build_title())
        right.addLayout(self._build_facts())
        right.addLayout(self._build_memory())
        right.addWidget(self._notice)
        right.addWidget(self.form, 1)
        right.addWidget(self.command_line)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(*(2 * theme.spacing,) * 4)
        layout.setSpacing(2 * theme.spacing)
        layout.addWidget(self.preset_list)
        layout.addLayout(right, 1)

    def _build_title(self) -> QHBoxLayout:
        self._title = ElidingLabel()
        theme.set_role(self._title, "title")
        self.reset_all_button = QPushButton("Reset all")
        self.reset_all_button.setObjectName("resetAllButton")
        self.reset_all_button.setToolTip("Take every setting back to the preset's")
        self.save_preset_button = QPushButton("Save as preset…")
        self.save_preset_button.setObjectName("savePresetButton")
        self.save_preset_button.setToolTip("Keep these settings under a name of your own, as another card")
        self.rate_button = QPushButton("Find the learning rate…")
        self.rate_button.setObjectName("findRateButton")
        line = QHBoxLayout()
        line.addWidget(self._title, 1)
        line.addWidget(self.rate_button)
        self.delete_preset_button = QPushButton("Delete preset…")
        self.delete_preset_button.setObjectName("deletePresetButton")
        self.delete_preset_button.setToolTip("Take this card of your own off the list")
        line.addWidget(self.reset_all_button)
        line.addWidget(self.delete_preset_button)
        line.addWidget(self.save_preset_button)
        return line

    def _build_facts(self) -> QHBoxLayout:
        self._facts = QLabel()
        self._facts.setObjectName("modelFacts")
        self._facts.setWordWrap(True)
        theme.set_role(self._facts, "muted")
        self.time_button = QPushButton("Set the time…")
        self.time_button.setObjectName("setTimeButton")
        self.time_button.setToolTip("Plan for as many steps as this machine makes in the minutes you have")
        line = QHBoxLayout()
        line.addWidget(self._facts, 1)
        line.addWidget(self.time_button)
        return line

    def _build_memory(self) -> QVBoxLayout:
        self.memory_bar = MemoryBar(legend=True)
        self.memory_bar.setObjectName("memoryBar")
        self._verdict = QLabel()
        self._verdict.setObjectName("memoryVerdict")
        self.fit_button = QPushButton("Make it fit")
        self.fit_button.setObjectName("fitButton")
        self.fit_button.setAccessibleName("Make it fit")
        self.fit_button.setToolTip("Smaller batches, as many more of them, and gradient checkpointing if need be: "
                                   "the model learns the same with less memory")
        line = QHBoxLayout()
        line.addWidget(self._verdict, 1)
        line.addWidget(self.fit_button)
        self._reasons = QLabel()
        self._reasons.setObjectName("fitReasons")
        self._reasons.setWordWrap(True)
        self._reasons.hide()
        theme.set_role(self._reasons, "muted")
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addLayout(line)
        column.addWidget(self.memory_bar)
        column.addWidget(self._reasons)
        return column

    def _connect(self) -> None:
        self.preset_list.chosen.connect(self._on_chosen)
        self.form.config_changed.connect(self._on_form_changed)
        self.form.problems_changed.connect(self._show_title)
        self.fit_button.clicked.connect(self.fit_requested)
        self.time_button.clicked.connect(self._on_set_time)
        self.rate_button.clicked.connect(self.rate_test_requested)
        self.reset_all_button.clicked.connect(lambda: self._take_over(self._original))
        self.save_preset_button.clicked.connect(self._on_save_preset)
        self.delete_preset_button.clicked.connect(self._on_delete_preset)

    def config(self) -> Config:
        """The last configuration in which everything agreed."""
        return self.form.config()

    def problems(self) -> list[str]:
        """Entries that contradict each other and are not part of `config()`."""
        return self.form.problems()

    def epochs(self) -> float | None:
        """How often the run reads the whole training text; None while there is no text."""
        if not self._dataset_tokens:
            return None
        return self.config().training.max_steps * self.config().tokens_per_step / self._dataset_tokens

    def set_presets(self, presets: Mapping[str, Preset], *, selected: str = "") -> None:
        """Show these presets in their order; `selected` is chosen and its configuration shown."""
        self._presets = dict(presets)
        self.preset_list.set_names(self._presets)
        self._show_cards()
        if selected in self._presets:
            self._show(self._presets[selected].config)
        else:
            self.preset_list.select(self.config().name)
            self._show_config()

    def set_config(self, config: Config) -> None:
        """Show `config`, and choose the card of its name if there is one. Emits nothing."""
        if config != self.config():  # else an entry that still contradicts another would be lost
            self._show(config)
        self.preset_list.select(config.name)

    def original(self) -> Config:
        """The preset behind the settings, or the configuration that was set where there is none."""
        return self._original

    def _show(self, config: Config) -> None:
        preset = self._presets.get(config.name)
        self._original = preset.config if preset else config
        self.preset_list.select(config.name)
        self.form.set_config(config, original=self._original)
        self._forget()
        self._show_config()

    def apply_changes(self, changes: Mapping[str, Any]) -> None:
        """Take over settings made elsewhere, such as the Data tab's; emits `config_changed` if any differ.

        A tokenizer of another size takes `model.vocab_size` along, and entries that wait to agree with others go on
        waiting. Raises `ConfigError` if the settings contradict the others.
        """
        config = _changed(self.config(), changes)
        if config == self.config():
            return
        waiting = {key: value for key, value in self.form.pending().items() if key not in changes}
        self._take_over(config)
        for key, value in waiting.items():
            self.form.edit(key, value)

    def set_machine(self, machine: MachineMemory) -> bool:
        """Memory to compare with, and whose it is. Whether that is another one than before."""
        if (machine.total_bytes, machine.device) == (self._machine_bytes, self._device):
            return False
        self._machine_bytes, self._device = machine.total_bytes, machine.device
        self._show_cards()
        self._show_config()
        return True

    def set_dataset_tokens(self, tokens: int) -> None:
        """Size of the training text; 0 while there is none."""
        self._dataset_tokens = tokens
        self._show_config()

    def set_times(self, by_preset: Mapping[str, Expected], own: Expected | None) -> None:
        """How long a run takes: of each preset that is known, and of the settings as they are now."""
        self._times, self._time = dict(by_preset), own
        self._show_cards()
        self._show_config()

    def set_command_line_context(self, dataset: Path | None, run: Path | None,
                                 hardware: Mapping[str, Any] | None = None) -> None:
        """What stands in the command beside the settings; `hardware` is what the program's own settings choose."""
        self._dataset, self._run, self._hardware = dataset, run, dict(hardware or {})
        self._show_command()

    def set_enabled(self, enabled: bool, *, shows_the_run: bool = True) -> None:
        """Lock everything that would change the configuration while a run is at work, and say whether it is that run's.
        """
        self._locked, self._shows_the_run = not enabled, shows_the_run
        self.preset_list.setEnabled(enabled)
        self.form.set_locked(not enabled)
        self.reset_all_button.setEnabled(enabled)
        self.delete_preset_button.setEnabled(enabled)
        self._show_config()

    def explain(self, reasons: str, *, role: str = "muted") -> None:
        """Why the settings are what they are now; gone with the next change."""
        theme.set_role(self._reasons, role)
        self._reasons.setText(in_words(reasons))
        self._reasons.setVisible(bool(reasons))

    def _forget(self) -> None:
        """What was told of the settings before says nothing of these."""
        self._time = None
        self.explain("")

    def _on_chosen(self, name: str) -> None:
        """Show a preset with the text settings of before, as far as they agree with it."""
        own = {key: value for key, value in self.form.changes().items() if key.partition(".")[0] in TEXT_SECTIONS}
        config, problems = self._presets[name].config, []
        for key, value in own.items():
            try:
                config = _changed(config, {key: value})
            except ConfigError as error:
                problems += error.problems
        self._take_over(config)
        if problems:
            self.explain(f"{name} leaves out what does not agree with it: {'; '.join(problems)}.", role="warning")

    def _take_over(self, config: Config) -> None:
        before, time = self.config(), self._time
        self._show(config)
        if config != before:
            self.config_changed.emit(config)
        else:
            self._time = time
            self._show_config()

    def _on_form_changed(self, config: Config) -> None:
        self._forget()
        self._show_config()
        self.config_changed.emit(config)

    def _on_set_time(self) -> None:
        dialog = QInputDialog(self)
        dialog.setObjectName("setTimeDialog")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle("Set the time")
        dialog.setInputMode(QInputDialog.InputMode.DoubleInput)
        dialog.setDoubleRange(*MINUTES)
        dialog.setDoubleDecimals(1)
        dialog.setDoubleValue(self._time.seconds / 60 if self._time else USUAL_MINUTES)
        dialog.setLabelText("Minutes that training may take. It is planned for as many steps as\n"
                            "this machine makes meanwhile, and its learning rate falls within them:")
        dialog.doubleValueSelected.connect(self.time_wished)
        for spin in dialog.findChildren(QDoubleSpinBox):
            spin.setSuffix(" min")
        dialog.open()

    def _on_save_preset(self) -> None:
        dialog = QInputDialog(self)
        dialog.setObjectName("savePresetDialog")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle("Save as preset")
        dialog.resize(ASK_WIDTH, dialog.sizeHint().height())
        dialog.setLabelText("A name for these settings:")
        dialog.setTextValue("" if self.config().name in self._presets else self.config().name)
        dialog.textValueSelected.connect(self._on_preset_named)
        dialog.open()

    def _on_preset_named(self, name: str) -> None:
        if name.strip():
            self.save_preset_requested.emit(name.strip())

    def _on_delete_preset(self) -> None:
        name = self.config().name
        question = QMessageBox(self)
        question.setObjectName("deletePresetDialog")
        question.setWindowTitle("Delete this preset?")
        question.setIcon(QMessageBox.Icon.Warning)
        question.setTextFormat(Qt.TextFormat.PlainText)
        question.setText(f"Delete the preset {name}?")
        question.setInformativeText("Runs that were trained with it keep their settings.")
        delete = question.addButton("Delete", QMessageBox.ButtonRole.DestructiveRole)
        delete.setObjectName("deletePresetYesButton")
        keep = question.addButton("Keep it", QMessageBox.ButtonRole.RejectRole)
        question.setDefaultButton(keep)
        question.setEscapeButton(keep)
        question.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        delete.clicked.connect(lambda: self.delete_preset_requested.emit(name))
        question.open()

    def _show_cards(self) -> None:
        for name, preset in self._presets.items():
            need = expected_memory(preset.config, self._device)
            self.preset_list.show_facts(name, CardFacts(
                parameters=memory.count_parameters(preset.config.model),
                character=preset.config.description,
                memory=need.items,
                available_bytes=self._machine_bytes,
                verdict=memory.verdict(need.total_bytes, self._machine_bytes) if self._machine_bytes else "",
                time=sentences.how_long(self._times[name]) if name in self._times else "",
            ))

    def _show_config(self) -> None:
        self._show_title()
        self._show_rate_button()
        self._show_time_button()
        self._facts.setText(" · ".join(self._sentences()))
        self._show_memory()
        self._show_command()

    def _show_title(self) -> None:
        changed, waiting = len(self.form.changes()), len(self.form.problems())
        self._title.setText(self.config().name + (f" · {changed} change{'s' * (changed != 1)}" if changed else ""))
        self.reset_all_button.setVisible(bool(changed or waiting))
        preset = self._presets.get(self.config().name)
        self.delete_preset_button.setVisible(preset is not None and not preset.builtin)
        notice = "" if not self._locked else (
            "These are the settings of the run at work. Stop it to change them." if self._shows_the_run else
            "The run at work has settings of its own. Stop it to change these.")
        if waiting:
            notice = "Some entries below contradict each other and are not used yet."
        self._notice.setText(notice)
        self._notice.setVisible(bool(notice))

    def _show_rate_button(self) -> None:
        self.rate_button.setEnabled(bool(self._dataset_tokens) and not self._locked)
        help = "A short training on your text at rising learning rates, thrown away afterwards"
        if not self._dataset_tokens:
            help = "Prepare the text on the Data tab first"
        self.rate_button.setToolTip("Stop the run first" if self._locked else help)

    def _show_time_button(self) -> None:
        self.time_button.setEnabled(not self._locked)

    def _sentences(self) -> list[str]:
        config = self.config()
        steps, tokens = config.training.max_steps, config.tokens_per_step
        said = [f"{format.short_count(memory.count_parameters(config.model))} parameters",
                f"{format.count(steps)} steps of {format.count(tokens)} tokens"]
        epochs = self.epochs()
        if epochs is not None:
            by_heart = " and may learn it by heart" if fitting.may_learn_by_heart(epochs) else ""
            said.append(f"reads your text {format.times(epochs)}{by_heart}" if epochs >= 1 else
                        f"reads {format.percent(max(epochs, LEAST_SHARE))} of your text")
        if self._time is not None:
            said.append(f"takes {sentences.how_long(self._time)} here" +
                        ("" if self._time.measured else ", guessed from other models"))
        return said

    def _show_memory(self) -> None:
        need = expected_memory(self.config(), self._device)
        self.memory_bar.set_memory(need.items, self._machine_bytes)
        if not self._machine_bytes:
            self._verdict.setText(f"Needs about {format.size(need.total_bytes)} of memory")
            self.fit_button.setEnabled(False)
            return
        verdict = memory.verdict(need.total_bytes, self._machine_bytes)
        where = "this computer" if self._device == "cpu" else "graphics card"
        self._verdict.setText(f"{VERDICT_SIGNS[verdict]} {verdict.capitalize()}: needs {format.size(need.total_bytes)} "
                              f"of {format.size(self._machine_bytes)} ({where})")
        theme.set_role(self._verdict, VERDICT_ROLES[verdict])
        self.fit_button.setEnabled(not self._locked)

    def _show_command(self) -> None:
        base = self._presets[self.config().name].config if self.config().name in self._presets else (
            next(iter(self._presets.values())).config if self._presets else self._original)
        config = self.config().replace(self._hardware)
        self.command_line.set_command(train_command(config, base, dataset=self._dataset, run=self._run))


def _changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """`config` with `changes`, and with as large a vocabulary as its tokenizer has."""
    size = vocabulary_size(changes.get("tokenizer.name", config.tokenizer.name))
    along = {"model.vocab_size": size} if size else {}
    return config.replace({**along, **changes})
