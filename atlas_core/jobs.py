"""The verbs of the program as iterators of events. The terminal, the window and the tests all walk these.

Torch is imported by the verbs that need it, so that a front end may import this module at once.
Every verb raises `AtlasError` for what the user can mend, and ends with `Finished`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from atlas_core import config as settings
from atlas_core import format as people
from atlas_core import history, memory, paths, presets, runs, soundness
from atlas_core.claim import claimed
from atlas_core.config import Config, Sampling
from atlas_core.control import Control
from atlas_core.errors import CheckpointError, DataError, DeviceError
from atlas_core.events import Estimate, EvalDone, Event, Exported, Finished, Generated, Notice, Prepared, Progress
from atlas_core.fitting import Fitted, fit_to_time
from atlas_core.forecast import Speed, forecast
from atlas_core.hardware.awake import awake
from atlas_core.shell import quoted

if TYPE_CHECKING:
    from atlas_core.text.dataset import Dataset
    from atlas_core.training.checkpoint import Loaded

SAMPLE_NAME = "shakespeare"
DEMO_SECONDS = 120.0
RATE_STEPS, LOWEST_RATE, HIGHEST_RATE = 100, 1e-5, 1.0  # of a range test: twenty steps for each power of ten


def sample_source() -> Path:
    """The text that travels with the program."""
    return paths.resource("datasets", "shakespeare.zip")


def prepare(sources: Sequence[Path], out: Path, config: Config, control: Control) -> Iterator[Event]:
    """Text -> dataset folder `out`. Yields `Progress`, `Notice`, `Prepared`."""
    from atlas_core.text import prepare as text

    prepared = False
    for event in text.prepare(sources, out, config, control):
        prepared = prepared or isinstance(event, Prepared)
        yield event
    yield Finished("done" if prepared else "stopped", details={"dataset": str(out)})


def train(config: Config, dataset: Path, run: Path, control: Control, *, resume: Path | None = None) -> Iterator[Event]:
    """Dataset -> run folder, from the start or on from `resume`: a checkpoint, or a run for its newest sound one.

    Yields `RunStarted`, then `StepDone`, `EvalDone`, `EpochDone`, `SampleDrawn`, `CheckpointSaved`, `StateChanged`.
    """
    from atlas_core.hardware.device import choose_device, imitates
    from atlas_core.text.dataset import Dataset
    from atlas_core.training import checkpoint, records, room, trainer
    from atlas_core.training.calibration import calibrated
    from atlas_core.training.plain_errors import plain_memory_errors

    _loaded.cache_clear()  # a model that was talked to makes room
    data = Dataset.open(dataset)
    settled = trainer.settle(config, data)
    if settled.model.vocab_size != config.model.vocab_size:
        yield Notice(f"The vocabulary follows the dataset's tokenizer: {settled.model.vocab_size} tokens instead of "
                     f"{config.model.vocab_size}.")
    if imitates(settled.training.precision, choose_device(settled.hardware.device)):
        yield Notice("This processor has no units for bf16 and imitates them: a step can take hundreds of times as "
                     "long as in fp32. Set training.precision to auto unless memory forbids it.", "warning")
    with claimed(run) as claim, awake(settled.hardware.keep_awake):
        if resume is not None and resume.is_dir():  # looked at only now: another process may have trained on till here
            found, flawed = soundness.newest_sound(resume)
            if found is None:
                raise CheckpointError(f"{resume} holds no sound checkpoint.", "Start a fresh run.")
            for path in flawed:
                yield Notice(f"{soundness.flaw(path)}: training goes on from {found.path.name}.", "warning")
            resume = found.path
        if scarce := room.foreseen(run, settled):
            yield scarce
        settled = yield from calibrated(settled)
        with plain_memory_errors():
            session = trainer.Trainer(settled, data, run, control, resume=resume)
        session.saver.laid_out = claim.renew
        trainer.lay_out(run, settled, data, resume=resume is not None)
        moved = checkpoint.set_aside(run, soundness.newest_sound(run)[1])
        if moved := moved + checkpoint.set_aside_after(run, session.progress.step):
            names = ", ".join(path.name for path in moved)
            yield Notice(f"{names} of this run: set aside in {moved[0].parent}.")
        if resume is not None and resume.resolve().is_relative_to(run.resolve()):
            missing = history.flaw(run / runs.METRICS_FILE, session.progress.step, settled.logging.log_interval)
            if missing:
                yield Notice(missing, "warning")
        yield from records.recorded(session, run, settled, data)


def settings_of(checkpoint: Path) -> tuple[Config, tuple[str, ...]]:
    """The settings a checkpoint was trained with: from its run's folder, else from the file itself.

    With a sentence if the run's own file can no longer be trusted: what it lost would become a default unseen.
    """
    home = runs.home_of(checkpoint)
    if home and settings.is_whole(home / runs.CONFIG_FILE):
        return settings.load(home / runs.CONFIG_FILE), ()
    from atlas_core.training import checkpoint as checkpoints

    saved = checkpoints.config_of(checkpoints.load(checkpoint), checkpoint)
    if home is None:
        return saved, ()
    return saved, (f"{runs.CONFIG_FILE} is damaged or gone: the settings are those that {checkpoint.name} remembers.",)


def find_learning_rate(config: Config, dataset: Path, control: Control, *, steps: int = RATE_STEPS,
                       low: float = LOWEST_RATE, high: float = HIGHEST_RATE) -> Iterator[Event]:
    """A short training at rising rates that is thrown away. Yields `RatePoint`s and a `RateFound`; writes nothing."""
    from atlas_core.text.dataset import Dataset
    from atlas_core.training import trainer
    from atlas_core.training.plain_errors import plain_memory_errors
    from atlas_core.training.range_test import range_test

    _loaded.cache_clear()  # a model that was talked to makes room
    data = Dataset.open(dataset)
    with plain_memory_errors():
        yield from range_test(trainer.settle(config, data), data, control, low=low, high=high, steps=steps)
    yield Finished("stopped" if control.stopping else "done")


def generate(checkpoint: Path, prompts: Sequence[str], settings: Sampling, control: Control,
             *, device: str = "auto") -> Iterator[Event]:
    """Continue each prompt. Yields `TextPiece`s as they come and a `Generated` for each prompt."""
    from atlas_core.generation import generator
    from atlas_core.hardware.device import choose_device
    from atlas_core.training.plain_errors import USE_WITH_LESS, plain_memory_errors

    path = runs.resolve(checkpoint)
    with plain_memory_errors(USE_WITH_LESS):
        loaded = _loaded(path, path.stat().st_mtime_ns, str(choose_device(device)))
        yield from generator.stream(loaded.model, loaded.tokenizer, prompts, settings,
                                    add_bos=loaded.config.tokenizer.add_bos,
                                    should_stop=lambda: control.text_stopping)
    yield Finished("stopped" if control.stopping else "done")


@lru_cache(maxsize=1)
def _loaded(path: Path, _changed: int, device: str) -> Loaded:
    """The model last talked to stays loaded, so that the next prompt is answered at once."""
    from atlas_core.training.checkpoint import load_model

    return load_model(path, device=device)


def evaluate(checkpoint: Path, dataset: Path, control: Control, *, split: str = "val") -> Iterator[Event]:
    """The loss of a checkpoint on the whole of a dataset's `split`. Yields `Progress` and `EvalDone`."""
    import torch

    from atlas_core.hardware.device import choose_device, choose_precision
    from atlas_core.text.dataset import Dataset
    from atlas_core.training import validation
    from atlas_core.training.checkpoint import load_model
    from atlas_core.training.plain_errors import USE_WITH_LESS, plain_memory_errors
    from atlas_core.training.weights import WORKING_TYPES

    data = Dataset.open(dataset)
    if split not in data.meta.splits:
        held = " or ".join(f"--split {name}" for name in data.meta.splits)
        raise DataError(f"The dataset {data.path} has no part '{split}' to measure on.",
                        f"Take {held}, or prepare it again with data.{split}_fraction above 0.")
    with plain_memory_errors(USE_WITH_LESS):
        loaded = load_model(runs.resolve(checkpoint), device=choose_device("auto"))
    if data.tokenizer.fingerprint != loaded.tokenizer.fingerprint:
        raise DataError("The dataset was prepared with another tokenizer than the model has.",
                        f"Prepare the text again, with --tokenizer {quoted(loaded.path.parent.parent)} this time.")
    try:
        precision = choose_precision(loaded.config.training.precision, loaded.model.device)  # as the run was validated
    except DeviceError:
        precision = choose_precision("auto", loaded.model.device)
    model = loaded.model.to(WORKING_TYPES.get(precision, torch.float32))
    windows = validation.validation_windows(data, split, loaded.config.model.max_seq_len)
    with plain_memory_errors(USE_WITH_LESS):
        for event in validation.evaluate(model, data, windows, validation.autocast(model.device, precision),
                                         split=split, batch_size=loaded.config.training.batch_size,
                                         batches=windows.count):
            if control.stopping:
                break
            yield replace(event, step=loaded.step) if isinstance(event, EvalDone) else event
    yield Finished("stopped" if control.stopping else "done")


