"""The window: tabs, toolbar, dock, status line, and every connection between them and the session.

What is open and what is running the session knows; what things look like the tabs know. Here they meet.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer, QUrl, Signal
from PySide6.QtGui import (
    QCloseEvent,
    QDesktopServices,
    QImage,
    QImageWriter,
    QKeySequence,
    QResizeEvent,
    QShortcut,
)
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QFrame,
    QLabel,
    QMainWindow,
    QMessageBox,
    QScrollArea,
    QTabWidget,
)

from atlas_core import config as configuration
from atlas_core import format, history, jobs, paths, presets, runs
from atlas_core.config import Config, Sampling
from atlas_core.errors import AtlasError, ConfigError
from atlas_core.events import CheckpointSaved, Event, Exported, RunStarted
from atlas_core.fitting import Fitted
from atlas_core.paths import write_atomically
from atlas_core.runs import RunInfo
from atlas_core.text.dataset import Meta
from atlas_gui import sentences, theme
from atlas_gui.dialogs import error as error_dialog
from atlas_gui.dialogs import resume as resume_dialog
from atlas_gui.dialogs.export import ExportDialog
from atlas_gui.dialogs.extend import ExtendDialog
from atlas_gui.dialogs.learning_rate import LearningRateDialog
from atlas_gui.dialogs.resume import ResumeDialog
from atlas_gui.dialogs.settings import SettingsDialog
from atlas_gui.errands import Opened, RunsSeen, Shown
from atlas_gui.file_drags import FileDrags
from atlas_gui.session import IDLE, PAUSED, PAUSING, PREPARING, STARTING, STOPPING, TRAINING, Session
from atlas_gui.settings import Settings
from atlas_gui.tabs.data import DataTab
from atlas_gui.tabs.model import ModelTab
from atlas_gui.tabs.playground import LIVE, PlaygroundTab
from atlas_gui.tabs.runs import RunsTab
from atlas_gui.tabs.train import TrainTab
from atlas_gui.tray import Tray
from atlas_gui.widgets.eliding_label import ElidingLabel
from atlas_gui.widgets.hardware_panel import HardwarePanel
from atlas_gui.widgets.run_bar import RunBar, RunBarState
from atlas_gui.widgets.toast import Toast

TITLE = "Atlas Studio"
FIRST_SIZE = (1280, 800)
NARROW_PX = 1240  # the tabs and the wide hardware panel need as much
WORDS_MS = 250  # words are redrawn at most this often: faster nobody reads
PLACED_MS = 400  # until the system has put a new window in its place: a dialog opened before stands beside it
IDLE_WORDS_MS = 5000  # "saved 2 min ago" grows old also while nothing happens

RATE_FACTOR = 0.5
LOWER_RATE = "Resume at half the learning rate"

WAITING = {
    PREPARING: "Preparing the text …",
    STARTING: "Warming up: loading PyTorch and the model …",
    PAUSING: "Pausing after this step …",
    STOPPING: "Finishing this step and saving …",
}
STATUS = {STARTING: "Starting", TRAINING: "Training", PAUSING: "Pausing", PAUSED: "Paused", STOPPING: "Stopping"}

log = logging.getLogger("atlas_gui")


class MainWindow(QMainWindow):
    """Opens ready: one sentence says what will happen, one button makes it happen."""

    closed = Signal()

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self.settings = settings or Settings()
        self.session = Session(self.settings, self)
        self._presets = presets.all_presets()
        self._played: Path | None = None  # the run that the playground was asked to play
        self._exporting: Path | None = None  # the run that an export is about
        self._resume_asked = False
        self._closing = False
        self._share: float | None = None
        self._narrow = False
        self._build()
        self._connect()
        self._load()

    # ---- building ------------------------------------------------------------------------------

    def _build(self) -> None:
        self.setObjectName("mainWindow")
        self.setAccessibleName(TITLE)
        self.setWindowTitle(TITLE)
        self.data_tab, self.model_tab, self.train_tab = DataTab(), ModelTab(), TrainTab()
        self.playground_tab, self.runs_tab = PlaygroundTab(), RunsTab()
        self.tabs = QTabWidget()
        self.tabs.setObjectName("tabs")
        self.tabs.setAccessibleName("Tabs")
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)
        for tab, name, icon in ((self.data_tab, "Data", "text-box-multiple-outline"),
                                (self.model_tab, "Model", "layers-triple-outline"),
                                (self.train_tab, "Train", "chart-line"),
                                (self.playground_tab, "Playground", "message-text-outline"),
                                (self.runs_tab, "Runs", "history")):
            self.tabs.addTab(tab, theme.icon(icon), name)
        self.run_bar = RunBar()
        self.hardware_panel = HardwarePanel()
        page = QScrollArea()  # a screen smaller than the tabs, or larger letters, shows them all the same
        page.setWidgetResizable(True)
        page.setFrameShape(QFrame.Shape.NoFrame)
        page.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        page.setWidget(self.tabs)
        self.setCentralWidget(page)
        self.addToolBar(self.run_bar)
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.hardware_panel)
        self._minutes: float | None = None  # that a run may take, while the speed is being measured
        self._status, self._machine = ElidingLabel(), QLabel()
        self._status.setObjectName("statusLine")
        self._machine.setObjectName("machineLine")
        self._machine.setProperty("role", "muted")
        self.statusBar().setSizeGripEnabled(False)
        self.statusBar().addWidget(self._status, 1)
        self.statusBar().addPermanentWidget(self._machine)
        self.toast = Toast(self, self.tabs)
        self.tray = Tray(QApplication.windowIcon(), TITLE, self)
        self.file_drags = FileDrags(self, self._judge)
        self._words_timer = QTimer(self)

    def _connect(self) -> None:  # noqa: PLR0915 - one readable block
        """Every connection of the program."""
        session, bar = self.session, self.run_bar
        data, model, train, playground, runs_tab = (
            self.data_tab, self.model_tab, self.train_tab, self.playground_tab, self.runs_tab)

        # the run, by toolbar and keyboard
        bar.train_requested.connect(self._on_train_wished)
        bar.new_run_requested.connect(self._on_train_wished)
        bar.resume_requested.connect(self._on_resume_wished)
        bar.pause_requested.connect(session.pause)
        bar.stop_requested.connect(session.stop)
        bar.export_requested.connect(self._on_export_wished)
        bar.settings_requested.connect(self._on_settings_wished)
        session.state_changed.connect(self._on_state_changed)
        session.training_event.connect(self._on_training_event)
        session.run_opened.connect(self._on_run_opened)
        session.became_quiet.connect(self._on_quiet)
        session.estimate_changed.connect(self._on_estimate_changed)
        self._words_timer.timeout.connect(self._show_words)

        # text
        self.file_drags.dropped.connect(self._on_dropped)
        self.file_drags.refused.connect(lambda sentence: self.toast.show_news(sentence, "warning"))
        data.sources_changed.connect(self._on_sources_changed)
        data.use_sample_requested.connect(self._on_sample_wished)
        data.settings_changed.connect(self._on_text_settings_changed)
        data.prepare_requested.connect(self._on_prepare_wished)
        data.cancel_requested.connect(session.cancel_prepare)
        data.dataset_chosen.connect(session.choose_dataset)
        session.sources_looked_at.connect(data.set_entries)
        session.prepare_began.connect(data.forget_notices)
        session.prepare_progressed.connect(data.set_progress)
        session.prepare_progressed.connect(self._on_prepare_progressed)
        session.dataset_changed.connect(self._on_dataset_changed)
        session.datasets_found.connect(self._on_datasets_found)

        # model
        model.config_changed.connect(self._on_config_changed)
        model.fit_requested.connect(self._on_fit_wished)
        model.time_wished.connect(self._on_time_wished)
        model.rate_test_requested.connect(self._on_rate_test_wished)
        model.save_preset_requested.connect(self._on_save_preset_wished)
        model.delete_preset_requested.connect(self._on_delete_preset_wished)

        # training
        train.sample_now_requested.connect(session.sample_now)
        train.save_now_requested.connect(session.save_now)
        train.image_export_requested.connect(self._on_image_export_wished)
        train.numbers_export_requested.connect(self._on_numbers_export_wished)

        # talking to a model
        playground.generate_requested.connect(self._on_text_wished)
        playground.stop_requested.connect(session.stop_text)
        session.text_piece.connect(playground.add_piece)
        session.text_finished.connect(playground.set_finished)
        session.text_failed.connect(playground.set_failed)

        # runs
        runs_tab.resume_requested.connect(self._on_resume_run_wished)
        runs_tab.extend_requested.connect(self._on_extend_wished)
        runs_tab.curve_requested.connect(self._on_curve_wished)
        runs_tab.play_requested.connect(self._on_play_wished)
        runs_tab.export_requested.connect(self._open_export)
        runs_tab.delete_requested.connect(session.delete_run)
        runs_tab.open_folder_requested.connect(open_folder)
        runs_tab.refresh_requested.connect(session.refresh_runs)
        session.runs_seen.connect(self._on_runs_seen)
        self.tabs.currentChanged.connect(self._on_tab_changed)
        session.run_deleted.connect(self._on_run_deleted)
        session.exported.connect(self._on_exported)

        # the machine, news and mistakes
        session.hardware_read.connect(self.hardware_panel.show_news)
        self.hardware_panel.collapsed_changed.connect(self._on_hardware_collapsed)
        self.hardware_panel.target_wished.connect(self._on_target_wished)
        session.noticed.connect(self._on_noticed)
        session.failed.connect(self.show_error)
        session.came_apart.connect(self._on_came_apart)
        self.tray.show_requested.connect(self._on_show_wished)
        self.tray.quit_requested.connect(self.save_and_close)

        for keys, slot in (("Ctrl+R", bar.click_primary), ("Ctrl+.", bar.stop_button.click),
                           ("Ctrl+S", session.save_now), ("Ctrl+E", bar.export_button.click),
                           ("Ctrl+,", self._on_settings_wished), ("Ctrl+Q", self.close)):
            QShortcut(QKeySequence(keys), self).activated.connect(slot)
        for index in range(self.tabs.count()):
            self.tabs.setTabToolTip(index, f"Ctrl+{index + 1}")
            shortcut = QShortcut(QKeySequence(f"Ctrl+{index + 1}"), self)
            shortcut.activated.connect(lambda index=index: self.tabs.setCurrentIndex(index))

    def _load(self) -> None:
        """Show what was remembered, and what is there."""
        session = self.session
        self.resize(*FIRST_SIZE)
        self.restoreGeometry(self.settings.geometry)
        self.tabs.setCurrentIndex(self.settings.tab)
        self.hardware_panel.set_collapsed(self._narrow or self.settings.hardware_collapsed)
        self._show_machine()
        self.model_tab.set_presets(self._presets, selected=session.config.name)
        self.data_tab.set_config(session.config)
        self.data_tab.set_sources(session.sources)
        self._on_estimate_changed()
        self._words_timer.start(IDLE_WORDS_MS)
        session.open()

    # ---- the run -------------------------------------------------------------------------------

    def _on_train_wished(self) -> None:
        self.tabs.setCurrentWidget(self.train_tab)
        self.session.train()

    def _on_resume_wished(self) -> None:
        if self.session.state == IDLE and self.session.run is not None:
            self._on_resume_run_wished(self.session.run.path)
        else:
            self.session.unpause()

    def _on_resume_run_wished(self, run: Path, changes: Mapping[str, object] | None = None) -> None:
        self.tabs.setCurrentWidget(self.train_tab)
        self.session.resume_run(run, changes=changes)

    def _on_curve_wished(self, run: Path) -> None:
        """On the Train tab, which belongs to the run at work while there is one."""
        session = self.session
        if session.state == IDLE:
            session.open_run(run)
        elif session.run is None or session.run.path != run:
            self._on_noticed("The tab Train shows the run at work. Stop it to look at another.", "info")
            return
        self.tabs.setCurrentWidget(self.train_tab)

    def _on_extend_wished(self, run: Path) -> None:
        try:
            info, config = runs.inspect(run), configuration.load(run / runs.CONFIG_FILE)
        except AtlasError as error:  # deleted or damaged since it was listed
            self.show_error(error.message, error.remedy)
            return
        if info.state != "done":  # somebody goes on with it already
            self.session.refresh_runs()
            return
        dialog = ExtendDialog(info, config, parent=self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.extend_requested.connect(lambda changes: self._on_resume_run_wished(run, changes))
        dialog.open()

    def _on_state_changed(self, state: str) -> None:
        training = self.session.training
        self._share = None
        self.data_tab.set_busy(state == PREPARING)
        self.data_tab.set_training(training)
        self.model_tab.set_enabled(not training, shows_the_run=self.session.trains_these)
        self.hardware_panel.set_target(self.session.target_temperature)
        self._show_command_line()
        self.train_tab.set_waiting(training or self.session.trains_after_preparing)
        self.train_tab.set_live(state in (TRAINING, PAUSING, PAUSED))
        self.runs_tab.set_active(self.session.at_work, paused=state == PAUSED)
        self._refresh_playground()
        self._words_timer.start(IDLE_WORDS_MS if state == IDLE else WORDS_MS)
        self._show_words()

    def _on_training_event(self, event: Event) -> None:
        self.train_tab.append(event)
        line = sentences.log_line(event)
        if line is not None:
            self.train_tab.add_log(line)
        news = sentences.news(event)
        if news is not None:
            self.tray.tell(*news)
        if isinstance(event, RunStarted):
            self._machine.setText(sentences.machine(event))
            self.runs_tab.set_active(event.run)
            self._show_command_line()
            self._refresh_playground(selected=None if self.session.drawing_text else LIVE)
        if isinstance(event, CheckpointSaved):
            self._refresh_playground()

    def _on_run_opened(self, opened: Opened | None) -> None:
        self.train_tab.clear()
        self.train_tab.set_history(self.session.history)
        if opened is not None:
            self.train_tab.set_samples(opened.samples)
            self.train_tab.set_log(opened.log)
        self._refresh_playground()
        self._show_words()

    def _on_quiet(self) -> None:
        self._show_words()
        if self._closing:
            self.close()

    def _on_estimate_changed(self) -> None:
        times = {name: self.session.expected(preset.config) for name, preset in self._presets.items()}
        self.model_tab.set_times({name: time for name, time in times.items() if time is not None},
                                 self.session.expected(self.session.config))
        self._show_words()
        if self.session.state != IDLE and self._minutes is not None:
            self._minutes = None  # training has begun as it was
            self.model_tab.explain("")
        if self._minutes is not None and not self.session.measuring:
            self._plan_time()

    def _show_words(self) -> None:
        """The toolbar and the status line, from what the session knows."""
        session = self.session
        self.run_bar.show_state(self._run_bar_state())
        self.hardware_panel.show_cooling(session.cooling if session.training else "")
        run, state = session.run, session.state
        self._status.setText(sentences.status(STATUS[state], run.name if run else "", session.history, session.saved_at,
                                                session.cooling)
                             if session.started and session.training else WAITING.get(state, self._idle_status()))
        self.tray.set_status(self._status.text())
        if self.tabs.currentWidget() is self.runs_tab:
            self.runs_tab.show_ages()

    def _idle_status(self) -> str:
        run = self.session.run
        if self.session.measuring:
            return f"Measuring how fast this computer trains {self.session.measuring} …"
        return f"{run.name}: {sentences.standing(run)}" if run else "Ready"

    def _run_bar_state(self) -> RunBarState:
        session, state = self.session, self.session.state
        run = session.run
        resumable = state == IDLE and run is not None and run.state == "interrupted"
        shown = RunBarState(
            primary="pause" if state in (STARTING, TRAINING, PAUSING, STOPPING) else
                    "resume" if resumable or state == PAUSED else "train",
            primary_enabled=state in (TRAINING, PAUSED) or (state == IDLE and (resumable or bool(session.text_name))),
            stop_enabled=state not in (IDLE, STOPPING),
            new_run_offered=resumable and bool(session.text_name),
            export_enabled=run is not None and session.saved_at is not None,
            busy=state != IDLE,
        )
        if session.training and session.started is not None:
            max_steps, steps = session.started.max_steps, session.history.steps
            share = (steps[-1] if steps else session.started.resumed_from) / max_steps
            words = WAITING.get(state, sentences.progress(session.history, max_steps, paused=state == PAUSED))
            return dataclasses.replace(shown, title=run.name if run else "", sentence=words, share=share)
        if resumable and run is not None:
            return dataclasses.replace(shown, title=run.name, sentence=sentences.standing(run))
        return dataclasses.replace(shown, sentence=WAITING.get(state, self._plan()), share=self._share)

    def _plan(self) -> str:
        session = self.session
        config, tokens = session.as_trained(session.config), session.shown.meta.tokens if session.shown else None
        return sentences.plan(config, session.text_name, tokens, session.expected(config), session.memory_bytes(config))

    # ---- text ----------------------------------------------------------------------------------

    def _judge(self, dragged: Sequence[Path]) -> tuple[str, bool]:
        if self.session.state == PREPARING:
            return "Wait until the text at hand is prepared.", False
        return sentences.drop(dragged)

    def _on_dropped(self, sources: list[Path]) -> None:
        self.tabs.setCurrentWidget(self.data_tab)
        self.data_tab.add_sources(sources)

    def _on_sources_changed(self, sources: list[Path]) -> None:
        sample = jobs.sample_source()
        if sample in sources and len(sources) > 1:  # the sample gives way to the person's own text
            self.data_tab.set_sources([source for source in sources if source != sample])
            return
        self.session.set_sources(sources)
        self._show_words()

    def _on_sample_wished(self) -> None:
        self.data_tab.set_sources([jobs.sample_source()])

    def _on_text_settings_changed(self, changes: Mapping[str, Any]) -> None:
        before = self.session.config
        try:
            self.model_tab.apply_changes(changes)
        except AtlasError as error:
            self.show_error(error.message, error.remedy)
        if any(self.session.config.get(key) != before.get(key) for key in changes):
            self.session.leave_chosen_dataset()  # which was made with other settings

    def _on_prepare_wished(self, _sources: Sequence[Path], changes: Mapping[str, Any]) -> None:
        self._on_text_settings_changed(changes)
        self.session.prepare()

    def _on_prepare_progressed(self, progress: Any) -> None:
        self._share = progress.done / progress.total if progress.total else None

    def _on_dataset_changed(self, shown: Shown | None) -> None:
        if shown is None:
            self.data_tab.clear_dataset()
        else:
            summary = {**shown.meta.to_dict(), "name": sentences.dataset_name(shown.meta)}
            self.data_tab.show_dataset(summary, shown.first_tokens, shown.lengths)
        self.data_tab.select_dataset(shown.path if shown else None)
        self.model_tab.set_dataset_tokens(shown.meta.splits["train"].tokens if shown else 0)
        self.data_tab.set_epochs(self.model_tab.epochs())
        self._show_command_line()

    def _on_datasets_found(self, found: list[tuple[Meta, Path]]) -> None:
        named = [(f"{sentences.dataset_name(meta)} · {meta.tokenizer} · {format.short_count(meta.tokens)} tokens", path)
                 for meta, path in found]
        self.data_tab.set_datasets(named, selected=self.session.dataset)

    # ---- model ---------------------------------------------------------------------------------

    def _show_machine(self) -> None:
        """Whose memory counts, if it has become another's."""
        machine = self.session.machine(self.session.config)
        if self.model_tab.set_machine(machine):
            what = "video memory" if machine.is_gpu else "memory"
            self._machine.setText(f"{format.size(machine.total_bytes)} {what}")

    def _on_config_changed(self, config: Config) -> None:
        self._minutes = None  # they were meant for the settings of before
        self.session.set_config(config)
        self._show_machine()
        if not self.session.training:  # else the panel shows what was wished for the run at work
            self.hardware_panel.set_target(self.session.target_temperature)
        self.data_tab.set_config(config, original=self.model_tab.original())
        self.data_tab.set_epochs(self.model_tab.epochs())
        self._show_command_line()

    def _on_target_wished(self, celsius: float) -> None:
        """For the run at work at once, and for those to come."""
        try:
            self.model_tab.apply_changes({"hardware.target_temperature": celsius})
        except ConfigError as error:
            self._on_noticed(str(error), "warning")
            self.hardware_panel.set_target(self.session.target_temperature)
        else:
            self.session.keep_at(celsius)

    def _on_fit_wished(self) -> None:
        fitted = self.session.fitted()
        self._take_fitted(fitted)
        if not fitted.reasons:
            self.model_tab.explain("It fits as it is, also into the memory that is free now.")

    def _on_time_wished(self, minutes: float) -> None:
        self._minutes = minutes
        if self.session.measure_now():
            self.model_tab.explain("Measuring how fast this machine trains it, then it is planned: less than a minute.")
        else:
            self._plan_time()

    def _plan_time(self) -> None:
        """For the minutes that were wished for."""
        minutes, self._minutes = self._minutes, None
        assert minutes is not None
        try:
            self._take_fitted(self.session.within(60 * minutes))
        except AtlasError as error:
            self.model_tab.explain(f"{error.message} {error.remedy}", role="warning")

    def _take_fitted(self, fitted: Fitted) -> None:
        """Take over what was changed, and say why."""
        before = self.session.config
        self.model_tab.apply_changes({key: fitted.config.get(key) for key in configuration.settings()
                                      if fitted.config.get(key) != before.get(key)})
        self.model_tab.explain(" ".join(fitted.reasons))

    def _on_rate_test_wished(self) -> None:
        dialog = LearningRateDialog(low=jobs.LOWEST_RATE, high=jobs.HIGHEST_RATE, parent=self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.rate_chosen.connect(self._on_rate_chosen)
        dialog.cancel_requested.connect(self.session.cancel_find_learning_rate)
        self.session.rate_tried.connect(dialog.add_point)
        self.session.rate_found.connect(dialog.set_found)
        self.session.rate_failed.connect(dialog.set_failed)
        dialog.open()
        self.session.find_learning_rate()

    def _on_rate_chosen(self, rate: float) -> None:
        self.model_tab.apply_changes({"training.learning_rate": rate})
        self.toast.show_news(f"The next run learns at {format.learning_rate(rate)}.", "good")

    def _on_save_preset_wished(self, name: str) -> None:
        origin = self.model_tab.original()
        description = origin.description if origin.name == name else f"Made from {origin.name}."
        try:
            path = presets.save_user_preset(dataclasses.replace(self.model_tab.config(), name=name,
                                                                description=description))
        except AtlasError as error:
            self.show_error(error.message, error.remedy)
            return
        self._presets = presets.all_presets()
        self.model_tab.set_presets(self._presets, selected=name)
        self._on_config_changed(self.model_tab.config())
        self.toast.show_news(f"{name} is kept as {path.name}.", "good")

    def _on_delete_preset_wished(self, name: str) -> None:
        try:
            presets.delete_user_preset(name)
        except (AtlasError, OSError) as error:
            self.show_error(f"{name} cannot be deleted: {error}.", "Look at it in your presets folder.")
            return
        self._presets = presets.all_presets()
        self.model_tab.set_presets(self._presets)  # the settings stay, as settings without a card
        self.toast.show_news(f"{name} is deleted.", "good")

    def _show_command_line(self) -> None:
        run = self.session.run if self.session.trains_these else None  # else Train begins a new one
        here = self.session.on_this_machine(self.session.config)
        hardware = {key: here.get(key) for key in ("hardware.device", "hardware.threads")}
        if run is not None:
            self.model_tab.set_command_line_context(run.dataset, run.path, hardware)
        else:
            self.model_tab.set_command_line_context(self.session.dataset, None, hardware)

    # ---- talking to a model --------------------------------------------------------------------

    def _on_text_wished(self, prompt: str, sampling: Sampling, source: str) -> None:
        self.session.generate(prompt, sampling, source)

    def _refresh_playground(self, *, selected: str | None = None) -> None:
        """Offer the model in training, then the checkpoints of the run in sight and of the run to be played."""
        live = [("in training, as it is now", LIVE)] if self.session.training and self.session.started else []
        folders = dict.fromkeys(path for path in (self.session.run and self.session.run.path, self._played) if path)
        saved = [(checkpoint_label(folder, info), str(info.path)) for folder in folders
                 for info in reversed(runs.checkpoints(folder))]
        self.playground_tab.set_sources([*live, *saved], selected)

    def _on_play_wished(self, run: Path) -> None:
        self._played = run
        best = runs.best(run) or runs.newest(run)
        self._refresh_playground(selected=str(best.path) if best else None)
        self.tabs.setCurrentWidget(self.playground_tab)

    # ---- runs and export -----------------------------------------------------------------------

    def _on_runs_seen(self, seen: RunsSeen) -> None:
        self.runs_tab.set_runs(seen.infos, seen.losses)
        for info in seen.infos:
            if info.path == self._exporting and info.checkpoints:
                for dialog in self.findChildren(ExportDialog):
                    dialog.set_checkpoints(info.checkpoints)
        if not self._resume_asked:
            self._resume_asked = True
            QTimer.singleShot(PLACED_MS, self, lambda: self._ask_to_resume(seen))

    def _ask_to_resume(self, seen: RunsSeen) -> None:
        interrupted = [info for info in seen.infos if info.state == "interrupted"]
        if not interrupted or self.session.state != IDLE or not self.isVisible():
            return
        dialog = ResumeDialog(interrupted, seen.losses, parent=self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.answered.connect(self._on_resume_answered)
        dialog.open()

    def _on_resume_answered(self, answer: str, run: RunInfo) -> None:
        if answer == resume_dialog.RESUME:
            self._on_resume_run_wished(run.path)
        elif answer == resume_dialog.OPEN:
            self._on_curve_wished(run.path)
        elif answer == resume_dialog.FRESH:
            self._on_train_wished()

    def _on_tab_changed(self, index: int) -> None:
        if self.tabs.widget(index) is self.runs_tab:
            self.session.refresh_runs()  # "just now" was a while ago

    def _on_run_deleted(self, freed_bytes: int) -> None:
        self.toast.show_news(f"Deleted. {format.size(freed_bytes)} are free again.", "good")
        if self._played is not None and not runs.is_run(self._played):
            self._played = None
        self._refresh_playground()

    def _on_export_wished(self) -> None:
        if self.session.run is not None:
            self._open_export(self.session.run.path)

    def _open_export(self, run: Path) -> None:
        checkpoints = runs.checkpoints(run)
        if not checkpoints:
            self.show_error(f"{run.name} has no checkpoint yet.", "Press Save now on the Train tab, then export.")
            return
        self._exporting = run
        dialog = ExportDialog(checkpoints, run.name, paths.exports_dir(), checkpoints[-1].parameters, parent=self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.export_requested.connect(self.session.export)
        dialog.cancel_requested.connect(self.session.cancel_export)
        dialog.open_folder_requested.connect(open_folder)
        self.session.export_progressed.connect(dialog.set_progress)
        self.session.exported.connect(dialog.set_exported)
        self.session.export_failed.connect(dialog.set_failed)
        dialog.open()

    def _on_exported(self, exported: Exported) -> None:
        log.info("exported %s", exported.path)

    def _on_image_export_wished(self, image: QImage) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the curve", self._suggested("loss.png"), "Pictures (*.png)")
        if name and not QImageWriter(name, b"png").write(image):  # `save` would go by a suffix that may be missing
            self.show_error(f"Cannot write {name}.", "Choose a folder you may write to.")
        elif name:
            self.toast.show_news(f"{Path(name).name} is saved.", "good")

    def _on_numbers_export_wished(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the numbers", self._suggested("metrics.csv"),
                                              "Tables (*.csv)")
        if name:
            try:
                write_atomically(Path(name), history.as_csv(self.session.history).encode())
            except AtlasError as error:
                self.show_error(error.message, error.remedy)
            else:
                self.toast.show_news(f"{Path(name).name} is saved.", "good")

    def _suggested(self, name: str) -> str:
        run = self.session.run
        return str(Path.home() / (f"{run.name}-{name}" if run else name))

    # ---- the machine, news and mistakes ----------------------------------------------------------

    def _on_hardware_collapsed(self, collapsed: bool) -> None:
        self.settings.hardware_collapsed = collapsed

    def _on_settings_wished(self) -> None:
        dialog = SettingsDialog(theme_name=self.settings.theme, home=paths.home(), device=self.settings.device,
                                threads=self.settings.threads, parent=self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.theme_changed.connect(self._on_theme_chosen)
        dialog.device_changed.connect(self._on_device_chosen)
        dialog.threads_changed.connect(self._on_threads_chosen)
        dialog.open_folder_requested.connect(open_folder)
        dialog.open()

    def _on_theme_chosen(self, name: str) -> None:
        self.settings.theme = name
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.apply(app, self.settings.dark)

    def _on_device_chosen(self, device: str) -> None:
        self.settings.device = device
        self._show_machine()
        self._on_estimate_changed()
        self._show_command_line()

    def _on_threads_chosen(self, threads: int) -> None:
        self.settings.threads = threads
        self._on_estimate_changed()
        self._show_command_line()

    def _on_show_wished(self) -> None:
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.show()
        self.raise_()
        self.activateWindow()

    def _on_noticed(self, message: str, level: str) -> None:
        log.log(logging.WARNING if level == "warning" else logging.INFO, message)
        self.toast.show_news(message, level)
        if self.session.state == PREPARING and level == "warning":
            self.data_tab.add_notice(message)

    def _on_came_apart(self, message: str, remedy: str) -> None:
        run = self.session.run
        assert run is not None, "it is the run that came apart"
        self._closing = False  # what went wrong is to be read first
        self.tray.tell(message, "bad")
        log.error("%s %s", message, remedy)
        dialog = error_dialog.show_error(self, message, remedy, log_path=paths.log_file(), offer=LOWER_RATE)
        # The seat-belt has lowered it already, and a rate that is chosen anew counts as it is.
        factor = RATE_FACTOR * self.session.history.rate_factor
        dialog.offer_taken.connect(lambda: self.session.resume_run(run.path, rate_factor=factor))

    def show_error(self, message: str, remedy: str = "", details: str = "") -> None:
        """The one funnel of everything that goes wrong."""
        self._closing = False  # it is to be read first
        self.tray.tell(message, "bad")
        log.error("%s %s\n%s", message, remedy, details)
        error_dialog.show_error(self, message, remedy, details, paths.log_file())

    # ---- closing -----------------------------------------------------------------------------

    def _ask_to_close(self) -> None:
        question = QMessageBox(self)
        question.setObjectName("closeDialog")
        question.setWindowTitle(TITLE)
        question.setIcon(QMessageBox.Icon.Question)
        question.setText("Training is running.")
        question.setInformativeText("Closing saves it first, and the next start offers to resume it.")
        save = question.addButton("Save and close", QMessageBox.ButtonRole.AcceptRole)
        save.setObjectName("saveAndCloseButton")
        keep = question.addButton("Keep training", QMessageBox.ButtonRole.RejectRole)
        keep.setObjectName("goOnButton")
        question.setDefaultButton(save)
        question.setEscapeButton(keep)
        question.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        save.clicked.connect(self.save_and_close)
        question.open()

    def save_and_close(self) -> None:
        """Close without a question: what is being trained is saved first."""
        self._closing = True
        if self.session.training:
            self.session.stop()
        else:  # it came to its end while the question stood
            self.close()

    def save_for_logout(self) -> None:
        """The desktop's session ends: return only once the run is saved, for afterwards we may be killed."""
        self.session.close()
        QTimer.singleShot(0, self, self.save_and_close)

    def closeEvent(self, event: QCloseEvent) -> None:
        if self.session.training:
            event.ignore()
            if not self._closing:
                self._ask_to_close()
            return
        self.settings.geometry = self.saveGeometry()
        self.settings.tab = self.tabs.currentIndex()
        self.hide()  # a job may take a moment to let go, and there is nothing to look at any more
        self.session.close()
        super().closeEvent(event)
        self.closed.emit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """In a narrow window the hardware panel gives way to the tabs."""
        super().resizeEvent(event)
        narrow = event.size().width() < NARROW_PX
        if narrow != self._narrow:
            self._narrow = narrow
            self.hardware_panel.set_collapsed(narrow or self.settings.hardware_collapsed)


def open_folder(folder: Path) -> None:
    """Show a folder in the system's file manager."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))


def checkpoint_label(run: Path, info: runs.CheckpointInfo) -> str:
    kind = "best" if info.kind == "best" else "epoch" if info.kind == "epoch" else "saved"
    return f"{kind} · step {format.count(info.step)} · {run.name}"  # what tells them apart stands first
