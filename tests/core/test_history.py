"""History: the curve survives crashes, and smoothing is honest."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_core import history
from atlas_core.events import EvalDone, Event, RolledBack, RunStarted, StepDone, StepSkipped
from atlas_core.history import History


def step(number: int, loss: float = 2.0) -> StepDone:
    return StepDone(step=number, epoch=0.1, loss=loss, learning_rate=1e-3, grad_norm=1.0, tokens_per_s=10.0,
                    tokens_seen=number * 8, seconds=float(number))


def validation(number: int, loss: float) -> EvalDone:
    return EvalDone(step=number, epoch=0.1, val_loss=loss, val_perplexity=math.exp(loss), val_bits_per_byte=1.0,
                    tokens=8, best=loss, improved=True)


def write(path: Path, *events: Event, tail: str = "") -> Path:
    path.write_text("".join(event.to_json() + "\n" for event in events) + tail)
    return path


def test_events_and_their_lines_give_the_same_history(tmp_path: Path) -> None:
    events = [step(1, 3.0), step(2, 2.5), validation(2, 2.7), step(3, 2.0), validation(3, 2.9)]
    live = History()
    for event in events:
        live.add(event)
    assert vars(History.read(write(tmp_path / "m.jsonl", *events))) == vars(live)
    assert live.best == (2, 2.7)


def test_a_torn_or_foreign_line_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", step(1), tail='[1]\n{"a": 1}\n\x00\n{"event": "step", "st')
    assert History.read(path).steps == [1]


def test_truncation_forgets_later_steps_and_the_torn_line(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", step(1), step(2), validation(2, 2.0), step(3), tail='{"event": "st')
    history.truncate(path, 2)
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(k["event"], k["step"]) for k in kept] == [("step", 1), ("step", 2), ("eval", 2)]


def test_a_run_that_goes_back_takes_its_curve_back_and_leaves_a_mark() -> None:
    live = History()
    for event in (step(1), step(2), validation(2, 2.0), StepSkipped(3, "No number."), step(4, 9.0), validation(4, 9.0),
                  RolledBack(4, 2, 0.5, "Went back."), step(3, 1.9), StepSkipped(4, "No number.")):
        live.add(event)
    assert live.steps == [1, 2, 3] and live.losses == [2.0, 2.0, 1.9] and live.eval_steps == [2]
    assert live.skipped_steps == [4] and live.rolled_back_steps == [2] and live.rate_factor == 0.5


def test_what_comes_after_the_step_a_run_resumes_from_is_taken_again() -> None:
    """So it is where the newest checkpoint is damaged and the run goes on from the one before."""
    curve = History()
    started = RunStarted(run=Path("run"), name="NANO", parameters=1, device="cpu", precision="fp32", attention="kernel",
                         threads=1, max_steps=9, tokens_per_step=8, train_tokens=80, resumed_from=2)
    for event in (step(1), step(2), validation(2, 2.0), step(3, 9.0), validation(3, 9.0), started, step(3, 1.9)):
        curve.add(event)
    assert curve.steps == [1, 2, 3] and curve.losses == [2.0, 2.0, 1.9] and curve.eval_steps == [2]
    assert curve.resumed_steps == [2] and curve.rolled_back_steps == []


def test_the_mark_of_going_back_lies_where_the_run_went_on(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", step(1), step(2), RolledBack(40, 2, 0.5, "Went back."), step(3))
    history.truncate(path, 2)
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["step", "step", "rolled_back"]
    history.truncate(path, 1)
    assert History.read(path).rolled_back_steps == []


def test_a_missing_file_is_an_empty_history(tmp_path: Path) -> None:
    history.truncate(tmp_path / "none", 3)
    assert History.read(tmp_path / "none").steps == [] and History().best is None


def test_a_loss_that_is_no_number_crosses_json(tmp_path: Path) -> None:
    read = History.read(write(tmp_path / "m.jsonl", step(1, math.nan)))
    assert math.isnan(read.losses[0]) and math.isnan(read.perplexities[0])


def test_perplexity_never_overflows() -> None:
    assert history.perplexity(0.0) == 1.0
    assert history.perplexity(1e9) == math.inf


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 0.999))
def test_smoothing_stays_within_the_values_and_starts_at_the_first(values: list[float], amount: float) -> None:
    smoothed = list(map(history.Smoother(amount), values))
    assert len(smoothed) == len(values)
    assert smoothed[0] == pytest.approx(values[0], abs=1e-6)
    slack = 1e-6 * max(1.0, *map(abs, values))
    assert all(min(values) - slack <= s <= max(values) + slack for s in smoothed)


def test_smoothing_by_nothing_changes_nothing_and_skips_what_is_no_number() -> None:
    assert list(map(history.Smoother(0.0), [3.0, 1.0])) == [3.0, 1.0]
    assert list(map(history.Smoother(0.9), [3.0, math.nan, 3.0])) == pytest.approx([3.0, 3.0, 3.0])
