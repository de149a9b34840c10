"""How fast a run goes, by its last steps, and so how long it still takes. Looks at no clock.

What a run will take before it begins is the business of `forecast.py`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

RECENT = 50  # reports: enough to be calm, few enough to follow a machine that slows down


@dataclass
class Pace:
    """Takes each reported step of one session; pauses do not count, for `seconds` is training time."""

    _marks: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=RECENT + 1))

    def add(self, step: int, seconds: float) -> None:
        """`seconds` is the training time from step 0 to the end of `step`. A run that goes back begins anew."""
        if self._marks and step <= self._marks[-1][0]:
            self._marks.clear()
        self._marks.append((step, seconds))

    def seconds_left(self, max_steps: int) -> float | None:
        """Training time up to `max_steps`; None until two steps are known."""
        if len(self._marks) < 2:
            return None
        (first, then), (last, now) = self._marks[0], self._marks[-1]
        return (max_steps - last) * (now - then) / (last - first) if last > first else None
