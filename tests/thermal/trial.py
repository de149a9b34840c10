"""Cool mode tried on a simulated card: the real `Cooler`, whose clock, sensor and sleep are those of the card."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from atlas_core.config import Hardware
from atlas_core.control import Control
from atlas_core.events import Event
from atlas_core.hardware.telemetry import Reading
from atlas_core.training.cooling import Cooler
from tests.thermal.card import Card, SimulatedCard, ideal_duty

TARGET_C = 65.0
TRIAL_S = 3600.0
SETTLED_S = 900.0  # from here on a trial is judged by its duty and its calm

Fault = Callable[[float, float], float | None]  # (seconds, what the sensor would say) -> what it says


@dataclass(frozen=True)
class Trial:
    """What came of it. `peaks_c` are the true temperatures of the die when a piece of work ended, at `times_s`."""

    card: Card
    piece_s: float
    times_s: list[float]
    peaks_c: list[float]
    worked_s: list[float]
    events: list[Event]
    target_c: float

    @property
    def overshoot_c(self) -> float:
        return max(self.peaks_c) - self.target_c

    @property
    def swing_c(self) -> float:
        """How far the peaks swing from top to bottom once settled, as a sine of the same deviation would."""
        return 2 * 2**0.5 * statistics.pstdev(self.peaks_c[self._settled():])

    @property
    def duty(self) -> float:
        """The share of the time at work once settled, in whole cycles of work and rest."""
        first = self._settled()
        return sum(self.worked_s[first + 1:]) / (self.times_s[-1] - self.times_s[first])

    @property
    def share_of_ideal(self) -> float:
        return self.duty / ideal_duty(self.card, self.target_c, self.piece_s)

    def _settled(self) -> int:
        return next(i for i, at_s in enumerate(self.times_s) if at_s >= SETTLED_S)


class SimulatedControl(Control):
    """Waiting lets the card cool."""

    def __init__(self, card: SimulatedCard) -> None:
        super().__init__()
        self._card = card

    def wait(self, seconds: float) -> bool:
        self._card.idle(seconds)
        return False


class SimulatedTelemetry:
    """The card's temperature, as its sensor and its faults tell it, and its power."""

    is_gpu = True

    def __init__(self, card: SimulatedCard, fault: Fault, *, counts_energy: bool = True) -> None:
        self._card, self._fault, self._counts_energy = card, fault, counts_energy

    def read(self) -> Reading:
        card = self._card
        return Reading(card.card.name, temperature_c=self._fault(card.now_s, card.read()), power_w=card.power_w,
                       energy_j=card.used_j if self._counts_energy else None)


def healthy(_now_s: float, reading_c: float) -> float:
    return reading_c


def run(card: Card, *, piece_s: float, seed: int = 0, target_c: float = TARGET_C, trial_s: float = TRIAL_S,
        fault: Fault = healthy, start_c: float | None = None) -> Trial:
    """Work in pieces of `piece_s` with the rests that cool mode makes; from a cold start unless `start_c` says else."""
    model = SimulatedCard(card, seed=seed, start_c=start_c)
    cooler = Cooler(Hardware(target_temperature=target_c), SimulatedTelemetry(model, fault), clock=lambda: model.now_s)
    control = SimulatedControl(model)
    trial = Trial(card, piece_s, [], [], [], [], target_c)
    while model.now_s < trial_s:
        before_s = model.now_s
        model.work(piece_s)
        trial.times_s.append(model.now_s)
        trial.peaks_c.append(model.die_c)
        trial.worked_s.append(model.now_s - before_s)
        trial.events.extend(cooler.rest(control))
    return trial


def uncooled(card: Card, *, piece_s: float, seed: int = 0, trial_s: float = TRIAL_S) -> Trial:
    """The same work at full speed."""
    model = SimulatedCard(card, seed=seed)
    trial = Trial(card, piece_s, [], [], [], [], TARGET_C)
    while model.now_s < trial_s:
        before_s = model.now_s
        model.work(piece_s)
        trial.times_s.append(model.now_s)
        trial.peaks_c.append(model.die_c)
        trial.worked_s.append(model.now_s - before_s)
    return trial
