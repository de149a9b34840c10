"""A run that was interrupted is, bit for bit, the run that was not: losses, gradients, texts, weights and moments.

What a checkpoint must hold depends on the settings; what may disturb the random streams depends on the moment of the
interruption. So each setting is interrupted twice, in mid-epoch and after a validation, and every moment is tried
with the settings that draw the most random numbers. Other pairs of the two share nothing, and are left out.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atlas_core import agenda, jobs, runs
from atlas_core.config import Config, Sampling
from atlas_core.control import Control
from atlas_core.events import (
    EvalDone,
    Event,
    Finished,
    Generated,
    Notice,
    SampleDrawn,
    StepDone,
)
from atlas_core.history import History
from atlas_core.schedule import learning_rate
from atlas_core.text.dataset import Dataset, Windows
from atlas_core.training import checkpoint
from tests import tiny

STEPS = 14
EPOCH_STEPS = 6  # the text was made for this: an epoch ends exactly where a step does
COMMON = {
    "training.max_steps": STEPS, "training.batch_size": 2, "training.gradient_accumulation_steps": 2,
    "evaluation.eval_interval": 4, "sampling.interval": 5, "sampling.max_new_tokens": 4,
    "checkpointing.save_interval": 8, "checkpointing.keep_checkpoints": 9,
}

SETTINGS: dict[str, dict[str, object]] = {
    "as it comes": {},  # gpt2, AdamW, cosine, dropout, two batches a step
    "everything draws": {"model.family": "llama", "model.num_kv_heads": 2, "model.dropout": 0.2,
                         "model.attention_dropout": 0.2, "training.gradient_checkpointing": True},
    "no dropout": {"model.dropout": 0.0},
    "llama": {"model.family": "llama", "model.num_kv_heads": 2},
    "attention dropout": {"model.attention_dropout": 0.2},
    "computed twice": {"training.gradient_checkpointing": True, "model.dropout": 0.3},
    "products in blocks": {"hardware.attention": "blocks"},
    "one batch a step": {"training.batch_size": 4, "training.gradient_accumulation_steps": 1},
    "three batches a step": {"training.gradient_accumulation_steps": 3},
    "windows that overlap": {"data.stride": 7},  # epochs end within steps
    "linear": {"training.scheduler_type": "linear"},
    "constant": {"training.scheduler_type": "constant"},
    "wsd": {"training.scheduler_type": "wsd", "training.decay_fraction": 0.5},
    "muon": {"training.optimizer_type": "muon"},
    "muon by turns": {"training.optimizer_type": "muon", "training.muon_interval": 5, "training.head_start_steps": 30},
    "adamw in 8 bits": {"training.optimizer_type": "adamw8bit", "model.hidden_size": 64},  # smaller is kept in fp32
    "bf16": {"training.precision": "bf16"},
    "bf16 without masters": {"training.precision": "bf16", "training.master_weights": False},
    "bf16 in 8 bits": {"training.precision": "bf16", "training.master_weights": False,
                       "training.optimizer_type": "adamw8bit", "model.hidden_size": 64},
}

Act = Callable[[Event, Control], None]  # what somebody does when an event comes


class Killed(BaseException):
    """The process is gone: nothing more is saved."""


def look_on(*_: object) -> None:
    """Do nothing."""


def stop_after(step: int) -> Act:
    def act(event: Event, control: Control) -> None:
        if isinstance(event, StepDone) and event.step == step:
            control.stop()
    return act


def kill_after(step: int) -> Act:
    def act(event: Event, _: Control) -> None:
        if isinstance(event, StepDone) and event.step == step:
            raise Killed
    return act


def stop_after_a_text(event: Event, control: Control) -> None:
    if isinstance(event, SampleDrawn) and event.step == 5:
        control.stop()


def ask_for_text_and_save(event: Event, control: Control) -> None:
    if isinstance(event, StepDone) and event.step == 9:
        control.sample("the king", None)
        control.save_now()
    stop_after(10)(event, control)


def chat_in_a_pause(event: Event, control: Control) -> None:
    """As the Playground does it: with settings of its own, piece by piece."""
    if isinstance(event, StepDone) and event.step == 9:
        control.pause()
        control.sample("my lord", Sampling(max_new_tokens=5, seed=3, temperature=1.5))
    if isinstance(event, Generated):
        control.resume()
    stop_after(11)(event, control)


def chat_and_stop_in_the_pause(event: Event, control: Control) -> None:
    if isinstance(event, StepDone) and event.step == 9:
        control.pause()
        control.sample("my lord", Sampling(max_new_tokens=5, seed=3))
    if isinstance(event, Generated):
        control.stop()


MOMENTS: dict[str, Act] = {
    "after the first step": stop_after(1),
    "in mid-epoch": stop_after(3),
    "after a validation": stop_after(4),
    "after a text drawn on the way": stop_after_a_text,
    "at the end of an epoch": stop_after(EPOCH_STEPS),
    "after a save of its own": stop_after(7),
    "after a text and a save that were asked for": ask_for_text_and_save,
    "after a pause with a chat": chat_in_a_pause,
    "in a pause, after a chat": chat_and_stop_in_the_pause,
    "by a kill": kill_after(11),
    "before the last step": stop_after(STEPS - 1),
}


@dataclasses.dataclass
class Story:
    """What a run did, over all its sessions."""

    run: Path
    steps: dict[int, tuple[float, float, float]] = dataclasses.field(default_factory=dict)  # loss, norm, rate
    validations: dict[int, float] = dataclasses.field(default_factory=dict)
    texts: dict[int, str] = dataclasses.field(default_factory=dict)
    end: Finished | None = None
    notices: list[str] = dataclasses.field(default_factory=list)

    def hear(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self._same(self.steps, event.step, (event.loss, event.grad_norm, event.learning_rate))
        elif isinstance(event, EvalDone):
            self._same(self.validations, event.step, event.val_loss)
        elif isinstance(event, SampleDrawn) and event.prompt == "":  # the run's own
            self._same(self.texts, event.step, event.text)
        elif isinstance(event, Notice) and event.level == "info":  # bf16 has a warning of its own
            self.notices.append(event.message)
        elif isinstance(event, Finished):
            self.end = event

    def _same(self, told: dict[int, Any], step: int, value: object) -> None:
        """What is done again after a kill must come out again."""
        assert told.setdefault(step, value) == value, f"step {step}"

    def state(self) -> dict[str, Any]:
        """All that the last checkpoint keeps, but for the clock."""
        state = checkpoint.load(runs.resolve(self.run))
        progress = {key: value for key, value in state["progress"].items() if not key.endswith("seconds")}
        return {"model": state["model"], "optimizers": state["optimizers"], "progress": progress}


def session(story: Story, config: Config, dataset: Path, act: Act = look_on, *,
            resume: bool = True) -> None:
    """One session of a run, in a process whose random generators stand anywhere."""
    torch.manual_seed(random.SystemRandom().randrange(2**31))
    np.random.seed(random.SystemRandom().randrange(2**31))
    random.seed()
    control = Control()
    events = jobs.train(config, dataset, story.run, control, resume=story.run if resume else None)
    try:
        for event in events:
            if not (isinstance(event, SampleDrawn) and control.stopping):  # Stop cuts a text short
                story.hear(event)
            act(event, control)
    except Killed:
        events.close()  # type: ignore[attr-defined]


def assert_same(one: Story, other: Story) -> None:
    assert one.steps == other.steps
    assert one.validations == other.validations
    assert one.texts == {step: other.texts[step] for step in one.texts}
    assert_equal(one.state(), other.state())
    assert History.read(one.run / runs.METRICS_FILE).steps == sorted(one.steps)


def assert_equal(one: Any, other: Any) -> None:
    """The same structure with the same bits."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert one == other


