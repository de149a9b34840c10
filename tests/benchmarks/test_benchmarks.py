"""The benchmarks' own arithmetic, and that each of their parts runs at all. No figure is judged."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("resource", reason="the benchmarks read what only Unix tells")

from atlas_core import runs
from atlas_core.config import Config, settings
from atlas_core.events import StepDone
from atlas_core.model.gpt import AtlasLM
from atlas_core.text.dataset import Dataset
from atlas_core.training import trainer
from tests import tiny
from tests.benchmarks import __main__ as program
from tests.benchmarks import (
    contestants,
    flops,
    forecast,
    formats,
    learners,
    measure,
    memory_grid,
    optimizers,
    profile,
    quality,
    saving,
)
from tests.benchmarks.child import Reading
from tests.benchmarks.contest import Result, contest, own_process
from tests.benchmarks.learners import Point
from tests.benchmarks.quality import Learner
from tests.benchmarks.rival import Rival
from tests.benchmarks.section import Effort


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_dataset(tmp_path_factory.mktemp("benchmarks"))


def plain(**changes: object) -> Config:
    """A configuration all of whose memory can be counted by hand: one batch a step, no dropout."""
    return tiny.config(training__gradient_accumulation_steps=1, model__dropout=0.0, **changes)


# ---- arithmetic -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", settings()["model.family"].choices)
def test_products_with_weights_are_those_torch_counts(family: str) -> None:
    config = plain(model__family=family, model__hidden_size=128, model__max_seq_len=8, model__vocab_size=1000)
    model = AtlasLM(config.model)
    tokens = torch.zeros(config.training.batch_size, 8, dtype=torch.long)
    # Torch's counter does not know this one: sum + (n, m) @ (m, k), in place.
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        model(tokens).sum().backward()
    # Over so short a context attention is a hundredth, of which torch counts all, some or nothing, as kernels go.
    assert flops.training_flops(config) == pytest.approx(counter.get_total_flops(), rel=0.03)


def test_attention_is_a_product_with_each_token_that_is_seen_twice() -> None:
    model = plain(model__max_seq_len=64).model
    slowly = sum(2 * 2 * seen * model.hidden_size * model.num_layers for seen in range(1, 64 + 1)) / 64
    weights = 2 * flops.multiplying_parameters(model)
    assert flops.forward_flops_per_token(model) == weights + slowly


def readings(*seconds: float) -> Result:
    return Result([Reading(steps=2, seconds=2 * s, page_faults=20, peak_process_bytes=100 * (i + 1))
                   for i, s in enumerate(seconds)])


def test_a_machine_that_slows_down_changes_no_ratio() -> None:
    assert readings(1, 2, 9).times_as_fast_as(readings(3, 6, 27)) == pytest.approx(3)


def test_a_result_is_its_median_round_and_its_last_peak() -> None:
    result = readings(1, 2, 9)
    assert (result.seconds_per_step, result.page_faults_per_step, result.peak_process_bytes) == (2, 10, 300)


def test_the_time_to_a_target_lies_on_the_line_between_two_validations() -> None:
    curve = [Point(10, 5.0, 4.0), Point(20, 10.0, 3.0), Point(30, 15.0, 3.5), Point(40, 20.0, 2.0)]
    assert quality.seconds_to(curve, 4.5) == 5.0
    assert quality.seconds_to(curve, 3.25) == pytest.approx(8.75)
    assert quality.seconds_to(curve, 2.75) == pytest.approx(17.5)
    assert quality.seconds_to(curve, 1.9) is None


# ---- the allocator --------------------------------------------------------------------------------


def test_the_peak_holds_weights_gradients_and_optimizer_to_the_byte(dataset: Path) -> None:
    config = plain()
    peak = measure.peak_bytes(config, Dataset.open(dataset))
    parameter_bytes = 4 * AtlasLM(config.model).count_parameters()
    assert peak.items["weights"] >= parameter_bytes
    assert peak.items["gradients"] == parameter_bytes
    assert 2 * parameter_bytes <= peak.items["optimizer"] < 2.05 * parameter_bytes  # and a step count each
    assert peak.peak_bytes == sum(peak.items.values())
    assert peak.kept_bytes < peak.peak_bytes


def test_the_peak_is_the_same_when_it_is_measured_again(dataset: Path) -> None:
    data = Dataset.open(dataset)
    assert measure.peak_bytes(plain(), data) == measure.peak_bytes(plain(), data)


def test_the_peak_sees_a_larger_batch(dataset: Path) -> None:
    data = Dataset.open(dataset)
    small, large = (measure.peak_bytes(plain(training__batch_size=size), data) for size in (2, 8))
    assert large.kept_bytes >= small.kept_bytes
    assert large.peak_bytes - small.peak_bytes > 6 * 16 * 300 * 4  # six windows' logits, or what stands for them


# ---- the grid -------------------------------------------------------------------------------------


def test_the_grid_has_sixty_cases_and_every_choice() -> None:
    cases = memory_grid.grid()
    assert len({memory_grid.describe(case) for case in cases}) >= 60
    for key, choices in memory_grid.CHOICES.items():
        if key != "training.master_weights" or "bf16" in formats.multiplied():  # for they are kept in fp32
            assert {case.get(key) for case in cases} >= set(choices), key


def test_a_case_compares_like_with_like(dataset: Path) -> None:
    row = memory_grid.row(plain(), dataset, whole_process=True)
    assert row["error"] == pytest.approx(row["forecast_bytes"] / row["peak_bytes"] - 1)
    assert row["process_bytes"] > row["peak_bytes"]


# ---- the programs ---------------------------------------------------------------------------------


def test_a_process_has_an_environment_of_its_own() -> None:
    with own_process({"GOMP_SPINCOUNT": "7"}) as process:
        assert process.submit(os.getenv, "GOMP_SPINCOUNT").result() == "7"
    assert os.environ.get("GOMP_SPINCOUNT") != "7"
    assert set(contestants.ENVIRONMENT) <= set(contestants.KINDS)


def is_alive(status: Path) -> bool:
    """Whether a process runs, by its file in /proc; one that nobody has buried yet does not."""
    try:
        return "State:\tZ" not in status.read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_process_ends_with_the_one_that_began_it() -> None:
    begun = "from tests.benchmarks.contest import own_process as p; import os, time; q = p(); " \
            "print(q.submit(os.getpid).result(), flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", begun], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = Path("/proc", parent.stdout.readline().strip(), "status")
        assert is_alive(child)
        parent.kill()
    until = time.monotonic() + 30
    while is_alive(child):
        assert time.monotonic() < until, "it was left behind"
        time.sleep(0.05)


def test_contestants_run_in_turn(dataset: Path) -> None:
    kinds = ("atlas", "product")
    results = contest(kinds, plain(), dataset, Effort(rounds=2, seconds=0.01))
    assert list(results) == list(kinds)
    for result in results.values():
        assert len(result.readings) == 2
        assert result.seconds_per_step > 0
        assert result.peak_process_bytes > 50 * 2**20  # torch alone


def test_an_untrained_rival_guesses_evenly(dataset: Path) -> None:
    config = plain()
    evenly = math.log2(config.model.vocab_size) / Dataset.open(dataset).bytes_per_token("val")
    assert Rival(config, dataset).bits_per_byte() == pytest.approx(evenly, rel=0.02)


def test_learners_take_turns_until_they_reach_the_target(dataset: Path) -> None:
    config = plain(training__learning_rate=1e-2, evaluation__eval_interval=5)
    field = [Learner(kind, kind, config, seconds=0.5, target=1e9 if kind == "atlas" else 0.0)
             for kind in ("atlas", "transformers")]
    curves = quality.race(field, dataset)
    assert [point.step for point in curves["atlas"]] == [5]
    assert [point.step for point in curves["transformers"][:2]] == [5, 10]
    assert curves["transformers"][-1].bits_per_byte < curves["transformers"][0].bits_per_byte


def test_a_learner_is_planned_for_its_time_with_the_warm_up_in_its_share() -> None:
    t = learners.planned(plain(training__max_steps=40, training__warmup_steps=4), seconds=100, step_s=0.25).training
    assert (t.max_steps, t.warmup_steps) == (400, 40)


@pytest.fixture
def one_row(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The memory section with a grid of one tiny case."""
    monkeypatch.setattr(memory_grid, "grid", lambda: [plain(tokenizer__name="bpe:512", model__vocab_size=600)])
    return


