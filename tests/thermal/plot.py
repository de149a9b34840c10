"""Temperatures over time as an SVG picture, drawn as text: no plotting library is needed to look at a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 860, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 28, 44, 40
POINTS = 500
LOWEST_C, HIGHEST_C = 20.0, 95.0
INK, GRID = "#57606a", "#d0d7de"  # to be read on white


@dataclass(frozen=True)
class Line:
    label: str
    color: str
    minutes: Sequence[float]
    celsius: Sequence[float]


def svg(title: str, lines: Sequence[Line], *, target_c: float, minutes: float) -> str:
    """A picture of `lines` from 0 to `minutes`, with the target as a dashed line."""
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
             f'font-family="sans-serif" font-size="12" fill="{INK}">', f"<title>{title}</title>",
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
             f'<text x="{LEFT}" y="18" font-size="14" font-weight="bold">{title}</text>']
    for celsius in range(20, 100, 10):
        y = _y(celsius)
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="{GRID}"/>'
                     f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{celsius} °C</text>')
    for minute in range(0, round(minutes) + 1, 10):
        parts.append(f'<text x="{_x(minute, minutes)}" y="{HEIGHT - 20}" text-anchor="middle">{minute} min</text>')
    parts.append(f'<path d="M{LEFT} {_y(target_c)}H{WIDTH - RIGHT}" stroke="{INK}" stroke-dasharray="6 4"/>')
    for number, line in enumerate(lines):
        parts.append(f'<polyline fill="none" stroke="{line.color}" stroke-width="1.4" points="'
                     + _points(line, minutes) + '"/>')
        x = LEFT + 250 * number
        parts.append(f'<path d="M{x} 32h24" stroke="{line.color}" stroke-width="3"/>'
                     f'<text x="{x + 30}" y="36">{line.label}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _points(line: Line, minutes: float) -> str:
    every = max(1, len(line.minutes) // POINTS)
    return " ".join(f"{_x(at, minutes)},{_y(celsius)}"
                    for at, celsius in zip(line.minutes[::every], line.celsius[::every], strict=True))


def _x(minute: float, minutes: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * min(minute, minutes) / minutes, 1)


def _y(celsius: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (HIGHEST_C - celsius) / (HIGHEST_C - LOWEST_C), 1)