def of(settings: str, **more: object) -> Config:
    changes = {key.replace("__", ".", 1): value for key, value in more.items()}
    return tiny.config().replace({**COMMON, **SETTINGS[settings], **changes})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of four steps an epoch."""
    folder = tmp_path_factory.mktemp("exact")
    out = folder / "dataset"
    tiny.drain(jobs.prepare([tiny.write_texts(folder / "texts", documents=3, words=66)], out, tiny.config(), Control()))
    windows = Windows(Dataset.open(out).tokens("train"), context=of("as it comes").model.max_seq_len)
    assert windows.count == 4 * EPOCH_STEPS, "the text was made for epochs that end where a step does"
    return out


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Story]:
    """The run that nobody interrupts, once for each of the settings."""
    told: dict[str, Story] = {}

    def of_settings(settings: str) -> Story:
        if settings not in told:
            told[settings] = Story(tmp_path_factory.mktemp("whole") / "run")
            session(told[settings], of(settings), dataset, resume=False)
            assert len(told[settings].steps) == STEPS
        return told[settings]

    return of_settings


MATRIX = [
    *(pytest.param(settings, [stop_after(3), stop_after(8)], id=f"{settings}, twice") for settings in SETTINGS),
    *(pytest.param(settings, [act], id=f"{settings}, {moment}") for settings, (moment, act) in itertools.product(
        ("as it comes", "everything draws"), MOMENTS.items())),
    pytest.param("as it comes", [stop_after(step) for step in range(1, STEPS)], id="after each single step"),
]


@pytest.mark.parametrize(("settings", "interruptions"), MATRIX)
def test_a_run_interrupted_is_the_run_uninterrupted(
        dataset: Path, whole: Callable[[str], Story], tmp_path: Path, settings: str,
        interruptions: Sequence[Act]) -> None:
    if "8bit" in str(SETTINGS[settings].get("training.optimizer_type")):
        pytest.importorskip("bitsandbytes")
    story = Story(tmp_path / "run")
    for number, act in enumerate(interruptions):
        session(story, of(settings), dataset, act, resume=number > 0)
        assert len(story.steps) < STEPS, "it was interrupted"
    session(story, of(settings), dataset)
    assert story.notices == []
    assert_same(story, whole(settings))


def test_a_run_goes_on_in_a_fresh_process(dataset: Path, whole: Callable[[str], Story], tmp_path: Path) -> None:
    """By the command, which has drawn no random number before, and has other environment and folder."""
    story = Story(tmp_path / "run")
    session(story, of("as it comes"), dataset, stop_after(3), resume=False)
    subprocess.run([sys.executable, "-m", "atlas_core", "train", "--resume", story.run, "--json"], check=True,
                   cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True)
    assert_equal(story.state(), whole("as it comes").state())
    curve = History.read(story.run / runs.METRICS_FILE)
    assert curve.losses == [loss for loss, _, _ in whole("as it comes").steps.values()]
    assert curve.val_losses == list(whole("as it comes").validations.values())


def test_other_intervals_of_looking_saving_and_sampling_disturb_nothing(
        dataset: Path, whole: Callable[[str], Story], tmp_path: Path) -> None:
    story, reference = Story(tmp_path / "run"), whole("as it comes")
    session(story, of("as it comes"), dataset, stop_after(3), resume=False)
    session(story, of("as it comes", evaluation__eval_interval=3, sampling__interval=2, sampling__seed=9,
                      checkpointing__save_interval=1, checkpointing__keep_checkpoints=1), dataset)
    assert story.notices == [] and story.steps == reference.steps
    assert {step: story.validations[step] for step in (12, 14)} == {
        step: reference.validations[step] for step in (12, 14)}
    for kept in ("model", "optimizers"):
        assert_equal(story.state()[kept], reference.state()[kept])


@pytest.mark.parametrize("changes", [
    {"evaluation__eval_interval": 2},
    {"evaluation__eval_interval": 0, "training__max_steps": 40},  # only the ends of epochs
])
def test_early_stopping_counts_on(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                  changes: dict[str, object]) -> None:
    """A run without gain ends at the same step, however often it was interrupted on the way."""
    monkeypatch.setattr(agenda, "FEWEST_STEPS_BETWEEN_SAVES", 2 * EPOCH_STEPS)
    config = of("as it comes", training__early_stopping_patience=2, training__early_stopping_min_gain=10.0,
                sampling__interval=0, **changes)
    uninterrupted, story = Story(tmp_path / "whole"), Story(tmp_path / "run")
    session(uninterrupted, config, dataset, resume=False)
    for number, step in enumerate((3, 5)):
        session(story, config, dataset, stop_after(step), resume=number > 0)
    session(story, config, dataset)
    assert_same(story, uninterrupted)
    assert story.end is not None and story.end.reason == "early"


@pytest.mark.parametrize("settings", ["constant", "wsd"])
def test_a_run_made_longer_before_its_rate_falls_is_the_one_planned_longer(
        dataset: Path, whole: Callable[[str], Story], tmp_path: Path, settings: str) -> None:
    """A constant rate never falls, so that run has even finished; the other is made longer before its decay."""
    story, short = Story(tmp_path / "run"), 10
    act = stop_after(7) if settings == "wsd" else stop_after(short)  # WSD's rate falls in its last three steps
    session(story, of(settings, training__max_steps=short), dataset, act, resume=False)
    session(story, of(settings), dataset)
    assert story.steps == whole(settings).steps
    for kept in ("model", "optimizers"):
        assert_equal(story.state()[kept], whole(settings).state()[kept])
    (told,) = story.notices
    assert f"training.max_steps ({short}, now {STEPS})" in told and "those of a run that was planned" in told


@pytest.mark.parametrize("settings", ["as it comes", "linear"])
def test_a_finished_run_made_longer_follows_the_longer_schedule_and_says_so(
        dataset: Path, tmp_path: Path, settings: str) -> None:
    story, short = Story(tmp_path / "run"), of(settings, training__max_steps=8)
    session(story, short, dataset, resume=False)
    session(story, of(settings), dataset)
    rates = {step: rate for step, (_, _, rate) in story.steps.items()}
    assert rates == {step: learning_rate(step - 1, (short if step <= 8 else of(settings)).training)
                     for step in range(1, STEPS + 1)}
    assert "is now that of 14" in story.notices[0] and "differs from a run planned for that many" in story.notices[0]


def test_another_number_of_threads_is_told(dataset: Path, tmp_path: Path) -> None:
    story = Story(tmp_path / "run")
    session(story, of("as it comes"), dataset, stop_after(3), resume=False)
    session(story, of("as it comes", hardware__threads=2), dataset, stop_after(4))
    assert story.notices == ["The run goes on, but with other last digits than it would have had: threads (1, now 2). "
                             "hardware.threads=1 would keep them."]
    session(story, of("as it comes", hardware__threads=2), dataset, stop_after(5))
    assert len(story.notices) == 1, "the last checkpoint was made on two"


def test_what_was_changed_is_told_once_and_kept_in_the_log(dataset: Path, tmp_path: Path) -> None:
    story = Story(tmp_path / "run")
    session(story, of("as it comes"), dataset, stop_after(3), resume=False)
    changed = of("as it comes", training__weight_decay=0.3, training__max_grad_norm=0.5)
    session(story, changed, dataset, stop_after(4))
    session(story, changed, dataset, stop_after(5))
    assert story.notices == ["Changed since the checkpoint: training.weight_decay (0.01, now 0.3), "
                             "training.max_grad_norm (1.0, now 0.5)."]
    assert story.notices[0] in (story.run / runs.LOG_FILE).read_text()


def test_a_checkpoint_of_an_older_program_goes_on_without_a_word(dataset: Path, tmp_path: Path) -> None:
    """One that does not say where it was made."""
    story = Story(tmp_path / "run")
    session(story, of("as it comes"), dataset, stop_after(3), resume=False)
    info = runs.newest(story.run)
    assert info is not None
    state = checkpoint.load(info.path)
    del state["made_on"]
    older = checkpoint.Moment(state, info.epoch, info.learning_rate, info.parameters)
    checkpoint.save(info.path, older, kind=info.kind)
    session(story, of("as it comes"), dataset, stop_after(4))
    assert story.notices == []
