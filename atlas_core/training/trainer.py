"""The training loop, as an iterator of events. Knows nothing of windows, terminals or log files.

The order of the text and the dropout masks are functions of the seed and how much text lies behind, and what else is
random of the seed and the step. So on a processor a run that goes on from a checkpoint takes the very steps it would
have taken, and one that went back draws other text and other masks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import math
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from atlas_core import __version__, continuity, history, runs, soundness
from atlas_core import format as people
from atlas_core.agenda import Agenda, epochs_apart
from atlas_core.config import Config, Sampling
from atlas_core.control import Control, Wish
from atlas_core.errors import AtlasError, CheckpointError, DataError, NumericsError
from atlas_core.events import (
    EpochDone,
    EvalDone,
    Event,
    Finished,
    Generated,
    Healed,
    Notice,
    RolledBack,
    RunStarted,
    SampleDrawn,
    StateChanged,
    StepDone,
    StepSkipped,
)
from atlas_core.generation import generator
from atlas_core.hardware import device as hardware
from atlas_core.model.gpt import AtlasLM
from atlas_core.runs import CheckpointInfo
from atlas_core.schedule import head_start, learning_rate
from atlas_core.text.dataset import Dataset, Windows, check_context
from atlas_core.training import checkpoint, healing, recovery
from atlas_core.training.chance import seed_of_step
from atlas_core.training.checkpoint import Moment
from atlas_core.training.cooling import NoRests, Rests, rests_for
from atlas_core.training.optim import build_optimizers, load_optimizers, set_learning_rate
from atlas_core.training.plain_errors import (
    is_out_of_memory,
    plain_compile_errors,
    plain_memory_errors,
    too_little_memory,
)
from atlas_core.training.recovery import Trouble
from atlas_core.training.saver import Saver
from atlas_core.training.validation import autocast, evaluate, validation_windows
from atlas_core.training.weights import Weights
from atlas_core.walking import result_of

T = TypeVar("T")


class Trainer:
    """One session of training: `for event in Trainer(...).events(): ...`."""

    def __init__(self, config: Config, dataset: Dataset, run: Path, control: Control,
                 *, resume: Path | None = None, rate: Callable[[int], float] | None = None) -> None:
        """Build everything, or raise `AtlasError` before the first step.

        `rate` gives the learning rate of each step (from 0) in place of the configuration's schedule and head start.
        """
        check_context(dataset, config.model.max_seq_len)
        self.config, self.dataset, self.run, self.control = config, dataset, run, control
        t, context = config.training, config.model.max_seq_len
        self.rate = rate or functools.partial(learning_rate, t=t)
        self.head_start = functools.partial(head_start, t=t) if rate is None else lambda _: 1.0
        self.device = hardware.choose_device(config.hardware.device)
        self.precision = hardware.choose_precision(t.precision, self.device)
        self.threads = hardware.use_threads(config.hardware.threads)
        hardware.use_fast_products(self.device)
        hardware.keep_memory(self.device, self)
        self.made_on = continuity.MadeOn(hardware.name(self.device), self.threads if self.device.type == "cpu" else 0,
                                         str(torch.__version__), __version__)
        self.train_windows = Windows(dataset.tokens("train"), context=context, stride=config.data.stride, seed=t.seed,
                                     vocabulary=dataset.meta.n_vocab)
        self.val_windows = validation_windows(dataset, "val", context) if "val" in dataset.meta.splits else None
        if t.early_stopping_patience and self.val_windows is None:
            raise DataError(f"training.early_stopping_patience ({t.early_stopping_patience}) needs text to validate on "
                            "and this dataset keeps none aside.",
                            "Set it to 0, or prepare the text again with data.val_fraction above 0.")
        torch.manual_seed(t.seed)
        self.model = AtlasLM(config.model, gradient_checkpointing=t.gradient_checkpointing).to(self.device)
        self.model.attend(config.hardware.attention)
        if config.hardware.compile:
            self.model.compile_training()
        self.changes: list[str] = []  # since the checkpoint, a sentence each
        self._half_moved = False  # while some of the weights have been moved and others have not
        saved = self._load(resume) if resume is not None else None
        self.weights = Weights(self.model, self.precision, masters=t.master_weights)
        self.optimizers = build_optimizers(self.weights.named(), t, self.precision)
        self.scaler = self._new_scaler()
        self.cooler = rests_for(config.hardware, self.device.type)
        self.progress = checkpoint.Progress()
        if saved is not None and resume is not None:
            self._go_on(saved, resume)
        self.resumed_from = self.progress.step
        self.agenda = Agenda(config, step=self.progress.step, seconds=self.progress.seconds)
        self.epochs_apart = epochs_apart(config, self.train_windows.count)
        self.saver = Saver(run, config, safe=self.progress,
                           lay_out=lambda config: lay_out(run, config, dataset, resume=True))

    # ---- the loop -------------------------------------------------------------------------------

    def events(self) -> Generator[Event, None, None]:
        """Train until the last step or a wish to stop; the last event is `Finished`."""
        self.saver.best_in_doubt = self.resumed_from > 0  # somebody may have damaged or deleted it meanwhile
        yield self._started()
        for change in self.changes:
            yield Notice(change)
        if self.config.hardware.compile:
            yield Notice("The network is compiled during the first step, which may take a minute or two.")
        if self.progress.step == 0:
            yield from self._sample_prompts()
        try:
            with plain_memory_errors(), plain_compile_errors(self.config):
                yield from self._loop()
        except NumericsError:
            raise  # the good checkpoint is the newest, and stays so
        except Exception:
            self._save_emergency()
            yield from self._news()
            raise
        else:
            yield from self._save_last()
        finally:
            self.saver.close()
        yield self._finished()

    def _loop(self) -> Iterator[Event]:
        if self.progress.step and runs.newest(self.run) is None:  # begun from another run's: what it can go back to
            yield from self._save("step")
        self.cooler.skip()
        while not self._complete() and not self._out_of_patience() and not self.control.stopping:
            yield from self._news()
            rested_s = yield from self.cooler.rest(self.control)
            yield from self._wishes()
            if self.control.stopping:
                break
            step = yield from self._step(rested_s)
            agenda, progress = self.agenda, self.progress
            if isinstance(step, StepSkipped) or agenda.reports(progress.step):
                yield step
            if trouble := recovery.trouble(progress, self.config.training):
                yield from self._go_back(trouble)
                continue
            if self._epochs_ended():
                yield self._epoch_done()
            epoch_counts = self._epochs_ended(self.epochs_apart)
            if epoch_counts or agenda.evaluates(progress.step):
                yield from self._evaluate()
            if epoch_counts and self.config.checkpointing.keep_epochs:
                yield from self._save("epoch")
            if agenda.samples(progress.step):
                yield from self._sample_prompts()
            yield from self._save_if_due()

    def _save_if_due(self) -> Iterator[Event]:
        """Begin a step checkpoint when it is time, and wait for it before more than one interval is at stake."""
        progress, saver = self.progress, self.saver
        may_wait = self.agenda.waits(progress.step - saver.safe_step, progress.seconds - saver.safe_seconds)
        due = self.agenda.saves(progress.step, progress.seconds, again=saver.failed is not None)
        doubtful = recovery.in_doubt(progress, self.config.training)
        if due and not doubtful and (may_wait or not saver.would_wait(progress)):
            yield from self._save("step")
        if may_wait:
            saver.wait()

    def _complete(self) -> bool:
        return self.progress.step >= self.config.training.max_steps

    def _out_of_patience(self) -> bool:
        return runs.out_of_patience(self.progress.stale_validations, self.config.training)

    def _wishes(self) -> Iterator[Event]:
        """What the person asked for since the last step; stays here while paused."""
        told = False
        while True:
            if self.control.paused and not told:
                told = True
                yield StateChanged("paused", self.progress.step)
            if self.control.take_save():
                yield from self._save("step")
            yield from self._news()
            while (wish := self.control.take_sample()) is not None:
                yield from self._answer(wish)
            if not self.control.paused:
                break
            if told:  # else the pause came while we were busy, and is told first
                self.control.wait(0.2)
        self.cooler.skip()  # neither a pause nor a text is work to rest from
        if told and not self.control.stopping:
            yield StateChanged("running", self.progress.step)

    # ---- one step -------------------------------------------------------------------------------

    def step(self) -> StepDone:
        """One optimizer step without a run around it: no rests, and what goes wrong is raised.

        That is `NumericsError` for a loss or gradient that is no number, and whatever torch says of memory.
        """
        started = time.perf_counter()
        with plain_compile_errors(self.config):
            done = self._update(result_of(self._gradients(NoRests())), started)
        if isinstance(done, StepSkipped):
            raise NumericsError(done.reason, "Lower training.learning_rate.")
        return done

    def _step(self, rested_s: float) -> Generator[Event, None, StepDone | StepSkipped]:
        """The next step of the run. `rested_s` went before it: speed and time left are those of a clock on the wall."""
        started = time.perf_counter() - rested_s
        loss = yield from self._healing(lambda: self._gradients(self.cooler))
        return self._update(loss, started)

    def _gradients(self, rests: Rests) -> Generator[Event, None, float]:
        """Add up the gradients of the step's batches, resting between them; returns their mean loss."""
        t, text_step = self.config.training, self.progress.text_step
        torch.manual_seed(seed_of_step(t.seed, text_step))  # the dropout masks of this step, whatever came before
        self.model.train()
        total = torch.zeros((), device=self.device)
        first = text_step * t.batch_size * t.gradient_accumulation_steps
        for batch in range(t.gradient_accumulation_steps):
            if batch:
                yield from rests.rest(self.control)
            tokens, targets = self._batch(self.train_windows, first + batch * t.batch_size, t.batch_size)
            with self._autocast():
                loss = self.model.loss(tokens, targets, share=1 / t.gradient_accumulation_steps)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return float(total)  # waits for the device

    def _update(self, loss: float, started: float) -> StepDone | StepSkipped:
        """Move the weights along the gradients, if they and the loss are numbers. The step began at `started`."""
        t, progress = self.config.training, self.progress
        rate = self._rate(progress.step)
        set_learning_rate(self.optimizers, rate, beside_muon=self.head_start(progress.step))
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = self.weights.clip(t.max_grad_norm)
        lost = recovery.nonsense(loss, norm, scale=self.scaler.get_scale())
        if math.isfinite(loss) and math.isfinite(norm):  # fp16's scaler would hold back the overflowed optimizer alone
            self._half_moved = True
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
            self.weights.publish()
            self._half_moved = False
        self.scaler.update()
        self.weights.zero_gradients()

        seconds = time.perf_counter() - started
        progress.passed(seconds)
        progress.recent_losses = recovery.remembered(progress.recent_losses, math.nan if lost else loss, t)
        if lost:
            progress.step += 1
            return StepSkipped(progress.step, f"Step {people.count(progress.step)} was skipped, for its {lost} is no "
                                              "number: the weights stay as they were.")
        progress.stepped(loss)
        return StepDone(
            step=progress.step, epoch=self._epoch(), loss=loss, learning_rate=rate, grad_norm=norm,
            tokens_per_s=self.config.tokens_per_step / seconds,
            tokens_seen=progress.step * self.config.tokens_per_step, seconds=progress.seconds,
        )

    def _rate(self, step: int) -> float:
        """The learning rate of a step (from 0), lower than the schedule's after each return to a good state."""
        return self.rate(step) * self.progress.rate_factor

    def _batch(self, windows: Windows, first: int, count: int) -> tuple[Tensor, Tensor]:
        tokens, targets = windows.batch(first, count)
        return self._to_device(tokens), self._to_device(targets)

    def _to_device(self, array: Any) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _autocast(self) -> torch.autocast:
        return autocast(self.device, self.precision)

    # ---- what happens between steps -------------------------------------------------------------

    def _epoch(self) -> float:
        t = self.config.training
        return self.train_windows.epoch(self.progress.text_step * t.batch_size * t.gradient_accumulation_steps)

    def _epochs_ended(self, count: int = 1) -> bool:
        """Whether the step has ended an epoch whose number is a multiple of `count`."""
        per_step = self.config.training.batch_size * self.config.training.gradient_accumulation_steps
        before = self.train_windows.epoch((self.progress.text_step - 1) * per_step)
        return math.floor(self._epoch() / count) > math.floor(before / count)

    def _epoch_done(self) -> EpochDone:
        progress = self.progress
        mean = progress.epoch_loss / progress.epoch_steps if progress.epoch_steps else math.nan  # all were skipped
        event = EpochDone(
            step=progress.step, epoch=math.floor(self._epoch()), mean_loss=mean, perplexity=history.perplexity(mean),
            seconds=progress.epoch_seconds, tokens=progress.epoch_steps * self.config.tokens_per_step,
        )
        progress.epoch_loss, progress.epoch_steps, progress.epoch_seconds = 0.0, 0, 0.0
        return event

    def _evaluate(self) -> Iterator[Event]:
        """Validate, if text was kept aside for it, and keep the checkpoint if none was better."""
        if self.val_windows is None:
            return
        progress, windows = self.progress, self.val_windows
        result = yield from self._healing(lambda: self._validation(windows))
        improved = progress.validated(result.val_loss, min_gain=self.config.training.early_stopping_min_gain)
        yield dataclasses.replace(result, step=progress.step, epoch=self._epoch(), best=progress.best_val_loss,
                                  improved=improved)
        if improved:
            yield from self._save("best")

    def _validation(self, windows: Windows) -> Generator[Event, None, EvalDone]:
        for event in evaluate(self.model, self.dataset, windows, self._autocast(),
                              batch_size=self.config.training.batch_size, batches=self.config.evaluation.eval_batches):
            if isinstance(event, EvalDone):
                result = event
            yield from self.cooler.rest(self.control)
        return result

    def _sample_prompts(self) -> Iterator[Event]:
        wished = self.config.sampling
        if wished.interval:
            for prompt in wished.prompts:
                yield from self._answer(Wish(prompt, None))

    def _answer(self, wish: Wish) -> Iterator[Event]:
        """The text that was wished for; its pieces only for one who gave settings and so waits for them."""
        events = self._sample(wish.prompt, wish.settings or self.config.sampling,
                              lambda: wish.stopped or self.control.stopping, keeps_cut=wish.settings is not None)
        for event in events:
            if wish.settings is not None or isinstance(event, (SampleDrawn, Notice)):
                yield event

    def _sample(self, prompt: str, wished: Sampling, should_stop: Callable[[], bool],
                *, keeps_cut: bool) -> Iterator[Event]:
        """Pieces as they come, then the whole, also one that was cut short if it `keeps_cut`.

        Draws from a generator of its own, so training is not disturbed.
        """
        try:
            for event in generator.stream(self.model, self.dataset.tokenizer, [prompt], wished,
                                          add_bos=self.config.tokenizer.add_bos, should_stop=should_stop):
                yield event
                if isinstance(event, Generated) and (keeps_cut or event.reason != "stopped"):
                    yield SampleDrawn(self.progress.step, prompt, event.text, wished.seed)
            return
        except NumericsError as error:  # what is to be done about it, the next steps show
            flaw = error.message
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            flaw = "The memory is not enough for a text beside training, which goes on."
        self._let_go()
        yield Notice(flaw, "warning")
        yield Generated(prompt, "", 0, 0.0, "stopped", wished.seed)

    # ---- what goes wrong and is mended ----------------------------------------------------------

    def _healing(self, work: Callable[[], Generator[Event, None, T]]) -> Generator[Event, None, T]:
        """What `work` returns; where memory runs out it is done again from its start, in smaller batches."""
        while True:
            try:
                return (yield from work())
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            self._let_go()  # only here, for the error holds on to the memory of the frames it came through
            smaller = healing.smaller(self.config)
            if smaller is None:
                raise too_little_memory()
            yield self._heal(smaller)

    def _let_go(self) -> None:
        """Of all that a step or a text which ran out of memory has left behind."""
        self.weights.zero_gradients()
        self.model.loss_buffers.let_go()
        gc.collect()
        hardware.let_go(even_in_training=True)

    def _heal(self, smaller: Config) -> Healed:
        told = healing.told(self.config, smaller, self.progress.step)
        self.config = self.agenda.config = self.saver.config = smaller
        self.model.gradient_checkpointing = smaller.training.gradient_checkpointing
        if runs.is_run(self.run):
            with contextlib.suppress(AtlasError):  # a full disk: the checkpoints say it too
                smaller.save(self.run / runs.CONFIG_FILE)
        return told

    def _go_back(self, trouble: Trouble) -> Iterator[Event]:
        """Go on from the last good state, past the text that led here. Raises `NumericsError` if it did not help."""
        self.saver.wait()
        yield from self._news()
        before, t = self.progress, self.config.training
        found, damaged = self._last_good(trouble)
        for path in damaged:
            yield Notice(f"{soundness.flaw(path)}; it is passed over.", "warning")
        gives_up, good_step = recovery.in_a_row(before) >= t.max_rollbacks, found.step if found else 0
        moved = [] if gives_up and not found else checkpoint.set_aside_after(self.run, good_step)
        if moved:
            yield Notice(f"Checkpoints from after step {people.count(good_step)} were set aside in {moved[0].parent}: "
                         f"{', '.join(path.name for path in moved)}.")
        if gives_up:
            raise recovery.surrender(trouble, before, good_step)
        self._restore(found.path if found else None)
        self.progress = progress = recovery.went_back(before, self.progress)
        if runs.best(self.run) is None:
            progress.best_val_loss = math.inf  # the next one is the best there is
        self.agenda = Agenda(self.config, step=progress.step, seconds=progress.seconds)
        self.saver.is_safe(progress)
        yield RolledBack(before.step, progress.step, progress.rate_factor, recovery.told(trouble, before, progress))
        yield from self._save("step")

    def _last_good(self, trouble: Trouble) -> tuple[CheckpointInfo | None, tuple[Path, ...]]:
        """The newest trusted checkpoint, and those passed over as damaged.

        Where that would lose too much, a first return takes the newest from before the trouble, though it is doubtful.
        """
        before = trouble.before_step
        found, damaged = soundness.newest_sound(self.run, until=trouble.sound_step, best_until=before)
        far = found is not None and found.step + recovery.MOST_LOST_STEPS < before
        if found is None or (far and not recovery.in_a_row(self.progress)):
            doubtful, damaged = soundness.newest_sound(self.run, until=before, best_until=before)
            found = doubtful or found
        return found, damaged

    def _restore(self, path: Path | None) -> None:
        """Stand where the run's checkpoint `path` stands; None is before the first step."""
        t = self.config.training
        self._half_moved = True  # an error on the way there must not save what is neither the one nor the other
        self.optimizers = build_optimizers(self.weights.named(), t, self.precision)
        self.scaler = self._new_scaler()
        if path is None:
            torch.manual_seed(t.seed)
            self.weights.load(dict(AtlasLM(self.config.model).named_parameters()))
            self.progress = checkpoint.Progress()
        else:
            saved = checkpoint.load(path)
            self.weights.load(saved["model"])
            self._go_on(saved, path)
        self._half_moved = False

    # ---- saving and restoring -------------------------------------------------------------------

    def _save(self, kind: str, *, beside: bool = True) -> Iterator[Event]:
        """Begin to write a checkpoint of this step; `CheckpointSaved` comes once it is safe."""
        doubtful = recovery.in_doubt(self.progress, self.config.training)  # then it pushes no older one off the disk
        self.saver.save(kind, self.moment(), beside=beside, prunes=not doubtful)
        if kind == "step":
            self.agenda.begun_to_save(self.progress.step, self.progress.seconds)
        yield from self._news()

    def _news(self) -> Iterator[Event]:
        """What has come of the checkpoints that were on their way."""
        yield from self.saver.news()
        if self.saver.best_in_doubt and not self.saver.busy:  # the best is the one there is; what beats it is kept
            self.saver.best_in_doubt = False
            kept = runs.best(self.run)
            self.progress.best_val_loss = math.inf if kept is None or kept.val_loss is None else kept.val_loss

    def _save_last(self) -> Iterator[Event]:
        """Leave with the last step on the disk. Raises `AtlasError` if it cannot be written."""
        self.saver.wait()
        yield from self._news()
        if self.progress.step != self.saver.safe_step:
            yield from self._save("step", beside=False)
        if self.progress.step != self.saver.safe_step:
            assert self.saver.failed is not None
            raise self.saver.failed

    def _save_emergency(self) -> None:
        """On the way out with an error: keep the weights if they are those of a step, and numbers."""
        self.saver.wait()
        with contextlib.suppress(RuntimeError):  # of a device that is broken; what went wrong first is what counts
            if not self._half_moved and self.weights.are_numbers() and self.progress.step != self.saver.safe_step:
                self.saver.save("emergency", self.moment(), beside=False)

    def moment(self) -> Moment:
        """All that a checkpoint of this step holds, as it is; training goes on in the same tensors."""
        return Moment(self._state(), epoch=self._epoch(), learning_rate=self._rate(max(0, self.progress.step - 1)),
                      parameters=self.model.count_parameters())

    def _state(self) -> dict[str, Any]:
        return {
            "format": checkpoint.FORMAT,
            "config": self.config.to_dict(),
            "tokenizer": self.dataset.tokenizer.to_dict(),
            "model": self.weights.state(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "progress": dataclasses.asdict(self.progress),
            "made_on": dataclasses.asdict(self.made_on),
        }

    def _load(self, path: Path) -> dict[str, Any]:
        """A checkpoint of this very run; its weights are in the model afterwards."""
        saved = checkpoint.load(path, verify=True)
        before = checkpoint.config_of(saved, path)
        continuity.refuse_another_run(before, self.config)
        self.changes = [*continuity.future(before, self.config, saved["progress"]["step"],
                                           factor=saved["progress"].get("rate_factor", 1.0)),
                        *continuity.digits(before, self.config, checkpoint.made_on(saved), self.made_on)]
        checkpoint.load_weights(self.model, saved["model"], path)
        return saved

    def _go_on(self, saved: dict[str, Any], path: Path) -> None:
        with checkpoint.nonsense_told(path, "its optimizer's memory is of another kind"):
            load_optimizers(self.optimizers, saved["optimizers"])
            if saved["scaler"]:  # empty unless the run was in fp16
                self.scaler.load_state_dict(saved["scaler"])
        self.progress = checkpoint.Progress(**saved["progress"])
        if not continuity.learns_alike(checkpoint.config_of(saved, path), self.config, self.progress.step):
            self.progress.recent_losses = []  # other dropout, or a rate that rises again, has other losses
        if saved["config"]["training"]["learning_rate"] != self.config.training.learning_rate:
            self.progress.rate_factor, self.progress.rollbacks = 1.0, 0  # a rate that was chosen since counts as it is

    def _new_scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    # ---- what is told ---------------------------------------------------------------------------

    def _started(self) -> RunStarted:
        return RunStarted(
            run=self.run, name=self.config.name, parameters=self.model.count_parameters(),
            device=hardware.describe(self.device), precision=self.precision,
            attention=self.config.hardware.attention, threads=self.threads,
            max_steps=self.config.training.max_steps, tokens_per_step=self.config.tokens_per_step,
            train_tokens=len(self.dataset.tokens("train")), resumed_from=self.resumed_from,
        )

    def _finished(self) -> Finished:
        if self._complete() or not self._out_of_patience():
            return Finished("done" if self._complete() else "stopped", details=self._summary())
        progress = self.progress
        message = (f"Ended early at step {progress.step}: {progress.stale_validations} validations in a row "
                   f"brought no gain. The best, with a loss of {people.loss(progress.best_val_loss)}, is {runs.BEST}. "
                   "Resume with more training.early_stopping_patience to go on.")
        return Finished("early", message, self._summary())

    def _summary(self) -> dict[str, Any]:
        progress = self.progress
        return {
            "run": str(self.run), "step": progress.step, "max_steps": self.config.training.max_steps,
            "loss": progress.loss, "best_val_loss": progress.best_val_loss, "seconds": progress.seconds,
            "tokens_seen": progress.step * self.config.tokens_per_step,
        }


def settle(config: Config, dataset: Dataset) -> Config:
    """The settings a run on `dataset` will really have: the vocabulary follows the dataset's tokenizer."""
    return dataclasses.replace(
        config.replace({"model.vocab_size": dataset.tokenizer.n_vocab}),
        dataset=str(dataset.path.resolve()), dataset_fingerprint=dataset.meta.fingerprint,
    )


def lay_out(run: Path, config: Config, dataset: Dataset, *, resume: bool) -> None:
    """Make the folder of a run, or bring its settings up to date.

    Raises `CheckpointError` rather than touch an older run that is not being resumed.
    """
    if not resume and runs.newest(run) is not None:
        raise CheckpointError(f"{run} holds an earlier run.", "Resume it, or choose a new folder.")
    runs.sweep(run)
    config.save(run / runs.CONFIG_FILE)
    dataset.tokenizer.save(run / runs.TOKENIZER_FILE)
