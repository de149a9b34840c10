"""What is open and what is running: texts, dataset, configuration, run, jobs. No widgets.

The window tells it wishes and listens to its signals; it alone starts jobs. Everything slow happens in a worker:
on the window's thread it only keeps the books.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from atlas_core import config as configuration
from atlas_core import format, jobs, memory, paths, presets, runs
from atlas_core.config import Config, Sampling
from atlas_core.control import Control, Wish
from atlas_core.errors import AtlasError
from atlas_core.events import (
    CheckpointSaved,
    Cooling,
    Event,
    Exported,
    Finished,
    Generated,
    Healed,
    Notice,
    Prepared,
    Progress,
    RateFound,
    RatePoint,
    RolledBack,
    RunStarted,
    StateChanged,
    StepDone,
    StepSkipped,
    TextPiece,
)
from atlas_core.fitting import Fitted
from atlas_core.forecast import Speed
from atlas_core.hardware import speeds
from atlas_core.hardware.device import MachineMemory, expected_memory, fitted_here, machine_memory
from atlas_core.hardware.processor import load_per_core
from atlas_core.history import History
from atlas_core.runs import RunInfo
from atlas_core.text import library
from atlas_core.text.dataset import is_dataset, read_meta
from atlas_gui import errands, run_time, sentences
from atlas_gui.crew import Crew
from atlas_gui.errands import CameApart, Looked, Opened, Shown, TakenUp
from atlas_gui.run_time import Expected
from atlas_gui.settings import Settings
from atlas_gui.widgets.hardware_panel import HardwareNews

# What the session is doing with its run. Only "idle" allows to change texts and settings.
IDLE, PREPARING, STARTING, TRAINING, PAUSING, PAUSED, STOPPING = (
    "idle", "preparing", "starting", "training", "pausing", "paused", "stopping")

SPEED_STEPS = 20  # a run this long tells how fast the machine is
LASTING_S = 60.0  # of a run say more than what was measured in some seconds, which may have been busy ones
MEASURE_AFTER_MS = 3000  # of quiet
QUIET_LOAD = 0.5  # processes at work for each core, over a minute; beside more, a measurement tells of them
SLOWEST_BATCH_S = 3.0  # slower work is not measured unasked: a few steps of it would be a matter of minutes
LIGHT = {"watch", "measure", "warm-up", "runs", "datasets", "show", "remember"}  # they bear company while measuring


class Session(QObject):
    """The one that knows. Every method returns at once; what comes of it is told by a signal."""

    sources_looked_at = Signal(list)  # of SourceEntry
    dataset_changed = Signal(object)  # Shown, or None while there is none for these texts and settings
    datasets_found = Signal(object)  # a list of (Meta, Path)
    prepare_began = Signal()
    prepare_progressed = Signal(Progress)
    state_changed = Signal(str)
    run_opened = Signal(object)  # Opened: show this run from now on; None: one that has nothing to show yet, or none
    training_event = Signal(object)
    text_piece = Signal(TextPiece)
    text_finished = Signal(Generated)
    text_failed = Signal(str)
    export_progressed = Signal(Progress)
    exported = Signal(Exported)
    export_failed = Signal(str, str)
    rate_tried = Signal(RatePoint)
    rate_found = Signal(RateFound)
    rate_failed = Signal(str, str)  # error, remedy
    runs_seen = Signal(object)  # RunsSeen
    run_deleted = Signal(object)  # the bytes that became free, as a Python int: Qt's own is too small
    hardware_read = Signal(HardwareNews)
    estimate_changed = Signal()  # the sentence beside the button may be another one now
    noticed = Signal(str, str)  # sentence, level
    failed = Signal(str, str, str)  # error, remedy, details
    came_apart = Signal(str, str)  # error, remedy: the run can go on at a lower learning rate
    became_quiet = Signal()  # no training and no preparing any more

    def __init__(self, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.settings = settings
        machine = machine_memory(settings.device)
        self.state = IDLE
        self.config: Config = presets.find(presets.suggest(machine.total_bytes, gpu=machine.is_gpu)).config
        self.sources: tuple[Path, ...] = settings.sources or (jobs.sample_source(),)
        self.looked: Looked | None = None
        self.shown: Shown | None = None
        self.run: RunInfo | None = None  # the run on the Train tab, once it has a folder
        self._at_work: Path | None = None  # the folder of the run that is trained, or read to be
        self.started: RunStarted | None = None
        self.history = History()
        self.saved_at: float | None = None
        self.cooling = ""  # how cool mode stands, in words
        self._chosen_dataset: Path | None = None
        self._run_config = self.config  # what the run at work was started with
        self._first_step: StepDone | None = None  # of this session, to measure the speed from
        self._speed_remembered = False
        self._lasting_s = 0.0  # how long a run must go to tell its speed
        self._apart = False  # the loss of the run at work was no number any more
        self._train_after_preparing = False
        self._prepare_when_looked = False
        self._crew = Crew(self)
        self._crew.started.connect(self._on_job_started)
        self._quiet_timer = QTimer(self)
        self._quiet_timer.timeout.connect(self._measure_if_quiet)
        self._ready_made = [preset.config for preset in presets.all_presets().values()]
        self._run_read = False  # whether `_run_config` is that of the run at work
        self._measured = self.config  # what is being measured, or was
        self._measure_next: Config | None = None  # what somebody waits for, while something else is still measured
        self._judged: set[tuple[str, str]] = set()  # what need not be measured any more
        self._train_control, self._prepare_control = Control(), Control()
        self._text_control, self._export_control, self._watch_control = Control(), Control(), Control()
        self._rate_control, self._measure_control = Control(), Control()
        self._live_text: Wish | None = None
        self._look_again = self._see_again = False
        self._curves: errands.Curves = {}

    def open(self) -> None:
        """Begin: look at the runs, the datasets and the machine."""
        self._crew.start("watch", lambda: errands.readings(self._watch_control), on_event=self.hardware_read,
                         on_failed=self.failed)
        for sentence in presets.unreadable():
            self.noticed.emit(sentence, "warning")
        self._quiet_timer.start(MEASURE_AFTER_MS)
        self.refresh_runs()
        self.refresh_datasets()

    def warm_up(self) -> None:
        """Load torch now, so that the first training starts at once."""
        self._crew.start("warm-up", errands.load_torch, on_event=self._on_nothing, on_failed=self.failed)

    def close(self) -> None:
        """Stop everything and wait for the threads; training saves first."""
        for control in (self._train_control, self._prepare_control, self._text_control, self._export_control,
                        self._rate_control, self._watch_control, self._measure_control):
            control.stop()
        self._prepare_when_looked = self._train_after_preparing = False  # a look that ends now leads to nothing
        self._crew.join()

    # ---- texts and datasets --------------------------------------------------------------------

    def set_sources(self, sources: Sequence[Path]) -> None:
        """Learn from these texts from now on."""
        self.sources = tuple(sources)
        self.settings.sources = [source for source in sources if source != jobs.sample_source()]
        self._chosen_dataset, self.looked = None, None
        self._show_dataset()
        self._look_again = False  # whoever looks now looks at texts of before
        if self.sources:
            self._look()

    def choose_dataset(self, folder: Path) -> None:
        """Learn from a dataset that is prepared already."""
        self._chosen_dataset = folder
        self._show_dataset()

    def leave_chosen_dataset(self) -> None:
        """Learn from the chosen texts again, if there are any."""
        if self.sources:
            self._chosen_dataset = None
            self._show_dataset()

    def set_config(self, config: Config) -> None:
        """The person changed the settings."""
        self.config = config
        self._measure_control.stop()  # what was being measured may be wished no more
        self._measure_next = None
        if self._quiet_timer.isActive():
            self._quiet_timer.start(MEASURE_AFTER_MS)  # anew: the person is choosing
        self._show_dataset()
        self.estimate_changed.emit()

    @property
    def dataset(self) -> Path | None:
        """The prepared dataset for the chosen texts and settings, if there is one."""
        if self._chosen_dataset is not None:
            return self._chosen_dataset
        folder = self._dataset_folder()
        return folder if folder is not None and is_dataset(folder) else None

    @property
    def text_name(self) -> str:
        """What the person would call the text."""
        if self._chosen_dataset is not None and self.shown is not None:
            return sentences.dataset_name(self.shown.meta)
        return library.name_of(self.sources) if self.sources else ""

    def prepare(self) -> None:
        """Make the dataset for the chosen texts and settings."""
        if self.state != IDLE or not self.sources:
            return
        self._set_state(PREPARING)
        self._prepare_when_looked = True
        self._look()  # anew, for the texts may have been changed since

    def _prepare_looked(self) -> None:
        folder = self._dataset_folder()
        assert folder is not None, "the texts were looked at"
        self._chosen_dataset = None
        self._prepare_control = control = Control()
        sources, config = self.sources, self.config
        self.prepare_began.emit()
        self._crew.start("prepare", lambda: jobs.prepare(sources, folder, config, control),
                         on_event=self._on_prepare_event, on_failed=self._on_prepare_failed,
                         on_ended=self._on_prepare_ended)

    def cancel_prepare(self) -> None:
        self._train_after_preparing = False
        self._prepare_control.stop()
        if self._prepare_when_looked:
            self._prepare_when_looked = False
            self._set_state(IDLE)
            self.became_quiet.emit()

    def refresh_datasets(self) -> None:
        if not self._crew.busy("datasets"):
            self._crew.start("datasets", lambda: [library.prepared()], on_event=self.datasets_found,
                             on_failed=self.failed)

    def _dataset_folder(self) -> Path | None:
        return library.folder_for(self.sources, self.looked.digest, self.config) if self.looked else None

    def _look(self) -> None:
        if self._crew.busy("look"):
            self._look_again = True
            return
        sources = self.sources
        self._crew.start("look", lambda: errands.look(sources), on_event=self._on_looked,
                         on_failed=self._on_look_failed, on_ended=self._on_look_ended)

    def _on_looked(self, looked: Looked) -> None:
        if self.sources and not self._look_again:
            self.looked = looked
            self.sources_looked_at.emit(list(looked.entries))

    def _on_look_failed(self, error: str, remedy: str, details: str) -> None:
        if self._look_again or not self.sources:
            return
        known = self.dataset if self._train_after_preparing else None
        self._prepare_when_looked = self._train_after_preparing = False
        if known is not None and not all(source.exists() for source in self.sources):
            self.noticed.emit(f"{error} What was prepared of the text is learned.", "warning")
            self._train_fresh(known)
            return
        waited_for = self.state == PREPARING
        if waited_for:
            self._set_state(IDLE)
        self.sources_looked_at.emit([])
        self.failed.emit(error, remedy, details)
        if waited_for:
            self.became_quiet.emit()

    def _on_look_ended(self) -> None:
        if self._look_again:
            self._look_again = False
            self._look()
            return
        self._show_dataset()
        if self._prepare_when_looked and self.looked is not None:
            self._prepare_when_looked = False
            if self._train_after_preparing and self.dataset is not None:
                self._train_after_preparing = False
                self._train_fresh(self.dataset)
            else:
                self._prepare_looked()

    def _show_dataset(self) -> None:
        """Tell which dataset belongs to the choice; reading its preview is a job of its own."""
        folder = self.dataset
        if folder is None:
            self._set_shown(None)
        elif (self.shown is None or self.shown.path != folder) and not self._crew.busy("show"):
            self._crew.start("show", lambda: [errands.show(folder)], on_event=self._on_shown,
                             on_failed=self._on_show_failed, on_ended=self._on_show_ended)

    def _on_shown(self, shown: Shown) -> None:
        self._set_shown(shown)

    def _on_show_failed(self, error: str, remedy: str, details: str) -> None:
        self._chosen_dataset = None
        self._set_shown(None)
        self.failed.emit(error, remedy, details)

    def _on_show_ended(self) -> None:
        if self.shown is not None and self.dataset != self.shown.path:  # another one was chosen meanwhile
            self._show_dataset()

    def _set_shown(self, shown: Shown | None) -> None:
        if shown != self.shown or shown is None:
            self.shown = shown
            self.dataset_changed.emit(shown)
            self.estimate_changed.emit()

    def _on_prepare_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.prepare_progressed.emit(event)
        elif isinstance(event, Notice):
            self.noticed.emit(event.message, event.level)
        elif isinstance(event, Prepared):
            self.noticed.emit(f"{self.text_name} is prepared.", "good")

    def _on_prepare_failed(self, error: str, remedy: str, details: str) -> None:
        self._train_after_preparing = False
        self.failed.emit(error, remedy, details)

    def _on_prepare_ended(self) -> None:
        self._set_state(IDLE)
        self._show_dataset()
        self.refresh_datasets()
        if self._train_after_preparing and self.dataset is not None:
            self._train_after_preparing = False
            self._train_fresh(self.dataset)
        else:
            self._train_after_preparing = False
            self.became_quiet.emit()

    # ---- training ------------------------------------------------------------------------------

    def train(self) -> None:
        """Start a fresh run with the chosen text and settings, preparing the text first if need be.

        Texts are looked at anew even if they are prepared, for they may have been edited since.
        """
        if self.state != IDLE:
            return
        if self._chosen_dataset is not None:
            self._train_fresh(self._chosen_dataset)
        elif self.sources:
            self._train_after_preparing = True
            self.prepare()

    def resume_run(self, folder: Path, *, rate_factor: float = 1.0,
                   changes: Mapping[str, object] | None = None) -> None:
        """Go on with a run from its newest sound checkpoint, at its learning rate times `rate_factor`.

        `changes` of its settings, by their dotted keys, hold from now on: more steps for a finished one.
        """
        if self.state == PREPARING:
            self.failed.emit("Text is being prepared.", "Wait until it is, or cancel it on the Data tab.", "")
            return
        if self.state != IDLE:
            self.failed.emit("Another run is at work.", "Stop it first; it is saved and can be resumed later.", "")
            return
        if self._crew.busy("open"):
            self.failed.emit("A run is being opened.", "Try again in a moment.", "")
            return
        self._train_control, self.started = Control(), None  # an earlier run's takes no more wishes
        self._run_read = False
        self._at_work = folder
        self._set_state(STARTING)
        self._crew.start("open", lambda: [errands.take_up(folder, rate_factor=rate_factor, changes=changes)],
                         on_event=self._on_taken_up, on_failed=self._on_take_up_failed)

    def open_run(self, folder: Path) -> None:
        """Show a run on the Train tab without training it."""
        if not self._crew.busy("open"):
            self._crew.start("open", lambda: [errands.open_run(folder)], on_event=self._on_opened,
                             on_failed=self.failed)

    def _on_opened(self, opened: Opened) -> None:
        if self.state in (IDLE, PREPARING):  # else a run was begun before this one had been read
            self._show_run(opened)

    def _on_taken_up(self, taken: TakenUp) -> None:
        self._show_run(taken.opened)
        if self.state == STOPPING:  # the person has thought better of it while the run was read
            self._set_state(IDLE)
            self.became_quiet.emit()
        else:
            folder = taken.opened.info.path
            self._start_training(self.on_this_machine(taken.config), taken.dataset, folder, resume=folder)

    def _on_take_up_failed(self, error: str, remedy: str, details: str) -> None:
        self._set_state(IDLE)
        self.failed.emit(error, remedy, details)
        self.became_quiet.emit()

    def pause(self) -> None:
        if self.state == TRAINING:
            self._train_control.pause()
            self._set_state(PAUSING)

    def unpause(self) -> None:
        if self.state == PAUSED:  # until training tells that it goes on
            self._train_control.resume()

    def stop(self) -> None:
        """End what is running: training saves first, preparing leaves nothing behind."""
        if self.state == PREPARING:
            self.cancel_prepare()
        elif self.state != IDLE:
            self._train_control.stop()
            self._set_state(STOPPING)

    def keep_at(self, target_c: float) -> None:
        """Let the run at work keep this temperature from now on; 0 is full speed."""
        self._train_control.keep_at(target_c)

    def save_now(self) -> None:
        self._train_control.save_now()

    def sample_now(self) -> None:
        """Let the model write one text for each prompt of the run."""
        for prompt in self._run_config.sampling.prompts:
            self._train_control.sample(prompt, None)

    @property
    def target_temperature(self) -> float:
        """What cool mode keeps, or would keep if training began now, in °C; 0 if it is off."""
        if not self.training:
            return self.config.hardware.target_temperature
        wished = self._train_control.target_temperature
        return self._run_config.hardware.target_temperature if wished is None else wished

    @property
    def training(self) -> bool:
        """Whether there is a run at work, paused or not."""
        return self.state in (STARTING, TRAINING, PAUSING, PAUSED, STOPPING)

    @property
    def trains_after_preparing(self) -> bool:
        """Whether the text that is prepared now is learned right afterwards."""
        return self.state == PREPARING and self._train_after_preparing

    @property
    def at_work(self) -> Path | None:
        """The folder of the run that is trained, or read to be trained."""
        return self._at_work if self.training else None

    @property
    def trains_these(self) -> bool:
        """Whether the settings that are chosen are those of the run at work, as far as they are not the machine's."""
        telling = [key for key in configuration.settings()
                   if not key.startswith("hardware.") and key != "model.vocab_size"]
        return self._run_read and all(self.config.get(key) in ("auto", self._run_config.get(key)) for key in telling)

    @property
    def drawing_text(self) -> bool:
        """Whether a checkpoint is at work on a text."""
        return self._crew.busy("text")

    def _train_fresh(self, dataset: Path) -> None:
        name = f"{self.config.name.lower()}-{self.text_name}"
        folder = paths.fresh_folder(paths.runs_dir(), name)
        self.run, self.started, self.saved_at = None, None, None
        self.history = History()
        self.run_opened.emit(None)
        self._start_training(self.on_this_machine(self.config), dataset, folder, resume=None)

    def _start_training(self, config: Config, dataset: Path, folder: Path, *, resume: Path | None) -> None:
        self._train_control = control = Control()
        self._run_config = config
        with suppress(AtlasError):  # what is wrong with the dataset, training says
            self._run_config = config.replace({"model.vocab_size": read_meta(dataset).n_vocab})
        self._first_step, self._speed_remembered, self._lasting_s = None, False, 0.0
        self.cooling = ""
        self._apart = False
        self._run_read = True
        self._at_work = folder
        self.state = STARTING
        self.state_changed.emit(STARTING)  # also where it is no news: now it is known what will be trained
        self._crew.start("train", lambda: errands.watched(jobs.train(config, dataset, folder, control, resume=resume)),
                         on_event=self._on_training_event, on_failed=self._on_training_failed,
                         on_ended=self._on_training_ended)

    def on_this_machine(self, config: Config) -> Config:
        """The program's own choice of device and threads, where the configuration makes none."""
        here = config.hardware
        return config.replace({
            "hardware.device": here.device if here.device != "auto" else self.settings.device,
            "hardware.threads": here.threads or self.settings.threads,
        })

    def _on_training_event(self, event: Event | CameApart) -> None:  # noqa: PLR0912 - a branch for each kind of event
        if isinstance(event, CameApart):
            self._apart = True
            return
        self.history.add(event)
        if isinstance(event, RunStarted):
            self.started = event
            self.run = runs.inspect(event.run)
            if self.state == STARTING:
                self._set_state(TRAINING)
            self.refresh_runs()
        elif isinstance(event, Progress) and self.state == STARTING:
            self.noticed.emit(f"{event.label}: how this machine computes the model fastest.", "info")
        elif isinstance(event, StateChanged) and self.state != STOPPING:
            self._set_state(PAUSED if event.state == "paused" else TRAINING)
        elif isinstance(event, Cooling):
            if self.cooling:
                self._first_step = None  # there were rests since
            self.cooling = format.cooling(event.state, event.target_c, event.idle, event.limit_w)
        elif isinstance(event, StepDone):
            self._measure_speed(event)
        elif isinstance(event, CheckpointSaved):
            self.saved_at = time.time()
            self.refresh_runs()
        elif isinstance(event, Notice):
            self.noticed.emit(event.message, event.level)
        elif isinstance(event, (StepSkipped, RolledBack, Healed)):
            self._first_step = None  # the time that was lost says nothing of the speed
            self.noticed.emit(event.message if isinstance(event, Healed) else event.reason, "warning")
        elif self._live_text and isinstance(event, TextPiece):
            self.text_piece.emit(event)
        elif self._live_text and isinstance(event, Generated):
            self._live_text = None
            self.text_finished.emit(event)
        elif isinstance(event, Finished):
            self._tell_end(event)
        self.training_event.emit(event)

    def _tell_end(self, finished: Finished) -> None:
        step = finished.details.get("step", 0)
        if finished.complete:
            said = (f"Training is done after {format.many(step, 'step')}. "
                    "Talk to the model in the Playground, or export it.")
        elif step:
            said = f"Stopped and saved at step {step}. Resume whenever you like."
        else:
            said = "Stopped before the first step: there is nothing to keep."
        self.noticed.emit(finished.message or said, "good")

    def _on_training_failed(self, error: str, remedy: str, details: str) -> None:
        if self._apart and self.run is not None and runs.newest(self.run.path) is not None:
            self.came_apart.emit(error, remedy)
        else:
            self.failed.emit(error, remedy, details)

    def _on_training_ended(self) -> None:
        if self._live_text:
            self._live_text = None
            self.text_failed.emit("Training ended before the text was drawn.")
        self._run_read = False
        self._set_state(IDLE)
        if self.run is not None and runs.is_run(self.run.path):  # somebody may have deleted it meanwhile
            self.run = runs.inspect(self.run.path)
        self.refresh_runs()
        self.became_quiet.emit()

    def _measure_speed(self, step: StepDone) -> None:
        """Remember how long a step takes here, once the run is long enough to tell."""
        config = self._run_config
        if self._first_step is None:
            self._first_step = step
            self._lasting_s = LASTING_S if speeds.known(config) is not None else 0.0
        steps, seconds = step.step - self._first_step.step, step.seconds - self._first_step.seconds
        # With rests it would say nothing about other settings.
        if steps >= SPEED_STEPS and seconds >= self._lasting_s and not self.cooling and not self._speed_remembered:
            self._speed_remembered = True
            step_s = seconds / steps
            speed = dataclasses.replace(speeds.known(config) or Speed(step_s, step_s, step_s),
                                        step_s=step_s, quick_step_s=step_s, slow_step_s=step_s, slowdown=1.0)
            self._crew.start("remember", lambda: errands.remember(config, speed), on_event=self._on_nothing,
                             on_failed=self.failed, on_ended=self.estimate_changed)

    # ---- the learning rate ---------------------------------------------------------------------

    def find_learning_rate(self) -> None:
        """Try rising rates on the chosen text and settings; what comes of it is told by the signals of `rate_...`."""
        dataset = self.dataset
        if self.state != IDLE or self.finding_rate:
            self.rate_failed.emit("Other work is still being ended.", "Try again in a moment.")
            return
        if dataset is None:
            self.rate_failed.emit("There is no prepared text to learn from.", "Press Prepare on the Data tab first.")
            return
        self._rate_control = control = Control()
        config = self.on_this_machine(self.config)
        self._crew.start("rate", lambda: jobs.find_learning_rate(config, dataset, control),
                         on_event=self._on_rate_event, on_failed=self._on_rate_failed)

    @property
    def finding_rate(self) -> bool:
        """Whether a test of learning rates is at work."""
        return self._crew.busy("rate")

    def cancel_find_learning_rate(self) -> None:
        self._rate_control.stop()

    def _on_rate_event(self, event: Event) -> None:
        if self._rate_control.stopping:  # what is still on its way belongs to a dialog that was closed
            return
        if isinstance(event, RatePoint):
            self.rate_tried.emit(event)
        elif isinstance(event, RateFound):
            self.rate_found.emit(event)
        elif isinstance(event, Notice):
            self.noticed.emit(event.message, event.level)

    def _on_rate_failed(self, error: str, remedy: str, details: str) -> None:
        self.rate_failed.emit(error, remedy)
        if details:
            self.failed.emit(error, remedy, details)

    # ---- runs ----------------------------------------------------------------------------------

    def refresh_runs(self) -> None:
        if self._crew.busy("runs"):
            self._see_again = True
            return
        self._crew.start("runs", lambda: [errands.see_runs(self._curves)], on_event=self.runs_seen,
                         on_failed=self.failed, on_ended=self._on_runs_ended)

    def _on_runs_ended(self) -> None:
        if self._see_again:
            self._see_again = False
            self.refresh_runs()

    def delete_run(self, folder: Path) -> None:
        if self._crew.busy(f"delete {folder}"):
            return
        if self.run is not None and self.run.path == folder:
            self.run, self.history = None, History()
            self.run_opened.emit(None)
        self._crew.start(f"delete {folder}", lambda: [runs.delete(folder)], on_event=self.run_deleted,
                         on_failed=self.failed, on_ended=self.refresh_runs)

    def _show_run(self, opened: Opened) -> None:
        self.run, self.history, self.started = opened.info, opened.history, None
        self.saved_at = opened.info.checkpoints[-1].saved_at if opened.info.checkpoints else None
        self.run_opened.emit(opened)
        self.estimate_changed.emit()

    # ---- texts from a model, and export --------------------------------------------------------

    def generate(self, prompt: str, sampling: Sampling, source: str) -> None:
        """Continue `prompt` with the model in training ("live") or with a checkpoint's path."""
        if source == "live":
            if not self.training:
                self.text_failed.emit("No model is being trained now. Choose a checkpoint instead.")
                return
            self._live_text = self._train_control.sample(prompt, sampling)
            return
        if self._crew.busy("text"):
            self.text_failed.emit("The last text is still being ended. Try again in a moment.")
            return
        self._text_control = control = Control()
        device = self.settings.device
        self._crew.start("text", lambda: jobs.generate(Path(source), [prompt], sampling, control, device=device),
                         on_event=self._on_text_event, on_failed=self._on_text_failed)

    def stop_text(self) -> None:
        if self._live_text:
            self._live_text.stop()
        self._text_control.stop()

    def export(self, checkpoint: Path, to: Path, kind: str) -> None:
        """Write a checkpoint as GGUF and prove it."""
        if self._crew.busy("export"):
            self.export_failed.emit("The last export is still being ended.", "Try again in a moment.")
            return
        self._export_control = control = Control()
        self._crew.start("export", lambda: jobs.export(checkpoint, to, control, type=kind),
                         on_event=self._on_export_event, on_failed=self._on_export_failed)

    def cancel_export(self) -> None:
        self._export_control.stop()

    def _on_text_event(self, event: Event) -> None:
        if isinstance(event, TextPiece):
            self.text_piece.emit(event)
        elif isinstance(event, Generated):
            self.text_finished.emit(event)

    def _on_text_failed(self, error: str, remedy: str, details: str) -> None:
        self.text_failed.emit(f"{error} {remedy}".strip())
        if details:
            self.failed.emit(error, remedy, details)

    def _on_export_event(self, event: Event) -> None:
        if self._export_control.stopping:  # what is still on its way belongs to a dialog that was closed
            return
        if isinstance(event, Progress):
            self.export_progressed.emit(event)
        elif isinstance(event, Exported):
            self.exported.emit(event)

    def _on_export_failed(self, error: str, remedy: str, details: str) -> None:
        self.export_failed.emit(error, remedy)
        if details:
            self.failed.emit(error, remedy, details)

    # ---- the machine ---------------------------------------------------------------------------

    def memory_bytes(self, config: Config) -> int:
        """What training `config` takes here."""
        return expected_memory(config, self.machine(config).device).total_bytes

    def machine(self, config: Config) -> MachineMemory:
        """The memory of the device that would train `config`, as it is now."""
        return machine_memory(self.on_this_machine(config).hardware.device)

    def expected(self, config: Config) -> Expected | None:
        """How long a run takes; None if there is nothing to guess from."""
        return run_time.expected(self.as_trained(config), self.shown.meta if self.shown else None)

    def as_trained(self, config: Config) -> Config:
        """`config` as it would be trained here: the vocabulary follows the text."""
        here = self.on_this_machine(config)
        return here.replace({"model.vocab_size": self.shown.meta.n_vocab}) if self.shown else here

    @property
    def measuring(self) -> str:
        """The name of the model whose speed is being measured now, or ""."""
        return self._measured.name if self._crew.busy("measure") else ""

    @Slot()
    def _measure_if_quiet(self) -> None:
        """Measure the chosen settings, then the presets, each once, if there is room and nothing else to do."""
        if self.state != IDLE or not self._crew.at_work() <= LIGHT - {"measure"} or load_per_core() > QUIET_LOAD:
            return
        for config in map(self.as_trained, (self.config, *self._ready_made)):
            if _work(config) in self._judged:
                continue
            if speeds.known(config) is None and self._is_quickly_measured(config):
                self._measure(config)
                return
            self._judged.add(_work(config))

    def _measure(self, config: Config) -> None:
        self._measured, self._measure_control = config, Control()
        control, dataset = self._measure_control, self.dataset if config == self.as_trained(self.config) else None
        self._crew.start("measure", lambda: run_time.measured(config, dataset, control), on_event=self._on_nothing,
                         on_failed=self._on_measure_failed, on_ended=self._on_measured)
        self.estimate_changed.emit()

    def measure_now(self) -> bool:
        """Measure the chosen settings if their speed is not known, quiet or not, for somebody waits.

        Whether they are being measured now, or at once.
        """
        here = self.as_trained(self.config)
        if self.state != IDLE or speeds.known(here) is not None:
            return False
        if not self.measuring:
            self._measure(here)
        elif self._measured != here or self._measure_control.stopping:
            self._measure_control.stop()
            self._measure_next = here
        return True

    def _is_quickly_measured(self, config: Config) -> bool:
        """Whether there is memory for it now, and as far as can be guessed it is no matter of minutes."""
        machine = self.machine(config)
        if memory.verdict(expected_memory(config, machine.device).total_bytes, machine.available_bytes) != "fits":
            return False
        guess = speeds.guess(config)
        if guess is None:  # nothing is known yet: begin with no more than the smallest preset
            return speeds.operations(config) <= speeds.operations(self._ready_made[0])
        return guess.step_s / config.training.gradient_accumulation_steps < SLOWEST_BATCH_S

    def _on_job_started(self, name: str) -> None:
        if name not in LIGHT:
            self._measure_control.stop()

    def _on_measure_failed(self, error: str, _remedy: str, _details: str) -> None:
        self.noticed.emit(error, "warning")

    def _on_measured(self) -> None:
        if speeds.known(self._measured) is not None:
            self._judged.clear()  # what is known now makes other guesses better
        elif not self._measure_control.stopping:  # it failed; else the next quiet moment will do
            self._judged.add(_work(self._measured))
        wished, self._measure_next = self._measure_next, None
        if wished is not None and self.state == IDLE:
            self._measure(wished)
        else:
            self.estimate_changed.emit()

    def fitted(self) -> Fitted:
        """The configuration made to fit into the memory that is free now."""
        found = fitted_here(self.on_this_machine(self.config))
        own = {key: self.config.get(key) for key in ("hardware.device", "hardware.threads")}
        return dataclasses.replace(found, config=found.config.replace(own))

    def within(self, seconds: float) -> Fitted:
        """The configuration with as many steps as this machine makes in that time. Raises `AtlasError`."""
        found = run_time.within(self.as_trained(self.config), seconds, self.shown.meta if self.shown else None)
        planned = {key: found.config.get(key) for key in (
            "training.max_steps", "training.warmup_steps", "training.head_start_steps")}
        return dataclasses.replace(found, config=self.config.replace(planned))

    @Slot(object)
    def _on_nothing(self, event: object) -> None:
        """For jobs whose end is all there is to know."""

    def _set_state(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self.state_changed.emit(state)


def _work(config: Config) -> tuple[str, str]:
    """What is measured, and on what."""
    return speeds.machine(config), speeds.shape(config)
