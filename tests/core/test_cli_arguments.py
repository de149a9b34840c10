"""Arguments that several verbs share: sizes, flags made from settings, presets with changes laid on them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from atlas_core import config as settings
from atlas_core import presets
from atlas_core.cli import arguments, prepare
from atlas_core.cli.generate import FLAGS
from atlas_core.config import Config
from atlas_core.shell import quoted


def parsed(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    arguments.add_config(parser)
    return parser.parse_args(argv)


@pytest.mark.parametrize(("text", "size_bytes"), [
    ("8GiB", 8 * 2**30), ("8GB", 8 * 2**30), ("8 gb", 8 * 2**30), ("8g", 8 * 2**30), ("1.5G", 3 * 2**29),
    ("512M", 512 * 2**20), ("2048 KiB", 2 * 2**20), ("8589934592", 2**33), ("1t", 2**40),
])
def test_memory_sizes_are_read_as_people_write_them(text: str, size_bytes: int) -> None:
    assert arguments.memory_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "much", "8", "-8G", "8X", "G", "8GG", "nan"])
def test_what_is_no_memory_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="8GiB"):
        arguments.memory_size(text)


def test_changes_are_laid_on_the_preset() -> None:
    args = parsed("--preset", "tiny", "--set", "model.num_layers=3", "--set", "training.seed=5")
    config = arguments.read_config(args)
    tiny = presets.find("TINY").config
    assert config == tiny.replace({"model.num_layers": 3, "training.seed": 5})


def test_a_configuration_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: MINE\nmodel: {num_layers: 2}\n")
    config = arguments.read_config(parsed("--config", str(file), "--set", "model.num_heads=4"))
    assert (config.name, config.model.num_layers, config.model.num_heads) == ("MINE", 2, 4)


def test_without_a_name_the_machine_decides() -> None:
    assert arguments.read_config(parsed()).name == arguments.suggested().name
    assert arguments.read_config(parsed(), default=Config()) == Config()


def test_every_sampling_setting_is_a_flag_and_says_what_it_does() -> None:
    parser = argparse.ArgumentParser()
    arguments.add_settings(parser, FLAGS)
    help_text = " ".join(parser.format_help().split())
    for s in FLAGS:
        assert "--" + s.name.replace("_", "-") in help_text
        assert " ".join(s.help.split()) in help_text


def test_only_flags_that_were_given_change_a_setting() -> None:
    parser = argparse.ArgumentParser()
    arguments.add_settings(parser, FLAGS)
    args = parser.parse_args(["--top-k", "7", "--stop", "a", "--stop", "b", "--no-stop-at-eos"])
    given = arguments.given_settings(args, FLAGS)
    assert given == {"sampling.top_k": 7, "sampling.stop": ["a", "b"], "sampling.stop_at_eos": False}
    assert Config().replace(given).sampling.stop == ("a", "b")


def test_a_path_is_quoted_for_the_shell() -> None:
    assert quoted(Path("my runs/first")) in ("'my runs/first'", '"my runs/first"', '"my runs\\first"')
    assert quoted(Path("run")) == "run"


@pytest.mark.parametrize(("text", "kept"), [
    ("all", {"unicode", "control", "whitespace"}), ("none", set()), ("unicode", {"unicode"}),
    ("control,whitespace", {"control", "whitespace"}),
])
def test_cleaning_is_chosen_by_name(text: str, kept: set[str]) -> None:
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    config = prepare.wanted_config(parser.parse_args(["a.txt", "--clean", text]))
    assert {name for name in prepare.CLEANING if config.get(f"data.clean_{name}")} == kept


def test_flags_of_prepare_reach_the_settings() -> None:
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    argv = ["a.txt", "--tokenizer", "bpe:300", "--field", "body", "--val-fraction", "0.2", "--set", "data.min_chars=9"]
    config = prepare.wanted_config(parser.parse_args(argv))
    assert (config.tokenizer.name, config.data.text_field, config.data.val_fraction, config.data.min_chars) == \
        ("bpe:300", "body", 0.2, 9)
    assert config.data.clean_unicode == settings.Data().clean_unicode
