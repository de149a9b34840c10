"""The runs tab: real runs in, wishes out; nothing is deleted without a yes."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QMessageBox
from pytestqt.qtbot import QtBot

from atlas_core import runs
from atlas_core.config import Config
from atlas_core.format import SPACE
from atlas_core.runs import RunInfo
from atlas_gui import theme
from atlas_gui.tabs.runs import RunsTab
from atlas_gui.widgets.sparkline import Sparkline, described, thin


def make_run(folder: Path, name: str, *, step: int, max_steps: int = 100) -> RunInfo:
    """A run as training leaves it, with one checkpoint if it took a step."""
    run = folder / name
    config = Config.from_dict({"name": "NANO", "training": {"max_steps": max_steps, "warmup_steps": 0}})
    config.save(run / runs.CONFIG_FILE)
    if step:
        checkpoint = run / runs.CHECKPOINTS_FOLDER / f"atlas_step_{step}.pt"
        checkpoint.parent.mkdir()
        checkpoint.write_bytes(bytes(1000))
        about = {"kind": "step", "step": step, "epoch": 0.5, "loss": 2.5, "val_loss": 2.6, "perplexity": 12.2,
                 "learning_rate": 1e-3, "bytes": 1000, "saved_at": 1.7e9, "max_steps": max_steps, "parameters": 10**6}
        runs.sidecar(checkpoint).write_text(json.dumps(about), encoding="utf-8")
    return runs.inspect(run)


@pytest.fixture
def infos(tmp_path: Path) -> list[RunInfo]:
    return [make_run(tmp_path, name, step=step) for name, step in (("half", 50), ("whole", 100), ("bare", 0))]


@pytest.fixture
def tab(qtbot: QtBot, qapp: QApplication, infos: list[RunInfo]) -> RunsTab:
    theme.apply(qapp, dark=False)
    tab = RunsTab()
    qtbot.addWidget(tab)
    tab.resize(1000, 640)
    tab.set_runs(infos, {infos[0].path: [5.0, 4.0, 3.0]})
    with qtbot.waitExposed(tab):
        tab.show()
    return tab


def button(tab: RunsTab, run: RunInfo, what: str) -> QAbstractButton:
    found = tab.card(run.path).findChild(QAbstractButton, f"run{what}Button")
    assert isinstance(found, QAbstractButton)
    return found


def answer(qtbot: QtBot, tab: RunsTab, text: str) -> QMessageBox:
    """Click the button of the open question whose label is `text`."""
    question = tab.findChild(QMessageBox, "deleteRunDialog")
    assert isinstance(question, QMessageBox)
    qtbot.mouseClick(next(b for b in question.buttons() if b.text() == text), Qt.MouseButton.LeftButton)
    return question


@pytest.mark.parametrize(("what", "signal"), [
    ("Resume", "resume_requested"), ("Play", "play_requested"), ("Export", "export_requested"),
    ("Openfolder", "open_folder_requested"), ("Extend", "extend_requested"),
])
def test_each_button_asks_for_its_run(tab: RunsTab, infos: list[RunInfo], qtbot: QtBot, what: str, signal: str) -> None:
    run = infos[1 if what == "Extend" else 0]  # only a finished one can be made longer
    with qtbot.waitSignal(getattr(tab, signal)) as asked:
        qtbot.mouseClick(button(tab, run, what), Qt.MouseButton.LeftButton)
    assert asked.args == [run.path]


def test_only_what_can_be_done_is_offered(tab: RunsTab, infos: list[RunInfo]) -> None:
    offered = {info.name: {b.text() or b.toolTip() for b in tab.card(info.path).findChildren(QAbstractButton)
                           if b.isEnabled()} - {"Open folder", "Show curve"} for info in infos}
    assert offered == {"half": {"Resume", "Play", "Export", "Delete"}, "whole": {"Extend", "Play", "Export", "Delete"},
                       "bare": {"Delete"}}


def test_run_in_training_is_neither_resumed_nor_deleted(tab: RunsTab, infos: list[RunInfo], qtbot: QtBot) -> None:
    tab.set_active(infos[0].path)
    assert not button(tab, infos[0], "Resume").isEnabled()
    assert not button(tab, infos[0], "Delete").isEnabled()
    tab.runs_list.setCurrentRow(0)
    qtbot.keyClick(tab.runs_list, Qt.Key.Key_Delete)
    assert tab.findChild(QMessageBox) is None


def test_run_that_another_process_trains_is_left_alone(tab: RunsTab, infos: list[RunInfo]) -> None:
    tab.set_runs([dataclasses.replace(infos[0], state="running")], {})
    assert [what for what in ("Resume", "Play", "Export", "Delete") if button(tab, infos[0], what).isEnabled()] == [
        "Play", "Export"]


def test_deleting_says_what_it_frees_and_waits_for_the_yes(tab: RunsTab, infos: list[RunInfo], qtbot: QtBot) -> None:
    button(tab, infos[1], "Delete").click()
    question = tab.findChild(QMessageBox, "deleteRunDialog")
    assert isinstance(question, QMessageBox)
    assert "whole" in question.text()
    assert "kB" in question.informativeText() or "bytes" in question.informativeText()
    with qtbot.waitSignal(tab.delete_requested) as asked:
        answer(qtbot, tab, "Delete")
    assert asked.args == [infos[1].path]
    assert infos[1].path.exists(), "the view asks; deleting is the session's work"


def test_keep_is_the_default_answer_and_keeps(tab: RunsTab, qtbot: QtBot) -> None:
    tab.runs_list.setCurrentRow(0)
    qtbot.keyClick(tab.runs_list, Qt.Key.Key_Delete)
    question = tab.findChild(QMessageBox, "deleteRunDialog")
    assert isinstance(question, QMessageBox)
    default = question.defaultButton()
    assert default is not None and default.text() == "Keep"
    with qtbot.assertNotEmitted(tab.delete_requested):
        answer(qtbot, tab, "Keep")


def test_refresh_keeps_the_chosen_run(tab: RunsTab, infos: list[RunInfo]) -> None:
    tab.runs_list.setCurrentRow(1)
    tab.set_runs([infos[2], *infos[:2]], {})
    assert tab.selected() == infos[1].path
    assert tab.card(infos[1].path).property("role") == "card-selected"
    assert tab.card(infos[0].path).property("role") == "card"


def test_refresh_keeps_the_place_on_the_page(tab: RunsTab, tmp_path: Path) -> None:
    many = [make_run(tmp_path, f"run-{number}", step=1) for number in range(12)]
    tab.set_runs(many, {})
    bar = tab.runs_list.verticalScrollBar()
    bar.setValue(200)
    tab.set_runs(many, {})
    assert bar.value() == 200


def test_cards_that_are_gone_do_not_hear_of_a_new_theme(tab: RunsTab, qtbot: QtBot, qapp: QApplication) -> None:
    old = tab.runs_list.itemWidget(tab.runs_list.item(0))
    with qtbot.waitSignal(old.destroyed):
        tab.set_runs([], {})
    theme.apply(qapp, dark=True)
    assert tab.runs_list.count() == 0


def test_deleted_run_takes_its_card_along_while_its_button_is_still_pressed(
        tab: RunsTab, infos: list[RunInfo], qtbot: QtBot) -> None:
    tab.delete_requested.connect(lambda path: tab.set_runs([info for info in infos if info.path != path], {}))
    button(tab, infos[0], "Delete").click()
    answer(qtbot, tab, "Delete")
    assert tab.runs_list.count() == 2


def test_without_runs_it_says_what_to_do(tab: RunsTab, qtbot: QtBot) -> None:
    assert tab.runs_list.isVisible()
    tab.set_runs([], {})
    assert not tab.runs_list.isVisible()
    with qtbot.waitSignal(tab.refresh_requested):
        qtbot.mouseClick(tab.refresh_button, Qt.MouseButton.LeftButton)


def test_card_shows_the_curve_it_was_given(tab: RunsTab, infos: list[RunInfo]) -> None:
    line = tab.card(infos[0].path).findChild(Sparkline)
    assert isinstance(line, Sparkline)
    assert line.values() == [5.0, 4.0, 3.0]


def test_sparkline_draws_its_colour_from_top_left_to_bottom_right(qtbot: QtBot, qapp: QApplication) -> None:
    theme.apply(qapp, dark=False)
    line = Sparkline()
    qtbot.addWidget(line)
    line.resize(100, 40)
    line.set_values([3.0, math.nan, 2.0, math.inf, 1.0])
    image = line.grab().toImage()
    blue = [(x, y) for x in range(image.width()) for y in range(image.height())
            if image.pixelColor(x, y).name() == theme.colors().train]
    assert blue, "no line was drawn"
    (left, top), (right, bottom) = min(blue), max(blue)
    assert left < 50 < right and top < bottom


@pytest.mark.parametrize("values", [[], [2.0], [math.nan], [2.0, 2.0]])
def test_sparkline_of_almost_nothing_is_drawn_without_complaint(qtbot: QtBot, values: list[float]) -> None:
    line = Sparkline()
    qtbot.addWidget(line)
    line.set_values(values)
    assert not line.grab().isNull()


def test_thinning_keeps_the_mean_and_the_limit() -> None:
    values = [float(i) for i in range(1000)]
    thinned = thin(values, 70)
    assert len(thinned) == 70
    assert sum(thinned) / 70 == pytest.approx(499.5, abs=5)
    assert thinned == sorted(thinned)
    assert thin(values[:5], 70) == values[:5]


def test_curve_is_told_in_words() -> None:
    assert described([5.0, 2.5]) == "Loss from 5.000 to 2.500 over 2 reports"
    assert described([]) == "No loss recorded yet"


def test_the_curve_of_a_run_is_shown_by_its_button_or_a_double_click(
        tab: RunsTab, infos: list[RunInfo], qtbot: QtBot) -> None:
    with qtbot.waitSignal(tab.curve_requested) as wished:
        qtbot.mouseClick(button(tab, infos[1], "Showcurve"), Qt.MouseButton.LeftButton)
    assert wished.args == [infos[1].path]
    place = tab.runs_list.visualItemRect(tab.runs_list.item(0)).center()
    with qtbot.waitSignal(tab.curve_requested) as wished:
        for click in (qtbot.mouseClick, qtbot.mouseDClick):
            click(tab.runs_list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert wished.args == [infos[0].path]


def test_a_paused_run_is_not_said_to_train(tab: RunsTab, infos: list[RunInfo]) -> None:
    tab.set_active(infos[0].path, paused=True)
    said = [label.text() for label in tab.card(infos[0].path).findChildren(QLabel)]
    assert "paused" in said and "in training" not in said
    assert not button(tab, infos[0], "Delete").isEnabled()


def test_ages_grow_on_the_cards(tab: RunsTab, infos: list[RunInfo], monkeypatch: pytest.MonkeyPatch) -> None:
    later = infos[0].updated_at + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    tab.show_ages()
    assert f"1{SPACE}h ago" in [label.text() for label in tab.card(infos[0].path).findChildren(QLabel)]


def test_only_cards_that_show_something_new_are_new_and_the_focus_stays(
        tab: RunsTab, infos: list[RunInfo], qtbot: QtBot) -> None:
    with qtbot.waitActive(tab):
        tab.activateWindow()
    cards = [tab.card(info.path) for info in infos]
    button(tab, infos[0], "Play").setFocus()
    later = dataclasses.replace(infos[0], step=60)
    tab.set_runs([later, *infos[1:]], {infos[0].path: [5.0, 4.0, 3.0]})
    assert tab.card(later.path) is not cards[0]
    assert [tab.card(info.path) for info in infos[1:]] == cards[1:]
    assert button(tab, later, "Play").hasFocus()
    tab.set_runs([infos[1], infos[0]], {})
    assert [tab.card(info.path).info for info in (infos[1], infos[0])] == [infos[1], infos[0]]


def test_a_card_is_as_wide_as_the_list_also_when_that_becomes_narrower(
        tab: RunsTab, infos: list[RunInfo], qtbot: QtBot) -> None:
    for width in (1300, 1000, 1250, 1010):
        tab.resize(width, 600)
        card, room = tab.card(infos[0].path), tab.runs_list.viewport()
        qtbot.waitUntil(lambda card=card, room=room: 0 < room.width() - card.width() < 30, timeout=2000)
