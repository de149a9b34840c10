"""AdamW in little memory: small numbers, rounded at random, learn what large ones learn and resume exactly."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from atlas_core import config, jobs, presets, runs
from atlas_core.config import Config, Training
from atlas_core.control import Control
from atlas_core.errors import CheckpointError, ConfigError
from atlas_core.events import Event, Exported, Generated, StepDone
from atlas_core.model.gpt import AtlasLM
from atlas_core.training import checkpoint, lowmem
from atlas_core.training.lowmem import LeanAdamW, round_at_random
from atlas_core.training.optim import build_optimizers, load_optimizers
from atlas_core.training.weights import Weights
from tests import tiny

LEAN = {
    "adamw8bit": {"training__optimizer_type": "adamw8bit"},
    "adamw8bit, no masters": {"training__optimizer_type": "adamw8bit", "training__precision": "bf16",
                              "training__master_weights": False},
    "adamw, no masters": {"training__precision": "bf16", "training__master_weights": False},
}


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepDone)]


def train(dataset: Path, run: Path, settings: Config, *, stop_at: int = 0, resume: Path | None = None) -> list[Event]:
    control, events = Control(), []
    for event in jobs.train(settings, dataset, run, control, resume=resume):
        events.append(event)
        if isinstance(event, StepDone) and event.step == stop_at:
            control.stop()
    return events


def parameter(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    p = nn.Parameter(torch.randn(*shape).to(dtype))
    p.grad = torch.zeros_like(p)
    return p


def lean(p: nn.Parameter, *, eight_bits: bool = False, seed: int = 0, **options: Any) -> LeanAdamW:
    options = {"lr": 1e-2, "weight_decay": 0.1, **options}
    decay = options.pop("weight_decay")
    return LeanAdamW([{"params": [p], "weight_decay": decay}], betas=(0.9, 0.95), eight_bits=eight_bits, seed=seed,
                     **options)


def take_steps(optimizer: Optimizer, p: nn.Parameter, *, first: int, count: int) -> None:
    """Steps along gradients that are a function of the step."""
    assert p.grad is not None
    for step in range(first, first + count):
        p.grad.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(step)))
        optimizer.step()


# ---- rounding -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1.0, 1.001, -1.001, 3.14159, -2e-5, 1e30, 0.0])
def test_rounding_takes_only_the_two_neighbours_and_is_right_in_the_mean(value: float) -> None:
    n = 20_000
    rounded = torch.empty(n, dtype=torch.bfloat16)
    wide = torch.full((n,), value)
    round_at_random(wide, rounded, torch.empty(n, dtype=torch.int32), torch.Generator().manual_seed(1))
    found = rounded.double()
    gap = abs(value) * 2**-7  # the distance of neighbours is at most this
    assert (found - value).abs().max() <= gap and len(found.unique()) <= 2
    assert found.mean().item() == pytest.approx(value, abs=4 * gap / n**0.5)  # far beyond chance's reach


def test_rounding_is_a_function_of_seed_and_step() -> None:
    def steps(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        p = parameter(50, 100, dtype=torch.bfloat16)
        optimizer, found = lean(p, seed=seed, lr=1e-5), []
        for _ in range(2):
            torch.rand(1)  # the common stream of numbers does not matter
            before = p.detach().clone()
            take_steps(optimizer, p, first=7, count=1)
            found.append(p.detach() - before)
        return found

    first, again, other = steps(1), steps(1), steps(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[0], first[1])


def test_updates_too_small_for_bf16_move_the_weights_in_the_mean() -> None:
    p = nn.Parameter(torch.full((100, 100), 1.0, dtype=torch.bfloat16))  # its neighbour below is 0.4 % away
    p.grad = torch.ones_like(p)
    optimizer = lean(p, lr=1e-5, weight_decay=0.0)
    for _ in range(100):
        optimizer.step()  # of AdamW's steps along a constant gradient, each is as long as the rate
    assert 1 - p.double().mean().item() == pytest.approx(100 * 1e-5, rel=0.2)


# ---- the steps ------------------------------------------------------------------------------------------


def test_with_fp32_it_is_adamw() -> None:
    torch.manual_seed(0)
    p = parameter(30, 70)
    q = nn.Parameter(p.detach().clone())
    q.grad = torch.zeros_like(q)
    plain = torch.optim.AdamW([q], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    take_steps(lean(p), p, first=0, count=10)
    take_steps(plain, q, first=0, count=10)
    torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-5)


def test_eight_bits_step_like_the_library_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    lowmem._bitsandbytes()  # silences it
    from bitsandbytes.optim import AdamW8bit

    monkeypatch.setattr(lowmem, "PIECE", 1024)
    torch.manual_seed(0)
    p = parameter(90, 70)
    q = nn.Parameter(p.detach().clone())
    q.grad = torch.zeros_like(q)
    theirs = AdamW8bit([q], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    take_steps(lean(p, eight_bits=True), p, first=0, count=10)
    take_steps(theirs, q, first=0, count=10)
    assert torch.equal(p, q)


def test_without_masters_the_weights_follow_those_of_fp32() -> None:
    torch.manual_seed(0)
    p = parameter(80, 90, dtype=torch.bfloat16)
    start = p.detach().float()
    q = nn.Parameter(start.clone())
    q.grad = torch.zeros_like(q)
    take_steps(lean(p, lr=1e-3), p, first=0, count=40)
    take_steps(lean(q, lr=1e-3), q, first=0, count=40)
    way, wanted = p.detach().float() - start, q.detach() - start
    assert (way * wanted).sum() / (way.norm() * wanted.norm()) > 0.8
    assert (way * wanted).sum() / wanted.square().sum() == pytest.approx(1, abs=0.05)


def test_a_state_that_was_saved_goes_on_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    p = parameter(80, 90, dtype=torch.bfloat16)
    q = nn.Parameter(p.detach().clone())
    q.grad = torch.zeros_like(q)
    first, second = lean(p, eight_bits=True), lean(q, eight_bits=True)
    take_steps(first, p, first=0, count=3)
    torch.save((first.state_dict(), p.detach()), tmp_path / "state.pt")
    take_steps(first, p, first=3, count=3)
    state, weights = torch.load(tmp_path / "state.pt", weights_only=True)
    with torch.no_grad():
        q.copy_(weights)
    load_optimizers([second], [state])
    take_steps(second, q, first=3, count=3)
    assert torch.equal(p, q)


def test_moments_take_two_bytes_a_parameter() -> None:
    p = parameter(256, 256)
    optimizer = lean(p, eight_bits=True)
    optimizer.step()
    held = sum(value.nbytes for value in optimizer.state[p].values() if isinstance(value, torch.Tensor))
    assert held == p.numel() * (2 + 2 * 4 / lowmem.BLOCK)


def test_gradients_summed_in_bf16_over_64_batches_lose_no_length() -> None:
    torch.manual_seed(3)
    model = AtlasLM(config.Model(vocab_size=60, max_seq_len=24, hidden_size=32, num_layers=2, num_heads=4, dropout=0.0))
    coarse, fine = (Weights(copy.deepcopy(model), "bf16", masters=masters) for masters in (False, True))
    for weights in (coarse, fine):
        weights.model.tie()
        for batch in range(64):
            tokens = torch.randint(60, (1, 25), generator=torch.Generator().manual_seed(batch))
            weights.model.loss(tokens[:, :-1], tokens[:, 1:], share=1 / 64).backward()
    for name, found, wanted in zip(coarse.names, coarse.gradients, fine.gradients, strict=True):
        assert found.dtype == torch.bfloat16 and wanted.dtype == torch.float32
        assert (found - wanted).norm() < 0.04 * wanted.norm(), name
        assert (found * wanted).sum() / wanted.square().sum() == pytest.approx(1, abs=0.01), name


def test_without_masters_a_parameter_takes_six_bytes() -> None:
    shape = config.Model(vocab_size=512, max_seq_len=64, hidden_size=128, num_layers=2, num_heads=4, dropout=0.0)
    model = AtlasLM(shape)
    weights = Weights(model, "bf16", masters=False)
    (optimizer,) = build_optimizers(weights.named(), Training(optimizer_type="adamw8bit", master_weights=False))
    optimizer.step()
    kept = [value for state in optimizer.state.values() for value in state.values()]
    moments = [value for value in kept if isinstance(value, torch.Tensor)]
    held = sum(tensor.nbytes for tensor in (*model.parameters(), *weights.gradients, *moments))
    assert 6 <= held / model.count_parameters() < 6.2  # scales, and norms and biases with moments of fp32


# ---- whole runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LEAN)
def test_it_learns_like_adamw_on_fp32_masters(dataset: Path, tmp_path: Path, kind: str) -> None:
    plain = losses(train(dataset, tmp_path / "a", tiny.config(training__max_steps=40)))
    found = losses(train(dataset, tmp_path / "b", tiny.config(training__max_steps=40, **LEAN[kind])))
    assert plain[-1] < plain[0] - 1.5
    assert found == pytest.approx(plain, abs=0.15)


@pytest.mark.parametrize("kind", LEAN)
def test_resume_continues_the_same_losses_and_weights(dataset: Path, tmp_path: Path, kind: str) -> None:
    settings = tiny.config(**LEAN[kind])
    whole = train(dataset, tmp_path / "whole", settings)
    events = train(dataset, tmp_path / "run", settings, stop_at=5)
    rest = train(dataset, tmp_path / "run", settings, resume=runs.resolve(tmp_path / "run"))
    assert losses(events) + losses(rest) == losses(whole) and len(losses(rest)) == 7
    one, other = (checkpoint.load(tmp_path / run / "checkpoints/atlas_step_12.pt") for run in ("whole", "run"))
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])


def test_what_was_learned_without_masters_writes_text_and_is_exported(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run", tiny.config(**LEAN["adamw8bit, no masters"]))
    path = runs.resolve(tmp_path / "run")
    assert {t.dtype for t in checkpoint.load(path)["model"].values()} == {torch.bfloat16}
    assert checkpoint.load_model(path).model.tokens.weight.dtype == torch.float32
    texts = [e for e in jobs.generate(path, ["the"], tiny.config().sampling, Control()) if isinstance(e, Generated)]
    assert texts and texts[0].text
    (exported,) = (e for e in jobs.export(path, tmp_path / "model.gguf", Control(), type="bf16")
                   if isinstance(e, Exported))
    assert exported.verified and exported.step == tiny.config().training.max_steps


def test_a_run_does_not_go_on_with_another_optimizer(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "run", tiny.config(training__max_steps=4))
    with pytest.raises(CheckpointError, match="optimizer_type"):
        train(dataset, tmp_path / "run", tiny.config(**LEAN["adamw8bit"]), resume=runs.resolve(tmp_path / "run"))


# ---- what is refused ------------------------------------------------------------------------------------


def test_without_its_package_eight_bits_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="needs the package bitsandbytes") as refused:
        build_optimizers({"w": parameter(8, 8)}, Training(optimizer_type="adamw8bit"))
    assert "atlas-studio[lowmem]" in refused.value.remedy


def test_the_package_says_nothing_when_it_comes() -> None:
    code = "from atlas_core.training import lowmem; print(lowmem._bitsandbytes().__name__)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("bitsandbytes.functional\n", "")


@pytest.mark.parametrize("precision", ["auto", "fp32", "fp16"])
def test_weights_without_masters_must_be_bf16(precision: str) -> None:
    with pytest.raises(ConfigError, match=r"training.precision \(.*\) must be bf16"):
        tiny.config(training__master_weights=False, training__precision=precision)


def test_muon_needs_masters() -> None:
    with pytest.raises(ConfigError, match="muon"):
        tiny.config(training__master_weights=False, training__precision="bf16", training__optimizer_type="muon")


def test_the_largest_presets_use_it() -> None:
    xlarge, ultra = (presets.find(name).config.training for name in ("XLARGE", "ULTRA"))
    assert xlarge.optimizer_type == ultra.optimizer_type == "adamw8bit"
    assert xlarge.master_weights and not ultra.master_weights
