"""A span of the day such as "22:00-07:00". Knows no clock: the hour is handed in."""

from __future__ import annotations

import re
from dataclasses import dataclass

SPAN = re.compile(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*")


@dataclass(frozen=True)
class Hours:
    """From one minute of the day up to another, also past midnight."""

    first: int
    end: int

    def hold(self, hour: int, minute: int) -> bool:
        """Whether that time of the day lies within."""
        now = 60 * hour + minute
        if self.first <= self.end:
            return self.first <= now < self.end
        return now >= self.first or now < self.end


def parse(text: str) -> Hours | None:
    """The span in `text`; None for an empty one. Raises `ValueError` for anything else."""
    if not text.strip():
        return None
    found = SPAN.fullmatch(text)
    if found is None:
        raise ValueError(text)
    from_hour, from_minute, to_hour, to_minute = map(int, found.groups())
    first, end = 60 * from_hour + from_minute, 60 * to_hour + to_minute
    if max(first, end) > 24 * 60 or max(from_minute, to_minute) > 59:
        raise ValueError(text)
    return Hours(first, end)
