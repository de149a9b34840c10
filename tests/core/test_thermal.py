"""Cool mode: its laws on simulated cards, its behaviour with broken sensors, and its innocence in real training."""

from __future__ import annotations

import itertools
import math
import random
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from atlas_core import hours, jobs, presets
from atlas_core.config import Config, Hardware
from atlas_core.control import Control
from atlas_core.errors import ConfigError
from atlas_core.events import CheckpointSaved, Cooling, EvalDone, Event, Finished, Notice, StateChanged, StepDone
from atlas_core.hardware import telemetry
from atlas_core.hardware.telemetry import Reading
from atlas_core.text.dataset import Windows
from atlas_core.training import cooling, thermal, trainer
from atlas_core.training.cooling import Cooler
from atlas_core.training.thermal import Thermostat
from tests import tiny
from tests.thermal.__main__ import PIECES_S
from tests.thermal.card import CARDS, HOT_ROOM, LAPTOP, Card, SimulatedCard, ideal_duty
from tests.thermal.trial import TARGET_C, SimulatedControl, Trial, run, uncooled

COOL_CARD = Card("a card that stays cool", busy_w=60, idle_w=6, die_j_per_k=50, die_k_per_w=0.1, sink_j_per_k=300,
                 sink_k_per_w=0.5, fan_gain=1.5)


def states(trial: Trial) -> list[str]:
    """Which states were told, each once in a row."""
    told = [event.state for event in trial.events if isinstance(event, Cooling)]
    return [state for state, _ in itertools.groupby(told)]


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice) and event.level == "warning"]


# ---- the laws, on simulated cards ---------------------------------------------------------------------------


@pytest.mark.parametrize("piece_s", PIECES_S)
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_it_holds_the_target_calmly_and_wastes_nothing(card: Card, piece_s: float) -> None:
    trial = run(card, piece_s=piece_s, seed=7)
    assert trial.overshoot_c <= 2.0
    assert trial.swing_c <= 2.0
    assert trial.share_of_ideal >= 0.95
    assert warnings(trial.events) == []


def test_without_it_the_laws_would_be_broken() -> None:
    assert uncooled(LAPTOP, piece_s=1.5).overshoot_c > 10
    assert uncooled(HOT_ROOM, piece_s=1.5).overshoot_c > 20


def test_a_card_that_stays_cool_is_not_held_up() -> None:
    trial = run(COOL_CARD, piece_s=1.5, trial_s=1800)
    assert max(trial.peaks_c) < TARGET_C - 3
    assert trial.duty > 0.97
    assert ideal_duty(COOL_CARD, TARGET_C, 1.5) == 1.0


def test_the_ideal_duty_is_the_one_of_the_books_for_short_pieces() -> None:
    """By the steady state: mean power times thermal resistance is the target above the room."""
    card = LAPTOP
    fan = (TARGET_C - card.fan_from_c) / (card.fan_to_c - card.fan_from_c)
    resistance = card.die_k_per_w + card.sink_k_per_w / (1 + card.fan_gain * fan)
    mean_w = (TARGET_C - card.room_c) / resistance
    assert ideal_duty(card, TARGET_C, 0.1) == pytest.approx((mean_w - card.idle_w) / (card.busy_w - card.idle_w),
                                                            abs=0.01)


def test_a_card_that_starts_far_too_hot_waits_and_says_so() -> None:
    trial = run(LAPTOP, piece_s=1.5, trial_s=1200, start_c=84.0)
    assert states(trial)[0] == thermal.HOT and states(trial)[-1] == thermal.HOLDING
    assert len(warnings(trial.events)) == 1 and "Paused by heat" in warnings(trial.events)[0]


