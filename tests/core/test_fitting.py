"""Fitting: the step stays what it was, the fastest is taken, and the person is told what was changed."""

from __future__ import annotations

import pytest

from atlas_core import format as people
from atlas_core import memory, presets
from atlas_core.errors import ConfigError
from atlas_core.fitting import FEWEST_STEPS, fit, fit_to_time, may_learn_by_heart, with_steps
from atlas_core.forecast import Speed, forecast


@pytest.mark.parametrize("name", ["SMALL", "DEFAULT", "LARGE", "XLARGE", "ULTRA"])
@pytest.mark.parametrize("gigabytes", [4, 8, 12, 24])
def test_fitting_keeps_the_tokens_per_step_and_says_when_nothing_fits(name: str, gigabytes: int) -> None:
    config = presets.find(name).config
    fitted = fit(config, gigabytes * memory.GIB, device="cuda", precision="bf16")
    assert fitted.config.tokens_per_step == config.tokens_per_step
    validated = [c.evaluation.eval_batches * c.training.batch_size for c in (config, fitted.config)]
    assert validated[0] == validated[1], "the same text"
    needed = memory.estimate(fitted.config, device="cuda", precision="bf16").total_bytes
    fits = memory.verdict(needed, gigabytes * memory.GIB) != "too big"
    assert fits != any("choose a smaller preset" in reason for reason in fitted.reasons)
    assert fitted.reasons or fitted.config == config


def test_the_largest_batch_that_fits_is_taken_before_anything_slower() -> None:
    config = presets.find("SMALL").config.replace({"training.gradient_checkpointing": False})
    there = round(memory.estimate(config).total_bytes * 0.8)
    fitted = fit(config, there).config
    assert not fitted.training.gradient_checkpointing
    assert fitted.training.batch_size in (12, 8)  # shares of 24, not only halves
    twice = fitted.replace({"training.batch_size": 24 if fitted.training.batch_size == 12 else 12})
    assert memory.verdict(memory.estimate(twice).total_bytes, there) != "fits"


def test_fitting_leaves_alone_what_fits_already() -> None:
    config = presets.find("NANO").config
    fitted = fit(config, 8 * memory.GIB)
    assert fitted.config == config
    assert fitted.reasons == ()


def test_fitting_the_impossible_ends() -> None:
    fitted = fit(presets.find("LARGE").config, 2**20)
    assert fitted.config.training.gradient_checkpointing
    assert fitted.config.training.batch_size == 1
    assert "choose a smaller preset" in fitted.reasons[-1]


def test_a_batch_of_more_windows_than_can_be_added_up_is_fitted_as_far_as_that_goes() -> None:
    huge = presets.find("TINY").config.replace(
        {"training.batch_size": 1024, "training.gradient_accumulation_steps": 512})
    fitted = fit(huge, memory.GIB)
    assert fitted.config.tokens_per_step == huge.tokens_per_step
    assert "choose a smaller preset" in fitted.reasons[-1]


def test_fitting_never_makes_a_model_take_more_and_names_the_least_there_is() -> None:
    """In a small network, computing activations twice saves less than what it loads takes."""
    config = presets.find("NANO").config
    single = config.in_batches_of(1)
    assert (single.training.batch_size, single.training.gradient_accumulation_steps) == (1, 8)
    fitted = fit(config, 2**27)
    assert fitted.config == single
    assert f"At least {people.size(memory.estimate(single).total_bytes)} are needed" in fitted.reasons[-1]


def test_a_tight_fit_is_told_as_one() -> None:
    config = presets.find("NANO").config
    there = round(memory.estimate(config).total_bytes * 1.1)
    assert "of which a sixth should stay free" in fit(config, there).reasons[0]
    assert "sixth" not in fit(config, there * 3 // 4).reasons[0]


def test_the_reasons_name_what_was_changed() -> None:
    config = presets.find("ULTRA").config.replace({"training.batch_size": 2, "training.gradient_checkpointing": False})
    first, batch, twice = fit(config, memory.estimate(config).total_bytes // 2).reasons[:3]
    assert "ULTRA as it is needs" in first
    assert "1 window is computed at once instead of 2" in batch
    assert "computed twice" in twice


SPEED = Speed(0.5, 0.4, 0.7, validation_batch_s=0.2, save_s=0.1, sample_token_s=0.01)


@pytest.mark.parametrize("minutes", [2, 10, 600])
def test_as_many_steps_are_planned_as_the_time_holds_and_the_rate_keeps_its_shape(minutes: float) -> None:
    config = presets.find("MICRO").config
    fitted = fit_to_time(config, SPEED, 60 * minutes, train_tokens=10**6, val_tokens=10**5)
    t = fitted.config.training
    one_more = fitted.config.replace({"training.max_steps": t.max_steps + 1})
    for planned, fits in ((fitted.config, True), (one_more, False)):
        assert (forecast(planned, SPEED, train_tokens=10**6, val_tokens=10**5).total_s <= 60 * minutes) == fits
    share = config.training.warmup_steps / config.training.max_steps
    assert t.warmup_steps == round(share * t.max_steps)
    assert f"instead of {people.count(config.training.max_steps)}:" in fitted.reasons[0]


def test_a_time_in_which_the_text_is_learned_by_heart_is_told_so() -> None:
    config = presets.find("NANO").config  # steps of 1 024 tokens
    quick = Speed(0.01, 0.01, 0.01)
    few, many, unseen = (fit_to_time(config, quick, seconds, train_tokens=10**6, val_tokens=val_tokens)
                         for seconds, val_tokens in ((60, 10**4), (600, 10**4), (600, 0)))
    assert len(few.reasons) == 1
    readings = many.config.training.max_steps * 1024 / 10**6
    assert readings > 16
    assert f"{people.times(readings)} then and may learn it by heart" in many.reasons[1]
    assert "best checkpoint is kept" in many.reasons[1] and "best checkpoint is kept" not in unseen.reasons[1]
    assert not may_learn_by_heart(4) and may_learn_by_heart(16)


def test_a_head_start_is_over_when_a_shorter_run_is() -> None:
    config = presets.find("NANO").config
    assert with_steps(config, 200).training.head_start_steps == 200
    assert with_steps(config, 5000).training.head_start_steps == config.training.head_start_steps


def test_a_warm_up_longer_than_the_run_is_planned_no_longer() -> None:
    config = presets.find("NANO").config.replace(
        {"training.scheduler_type": "constant", "training.max_steps": 100, "training.warmup_steps": 500})
    assert with_steps(config, 200).training.warmup_steps == 200


def test_a_run_that_takes_the_time_it_has_stays_as_it_is() -> None:
    config = presets.find("NANO").config
    fitted = fit_to_time(config, SPEED, forecast(config, SPEED).total_s)
    assert (fitted.config, fitted.reasons) == (config, ())


def test_a_time_too_short_to_learn_in_is_refused_with_one_that_is_not() -> None:
    config = presets.find("MICRO").config
    with pytest.raises(ConfigError, match="too few to learn from") as refused:
        fit_to_time(config, SPEED, 5.0)
    assert "or choose a smaller preset" in refused.value.remedy
    longer = fit_to_time(config, SPEED, 2 * FEWEST_STEPS * SPEED.slow_step_s)
    assert longer.config.training.max_steps >= FEWEST_STEPS
