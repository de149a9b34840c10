"""The Train tab shows a history as it grows, the texts and the log, and only asks for what the window must do."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QCheckBox, QComboBox, QLineEdit, QPlainTextEdit, QPushButton, QSlider
from pytestqt.qtbot import QtBot

from atlas_core import format, history
from atlas_core.events import (
    CheckpointSaved,
    EvalDone,
    Event,
    RolledBack,
    RunStarted,
    SampleDrawn,
    StepDone,
    StepSkipped,
)
from atlas_core.history import History
from atlas_gui import sentences, theme
from atlas_gui.tabs.train import SAMPLES_KEPT, TrainTab, smoothing_amount
from atlas_gui.widgets.metric_plot import MetricPlot

TOKENS_PER_STEP = 128


def step(number: int, loss: float) -> StepDone:
    return StepDone(step=number, epoch=0.0, loss=loss, learning_rate=1e-3, grad_norm=1.0, tokens_per_s=1000.0,
                    tokens_seen=number * TOKENS_PER_STEP, seconds=number * 0.5)


def validation(number: int, loss: float) -> EvalDone:
    return EvalDone(step=number, epoch=0.0, val_loss=loss, val_perplexity=history.perplexity(loss),
                    val_bits_per_byte=1.0, tokens=1, best=loss, improved=True)


@pytest.fixture
def tab(qtbot: QtBot) -> TrainTab:
    tab = TrainTab()
    qtbot.addWidget(tab)
    tab.resize(1060, 660)
    tab.show()
    return tab


def tell(tab: TrainTab, shared: History, *events: Event) -> None:
    """What the session does: the history grows, then the tab is told."""
    for event in events:
        shared.add(event)
        tab.append(event)


def plot(tab: TrainTab, name: str) -> MetricPlot:
    found = tab.findChild(MetricPlot, name)
    assert found is not None
    return found


def test_the_curve_follows_the_history_without_being_asked(tab: TrainTab, qtbot: QtBot) -> None:
    shared = History()
    tab.set_history(shared)
    tell(tab, shared, *(step(number, 5 - number / 10) for number in range(1, 21)), validation(20, 3.5))
    loss = plot(tab, "lossPlot")
    qtbot.waitUntil(lambda: len(loss.curves.x) == 20)
    assert list(loss.curves.raw) == shared.losses
    assert list(loss.curves.val_x) == [20]
    assert loss.legend.endswith("best 3.500 @ 20")
    assert list(plot(tab, "perplexityPlot").curves.val) == [pytest.approx(history.perplexity(3.5))]


def test_an_empty_plot_says_what_comes_next(tab: TrainTab) -> None:
    assert "Press Train" in plot(tab, "lossPlot").hint
    tab.set_waiting(True)
    assert "Press Train" not in plot(tab, "lossPlot").hint


def test_a_hidden_tab_draws_nothing_until_it_is_seen(tab: TrainTab, qtbot: QtBot) -> None:
    shared = History()
    tab.set_history(shared)
    tab.hide()
    tell(tab, shared, step(1, 5.0))
    qtbot.wait(200)
    assert len(plot(tab, "lossPlot").curves.x) == 0
    tab.show()
    qtbot.waitUntil(lambda: len(plot(tab, "lossPlot").curves.x) == 1)


def test_the_axis_may_be_steps_time_or_tokens(tab: TrainTab, qtbot: QtBot) -> None:
    shared = History()
    tab.set_history(shared)
    tell(tab, shared, *(step(number, 4.0) for number in range(1, 5)), validation(2, 4.0))
    loss, choice = plot(tab, "lossPlot"), tab.findChild(QComboBox, "xAxisCombo")
    assert choice is not None
    qtbot.waitUntil(lambda: len(loss.curves.x) == 4)
    units = (([1, 2, 3, 4], 2), ([0.5, 1.0, 1.5, 2.0], 1.0), ([128, 256, 384, 512], 256))
    for index, (places, eval_place) in enumerate(units):
        choice.setCurrentIndex(index)
        assert list(loss.curves.x) == places
        assert list(loss.curves.val_x) == [eval_place]


def test_events_leave_their_marks(tab: TrainTab, qtbot: QtBot) -> None:
    shared = History()
    tab.set_history(shared)
    tell(tab, shared, RunStarted(Path("run"), "NANO", 1, "cpu", "fp32", "kernel", 1, 10, 128, 1000, resumed_from=1),
         step(2, 4.0), CheckpointSaved(Path("atlas_step_2.pt"), "step", 2, 10, 0.1), step(3, 4.0))
    loss = plot(tab, "lossPlot")
    qtbot.waitUntil(lambda: len(loss.curves.x) == 2)
    assert list(loss.curves.checkpoints_x) == [2]
    assert list(loss.curves.resumed_x) == [1]


def test_a_run_that_goes_back_takes_its_curve_back_and_is_marked(tab: TrainTab, qtbot: QtBot) -> None:
    shared = History()
    tab.set_history(shared)
    tell(tab, shared, *(step(number, 3.0) for number in range(1, 5)), StepSkipped(5, "No number."),
         SampleDrawn(2, "", "kept", 1), SampleDrawn(4, "", "taken back", 1))
    loss = plot(tab, "lossPlot")
    qtbot.waitUntil(lambda: list(loss.curves.skipped_x) == [5])
    tell(tab, shared, RolledBack(5, 2, 0.5, "Went back."), *(step(number, 1.0) for number in range(3, 6)))
    qtbot.waitUntil(lambda: list(loss.curves.raw) == [3.0, 3.0, 1.0, 1.0, 1.0])
    assert list(loss.curves.rolled_back_x) == [2] and list(loss.curves.skipped_x) == []
    assert [sample.text for sample in tab.samples] == ["kept"]


def test_the_slider_smooths_from_not_at_all_to_nearly_everything(tab: TrainTab, qtbot: QtBot) -> None:
    assert smoothing_amount(0) == 0.0
    assert smoothing_amount(100) == pytest.approx(0.999)
    shared = History()
    tab.set_history(shared)
    tell(tab, shared, *(step(number, float(number % 2)) for number in range(1, 41)))
    slider, loss = tab.findChild(QSlider, "smoothingSlider"), plot(tab, "lossPlot")
    assert slider is not None
    slider.setValue(0)
    qtbot.waitUntil(lambda: list(loss.curves.smoothed) == shared.losses)
    slider.setValue(60)
    qtbot.waitUntil(lambda: 0.3 < loss.curves.smoothed[-1] < 0.7)


def test_dragging_lets_go_and_the_check_takes_it_back(tab: TrainTab) -> None:
    follow = tab.findChild(QCheckBox, "followCheck")
    assert follow is not None and follow.isChecked()
    plot(tab, "lossPlot").plot_item.getViewBox().sigRangeChangedManually.emit([True, False])
    assert not follow.isChecked()


def test_the_log_scale_is_the_loss_plots(tab: TrainTab, qtbot: QtBot) -> None:
    check = tab.findChild(QCheckBox, "logScaleCheck")
    assert check is not None
    shared = History()
    tab.set_history(shared)
    tell(tab, shared, step(1, 8.0), step(2, 2.0))
    qtbot.waitUntil(lambda: len(plot(tab, "lossPlot").curves.x) == 2)
    check.click()

    def logs_are_in_view() -> bool:
        low, high = plot(tab, "lossPlot").plot_item.getViewBox().viewRange()[1]
        return -1 < low < 0.31 and 0.89 < high < 2  # log10 of 2 and of 8

    qtbot.waitUntil(logs_are_in_view)


def test_samples_stand_with_the_newest_on_top_and_as_they_were_written(tab: TrainTab) -> None:
    tab.add_sample(SampleDrawn(10, "KING.", " <b>Oh</b> & so", 1))
    tab.add_sample(SampleDrawn(20, "KING.", "\nWhat say you?", 1))
    text = tab.samples_text
    assert text.index("What say you?") < text.index("<b>Oh</b> & so")
    assert f"step {format.count(20)}" in text
    tab.set_samples([SampleDrawn(number, "KING.", "", 1) for number in range(1, SAMPLES_KEPT + 3)])
    assert [sample.step for sample in tab.samples] == list(range(SAMPLES_KEPT + 2, 2, -1))


def test_the_filter_hides_lines_and_gives_them_back(tab: TrainTab, qtbot: QtBot) -> None:
    tab.add_log("12:00:00  saved atlas_step_1.pt")
    tab.add_log("12:00:01  step 1: validation loss 4.000")
    edit, view = tab.findChild(QLineEdit, "logFilterEdit"), tab.findChild(QPlainTextEdit, "logView")
    assert edit is not None and view is not None
    qtbot.keyClicks(edit, "saved")
    assert view.toPlainText() == "12:00:00  saved atlas_step_1.pt"
    tab.add_log("12:00:02  step 2: validation loss 3.000")
    assert "3.000" not in view.toPlainText()
    edit.clear()
    assert len(view.toPlainText().splitlines()) == 3


def test_the_log_follows_its_end_until_a_person_reads_further_up(qapp: QApplication, qtbot: QtBot) -> None:
    theme.apply(qapp, False)  # its fonts and margins are part of the matter
    tab = TrainTab()
    qtbot.addWidget(tab)
    tab.resize(1060, 660)
    tab.show()
    qtbot.waitExposed(tab)
    view = tab.findChild(QPlainTextEdit, "logView")
    assert view is not None
    bar = view.verticalScrollBar()
    lines = itertools.cycle(("epoch 1 done: mean loss 3.930", "step 43: validation loss 2.842, the best so far",
                             "saved atlas_best.pt (9.9 MB)", "saved atlas_epoch_1_step_43.pt (9.9 MB)",
                             "saved atlas_step_75.pt (9.9 MB)"))
    for number, line in zip(range(60), lines, strict=False):
        tab.add_log(f"12:00:{number:02}  {line}")  # most of them are wrapped
        if number % 3:  # they come one by one and two at a time
            for _ in range(3):
                QApplication.processEvents()
        assert bar.value() == bar.maximum()
    bar.setValue(3)
    tab.add_log("12:01:00  news")
    qtbot.wait(5)
    assert bar.value() == 3


def test_wishes_are_only_possible_while_a_run_could_grant_them(tab: TrainTab, qtbot: QtBot) -> None:
    save, sample = tab.findChild(QPushButton, "saveNowButton"), tab.findChild(QPushButton, "sampleNowButton")
    assert save is not None and sample is not None
    assert not save.isEnabled() and not sample.isEnabled()
    tab.set_live(True)
    with qtbot.waitSignal(tab.save_now_requested):
        qtbot.mouseClick(save, Qt.MouseButton.LeftButton)
    with qtbot.waitSignal(tab.sample_now_requested):
        qtbot.mouseClick(sample, Qt.MouseButton.LeftButton)


def test_the_picture_that_is_exported_is_the_curve(tab: TrainTab, qtbot: QtBot) -> None:
    shared = History()
    tab.set_history(shared)
    tell(tab, shared, step(1, 8.0), step(2, 2.0))
    button = tab.findChild(QPushButton, "exportImageButton")
    assert button is not None
    qtbot.waitUntil(button.isEnabled)
    with qtbot.waitSignal(tab.image_export_requested) as told:
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert told.args[0].width() == plot(tab, "lossPlot").width()


def test_the_numbers_that_are_exported_are_those_of_the_history() -> None:
    shared = History()
    for event in (step(1, 8.0), step(2, 4.0), validation(2, 5.0), step(3, 2.0)):
        shared.add(event)
    rows = list(csv.DictReader(io.StringIO(history.as_csv(shared))))
    assert [(row["step"], row["loss"], row["val_loss"]) for row in rows] == [
        ("1", "8.0", ""), ("2", "4.0", "5.0"), ("3", "2.0", "")]


def test_the_time_left_is_told_from_the_pace_of_the_last_steps() -> None:
    shared = History()
    assert "left" not in sentences.progress(shared, 100)
    for number in range(1, 11):
        shared.add(step(number, 4.0))
    assert sentences.progress(shared, 100).endswith(f"{format.duration(45)} left")
    assert sentences.progress(shared, 100, paused=True).endswith("paused")


@pytest.mark.parametrize(("paths", "taken"), [
    ([Path("a.txt")], True), ([Path("a.ZIP")], True), ([Path("alice")], True),
    ([Path("a.png"), Path("b.md")], True), ([Path("a.png")], False), ([], False)])
def test_only_what_can_be_read_is_taken(paths: list[Path], taken: bool) -> None:
    assert sentences.drop(paths)[1] is taken