def test_a_target_out_of_reach_slows_down_and_does_not_stop_for_ever() -> None:
    sauna = Card("sauna", busy_w=95, idle_w=8, die_j_per_k=50, die_k_per_w=0.1, sink_j_per_k=280, sink_k_per_w=0.95,
                 fan_gain=1.4, room_c=70.0)
    trial = run(sauna, piece_s=1.5, trial_s=1800, target_c=50.0)
    assert sum(trial.worked_s) > 0.05 * 1800


# ---- sensors that fail ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("says", [None, math.nan, 0.0, 300.0, -40.0, math.inf])
def test_a_sensor_that_fails_means_a_safe_pace_one_notice_and_a_way_back(says: float | None) -> None:
    trial = run(LAPTOP, piece_s=1.5, trial_s=1800,
                fault=lambda now_s, reading_c: says if 600 < now_s < 1200 else reading_c)
    assert states(trial) == [thermal.READY, thermal.HOLDING, thermal.BLIND, thermal.HOLDING]
    assert warnings(trial.events) == [cooling.BLIND]
    blind = [worked for at, worked in zip(trial.times_s, trial.worked_s, strict=True) if 650 < at < 1200]
    assert sum(blind) / 550 == pytest.approx(thermal.SAFE_DUTY, abs=0.02)
    assert max(trial.peaks_c) < LAPTOP.throttle_c


def test_single_nonsense_between_good_readings_is_passed_over() -> None:
    chance = random.Random(3)
    trial = run(LAPTOP, piece_s=1.5, fault=lambda _, reading_c: 124.0 if chance.random() < 0.1 else reading_c)
    assert trial.overshoot_c <= 2.0 and trial.share_of_ideal >= 0.95
    assert thermal.BLIND not in states(trial)


@pytest.mark.parametrize("stuck_c", [45.0, 65.0])
def test_a_frozen_sensor_is_found_out(stuck_c: float) -> None:
    trial = run(LAPTOP, piece_s=1.5, trial_s=2400, fault=lambda now_s, reading_c: reading_c if now_s < 30 else stuck_c)
    assert states(trial)[-1] == thermal.BLIND
    assert warnings(trial.events) == [cooling.BLIND]


def test_a_calm_sensor_in_whole_degrees_is_not_taken_for_a_frozen_one() -> None:
    calm = Card("calm", busy_w=95, idle_w=8, die_j_per_k=50, die_k_per_w=0.1, sink_j_per_k=280, sink_k_per_w=0.95,
                fan_gain=1.4, sensor_noise_c=0.0, sensor_step_c=5.0)
    trial = run(calm, piece_s=1.5)
    assert thermal.BLIND not in states(trial)
    assert trial.duty > 0.9 * ideal_duty(calm, 62.5, 1.5)


# ---- the thermostat alone -------------------------------------------------------------------------------------


def test_a_rest_that_was_cut_short_stays_due() -> None:
    thermostat = Thermostat(60.0)
    thermostat.observe(60.0, 0.0)
    thermostat.worked(2.0, 1.0)
    due_s = thermostat.due_s
    assert due_s > 1.0
    thermostat.rested(1.0)
    assert thermostat.due_s == pytest.approx(due_s - 1.0)


def test_rests_have_a_bound() -> None:
    thermostat = Thermostat(60.0)
    thermostat.observe(67.0, 0.0)
    for second in range(1, 50):
        thermostat.worked(100.0, float(second))
    assert thermostat.due_s == thermal.MOST_OWED_S


# ---- quiet hours and settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("span", "hour", "minute", "within"), [
    ("22:00-07:00", 23, 0, True), ("22:00-07:00", 6, 59, True), ("22:00-07:00", 7, 0, False),
    ("22:00-07:00", 12, 0, False), ("9:30 - 17:00", 9, 30, True), ("9:30-17:00", 17, 0, False),
    ("00:00-24:00", 23, 59, True),
])
def test_hours_hold_what_lies_between(span: str, hour: int, minute: int, within: bool) -> None:
    found = hours.parse(span)
    assert found is not None and found.hold(hour, minute) == within


