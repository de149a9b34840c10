"""A numpy copy of a list that only grows, for plots that are drawn many times while it does.

Knows nothing of plots; the list stays the truth.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIRST_LENGTH = 1024
SHARE = 0.1  # an average reaches back over a tenth of the values so far, at most


class Smoother:
    """An exponential moving average that reaches back less at the beginning, one value at a time.

    A curve falls fastest at first; an average over many steps would hang far above a short run. `amount` from 0
    (as it is) to below 1 is what it comes to in the end. Values that are not numbers are passed over.
    """

    def __init__(self, amount: float) -> None:
        self._amount = amount
        self._mean = math.nan
        self._seen = 0

    def __call__(self, value: float) -> float:
        """The average once `value` has come."""
        if math.isfinite(value):
            weight = max(1.0 - self._amount, 1.0 / (1.0 + SHARE * self._seen))
            self._mean = value if not self._seen else self._mean + weight * (value - self._mean)
            self._seen += 1
        return self._mean if self._seen else value


class GrowingColumn:
    """An array that follows a list which only grows, converting (and smoothing) nothing twice."""

    def __init__(self, amount: float = 0.0) -> None:
        self._amount = amount
        self._smoother = Smoother(amount)
        self._buffer: Array = np.empty(FIRST_LENGTH)
        self._length = 0

    def follow(self, values: list[float] | list[int]) -> Array:
        """The list as an array; a list that became shorter is another one, and is read anew."""
        if len(values) < self._length:
            self._length, self._smoother = 0, Smoother(self._amount)
        new = values[self._length:]
        if len(values) > len(self._buffer):
            grown = np.empty(max(2 * len(self._buffer), len(values)))
            grown[:self._length] = self._buffer[:self._length]
            self._buffer = grown
        self._buffer[self._length:len(values)] = list(map(self._smoother, new)) if self._amount else new
        self._length = len(values)
        return self._buffer[:self._length]