def export(checkpoint: Path, to: Path, control: Control, *, type: str = "f16", verify: bool = True) -> Iterator[Event]:
    """Checkpoint -> GGUF file, reopened and compared. Yields `Progress` and `Exported`."""
    from atlas_core.export import exporter
    from atlas_core.training.checkpoint import load_model
    from atlas_core.training.plain_errors import USE_WITH_LESS, plain_memory_errors

    path = runs.resolve(checkpoint)
    exporter.make_room(to)  # before the model is read, which takes a while
    with plain_memory_errors(USE_WITH_LESS):
        # A damaged model would agree with its damaged copy.
        loaded = load_model(path, verify=runs.sidecar(path).is_file())
        for event in exporter.export_checkpoint(loaded, to, type=type, verify=verify):
            yield event
            if control.stopping and isinstance(event, Progress):  # the file is not in its place yet
                yield Finished("stopped")
                return
    yield Finished(details={"path": str(to)})


def estimate(config: Config, *, dataset: Path | None = None, device_bytes: int | None = None,
             measure: bool = False) -> Iterator[Event]:
    """What `config` needs of this machine, or of one with `device_bytes` of memory. Yields `Estimate`.

    Its time is known if this machine has measured it before, or if it is to `measure` it now: a few real steps on
    the dataset, or on meaningless tokens without one. They leave nothing behind but the speed, for the next time.
    """
    from atlas_core.hardware import speeds
    from atlas_core.hardware.device import machine_memory
    from atlas_core.text.dataset import Dataset

    data = Dataset.open(dataset) if dataset else None
    available = device_bytes or machine_memory(config.hardware.device).total_bytes
    config = _with_vocabulary(config, data)
    needed = _memory(config)
    if measure:
        yield from _measured(config, data)
    speed = speeds.known(config)
    sizes = data.meta.sizes() if data else {}
    total = config.training.max_steps * config.tokens_per_step
    yield Estimate(
        parameters=memory.count_parameters(config.model),
        memory={**needed.items, "total_bytes": needed.total_bytes},
        fits=memory.verdict(needed.total_bytes, available),
        device_bytes=available,
        tokens_per_step=config.tokens_per_step,
        checkpoint_bytes=memory.checkpoint_bytes(config),
        disk_bytes=memory.disk_bytes(config),
        tokens=total,
        epochs=total / sizes["train_tokens"] if sizes else None,
        time=forecast(config, speed, **sizes) if speed else None,
    )
    yield Finished()


