"""The ways to compute one block: number formats, kernels of attention, and what dropout costs them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from atlas_core import format as people
from atlas_core import presets
from atlas_core.config import Config
from atlas_core.model.attention import WAYS as KERNELS
from atlas_core.training import calibration
from atlas_core.training.calibration import Way
from tests.benchmarks.formats import multiplied
from tests.benchmarks.section import Column, Effort, Row, Section

PLAIN = {"model.dropout": 0.0, "model.attention_dropout": 0.0}
SHAPES: dict[str, dict[str, object]] = {
    "NANO": {}, "MICRO": {}, "TINY": {}, "SMALL": {"training.batch_size": 2, "model.max_seq_len": 512}}
WAYS = [Way(*way) for way in product(multiplied(), KERNELS)]


def rows(home: Path, effort: Effort) -> Iterator[Row]:  # noqa: ARG001 - numbers without meaning do
    """One row for each preset."""
    for name, shape in effort.few(list(SHAPES.items())):
        base = presets.find(name).config.replace({**shape, **PLAIN, "hardware.device": "cpu"})
        seconds = calibration.times(base, WAYS)
        fastest = min(seconds, key=lambda way: seconds[way])
        yield {
            "preset": name,
            **{f"{way.precision}_{way.attention}": seconds[way] for way in WAYS},
            "dropout": _slower(base, fastest, {"model.dropout": 0.1}),
            "attention_dropout": _slower(base, fastest, {"model.dropout": 0.1, "model.attention_dropout": 0.1}),
        }


def _slower(config: Config, way: Way, changes: dict[str, object]) -> float:
    """How many times as long a block takes with the changes, the fastest time of each."""
    (plain,), (changed,) = (calibration.times(c, [way]).values() for c in (config, config.replace(changes)))
    return changed / plain


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


SECTION = Section("ways", "One block there and back, by number format and attention; what dropout costs the fastest", (
    Column("preset", "preset"),
    *(Column(f"{way.precision}_{way.attention}", f"{way.precision}, {way.attention}", _milliseconds) for way in WAYS),
    Column("dropout", "dropout 0.1", people.times),
    Column("attention_dropout", "attention dropout too", people.times),
), rows)
