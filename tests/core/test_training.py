"""Training: exact, resumable, recorded. Everything here runs the real loop on the tiny model."""

from __future__ import annotations

import dataclasses
import functools
import gc
import itertools
import json
import math
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim._muon import _zeropower_via_newtonschulz

from atlas_core import jobs, runs, soundness
from atlas_core.config import Config, Sampling, Training
from atlas_core.control import Control
from atlas_core.errors import AtlasError, CheckpointError, DataError, DeviceError
from atlas_core.events import (
    CheckpointSaved,
    EpochDone,
    EvalDone,
    Event,
    Finished,
    Generated,
    Notice,
    RunStarted,
    SampleDrawn,
    StateChanged,
    StepDone,
)
from atlas_core.model.gpt import AtlasLM
from atlas_core.schedule import head_start, learning_rate
from atlas_core.text.dataset import Dataset
from atlas_core.training import checkpoint, muon, records, trainer
from atlas_core.training.cooling import Rests
from atlas_core.training.muon import Muon
from atlas_core.training.optim import build_optimizers, load_optimizers, set_learning_rate
from atlas_core.training.trainer import Trainer
from atlas_core.training.weights import Weights
from tests import tiny


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepDone)]


def train(dataset: Path, run: Path, config: Config | None = None, *, control: Control | None = None,
          resume: Path | None = None) -> list[Event]:
    return tiny.drain(jobs.train(config or tiny.config(), dataset, run, control or Control(), resume=resume))


def damage(checkpoint_file: Path) -> None:
    """Flip one bit in its middle."""
    content = bytearray(checkpoint_file.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint_file.write_bytes(content)


def moment_of(path: Path) -> checkpoint.Moment:
    return checkpoint.Moment(checkpoint.load(path), epoch=1.0, learning_rate=0.1, parameters=1)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path)["model"]


# ---- the story of a run ---------------------------------------------------------------------------------


def test_a_run_tells_its_story_in_order(dataset: Path, tmp_path: Path) -> None:
    events = train(dataset, tmp_path / "run")
    assert isinstance(events[0], RunStarted) and isinstance(events[-1], Finished)
    assert events[-1].reason == "done"
    assert [e.step for e in events if isinstance(e, StepDone)] == list(range(1, 13))
    assert [e.step for e in events if isinstance(e, EvalDone)] == [5, 10, 12]
    assert [e.step for e in events if isinstance(e, SampleDrawn)] == [0, 6, 12]
    saved = [(e.kind, e.step) for e in events if isinstance(e, CheckpointSaved)]
    assert ("step", 4) in saved and ("best", 5) in saved and saved[-1] == ("step", 12)


def test_the_loss_falls_from_that_of_a_guess(dataset: Path, tmp_path: Path) -> None:
    found = losses(train(dataset, tmp_path / "run", tiny.config(training__max_steps=60)))
    assert found[0] == pytest.approx(math.log(300), abs=0.5)
    assert found[-1] < found[0] - 2


GOLDEN = {  # by model.dropout; those without it are older than the masks as they are drawn now
    0.0: [5.6909618, 5.6314564, 5.5427980, 5.4518428, 5.3188591],
    0.1: [5.6898670, 5.6400809, 5.5546408, 5.4596148, 5.3247852],
}


@pytest.mark.parametrize("dropout", GOLDEN)
def test_the_losses_are_these_to_the_last_digit(dropout: float, dataset: Path, tmp_path: Path) -> None:
    """A change that moves a number must be one that was meant to. (In fp32; processors differ in the last digit.)"""
    config = tiny.config(training__max_steps=5, model__dropout=dropout)
    assert losses(train(dataset, tmp_path / "run", config)) == pytest.approx(GOLDEN[dropout], rel=1e-5)


def test_two_runs_of_one_seed_are_the_same_and_another_seed_is_not(dataset: Path, tmp_path: Path) -> None:
    first = losses(train(dataset, tmp_path / "a"))
    assert losses(train(dataset, tmp_path / "b")) == first
    assert losses(train(dataset, tmp_path / "c", tiny.config(training__seed=1))) != first


def test_accumulation_is_the_same_mathematics_as_a_larger_batch(dataset: Path, tmp_path: Path) -> None:
    one = train(dataset, tmp_path / "a", tiny.config(
        model__dropout=0.0, training__batch_size=8, training__gradient_accumulation_steps=1))
    four = train(dataset, tmp_path / "b", tiny.config(
        model__dropout=0.0, training__batch_size=2, training__gradient_accumulation_steps=4))
    assert losses(one) == pytest.approx(losses(four), rel=1e-4)


def test_gradient_checkpointing_changes_no_loss(dataset: Path, tmp_path: Path) -> None:
    plain = losses(train(dataset, tmp_path / "a"))
    saved = losses(train(dataset, tmp_path / "b", tiny.config(training__gradient_checkpointing=True)))
    assert saved == pytest.approx(plain, rel=1e-6)


def test_bf16_learns_like_fp32(dataset: Path, tmp_path: Path) -> None:
    fp32 = losses(train(dataset, tmp_path / "a"))
    bf16 = losses(train(dataset, tmp_path / "b", tiny.config(training__precision="bf16")))
    assert bf16 == pytest.approx(fp32, abs=0.05)


def test_epochs_end_with_a_summary_a_validation_and_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    config = tiny.config(training__max_steps=60, checkpointing__keep_epochs=1)
    events = train(dataset, tmp_path / "run", config)
    ends = [e for e in events if isinstance(e, EpochDone)]
    assert ends and [e.epoch for e in ends] == list(range(1, len(ends) + 1))
    within = [e.loss for e in events if isinstance(e, StepDone) and e.step <= ends[0].step]
    assert ends[0].mean_loss == pytest.approx(sum(within) / len(within))
    kept = [info for info in runs.checkpoints(tmp_path / "run") if info.kind == "epoch"]
    assert [info.path.name for info in kept] == [f"atlas_epoch_{ends[-1].epoch}_step_{ends[-1].step}.pt"]


