"""Configuration: one table of settings, every problem told at once."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atlas_core import config as settings
from atlas_core.config import Config
from atlas_core.errors import ConfigError


def problems_of(raw: dict[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(raw)
    return caught.value.problems


def test_every_setting_has_help_and_a_default_within_its_own_bounds() -> None:
    for key, setting in settings.settings().items():
        assert setting.help.endswith("."), key
        assert Config().get(key) == setting.default
        if setting.low is not None and setting.high is not None:
            assert setting.low <= setting.default <= setting.high, key
        if setting.choices:
            assert setting.default in setting.choices, key


def test_numbers_have_bounds_so_that_a_form_can_show_them() -> None:
    for key, setting in settings.settings().items():
        if setting.type in (int, float):
            assert setting.low is not None and setting.high is not None, key


def test_unknown_key_is_refused_with_the_nearest_name() -> None:
    assert problems_of({"model": {"hiden_size": 64}}) == [
        "'model.hiden_size' is no setting (did you mean 'model.hidden_size'?)"]
    assert "did you mean 'training'" in problems_of({"trainig": {}})[0]


def test_all_problems_are_listed_at_once() -> None:
    found = problems_of({"model": {"num_heads": 0, "dropout": "much"}, "training": {"max_steps": 1.5}, "x": 1})
    assert len(found) == 4


def test_contradictions_are_listed_beside_other_problems_but_not_with_what_is_broken() -> None:
    found = problems_of({"model": {"hidden_size": 65, "dropout": 5}})
    assert len(found) == 2 and any("divide" in problem for problem in found)
    assert len(problems_of({"model": {"num_heads": "many", "hidden_size": 65}})) == 1


@pytest.mark.parametrize("raw, word", [
    ({"model": {"hidden_size": 65, "num_heads": 8}}, "divide"),
    ({"model": {"hidden_size": 65, "num_heads": 8}}, ": lower model.num_heads to 5"),
    ({"model": {"family": "llama", "hidden_size": 20, "num_heads": 4}}, "must be even: lower model.num_heads to 2"),
    ({"model": {"family": "llama", "hidden_size": 12, "num_heads": 5}}, "divide model.hidden_size (12): lower "
                                                                        "model.num_heads to 3"),
    ({"model": {"family": "llama", "hidden_size": 9, "num_heads": 3}}, "make the width even"),
    ({"model": {"family": "llama", "num_heads": 8, "num_kv_heads": 3}}, "lower it to 2"),
    ({"model": {"family": "llama", "num_heads": 4, "num_kv_heads": 8}}, "lower it to 4"),
    ({"model": {"family": "llama", "activation": "relu"}}, "leave it at gelu"),
    ({"model": {"family": "gpt2", "num_kv_heads": 2}}, "leave it at 0"),
    ({"training": {"warmup_steps": 160, "max_steps": 100}}, "training.max_steps (100): lower it too, say to 10"),
    ({"data": {"chunk_tokens": 8, "chunk_overlap": 8}}, "smaller"),
    ({"data": {"val_fraction": 0.6, "test_fraction": 0.6}}, "nothing to train on"),
    ({"data": {"stride": 4096}}, "skipped"),
    ({"data": {"min_chars": 9, "max_chars": 5}}, "exceeds"),
    ({"training": {"batch_size": 65536, "gradient_accumulation_steps": 65536}}, "million"),
])
def test_contradictions_name_both_settings(raw: dict[str, object], word: str) -> None:
    (problem,) = problems_of(raw)
    assert word in problem
    section = next(iter(raw))
    assert problem.count(f"{section}.") >= 2 or "model." in problem


@pytest.mark.parametrize(("key", "value", "said"), [
    ("training.max_steps", 999999999999, "must be 1 to 1,000,000,000 steps, not 999999999999"),
    ("training.max_steps", 0, "must be 1 or more steps, not 0"),
    ("training.batch_size", 1000000000, "must be 1 to 65,536, not 1000000000"),
    ("sampling.seed", 10**22, "must be 0 to 9,223,372,036,854,775,807, not 10000000000000000000000"),
    ("training.learning_rate", 1e30, "must be 1e-09 to 10, not 1e+30"),
    ("training.learning_rate", float("nan"), "must be a number (1e-09 to 10), not nan"),
    ("training.learning_rate", float("inf"), "must be a number (1e-09 to 10), not inf"),
    ("model.num_layers", "many", "must be a whole number (1 to 1,024), not 'many'"),
])
def test_a_value_out_of_bounds_is_named_as_typed_beside_the_bound_it_breaks(key: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config().replace({key: value})
    assert caught.value.problems == [f"{key} {said}"]


@pytest.mark.parametrize("value", [True, "many", None, float("nan"), float("inf"), [3], 2.5, -1, 10**30])
def test_nonsense_is_no_whole_number(value: object) -> None:
    assert problems_of({"model": {"num_layers": value}})


def test_a_number_written_as_yaml_1_1_reads_it_still_counts() -> None:
    assert yaml.safe_load("6e-4") == "6e-4"  # the trap
    assert Config.from_dict({"training": {"learning_rate": "6e-4"}}).training.learning_rate == 6e-4


def test_what_is_saved_loads_as_the_same(tmp_path: Path) -> None:
    config = Config().replace({"sampling.prompts": ["KING: \n", "#ü: 'x'"], "training.learning_rate": 1e-7})
    config.save(tmp_path / "config.yaml")
    assert settings.load(tmp_path / "config.yaml") == config


@given(st.text(), st.text())
@hypothesis.example("", "\x85")
@hypothesis.settings(deadline=None)  # the machine's load is no law
def test_any_text_survives_yaml(name: str, prompt: str) -> None:
    config = Config.from_dict({"name": name, "sampling": {"prompts": [prompt]}})
    assert Config.from_dict(yaml.safe_load(settings.to_yaml(config))) == config


def test_overrides_are_typed_and_checked(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model:\n  num_layers: 3\n")
    config = settings.load(tmp_path / "c.yaml", overrides=["model.dropout=0", "model.tie_weights=false",
                                                           "tokenizer.name=bpe:512", "training.learning_rate=1e-3"])
    assert (config.model.num_layers, config.model.dropout, config.model.tie_weights) == (3, 0.0, False)
    assert config.tokenizer.name == "bpe:512" and config.training.learning_rate == 1e-3
    with pytest.raises(ConfigError) as caught:
        settings.parse_overrides(["model.dropot=1", "nothing", "x=1"])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("content, word", [("- 1\n", "no settings"), ("a: [1", "line"), ("model: 3", "group")])
def test_a_file_that_is_no_configuration_is_refused_in_a_sentence(tmp_path: Path, content: str, word: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ConfigError, match=word):
        settings.load(tmp_path / "c.yaml")


def test_a_missing_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.load(tmp_path / "none.yaml")
    assert caught.value.remedy


def test_a_file_can_run_no_code(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model: !!python/object/apply:os.system ['touch pwned']\n")
    with pytest.raises(ConfigError):
        settings.load(tmp_path / "c.yaml")


def test_deep_merge_changes_neither_side() -> None:
    base, over = {"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}
    assert settings.deep_merge(base, over) == {"a": {"b": 1, "c": 3}}
    assert base == {"a": {"b": 1, "c": 2}} and over == {"a": {"c": 3}}


@pytest.mark.parametrize("content", [
    "[" * 5000, "model: {hidden_size: " + "9" * 5000 + "}", "model: {hidden_size: 0x" + "f" * 5000 + "}",
    "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True))
    + "name: *j\nmodel: {activation: *j}\n",
])
def test_a_file_that_unfolds_beyond_reason_gets_a_short_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "trap.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        settings.load(tmp_path / "trap.yaml")
    assert len(str(caught.value)) < 2000


def test_a_name_must_be_a_text() -> None:
    with pytest.raises(ConfigError, match="'name' must be a text"):
        Config.from_dict({"name": {"a": "b"}})


def test_a_setting_may_stand_beside_its_whole_section() -> None:
    assert Config().replace({"training.max_steps": 7000, "training": None}).training.max_steps == 7000
    both = Config().replace({"training.max_steps": 7000, "training": {"seed": 3}}).training
    assert (both.max_steps, both.seed) == (7000, 3)
    with pytest.raises(ConfigError, match="must be a group of settings"):
        Config().replace({"training.max_steps": 7, "training": 5})
