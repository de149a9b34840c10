"""How long to idle after a piece of work so that a machine keeps a temperature. Arithmetic only.

Has no clock and no sensor of its own: times and readings are handed in, and the rest that is due is handed out. So its
laws can be tried on a simulated card (`python -m tests.thermal`). `cooling.py` is who reads, waits and tells.
"""

from __future__ import annotations

import math

# States of a thermostat.
READY = "ready"  # cooler than wished: no rests
HOLDING = "holding"  # rests after each piece of work
SAVING = "saving"  # cool enough, and rests keep the power
HOT = "hot"  # far too hot: no work at all for the moment
BLIND = "blind"  # the sensor is silent or makes no sense: a safe pace

LEAST_DUTY = 0.1  # below this a run would hardly get anywhere
SAFE_DUTY = 0.5
MOST_OWED_S = 180.0
LEAST_REST_S = 0.01  # shorter rests are saved up: no system sleeps so precisely

# The controller. Its gains were found on the simulated cards. A long piece of work is answered more gently, because
# the next answer is given long before the effect of this one is seen.
GAIN_PER_K = 0.06
INTEGRAL_S = 100.0
GENTLE_BEYOND_S, INTEGRAL_GENTLE_BEYOND_S = 24.0, 16.0
FILTER_S = 4.0
UPDATE_S = 1.0
FIRST_SHARE = 0.1  # a low first guess: the target is met from below, and the guess grows into the truth
AIM_BELOW_C = 0.2  # noise and whole degrees of the sensor must not end above the target
RESTS_BELOW_DUTY, NO_RESTS_FROM_DUTY = 0.97, 0.995

# The sensor.
COLDEST_C, HOTTEST_C = 1.0, 125.0
JUMP_C, JUMP_C_PER_S = 30.0, 2.0
BLIND_AFTER_S, BLIND_AFTER_READINGS = 10.0, 3
FROZEN_AFTER_S, TRIAL_S = 120.0, 20.0

# The guard above the controller.
HOT_ABOVE_C, COOL_BELOW_C, LONGEST_HOT_S = 8.0, 1.0, 300.0


class Thermostat:
    """Turns readings into rests. After each piece of work: `observe`, `worked`, then rest while `due_s` is above 0.

    A proportional-integral controller on the highest reading since its last answer (Åström and Hägglund 1995,
    "PID Controllers", chapters 3 and 4), whose answer is the duty: the share of the time that may be work. The
    integral stands still while the answer is at its bound, so it cannot wind up. A guard with hysteresis stops all
    work when it is far too hot.
    """

    def __init__(self, target_c: float) -> None:
        self.target_c = target_c
        self.duty = 1.0
        self.reading_c: float | None = None  # the latest that made sense
        self._sensor = _Sensor()
        self._integral = FIRST_SHARE
        self._filtered_c: float | None = None
        self._peak_c = -math.inf
        self._updated_s = 0.0
        self._owed_s = 0.0
        self._resting = False
        self._hot_since_s: float | None = None
        self._heat_is_given_up = False

    @property
    def state(self) -> str:
        if self._sensor.blind:
            return BLIND
        if self._hot_since_s is not None:
            return HOT
        return HOLDING if self._resting else READY

    @property
    def due_s(self) -> float:
        """Seconds to rest before the next piece of work, or before looking again; 0 allows the work."""
        if self.state == HOT:
            return max(UPDATE_S, self._owed_s)
        return self._owed_s if self._owed_s >= LEAST_REST_S else 0.0

    def observe(self, reading_c: float | None, now_s: float) -> None:
        """Take in what the sensor says, about once a second; None is a sensor that says nothing."""
        if not self._sensor.trusts(reading_c, now_s):
            return
        assert reading_c is not None
        self.reading_c = reading_c
        self._peak_c = max(self._peak_c, reading_c)
        if self._sensor.on_trial:
            self._owed_s = max(self._owed_s, self._sensor.trial_left_s(now_s))
        self._guard(reading_c, now_s)

    def worked(self, seconds: float, now_s: float) -> None:
        """The machine has worked that long since the last rest."""
        if self._sensor.blind:
            duty = min(self.duty, SAFE_DUTY)
        else:
            if math.isfinite(self._peak_c) and now_s - self._updated_s >= UPDATE_S:
                self._update(now_s)
            duty = self.duty if self._resting else 1.0
        self._owed_s = min(MOST_OWED_S, self._owed_s + seconds * (1 - duty) / duty)

    def rested(self, seconds: float) -> None:
        """The machine has idled that long."""
        self._owed_s = max(0.0, self._owed_s - seconds)

    def _update(self, now_s: float) -> None:
        """A new duty from the highest temperature since the last one."""
        passed_s = now_s - self._updated_s if self._filtered_c is not None else UPDATE_S
        before_c = self._peak_c if self._filtered_c is None else self._filtered_c
        self._filtered_c = before_c + (1 - math.exp(-passed_s / FILTER_S)) * (self._peak_c - before_c)
        self._updated_s, self._peak_c = now_s, -math.inf

        error_c = self.target_c - AIM_BELOW_C - self._filtered_c
        proportional = GAIN_PER_K * error_c * min(1.0, GENTLE_BEYOND_S / passed_s)
        wished = proportional + self._integral
        if not ((wished >= 1 and error_c > 0) or (wished <= LEAST_DUTY and error_c < 0)):
            grown = self._integral + GAIN_PER_K * error_c * min(passed_s, INTEGRAL_GENTLE_BEYOND_S) / INTEGRAL_S
            self._integral = min(1.0, max(0.0, grown))
        self.duty = min(1.0, max(LEAST_DUTY, proportional + self._integral))
        self._resting = self.duty < (NO_RESTS_FROM_DUTY if self._resting else RESTS_BELOW_DUTY)

    def _guard(self, reading_c: float, now_s: float) -> None:
        """No work from `HOT_ABOVE_C` above the target until it is below; given up where even idling does not help."""
        if self._hot_since_s is None:
            if reading_c < self.target_c + HOT_ABOVE_C:
                self._heat_is_given_up = False
            elif not self._heat_is_given_up:
                self._hot_since_s = now_s
        elif reading_c <= self.target_c - COOL_BELOW_C or now_s - self._hot_since_s >= LONGEST_HOT_S:
            self._heat_is_given_up = reading_c > self.target_c - COOL_BELOW_C
            self._hot_since_s = None
            self._filtered_c = self._peak_c = reading_c  # what was before the pause says nothing about now