@pytest.mark.usefixtures("one_row")
def test_the_program_prints_a_table_and_keeps_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    assert program.main(["memory", "--quick", "--out", str(out)]) == 0
    kept = json.loads(out.read_text())
    assert kept["sections"]["memory"][0]["peak_bytes"] > 0
    assert {"processor", "cores", "memory_bytes"} < set(kept["machine"])
    assert "2 x 32" in capsys.readouterr().out


def test_a_save_is_measured_in_its_place_and_beside(dataset: Path, tmp_path: Path) -> None:
    found = saving.row(trainer.settle(plain(), Dataset.open(dataset)), Dataset.open(dataset), tmp_path,
                       Effort(rounds=1, seconds=0.01))
    assert min(found[key] for key in ("bytes", "step_s", "in_place_lost_s", "beside_stall_s", "tokens_per_s")) > 0
    assert [info.kind for info in runs.checkpoints(tmp_path)] == ["step"]


@pytest.fixture
def plain_torch() -> Iterator[None]:
    """Torch as it was, after a contestant that tells it how to compute."""
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("plain_torch")
@pytest.mark.parametrize("idea", sorted(set(contestants.IDEAS) - {"compiled by torch"}))  # which needs a compiler
def test_an_idea_trains(idea: str, dataset: Path) -> None:
    step = contestants.IDEAS[idea](plain(), dataset)
    losses = [done.loss for done in (step(), step()) if isinstance(done, StepDone)]
    assert losses == sorted(losses, reverse=True)


