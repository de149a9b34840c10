"""Stop strings in streamed text: what may be shown, and when to end.

Knows only characters, neither tokens nor a model.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopGate:
    """Lets text through, but holds back an end that could still become a stop string.

    `stopped` turns true at the first stop string; it and all that follows are never let through.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)  # an empty one would end every text at once
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The characters that are now certain to belong to the text."""
        if self.stopped:
            return ""
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self.stopped = True
            return self._release(min(places))
        return self._release(len(self._held) - self._doubtful())

    def flush(self) -> str:
        """What was held back, once no more text comes."""
        return "" if self.stopped else self._release(len(self._held))

    def _release(self, count: int) -> str:
        shown, self._held = self._held[:count], self._held[count:]
        return shown

    def _doubtful(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = max(map(len, self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
