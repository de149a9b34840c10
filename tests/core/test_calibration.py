"""The trial before a run: what is decided, that it is decided once, and that nothing else notices."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atlas_core import config as settings
from atlas_core import jobs, runs
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.events import Notice, Progress
from atlas_core.hardware import device as hardware
from atlas_core.training import calibration
from atlas_core.training.calibration import Way, calibrated, candidates, chosen
from tests import tiny

CPU = torch.device("cpu")
AUTO = {"training__precision": "auto", "hardware__attention": "auto"}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATLAS_HOME", str(tmp_path / "home"))


def multiplies_bf16(monkeypatch: pytest.MonkeyPatch, has_units: bool) -> None:
    """A processor with units for bf16 or without them, wherever this runs."""
    monkeypatch.setattr(hardware, "_processor_has", lambda flags: has_units and flags == hardware.BF16_FLAGS)


def decided(config: Config) -> tuple[Config, int]:
    """The configuration that comes out, and how many words were said before."""
    said, trial = 0, calibrated(config)
    while True:
        try:
            assert isinstance(next(trial), Progress)
        except StopIteration as ended:
            return ended.value, said
        said += 1


def test_every_way_is_a_candidate_but_what_was_set_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    multiplies_bf16(monkeypatch, True)
    assert len(candidates(tiny.config(**AUTO), CPU)) == 4
    by_hand = tiny.config(training__precision="bf16", hardware__attention="auto")
    assert candidates(by_hand, CPU) == [Way("bf16", "kernel"), Way("bf16", "blocks")]
    assert candidates(tiny.config(training__precision="fp32", hardware__attention="blocks"), CPU) == [
        Way("fp32", "blocks")]


@pytest.mark.parametrize(("kernel", "blocks", "way"),
                         [(1.04, 1.0, "kernel"), (1.06, 1.0, "blocks"), (1.0, 2.0, "kernel")])
def test_blocks_must_be_clearly_faster_for_they_keep_more(kernel: float, blocks: float, way: str) -> None:
    seconds = {Way("fp32", "kernel"): 9.0, Way("bf16", "kernel"): kernel, Way("bf16", "blocks"): blocks}
    assert chosen(seconds) == Way("bf16", way)
    assert chosen({Way("fp32", "blocks"): 1.0}) == Way("fp32", "blocks")


def test_bf16_is_not_tried_where_it_would_be_imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    multiplies_bf16(monkeypatch, False)
    assert candidates(tiny.config(**AUTO), CPU) == [Way("fp32", "kernel"), Way("fp32", "blocks")]


@pytest.mark.parametrize("has_units", [True, False])
def test_a_run_in_imitated_bf16_says_so(has_units: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    multiplies_bf16(monkeypatch, has_units)
    config = tiny.config(training__precision="bf16", training__max_steps=4)
    events = jobs.train(config, tiny.make_dataset(tmp_path), tmp_path / "run", Control())
    warned = [event for event in events if isinstance(event, Notice) and "imitates" in event.message]
    assert len(warned) == (0 if has_units else 1)


def test_what_only_the_kernel_can_do_is_left_to_it() -> None:
    dropping = tiny.config(**AUTO, model__attention_dropout=0.1)
    assert {way.attention for way in candidates(dropping, CPU)} == {"kernel"}


def test_nothing_is_tried_where_nothing_is_left_to_decide() -> None:
    config = tiny.config(training__precision="fp32", hardware__attention="kernel")
    assert decided(config) == (config, 0)


def test_a_decision_is_made_once_and_leaves_the_random_stream_alone() -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    first, words = decided(tiny.config(**AUTO, model__dropout=0.1))
    assert words == 1
    assert torch.equal(torch.get_rng_state(), before)
    assert "auto" not in (first.training.precision, first.hardware.attention)
    assert decided(tiny.config(**AUTO, model__dropout=0.1)) == (first, 0)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 3}', '{"a": ["fp32"]}'])
def test_a_file_of_decisions_that_makes_no_sense_counts_as_none(content: str) -> None:
    calibration._file().parent.mkdir(parents=True)
    calibration._file().write_text(content)
    assert decided(tiny.config(**AUTO))[1] == 1
    assert decided(tiny.config(**AUTO))[1] == 0


def test_a_home_that_cannot_be_written_to_stops_no_run(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    assert decided(tiny.config(**AUTO))[0].hardware.attention != "auto"


def test_a_run_keeps_what_was_decided(tmp_path: Path) -> None:
    dataset = tiny.make_dataset(tmp_path)
    tiny.drain(jobs.train(tiny.config(**AUTO, training__max_steps=4), dataset, tmp_path / "run", Control()))
    kept = settings.load(tmp_path / "run" / runs.CONFIG_FILE)
    assert "auto" not in (kept.training.precision, kept.hardware.attention)