def test_a_profile_shares_the_whole_step_out(dataset: Path) -> None:
    found = profile.shares(plain(), dataset, steps=2)
    assert sum(found.values()) == pytest.approx(1) and min(found.values()) >= 0
    assert min(found[part] for part in ("products", "activation", "optimizer", profile.REST)) > 0


def test_a_forecast_stands_beside_the_run_it_foresaw(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas_core.training.measure.ENOUGH_SECONDS", 0.0)
    row = forecast.row(tiny.config(), dataset, tmp_path / "run", run_seconds=0.1)
    assert row["error"] == pytest.approx(row["forecast_s"] / row["seconds"] - 1)
    assert row["low_s"] <= row["forecast_s"] <= row["high_s"]
    assert runs.inspect(tmp_path / "run").step == row["steps"]


def test_optimizers_train_side_by_side(dataset: Path) -> None:
    config = plain(training__max_steps=2400)
    found = optimizers.side_by_side(config, dataset, {"adamw": 1e-2, "muon": 1e-3}, seed=1, seconds=0.2)
    assert [(row["optimizer"], row["learning_rate"]) for row in found] == [("adamw", 1e-2), ("muon", 1e-3)]
    assert all(row["steps"] > 1 and 0 < row["bits_per_byte"] < 8 for row in found)


def test_the_best_rate_of_an_optimizer_is_that_of_the_fewest_bits() -> None:
    ends = {("adamw", 1e-3): 2.3, ("adamw", 1e-2): 2.1, ("muon", 1e-3): 2.2, ("muon", 1e-2): 9.0}
    tuned = [{"optimizer": kind, "learning_rate": rate, "seed": 1, "bits_per_byte": bits}
             for (kind, rate), bits in ends.items()]
    assert optimizers.best_rates(tuned) == {"adamw": 1e-2, "muon": 1e-3}
    assert "adamw at 0.01: 2.100 in the mean" in optimizers.remark(tuned)
