"""A simulated graphics card: two masses, a fan, a throttle and a sensor that is late, rough and noisy.

It stands in for the hardware in the laws of cool mode. Its figures are of the order of such cards, measured on none.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache

STEP_S = 0.05  # of the integration; the quickest of its parts, the die, takes some seconds
THROTTLED_SPEED = 0.5


@dataclass(frozen=True)
class Card:
    """What a card is made of and where it stands. Heat flows from the die to the heat sink and from there to the room.

    `die_k_per_w` and `sink_k_per_w` are thermal resistances, the latter with the fan at rest; a full fan divides it by
    1 + `fan_gain`. The fan goes from rest at `fan_from_c` to full at `fan_to_c` of the die.
    """

    name: str
    busy_w: float
    idle_w: float
    die_j_per_k: float
    die_k_per_w: float
    sink_j_per_k: float
    sink_k_per_w: float
    fan_gain: float
    room_c: float = 23.0
    fan_from_c: float = 40.0
    fan_to_c: float = 90.0
    fan_lag_s: float = 8.0
    throttle_c: float = 87.0
    sensor_lag_s: float = 1.0
    sensor_noise_c: float = 0.5
    sensor_step_c: float = 1.0


LAPTOP = Card("laptop", busy_w=95, idle_w=8, die_j_per_k=50, die_k_per_w=0.10, sink_j_per_k=280, sink_k_per_w=0.95,
              fan_gain=1.4)
DESKTOP = Card("desktop", busy_w=285, idle_w=18, die_j_per_k=120, die_k_per_w=0.05, sink_j_per_k=1100,
               sink_k_per_w=0.32, fan_gain=1.6)
SMALL_CARD = Card("small card", busy_w=70, idle_w=6, die_j_per_k=35, die_k_per_w=0.12, sink_j_per_k=350,
                  sink_k_per_w=1.1, fan_gain=1.0)
HOT_ROOM = replace(LAPTOP, name="laptop, hot room", room_c=38.0)
ROUGH = replace(DESKTOP, name="desktop, poor sensor", sensor_lag_s=2.5, sensor_noise_c=1.0)
CARDS = (LAPTOP, DESKTOP, SMALL_CARD, HOT_ROOM, ROUGH)


class SimulatedCard:
    """A card in time. `die_c` is the truth, `read()` is what its sensor says of it."""

    def __init__(self, card: Card, *, seed: int = 0, start_c: float | None = None) -> None:
        self.card = card
        self.now_s = 0.0
        self.die_c = self.sink_c = self._felt_c = card.room_c + 3.0 if start_c is None else start_c
        self.fan = 0.0
        self.throttled_s = 0.0
        self.power_w = card.idle_w
        self.used_j = 0.0
        self._chance = random.Random(seed)

    def work(self, seconds: float) -> None:
        """Compute what takes so long at full speed; hotter than `throttle_c` it takes longer."""
        left_s = seconds
        while left_s > 1e-9:
            throttled = self.die_c >= self.card.throttle_c
            speed = THROTTLED_SPEED if throttled else 1.0
            step_s = min(STEP_S, left_s / speed)
            self._advance(step_s, self.card.busy_w * speed)
            left_s -= step_s * speed
            self.throttled_s += step_s if throttled else 0.0

    def idle(self, seconds: float) -> None:
        left_s = seconds
        while left_s > 1e-9:
            step_s = min(STEP_S, left_s)
            self._advance(step_s, self.card.idle_w)
            left_s -= step_s

    def read(self) -> float:
        """What the sensor says: late, with noise, in whole steps."""
        noisy = self._felt_c + self._chance.gauss(0.0, self.card.sensor_noise_c)
        return round(noisy / self.card.sensor_step_c) * self.card.sensor_step_c

    def _advance(self, seconds: float, power_w: float) -> None:
        card = self.card
        self.power_w = power_w
        self.used_j += power_w * seconds
        into_sink_w = (self.die_c - self.sink_c) / card.die_k_per_w
        into_room_w = (self.sink_c - card.room_c) * (1 + card.fan_gain * self.fan) / card.sink_k_per_w
        self.die_c += seconds * (power_w - into_sink_w) / card.die_j_per_k
        self.sink_c += seconds * (into_sink_w - into_room_w) / card.sink_j_per_k
        wished = (self.die_c - card.fan_from_c) / (card.fan_to_c - card.fan_from_c)
        self.fan += seconds * (min(1.0, max(0.0, wished)) - self.fan) / card.fan_lag_s
        self._felt_c += seconds * (self.die_c - self._felt_c) / card.sensor_lag_s
        self.now_s += seconds


@cache
def ideal_duty(card: Card, target_c: float, piece_s: float) -> float:
    """The largest share of time at work with which the die's peaks end at the target and not above it.

    Found by bisection on the card itself, with equal rests after equal pieces until it has settled.
    """
    low, high = 0.0, 1.0
    if _settled_peak(card, 1.0, piece_s) <= target_c:
        return 1.0
    for _ in range(9):
        middle = (low + high) / 2
        cool_enough = middle <= 0.02 or _settled_peak(card, middle, piece_s) <= target_c
        low, high = (middle, high) if cool_enough else (low, middle)
    return low


def _settled_peak(card: Card, duty: float, piece_s: float) -> float:
    model = SimulatedCard(replace(card, throttle_c=1000.0))
    model.sink_c = model.die_c = 60.0
    peak_c, slice_s = 0.0, max(piece_s, 0.2)
    while model.now_s < 1800:
        model.work(slice_s)
        if model.now_s > 1500:
            peak_c = max(peak_c, model.die_c)
        model.idle(slice_s * (1 - duty) / duty)
    return peak_c
