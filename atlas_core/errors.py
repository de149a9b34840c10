"""What may go wrong by the user's doing or the machine's, as one small tree.

Our own mistakes are not here: they stay `AssertionError` and keep their traceback.
"""

from __future__ import annotations

import errno

MOST_SHOWN = 10  # problems in one message


class AtlasError(Exception):
    """One sentence that says what is wrong, and one that says what to do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


def refused(error: OSError) -> tuple[str, str]:
    """What the system would not do, in a sentence, and what to do about it."""
    place = f"{error.filename} cannot be used" if error.filename else "The system refused something"
    remedy = "Check the path, that you may use it, and that no other program holds it."
    return f"{place}: {error.strerror or error}.", "Make room on its disk." if error.errno == errno.ENOSPC else remedy


class ConfigError(AtlasError, ValueError):
    """Settings that are wrong, unknown or contradict each other; `problems` lists every one, the message the first."""

    def __init__(self, problems: list[str], remedy: str = "") -> None:
        self.problems = list(problems)
        shown, rest = self.problems[:MOST_SHOWN], self.problems[MOST_SHOWN:]
        super().__init__("; ".join(shown) + (f"; and {len(rest)} more." if rest else "."), remedy)


class DataError(AtlasError, ValueError):
    """Source text or a prepared dataset that cannot be used."""


class TokenizerError(AtlasError, ValueError):
    """A tokenizer that cannot be found, read or trained."""


class CheckpointError(AtlasError, ValueError):
    """A checkpoint or run that is missing, damaged or does not belong to this model."""


class ExportError(AtlasError, ValueError):
    """A model that cannot be written in the wanted format, or a file that failed its proof."""


class DeviceError(AtlasError, RuntimeError):
    """A device that was asked for and is not there, or that ran out of memory."""


class NumericsError(AtlasError, ArithmeticError):
    """The loss is no longer a number."""
