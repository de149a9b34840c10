"""What is remembered of this machine's speed, and what is guessed from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas_core import jobs, presets
from atlas_core.events import Estimate
from atlas_core.forecast import Speed
from atlas_core.hardware import speeds
from tests import tiny

SPEED = Speed(2.0, 1.5, 3.0, validation_batch_s=0.5, save_s=0.1, sample_token_s=0.01, power_w=40.0)


def test_a_measurement_is_known_for_the_same_work_only(atlas_home: Path) -> None:
    config = tiny.config()
    assert speeds.known(config) is None
    speeds.remember(config, SPEED)
    speeds.remember(presets.find("TINY").config, Speed(9.0, 8.0, 10.0))
    assert speeds.known(config) == SPEED
    assert speeds.known(tiny.config(training__max_steps=99, training__learning_rate=1e-4)) == SPEED
    for other in ({"model__hidden_size": 64}, {"training__batch_size": 8}, {"training__gradient_checkpointing": True},
                  {"hardware__threads": 2}, {"hardware__compile": True}):
        assert speeds.known(tiny.config(**other)) is None
    assert [path.name for path in atlas_home.iterdir()] == [speeds.FILE_NAME]


def test_what_is_measured_on_a_text_holds_for_its_vocabulary_alone(tmp_path: Path) -> None:
    dataset, wide = tiny.make_dataset(tmp_path), tiny.config(model__vocab_size=4096)
    *_, estimate, _ = jobs.estimate(wide, dataset=dataset, measure=True)
    assert isinstance(estimate, Estimate)
    assert estimate.time is not None
    assert speeds.known(wide) is None
    assert speeds.known(tiny.config()) is not None
    *_, on_another, _ = jobs.estimate(wide)
    assert isinstance(on_another, Estimate)
    assert on_another.time is None


def test_a_speed_of_as_many_threads_as_there_are_holds_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny.config(hardware__threads=0)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    speeds.remember(config, SPEED)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert speeds.known(config) is None
    assert speeds.known(tiny.config(hardware__threads=2)) == SPEED


def test_a_guess_is_scaled_from_the_nearest_measured_work() -> None:
    config = tiny.config()
    assert speeds.guess(config) is None
    speeds.remember(config, SPEED)
    speeds.remember(presets.find("TINY").config, Speed(1000.0, 1000.0, 1000.0))
    twice = speeds.guess(config.replace({"training.batch_size": 8}))
    again = speeds.guess(config.replace({"training.gradient_checkpointing": True}))
    assert twice is not None and again is not None
    assert twice.step_s == pytest.approx(4.0)
    assert again.step_s == pytest.approx(2.0 * 8 / 6)


@pytest.mark.parametrize("content", ["", "[]", '{"here": 3}', '{"here": {"0": {}}}',
                                     '{"here": {"0": {"speed": {"step_s": "fast"}, "operations": 1}}}',
                                     '{"here": {"0": {"speed": {"step_s": 0.0, "quick_step_s": 0, "slow_step_s": 0}, '
                                     '"operations": 1}}}',
                                     '{"here": {"0": {"speed": {"step_s": 1.0, "quick_step_s": 1, "slow_step_s": 1}, '
                                     '"operations": 0}}}'])
def test_a_file_that_makes_no_sense_counts_as_nothing_measured(atlas_home: Path, content: str) -> None:
    content = content.replace("here", speeds.machine(tiny.config()))
    (atlas_home / speeds.FILE_NAME).write_text(content, encoding="utf-8")
    assert speeds.guess(tiny.config()) is None
    speeds.remember(tiny.config(), SPEED)
    assert speeds.known(tiny.config()) == SPEED