class _Sensor:
    """Which readings to believe.

    Whole degrees may stand still for long while all is well, so a reading that stands still is put on trial: an
    idle while, in which a living sensor falls. Each time it does, the next trial is twice as far away.
    """

    def __init__(self) -> None:
        self.on_trial = False
        self._trusted_c: float | None = None
        self._trusted_s: float | None = None
        self._changed_s = 0.0
        self._refused = 0
        self._silent = self._frozen = False
        self._trial_after_s = FROZEN_AFTER_S
        self._trial_ends_s = 0.0

    @property
    def blind(self) -> bool:
        return self._silent or self._frozen

    def trial_left_s(self, now_s: float) -> float:
        return max(0.0, self._trial_ends_s - now_s)

    def trusts(self, reading_c: float | None, now_s: float) -> bool:
        """Judge a reading; to be asked about each one, in order."""
        if self._trusted_s is None:
            self._trusted_s = now_s
        silent_s = now_s - self._trusted_s
        if not self._plausible(reading_c, silent_s):
            self._refused += 1
            self._silent = self._silent or (silent_s >= BLIND_AFTER_S and self._refused >= BLIND_AFTER_READINGS)
            return False
        self._refused, self._silent = 0, False
        if reading_c != self._trusted_c:
            if self.on_trial or self._frozen:
                self._trial_after_s *= 2
            self.on_trial = self._frozen = False
            self._changed_s = now_s
        elif self.on_trial and now_s >= self._trial_ends_s:
            self.on_trial, self._frozen = False, True
        elif not self.on_trial and not self._frozen and now_s - self._changed_s >= self._trial_after_s:
            self.on_trial, self._trial_ends_s = True, now_s + TRIAL_S
        self._trusted_c, self._trusted_s = reading_c, now_s
        return not self._frozen

    def _plausible(self, reading_c: float | None, silent_s: float) -> bool:
        if reading_c is None or not COLDEST_C <= reading_c <= HOTTEST_C:  # NaN is in no range
            return False
        return self._trusted_c is None or abs(reading_c - self._trusted_c) <= JUMP_C + JUMP_C_PER_S * silent_s
