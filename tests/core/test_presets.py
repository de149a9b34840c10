"""Presets: the promised table, read by the ordinary loader, with computed counts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from atlas_core import memory, presets
from atlas_core.cli import main
from atlas_core.errors import ConfigError

# layers, width, heads, context, batch, accumulation, peak rate, steps, warm-up, kept
PROMISED = {
    "TINY": (8, 512, 8, 512, 4, 4, 6e-4, 10_000, 500, 3),
    "SMALL": (12, 768, 12, 1024, 24, 2, 6e-4, 20_000, 1000, 3),
    "DEFAULT": (24, 1024, 16, 1024, 16, 2, 3e-4, 50_000, 2000, 3),
    "LARGE": (30, 1280, 20, 1024, 8, 4, 2e-4, 80_000, 3000, 2),
    "XLARGE": (30, 1280, 20, 1024, 2, 16, 2e-4, 80_000, 3000, 2),
    "ULTRA": (30, 1280, 20, 256, 1, 64, 2e-4, 80_000, 3000, 2),
}


@pytest.mark.parametrize("name", PROMISED)
def test_the_six_presets_are_what_was_promised(name: str) -> None:
    c = presets.find(name).config
    m, t = c.model, c.training
    assert PROMISED[name] == (
        m.num_layers, m.hidden_size, m.num_heads, m.max_seq_len, t.batch_size, t.gradient_accumulation_steps,
        t.learning_rate, t.max_steps, t.warmup_steps, c.checkpointing.keep_checkpoints)
    assert (m.vocab_size, m.mlp_ratio, m.dropout, m.tie_weights) == (50261, 4.0, 0.1, True)
    assert (t.beta1, t.beta2, t.weight_decay, t.max_grad_norm) == (0.9, 0.95, 0.01, 1.0)
    assert (t.scheduler_type, t.min_lr_ratio, c.tokenizer.name) == ("cosine", 0.1, "gpt2")
    assert t.gradient_checkpointing == (name != "TINY")  # the others would not fit their cards


def test_a_broken_preset_of_the_users_is_left_out_with_its_reason(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ATLAS_HOME", str(tmp_path))
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "good.yaml").write_text("model: {num_layers: 2}\n")
    (folder / "bad.yaml").write_text("model: {num_layers: many}\n")
    assert "good" in presets.all_presets() and "bad" not in presets.all_presets()
    (sentence,) = presets.unreadable()
    assert "bad.yaml" in sentence and "num_layers must be a whole number" in sentence
    assert main(["presets", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["message"] for event in told if event["event"] == "notice"] == [sentence]


def test_presets_come_smallest_first() -> None:
    counts = [memory.count_parameters(p.config.model) for p in presets.all_presets().values()]
    assert counts[:6] == sorted(counts[:6])
    assert 1e6 < counts[0] < 2e6 and 5e6 < counts[1] < 10e6


def test_counts_are_computed_and_correct_the_old_labels() -> None:
    millions = {n: memory.count_parameters(p.config.model) / 1e6 for n, p in presets.all_presets().items()}
    assert round(millions["TINY"], 1) == 51.2
    assert round(millions["LARGE"]) == 656


def test_names_are_found_in_any_spelling_and_unknown_ones_get_a_hint() -> None:
    assert presets.find("nano").name == "NANO"
    with pytest.raises(ConfigError, match="did you mean 'SMALL'"):
        presets.find("SMAL")


def test_a_users_preset_stands_beside_ours() -> None:
    mine = presets.find("NANO").config.replace({"model.num_layers": 3})
    import dataclasses

    presets.save_user_preset(dataclasses.replace(mine, name="My own"))
    found = presets.find("My own")
    assert not found.builtin and found.config.model.num_layers == 3
    assert list(presets.all_presets())[-1] == "My own"


def test_a_users_preset_is_found_in_any_spelling_too() -> None:
    presets.save_user_preset(dataclasses.replace(presets.find("NANO").config, name="Mine"))
    assert presets.find("mine").name == presets.find("Mine").name == "Mine"


def test_a_built_in_name_is_not_overwritten() -> None:
    with pytest.raises(ConfigError):
        presets.save_user_preset(presets.find("TINY").config)


def test_a_built_in_preset_is_not_deleted() -> None:
    with pytest.raises(ConfigError, match="NANO is a built-in preset"):
        presets.delete_user_preset("nano")
    assert "NANO" in presets.all_presets()


def test_a_broken_user_preset_hides_nothing() -> None:
    from atlas_core import paths

    paths.user_presets_dir().mkdir(parents=True)
    (paths.user_presets_dir() / "bad.yaml").write_text("model: [")
    assert list(presets.all_presets()) == list(presets.BUILT_IN)


def test_the_suggestion_fits_the_machine() -> None:
    assert presets.suggest(64 * memory.GIB, gpu=False) == "NANO"
    for gib in (2, 6, 12, 24):
        config = presets.find(presets.suggest(gib * memory.GIB, gpu=True)).config
        needed = memory.estimate(config, device="cuda", precision="bf16").total_bytes
        assert memory.verdict(needed, gib * memory.GIB) == "fits"
