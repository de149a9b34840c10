"""A learning-rate range test as a plot of characters: the smoothed loss against the rate, the suggestion marked."""

from __future__ import annotations

import math
from collections.abc import Iterator

from atlas_core import format as people
from atlas_core.events import RateFound

COLUMNS, ROWS = 64, 12
MARGIN = 7  # for the numbers of the loss


def rate_plot(found: RateFound) -> Iterator[str]:
    """The lines of the plot. Losses above the first one lie on the upper edge: how far they explode says nothing."""
    losses = [point.smoothed for point in found.points]
    top, bottom = losses[0], min(losses)
    logs = [math.log10(point.learning_rate) for point in found.points]
    per_column = (logs[-1] - logs[0]) / (COLUMNS - 1)
    canvas = [[" "] * COLUMNS for _ in range(ROWS)]
    for log, loss in zip(logs, losses, strict=True):
        row = round((top - min(loss, top)) / (top - bottom) * (ROWS - 1))
        canvas[row][round((log - logs[0]) / per_column)] = "*"
    numbers = {0: people.loss(top), ROWS - 1: people.loss(bottom)}
    for row, cells in enumerate(canvas):
        yield f"{numbers.get(row, ''):>{MARGIN}} |{''.join(cells)}".rstrip()
    ticks, names = [" "] * (COLUMNS + MARGIN), [" "] * (COLUMNS + MARGIN)
    for decade in range(math.ceil(logs[0] - 1e-9), math.floor(logs[-1] + 1e-9) + 1):
        place = round((decade - logs[0]) / per_column)
        ticks[place] = "|"
        names[place:place + 5] = f"{10.0**decade:<5.0e}"
    mark = round((math.log10(found.learning_rate) - logs[0]) / per_column)
    yield f"{'':{MARGIN}} +{''.join(ticks[:COLUMNS]).replace(' ', '-')}"
    yield f"{'':{MARGIN}}  {''.join(names).rstrip()}"
    yield f"{'':{MARGIN}}  {'^':>{mark + 1}} {people.learning_rate(found.learning_rate)}"
