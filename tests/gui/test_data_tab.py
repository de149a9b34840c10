"""The Data tab: sources in, wishes out, and the prepared dataset shown as it is."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel

from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.events import Prepared, Progress
from atlas_core.format import SPACE
from atlas_core.text.dataset import Dataset
from atlas_core.text.prepare import prepare
from atlas_core.text.preview import preview
from atlas_core.text.sources import list_sources
from atlas_gui.tabs.data import DataTab

CONFIG = Config().replace({"tokenizer.name": "bpe:300", "model.vocab_size": 300, "model.max_seq_len": 16})


@pytest.fixture
def tab(qtbot):
    tab = DataTab()
    qtbot.addWidget(tab)
    tab.set_config(CONFIG)
    tab.resize(1020, 660)
    with qtbot.waitExposed(tab):
        tab.show()
    return tab


@pytest.fixture
def archive(tmp_path) -> Path:
    path = tmp_path / "plays.zip"
    with zipfile.ZipFile(path, "w") as content:
        for name in ("hamlet", "lear", "macbeth"):
            content.writestr(f"{name}.txt", f"{name} speaks: to be or not to be, \x07that is the question. \n" * 20)
        content.writestr("cover.png", b"\x89PNG")
    return path


@pytest.fixture
def dataset(archive, tmp_path) -> Dataset:
    events = list(prepare([archive], tmp_path / "plays", CONFIG, Control()))
    assert isinstance(events[-1], Prepared)
    return Dataset.open(events[-1].path)


def show(tab: DataTab, dataset: Dataset) -> None:
    ids = dataset.tokens("train")[:200]
    tab.show_dataset(dataset.meta.to_dict(), [dataset.tokenizer.token_text(int(i)) for i in ids],
                     preview(dataset).lengths)


@pytest.mark.parametrize(("tied", "spent"), [(True, "1.0 M"), (False, "2.1 M")])
def test_a_vocabulary_costs_a_matrix_to_read_and_one_to_predict_unless_they_are_one(tab, tied, spent):
    tab.set_config(CONFIG.replace({"tokenizer.name": "bpe:4096", "model.hidden_size": 256, "model.num_heads": 4,
                                   "model.tie_weights": tied}))
    (hint,) = [label.text() for label in tab.findChildren(QLabel) if "parameters on it" in label.text()]
    assert hint.startswith(f"The model spends {spent.replace(' ', SPACE)} parameters")


def test_without_text_the_tab_says_what_to_do_and_offers_no_preparing(tab):
    assert not tab.prepare_button.isEnabled()
    assert "Add some text" in tab.summary_label.text()


def test_what_is_added_becomes_a_source_once(tab, archive, qtbot):
    with qtbot.waitSignal(tab.sources_changed) as signal:
        tab.add_sources([archive])
    assert signal.args == [[archive]]
    with qtbot.assertNotEmitted(tab.sources_changed):
        tab.add_sources([archive])
    assert tab.sources() == [archive]
    assert tab.prepare_button.isEnabled()


def test_what_is_skipped_is_listed_first_with_its_reason(tab, archive):
    tab.set_sources([archive])
    tab.set_entries(list_sources([archive]))
    item = tab.drop_zone.tree.topLevelItem(0)
    assert (item.text(0), item.text(2)) == ("plays.zip", "3 files, 1 skipped")
    assert item.child(0).text(0) == "cover.png"
    assert item.child(0).text(2) == "skipped: .png files are not read"


def test_entries_are_named_from_the_folder_that_they_share(tab, tmp_path):
    path = tmp_path / "wiki.zip"
    with zipfile.ZipFile(path, "w") as content:
        for name in ("top/a/one.txt", "top/b/two.txt"):
            content.writestr(name, "words")
    tab.set_sources([path])
    tab.set_entries(list_sources([path]))
    item = tab.drop_zone.tree.topLevelItem(0)
    assert [item.child(i).text(0) for i in range(2)] == ["a/one.txt", "b/two.txt"]


def test_a_file_that_is_not_read_says_so_on_its_own_line(tab, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(b"\x89PNG")
    tab.set_sources([path])
    tab.set_entries(list_sources([path]))
    assert tab.drop_zone.tree.topLevelItem(0).text(2) == "skipped: .png files are not read"


def test_delete_and_the_button_take_a_source_off_the_list(tab, archive, tmp_path, qtbot):
    tab.set_sources([archive, tmp_path])
    tree = tab.drop_zone.tree
    assert not tab.remove_button.isEnabled()
    tree.setCurrentItem(tree.topLevelItem(0))
    qtbot.mouseClick(tab.remove_button, Qt.MouseButton.LeftButton)
    assert tab.sources() == [tmp_path]
    tree.setFocus()
    tree.setCurrentItem(tree.topLevelItem(0))
    qtbot.keyClick(tree, Qt.Key.Key_Delete)
    assert tab.sources() == []


def test_the_sample_is_one_click_away(tab, qtbot):
    with qtbot.waitSignal(tab.use_sample_requested):
        qtbot.mouseClick(tab.sample_button, Qt.MouseButton.LeftButton)


def test_prepare_hands_out_the_sources_and_the_text_settings(tab, archive, qtbot):
    tab.set_sources([archive])
    tab.text_settings.switches["data.clean_control"].click()
    with qtbot.waitSignal(tab.prepare_requested) as signal:
        qtbot.mouseClick(tab.prepare_button, Qt.MouseButton.LeftButton)
    sources, settings = signal.args
    assert sources == [archive]
    assert settings["tokenizer.name"] == "bpe:300"
    assert settings["data.clean_control"] is False
    assert CONFIG.replace(settings).data.clean_control is False
    assert all(key.startswith(("data.", "tokenizer.")) for key in settings)


def test_the_configured_tokenizer_is_among_the_choices_whatever_its_size(tab):
    combo = tab.text_settings.tokenizer_combo
    assert combo.currentData() == "bpe:300"
    assert "300 tokens" in combo.currentText()


def test_choosing_a_tokenizer_is_told_at_once(tab, qtbot):
    combo = tab.text_settings.tokenizer_combo
    combo.setFocus()
    combo.setCurrentIndex(0)
    with qtbot.waitSignal(tab.settings_changed) as signal:
        qtbot.keyClick(combo, Qt.Key.Key_Down)
    assert signal.args[0]["tokenizer.name"] == combo.currentData() == "bpe:1024"


def test_the_form_behind_and_the_switches_in_front_are_the_same_settings(tab, qtbot):
    qtbot.mouseClick(tab.text_settings.more_button, Qt.MouseButton.LeftButton)
    assert tab.form.isVisible()
    tab.form.edit("data.clean_unicode", False)
    assert not tab.text_settings.switches["data.clean_unicode"].isChecked()


def test_while_preparing_only_cancel_is_offered(tab, archive, qtbot):
    tab.set_sources([archive])
    tab.set_busy(True)
    tab.set_progress(Progress(5 * 2**30, 10 * 2**30, "bytes", "Reading"))
    assert tab.progress_bar.value() * 2 == tab.progress_bar.maximum()
    assert "Reading" in tab.summary_label.text()
    assert not tab.prepare_button.isEnabled()
    with qtbot.assertNotEmitted(tab.sources_changed):
        tab.add_sources([archive.parent])
    with qtbot.waitSignal(tab.cancel_requested):
        qtbot.mouseClick(tab.cancel_button, Qt.MouseButton.LeftButton)
    tab.set_busy(False)
    assert tab.prepare_button.isEnabled()
    assert not tab.progress_bar.isVisible()
    assert "Press Prepare" in tab.summary_label.text()


def test_a_dataset_is_shown_with_its_own_numbers(tab, dataset):
    show(tab, dataset)
    assert "3 documents" in tab.summary_label.text()
    assert "bpe:300" in tab.summary_label.text()
    tab.set_epochs(2.25)
    assert "2.2" in [label.text() for label in tab.dataset_view.findChildren(QLabel)]
    assert tab.text_settings.switches["data.clean_control"].text().endswith(": 60 characters")


def test_nothing_is_said_of_a_step_that_was_switched_off(tab, archive, tmp_path):
    *_, prepared = prepare([archive], tmp_path / "plays", CONFIG.replace({"data.clean_control": False}), Control())
    show(tab, Dataset.open(prepared.path))
    assert ":" not in tab.text_settings.switches["data.clean_control"].text()
    assert ":" in tab.text_settings.switches["data.clean_unicode"].text()


def test_the_coloured_page_is_the_text_itself(tab, dataset):
    show(tab, dataset)
    shown = tab.dataset_view.token_view.toPlainText().replace("↵\n", "\n")
    assert shown.startswith(dataset.tokenizer.decode(dataset.document("train", 0))[:60])


def test_neighbouring_tokens_have_different_tints(tab):
    tab.dataset_view.token_view.set_pieces(["to", " be", " or"])
    cursor = tab.dataset_view.token_view.textCursor()
    tints = []
    for place in (1, 4, 7):
        cursor.setPosition(place)
        tints.append(cursor.charFormat().background().color().name())
    assert len(set(tints)) == 3


def test_the_list_of_datasets_names_the_one_that_is_shown(tab, tmp_path):
    tab.set_datasets([("plays", tmp_path / "a"), ("letters", tmp_path / "b")], selected=tmp_path / "b")
    assert tab.dataset_combo.currentText() == "letters"
    tab.select_dataset(None)
    assert tab.dataset_combo.currentIndex() == -1


def test_an_empty_archive_says_so_once_it_was_looked_at(tab, tmp_path):
    tab.set_sources([tmp_path / "empty.zip"])
    line = tab.drop_zone.tree.topLevelItem(0)
    assert line.text(2) == "looking inside …"
    tab.set_entries([])
    assert tab.drop_zone.tree.topLevelItem(0).text(2) == "nothing in it"


def test_a_dataset_prepared_before_can_be_chosen(tab, qtbot):
    assert not tab.dataset_combo.isVisible()
    tab.set_datasets([("one", Path("/a/one")), ("two", Path("/a/two"))], selected=Path("/a/one"))
    assert tab.dataset_combo.currentText() == "one"
    tab.dataset_combo.setFocus()
    with qtbot.waitSignal(tab.dataset_chosen) as signal:
        qtbot.keyClick(tab.dataset_combo, Qt.Key.Key_Down)
    assert signal.args == [Path("/a/two")]


def test_notices_stay_until_the_next_preparation(tab):
    label = tab.findChild(QLabel, "dataNotices")
    tab.add_notice("2 skipped (empty): a, b")
    assert label.isVisible()
    tab.set_busy(True)  # the text is looked at
    assert label.isVisible()
    tab.forget_notices()
    assert not label.isVisible()


def test_what_was_said_of_one_text_is_not_said_of_another(tab):
    tab.add_notice("So short a text gives only 368 of the 4096 tokens.")
    tab.clear_dataset()
    assert not tab.findChild(QLabel, "dataNotices").isVisible()


def test_while_a_run_is_at_work_no_text_is_prepared_and_that_is_said(tab, archive):
    tab.add_sources([archive])
    tab.set_training(True)
    assert "once it has stopped" in tab.summary_label.text()
    assert "Stop the run" in tab.prepare_button.toolTip()
    assert not any(widget.isEnabled() for widget in (tab.prepare_button, tab.text_settings.tokenizer_combo,
                                                     tab.dataset_combo))
    assert tab.text_settings.more_button.isEnabled()  # they can still be read
    tab.set_training(False)
    assert tab.prepare_button.isEnabled() and tab.text_settings.tokenizer_combo.isEnabled()
    assert "Press Prepare" in tab.summary_label.text()


def test_two_sources_of_one_name_have_their_own_files(tab, tmp_path):
    sources = [tmp_path / folder / "notes.txt" for folder in ("a", "b")]
    for size, source in enumerate(sources, 1):
        source.parent.mkdir()
        source.write_text("word " * 200 * size, encoding="utf-8")
    tab.set_sources(sources)
    tab.set_entries(list_sources(sources))
    items = [tab.drop_zone.tree.topLevelItem(row) for row in range(2)]
    assert [item.text(0) for item in items] == ["notes.txt"] * 2
    assert [item.text(2) for item in items] == ["text"] * 2
    assert items[0].text(1) != items[1].text(1)