def test_quiet_hours_have_their_own_target() -> None:
    card = SimulatedCard(LAPTOP)
    wished = Hardware(target_temperature=70.0, quiet_hours="22:00-07:00", quiet_temperature=50.0)
    clock = {"hour": 12}

    class Warm:
        is_gpu = True

        def read(self) -> Reading:
            return Reading("card", temperature_c=45.0)

    cooler = Cooler(wished, Warm(), clock=lambda: card.now_s,
                    local_time=lambda: time.struct_time((2026, 1, 1, clock["hour"], 0, 0, 0, 1, 0)))
    targets = []
    for clock["hour"] in (12, 23):
        card.idle(2.0)
        targets += [e.target_c for e in cooler.rest(SimulatedControl(card)) if isinstance(e, Cooling)]
    assert (targets[0], targets[-1]) == (70.0, 50.0)


@pytest.mark.parametrize(("changes", "named"), [
    ({"hardware.target_temperature": 20.0}, "hardware.target_temperature"),
    ({"hardware.target_temperature": 99.0}, "hardware.target_temperature"),
    ({"hardware.target_temperature": 65.0, "hardware.quiet_hours": "late"}, "hardware.quiet_hours"),
    ({"hardware.target_temperature": 65.0, "hardware.quiet_hours": "25:00-07:00"}, "hardware.quiet_hours"),
    ({"hardware.quiet_hours": "22:00-07:00"}, "hardware.quiet_hours"),
])
def test_settings_that_cannot_be_meant_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Config().replace(changes)


def test_only_ultra_is_cool_by_itself() -> None:
    assert {name: p.config.hardware.target_temperature for name, p in presets.all_presets().items()
            if p.config.hardware.target_temperature} == {"ULTRA": 65.0}


# ---- in real training -------------------------------------------------------------------------------------------


@pytest.fixture
def warm_machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[float | None], None]:
    """Gives this machine a processor of that temperature, or one that tells none."""
    return lambda celsius: monkeypatch.setattr(telemetry, "_processor_temperature_c", lambda: celsius)


def train(dataset: Path, run_folder: Path, control: Control | None = None, **changes: object) -> list[Event]:
    return tiny.drain(jobs.train(tiny.config(**changes), dataset, run_folder, control or Control()))


def losses(events: list[Event]) -> list[float]:
    return [e.loss if isinstance(e, StepDone) else e.val_loss for e in events if isinstance(e, (StepDone, EvalDone))]


def test_a_cooled_run_takes_the_same_steps_bit_for_bit_only_later(
    dataset: Path, tmp_path: Path, warm_machine: Callable[[float | None], None]
) -> None:
    plain = train(dataset, tmp_path / "plain", training__gradient_accumulation_steps=4, training__batch_size=2)
    warm_machine(64.0)
    cooled = train(dataset, tmp_path / "cooled", training__gradient_accumulation_steps=4, training__batch_size=2,
                   hardware__target_temperature=65.0)
    assert losses(cooled) == losses(plain)
    told = [e for e in cooled if isinstance(e, Cooling)]
    assert told and told[-1].state == thermal.HOLDING and told[-1].target_c == 65.0


def test_the_speed_that_is_told_counts_the_rests(
    dataset: Path, tmp_path: Path, warm_machine: Callable[[float | None], None]
) -> None:
    warm_machine(67.0)  # too warm: the least duty, so nine parts of ten are rest
    started = time.perf_counter()
    steps = [e for e in train(dataset, tmp_path / "run", hardware__target_temperature=65.0, training__max_steps=6,
                              sampling__interval=0, evaluation__eval_interval=0) if isinstance(e, StepDone)]
    wall_s = time.perf_counter() - started
    tokens = tiny.config().tokens_per_step
    assert sum(tokens / step.tokens_per_s for step in steps) == pytest.approx(steps[-1].seconds, rel=1e-6)
    assert steps[-1].seconds <= wall_s


