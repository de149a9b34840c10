"""A numpy copy of a list that only grows, for plots that are drawn many times while it does.

Knows nothing of plots; the list stays the truth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atlas_core.history import Smoother

Array = NDArray[np.float64]

FIRST_LENGTH = 1024


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
