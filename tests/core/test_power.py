"""Cool mode's limit of the power, on simulated cards: the mean is kept, whatever the pieces of work and the sensor."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from atlas_core.config import Hardware
from atlas_core.control import Control
from atlas_core.events import Cooling, Notice
from atlas_core.hardware.telemetry import Reading
from atlas_core.training import cooling, thermal
from atlas_core.training.cooling import Cooler, rests_for
from atlas_core.training.power import PowerBudget
from tests.thermal.card import DESKTOP, LAPTOP, Card, SimulatedCard
from tests.thermal.trial import SimulatedControl, SimulatedTelemetry, healthy

TRIAL_S, SETTLED_S = 1200.0, 300.0


def nothing(now_s: float, control: Control) -> None:
    """No wish comes while it works."""


class Trial:
    """Twenty minutes of work in pieces, and what they took once settled."""

    def __init__(self, card: Card, wished: Hardware, *, piece_s: float, counts_energy: bool = True,
                 later: Callable[[float, Control], None] = nothing) -> None:
        self.model = SimulatedCard(card)
        telemetry = SimulatedTelemetry(self.model, healthy, counts_energy=counts_energy)
        cooler = Cooler(wished, telemetry, clock=lambda: self.model.now_s)
        control = SimulatedControl(self.model)
        self.states: list[str] = []
        self.hottest_c, worked_s, settled = 0.0, 0.0, (0.0, 0.0)
        while self.model.now_s < TRIAL_S:
            later(self.model.now_s, control)
            if self.model.now_s >= SETTLED_S and not settled[0]:
                settled = (self.model.now_s, self.model.used_j)
            self.model.work(piece_s)
            if settled[0]:
                worked_s += piece_s
                self.hottest_c = max(self.hottest_c, self.model.die_c)
            self.states += [event.state for event in cooler.rest(control) if isinstance(event, Cooling)]
        passed_s = self.model.now_s - settled[0]
        self.mean_w = (self.model.used_j - settled[1]) / passed_s
        self.duty = worked_s / passed_s


@pytest.mark.parametrize("piece_s", [0.1, 1.5, 20.0])
@pytest.mark.parametrize("limit_w", [120.0, 200.0])
def test_the_mean_power_is_the_limit(piece_s: float, limit_w: float) -> None:
    trial = Trial(DESKTOP, Hardware(power_limit=limit_w), piece_s=piece_s)
    assert trial.mean_w == pytest.approx(limit_w, rel=0.02)
    assert trial.states[-1] == thermal.SAVING


@pytest.mark.parametrize("piece_s", [0.1, 1.5, 20.0])
def test_without_a_counter_of_energy_the_mean_stays_below_the_limit(piece_s: float) -> None:
    trial = Trial(DESKTOP, Hardware(power_limit=200.0), piece_s=piece_s, counts_energy=False)
    assert 100.0 < trial.mean_w <= 1.02 * 200.0


def test_a_limit_above_what_is_needed_costs_nothing() -> None:
    trial = Trial(DESKTOP, Hardware(power_limit=300.0), piece_s=1.5)
    assert trial.duty == pytest.approx(1.0, abs=0.01)
    assert set(trial.states) <= {thermal.READY}


def test_a_limit_that_cannot_be_kept_leaves_some_work() -> None:
    trial = Trial(DESKTOP, Hardware(power_limit=5.0), piece_s=1.5)
    assert trial.duty == pytest.approx(thermal.LEAST_DUTY, rel=0.1)


def test_the_stricter_of_temperature_and_power_counts() -> None:
    cool = Trial(LAPTOP, Hardware(target_temperature=65.0, power_limit=90.0), piece_s=1.5)
    assert cool.hottest_c <= 67.0 and cool.mean_w < 80.0
    frugal = Trial(LAPTOP, Hardware(target_temperature=80.0, power_limit=40.0), piece_s=1.5)
    assert frugal.mean_w == pytest.approx(40.0, rel=0.02) and frugal.hottest_c < 65.0


def test_a_counter_that_starts_again_and_readings_of_nonsense_are_passed_over() -> None:
    budget = PowerBudget(100.0)
    readings = [Reading("card", energy_j=1e6), Reading("card", energy_j=0.0), Reading("card", power_w=math.nan),
                Reading("card", power_w=-5.0), Reading("card")]
    for second, reading in enumerate(readings):
        budget.worked(1.0)
        budget.observe(reading, float(second))
        assert budget.due_s == 0.0


def test_a_clock_that_stands_still_owes_nothing() -> None:
    budget = PowerBudget(100.0)
    for _ in range(3):
        budget.worked(1.0)
        budget.observe(Reading("card", power_w=300.0), 7.0)
    assert budget.due_s == 0.0


# ---- another wish while it trains -----------------------------------------------------------------------------


def test_a_temperature_wished_for_while_training_is_kept_and_let_go_again() -> None:
    def later(now_s: float, control: Control) -> None:
        if 100 < now_s < 110:
            control.keep_at(60.0)

    trial = Trial(LAPTOP, Hardware(), piece_s=1.5, later=later)
    assert trial.hottest_c <= 62.0 and trial.states[-1] == thermal.HOLDING

    def off(now_s: float, control: Control) -> None:
        control.keep_at(60.0 if now_s < 200 else 0.0)

    trial = Trial(LAPTOP, Hardware(), piece_s=1.5, later=off)
    assert trial.states[-1] == thermal.READY and trial.duty == pytest.approx(1.0, abs=0.01)


def test_without_a_wish_the_sensor_is_left_alone() -> None:
    asked = []

    class Counting(SimulatedTelemetry):
        def read(self) -> Reading:
            asked.append(1)
            return super().read()

    model = SimulatedCard(LAPTOP)
    cooler = Cooler(Hardware(), Counting(model, healthy), clock=lambda: model.now_s)
    for _ in range(10):
        model.work(1.5)
        assert list(cooler.rest(SimulatedControl(model))) == []
    assert asked == []


@pytest.mark.parametrize(("wished", "reading", "told"), [
    (Hardware(power_limit=90.0), Reading("card", temperature_c=50.0), [cooling.NO_POWER]),
    (Hardware(target_temperature=60.0), Reading("card", power_w=50.0), [cooling.NO_SENSOR]),
    (Hardware(target_temperature=60.0, power_limit=90.0), Reading("card"),
     [f"{cooling.NO_SENSOR} {cooling.NO_POWER}"]),
    (Hardware(), Reading("card"), []),
    (Hardware(power_limit=90.0), Reading("card", power_w=50.0), []),
])
def test_a_wish_that_the_machine_cannot_serve_is_told_once(
        wished: Hardware, reading: Reading, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Telling:
        is_gpu = True

        def read(self) -> Reading:
            return reading

    monkeypatch.setattr(cooling, "telemetry_of", lambda _: Telling())
    rests = rests_for(wished, "cpu")
    said = [event.message for _ in range(3) for event in rests.rest(Control()) if isinstance(event, Notice)]
    assert said == told
