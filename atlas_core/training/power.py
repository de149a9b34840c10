"""How long to idle so that the mean power keeps a limit. Arithmetic only, like `thermal.py`: no clock, no sensor.

What was used above the limit is owed and paid back by idling, so the mean ends at the limit whatever the device takes.
"""

from __future__ import annotations

import math

from atlas_core.hardware.telemetry import Reading
from atlas_core.training.thermal import LEAST_DUTY, LEAST_REST_S

FORGIVEN_S, SAVED_S = 60.0, 5.0  # no more than so many seconds at the limit are owed, or kept for later
LEAST_SPARE = 0.1  # of the limit: what idling is taken to bring at least


class PowerBudget:
    """After each piece of work: `observe`, `worked`, then rest while `due_s` is above 0. A limit of 0 W is none.

    The driver's counter of energy tells exactly what was used. Where there is none, a reading of the power stands for
    the time since the one before. A limit below what the device takes idle leaves `LEAST_DUTY` of the time for work.
    """

    def __init__(self, limit_w: float) -> None:
        self.limit_w = limit_w
        self.mean_w: float | None = None  # between the last two readings
        self._owed_j = 0.0
        self._idle_w = 0.0
        self._last: tuple[float, Reading] | None = None
        self._worked_since = False
        self._rested_since_s = 0.0
        self._rest_left_s = 0.0

    @property
    def due_s(self) -> float:
        """Seconds to rest before the next piece of work; 0 allows it."""
        spare_w = max(self.limit_w - self._idle_w, LEAST_SPARE * self.limit_w)
        owed_s = self._owed_j / spare_w - self._rested_since_s if self._owed_j > 0 else 0.0
        due_s = min(owed_s, self._rest_left_s)
        return due_s if due_s >= LEAST_REST_S else 0.0

    def observe(self, reading: Reading, now_s: float) -> None:
        """Take in what the sensor says, about once a second. One that is silent, or goes backwards, is passed over."""
        if not self.limit_w:
            return
        last, self._last = self._last, (now_s, reading)
        if last is None or now_s <= last[0]:
            return
        passed_s = now_s - last[0]
        used_j = _used_j(last[1], reading, passed_s)
        if used_j is not None:
            self._account(used_j, passed_s)
        self._worked_since, self._rested_since_s = False, 0.0

    def worked(self, seconds: float) -> None:
        """The device has worked that long since the last rest."""
        self._worked_since = True
        self._rest_left_s = seconds * (1 - LEAST_DUTY) / LEAST_DUTY

    def rested(self, seconds: float) -> None:
        """The device has idled that long."""
        self._rested_since_s += seconds
        self._rest_left_s -= seconds

    def _account(self, used_j: float, passed_s: float) -> None:
        self.mean_w = used_j / passed_s
        if not self._worked_since:  # a whole second of idling tells what idling takes
            self._idle_w = self.mean_w
        owed_j = self._owed_j + used_j - self.limit_w * passed_s
        self._owed_j = min(FORGIVEN_S * self.limit_w, max(-SAVED_S * self.limit_w, owed_j))


def _used_j(before: Reading, now: Reading, passed_s: float) -> float | None:
    """The energy between two readings; None where they do not tell, or tell nonsense."""
    if before.energy_j is not None and now.energy_j is not None:
        used_j = now.energy_j - before.energy_j
        return used_j if used_j >= 0 and math.isfinite(used_j) else None  # a reloaded driver counts from 0 again
    if now.power_w is None or not math.isfinite(now.power_w) or now.power_w < 0:
        return None
    return now.power_w * passed_s
