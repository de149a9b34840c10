"""Numbers as people read them: 1 240, 51.2 M, 5.2 GB, 8 min. Text only, no widgets.

Groups and units are set off by a narrow no-break space, so that a number never wraps in its middle.
"""

from __future__ import annotations

import math
import time

SPACE = "\u202f"
DASH = "–"  # stands where there is no number

MINUTE, HOUR, DAY = 60, 3600, 86400
YEAR = 365.25 * DAY


def count(number: float) -> str:
    """A whole number in groups of three: 1 240."""
    return f"{round(number):,}".replace(",", SPACE) if math.isfinite(number) else DASH


def many(number: int, noun: str) -> str:
    """A number of things: 1 step, 1 240 steps."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def short_count(number: float) -> str:
    """A number in three digits and a letter: 51.2 M."""
    if not math.isfinite(number):
        return DASH
    for letter, unit in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= 0.9995 * unit:
            return f"{_three_digits(number / unit)}{SPACE}{letter}"
    return f"{number:.0f}"


def size(bytes_: float) -> str:
    """Bytes in units of 1024, as memory is sold: 5.2 GB."""
    if not math.isfinite(bytes_):
        return DASH
    for name, unit in (("TB", 2**40), ("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if abs(bytes_) >= 0.9995 * unit:
            return f"{_three_digits(bytes_ / unit)}{SPACE}{name}"
    return f"{bytes_:.0f}{SPACE}byte{'' if bytes_ == 1 else 's'}"


def duration(seconds: float) -> str:
    """A span of time in its one or two largest units: 45 s, 8 min, 1 h 20 min, 3 d 4 h, 40 d, 6.7 years."""
    if not math.isfinite(seconds) or seconds < 0:
        return DASH
    if round(seconds) < MINUTE:
        return f"{round(seconds)}{SPACE}s"
    if seconds < 59.5 * MINUTE:
        return f"{round(seconds / MINUTE)}{SPACE}min"
    if seconds < DAY:
        return _two_units(round(seconds / MINUTE), 60, "h", "min")
    if seconds < 9.5 * DAY:
        return _two_units(round(seconds / HOUR), 24, "d", "h")
    return f"{count(seconds / DAY)}{SPACE}d" if seconds < 2 * YEAR else f"{_large(seconds / YEAR)}{SPACE}years"


def milliseconds(seconds: float) -> str:
    """A short span: 71 ms, and from a second on 1.4 s."""
    return f"{seconds * 1000:.0f}{SPACE}ms" if seconds < 0.9995 else f"{_three_digits(seconds)}{SPACE}s"


def energy(watt_hours: float) -> str:
    """As a bill counts it: 45 Wh, 1.2 kWh."""
    if watt_hours < 999.5:
        return f"{watt_hours:.0f}{SPACE}Wh"
    return f"{_three_digits(watt_hours / 1000)}{SPACE}kWh"


def times(number: float) -> str:
    """How often: 0.4 times, 31.7 times, 120 times."""
    return f"{_large(number)} times"


def ago(unix: float, *, now: float | None = None) -> str:
    """How long ago a moment was: "just now", "2 min ago"."""
    seconds = (time.time() if now is None else now) - unix
    return "just now" if seconds < 10 else f"{duration(seconds)} ago"


def plain(text: str) -> str:
    """`text` for terminals and log files, whose fonts often lack the narrow spaces inside numbers."""
    return text.replace(SPACE, " ")


def percent(share: float) -> str:
    """A share of one: 0.12 is 12 %."""
    return f"{share * 100:.0f}{SPACE}%" if math.isfinite(share) else DASH


def cooling(state: str, target_c: float, idle: float, limit_w: float = 0.0) -> str:
    """How cool mode stands: "cooling: 23 % idle, holding 65 °C"; empty while it need not do anything."""
    target = f"{target_c:.0f}{SPACE}°C"
    return {"holding": f"cooling: {percent(idle)} idle, holding {target}",
            "saving": f"cooling: {percent(idle)} idle, holding {limit_w:.0f}{SPACE}W",
            "hot": f"paused by heat, until below {target}",
            "blind": f"no temperature: a safe pace, {percent(idle)} idle"}.get(state, "")


def loss(value: float | None) -> str:
    """Nats a token, always three decimals, so that a changing number keeps its width."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.3f}"


def perplexity(value: float | None) -> str:
    """One decimal while it is small, then whole, then short."""
    if value is None or not math.isfinite(value):
        return DASH
    if value < 100:
        return f"{value:.1f}"
    return count(value) if value < 1e5 else short_count(value)


def learning_rate(value: float | None) -> str:
    """As one writes it in a configuration: 6.00e-4."""
    if value is None or not math.isfinite(value):
        return DASH
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.1f}"


def _large(value: float) -> str:
    return f"{value:.1f}" if value < 100 else count(value)


def _two_units(small: int, per_large: int, large_name: str, small_name: str) -> str:
    whole, rest = divmod(small, per_large)
    text = f"{whole}{SPACE}{large_name}"
    return f"{text} {rest}{SPACE}{small_name}" if rest else text
