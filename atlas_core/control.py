"""What a front end may ask of a running job. Plain flags, read by the job between two steps.

Nothing here waits for an answer: the answer comes back as an event.
"""

from __future__ import annotations

import threading
from collections import deque

from atlas_core.config import Sampling


class Wish:
    """A text that somebody wants from the model in training. `settings` None means the run's own."""

    def __init__(self, prompt: str, settings: Sampling | None) -> None:
        self.prompt, self.settings = prompt, settings
        self.stopped = False

    def stop(self) -> None:
        """End this text, or do not begin it; the answer still comes, as short as it is."""
        self.stopped = True


class Control:
    """Wishes that go down to a job. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._paused = False
        self._save = False
        self._samples: deque[Wish] = deque()
        self._stop_text = False
        self.target_temperature: float | None = None  # °C; None: as the settings say

    def stop(self) -> None:
        """Finish the step at hand, save, and end with `Finished("stopped")`."""
        with self._lock:
            self._stop = True
            self._stop_text = True
        self._wake.set()

    def pause(self) -> None:
        with self._lock:
            self._paused = True
        self._wake.set()

    def resume(self) -> None:
        with self._lock:
            self._paused = False
        self._wake.set()

    def save_now(self) -> None:
        with self._lock:
            self._save = True
        self._wake.set()

    def sample(self, prompt: str, settings: Sampling | None = None) -> Wish:
        """Draw one text from the weights as they are now. With `settings` it is also told piece by piece."""
        wish = Wish(prompt, settings)
        with self._lock:
            self._samples.append(wish)
        self._wake.set()
        return wish

    def keep_at(self, target_c: float) -> None:
        """Keep another temperature than the settings say from now on; 0 lets the job run at full speed."""
        self.target_temperature = target_c
        self._wake.set()

    def stop_text(self) -> None:
        """End the text that a job of text is drawing."""
        self._stop_text = True

    @property
    def stopping(self) -> bool:
        return self._stop

    @property
    def paused(self) -> bool:
        return self._paused and not self._stop

    @property
    def wished(self) -> bool:
        """Whether somebody waits for the job: to stop, to pause, to save or to write a text."""
        return self._stop or self._paused or self._save or bool(self._samples)

    @property
    def text_stopping(self) -> bool:
        return self._stop_text

    def take_save(self) -> bool:
        """True once for each wish to save."""
        with self._lock:
            wished, self._save = self._save, False
            return wished

    def take_sample(self) -> Wish | None:
        """The next wish for a text, if any."""
        with self._lock:
            return self._samples.popleft() if self._samples else None

    def wait(self, seconds: float) -> bool:
        """Sleep until a new wish comes or the time is over; whether a wish came."""
        woken = self._wake.wait(seconds)
        self._wake.clear()
        return woken
