"""The verbs that only tell: presets, settings, estimates."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from atlas_core import config as settings
from atlas_core import format as people
from atlas_core import memory, presets, runs
from atlas_core.cli import main
from atlas_core.config import Config
from atlas_core.training import measure
from tests import tiny


def events(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    assert main([*argv, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_presets_are_listed_with_computed_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    listed = events(capsys, "presets")
    assert [event["event"] for event in listed] == ["preset"] * len(presets.BUILT_IN) + ["finished"]
    for event, preset in zip(listed, presets.all_presets().values(), strict=False):
        assert event["name"] == preset.name
        assert event["parameters"] == memory.count_parameters(preset.config.model)
        assert event["tokens_per_step"] == preset.config.tokens_per_step
        assert Config.from_dict(event["config"]) == preset.config


def test_the_table_of_presets_is_not_cut_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    out = capsys.readouterr().out
    for preset in presets.all_presets().values():
        assert preset.name in out
        assert preset.config.description in out
    assert "51.2 M" in out


def test_a_preset_is_shown_as_a_configuration_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "nano"]) == 0
    assert Config.from_dict(yaml.safe_load(capsys.readouterr().out)) == presets.find("NANO").config


@pytest.mark.parametrize("argv", [["presets", "--settings"], ["train", "--help-settings"]])
def test_every_setting_is_listed_with_its_help(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert all(key in out for key in settings.settings())
    listed = events(capsys, *argv)[:-1]
    assert [(event["key"], event["help"]) for event in listed] == \
        [(key, s.help) for key, s in settings.settings().items()]


def test_a_default_is_shown_as_one_would_type_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["presets", "--settings"])
    shown = {cells[0]: cells[1:] for line in capsys.readouterr().out.splitlines() if (cells := line.split())}
    assert shown["model.tie_weights"][0] == "true"
    assert shown["sampling.prompts"][0] == '[""]'
    for key in ("model.tie_weights", "sampling.prompts", "training.learning_rate"):
        assert settings.parse_overrides([f"{key}={shown[key][0]}"])


def test_an_estimate_adds_up_and_judges_for_the_named_memory(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("estimate", "--preset", "tiny", "--device-memory")
    roomy, cramped = (events(capsys, *argv, size)[0] for size in ("64G", "1G"))
    assert roomy["parameters"] == memory.count_parameters(presets.find("TINY").config.model)
    items = {name: size for name, size in roomy["memory"].items() if name != "total_bytes"}
    assert sum(items.values()) == roomy["memory"]["total_bytes"]
    assert (roomy["fits"], cramped["fits"]) == ("fits", "too big")
    assert cramped["device_bytes"] == 2**30


def test_an_estimate_for_people_names_every_item_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--preset", "ultra", "--device-memory", "1GiB"]) == 0
    out = capsys.readouterr().out
    for word in ("weights", "gradients", "optimizer", "activations", "head", "total", "too big in 1.0 GB"):
        assert word in out


def test_an_estimate_follows_changed_settings(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (events(capsys, "estimate", "--preset", "nano", "--set", f"model.num_layers={n}")[0] for n in (1, 2))
    assert two["parameters"] - one["parameters"] == memory.block_parameters(presets.find("NANO").config.model)


def test_a_measured_estimate_tells_the_time_and_is_remembered(
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dataset: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "ENOUGH_SECONDS", 0.0)
    config = tmp_path / "tiny.yaml"
    tiny.config().save(config)
    argv = ("estimate", "--config", str(config), "--data", str(dataset))
    assert events(capsys, *argv)[0]["time"] is None
    *_, measured, _ = events(capsys, *argv, "--measure")
    time = measured["time"]
    assert time["low_s"] <= time["total_s"] <= time["high_s"]
    assert time["energy_wh"] is None
    assert measured["epochs"] > 0
    assert events(capsys, *argv)[0]["time"] == time
    assert main([*argv]) == 0
    said = capsys.readouterr().out
    for part in ("It takes about", "training", "validation", "checkpoints", "samples", "tokens/s", "times the text"):
        assert part in said
    assert "draws about" not in said


def test_measuring_what_does_not_fit_is_refused_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["estimate", "--preset", "nano", "--set", "training.batch_size=65536", "--set", "model.max_seq_len=65536"]
    assert main([*argv, "--measure"]) == 1
    assert "Add --fit" in capsys.readouterr().err


def test_an_estimate_that_was_made_to_fit_says_what_was_changed(capsys: pytest.CaptureFixture[str]) -> None:
    notice, fitted, _ = events(capsys, "estimate", "--preset", "small", "--device-memory", "4GiB", "--fit")
    assert "a step still learns from" in notice["message"]
    assert fitted["fits"] == "fits"
    assert fitted["tokens_per_step"] == presets.find("SMALL").config.tokens_per_step
    same, *_ = events(capsys, "estimate", "--preset", "nano", "--device-memory", "8GiB", "--fit")
    assert same["message"] == "NANO fits as it is."


def test_an_estimate_for_minutes_plans_what_this_machine_does_in_them(
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, dataset: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "ENOUGH_SECONDS", 0.0)
    config = tmp_path / "tiny.yaml"
    tiny.config().save(config)
    argv = ("estimate", "--config", str(config), "--data", str(dataset), "--minutes", "30")
    *_, notice, planned, _ = events(capsys, *argv)
    steps = planned["tokens"] // planned["tokens_per_step"]
    assert f"about {people.many(steps, 'step')} here" in notice["message"]
    assert 0.9 * 1800 < planned["time"]["total_s"] <= 1800
    assert main(["estimate", "--preset", "nano", "--minutes", "0.001"]) == 1
    assert "too few to learn from" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["0", "-3", "soon", "nan"])
def test_minutes_that_are_none_are_refused(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--preset", "nano", f"--minutes={minutes}"]) == 2
    assert f"'{minutes}' is not a number of minutes: write it like 10 or 0.5" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["525601", "1e300", "inf"])
@pytest.mark.parametrize("verb", ["estimate", "train", "demo"])
def test_more_minutes_than_a_year_are_refused(verb: str, minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, f"--minutes={minutes}"]) == 2
    assert f"'{minutes}' is more than a year: at most 525600 minutes" in capsys.readouterr().err


def test_perplexities_of_training_and_of_validation_stand_apart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:
    run = tmp_path / "letters"
    about = {"kind": "best", "epoch": 0.5, "learning_rate": 1e-3, "bytes": 5, "saved_at": 0.0, "max_steps": 9,
             "parameters": 100, "step": 3, "loss": 2.0, "val_loss": 3.0, "perplexity": 20.09}
    checkpoint = run / runs.CHECKPOINTS_FOLDER / runs.BEST
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"torch")
    runs.sidecar(checkpoint).write_text(json.dumps(about))
    tiny.config().save(run / runs.CONFIG_FILE)
    assert main(["runs", str(run)]) == 0
    lines = [re.split(" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    heads, row = (next(line for line in lines if line[0] == first) for first in ("checkpoint", runs.BEST))
    told = dict(zip(heads, row, strict=True))
    assert (told["loss"], told["perplexity"]) == ("2.000", "7.4")
    assert (told["val loss"], told["val perplexity"]) == ("3.000", "20.1")
