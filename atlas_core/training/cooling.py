"""Cool mode at work: reads the sensor, idles as long as the thermostat says, and tells what that costs.

Touches no number of the training: a cooled run takes the same steps, only later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Protocol

from atlas_core import hours
from atlas_core.config import Hardware
from atlas_core.control import Control
from atlas_core.events import Cooling, Event, Notice
from atlas_core.hardware.device import finish
from atlas_core.hardware.telemetry import Reading, Telemetry, telemetry_of
from atlas_core.training import thermal
from atlas_core.training.power import PowerBudget
from atlas_core.training.thermal import Thermostat

LOOK_S = 1.0  # sensors renew their reading about this often
TELL_S = 2.0
SHARE_S = 60.0  # the share of time idled is that of about the last minute

BLIND = ("The temperature sensor has gone silent or makes no sense: training goes on with a rest as long as each step "
         "until it speaks again.")
TELLING_SHARE = 0.01  # less idling for the sake of power is not worth a word
NO_POWER = ("The power limit is off: this machine does not tell the power of what computes, so training does not rest "
            "for it.")
NO_SENSOR = ("Cool mode is off: this machine does not tell the temperature of what computes, so training runs at full "
             "speed.")


class Rests(Protocol):
    """Something that may make training rest between two batches, whether or not a step ends between them."""

    def rest(self, control: Control) -> Generator[Event, None, float]:
        """Idle as long as is due, telling what there is to tell; returns the seconds that took.

        Ends at once for any wish: what is still due then is made up for when it is fulfilled.
        """
        ...

    def skip(self) -> None:
        """The time since the last rest was no work: a pause, say."""
        ...


class NoRests:
    """Full speed, with one notice if that is not what was wished for."""

    def __init__(self, notice: str = "") -> None:
        self._notice = notice

    def rest(self, control: Control) -> Generator[Event, None, float]:  # noqa: ARG002
        if self._notice:
            yield Notice(self._notice, "warning")
            self._notice = ""
        return 0.0

    def skip(self) -> None:
        """There are no rests to be counted."""


class Cooler:
    """Rests that keep a temperature, a mean power, or both; the longer rest counts."""

    def __init__(self, wished: Hardware, telemetry: Telemetry, *, clock: Callable[[], float] = time.monotonic,
                 local_time: Callable[[], time.struct_time] = time.localtime, notice: str = "",
                 finish: Callable[[], None] = lambda: None) -> None:
        """To be made and used in one thread. `clock` is in seconds; `notice` is told once.

        `finish` waits until the device has done what it was given: while it computes, waiting is no rest.
        """
        self._notice, self._finish = notice, finish
        self._wished, self._telemetry, self._clock, self._local_time = wished, telemetry, clock, local_time
        self._quiet = hours.parse(wished.quiet_hours)
        self._thermostat = Thermostat(self._target_c())
        self._budget = PowerBudget(wished.power_limit)
        self._worked_from_s = clock()
        self._looked_s = self._told_s = -math.inf
        self._told_state = ""
        self._warned: set[str] = set()
        self._idle_share = 0.0

    def rest(self, control: Control) -> Generator[Event, None, float]:
        if self._notice:
            yield Notice(self._notice, "warning")
            self._notice = ""
        self._take(control.target_temperature)
        if self._is_idle:
            self._worked_from_s = self._clock()
            return 0.0
        self._finish()
        began_s = self._clock()
        worked_s = began_s - self._worked_from_s
        self._budget.worked(worked_s)
        self._look(began_s)
        self._thermostat.worked(worked_s, began_s)
        yield from self._news(began_s)
        now_s, woken = began_s, False
        while (due_s := self._due_s) and not (woken or control.wished):
            woken = control.wait(min(due_s, LOOK_S))
            before_s, now_s = now_s, self._clock()
            self._thermostat.rested(now_s - before_s)
            self._budget.rested(now_s - before_s)
            self._look(now_s)
            yield from self._news(now_s)
        self._count(worked_s, now_s - began_s)
        self._worked_from_s = self._clock()
        return now_s - began_s

    def skip(self) -> None:
        self._worked_from_s = self._clock()

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is wished, and nothing is left to be told."""
        wishes = self._wished.target_temperature or self._wished.power_limit
        return not wishes and self._told_state in ("", thermal.READY)

    @property
    def _due_s(self) -> float:
        return max(self._thermostat.due_s, self._budget.due_s)

    @property
    def _state(self) -> str:
        state = self._thermostat.state
        saves = self._budget.limit_w and self._idle_share > TELLING_SHARE
        return thermal.SAVING if state == thermal.READY and saves else state

    def _take(self, target_c: float | None) -> None:
        """Another temperature, wished for while training."""
        if target_c is None or target_c == self._wished.target_temperature:
            return
        self._wished = replace(self._wished, target_temperature=target_c)
        self._looked_s = -math.inf
        if not target_c:
            self._thermostat = Thermostat(target_c)  # nothing is owed to the old one

    def _look(self, now_s: float) -> None:
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s, reading = now_s, self._telemetry.read()
        self._budget.observe(reading, now_s)
        if self._wished.target_temperature:
            self._thermostat.target_c = self._target_c()
            self._thermostat.observe(reading.temperature_c, now_s)

    def _target_c(self) -> float:
        now = self._local_time()
        quiet = self._quiet is not None and self._quiet.hold(now.tm_hour, now.tm_min)
        return self._wished.quiet_temperature if quiet else self._wished.target_temperature

    def _count(self, worked_s: float, rested_s: float) -> None:
        passed_s = worked_s + rested_s
        if passed_s > 0:
            self._idle_share += (1 - math.exp(-passed_s / SHARE_S)) * (rested_s / passed_s - self._idle_share)

    def _news(self, now_s: float) -> Generator[Event, None, None]:
        thermostat, state = self._thermostat, self._state
        if state in (thermal.HOT, thermal.BLIND) and state not in self._warned:
            self._warned.add(state)
            yield Notice(BLIND if state == thermal.BLIND else self._heat(), "warning")
        if state != self._told_state or (state != thermal.READY and now_s - self._told_s >= TELL_S):
            self._told_state, self._told_s = state, now_s
            yield Cooling(state, thermostat.reading_c, thermostat.target_c, self._idle_share, self._budget.limit_w)

    def _heat(self) -> str:
        return (f"Paused by heat: {self._thermostat.reading_c:.0f} °C where {self._thermostat.target_c:.0f} °C are "
                "wished. Training goes on by itself once it is cooler.")


def rests_for(wished: Hardware, device_type: str) -> Rests:
    """What the settings wish for a run on this kind of device ("cpu", "cuda", "mps").

    Where the device tells its temperature there is a cooler even if none is wished for yet: that may come while it
    trains.
    """
    telemetry = telemetry_of(device_type)
    reading = telemetry.read() if telemetry is not None else Reading("")
    lacking = ""
    if wished.target_temperature and reading.temperature_c is None:
        lacking, wished = NO_SENSOR, replace(wished, target_temperature=0.0)
    if wished.power_limit and reading.power_w is None:
        lacking, wished = f"{lacking} {NO_POWER}".strip(), replace(wished, power_limit=0.0)
    if telemetry is None or (reading.temperature_c is None and not wished.power_limit):
        return NoRests(lacking)
    return Cooler(wished, telemetry, notice=lacking, finish=lambda: finish(device_type))
