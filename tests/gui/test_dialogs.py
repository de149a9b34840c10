"""The dialogs: the default answer is the right one, and nothing is lost by closing them."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QMessageBox, QPushButton
from pytestqt.qtbot import QtBot

from atlas_core.config import Config
from atlas_core.events import Exported, Progress, RateFound, RatePoint
from atlas_core.runs import CheckpointInfo, RunInfo
from atlas_gui import theme
from atlas_gui.dialogs.error import NO_REMEDY, show_error
from atlas_gui.dialogs.export import FILE_TYPES, ExportDialog, commands, forecast_bytes
from atlas_gui.dialogs.extend import ExtendDialog
from atlas_gui.dialogs.learning_rate import LearningRateDialog
from atlas_gui.dialogs.resume import ResumeDialog
from atlas_gui.dialogs.settings import SettingsDialog


@pytest.fixture(autouse=True)
def light(qapp: QApplication) -> None:
    theme.apply(qapp, dark=False)


def checkpoint(kind: str, step: int) -> CheckpointInfo:
    return CheckpointInfo(Path(f"atlas_{kind}_{step}.pt"), kind, step, 0.5, 2.5, 2.4, 11.0, 1e-3, 1000, 1.7e9 + step,
                          100, 1_100_000)


def interrupted(name: str) -> RunInfo:
    return RunInfo(Path(name), name, "NANO", "interrupted", 40, 100, 2.5, 2.4, 1_100_000, None, 1.7e9, 10**6,
                   (checkpoint("step", 40),))


# ---- resume


def resume_dialog(qtbot: QtBot, *names: str) -> ResumeDialog:
    dialog = ResumeDialog([interrupted(name) for name in names], {Path(names[0]): [5.0, 2.5]})
    qtbot.addWidget(dialog)
    dialog.open()
    return dialog


def test_enter_resumes(qtbot: QtBot) -> None:
    dialog = resume_dialog(qtbot, "first")
    with qtbot.waitSignal(dialog.answered) as answered:
        qtbot.keyClick(dialog, Qt.Key.Key_Return)
    assert answered.args == ["resume", interrupted("first")]


def test_enter_presses_the_button_that_has_the_focus(qtbot: QtBot) -> None:
    dialog = resume_dialog(qtbot, "first")
    fresh = dialog.findChild(QPushButton, "freshButton")
    assert fresh is not None
    fresh.setFocus()
    with qtbot.waitSignal(dialog.answered) as answered:
        qtbot.keyClick(fresh, Qt.Key.Key_Return)
    assert answered.args == ["fresh", interrupted("first")]


def test_escape_means_later(qtbot: QtBot) -> None:
    dialog = resume_dialog(qtbot, "first")
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert dialog.answer() == ("later", interrupted("first"))


@pytest.mark.parametrize("action", ["resume", "open", "fresh", "later"])
def test_each_button_is_its_answer_for_the_chosen_run(qtbot: QtBot, action: str) -> None:
    dialog = resume_dialog(qtbot, "first", "second")
    dialog.run_combo.setCurrentIndex(1)
    qtbot.mouseClick(dialog.findChild(object, f"{action}Button"), Qt.MouseButton.LeftButton)
    assert dialog.answer() == (action, interrupted("second"))
    assert not dialog.isVisible()


def test_resume_dialog_says_how_far_the_run_came(qtbot: QtBot) -> None:
    dialog = resume_dialog(qtbot, "first")
    shown = " ".join(label.text() for label in dialog.findChildren(QLabel))
    for fact in ("first", "40 / 100", "2.500", "2.400", "12.2"):  # 12.2 is exp(2.5)
        assert fact in shown
    assert not dialog.run_combo.isVisible(), "one run leaves nothing to choose"


# ---- extend


def extend_dialog(qtbot: QtBot, *, stale_validations: int = 0, **training: object) -> ExtendDialog:
    """About a run that stands at step 40."""
    done = dataclasses.replace(checkpoint("step", 40), stale_validations=stale_validations)
    info = dataclasses.replace(interrupted("tales"), state="done", checkpoints=(done,))
    settings = {"max_steps": 40, "warmup_steps": 0, **training}
    dialog = ExtendDialog(info, Config().replace({f"training.{key}": value for key, value in settings.items()}))
    qtbot.addWidget(dialog)
    dialog.open()
    return dialog


def test_enter_trains_as_many_steps_again(qtbot: QtBot) -> None:
    dialog = extend_dialog(qtbot)
    with qtbot.waitSignal(dialog.extend_requested) as asked:
        qtbot.keyClick(dialog, Qt.Key.Key_Return)
    assert asked.args == [{"training.max_steps": 80}]


def test_what_more_steps_do_to_the_rate_is_said_as_they_are_chosen(qtbot: QtBot) -> None:
    dialog = extend_dialog(qtbot)
    assert "The cosine schedule is now that of 80" in dialog.explanation.text()
    dialog.steps_spin.lineEdit().selectAll()
    qtbot.keyClicks(dialog.steps_spin.lineEdit(), "60")
    assert "will end at step 100" in dialog.explanation.text() and "that of 100" in dialog.explanation.text()
    constant = extend_dialog(qtbot, scheduler_type="constant")
    assert "of a run that was planned for 80" in constant.explanation.text()


def test_a_run_that_ended_early_is_offered_the_rest_without_early_stopping(qtbot: QtBot) -> None:
    dialog = extend_dialog(qtbot, max_steps=100, early_stopping_patience=3, stale_validations=3)
    assert dialog.changes() == {"training.max_steps": 100, "training.early_stopping_patience": 0}
    assert "ended early at step 40" in dialog.explanation.text()
    assert "Early stopping is turned off" in dialog.explanation.text()


def test_cancel_extends_nothing(qtbot: QtBot) -> None:
    dialog = extend_dialog(qtbot)
    with qtbot.assertNotEmitted(dialog.extend_requested):
        qtbot.mouseClick(dialog.cancel_button, Qt.MouseButton.LeftButton)
    assert not dialog.isVisible()


# ---- export


@pytest.fixture
def export(qtbot: QtBot, tmp_path: Path) -> ExportDialog:
    dialog = ExportDialog([checkpoint("step", 60), checkpoint("best", 40)], "NANO", tmp_path, 1_000_000)
    qtbot.addWidget(dialog)
    dialog.open()
    return dialog


def exported(path: Path, *, verified: bool = True) -> Exported:
    return Exported(path, "f16", 2_000_000, verified, 148, 2300, ("Reopened: 148 tensors equal.",))


def test_checkpoints_that_come_and_go_are_followed_and_the_chosen_one_stays(export: ExportDialog) -> None:
    combo, status = export.checkpoint_combo, export.status_label
    combo.setCurrentIndex(1)
    assert combo.currentData() == checkpoint("step", 60).path
    export.set_checkpoints([checkpoint("step", 60), checkpoint("step", 80), checkpoint("best", 40)])
    assert combo.currentData() == checkpoint("step", 60).path and not status.text()
    assert [combo.itemData(place) for place in range(combo.count())] == [
        checkpoint("best", 40).path, checkpoint("step", 80).path, checkpoint("step", 60).path]
    export.set_checkpoints([checkpoint("step", 80), checkpoint("best", 40)])
    assert combo.currentData() == checkpoint("best", 40).path
    assert "atlas_step_60.pt has made room" in status.text()


def test_enter_exports_the_best_checkpoint_as_f16(export: ExportDialog, qtbot: QtBot, tmp_path: Path) -> None:
    with qtbot.waitSignal(export.export_requested) as asked:
        qtbot.keyClick(export, Qt.Key.Key_Return)
    assert asked.args == [checkpoint("best", 40).path, tmp_path / "NANO-f16.gguf", "f16"]


def test_file_name_follows_the_type_until_the_person_names_it(
        export: ExportDialog, qtbot: QtBot, tmp_path: Path) -> None:
    q8 = [kind.name for kind in FILE_TYPES].index("q8_0")
    export.type_combo.setCurrentIndex(q8)
    assert export.path_edit.text() == str(tmp_path / "NANO-q8_0.gguf")
    export.path_edit.selectAll()
    qtbot.keyClicks(export.path_edit, str(tmp_path / "mine"))
    export.type_combo.setCurrentIndex(0)
    with qtbot.waitSignal(export.export_requested) as asked:
        export.start_button.click()
    assert asked.args[1] == tmp_path / "mine.gguf"


def test_forecast_counts_the_bytes_of_each_type() -> None:
    forecast = {kind.name: forecast_bytes(3200, kind) for kind in FILE_TYPES}
    assert forecast == {"f32": 12800, "f16": 6400, "bf16": 6400, "q8_0": 3400}


def test_no_file_name_no_export(export: ExportDialog) -> None:
    export.path_edit.clear()
    assert not export.start_button.isEnabled()


@pytest.mark.parametrize(("answer", "exports"), [("Overwrite", True), ("Keep it", False)])
def test_existing_file_is_only_replaced_after_a_yes(
        export: ExportDialog, qtbot: QtBot, tmp_path: Path, answer: str, exports: bool) -> None:
    (tmp_path / "NANO-f16.gguf").write_bytes(b"old")
    asked: list[Path] = []
    export.export_requested.connect(lambda _, to: asked.append(to))
    export.start_button.click()
    assert asked == []
    question = export.findChild(QMessageBox, "overwriteDialog")
    assert isinstance(question, QMessageBox)
    qtbot.mouseClick(next(b for b in question.buttons() if b.text() == answer), Qt.MouseButton.LeftButton)
    assert bool(asked) is exports


def test_success_shows_the_proof_and_the_command_to_copy(export: ExportDialog, qtbot: QtBot, tmp_path: Path) -> None:
    export.start_button.click()
    export.set_progress(Progress(74, 148, "tensors", "comparing"))
    assert "comparing" in export.status_label.text()
    assert (export.progress_bar.value(), export.progress_bar.maximum()) == (74, 148)
    export.set_exported(exported(tmp_path / "NANO-f16.gguf"))
    assert "step 2\u202f300" in export.status_label.text() and "verified" in export.status_label.text()
    proof = export.findChild(QLabel, "exportProof")
    assert isinstance(proof, QLabel) and proof.isVisible() and "148 tensors equal" in proof.text()
    with qtbot.waitSignal(export.open_folder_requested) as asked:
        qtbot.mouseClick(export.folder_button, Qt.MouseButton.LeftButton)
    assert asked.args == [tmp_path]


def test_unverified_file_is_not_called_verified(export: ExportDialog, tmp_path: Path) -> None:
    export.start_button.click()
    export.set_exported(exported(tmp_path / "NANO-f16.gguf", verified=False))
    assert "not verified" in export.status_label.text()
    assert export.status_label.property("role") == "warning"


def test_another_choice_takes_the_old_proof_away(export: ExportDialog, tmp_path: Path) -> None:
    export.start_button.click()
    export.set_exported(exported(tmp_path / "NANO-f16.gguf"))
    export.type_combo.setCurrentIndex(1)
    assert export.status_label.text() == ""
    assert not export.folder_button.isVisible()


def test_failure_keeps_the_choices_for_another_try(export: ExportDialog) -> None:
    export.start_button.click()
    assert not export.start_button.isEnabled()
    export.set_failed("The disk is full.", "Choose another folder.")
    assert export.status_label.text() == "The disk is full. Choose another folder."
    assert export.start_button.isEnabled() and export.isVisible()


def test_closing_while_it_writes_cancels_and_closing_after_does_not(
        export: ExportDialog, qtbot: QtBot, tmp_path: Path) -> None:
    cancelled: list[bool] = []
    export.cancel_requested.connect(lambda: cancelled.append(True))
    export.start_button.click()
    export.close()
    assert cancelled == [True] and not export.isVisible()
    export.open()
    export.set_exported(exported(tmp_path / "NANO-f16.gguf"))
    qtbot.keyClick(export, Qt.Key.Key_Escape)
    assert cancelled == [True]


def test_commands_are_safe_to_paste() -> None:
    path = Path("my models/it's $(rm).gguf")
    llama, ollama = commands(path, "NANO-1")
    assert str(path) in shlex.split(llama)
    assert f"FROM {path}" in shlex.split(ollama)
    assert "nano-1" in shlex.split(ollama)


def test_on_windows_commands_are_powershells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    llama, ollama = commands(PureWindowsPath(r"C:\my models\it's.gguf"), "NANO")
    assert r"-m 'C:\my models\it''s.gguf' -no-cnv" in llama
    assert ollama == (r"""'FROM C:\my models\it''s.gguf', 'TEMPLATE "{{ .Prompt }}"' | Set-Content Modelfile; """
                      "ollama create 'nano' -f Modelfile; ollama run 'nano'")


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_the_command_for_ollama_writes_a_model_file_without_a_chat(tmp_path: Path) -> None:
    _, ollama = commands(Path("it's 100 %.gguf"), "NANO")
    subprocess.run(["sh", "-c", ollama.partition(" && ")[0]], cwd=tmp_path, check=True)
    assert (tmp_path / "Modelfile").read_text() == 'FROM it\'s 100 %.gguf\nTEMPLATE "{{ .Prompt }}"\n'


# ---- error


def test_error_tells_what_and_what_to_do_and_hides_no_details(qtbot: QtBot) -> None:
    dialog = show_error(None, "The <disk> is full.", "Free some space.", "Traceback: ...", Path("atlas.log"))
    qtbot.addWidget(dialog)
    assert dialog.message_label.text() == "The <disk> is full."
    assert dialog.message_label.textFormat() == Qt.TextFormat.PlainText
    assert not dialog.details_view.isVisible()
    qtbot.mouseClick(dialog.details_button, Qt.MouseButton.LeftButton)
    assert dialog.details_view.isVisible()
    qtbot.mouseClick(dialog.copy_button, Qt.MouseButton.LeftButton)
    copied = QApplication.clipboard().text()
    for part in ("The <disk> is full.", "Free some space.", "Traceback: ...", "atlas.log"):
        assert part in copied


def test_error_of_ours_says_so_and_one_of_the_users_shows_no_details(qtbot: QtBot) -> None:
    ours = show_error(None, "KeyError: 'x'", details="Traceback: ...")
    qtbot.addWidget(ours)
    assert ours.remedy_label.text() == NO_REMEDY
    users = show_error(None, "There is no text.", "Drop a file.")
    qtbot.addWidget(users)
    assert not users.details_button.isVisible()


def test_error_does_not_hold_up_the_program(qtbot: QtBot) -> None:
    dialog = show_error(None, "No.", "Yes.")
    with qtbot.waitSignal(dialog.destroyed):  # it removes itself
        qtbot.keyClick(dialog, Qt.Key.Key_Return)


# ---- settings


def test_settings_hold_at_once(qtbot: QtBot, tmp_path: Path) -> None:
    dialog = SettingsDialog(theme_name="system", home=tmp_path, device="auto", threads=0)
    qtbot.addWidget(dialog)
    with qtbot.waitSignal(dialog.theme_changed) as theme_told:
        dialog.theme_combo.setCurrentIndex(dialog.theme_combo.findData("dark"))
    with qtbot.waitSignal(dialog.device_changed) as device_told:
        dialog.device_combo.setCurrentIndex(dialog.device_combo.findData("cpu"))
    with qtbot.waitSignal(dialog.threads_changed) as threads_told:
        dialog.threads_spin.setValue(2)
    assert (theme_told.args, device_told.args, threads_told.args) == (["dark"], ["cpu"], [2])


def test_settings_show_what_is_set(qtbot: QtBot, tmp_path: Path) -> None:
    dialog = SettingsDialog(theme_name="light", home=tmp_path, device="cpu", threads=3)
    qtbot.addWidget(dialog)
    assert dialog.theme_combo.currentData() == "light"
    assert dialog.device_combo.currentData() == "cpu"
    assert dialog.threads_spin.value() == 3
    assert dialog.home_edit.text() == str(tmp_path)


# ---- the learning rate

POINTS = tuple(RatePoint(step, 5, 10.0 ** (step - 5), loss, loss) for step, loss in enumerate((8, 7, 6, 6.5, 50), 1))


@pytest.fixture
def rate_dialog(qtbot: QtBot) -> LearningRateDialog:
    dialog = LearningRateDialog(low=1e-4, high=1.0)
    qtbot.addWidget(dialog)
    dialog.open()
    return dialog


def test_a_test_of_rates_is_watched_as_it_runs_and_offers_nothing_before_its_end(
        rate_dialog: LearningRateDialog) -> None:
    for point in POINTS[:3]:
        rate_dialog.add_point(point)
    x, losses = rate_dialog.plot.drawn_raw
    assert x.tolist() == [-4, -3, -2] and losses.tolist() == [8, 7, 6]
    assert "step 3 of 5" in rate_dialog.status_label.text()
    assert not rate_dialog.use_button.isEnabled()


def test_the_view_stays_at_the_fall_whatever_the_loss_explodes_to(rate_dialog: LearningRateDialog) -> None:
    rate_dialog.set_found(RateFound(1e-2, POINTS))
    (left, right), (bottom, top) = rate_dialog.plot.plot_item.getViewBox().viewRange()
    assert left <= -4 and right >= 0 and bottom < 6 and 8 < top < 10


def test_enter_uses_the_rate_that_was_found_and_closes(rate_dialog: LearningRateDialog, qtbot: QtBot) -> None:
    rate_dialog.set_found(RateFound(1e-2, POINTS))
    with qtbot.waitSignal(rate_dialog.rate_chosen) as chosen, qtbot.assertNotEmitted(rate_dialog.cancel_requested):
        qtbot.keyClick(rate_dialog, Qt.Key.Key_Return)
    assert chosen.args == [1e-2] and not rate_dialog.isVisible()


def test_escape_cancels_a_test_that_runs_and_only_closes_one_that_ended(
        rate_dialog: LearningRateDialog, qtbot: QtBot) -> None:
    with qtbot.waitSignal(rate_dialog.cancel_requested), qtbot.assertNotEmitted(rate_dialog.rate_chosen):
        qtbot.keyClick(rate_dialog, Qt.Key.Key_Escape)
    rate_dialog.open()
    rate_dialog.set_failed("The loss fell nowhere.", "Begin lower.")
    assert rate_dialog.status_label.text() == "The loss fell nowhere. Begin lower."
    with qtbot.assertNotEmitted(rate_dialog.cancel_requested):
        qtbot.keyClick(rate_dialog, Qt.Key.Key_Escape)
    assert not rate_dialog.isVisible()
