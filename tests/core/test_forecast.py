"""The time of a whole run: arithmetic over what was measured."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from atlas_core import presets
from atlas_core.forecast import Speed, forecast
from tests import tiny

SPEED = Speed(2.0, 1.5, 3.0, validation_batch_s=0.5, save_s=0.1, sample_token_s=0.01)


def test_the_parts_add_up_and_lie_within_the_range() -> None:
    time = forecast(tiny.config(), SPEED, train_tokens=10_000, val_tokens=500)
    assert time.training_s == 12 * 2.0
    assert time.training_s + time.validation_s + time.checkpoints_s + time.samples_s == pytest.approx(time.total_s)
    assert time.low_s < time.total_s < time.high_s
    assert all(getattr(time, f.name) > 0 for f in fields(time) if f.name.endswith("_s"))


def test_the_range_allows_for_a_machine_that_changes_even_if_no_step_of_the_measured_did() -> None:
    time = forecast(tiny.config(), Speed(2.0, 2.0, 2.0), train_tokens=10_000, val_tokens=500)
    assert (time.low_s, time.high_s) == (pytest.approx(0.85 * time.total_s), pytest.approx(1.15 * time.total_s))


def test_a_small_validation_text_takes_fewer_batches() -> None:
    config = tiny.config(evaluation__eval_batches=100)
    full, small = (forecast(config, SPEED, train_tokens=10_000, val_tokens=tokens) for tokens in (10**6, 16 * 4 * 3))
    assert full.validation_s == pytest.approx(small.validation_s * 100 / 3)


def test_without_validation_text_nothing_is_validated() -> None:
    assert forecast(tiny.config(), SPEED, train_tokens=10_000, val_tokens=0).validation_s == 0


def test_energy_is_told_only_where_power_was_read() -> None:
    config = presets.find("NANO").config
    assert forecast(config, SPEED).energy_wh is None
    time = forecast(config, replace(SPEED, power_w=100.0))
    assert time.energy_wh == pytest.approx(100.0 * time.total_s / 3600)
