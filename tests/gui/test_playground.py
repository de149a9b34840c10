"""The playground: what it asks for, and that whatever a model writes is shown as it is."""

from __future__ import annotations

import math

import pytest
from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QColor, QHelpEvent
from PySide6.QtWidgets import QApplication, QPushButton, QToolTip, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from atlas_core.config import Sampling, settings
from atlas_core.events import Choice, Generated, TextPiece
from atlas_gui import theme
from atlas_gui.tabs.playground import PlaygroundTab
from atlas_gui.widgets.output_view import OutputView, odds, surprise, tint, visible

SOURCES = [("live · step 40", "live"), ("best · step 30", "/run/atlas_best.pt")]
ODD_TEXTS = [
    "<b>bold</b> &amp; <img src=x>",
    "漢字 🙂 e\u0301 \U0001f469\u200d\U0001f467",
    "a\u00a0b\u202fc",
    "\u202eright to left",
    "line\nline\ttab",
]


@pytest.fixture
def tab(qtbot: QtBot, qapp: QApplication) -> PlaygroundTab:
    theme.apply(qapp, dark=False)
    tab = PlaygroundTab()
    qtbot.addWidget(tab)
    tab.resize(1000, 640)
    tab.set_sources(SOURCES, "live")
    with qtbot.waitExposed(tab):
        tab.show()
    return tab


@pytest.fixture
def view(qtbot: QtBot, qapp: QApplication) -> OutputView:
    theme.apply(qapp, dark=False)
    view = OutputView()
    qtbot.addWidget(view)
    view.resize(400, 200)
    with qtbot.waitExposed(view):
        view.show()
    return view


def piece(text: str, probability: float = 0.5, choices: tuple[Choice, ...] = ()) -> TextPiece:
    return TextPiece(text, 1, probability, choices)


def generated(reason: str = "length", tokens: int = 3) -> Generated:
    return Generated("", "", tokens, 131.0, reason, 7)


def test_generate_asks_for_the_prompt_with_the_settings_and_the_source(tab: PlaygroundTab, qtbot: QtBot) -> None:
    tab.set_prompt("To be")
    tab.sampling_panel.temperature.spin.setValue(0.5)
    tab.sampling_panel.max_tokens.spin.setValue(16)
    tab.sampling_panel.seed.setValue(42)
    with qtbot.waitSignal(tab.generate_requested) as asked:
        qtbot.mouseClick(tab.generate_button, Qt.MouseButton.LeftButton)
    assert asked.args == ["To be", Sampling(temperature=0.5, max_new_tokens=16, seed=42), "live"]


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Enter])
def test_ctrl_enter_generates_once_and_adds_no_line_to_the_prompt(
        tab: PlaygroundTab, qtbot: QtBot, key: Qt.Key) -> None:
    asked: list[str] = []
    tab.generate_requested.connect(lambda prompt, *_: asked.append(prompt))
    tab.set_prompt("To be")
    tab.prompt_edit.setFocus()
    for _ in range(2):  # the second comes while the first is being answered
        qtbot.keyClick(tab.prompt_edit, key, Qt.KeyboardModifier.ControlModifier)
    assert asked == ["To be"]
    assert tab.prompt_edit.toPlainText() == "To be"


def test_escape_stops_only_while_a_text_is_drawn(tab: PlaygroundTab, qtbot: QtBot) -> None:
    stops: list[bool] = []
    tab.stop_requested.connect(lambda: stops.append(True))
    tab.prompt_edit.setFocus()
    qtbot.keyClick(tab.prompt_edit, Qt.Key.Key_Escape)
    assert stops == []
    tab.generate_button.click()
    qtbot.keyClick(tab.prompt_edit, Qt.Key.Key_Escape)
    assert stops == [True]


def test_text_flows_after_the_prompt_and_ends_with_the_measured_speed(tab: PlaygroundTab) -> None:
    tab.set_prompt("To be")
    tab.generate_button.click()
    for text in (", or", " not", " to be"):
        tab.add_piece(piece(text))
    tab.set_finished(generated())
    assert tab.output_view.text() == "To be, or not to be"
    assert " · 131 tokens/s · " in tab.status_label.text() and tab.status_label.text().endswith("seed 7")
    assert tab.generate_button.isEnabled() and not tab.stop_button.isEnabled()


def test_speed_is_shown_while_the_text_is_drawn(tab: PlaygroundTab, qtbot: QtBot) -> None:
    tab.generate_button.click()
    for _ in range(3):
        tab.add_piece(piece("a"))
    qtbot.waitUntil(lambda: "3 tokens ·" in tab.status_label.text(), timeout=2000)