def within(config: Config, seconds: float, *, dataset: Path | None = None) -> Iterator[Progress | Notice | Fitted]:
    """Measure the speed of `config`; the last item has as many steps as this machine makes in `seconds`.

    How many those are is told before it.

    Raises `ConfigError` for a time too short for anything, and `DeviceError` if there is no memory to measure.
    """
    from atlas_core.hardware import speeds
    from atlas_core.text.dataset import Dataset

    data = Dataset.open(dataset) if dataset else None
    yield from _measured(_with_vocabulary(config, data), data)
    speed = speeds.known(_with_vocabulary(config, data))
    assert speed is not None  # it was measured just now
    fitted = fit_to_time(config, speed, seconds, **(data.meta.sizes() if data else {}))
    yield Notice(" ".join(fitted.reasons) or f"{config.name} takes that long as it is.")
    yield fitted


def _with_vocabulary(config: Config, data: Dataset | None) -> Config:
    """`config` as it would be trained: the vocabulary follows the text."""
    return config.replace({"model.vocab_size": data.meta.n_vocab}) if data else config


def _memory(config: Config) -> memory.Memory:
    """What training `config` takes on the device it chooses."""
    from atlas_core.hardware.device import choose_device, choose_precision

    device = choose_device(config.hardware.device)
    return memory.estimate(config, device=device.type, precision=choose_precision(config.training.precision, device))


