"""The learning-rate range test: rates that rise, a suggestion from the fall of the loss, and nothing left behind."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from atlas_core import jobs
from atlas_core.control import Control
from atlas_core.errors import ConfigError
from atlas_core.events import Event, Finished, Notice, RateFound, RatePoint, StepDone
from atlas_core.training.range_test import exploded, rising, suggestion
from tests import tiny


def find(dataset: Path, **settings: float) -> list[Event]:
    arguments: dict[str, float] = {"steps": 40, "low": 1e-5, "high": 1.0, **settings}
    return tiny.drain(jobs.find_learning_rate(tiny.config(), dataset, Control(), **arguments))  # type: ignore[arg-type]


def points_of(events: list[Event]) -> list[RatePoint]:
    return [event for event in events if isinstance(event, RatePoint)]


def curve(*smoothed: float) -> list[RatePoint]:
    return [RatePoint(step, len(smoothed), 10.0**step, loss, loss) for step, loss in enumerate(smoothed, 1)]


# ---- the pure parts


def test_the_rate_rises_from_the_lowest_to_the_highest_by_one_factor() -> None:
    rate = rising(1e-5, 1.0, 51)
    rates = [rate(step) for step in range(51)]
    assert (rates[0], rates[-1]) == pytest.approx((1e-5, 1.0))
    assert [b / a for a, b in itertools.pairwise(rates)] == pytest.approx([10**0.1] * 50)


def test_the_suggestion_lies_where_four_fifths_of_the_fall_are_done() -> None:
    assert suggestion(curve(8.0, 7.9, 7.0, 6.1, 6.0, 6.5, 30.0)) == 10.0**4  # 8 - 0.8 * 2 = 6.4


def test_how_far_the_loss_explodes_does_not_move_the_suggestion() -> None:
    assert suggestion(curve(8.0, 7.0, 6.0, 7.0)) == suggestion(curve(8.0, 7.0, 6.0, 7.0, 900.0))


def test_a_loss_that_never_fell_suggests_nothing() -> None:
    for losses in ((8.0, 7.95, 8.1), (8.0, 9.0, 40.0), ()):
        with pytest.raises(ConfigError, match=r"^The loss fell at none"):
            suggestion(curve(*losses))


def test_four_times_the_lowest_loss_or_no_number_is_an_explosion() -> None:
    assert not exploded(curve(8.0, 2.0, 7.9)) and exploded(curve(8.0, 2.0, 8.1)) and not exploded([])
    assert exploded([RatePoint(1, 9, 0.1, math.nan, 8.0)])


# ---- with a model


def test_a_test_tells_each_step_then_its_suggestion_then_that_it_is_done(dataset: Path) -> None:
    *_, found, finished = events = find(dataset)
    points = points_of(events)
    assert isinstance(found, RateFound) and isinstance(finished, Finished) and finished.reason == "done"
    assert found.points == tuple(points) and [point.step for point in points] == list(range(1, 41))
    assert points[0].learning_rate < found.learning_rate < points[-1].learning_rate
    assert found.learning_rate == pytest.approx(suggestion(points), rel=0.05)


def test_the_suggested_rate_learns_more_than_a_hundredth_of_it_and_than_a_hundred_times_it(
        dataset: Path, tmp_path: Path) -> None:
    found = next(event for event in find(dataset) if isinstance(event, RateFound))

    def last_loss(rate: float) -> float:
        config = tiny.config(training__learning_rate=rate, training__max_steps=60)
        events = tiny.drain(jobs.train(config, dataset, tmp_path / f"{rate:g}", Control()))
        return [event.loss for event in events if isinstance(event, StepDone)][-1]

    good = last_loss(found.learning_rate)
    assert good < last_loss(found.learning_rate / 100) and good < last_loss(found.learning_rate * 100)


def test_a_test_leaves_no_file(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATLAS_HOME", str(tmp_path / "home"))
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    find(dataset)
    assert list(tmp_path.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_an_explosion_ends_the_test_before_its_last_step(dataset: Path) -> None:
    events = find(dataset, steps=60, low=1e-4, high=10.0)
    assert 0 < len(points_of(events)) < 60
    assert any(isinstance(event, RateFound) for event in events)


def test_a_loss_that_still_falls_at_the_highest_rate_is_told(dataset: Path) -> None:
    notices = [event for event in find(dataset, low=1e-4, high=3e-3) if isinstance(event, Notice)]
    assert len(notices) == 1 and "still falling at 0.003" in notices[0].message


def test_a_stopped_test_suggests_nothing(dataset: Path) -> None:
    control, events = Control(), []
    for event in jobs.find_learning_rate(tiny.config(), dataset, control):
        events.append(event)
        control.stop()
    assert isinstance(events[0], RatePoint) and events[1:] == [Finished("stopped")]


@pytest.mark.parametrize(("settings", "said"), [
    ({"low": 0.0}, "The lowest rate of a range test must be 1e-09 to 10, as any learning rate, not 0."),
    ({"low": math.nan}, "The lowest rate of a range test must be 1e-09 to 10, as any learning rate, not nan."),
    ({"high": math.inf}, "The highest rate of a range test must be 1e-09 to 10, as any learning rate, not inf."),
    ({"high": 1e30}, "The highest rate of a range test must be 1e-09 to 10, as any learning rate, not 1e+30."),
    ({"low": 1.0, "high": 0.1}, "The lowest rate of the range test (1) is not below the highest (0.1)."),
    ({"high": 1e-5}, "The lowest rate of the range test (1e-05) is not below the highest (1e-05)."),
    ({"steps": 1}, "A range test of 1 step is too short to find anything."),
    ({"steps": 19}, "A range test of 19 steps is too short to find anything."),
])
def test_a_range_in_which_nothing_can_be_found_is_refused_with_a_remedy(
        dataset: Path, settings: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find(dataset, **settings)
    assert caught.value.message == said and caught.value.remedy