def test_pieces_of_a_text_nobody_asked_for_here_are_passed_over(tab: PlaygroundTab) -> None:
    tab.add_piece(piece("a sample of the training"))
    assert tab.output_view.text() == ""
    tab.generate_button.click()
    tab.add_piece(TextPiece("another row", 1, 0.5, row=1))
    assert tab.output_view.continuation() == ""


def test_ctrl_enter_works_wherever_the_focus_is_but_only_in_sight(tab: PlaygroundTab, qtbot: QtBot) -> None:
    page, other = QWidget(), QPushButton("elsewhere")
    qtbot.addWidget(page)
    layout = QVBoxLayout(page)
    layout.addWidget(other)
    layout.addWidget(tab)
    with qtbot.waitExposed(page):
        page.show()
    other.setFocus()
    asked: list[str] = []
    tab.generate_requested.connect(lambda prompt, *_: asked.append(prompt))
    tab.hide()
    qtbot.keyClick(other, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert asked == []
    tab.show()
    qtbot.keyClick(other, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert len(asked) == 1
    tab.setParent(None)  # each is closed by itself


def test_failure_is_told_and_the_next_try_is_possible(tab: PlaygroundTab) -> None:
    tab.generate_button.click()
    tab.set_failed("The checkpoint is damaged.")
    assert tab.status_label.text() == "The checkpoint is damaged."
    assert tab.generate_button.isEnabled()


def test_without_a_model_it_says_what_to_do_and_asks_for_nothing(tab: PlaygroundTab, qtbot: QtBot) -> None:
    tab.set_sources([], None)
    asked: list[str] = []
    tab.generate_requested.connect(lambda prompt, *_: asked.append(prompt))
    qtbot.keyClick(tab.prompt_edit, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert asked == []
    assert "Press Train" in tab.output_view.placeholderText()


def test_new_checkpoints_in_the_list_leave_the_choice_alone(tab: PlaygroundTab) -> None:
    tab.set_sources(SOURCES, "/run/atlas_best.pt")
    tab.set_sources([("step 60", "/run/atlas_step_60.pt"), *SOURCES], None)
    assert tab.source() == "/run/atlas_best.pt"


def test_the_list_of_models_is_as_wide_as_their_names(tab: PlaygroundTab) -> None:
    tab.set_sources([("saved · step 1 250 · a run with quite a long name, as people give them", "/run/a.pt")], None)
    offered = tab.source_combo.view()
    assert offered.minimumWidth() > offered.sizeHintForColumn(0) > tab.source_combo.width()


def test_choosing_a_source_is_told_and_offering_sources_is_not(tab: PlaygroundTab, qtbot: QtBot) -> None:
    told: list[str] = []
    tab.source_changed.connect(told.append)
    tab.set_sources(SOURCES, "live")
    assert told == []
    qtbot.keyClick(tab.source_combo, Qt.Key.Key_Down)
    assert told == ["/run/atlas_best.pt"]


def test_an_unlocked_seed_is_drawn_anew_and_a_typed_one_is_kept(tab: PlaygroundTab) -> None:
    seeds = set()
    for _ in range(5):
        tab.sampling_panel.draw_seed()
        seeds.add(tab.sampling_panel.sampling().seed)
    assert len(seeds) > 1
    tab.sampling_panel.seed.setValue(99)
    assert tab.sampling_panel.lock.isChecked()
    tab.sampling_panel.draw_seed()
    assert tab.sampling_panel.sampling().seed == 99


def test_numbers_start_at_the_defaults_and_keep_to_the_bounds_of_the_configuration(tab: PlaygroundTab) -> None:
    panel = tab.sampling_panel
    for name, row in {"temperature": panel.temperature, "top_k": panel.top_k, "top_p": panel.top_p,
                      "max_new_tokens": panel.max_tokens}.items():
        setting = settings()[f"sampling.{name}"]
        assert (row.spin.minimum(), row.spin.maximum()) == (setting.low, setting.high)
        assert row.value() == setting.default
        assert setting.help in row.spin.toolTip()


def test_slider_and_number_agree_and_a_number_beyond_the_slider_stands(tab: PlaygroundTab) -> None:
    row = tab.sampling_panel.temperature
    row.slider.setValue(row.slider.maximum())
    assert row.value() == pytest.approx(2.0)
    row.spin.setValue(3.33)
    assert row.value() == pytest.approx(3.33)
    assert row.slider.value() == row.slider.maximum()


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_any_text_is_shown_and_copied_as_it_came(tab: PlaygroundTab, text: str) -> None:
    tab.set_prompt("p")
    tab.generate_button.click()
    tab.add_piece(piece(text))
    tab.set_finished(generated())
    tab.copy_button.click()
    assert QApplication.clipboard().text() == "p" + text
    assert tab.output_view.toPlainText().replace("\u00a0", " ") == ("p" + text).replace("\u00a0", " ")


@pytest.mark.parametrize("text", [*ODD_TEXTS, "\x00\x07\ud800", ""])
def test_each_place_of_the_text_knows_its_piece(view: OutputView, text: str) -> None:
    view.begin("🙂 prompt")  # two code units in Qt's counting, one in Python's
    start = view.document().characterCount() - 1
    odd, last = piece(text, 0.1), piece("end", 0.2)
    view.add_piece(odd)
    view.add_piece(last)
    end = view.document().characterCount() - 1
    assert view.piece_at(start - 1) is None
    assert view.piece_at(end - 1) is last
    assert view.piece_at(start) is (odd if text else last)


def test_reader_at_the_end_is_taken_along_and_reader_above_is_left_in_peace(view: OutputView) -> None:
    view.begin("")
    bar = view.verticalScrollBar()
    for _ in range(50):
        view.add_piece(piece("line\n"))
    assert bar.value() == bar.maximum() > 0
    bar.setValue(3)
    view.add_piece(piece("more\n" * 20))
    assert bar.value() == 3


def test_selection_survives_the_next_piece(view: OutputView) -> None:
    view.begin("To be, or not")
    cursor = view.textCursor()
    cursor.setPosition(0)
    cursor.setPosition(5, cursor.MoveMode.KeepAnchor)
    view.setTextCursor(cursor)
    view.add_piece(piece(" to be"))
    assert view.textCursor().selectedText() == "To be"


def test_pointing_at_a_token_shows_its_alternatives(view: OutputView) -> None:
    view.begin("To be")
    view.add_piece(piece(" <i>", 0.25, (Choice(" or", 0.5), Choice(" <i>", 0.25))))
    cursor = view.textCursor()
    cursor.setPosition(len("To be") + 2)
    place = view.cursorRect(cursor).center() + QPoint(2, 0)
    QApplication.sendEvent(view.viewport(), QHelpEvent(QEvent.Type.ToolTip, place, view.viewport().mapToGlobal(place)))
    assert "␣or" in QToolTip.text() and "50.0" in QToolTip.text()
    assert "&lt;i&gt;" in QToolTip.text() and "<i>" not in QToolTip.text()
    QToolTip.hideText()


def test_tooltip_tells_blanks_apart_and_escapes_markup() -> None:
    assert visible(" the\n\x07") == "␣the↵·"
    assert "<script>" not in odds(piece("<script>", 0.5, (Choice("<script>", 0.5),)))


def test_tint_grows_as_tokens_get_less_likely(view: OutputView) -> None:
    assert surprise(1.0) == 0.0
    assert 0 < surprise(0.5) < surprise(0.05) < surprise(0.001) == surprise(0.0) == surprise(math.nan) == 1.0
    view.begin("p")
    view.add_piece(piece(" rare", 0.001))
    view.set_tinted(True)
    cursor = view.textCursor()
    cursor.setPosition(3)
    assert cursor.charFormat().background().color().alphaF() == pytest.approx(tint(0.001).alphaF(), abs=0.01)
    view.set_tinted(False)
    cursor.setPosition(3)
    assert cursor.charFormat().foreground().color() == QColor(theme.colors().accent)


@pytest.mark.parametrize("dark", [False, True])
def test_letters_on_the_strongest_tint_keep_their_contrast(qapp: QApplication, dark: bool) -> None:
    theme.apply(qapp, dark=dark)
    over, under = tint(0.0), QColor(theme.colors().field)
    mixed = [over.alphaF() * a + (1 - over.alphaF()) * b
             for a, b in zip(over.getRgbF()[:3], under.getRgbF()[:3], strict=True)]
    assert contrast(mixed, QColor(theme.colors().text).getRgbF()[:3]) >= 4.5


def test_change_of_theme_recolours_what_was_written(view: OutputView, qapp: QApplication) -> None:
    view.begin("p")
    view.add_piece(piece("x"))
    theme.apply(qapp, dark=True)
    cursor = view.textCursor()
    cursor.setPosition(2)
    assert cursor.charFormat().foreground().color() == QColor(theme.DARK.accent)
    assert view.toPlainText() == "px"


def contrast(one: object, other: object) -> float:
    """WCAG 2.1's contrast ratio of two colours given as red, green and blue from 0 to 1."""
    def luminance(rgb: object) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]  # type: ignore[attr-defined]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
