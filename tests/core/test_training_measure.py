"""Measuring a configuration: real steps that leave nothing behind, and what is made of their times."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas_core.errors import DataError
from atlas_core.events import Progress
from atlas_core.forecast import Speed
from atlas_core.text.dataset import Dataset
from atlas_core.training import measure
from tests import tiny


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "ENOUGH_SECONDS", 0.0)


@pytest.mark.parametrize("batches", [2, measure.MOST_ACCUMULATED + 3])
def test_everything_a_run_does_is_timed_and_nothing_is_left(
        dataset: Path, atlas_home: Path, batches: int) -> None:
    before = sorted(atlas_home.rglob("*"))
    config = tiny.config(training__gradient_accumulation_steps=batches)
    *progress, speed = measure.measure(config, Dataset.open(dataset))
    assert isinstance(speed, Speed)
    assert all(isinstance(event, Progress) for event in progress)
    assert 0 < speed.quick_step_s <= speed.step_s <= speed.slow_step_s
    assert min(speed.validation_batch_s, speed.save_s, speed.sample_token_s) > 0
    assert speed.power_w is None
    assert sorted(atlas_home.rglob("*")) == before


def test_meaningless_tokens_stand_in_for_a_text() -> None:
    config = tiny.config(tokenizer__name="gpt2", model__vocab_size=50261)
    assert measure.RandomText(config).tokenizer.n_vocab == 50261
    *_, speed = measure.measure(config, None)
    assert isinstance(speed, Speed)


def test_a_text_too_short_for_the_context_is_refused(dataset: Path) -> None:
    config = tiny.config(model__max_seq_len=2**15)
    with pytest.raises(DataError, match="too few for a window"):
        list(measure.measure(config, Dataset.open(dataset)))


def test_a_machine_that_slows_down_is_believed_at_its_slower_pace() -> None:
    steady, hot = measure.summed_up([1.0] * 20), measure.summed_up([1.0] * 10 + [1.5] * 10)
    assert (steady.step_s, steady.slowdown) == (1.0, 1.0)
    assert (hot.step_s, hot.quick_step_s, hot.slowdown) == (1.5, 1.5, 1.5)


def test_long_accumulation_is_continued_along_the_line() -> None:
    optimizer_s, batch_s = 0.5, 2.0
    single = [optimizer_s + batch_s] * 3
    several = [optimizer_s + measure.MOST_ACCUMULATED * batch_s] * 3
    assert measure.continued(single, several, 64) == pytest.approx([optimizer_s + 64 * batch_s] * 3)
