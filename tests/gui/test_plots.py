"""What the plots promise: every value shown, none twice, round ticks, a text that follows the numbers."""

from __future__ import annotations

import math

import pytest
from pytestqt.qtbot import QtBot

from atlas_core import format, history
from atlas_gui import theme
from atlas_gui.widgets.growing_column import FIRST_LENGTH, GrowingColumn, Smoother
from atlas_gui.widgets.metric_plot import STEPS, TIME, Curves, MetricPlot, log_ticks, round_ticks, short_number


@pytest.fixture
def plot(qtbot: QtBot) -> MetricPlot:
    plot = MetricPlot("Loss", format.loss)
    qtbot.addWidget(plot)
    plot.resize(640, 320)
    plot.show()
    return plot


def curve(length: int) -> Curves:
    x = list(range(1, length + 1))
    losses = [2 + 6 * math.exp(-step / 200) for step in x]
    return Curves(x, losses, list(map(history.Smoother(0.9), losses)), x[::100], [loss + 0.1 for loss in losses[::100]])


def visible_x(plot: MetricPlot) -> tuple[float, float]:
    low, high = plot.plot_item.getViewBox().viewRange()[0]
    return low, high


def test_a_growing_column_equals_the_list_at_every_length() -> None:
    values, column = [], GrowingColumn()
    for value in range(3 * FIRST_LENGTH):
        values.append(float(value))
        if value % 500 == 0:
            assert column.follow(values).tolist() == values
    assert column.follow(values).tolist() == values


def test_a_smoothed_column_equals_smoothing_at_once() -> None:
    values = [math.sin(i) + i for i in range(100)]
    column = GrowingColumn(0.9)
    column.follow(values[:37])
    assert column.follow(values).tolist() == list(map(Smoother(0.9), values))


def test_the_average_keeps_up_with_a_short_run_and_calms_a_long_one() -> None:
    falling = [8.0 - 0.1 * step for step in range(20)]
    short = list(map(Smoother(0.9), falling))
    assert short[0] == falling[0]
    assert short[-1] - falling[-1] < 0.25  # two or three steps behind, where an even average lags by seven
    assert short[-1] < list(map(history.Smoother(0.9), falling))[-1]
    noisy = [4.0 + step % 2 for step in range(400)]
    assert abs(list(map(Smoother(0.9), noisy))[-1] - 4.5) < 0.05


def test_the_average_passes_over_what_is_no_number() -> None:
    smoother = Smoother(0.5)
    assert math.isnan(smoother(math.nan))
    assert smoother(3.0) == 3.0
    assert smoother(math.inf) == 3.0


def test_a_shorter_list_is_another_run() -> None:
    column = GrowingColumn(0.5)
    column.follow([5.0, 6.0, 7.0])
    assert column.follow([1.0]).tolist() == [1.0]


def test_the_text_tells_the_newest_values(plot: MetricPlot) -> None:
    shown = curve(300)
    plot.set_curves(shown)
    assert plot.legend == f"train {format.loss(shown.smoothed[-1])}   val {format.loss(shown.val[-1])}"


def test_a_value_that_is_no_number_leaves_no_point(plot: MetricPlot) -> None:
    plot.set_curves(Curves([1, 2, 3], [4.0, math.nan, 2.0]))
    x, y = plot.drawn_raw
    assert x.tolist() == [1.0, 3.0]
    assert y.tolist() == [4.0, 2.0]


def test_the_whole_run_is_in_view_as_it_grows_until_a_person_takes_over(plot: MetricPlot, qtbot: QtBot) -> None:
    plot.set_curves(curve(100))
    plot.set_curves(curve(900))
    qtbot.waitUntil(lambda: visible_x(plot)[1] >= 900)
    with qtbot.waitSignal(plot.follow_changed) as told:
        plot.plot_item.getViewBox().sigRangeChangedManually.emit([True, True])
    assert told.args == [False]
    plot.set_follow(False)
    plot.plot_item.setXRange(200, 300, padding=0)
    plot.set_curves(curve(1000))
    assert visible_x(plot) == pytest.approx((200, 300))
    plot.set_follow(True)
    qtbot.waitUntil(lambda: visible_x(plot)[1] >= 1000)


def test_a_linked_plot_shows_the_same_stretch(plot: MetricPlot, qtbot: QtBot) -> None:
    small = MetricPlot("Learning rate", format.learning_rate, compact=True)
    qtbot.addWidget(small)
    small.link_x(plot)
    plot.set_curves(curve(500))
    plot.plot_item.setXRange(100, 200, padding=0)
    assert visible_x(small) == pytest.approx((100, 200))


def test_an_empty_plot_says_what_to_do(plot: MetricPlot) -> None:
    plot.set_hint("Press Train")
    plot.set_curves(Curves())
    assert plot.hint == "Press Train"
    plot.set_curves(curve(3))
    assert plot.hint == ""


def test_both_themes_paint_the_curve_in_their_own_colour(plot: MetricPlot, qapp: object) -> None:
    plot.set_curves(curve(300))
    for dark in (False, True):
        theme.apply(qapp, dark)  # type: ignore[arg-type]
        image = plot.image()
        wanted = theme.colors().train
        seen = {image.pixelColor(x, y).name() for x in range(0, image.width(), 1) for y in range(0, image.height(), 2)}
        assert wanted in seen
    theme.apply(qapp, False)  # type: ignore[arg-type]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 1240), (1.9, 8.3), (-3, 3), (1e-5, 6e-4), (0, 1e9)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    distance, ticks = round_ticks(low, high, 6)
    assert 2 <= len(ticks) <= 8
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    mantissa = distance / 10 ** math.floor(math.log10(distance) + 1e-9)
    assert round(mantissa, 6) in (1, 2, 5, 10)


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.9), (0, 3.5), (-2, 12)])
def test_logarithmic_ticks_are_few_and_inside(low: float, high: float) -> None:
    _, ticks = log_ticks(low, high, 6)
    assert 1 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)


def test_steps_are_never_cut_into_fractions() -> None:
    assert STEPS.ticks(0, 3, 8)[0] == 1.0
    assert TIME.ticks(0, 7200, 8)[0] in TIME.distances


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (2.5, "2.5"), (120, "120"), (6e-4, "6e-4"), (-3, "-3")])
def test_a_ticks_number_is_short(value: float, text: str) -> None:
    assert short_number(value) == text