def _measured(config: Config, data: Dataset | None) -> Iterator[Progress]:
    """Measure the speed of `config` and remember it. Raises `DeviceError` if the memory is not free."""
    from atlas_core.hardware import speeds
    from atlas_core.hardware.device import machine_memory
    from atlas_core.training.measure import measure

    free, needed_bytes = machine_memory(config.hardware.device).available_bytes, _memory(config).total_bytes
    if needed_bytes > free:
        raise DeviceError(f"Measuring needs {people.size(needed_bytes)} of memory, and {people.size(free)} are free.",
                          "Add --fit, close other programs, or choose a smaller preset.")
    for item in measure(config, data):
        if isinstance(item, Speed):
            speeds.remember(config, item)
        else:
            yield item


def demo(out: Path, control: Control, seconds: float = DEMO_SECONDS) -> Iterator[Event]:
    """The whole chain on the sample text: dataset, model, text, verified GGUF, all below the folder `out`.

    Training takes about `seconds` on any machine. Raises `ConfigError` if those are too few to learn anything.
    """
    started = time.monotonic()
    config = presets.find("NANO").config
    dataset, run, gguf = out / "dataset", out / "run", out / f"{SAMPLE_NAME}.gguf"
    if runs.is_run(run):
        run = paths.fresh_folder(out, "run")
    text, verified = "", False
    chain = (
        lambda: prepare([sample_source()], dataset, config, control),
        lambda: _train_for(config, dataset, run, control, seconds),
        lambda: generate(run, ["KING.\n"], config.sampling, control),
        lambda: export(run, gguf, control),
    )
    for link in chain:
        for event in link():
            if isinstance(event, Generated):
                text = event.prompt + event.text
            elif isinstance(event, Exported):
                verified = event.verified
            if not isinstance(event, Finished):
                yield event
        if control.stopping:
            yield Notice("Stopped; what was made so far is kept.")
            break
    yield Finished("stopped" if control.stopping else "done", details={
        "run": str(run), "gguf": str(gguf), "verified": verified, "text": text,
        "seconds": time.monotonic() - started,
    })


def _train_for(config: Config, dataset: Path, run: Path, control: Control, seconds: float) -> Iterator[Event]:
    """A training planned for the time there is."""
    for item in within(config, seconds, dataset=dataset):
        if control.stopping:
            return
        if isinstance(item, Fitted):
            config = item.config
        else:
            yield item
    yield from train(config, dataset, run, control)