# ---- resume ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stop_at", "family", "precision"), [
    (1, "gpt2", "fp32"), (5, "gpt2", "fp32"), (7, "gpt2", "fp32"), (5, "llama", "fp32"), (5, "gpt2", "bf16"),
    (7, "llama", "bf16")])
def test_resume_continues_the_same_losses_and_weights(
    dataset: Path, tmp_path: Path, stop_at: int, family: str, precision: str
) -> None:
    config = tiny.config(model__family=family, training__precision=precision)
    whole = train(dataset, tmp_path / "whole", config)
    control, events = Control(), []
    for event in jobs.train(config, dataset, tmp_path / "run", control):
        events.append(event)
        if isinstance(event, StepDone) and event.step == stop_at:
            control.stop()
    assert isinstance(events[-1], Finished) and events[-1].reason == "stopped"
    last = runs.newest(tmp_path / "run")
    assert last is not None and last.step == stop_at
    rest = train(dataset, tmp_path / "run", config, resume=last.path)
    assert losses(events) + losses(rest) == losses(whole)
    end = "checkpoints/atlas_step_12.pt"
    one, other = weights_of(tmp_path / "whole" / end), weights_of(tmp_path / "run" / end)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_abandoned_without_a_word_goes_on_from_its_last_checkpoint(dataset: Path, tmp_path: Path) -> None:
    whole = losses(train(dataset, tmp_path / "whole"))
    abandoned = jobs.train(tiny.config(), dataset, tmp_path / "run", Control())
    for event in abandoned:
        if isinstance(event, StepDone) and event.step == 7:
            break
    abandoned.close()  # type: ignore[attr-defined]
    last = runs.newest(tmp_path / "run")
    assert last is not None and last.step in (4, 5)
    train(dataset, tmp_path / "run", resume=last.path)
    curve = [json.loads(line) for line in (tmp_path / "run" / runs.METRICS_FILE).read_text().splitlines()]
    assert [c["step"] for c in curve if c["event"] == "step"] == list(range(1, 13))
    assert [c["loss"] for c in curve if c["event"] == "step"] == whole


def test_chatting_while_paused_disturbs_nothing(dataset: Path, tmp_path: Path) -> None:
    whole = losses(train(dataset, tmp_path / "whole"))
    control, events, texts = Control(), [], 0
    for event in jobs.train(tiny.config(), dataset, tmp_path / "run", control):
        events.append(event)
        if isinstance(event, StepDone) and event.step == 3:
            control.pause()
            control.sample("the king", Sampling(max_new_tokens=5, seed=3))
        if isinstance(event, Generated):
            texts += 1
            control.resume()
    assert texts == 1
    assert [e.state for e in events if isinstance(e, StateChanged)] == ["paused", "running"]
    assert losses(events) == whole


