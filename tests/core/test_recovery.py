"""The seat-belt: what it calls trouble, and real runs that come apart, go back and go on, bit for bit."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import torch

from atlas_core import jobs, runs
from atlas_core.config import Config, Training
from atlas_core.control import Control
from atlas_core.errors import AtlasError, NumericsError
from atlas_core.events import (
    CheckpointSaved,
    EpochDone,
    EvalDone,
    Event,
    Finished,
    Notice,
    RolledBack,
    SampleDrawn,
    StepDone,
    StepSkipped,
)
from atlas_core.history import History
from atlas_core.model.gpt import AtlasLM
from atlas_core.text.dataset import Windows
from atlas_core.training import checkpoint, recovery
from atlas_core.training.checkpoint import Progress
from tests import tiny

Spoil = Callable[..., None]

WINDOWS_A_STEP = 8  # of the tiny configuration


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch, saved_in_place: None) -> Spoil:  # noqa: ARG001 - which checkpoints there are must not depend on the disk
    """`spoil(bad, factor)`: the losses of the text of steps `bad` (from 0) are multiplied, whenever it is read."""
    true_batch, true_loss, text = Windows.batch, AtlasLM.loss, [0]

    def spoil(bad: Collection[int], factor: float = math.nan) -> None:
        def batch(self: Windows, first: int, count: int) -> object:
            text[0] = first // WINDOWS_A_STEP
            return true_batch(self, first, count)

        def loss(self: AtlasLM, tokens: torch.Tensor, targets: torch.Tensor, *, share: float = 1.0) -> torch.Tensor:
            found = true_loss(self, tokens, targets, share=share)
            return found * factor if self.training and text[0] in bad else found

        monkeypatch.setattr(Windows, "batch", batch)
        monkeypatch.setattr(AtlasLM, "loss", loss)

    return spoil


def belted(**changes: object) -> Config:
    wished = {"training__max_steps": 40, "training__scheduler_type": "constant", "sampling__interval": 0,
              "evaluation__eval_interval": 10, **changes}
    return tiny.config(**wished)


def train(dataset: Path, run: Path, config: Config, *, resume: Path | None = None) -> list[Event]:
    return tiny.drain(jobs.train(config, dataset, run, Control(), resume=resume))


def curve(run: Path) -> list[tuple[str, int, float | None]]:
    """Every line of the curve: its kind, where it stands, and the loss of a step."""
    lines = [json.loads(line) for line in (run / runs.METRICS_FILE).read_text().splitlines()]
    return [(line["event"], line.get("to_step", line["step"]), line.get("loss")) for line in lines]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(runs.resolve(run))["model"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def rolled_back(events: list[Event]) -> list[RolledBack]:
    return [event for event in events if isinstance(event, RolledBack)]


# ---- a step that is no number -----------------------------------------------------------------------------


def test_a_loss_that_is_no_number_moves_nothing_and_is_passed_over(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil({8})
    states = []
    for event in jobs.train(belted(checkpointing__save_interval=1, training__max_steps=12), dataset, tmp_path / "run",
                            Control()):
        if isinstance(event, StepSkipped):
            assert event.step == 9 and "its loss is no number" in event.reason
        if isinstance(event, CheckpointSaved) and event.kind == "step":
            states.append(checkpoint.load(event.path))
    before, after = (next(s for s in states if s["progress"]["step"] == step) for step in (8, 10))
    assert not any(s["progress"]["step"] == 9 for s in states)  # it pushes no good checkpoint off the disk
    assert not same(before["model"], after["model"])
    steps = [step for kind, step, _ in curve(tmp_path / "run") if kind in ("step", "skipped")]
    assert steps == list(range(1, 13))
    assert ("skipped", 9, None) in curve(tmp_path / "run")
    assert "SKIPPED: Step 9 was skipped" in (tmp_path / "run" / runs.LOG_FILE).read_text()


def test_a_skipped_step_leaves_weights_and_moments_as_they_were(dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil({4}, math.inf)
    control, told = Control(), []
    for event in jobs.train(belted(checkpointing__save_interval=5), dataset, tmp_path / "run", control):
        if isinstance(event, StepSkipped):
            told.append(event)
            control.stop()
    before, after = (checkpoint.load(tmp_path / "run" / runs.CHECKPOINTS_FOLDER / f"atlas_step_{step}.pt")
                     for step in (4, 5))
    assert [event.step for event in told] == [5]
    assert same(before["model"], after["model"])
    moments = [state["optimizers"][0]["state"] for state in (before, after)]
    assert all(torch.equal(moments[0][i][key], moments[1][i][key]) for i in moments[0] for key in moments[0][i])


def test_an_epoch_of_nothing_but_skipped_steps_has_no_mean_loss(tmp_path: Path, spoil: Spoil) -> None:
    short = belted(training__max_steps=2, training__batch_size=64, training__max_rollbacks=0)
    spoil(range(100))
    ends = [e for e in train(tiny.make_dataset(tmp_path, short), tmp_path / "run", short) if isinstance(e, EpochDone)]
    assert ends and all(math.isnan(end.mean_loss) for end in ends)


# ---- going back -------------------------------------------------------------------------------------------


def test_lost_numbers_in_a_row_lead_back_past_the_text_that_led_there_at_a_lower_rate(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil({21, 22, 23})
    events = train(dataset, tmp_path / "run", belted())
    (back,) = rolled_back(events)
    assert (back.step, back.to_step, back.learning_rate_factor) == (24, 20, 0.5)
    assert "3 steps in a row gave no number" in back.reason and "goes on from step 20" in back.reason
    assert isinstance(events[-1], Finished) and events[-1].reason == "done"
    rates = {e.step: e.learning_rate for e in events if isinstance(e, StepDone)}
    assert rates[20] == 3e-3 and {rates[step] for step in range(21, 41)} == {1.5e-3}
    progress = checkpoint.load(runs.resolve(tmp_path / "run"))["progress"]
    assert progress["skipped_steps"] == 4
    history = History.read(tmp_path / "run" / runs.METRICS_FILE)
    assert history.steps == list(range(1, 41)) and history.rolled_back_steps == [20] and history.skipped_steps == []
    assert "ROLLED BACK: Training came apart at step 24" in (tmp_path / "run" / runs.LOG_FILE).read_text()


def test_a_spike_that_stays_leads_back_and_one_that_passes_does_not(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    config = belted(training__max_steps=80, training__spike_patience=6, evaluation__eval_interval=0)
    spoil({60, 61, 70}, 5.0)
    assert rolled_back(train(dataset, tmp_path / "a", config)) == []
    spoil(range(60, 66), 5.0)
    (back,) = rolled_back(train(dataset, tmp_path / "b", config))
    assert (back.step, back.to_step) == (64, 52) and "the loss rose and stays above" in back.reason


def test_without_a_checkpoint_it_begins_anew_past_the_text_with_the_same_first_weights(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    config = belted(training__max_steps=9, checkpointing__save_interval=1000, sampling__interval=0)
    spoil({5, 6, 7})
    events = train(dataset, tmp_path / "run", config)
    (back,) = rolled_back(events)
    assert (back.step, back.to_step) == (8, 0)
    losses = [e.loss for e in events if isinstance(e, StepDone)]
    assert losses[5] == pytest.approx(math.log(300), abs=0.5)  # the first after going back: a guess again
    assert len(losses) == 5 + 9


def test_an_error_on_the_way_back_saves_nothing_that_never_was(
        dataset: Path, tmp_path: Path, spoil: Spoil, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    spoil({21, 22, 23})
    with pytest.raises(OSError, match="Input/output"):
        for event in jobs.train(belted(), dataset, tmp_path / "run", Control()):
            if isinstance(event, StepDone) and event.step == 20:
                monkeypatch.setattr(checkpoint, "load", fails)
    newest = runs.newest(tmp_path / "run")
    assert newest is not None and (newest.kind, newest.step) == ("step", 20)


def test_checkpoints_that_cannot_be_set_aside_are_told_in_a_sentence(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(dataset, tmp_path / "run", belted(training__max_steps=10))

    def held(*_: object) -> None:
        raise PermissionError(13, "held by another program")

    monkeypatch.setattr(checkpoint, "replace", held)
    with pytest.raises(AtlasError, match="held by another program"):
        checkpoint.set_aside_after(tmp_path / "run", 0)
    assert runs.newest(tmp_path / "run") is not None


def test_a_doubtful_checkpoint_is_better_than_none(dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil({20, 21, 22})
    config = belted(evaluation__eval_interval=0, checkpointing__save_interval=22)
    (back,) = rolled_back(train(dataset, tmp_path / "run", config))
    assert (back.step, back.to_step) == (23, 20)  # its own last step may have led there, yet there is no other


def test_saving_on_wish_in_doubt_pushes_no_checkpoint_off_the_disk(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil({20})
    control = Control()
    for event in jobs.train(belted(checkpointing__keep_checkpoints=1), dataset, tmp_path / "run", control):
        if isinstance(event, StepSkipped):
            control.stop()
    assert [info.step for info in runs.checkpoints(tmp_path / "run") if info.kind == "step"] == [20, 21]


def test_a_run_begun_from_anothers_checkpoint_goes_back_to_that_and_not_to_nothing(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    train(dataset, tmp_path / "old", belted())
    spoil({41, 42, 43})
    rest = belted(training__max_steps=50, checkpointing__save_interval=1000)
    (back,) = rolled_back(train(dataset, tmp_path / "new", rest, resume=runs.resolve(tmp_path / "old")))
    assert (back.step, back.to_step) == (44, 40)


@pytest.mark.parametrize(("bad", "factor"), [((21, 22, 23), math.nan), (tuple(range(62, 68)), 5.0)])
def test_a_run_that_went_back_and_was_killed_takes_the_same_steps(
        dataset: Path, tmp_path: Path, spoil: Spoil, bad: tuple[int, ...], factor: float) -> None:
    config = belted(training__max_steps=90, training__spike_patience=6)
    spoil({9, *bad}, factor)
    whole = train(dataset, tmp_path / "whole", config)
    assert len(rolled_back(whole)) == 1

    def killed(run: Path, when: Callable[[Event, list[Event]], bool]) -> None:
        job, seen = jobs.train(config, dataset, run, Control()), []
        for event in job:
            seen.append(event)
            if when(event, seen):
                break
        job.close()  # type: ignore[attr-defined]
        assert runs.newest(run) is not None

    moments: list[Callable[[Event, list[Event]], bool]] = [
        lambda event, _: isinstance(event, StepDone) and event.step == bad[0],  # in the midst of the trouble
        lambda event, _: isinstance(event, RolledBack),  # decided, and not saved yet
        lambda event, seen: isinstance(event, StepDone) and len(rolled_back(seen)) == 1,
        lambda event, seen: isinstance(event, StepDone) and event.step == bad[-1] + 1 and len(rolled_back(seen)) == 1,
    ]
    for number, moment in enumerate(moments):
        run = tmp_path / f"killed {number}"
        killed(run, moment)
        train(dataset, run, config, resume=run)
        steps, expected = ([line for line in curve(of) if line[0] != "rolled_back"]
                           for of in (run, tmp_path / "whole"))
        assert steps == expected
        assert same(weights_of(run), weights_of(tmp_path / "whole"))


def test_damaged_checkpoints_are_passed_over_by_name_on_the_way_back(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil({21, 22, 23})
    events = []
    for event in jobs.train(belted(evaluation__eval_interval=0), dataset, tmp_path / "run", Control()):
        events.append(event)
        if isinstance(event, CheckpointSaved) and event.step == 20:
            content = bytearray(event.path.read_bytes())
            content[len(content) // 2] ^= 1
            event.path.write_bytes(content)
    assert [back.to_step for back in rolled_back(events)] == [16]
    assert any("atlas_step_20.pt is damaged" in e.message for e in events if isinstance(e, Notice))


def test_what_was_saved_in_the_trouble_is_set_aside_the_best_too_and_told(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    config = belted(training__max_steps=70, training__spike_patience=6, evaluation__eval_interval=62)
    spoil(range(60, 66), 5.0)  # the weights are well: the validation in the midst of it is the best so far
    events = train(dataset, tmp_path / "run", config)
    (back,) = rolled_back(events)
    told = [e.message for e in events if isinstance(e, Notice) and "set aside" in e.message]
    assert back.to_step == 52 and len(told) == 1 and "atlas_best-" in told[0]
    aside = list((tmp_path / "run" / runs.CHECKPOINTS_FOLDER / runs.SET_ASIDE_FOLDER).glob("atlas_best-*.pt"))
    assert len(aside) == 1
    best = runs.best(tmp_path / "run")
    assert best is not None and best.step == 70  # of the second way
    assert all(e.improved for e in events if isinstance(e, EvalDone))


def test_a_best_checkpoint_from_before_the_trouble_stays(dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil({21, 22, 23})
    kept = []
    for event in jobs.train(belted(evaluation__eval_interval=19), dataset, tmp_path / "run", Control()):
        if isinstance(event, RolledBack):
            kept.append(runs.best(tmp_path / "run"))
    assert kept[0] is not None and kept[0].step == 19


def test_texts_and_validations_of_the_way_that_was_taken_back_are_gone_from_the_records(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil({21, 22, 23})
    config = belted(sampling__interval=11, evaluation__eval_interval=11)
    events = train(dataset, tmp_path / "run", config)
    assert [e.step for e in events if isinstance(e, SampleDrawn)] == [0, 11, 22, 22, 33, 40]
    drawn = [json.loads(line)["step"] for line in (tmp_path / "run" / runs.SAMPLES_FILE).read_text().splitlines()]
    assert drawn == [0, 11, 22, 33, 40]
    assert [step for kind, step, _ in curve(tmp_path / "run") if kind == "eval"] == [11, 22, 33, 40]


def test_tensorboard_shows_no_step_twice_after_going_back(dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    spoil({9, 10, 11})
    train(dataset, tmp_path / "run", belted(logging__tensorboard=True, training__max_steps=16))
    reader = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    reader.Reload()
    assert [scalar.step for scalar in reader.Scalars("train/loss")] == list(range(1, 17))


# ---- giving up ----------------------------------------------------------------------------------------------


def test_it_gives_up_with_the_good_checkpoint_as_the_newest_and_a_plain_explanation(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil(range(30, 10_000))
    events = []
    with pytest.raises(NumericsError) as caught:
        for event in jobs.train(belted(training__max_steps=60), dataset, tmp_path / "run", Control()):
            events.append(event)
    assert [(back.to_step, back.learning_rate_factor) for back in rolled_back(events)] == [
        (30, 0.5), (30, 0.25), (30, 0.125)]  # trusted, for it was validated as the best
    assert "again, after 3 returns to a good state" in caught.value.message
    assert "step 30 is good" in caught.value.remedy and "training.learning_rate" in caught.value.remedy
    newest = runs.newest(tmp_path / "run")
    assert newest is not None and newest.step == 30
    assert all(bool(torch.isfinite(w).all()) for w in weights_of(tmp_path / "run").values())
    assert runs.best(tmp_path / "run") is not None
    assert "FAILED: NumericsError" in (tmp_path / "run" / runs.LOG_FILE).read_text()


def test_a_lower_rate_chosen_by_hand_counts_as_it_is_and_gets_new_tries(
        dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil(range(30, 10_000))
    with pytest.raises(NumericsError):
        train(dataset, tmp_path / "run", belted(training__max_steps=60))
    spoil(())
    lower = belted(training__max_steps=32, training__learning_rate=1e-3)
    rates = [e.learning_rate for e in train(dataset, tmp_path / "run", lower, resume=tmp_path / "run")
             if isinstance(e, StepDone)]
    assert rates == [1e-3] * 2
    assert checkpoint.load(runs.resolve(tmp_path / "run"))["progress"]["rollbacks"] == 0


def test_no_tries_means_it_gives_up_at_once(dataset: Path, tmp_path: Path, spoil: Spoil) -> None:
    spoil({21, 22, 23})
    with pytest.raises(NumericsError, match="came apart at step 24: 3 steps in a row"):
        train(dataset, tmp_path / "run", belted(training__max_rollbacks=0))
    newest = runs.newest(tmp_path / "run")
    assert newest is not None and newest.step == 20


# ---- what counts as trouble ---------------------------------------------------------------------------------


T = Training()


def after(losses: list[float], t: Training = T) -> Progress:
    progress = Progress(step=len(losses))
    for loss in losses:
        progress.recent_losses = recovery.remembered(progress.recent_losses, loss, t)
    return progress


def noisy(count: int, level: float = 3.0, noise: float = 0.1) -> list[float]:
    chance = random.Random(5)
    return [chance.gauss(level, noise) for _ in range(count)]


def test_fp16_sees_to_its_own_overflows_until_no_smaller_scale_helps() -> None:
    assert recovery.nonsense(2.0, math.inf, scale=65536.0) == ""
    assert recovery.nonsense(2.0, math.inf, scale=1.0) == recovery.nonsense(2.0, math.inf) == "gradient"
    assert recovery.nonsense(math.nan, math.inf, scale=65536.0) == "loss"
    assert recovery.nonsense(2.0, 1.0) == ""


def test_a_spike_is_trouble_once_most_of_the_patience_is_high() -> None:
    for high in range(T.spike_patience + 1):
        found = recovery.trouble(after(noisy(200) + [6.0] * high), T)
        assert (found is not None) == (high > T.spike_patience // 2), high
        if found is not None:
            assert (found.before_step, found.sound_step) == (200, 200 - 1 - T.spike_patience)
            break


@pytest.mark.parametrize("losses", [
    [10.0 * 0.99**n for n in range(400)],  # falls all the time
    noisy(400, noise=0.5),  # small batches
    [*noisy(200), *noisy(200, level=3.12)],  # a little worse from here on
    [*noisy(200), 30.0, *noisy(5), 40.0, math.nan, *noisy(190)],  # single bad batches
    [3.0] * 400,
], ids=["falling", "noisy", "a step up", "single", "flat"])
def test_ordinary_training_is_no_trouble(losses: list[float]) -> None:
    assert all(recovery.trouble(after(losses[:n]), T) is None for n in range(1, len(losses) + 1))


def test_lost_numbers_among_others_count_as_high() -> None:
    mixed = [math.nan, 3.0, math.nan, math.nan, 3.0, 9.0] * 4
    assert any(recovery.trouble(after(noisy(200) + mixed[:n]), T) for n in range(len(mixed)))


def test_nothing_is_said_of_a_spike_when_that_is_not_wished_or_too_little_is_known() -> None:
    spike = [9.0] * 30
    assert recovery.trouble(after(noisy(200) + spike, Training(spike_patience=0)), Training(spike_patience=0)) is None
    assert recovery.trouble(after(noisy(20) + spike), T) is None
    assert recovery.trouble(after(noisy(20) + [math.nan] * 3), Training(spike_patience=0)) is not None


def test_trouble_that_comes_back_leads_no_further_back_until_it_is_overcome() -> None:
    progress = after(noisy(100) + [math.nan] * 3)
    progress.rollbacks, progress.trouble_step, progress.good_step = 2, 95, 101
    found = recovery.trouble(progress, T)
    assert found is not None and found.sound_step == 101
    progress.trouble_step = progress.step - recovery.PAST_STEPS
    assert recovery.in_a_row(progress) == 0
    found = recovery.trouble(progress, T)
    assert found is not None and found.sound_step == 99


def test_a_checkpoint_written_before_there_was_a_seat_belt_still_counts(dataset: Path, tmp_path: Path) -> None:
    config = belted(training__max_steps=4)
    train(dataset, tmp_path / "run", config)
    old = checkpoint.load(runs.resolve(tmp_path / "run"))["progress"]
    for name in ("skipped_steps", "rate_factor", "recent_losses", "rollbacks", "trouble_step", "good_step"):
        del old[name]
    assert Progress(**old).text_step == 4 and Progress(**old).rate_factor == 1.0
