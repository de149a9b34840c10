"""The Model tab: cards, the form behind them, memory against the machine."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QInputDialog, QLabel

from atlas_core import config as settings
from atlas_core import memory, presets
from atlas_core.config import Config
from atlas_core.format import SPACE
from atlas_core.hardware.device import MachineMemory, expected_memory
from atlas_gui import theme
from atlas_gui.run_time import Expected
from atlas_gui.tabs.model import ModelTab
from atlas_gui.widgets.command_line import train_command

GIB = 2**30


@pytest.fixture
def tab(qtbot):
    tab = ModelTab()
    qtbot.addWidget(tab)
    tab.set_presets(presets.all_presets(), selected="TINY")
    tab.set_machine(MachineMemory(8 * GIB, 6 * GIB, "cpu"))
    tab.resize(1020, 660)
    with qtbot.waitExposed(tab):
        tab.show()
    return tab


def test_the_cards_are_the_presets_from_smallest_to_largest(tab):
    assert tab.preset_list.names() == list(presets.all_presets())
    assert tab.preset_list.selected() == "TINY"
    assert tab.config() == presets.find("TINY").config


def test_a_card_tells_computed_size_and_verdict(tab):
    for name, preset in presets.all_presets().items():
        need = expected_memory(preset.config, "cpu").total_bytes
        assert memory.verdict(need, 8 * GIB) in tab.preset_list.card(name).accessibleName()


def test_a_click_anywhere_on_a_card_chooses_it(tab, qtbot):
    with qtbot.waitSignal(tab.config_changed) as signal:
        qtbot.mouseClick(tab.preset_list.card("NANO"), Qt.MouseButton.LeftButton)
    assert signal.args[0] == presets.find("NANO").config
    assert tab.preset_list.selected() == "NANO"


def test_arrow_keys_walk_through_the_cards(tab, qtbot):
    card = tab.preset_list.card("TINY")
    card.setFocus()
    with qtbot.waitSignal(tab.config_changed) as signal:
        qtbot.keyClick(card, Qt.Key.Key_Down)
    assert signal.args[0].name == "SMALL"
    assert tab.preset_list.card("SMALL").hasFocus()


def test_every_kind_of_memory_has_a_colour():
    assert len(expected_memory(presets.find("NANO").config, "cpu").items) <= len(theme.SERIES)


def test_the_memory_bar_moves_with_the_form(tab):
    before = tab.memory_bar.total_bytes
    tab.form.edit("training.batch_size", 64)
    assert tab.memory_bar.total_bytes == expected_memory(tab.config(), "cpu").total_bytes > before


def test_fit_is_offered_whatever_the_machine_holds_for_less_may_be_free(tab, qtbot):
    assert "Fits" in tab.findChild(QLabel, "memoryVerdict").text() and tab.fit_button.isEnabled()
    tab.form.edit("training.batch_size", 256)
    assert "Too big" in tab.findChild(QLabel, "memoryVerdict").text()
    with qtbot.waitSignal(tab.fit_requested):
        qtbot.mouseClick(tab.fit_button, Qt.MouseButton.LeftButton)


def test_reset_all_returns_to_the_preset(tab, qtbot):
    tab.form.edit("model.num_layers", 4)
    tab.form.edit("model.num_heads", 7)
    with qtbot.waitSignal(tab.config_changed):
        qtbot.mouseClick(tab.reset_all_button, Qt.MouseButton.LeftButton)
    assert tab.config() == presets.find("TINY").config
    assert tab.problems() == []


def test_showing_a_configuration_emits_nothing_and_keeps_its_preset_as_the_original(tab, qtbot):
    changed = presets.find("NANO").config.replace({"training.max_steps": 777})
    with qtbot.assertNotEmitted(tab.config_changed):
        tab.set_config(changed)
    assert tab.preset_list.selected() == "NANO"
    assert tab.form.changes() == {"training.max_steps": 777}


def test_settings_from_elsewhere_are_laid_over_what_is_there(tab, qtbot):
    tab.form.edit("model.num_layers", 4)
    with qtbot.waitSignal(tab.config_changed) as signal:
        tab.apply_changes({"tokenizer.name": "bpe:1024"})
    assert signal.args[0].tokenizer.name == "bpe:1024"
    assert signal.args[0].model.vocab_size == 1024
    assert signal.args[0].model.num_layers == 4


def test_a_configuration_of_no_preset_leaves_no_card_chosen(tab):
    tab.set_config(Config(name="my-run"))
    assert tab.preset_list.selected() == ""
    assert tab.form.changes() == {}


def test_epochs_follow_from_steps_and_text(tab):
    assert tab.epochs() is None
    tab.set_dataset_tokens(tab.config().tokens_per_step * 100)
    assert tab.epochs() == tab.config().training.max_steps / 100


def test_a_text_that_is_read_so_often_that_it_may_be_learned_by_heart_is_told_so(tab):
    facts = tab.findChild(QLabel, "modelFacts")
    per_run = tab.config().training.max_steps * tab.config().tokens_per_step
    for readings, said in ((4, False), (16, True)):
        tab.set_dataset_tokens(per_run // readings)
        assert f"reads your text {readings}" in facts.text()
        assert ("may learn it by heart" in facts.text()) == said


def test_while_training_nothing_can_be_changed_and_that_is_said(tab, qtbot):
    tab.set_enabled(False)
    with qtbot.assertNotEmitted(tab.config_changed, wait=20):
        qtbot.mouseClick(tab.preset_list.card("NANO"), Qt.MouseButton.LeftButton)
    assert "Stop it to change them" in tab.findChild(QLabel, "modelNotice").text()
    tab.set_enabled(True)
    assert not tab.findChild(QLabel, "modelNotice").isVisible()


def test_the_time_of_the_whole_run_is_told_and_whether_it_was_measured(tab):
    tab.set_times({"TINY": Expected(36_000.0, measured=True), "SMALL": Expected(7200.0, measured=False)},
                  Expected(36_000.0, measured=True))
    facts = tab.findChild(QLabel, "modelFacts")
    assert "takes about 10\N{NARROW NO-BREAK SPACE}h here" in facts.text()
    assert "about 10" in tab.preset_list.card("TINY").accessibleDescription()
    assert "roughly 2" in tab.preset_list.card("SMALL").accessibleDescription()
    tab.form.edit("model.num_layers", 4)
    assert "takes" not in facts.text()
    tab.set_times({}, Expected(18_000.0, measured=False))
    assert "takes roughly 5\N{NARROW NO-BREAK SPACE}h here, guessed from other models" in facts.text()


def test_the_minutes_a_run_may_take_are_asked_for_though_the_speed_is_not_known_yet(tab, qtbot):
    assert tab.time_button.isEnabled()
    qtbot.mouseClick(tab.time_button, Qt.MouseButton.LeftButton)
    dialog = tab.findChild(QInputDialog, "setTimeDialog")
    assert dialog.doubleValue() == 10.0
    dialog.setDoubleValue(25.0)
    with qtbot.waitSignal(tab.time_wished) as signal:
        dialog.accept()
    assert signal.args == [25.0]


def test_the_copied_line_says_exactly_what_differs(tab, qtbot):
    tab.set_command_line_context(Path("my data"), Path("run"))
    tab.form.edit("training.max_steps", 777)
    tab.form.edit("model.tie_weights", False)
    qtbot.mouseClick(tab.command_line.copy_button, Qt.MouseButton.LeftButton)
    words = shlex.split(QGuiApplication.clipboard().text())
    assert words == ["atlas", "train", "--preset", "TINY", "--data", "my data", "--out", "run",
                     "--set", "model.tie_weights=false", "--set", "training.max_steps=777"]


def test_without_a_run_the_line_names_none(tab):
    tab.set_command_line_context(Path("data"), None)
    assert "--out" not in tab.command_line.line_edit.text()


def test_the_line_read_by_the_terminal_gives_the_same_configuration():
    base = presets.find("NANO").config
    changes = {"sampling.prompts": ("KING:\n", "a, b"), "training.learning_rate": 3e-5, "model.dropout": 0.2,
               "tokenizer.name": "bpe:1024", "hardware.threads": 2, "sampling.stop": ("\n\n",)}
    wanted = base.replace(changes)
    words = shlex.split(train_command(wanted, base, dataset=None, run=None))
    overrides = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    path = presets.find("NANO").path
    assert settings.load(path, overrides=overrides) == wanted


def test_a_name_for_a_preset_is_asked_and_handed_out(tab, qtbot):
    qtbot.mouseClick(tab.save_preset_button, Qt.MouseButton.LeftButton)
    dialog = tab.findChild(QInputDialog)
    dialog.setTextValue("  Mine ")
    with qtbot.waitSignal(tab.save_preset_requested) as signal:
        dialog.accept()
    assert signal.args == ["Mine"]


def test_a_part_of_the_text_is_told_as_a_share(tab):
    tab.set_dataset_tokens(100 * tab.config().training.max_steps * tab.config().tokens_per_step)
    assert "reads 1 % of your text".replace(" %", f"{SPACE}%") in tab.findChild(QLabel, "modelFacts").text()


def test_settings_of_another_run_are_not_told_to_be_those_of_the_run_at_work(tab):
    tab.set_enabled(False, shows_the_run=False)
    assert "settings of its own" in tab.findChild(QLabel, "modelNotice").text()


def test_settings_from_elsewhere_that_change_nothing_leave_the_time_told(tab):
    tab.set_times({}, Expected(600.0, measured=True))
    tab.apply_changes({"tokenizer.name": tab.config().tokenizer.name})
    assert "about 10" in tab.findChild(QLabel, "modelFacts").text()


def test_another_card_leaves_the_text_settings_that_were_made(tab, qtbot):
    tab.apply_changes({"data.text_field": "content", "tokenizer.name": "bpe:8192", "training.learning_rate": 1e-3})
    qtbot.mouseClick(tab.preset_list.card("NANO"), Qt.MouseButton.LeftButton)
    expected = presets.find("NANO").config.replace(
        {"data.text_field": "content", "tokenizer.name": "bpe:8192", "model.vocab_size": 8192})
    assert tab.config() == expected
    assert tab.original() == presets.find("NANO").config


def test_a_card_that_a_text_setting_contradicts_is_shown_without_it(tab, qtbot):
    tab.apply_changes({"data.stride": 256, "data.text_field": "content"})  # NANO has windows of 128 tokens
    qtbot.mouseClick(tab.preset_list.card("NANO"), Qt.MouseButton.LeftButton)
    assert tab.config() == presets.find("NANO").config.replace({"data.text_field": "content"})
    assert "NANO leaves out what does not agree with it" in tab.findChild(QLabel, "fitReasons").text()


def test_an_entry_that_waits_to_agree_survives_settings_from_elsewhere(tab):
    tab.form.edit("model.num_heads", 7)  # the width of 512 is no multiple
    assert tab.form.pending() == {"model.num_heads": 7}
    tab.apply_changes({"tokenizer.name": tab.config().tokenizer.name})
    tab.apply_changes({"hardware.target_temperature": 70.0})
    assert tab.form.pending() == {"model.num_heads": 7}
    tab.apply_changes({"model.hidden_size": 448})
    assert tab.config().model.num_heads == 7
    assert tab.form.pending() == {}


def test_a_card_that_is_new_is_wholly_in_sight(tab, qtbot):
    own = {f"OWN {number}": presets.Preset(f"OWN {number}", Config(name=f"OWN {number}"), builtin=False,
                                           path=Path())
           for number in range(8)}
    tab.set_presets({**presets.all_presets(), **own}, selected="OWN 7")
    qtbot.waitUntil(lambda: not tab.preset_list.card("OWN 7").visibleRegion().isEmpty(), timeout=2000)
    card = tab.preset_list.card("OWN 7")
    qtbot.waitUntil(lambda: card.visibleRegion().boundingRect() == card.rect(), timeout=2000)