def test_resume_refuses_another_network_or_another_text(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run", tiny.config(training__max_steps=4))
    last = runs.resolve(tmp_path / "run")
    with pytest.raises(CheckpointError, match="num_layers"):
        train(dataset, tmp_path / "run", tiny.config(model__num_layers=1), resume=last)
    other = tiny.make_dataset(tmp_path, tiny.config(data__split_seed=5))
    with pytest.raises(CheckpointError, match="dataset"):
        train(other, tmp_path / "run", resume=last)


def test_a_finished_run_can_be_extended(dataset: Path, tmp_path: Path) -> None:
    config = tiny.config(training__scheduler_type="constant")
    whole = losses(train(dataset, tmp_path / "whole", config))
    short = config.replace({"training.max_steps": 8})
    first = losses(train(dataset, tmp_path / "run", short))
    assert first + losses(train(dataset, tmp_path / "run", config, resume=runs.resolve(tmp_path / "run"))) == whole


@pytest.mark.usefixtures("saved_in_place")
def test_going_back_to_an_earlier_checkpoint_sets_the_later_ones_aside(dataset: Path, tmp_path: Path) -> None:
    whole = losses(train(dataset, tmp_path / "run"))
    earlier = tmp_path / "run" / runs.CHECKPOINTS_FOLDER / "atlas_step_8.pt"
    events = jobs.train(tiny.config(), dataset, tmp_path / "run", Control(), resume=earlier)
    first = next(event for event in events if isinstance(event, StepDone))
    events.close()  # type: ignore[attr-defined]
    assert (first.step, first.loss) == (9, whole[8])
    assert runs.resolve(tmp_path / "run") == earlier
    aside = sorted((tmp_path / "run" / runs.CHECKPOINTS_FOLDER / runs.SET_ASIDE_FOLDER).glob("atlas_step_12-*.pt"))
    assert len(aside) == 1 and checkpoint.load(aside[0])["progress"]["step"] == 12


def test_starting_fresh_never_touches_an_older_run(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match="earlier run"):
        train(dataset, tmp_path / "run")
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("change", [{"training__batch_size": 8}, {"training__seed": 5}, {"data__stride": 8}])
def test_resume_refuses_by_name_what_would_change_the_order_of_the_text(
        dataset: Path, tmp_path: Path, change: dict[str, int]) -> None:
    train(dataset, tmp_path / "run", tiny.config(training__max_steps=4))
    with pytest.raises(CheckpointError, match="cannot go on with other values"):
        train(dataset, tmp_path / "run", tiny.config(**change), resume=runs.resolve(tmp_path / "run"))


def test_resume_in_smaller_batches_of_as_many_tokens_is_allowed(dataset: Path, tmp_path: Path) -> None:
    config = tiny.config(model__dropout=0.0)
    whole = losses(train(dataset, tmp_path / "whole", config))
    first = losses(train(dataset, tmp_path / "run", config.replace({"training.max_steps": 6})))
    halved = config.replace({"training.batch_size": 2, "training.gradient_accumulation_steps": 4})
    rest = losses(train(dataset, tmp_path / "run", halved, resume=runs.resolve(tmp_path / "run")))
    assert first[:4] == whole[:4] and len(first + rest) == len(whole)


@pytest.mark.parametrize(("change", "forgotten"), [
    ({"model__dropout": 0.3}, True), ({"training__learning_rate": 2e-2}, True), ({}, False),
    ({"training__early_stopping_patience": 3, "training__max_rollbacks": 1}, False)])
def test_a_run_that_goes_on_otherwise_is_not_judged_by_its_losses_before(
    dataset: Path, tmp_path: Path, change: dict[str, float], forgotten: bool
) -> None:
    """More dropout raises the loss, as it should: that is no trouble to go back from."""
    train(dataset, tmp_path / "run", tiny.config())
    session = Trainer(trainer.settle(tiny.config(**change), Dataset.open(dataset)), Dataset.open(dataset),
                      tmp_path / "run", Control(), resume=runs.newest(tmp_path / "run").path)
    assert (session.progress.recent_losses == []) == forgotten


def test_resume_heeds_a_new_weight_decay(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run", tiny.config(training__max_steps=4))
    train(dataset, tmp_path / "run", tiny.config(training__weight_decay=0.5, training__beta2=0.9),
          resume=runs.resolve(tmp_path / "run"))
    decayed, spared = checkpoint.load(runs.resolve(tmp_path / "run"))["optimizers"][0]["param_groups"]
    assert (decayed["weight_decay"], spared["weight_decay"], decayed["betas"]) == (0.5, 0.0, (0.9, 0.9))


def test_a_second_trainer_on_the_same_run_is_refused(dataset: Path, tmp_path: Path) -> None:
    first = jobs.train(tiny.config(), dataset, tmp_path / "run", Control())
    next(event for event in first if isinstance(event, CheckpointSaved))
    assert runs.inspect(tmp_path / "run").state == "running"
    with pytest.raises(CheckpointError, match="another process"):
        train(dataset, tmp_path / "run", resume=runs.resolve(tmp_path / "run"))
    first.close()  # type: ignore[attr-defined]
    assert runs.inspect(tmp_path / "run").state == "interrupted"


# ---- checkpoints ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("saved_in_place")
def test_only_the_last_checkpoints_are_kept_and_the_best_always(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run", tiny.config(training__max_steps=20, checkpointing__save_interval=3,
                                                 checkpointing__keep_checkpoints=2))
    kept = runs.checkpoints(tmp_path / "run")
    assert [i.step for i in kept if i.kind == "step"] == [18, 20]
    assert runs.best(tmp_path / "run") is not None
    assert not list((tmp_path / "run" / runs.CHECKPOINTS_FOLDER).glob(".*"))


def test_the_best_checkpoint_has_the_lowest_validation_loss(dataset: Path, tmp_path: Path) -> None:
    events = train(dataset, tmp_path / "run", tiny.config(training__max_steps=20))
    lowest = min((e for e in events if isinstance(e, EvalDone)), key=lambda e: e.val_loss)
    best = runs.best(tmp_path / "run")
    assert best is not None and (best.step, best.val_loss) == (lowest.step, lowest.val_loss)


def test_a_save_that_fails_leaves_the_older_best_checkpoint_whole(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(dataset, tmp_path / "run")
    best = runs.best(tmp_path / "run")
    assert best is not None

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(AtlasError, match="No space left"):
        checkpoint.save(best.path, moment_of(best.path), kind="best")
    assert runs.best(tmp_path / "run") == best
    assert not list(best.path.parent.glob(".*"))


class Killed(BaseException):
    """The power is cut."""


def test_whenever_a_save_is_cut_off_a_best_checkpoint_is_whole(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    train(dataset, run)
    best = runs.best(run)
    assert best is not None
    moment = moment_of(best.path)

    def save(*, cut_at: int) -> None:
        """Save a best one; the `cut_at`-th change of a name in the folder does not happen any more."""
        done = itertools.count(1)

        def or_die(change: Callable[..., object]) -> Callable[..., object]:
            def changed(*args: object, **named: object) -> object:
                if next(done) == cut_at:
                    raise Killed
                return change(*args, **named)
            return changed

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", or_die(os.replace))
            patch.setattr(Path, "unlink", or_die(Path.unlink))
            checkpoint.save(best.path, moment, kind="best")

    cuts = 0
    while True:
        try:
            save(cut_at=cuts + 1)
            break
        except Killed:
            cuts += 1
            survivor = runs.best(run)
            assert survivor is not None and soundness.is_as_written(survivor.path)
    assert cuts >= 4
    assert runs.best(run) != best
    assert [info.kind for info in runs.checkpoints(run)].count("best") == 1


def test_stopped_before_its_first_step_a_run_has_nothing_to_save(dataset: Path, tmp_path: Path) -> None:
    control = Control()
    control.stop()
    events = train(dataset, tmp_path / "run", control=control)
    assert isinstance(events[-1], Finished) and events[-1].details["step"] == 0
    assert runs.checkpoints(tmp_path / "run") == []


def test_loading_a_model_beside_training_draws_no_random_number(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run", tiny.config(training__max_steps=4))
    before = torch.get_rng_state()
    loaded = checkpoint.load_model(runs.resolve(tmp_path / "run"))
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.model.head.weight is loaded.model.tokens.weight


def test_a_text_that_ends_an_epoch_at_every_step_does_not_fill_the_disk(tmp_path: Path) -> None:
    short = tiny.config(training__max_steps=60, training__batch_size=64, checkpointing__keep_epochs=100)
    events = train(tiny.make_dataset(tmp_path, short), tmp_path / "run", short)
    assert sum(isinstance(e, EpochDone) for e in events) > 30
    kept = [e.step for e in events if isinstance(e, CheckpointSaved) and e.kind == "epoch"]
    assert len(kept) == 2 and all(25 <= after - before < 30 for before, after in itertools.pairwise([0, *kept]))


def test_a_checkpoint_without_its_sidecar_does_not_count(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run")
    last = runs.resolve(tmp_path / "run")
    runs.sidecar(last).unlink()
    assert runs.resolve(tmp_path / "run") != last


def test_a_damaged_checkpoint_is_refused_before_it_is_used(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run")
    last = runs.resolve(tmp_path / "run")
    damage(last)
    with pytest.raises(CheckpointError, match="damaged"):
        train(dataset, tmp_path / "run", tiny.config(training__max_steps=20), resume=last)


@pytest.mark.usefixtures("saved_in_place")
def test_a_run_goes_on_from_its_newest_sound_checkpoint_and_names_the_damaged_one(
        dataset: Path, tmp_path: Path, saved_in_place: None) -> None:  # noqa: ARG001
    whole = losses(train(dataset, tmp_path / "run"))
    last = runs.resolve(tmp_path / "run")
    damage(last)
    for best in last.parent.glob("atlas_best.*"):
        best.unlink()
    events = train(dataset, tmp_path / "run", resume=tmp_path / "run")
    assert any(isinstance(e, Notice) and last.name in e.message for e in events)
    assert losses(events) == whole[8:]


def test_a_damaged_checkpoint_is_not_exported(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run")
    last = runs.resolve(tmp_path / "run")
    damage(last)
    with pytest.raises(CheckpointError, match="damaged"):
        tiny.drain(jobs.export(last, tmp_path / "x.gguf", Control()))
    assert not (tmp_path / "x.gguf").exists()


class Trap:
    """What a hostile pickle would hold."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_opening_a_strangers_file_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Trap()}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "x.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x00" * 1000, b"words and words.\n" * 99, b"{}"])
def test_what_is_no_checkpoint_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path / "x.pt")
    assert caught.value.remedy


def test_a_checkpoint_of_another_version_is_no_foreign_one(tmp_path: Path) -> None:
    torch.save({"format": 1, "model": {}}, tmp_path / "old.pt")
    with pytest.raises(CheckpointError, match="has the format 1"):
        checkpoint.load(tmp_path / "old.pt")


def test_a_foreign_checkpoint_gets_a_sentence(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="Atlas Studio"):
        checkpoint.load(tmp_path / "x.pt")


def test_inference_needs_nothing_but_the_file(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run")
    alone = tmp_path / "elsewhere.pt"
    alone.write_bytes(runs.resolve(tmp_path / "run").read_bytes())
    loaded = checkpoint.load_model(alone)
    assert loaded.step == 12 and not loaded.model.training
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("sweet sorrow")) == "sweet sorrow"
    assert loaded.config.model == dataclasses.replace(tiny.config().model, vocab_size=loaded.tokenizer.n_vocab)


def test_a_pause_that_comes_during_a_save_is_told(dataset: Path, tmp_path: Path) -> None:
    control, states = Control(), []
    for event in jobs.train(tiny.config(), dataset, tmp_path / "run", control):
        if isinstance(event, StepDone) and event.step == 2:
            control.save_now()
        if isinstance(event, CheckpointSaved) and event.step == 2:
            control.pause()
        if isinstance(event, StateChanged):
            states.append(event.state)
            control.resume()
    assert states == ["paused", "running"]


def test_a_text_stopped_before_it_began_is_answered_and_the_others_are_drawn(dataset: Path, tmp_path: Path) -> None:
    control, answers = Control(), []
    for event in jobs.train(tiny.config(), dataset, tmp_path / "run", control):
        if isinstance(event, StepDone) and event.step == 2:
            control.sample("the king", Sampling(max_new_tokens=4)).stop()
            control.sample("my lord", Sampling(max_new_tokens=4))
        if isinstance(event, Generated):
            answers.append((event.prompt, event.reason))
    assert answers[0] == ("the king", "stopped")
    assert answers[1][0] == "my lord" and answers[1][1] != "stopped"


def test_a_text_of_the_run_that_stopping_cuts_short_is_not_kept(dataset: Path, tmp_path: Path) -> None:
    control, drawn = Control(), []
    for event in jobs.train(tiny.config(sampling__interval=4), dataset, tmp_path / "run", control):
        if isinstance(event, SampleDrawn):
            drawn.append(event.step)
        if isinstance(event, StepDone) and event.step == 4:
            control.stop()
    assert set(drawn) == {0}
    kept = [json.loads(line) for line in (tmp_path / "run" / runs.SAMPLES_FILE).read_text().splitlines()]
    assert {sample["step"] for sample in kept} == {0}


def test_memory_that_runs_out_is_told_in_a_sentence_with_a_remedy(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(DeviceError) as caught:
        for event in jobs.train(tiny.config(), dataset, tmp_path / "run", Control()):
            if isinstance(event, StepDone) and event.step == 1:
                monkeypatch.setattr(AtlasLM, "loss", exhausted)
    assert "batch_size" in caught.value.remedy


# ---- early stopping -------------------------------------------------------------------------------------


def impatient(**changes: object) -> Config:
    """Validates after every step; no gain is large enough, but that of the first validation over none."""
    wished = {"training__max_steps": 20, "training__early_stopping_patience": 4,
              "training__early_stopping_min_gain": 9.0, "evaluation__eval_interval": 1, **changes}
    return tiny.config(**wished)


def test_a_run_without_gains_ends_early_with_a_sentence_and_all_that_a_run_leaves(
        dataset: Path, tmp_path: Path) -> None:
    events = train(dataset, tmp_path / "run", impatient())
    ended = events[-1]
    assert isinstance(ended, Finished) and (ended.reason, ended.complete) == ("early", True)
    assert ended.details["step"] == 5 and "4 validations in a row" in ended.message and runs.BEST in ended.message
    assert runs.best(tmp_path / "run") is not None
    assert runs.inspect(tmp_path / "run").state == "done"  # nobody is asked to resume it
    assert ended.message in (tmp_path / "run" / runs.LOG_FILE).read_text()


def test_patience_is_off_by_default_and_gains_renew_it(dataset: Path, tmp_path: Path) -> None:
    off = train(dataset, tmp_path / "a", impatient(training__early_stopping_patience=0))
    learning = train(dataset, tmp_path / "b", impatient(training__early_stopping_min_gain=0.0))
    assert [events[-1].reason for events in (off, learning) if isinstance(events[-1], Finished)] == ["done", "done"]


def test_small_improvements_are_each_the_best_and_yet_no_gain() -> None:
    progress = checkpoint.Progress()
    bests = [progress.validated(loss, min_gain=0.1) for loss in (2.0, 1.95, 1.92, 1.85, 1.86, math.nan)]
    assert bests == [True, True, True, True, False, False]
    assert (progress.gained_val_loss, progress.best_val_loss, progress.stale_validations) == (1.85, 1.85, 2)


@pytest.mark.parametrize("stop_at", [2, 4])
def test_patience_survives_a_resume(dataset: Path, tmp_path: Path, stop_at: int) -> None:
    control, first = Control(), []
    for event in jobs.train(impatient(), dataset, tmp_path / "run", control):
        first.append(event)
        if isinstance(event, EvalDone) and event.step == stop_at:
            control.stop()
    assert isinstance(first[-1], Finished) and first[-1].reason == "stopped"
    assert runs.inspect(tmp_path / "run").state == "interrupted"
    rest = train(dataset, tmp_path / "run", impatient(), resume=tmp_path / "run")
    assert isinstance(rest[-1], Finished) and (rest[-1].reason, rest[-1].details["step"]) == ("early", 5)


def test_a_run_that_ended_early_goes_on_with_more_patience_and_only_then(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run", impatient())
    again = train(dataset, tmp_path / "run", impatient(), resume=tmp_path / "run")
    assert losses(again) == [] and isinstance(again[-1], Finished) and again[-1].reason == "early"
    more = impatient(training__early_stopping_patience=6)
    events = train(dataset, tmp_path / "run", more, resume=tmp_path / "run")
    assert len(losses(events)) == 2 and isinstance(events[-1], Finished) and events[-1].details["step"] == 7


def test_patience_without_text_to_validate_on_is_refused_with_a_remedy(tmp_path: Path) -> None:
    everything = impatient(data__val_fraction=0.0)
    with pytest.raises(DataError, match="early_stopping_patience") as caught:
        train(tiny.make_dataset(tmp_path, everything), tmp_path / "run", everything)
    assert "val_fraction" in caught.value.remedy and not (tmp_path / "run").exists()


def test_a_checkpoint_written_before_there_was_patience_still_counts(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run")
    sidecar = runs.sidecar(runs.resolve(tmp_path / "run"))
    about = json.loads(sidecar.read_text())
    del about["stale_validations"]
    sidecar.write_text(json.dumps(about))
    newest = runs.newest(tmp_path / "run")
    assert newest is not None and newest.step == 12 and newest.stale_validations == 0


# ---- failures -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AtlasLM, "loss", AtlasLM.loss)  # whatever a test did to it is undone


def test_any_other_error_saves_an_emergency_checkpoint_and_is_told_unchanged(dataset: Path, tmp_path: Path) -> None:
    def break_down(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("the card fell off the bus")

    with pytest.raises(RuntimeError, match="fell off"):
        for event in jobs.train(tiny.config(), dataset, tmp_path / "run", Control()):
            if isinstance(event, StepDone) and event.step == 3:
                AtlasLM.loss = break_down  # type: ignore[method-assign]
    newest = runs.newest(tmp_path / "run")
    assert newest is not None and (newest.kind, newest.step) == ("emergency", 3)
    assert "FAILED: RuntimeError: the card fell off the bus" in (tmp_path / "run" / runs.LOG_FILE).read_text()


def test_an_error_of_a_broken_device_is_not_hidden_by_those_that_follow(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(reason: str) -> Callable[..., Any]:
        def broken(*_: object, **__: object) -> None:
            raise RuntimeError(reason)
        return broken

    with pytest.raises(RuntimeError, match="device-side assert"):
        for event in jobs.train(tiny.config(), dataset, tmp_path / "run", Control()):
            if isinstance(event, StepDone) and event.step == 3:
                monkeypatch.setattr(AtlasLM, "loss", fail("device-side assert"))
                monkeypatch.setattr(Weights, "are_numbers", fail("an earlier error"))
    assert "FAILED: RuntimeError: device-side assert" in (tmp_path / "run" / runs.LOG_FILE).read_text()


def test_an_overflow_of_one_optimizers_gradients_holds_both_back(dataset: Path) -> None:
    """fp16's scaler alone would let the other one step."""
    session = Trainer(tiny.config(training__optimizer_type="muon"), Dataset.open(dataset), Path("no-run"), Control())
    session.scaler = torch.amp.GradScaler("cpu", enabled=True)
    session.step()
    before = {name: weight.clone() for name, weight in session.weights.state().items()}
    scale, gradients = session.scaler.get_scale(), session._gradients

    def overflow(rests: Rests) -> Generator[Event, None, float]:
        loss = yield from gradients(rests)
        session.weights.gradients[session.weights.names.index("blocks.0.mlp.up.weight")][0, 0] = math.inf
        return loss

    session._gradients = overflow  # type: ignore[method-assign]
    session.step()
    assert all(torch.equal(weight, before[name]) for name, weight in session.weights.state().items())
    assert session.scaler.get_scale() < scale


def test_a_token_that_no_vocabulary_holds_is_named(tmp_path: Path) -> None:
    dataset = tiny.make_dataset(tmp_path)
    tokens = np.memmap(dataset / "train.bin", dtype="<u2", mode="r+")
    tokens[:] = 50_000
    tokens.flush()
    with pytest.raises(DataError, match=r"holds the token 50000, and its vocabulary ends at \d+\."):
        train(dataset, tmp_path / "run")


def test_a_context_longer_than_the_text_is_refused_with_a_remedy(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        train(dataset, tmp_path / "run", tiny.config(model__max_seq_len=100_000))
    assert "max_seq_len" in caught.value.remedy
    assert not (tmp_path / "run").exists()


def test_an_unwritable_place_is_one_sentence(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AtlasError, match="Cannot write"):
        train(dataset, tmp_path / "file" / "run")


def test_a_run_without_validation_trains_and_samples_all_the_same(tmp_path: Path) -> None:
    everything = tiny.config(data__val_fraction=0.0)
    events = train(tiny.make_dataset(tmp_path, everything), tmp_path / "run", everything)
    assert isinstance(events[-1], Finished) and not any(isinstance(e, EvalDone) for e in events)
    assert runs.best(tmp_path / "run") is None and runs.inspect(tmp_path / "run").state == "done"


# ---- records --------------------------------------------------------------------------------------------


def test_the_log_tells_sessions_resumes_validations_and_the_end(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LOG_SECONDS", 0.0)  # every step has its line, also where all take no ten seconds
    train(dataset, tmp_path / "run", tiny.config(training__max_steps=6))
    train(dataset, tmp_path / "run", tiny.config(training__max_steps=60), resume=runs.resolve(tmp_path / "run"))
    log = (tmp_path / "run" / runs.LOG_FILE).read_text()
    for word in ("SESSION", "RESUMED from step 6", "system:", "device:", "model:", "dataset:", "VALIDATION",
                 "best so far", "EPOCH", "FINISHED (done) at step 60/60", "ETA", "memory"):
        assert word in log, word
    assert log.count("SESSION") == 2


def test_the_curve_holds_steps_and_validations_and_nothing_else(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run")
    kinds = [json.loads(line)["event"] for line in (tmp_path / "run" / runs.METRICS_FILE).read_text().splitlines()]
    assert kinds.count("step") == 12 and kinds.count("eval") == 3 and len(kinds) == 15


def test_tensorboard_files_open_in_tensorboard(dataset: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = train(dataset, tmp_path / "run", tiny.config(logging__tensorboard=True))
    reader = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    reader.Reload()
    assert [s.value for s in reader.Scalars("train/loss")] == pytest.approx(losses(events))
    assert [s.step for s in reader.Scalars("val/loss")] == [5, 10, 12]


# ---- the pure parts -------------------------------------------------------------------------------------


def test_the_learning_rate_rises_to_its_peak_and_falls_to_a_tenth() -> None:
    for kind in ("cosine", "linear"):
        t = Training(max_steps=100, warmup_steps=10, learning_rate=1.0, scheduler_type=kind)
        rates = [learning_rate(step, t) for step in range(101)]
        assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == rates[10] == 1.0
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert rates[100] == pytest.approx(0.1) and rates[55] == pytest.approx(0.55)


def test_wsd_stays_at_its_peak_and_falls_in_its_last_share() -> None:
    t = Training(max_steps=110, warmup_steps=10, learning_rate=1.0, scheduler_type="wsd", decay_fraction=0.4)
    rates = [learning_rate(step, t) for step in range(111)]
    assert rates[:10] == sorted(rates[:10]) and set(rates[9:71]) == {1.0}
    assert rates[80] == pytest.approx(0.1 + 0.9 * 0.5)  # a quarter of the decay: 1 - sqrt(1/4)
    assert rates[70:] == sorted(set(rates[70:]), reverse=True) and rates[110] == pytest.approx(0.1)


def test_before_its_decay_wsd_does_not_know_how_long_the_run_will_be() -> None:
    """So a run of wsd can be made longer from any checkpoint before the decay, and loses nothing by it."""
    short, long = (Training(max_steps=steps, warmup_steps=10, scheduler_type="wsd") for steps in (1000, 9000))
    assert all(learning_rate(step, short) == learning_rate(step, long) for step in range(800))
    assert learning_rate(900, short) < learning_rate(900, long)


def test_a_constant_rate_stays_and_no_warm_up_starts_at_the_peak() -> None:
    t = Training(max_steps=10, warmup_steps=0, learning_rate=0.5, scheduler_type="constant")
    assert {learning_rate(step, t) for step in range(20)} == {0.5}


def test_only_matrices_decay() -> None:
    model = AtlasLM(tiny.config().model)
    (adamw,) = build_optimizers(dict(model.named_parameters()), Training())
    decayed, spared = adamw.param_groups
    assert decayed["weight_decay"] == 0.01 and spared["weight_decay"] == 0.0
    assert all(p.dim() >= 2 for p in decayed["params"]) and all(p.dim() < 2 for p in spared["params"])
    assert sum(p.numel() for g in (decayed, spared) for p in g["params"]) == model.count_parameters()


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
@pytest.mark.parametrize("work", [
    lambda config, dataset, run, control: tiny.drain(jobs.train(config, dataset, run, control)),
    lambda config, dataset, _, control: tiny.drain(jobs.find_learning_rate(config, dataset, control)),
    lambda config, dataset, _, __: tiny.drain(jobs.estimate(config, dataset=dataset, measure=True)),
], ids=["train", "lr-find", "estimate"])
def test_a_network_that_cannot_be_compiled_is_told_in_a_sentence(
    work: Callable[..., object], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: object) -> None:
        raise FileNotFoundError("g++")

    monkeypatch.setattr(AtlasLM, "compile_training",
                        functools.partialmethod(AtlasLM.compile_training, backend=no_compiler))
    with pytest.raises(DeviceError, match="cannot compile") as caught:
        work(tiny.config(hardware__compile=True, sampling__interval=0), dataset, tmp_path / "run", Control())
    assert "hardware.compile" in caught.value.remedy


def test_muon_moves_the_matrices_of_the_blocks_and_nothing_else() -> None:
    named = dict(AtlasLM(tiny.config().model).named_parameters())
    adamw, muon = build_optimizers(named, Training(optimizer_type="muon"))
    moved = {id(p) for group in muon.param_groups for p in group["params"]}
    assert moved == {id(p) for name, p in named.items() if "blocks." in name and p.dim() == 2}
    others = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert moved | others == {id(p) for p in named.values()} and not moved & others


@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32)])
def test_muon_goes_nearly_where_torchs_goes(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch has other polynomials, rounds to bf16 and begins with smaller values; beside that it is the very same."""
    chance = torch.Generator().manual_seed(3)
    started, gradients = torch.randn(shape, generator=chance), torch.randn(5, *shape, generator=chance)

    def moved(kind: Callable[..., Optimizer]) -> tuple[Tensor, Tensor]:
        parameter = nn.Parameter(started.clone())
        optimizer = kind([parameter], lr=0.1, weight_decay=0.2)
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        return parameter.detach(), optimizer.state[parameter]["momentum_buffer"]

    torchs = functools.partial(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
    (ours, our_state), (theirs, their_state) = moved(Muon), moved(torchs)
    assert (ours - theirs).norm() < 0.15 * (theirs - started).norm()
    assert torch.equal(our_state, their_state)
    monkeypatch.setattr(muon, "orthogonal_",
                        lambda x, _: _zeropower_via_newtonschulz(x, (3.4445, -4.7750, 2.0315), 5, 1e-7))
    assert torch.allclose(moved(Muon)[0], moved(torchs)[0], atol=1e-6)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e6])
@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32), (1, 8)])
def test_muon_brings_every_singular_value_near_to_1_and_turns_nothing(shape: tuple[int, int], size: float) -> None:
    chance = torch.Generator().manual_seed(3)
    u, _, vt = torch.linalg.svd(torch.randn(shape, generator=chance, dtype=torch.float64), full_matrices=False)
    values = torch.logspace(0, -1.1, min(shape), dtype=torch.float64)  # with the eighth root, all are above 0.05
    brought = u.T @ muon.orthogonal_((size * u * values @ vt).float()).double() @ vt.T
    assert ((brought.diagonal() > 0.75) & (brought.diagonal() < 1.25)).all()
    assert torch.allclose(brought, torch.diag(brought.diagonal()), atol=1e-3)
    expected = values / values.pow(8).sum() ** (1 / 8)
    for a, b, c in muon.POLYNOMIALS:
        expected = a * expected + b * expected**3 + c * expected**5
    assert torch.allclose(brought.diagonal(), expected, atol=1e-3)


def test_muon_leaves_a_matrix_without_a_direction_where_it_is() -> None:
    assert torch.equal(muon.orthogonal_(torch.zeros(4, 6)), torch.zeros(4, 6))


def test_muon_bears_products_of_bf16() -> None:
    """8 bits of each factor, and results that are rounded to as many; a card's TF32 keeps 11 and all."""
    chance = torch.Generator().manual_seed(3)
    u, _, vt = torch.linalg.svd(torch.randn(64, 48, generator=chance, dtype=torch.float64), full_matrices=False)
    matrix = (u * torch.arange(1, 49) ** -1.0 @ vt).float()
    exact, coarse = muon.orthogonal_(matrix.clone()), muon.orthogonal_(matrix.clone(), torch.bfloat16).float()
    assert (coarse - exact).norm() < 0.1 * exact.norm()
    assert torch.linalg.matrix_norm(coarse, 2) < 1.5


@pytest.mark.parametrize(("precision", "products"), [("bf16", torch.bfloat16), ("fp32", torch.float32),
                                                     ("fp16", torch.float32)])
def test_muon_multiplies_in_bf16_where_the_network_does(precision: str, products: torch.dtype,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    named = dict(AtlasLM(tiny.config().model).named_parameters())
    _, ours = build_optimizers(named, Training(optimizer_type="muon"), precision)
    used: list[torch.dtype] = []
    monkeypatch.setattr(muon, "orthogonal_", lambda x, products: used.append(products) or x)
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    ours.step()
    assert set(used) == {products}


@pytest.mark.parametrize("kv_heads", [0, 1])
def test_muon_turns_queries_keys_and_values_each_for_itself(kv_heads: int) -> None:
    """As one matrix they would share their directions: NANO came to 2.156 bits a byte instead of 2.131."""
    model = AtlasLM(tiny.config(model__family="llama", model__num_kv_heads=kv_heads).model)
    joined = model.blocks[0].attention.qkv.weight
    heads, size = model.config.kv_heads, model.config.head_size
    rows = (model.config.hidden_size, heads * size, heads * size)
    apart = [nn.Parameter(part.clone()) for part in joined.detach().split(rows)]
    _, ours = build_optimizers(dict(model.named_parameters()), Training(optimizer_type="muon", weight_decay=0.2))
    plain = Muon(apart, lr=Training().learning_rate, weight_decay=0.2, momentum=0.9)
    for _ in range(2):
        joined.grad = torch.randn_like(joined)
        for part, gradient in zip(apart, joined.grad.split(rows), strict=True):
            part.grad = gradient.clone()
        ours.step()
        plain.step()
    assert torch.allclose(joined, torch.cat(apart), atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_saving_and_writing_load_no_compiler(
    optimizer: str, precision: str, dataset: Path, tmp_path: Path
) -> None:
    """It would take the first step two seconds and the process 84 MB."""
    program = f"""
import sys
from pathlib import Path
from atlas_core import jobs
from atlas_core.control import Control
from tests import tiny

config = tiny.config(training__optimizer_type={optimizer!r}, training__precision={precision!r})
run = Path(sys.argv[2])
*_, trained = jobs.train(config, Path(sys.argv[1]), run, Control())
print(trained.reason, "torch._dynamo" in sys.modules)
*_, written = jobs.generate(run, ["the"], config.sampling, Control())
print(written.reason, "torch._dynamo" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program, dataset, tmp_path / "run"], capture_output=True, text=True,
                         check=True)
    assert ran.stdout.split() == ["done", "False"] * 2


def test_a_sessions_memory_is_free_when_it_has_ended(dataset: Path, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: Python's collector of cycles may not come by for hours."""
    models: list[weakref.ref[AtlasLM]] = []

    class Watched(AtlasLM):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            models.append(weakref.ref(self))

    monkeypatch.setattr(trainer, "AtlasLM", Watched)
    gc.disable()
    try:
        train(dataset, tmp_path / "run")
        train(dataset, tmp_path / "run", tiny.config(training__max_steps=15), resume=runs.resolve(tmp_path / "run"))
    finally:
        gc.enable()
    assert [model() for model in models] == [None, None]


def test_muon_goes_on_from_a_state_of_torchs() -> None:
    """Runs on cards were saved with that, and without parts."""
    model = AtlasLM(tiny.config().model)
    named = dict(model.named_parameters())
    _, ours = build_optimizers(named, Training(optimizer_type="muon"))
    matrices = [p for group in ours.param_groups for p in group["params"]]
    theirs = torch.optim.Muon(matrices, lr=0.1, weight_decay=0.2)
    for parameter in matrices:
        parameter.grad = torch.ones_like(parameter)
    theirs.step()
    load_optimizers([ours], [theirs.state_dict()])
    ours.step()
    assert len(ours.param_groups[0]["parts"]) == len(matrices)
    assert torch.allclose(ours.state[matrices[0]]["momentum_buffer"], torch.tensor(1 - 0.95 * 0.9))


def test_where_steps_are_counted_is_for_the_device_of_here_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW's fused kernel on a card reads the counts there; a run begun on a Mac, without it, has them elsewhere."""
    parameters = {"blocks.0.norm.weight": torch.nn.Parameter(torch.ones(4))}
    (ours,) = build_optimizers(parameters, Training())
    state = torch.optim.AdamW(list(parameters.values()), fused=False).state_dict()
    state["param_groups"] = [dict(group) for group in ours.state_dict()["param_groups"]]
    for group in state["param_groups"]:
        group["fused"] = False
    loaded: list[dict[str, Any]] = []
    monkeypatch.setattr(type(ours), "load_state_dict", lambda _self, state: loaded.append(state))
    load_optimizers([ours], [state])
    assert [group["fused"] for group in loaded[0]["param_groups"]] == [True, True]
    assert not any(group["fused"] for group in state["param_groups"])


def test_muon_remembers_the_gradient_as_long_as_is_set() -> None:
    named = dict(AtlasLM(tiny.config().model).named_parameters())
    _, muon = build_optimizers(named, Training(optimizer_type="muon", beta1=0.8))
    assert [group["momentum"] for group in muon.param_groups] == [0.8]


def test_beside_muon_adamw_has_a_head_start_and_alone_it_has_none(dataset: Path) -> None:
    t = Training(head_start_steps=20)
    assert [head_start(step, t) for step in (0, 10, 20, 1000)] == [4.0, 2.5, 1.0, 1.0]
    assert head_start(0, Training()) == 1.0
    for optimizer, times in (("muon", (2.5, 1.0)), ("adamw", (1.0,))):
        session = Trainer(tiny.config(training__optimizer_type=optimizer, training__head_start_steps=2),
                          Dataset.open(dataset), Path("no-run"), Control())
        session.step()
        done = session.step()
        rates = [{group["lr"] for group in each.param_groups} for each in session.optimizers]
        assert rates == [{done.learning_rate * factor} for factor in times]


def test_muon_gathers_over_its_interval_and_moves_as_far() -> None:
    """Gradients that stay alike lead a matrix in a step of two as far as in two of one, at whatever rates."""
    chance = torch.Generator().manual_seed(3)
    started, gradient = torch.randn(2, 8, 6, generator=chance)
    matrices = {interval: [nn.Parameter(started.clone()) for _ in range(3)] for interval in (1, 2)}
    optimizers = {interval: Muon(each, lr=0.01, weight_decay=0.2, momentum=0.5, interval=interval)
                  for interval, each in matrices.items()}
    moved, of_each_step = [], []
    for rate in (0.01, 0.03, 0.02, 0.01):
        before = [matrix.detach().clone() for matrix in matrices[2]]
        for interval, each in matrices.items():
            for matrix in each:
                matrix.grad = gradient.clone()
            set_learning_rate([optimizers[interval]], rate)
            optimizers[interval].step()
        moved.append([not torch.equal(matrix, was) for matrix, was in zip(matrices[2], before, strict=True)])
        of_each_step.append(matrices[1][0].detach().clone())
    assert moved == [[False, True, False], [True, False, True]] * 2  # by turns
    for matrix, steps in zip(matrices[2], (4, 3, 4), strict=True):
        far = of_each_step[steps - 1]
        assert (far - matrix.detach()).norm() < 0.01 * (far - started).norm()
    buffers = [optimizers[interval].state[matrices[interval][0]]["momentum_buffer"] for interval in (1, 2)]
    assert torch.equal(*buffers)


@pytest.mark.parametrize("interval", [1, 4])  # which the stop after 9 steps does not divide
def test_muon_learns_and_resumes_exactly(dataset: Path, tmp_path: Path, interval: int) -> None:
    config = tiny.config(training__optimizer_type="muon", training__max_steps=30, training__muon_interval=interval,
                         training__head_start_steps=20)
    whole = losses(train(dataset, tmp_path / "whole", config))
    assert whole[-1] < whole[0] - 0.5
    control, events = Control(), []
    for event in jobs.train(config, dataset, tmp_path / "run", control):
        events.append(event)
        if isinstance(event, StepDone) and event.step == 9:
            control.stop()
    rest = train(dataset, tmp_path / "run", config, resume=runs.resolve(tmp_path / "run"))
    assert losses(events) + losses(rest) == whole


def test_evaluation_counts_every_token_once_and_leaves_the_model_training(dataset: Path) -> None:
    from atlas_core.text.dataset import Dataset, Windows
    from atlas_core.training.validation import autocast, evaluate

    data = Dataset.open(dataset)
    model = AtlasLM(dataclasses.replace(tiny.config().model, vocab_size=data.tokenizer.n_vocab)).train()
    windows = Windows(data.tokens("val"), context=16)
    before = torch.get_rng_state()
    *progress, result = evaluate(model, data, windows, autocast(model.device, "fp32"), batch_size=4, batches=10**6)
    assert isinstance(result, EvalDone)
    assert progress[-1].done == progress[-1].total == windows.count
    assert model.training and torch.equal(torch.get_rng_state(), before)
    model.eval()
    with torch.no_grad():
        losses = [(float(model.loss(torch.from_numpy(x), torch.from_numpy(y))), y.size)
                  for x, y in windows.sequential(10**6)]
    assert result.tokens == sum(tokens for _, tokens in losses) == len(data.tokens("val")) - 1
    assert result.val_loss == pytest.approx(sum(loss * n for loss, n in losses) / result.tokens, rel=1e-5)
    bits = result.val_loss / math.log(2) / data.bytes_per_token("val")
    assert result.val_bits_per_byte == pytest.approx(bits)


def test_a_run_whose_folder_vanishes_while_it_trains_is_saved_as_one_that_can_go_on(
        dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = jobs.train(tiny.config(), dataset, run, Control())
    next(event for event in job if isinstance(event, CheckpointSaved))
    run.rename(tmp_path / "moved")
    tiny.drain(job)
    assert runs.inspect(run).state == "done"
    rest = train(dataset, run, tiny.config(training__max_steps=15), resume=runs.resolve(run))
    assert len(losses(rest)) == 3
