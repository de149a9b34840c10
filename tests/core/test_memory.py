"""Memory: the arithmetic against the real network and against itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from atlas_core import memory, presets
from atlas_core.config import Model
from atlas_core.model.gpt import AtlasLM
from tests import tiny
from tests.core.tiny_model import SHAPES


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("mlp_ratio", [4.0, 2.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_counted_as_torch_counts_them(shape: str, tie: bool, mlp_ratio: float) -> None:
    model = Model(vocab_size=300, max_seq_len=16, hidden_size=32, num_layers=2, num_heads=4, tie_weights=tie,
                  mlp_ratio=mlp_ratio, **SHAPES[shape])
    assert AtlasLM(model).count_parameters() == memory.count_parameters(model)


@pytest.mark.parametrize("name", list(presets.all_presets()))
def test_blocks_of_both_families_are_of_one_size(name: str) -> None:
    classic = presets.find(name).config.replace({"model.family": "gpt2"})
    newer = classic.replace({"model.family": "llama"})
    assert memory.inner_size(newer.model) % 32 == 0
    assert memory.block_parameters(newer.model) == pytest.approx(memory.block_parameters(classic.model), rel=0.03)


def test_memory_grows_with_everything_that_costs() -> None:
    base = tiny.config()
    total = memory.estimate(base).total_bytes
    for change in ({"training__batch_size": 8}, {"model__max_seq_len": 32}, {"model__num_layers": 4},
                   {"model__hidden_size": 64}, {"model__vocab_size": 900}):
        assert memory.estimate(tiny.config(**change)).total_bytes > total, change


def test_accumulation_costs_no_memory_and_checkpointing_saves_some() -> None:
    config = presets.find("TINY").config
    more = config.replace({"training.gradient_accumulation_steps": 64})
    saved = config.replace({"training.gradient_checkpointing": True})
    assert memory.estimate(more) == memory.estimate(config)
    assert memory.estimate(saved).items["activations"] < memory.estimate(config).items["activations"] / 3


PROBE = """
import resource, sys, torch
from atlas_core import presets
from atlas_core.hardware import device
from atlas_core.model.gpt import AtlasLM
from atlas_core.training.optim import build_optimizers
c = presets.find("MICRO").config.replace({"training.batch_size": int(sys.argv[1])})
model = AtlasLM(c.model); opt, = build_optimizers(dict(model.named_parameters()), c.training)
x = torch.randint(0, 100, (c.training.batch_size, c.model.max_seq_len))
for _ in range(2):
    model.loss(x, x).backward(); opt.step(); opt.zero_grad(set_to_none=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_the_estimate_is_near_the_measured_peak_of_a_process() -> None:
    for batch in (8, 24):
        config = presets.find("MICRO").config.replace({"training.batch_size": batch})
        peak = int(subprocess.run([sys.executable, "-c", PROBE, str(batch)], capture_output=True, check=True).stdout)
        assert memory.estimate(config).total_bytes == pytest.approx(peak, rel=0.25)


def test_verdicts() -> None:
    assert memory.verdict(50, 100) == "fits"
    assert memory.verdict(95, 100) == "tight"
    assert memory.verdict(101, 100) == "too big"


def test_a_checkpoint_is_as_large_as_computed() -> None:
    model = presets.find("NANO").config.model
    assert memory.checkpoint_bytes(model) == pytest.approx(16_144_351, rel=0.02)  # one that was written