class Noted:
    """Rests without idling, told apart from the batches between which they lie."""

    def __init__(self, story: list[str]) -> None:
        self._story = story

    def rest(self, control: Control) -> Generator[Event, None, float]:  # noqa: ARG002
        self._story.append("rest")
        yield from ()
        return 0.0

    def skip(self) -> None:
        """No time is counted."""


def test_a_step_that_adds_up_batches_rests_between_them(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    story: list[str] = []
    true_batch = Windows.batch

    def batch(self: Windows, first: int, count: int) -> object:
        story.append("batch")
        return true_batch(self, first, count)

    monkeypatch.setattr(Windows, "batch", batch)
    monkeypatch.setattr(trainer, "rests_for", lambda *_: Noted(story))
    train(dataset, tmp_path / "run", training__gradient_accumulation_steps=3, training__max_steps=4,
          evaluation__eval_interval=0, sampling__interval=0)
    assert story[:11] == ["rest", *["batch", "rest"] * 5]


@pytest.mark.parametrize("wish", ["stop", "save_now"])
def test_a_wish_in_the_midst_of_a_step_waits_for_its_batches_and_for_no_rest(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: str,
        saved_in_place: None) -> None:  # noqa: ARG001
    batches, true_batch, in_a_step = [0], Windows.batch, 40  # many, so that the sensor is looked at between two

    def batch(self: Windows, first: int, count: int) -> object:
        batches[0] += 1
        return true_batch(self, first, count)

    monkeypatch.setattr(Windows, "batch", batch)
    monkeypatch.setattr(cooling, "LOOK_S", 0.01)
    monkeypatch.setattr(telemetry, "_processor_temperature_c", lambda: 90.0 if batches[0] else 62.0)
    control, times_s = Control(), []
    config = tiny.config(hardware__target_temperature=65.0, training__gradient_accumulation_steps=in_a_step,
                         sampling__interval=0)
    for event in jobs.train(config, dataset, tmp_path / "run", control):
        if isinstance(event, Cooling) and event.state == thermal.HOT and not times_s:
            assert 0 < batches[0] < in_a_step  # within the first step
            times_s.append(time.monotonic())
            getattr(control, wish)()
        elif isinstance(event, StepDone) and event.step == 1:
            assert batches[0] == in_a_step
        elif isinstance(event, CheckpointSaved) and not control.stopping:
            assert event.step == 1
            control.stop()
        if isinstance(event, Finished):
            times_s.append(time.monotonic())
            assert event.details["step"] == 1
    assert times_s[1] - times_s[0] < thermal.LONGEST_HOT_S / 5


@pytest.mark.parametrize("wish", ["stop", "pause"])
def test_a_wish_ends_a_rest_at_once(
    dataset: Path, tmp_path: Path, warm_machine: Callable[[float | None], None], wish: str
) -> None:
    warm_machine(90.0)  # far too hot: it would rest for minutes
    control, answered_s = Control(), []
    for event in jobs.train(tiny.config(hardware__target_temperature=65.0), dataset, tmp_path / "run", control):
        if isinstance(event, Cooling) and event.state == thermal.HOT and not answered_s:
            answered_s.append(time.monotonic())
            threading.Timer(0.2, getattr(control, wish)).start()
        if isinstance(event, (StateChanged, Finished)):
            answered_s.append(time.monotonic())
            control.stop()
    assert answered_s[1] - answered_s[0] < thermal.LONGEST_HOT_S / 5


def test_a_machine_without_a_sensor_trains_at_full_speed_and_says_so_once(
    dataset: Path, tmp_path: Path, warm_machine: Callable[[float | None], None]
) -> None:
    warm_machine(None)
    events = train(dataset, tmp_path / "run", hardware__target_temperature=65.0)
    assert warnings(events) == [cooling.NO_SENSOR]
    assert not [e for e in events if isinstance(e, Cooling)]
