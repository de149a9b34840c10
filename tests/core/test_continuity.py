"""What may change when a run goes on: refused by name, told by name, or free."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from atlas_core import continuity
from atlas_core.config import Config, Training, settings
from atlas_core.continuity import MadeOn
from atlas_core.errors import CheckpointError
from atlas_core.schedule import learning_rate
from tests import tiny

HERE = MadeOn("EPYC", 2, "2.13.0", "0.1.0")


BATCHES = ("training.batch_size", "training.gradient_accumulation_steps")  # one alone changes the tokens of a step

# Where any other value will not do, or needs company.
OTHER: dict[str, dict[str, object]] = {
    "model.hidden_size": {"model.hidden_size": 64},
    "model.num_heads": {"model.num_heads": 2},
    "model.num_kv_heads": {"model.num_kv_heads": 2, "model.family": "llama"},
    "data.chunk_overlap": {"data.chunk_overlap": 1, "data.chunk_tokens": 2},
    "training.master_weights": {"training.master_weights": False, "training.precision": "bf16"},
    "hardware.target_temperature": {"hardware.target_temperature": 60.0},
    "hardware.quiet_hours": {"hardware.quiet_hours": "22:00-07:00", "hardware.target_temperature": 60.0},
    "hardware.quiet_temperature": {"hardware.quiet_temperature": 60.0},
}


def changed(key: str) -> Config:
    """The tiny configuration with another value of `key`."""
    return tiny.config().replace(OTHER.get(key) or {key: _another(tiny.config().get(key), settings()[key].choices)})


def _another(value: object, choices: tuple[str, ...]) -> object:
    if choices:
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 + 0.01
    return f"{value}x" if isinstance(value, str) else ["other"]


def test_every_setting_is_of_one_kind() -> None:
    """A new setting must be put into one: may a run go on with another value of it, and what is said then?"""
    kinds = Counter([*continuity.IDENTITY, *continuity.FUTURE, *continuity.DIGITS, *continuity.MACHINE,
                     *continuity.FREE])
    assert {key: kinds[key] for key in settings()} == dict.fromkeys(settings(), 1)
    assert set(kinds) == set(settings())


@pytest.mark.parametrize("key", continuity.IDENTITY)
def test_what_would_make_another_run_is_refused_by_name(key: str) -> None:
    with pytest.raises(CheckpointError, match="A run cannot go on with other values of") as refused:
        continuity.refuse_another_run(tiny.config(), changed(key))
    assert f"{key} (" in refused.value.message and "start a fresh run" in refused.value.remedy


@pytest.mark.parametrize("key", continuity.FUTURE)
def test_what_changes_the_future_is_told_by_name(key: str) -> None:
    before, now = tiny.config(), changed(key)
    continuity.refuse_another_run(before, now)
    (told,) = continuity.future(before, now, 6)
    assert told.startswith(f"Changed since the checkpoint: {key} ({before.get(key)}, now {now.get(key)}).")
    assert not continuity.digits(before, now, HERE, HERE)


@pytest.mark.parametrize("key", [key for key in continuity.DIGITS if key not in BATCHES])
def test_what_changes_the_digits_is_told_by_name(key: str) -> None:
    before, now = tiny.config(), changed(key)
    continuity.refuse_another_run(before, now)
    assert not continuity.future(before, now, 6)
    (told,) = continuity.digits(before, now, HERE, HERE)
    assert f"other last digits than it would have had: {key} ({before.get(key)}, now {now.get(key)})." in told


@pytest.mark.parametrize("key", [*continuity.FREE, *continuity.MACHINE])
def test_what_is_free_is_not_spoken_of(key: str) -> None:
    before, now = tiny.config(), changed(key)
    assert before.get(key) != now.get(key)
    continuity.refuse_another_run(before, now)
    assert not continuity.future(before, now, 6) + continuity.digits(before, now, HERE, HERE)


def test_as_many_tokens_in_other_batches_change_the_digits_and_other_tokens_the_run() -> None:
    cut = tiny.config(training__batch_size=2, training__gradient_accumulation_steps=4)
    continuity.refuse_another_run(tiny.config(), cut)
    assert "the windows of a validation (" in continuity.future(tiny.config(), cut, 6)[0]
    cut = tiny.config().in_batches_of(2)
    assert not continuity.future(tiny.config(), cut, 6)
    assert "training.batch_size (4, now 2)" in continuity.digits(tiny.config(), cut, HERE, HERE)[0]
    with pytest.raises(CheckpointError, match=r"the tokens of a step \(128, now 256\)"):
        continuity.refuse_another_run(tiny.config(), tiny.config(training__batch_size=8))


def test_another_machine_is_told_and_the_threads_of_before_are_named() -> None:
    c = tiny.config()
    assert continuity.digits(c, c, MadeOn("EPYC", 1, "2.13.0", "0.1.0"), HERE) == [
        "The run goes on, but with other last digits than it would have had: threads (1, now 2). "
        "hardware.threads=1 would keep them."]
    (told,) = continuity.digits(c, c, MadeOn("Ryzen", 1, "2.12.0", "0.0.9"), HERE)
    for part in ("device (Ryzen, now EPYC)", "torch (2.12.0, now 2.13.0)", "Atlas Studio (0.0.9, now 0.1.0)"):
        assert part in told
    assert "would keep" not in told
    assert "threads" not in continuity.digits(c, c, HERE, MadeOn("RTX 4070", 0, "2.13.0", "0.1.0"))[0]
    assert not continuity.digits(c, c, MadeOn(), HERE), "a checkpoint that does not say where it was made"


def test_more_steps_are_as_planned_where_the_rate_did_not_know_of_the_end() -> None:
    for scheduler in ("constant", "wsd"):
        short, long = (Training(max_steps=n, warmup_steps=10, scheduler_type=scheduler) for n in (100, 200))
        assert "of a run that was planned for 200 steps" in continuity.rates(short, long, 80).replace("\u202f", " ")
        assert all(learning_rate(step, short) == learning_rate(step, long) for step in range(80))
    short, long = (Training(max_steps=n, warmup_steps=10, scheduler_type="cosine") for n in (100, 200))
    assert "planned for" in continuity.rates(short, long, 10), "in the warm-up nothing is decided yet"


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "wsd"])
def test_more_steps_after_a_fall_say_where_the_rate_goes_on(scheduler: str) -> None:
    short, long = (Training(max_steps=n, warmup_steps=0, scheduler_type=scheduler, learning_rate=1e-3)
                   for n in (100, 200))
    told = continuity.rates(short, long, 100)
    assert f"The {scheduler} schedule is now that of 200" in told and "differs from a run planned for that many" in told
    assert continuity.people.learning_rate(learning_rate(100, long)) in told


def test_a_schedule_that_stays_is_not_spoken_of() -> None:
    t = Training()
    assert not continuity.rates(t, t, 10)
    assert not continuity.rates(t, Training(weight_decay=0.5), 10)
    assert "goes on at 1.00e-4" in continuity.rates(t, Training(learning_rate=1e-4, scheduler_type="constant"), 5000)


def test_what_the_seat_belt_made_of_the_rate_is_counted_in() -> None:
    short, long = (Training(max_steps=steps, warmup_steps=0, learning_rate=1.0, min_lr_ratio=0.0,
                            scheduler_type="linear") for steps in (100, 200))
    assert "goes on at 5.00e-1 and ends" in continuity.rates(short, long, 100)
    assert "goes on at 1.25e-1 and ends" in continuity.rates(short, long, 100, factor=0.25)
    chosen = dataclasses.replace(long, learning_rate=0.8)
    assert "goes on at 4.00e-1 and ends" in continuity.rates(short, chosen, 100, factor=0.25)
