"""Fitting: the step stays what it was, the fastest is taken, and the person is told what was changed."""

from __future__ import annotations

import pytest

from atlas_core import memory, presets
from atlas_core.fitting import fit


@pytest.mark.parametrize("name", ["SMALL", "DEFAULT", "LARGE", "XLARGE", "ULTRA"])
@pytest.mark.parametrize("gigabytes", [4, 8, 12, 24])
def test_fitting_keeps_the_tokens_per_step_and_says_when_nothing_fits(name: str, gigabytes: int) -> None:
    config = presets.find(name).config
    fitted = fit(config, gigabytes * memory.GIB, device="cuda", precision="bf16")
    assert fitted.config.tokens_per_step == config.tokens_per_step
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


def test_the_reasons_name_what_was_changed() -> None:
    config = presets.find("ULTRA").config.replace({"training.batch_size": 2, "training.gradient_checkpointing": False})
    first, batch, twice = fit(config, memory.estimate(config).total_bytes // 2).reasons[:3]
    assert "ULTRA as it is needs" in first
    assert "1 window is computed at once instead of 2" in batch
    assert "computed twice" in twice
