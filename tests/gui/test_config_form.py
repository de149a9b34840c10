"""The form: made from the table of settings, valid at every moment, calm under the wheel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication, QCheckBox, QComboBox, QWidget

from atlas_core.config import Config, settings
from atlas_gui.widgets.config_form import ConfigForm, in_words
from atlas_gui.widgets.number_spin import NumberSpin
from atlas_gui.widgets.setting_editor import join_texts, split_texts


@pytest.fixture
def form(qtbot):
    form = ConfigForm()
    qtbot.addWidget(form)
    form.resize(600, 500)
    with qtbot.waitExposed(form):
        form.show()
    return form


def editor(form: ConfigForm, key: str) -> QWidget:
    found = form.findChild(QWidget, key)
    assert found is not None, key
    return found


def type_into(qtbot, spin: QWidget, text: str) -> None:
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, text)


def wheel_over(widget: QWidget) -> None:
    middle = QPointF(widget.rect().center())
    event = QWheelEvent(middle, widget.mapToGlobal(middle), QPoint(0, 0), QPoint(0, 120), Qt.MouseButton.NoButton,
                        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False)
    QApplication.sendEvent(widget, event)


def test_every_setting_has_an_editor_with_its_help_and_bounds(form):
    for key, setting in settings().items():
        widget = editor(form, key)
        assert setting.help in widget.toolTip()
        assert setting.bounds in widget.toolTip()
        assert widget.accessibleName()


def test_showing_a_configuration_emits_nothing_and_shows_its_values(form, qtbot):
    config = Config().replace({"model.num_layers": 3, "training.precision": "bf16", "sampling.seed": 2**63 - 1})
    with qtbot.assertNotEmitted(form.config_changed):
        form.set_config(config)
    assert editor(form, "model.num_layers").value() == 3
    assert editor(form, "training.precision").currentText() == "bf16"
    assert editor(form, "sampling.seed").value() == 2**63 - 1
    assert form.changes() == {}


def test_a_typed_number_is_handed_out_while_it_is_typed(form, qtbot):
    with qtbot.waitSignal(form.config_changed) as signal:
        type_into(qtbot, editor(form, "model.num_layers"), "6")
    assert signal.args[0].model.num_layers == 6
    assert form.changes() == {"model.num_layers": 6}


def test_numbers_may_be_written_with_exponent_unit_or_gaps(form, qtbot):
    type_into(qtbot, editor(form, "training.learning_rate"), "3e-4")
    type_into(qtbot, editor(form, "training.max_steps"), "12 500 steps")
    assert form.config().training.learning_rate == 3e-4
    assert form.config().training.max_steps == 12500


def test_a_comma_is_a_decimal_point_or_a_gap_and_never_lost(form, qtbot):
    type_into(qtbot, editor(form, "training.learning_rate"), "0,001")
    type_into(qtbot, editor(form, "training.max_steps"), "12,500")
    assert form.config().training.learning_rate == 1e-3
    assert form.config().training.max_steps == 12500
    type_into(qtbot, editor(form, "training.max_steps"), "13.500")
    assert form.config().training.max_steps == 13500
    type_into(qtbot, editor(form, "model.num_layers"), "3,5")
    assert form.config().model.num_layers == 3  # not 35


def test_a_number_out_of_bounds_is_not_handed_out_and_goes_back(form, qtbot):
    spin = editor(form, "model.dropout")
    with qtbot.assertNotEmitted(form.config_changed):
        type_into(qtbot, spin, "7")
        qtbot.keyClick(spin, Qt.Key.Key_Return)
    assert spin.value() == Config().model.dropout
    assert spin.text() == "0.1"


def test_contradicting_entries_are_told_and_not_handed_out_until_they_agree(form, qtbot):
    with qtbot.assertNotEmitted(form.config_changed):
        type_into(qtbot, editor(form, "model.num_heads"), "7")
    assert form.problems() == ["model.num_heads (7) must divide model.hidden_size (512): lower model.num_heads to 4"]
    assert form.config().model.num_heads == 8
    with qtbot.waitSignal(form.config_changed) as signal:
        type_into(qtbot, editor(form, "model.hidden_size"), "448")
    assert signal.args[0].model.num_heads == 7
    assert signal.args[0].model.hidden_size == 448
    assert form.problems() == []


def test_an_unrelated_entry_is_taken_while_others_contradict(form, qtbot):
    type_into(qtbot, editor(form, "model.num_heads"), "7")
    type_into(qtbot, editor(form, "training.max_steps"), "600")
    assert form.config().training.max_steps == 600
    assert form.config().model.num_heads == 8
    assert form.problems() == ["model.num_heads (7) must divide model.hidden_size (512): lower model.num_heads to 4"]


def test_showing_another_configuration_drops_what_contradicted(form, qtbot):
    type_into(qtbot, editor(form, "model.num_heads"), "7")
    form.set_config(Config())
    assert form.problems() == []
    assert editor(form, "model.num_heads").value() == 8


def test_reset_takes_a_changed_entry_back_to_the_original(form, qtbot):
    original = Config()
    form.set_config(original.replace({"model.num_layers": 3}), original=original)
    row = editor(form, "model.num_layers").parent()
    assert row.reset_button.isVisible()
    with qtbot.waitSignal(form.config_changed) as signal:
        qtbot.mouseClick(row.reset_button, Qt.MouseButton.LeftButton)
    assert signal.args[0] == original
    assert not row.reset_button.isVisible()


def test_the_wheel_changes_only_what_was_clicked_before(form):
    form.search_edit.setFocus()
    for key in ("training.batch_size", "training.precision"):
        widget = editor(form, key)
        before = form.config().get(key)
        wheel_over(widget)
        assert form.config().get(key) == before
    spin = editor(form, "training.batch_size")
    spin.setFocus()
    wheel_over(spin)
    assert form.config().training.batch_size == 5


def test_the_search_finds_by_help_and_looks_into_the_advanced(form, qtbot):
    assert not editor(form, "training.beta2").isVisible()
    qtbot.keyClicks(form.search_edit, "memory gradient squared")
    assert editor(form, "training.beta2").isVisible()
    assert not editor(form, "model.num_layers").isVisible()


def test_advanced_settings_appear_when_asked_for(form, qtbot):
    assert not editor(form, "model.activation").isVisible()
    qtbot.mouseClick(form.advanced_check, Qt.MouseButton.LeftButton, pos=QPoint(8, form.advanced_check.height() // 2))
    assert editor(form, "model.activation").isVisible()


def test_settings_of_the_other_family_are_not_shown(form):
    form.advanced_check.setChecked(True)
    assert not editor(form, "model.num_kv_heads").isVisible()
    form.edit("model.family", "llama")
    assert editor(form, "model.num_kv_heads").isVisible()
    assert not editor(form, "model.activation").isVisible()
    form.set_config(Config())
    assert editor(form, "model.activation").isVisible()


def test_what_stands_in_the_way_of_a_family_is_named_and_shown(form):
    form.edit("model.activation", "relu")
    assert not editor(form, "model.activation").isVisible()
    form.edit("model.family", "llama")
    assert form.problems() == ["model.activation (relu) is for model.family gpt2, not llama: leave it at gelu"]
    assert editor(form, "model.activation").isVisible()
    form.edit("model.activation", "gelu")
    assert form.config().model.family == "llama"
    assert not editor(form, "model.activation").isVisible()


def test_choices_and_ticks_are_handed_out(form, qtbot):
    combo, tick = editor(form, "training.scheduler_type"), editor(form, "training.gradient_checkpointing")
    assert isinstance(combo, QComboBox)
    assert isinstance(tick, QCheckBox)
    combo.setFocus()
    qtbot.keyClick(combo, Qt.Key.Key_Down)
    tick.click()
    assert form.config().training.scheduler_type == "linear"
    assert form.config().training.gradient_checkpointing


def test_an_empty_list_of_prompts_is_the_default_and_breaks_are_written_out(form, qtbot):
    line = editor(form, "sampling.prompts")
    qtbot.keyClicks(line, r"ROMEO:\n | Once")
    assert form.config().sampling.prompts == ("ROMEO:\n", "Once")
    line.selectAll()
    qtbot.keyClick(line, Qt.Key.Key_Delete)
    assert form.config().sampling.prompts == Config().sampling.prompts


@given(st.lists(st.text(), min_size=1).map(tuple))
def test_a_line_of_texts_reads_back_as_it_was(texts):
    assert split_texts(join_texts(texts)) == texts


@pytest.mark.parametrize(("start", "steps", "end"),
                         [(495, 1, 500), (42, 1, 43), (1200, -1, 1100), (0, -1, 0), (10, 1, 11)])
def test_whole_numbers_step_by_round_amounts(qtbot, start, steps, end):
    spin = NumberSpin(0, 10**9, whole=True)
    qtbot.addWidget(spin)
    spin.set_value(start)
    spin.stepBy(steps)
    assert spin.value() == end


def test_fractions_step_without_a_trace_of_binary(qtbot):
    spin = NumberSpin(0.0, 1.0, whole=False)
    qtbot.addWidget(spin)
    spin.set_value(0.1)
    spin.stepBy(2)
    assert spin.value() == 0.12
    assert spin.text() == "0.12"


def test_a_problem_is_told_in_the_names_that_the_form_shows():
    assert in_words("model.num_heads (7) must divide model.hidden_size (512): see docs.md") == (
        "Heads (7) must divide Hidden size (512): see docs.md")
