"""Whatever they are given, parsers answer with a value or an error of ours. hypothesis looks for others."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from atlas_core import config as settings
from atlas_core import history, hours, runs
from atlas_core.config import Config
from atlas_core.errors import AtlasError, ConfigError, DataError, TokenizerError
from atlas_core.history import History
from atlas_core.text.sources import documents, list_sources
from atlas_core.text.tokenizer import AtlasTokenizer, bpe_size, open_tokenizer, train_bpe

some = hypothesis.settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEYS = st.sampled_from([*settings.settings(), "model.hiden_size", "x.y", "training", ""])
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=9),
                    st.just(10**400), st.dates())
values = st.recursive(scalars,
                      lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
                           lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
# Texts that look like settings: random ones hardly ever get past the first bracket.
TAGS = ["!!bool ", "!!int ", "!!float ", "!!timestamp ", "!!set ", "!!omap ", "!!pairs ", "!!binary ", "!!null ",
        "!!python/name:os.system", "!x ", "&a ", "*a", "<<: ", "? ", "- ", "'", '"', "|\n", ">-\n", "{", "}", "[", "]",
        "#", "0x", "0b", "0o9", "1:60", "_", ".nan", "2026-99-99", "\t", "\n", "\n  ", ": ", "---\n",
        "%YAML 1.1\n", "\x85"]
yamlish = st.lists(st.sampled_from(TAGS) | st.sampled_from(["model", "training", "num_layers", "name", "seed"])
                   | st.text(max_size=4), max_size=14).map("".join)


def load(content: bytes) -> Config | None:
    """The settings in a file of these bytes; None if they are refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.yaml")
        path.write_bytes(content)
        try:
            return settings.load(path)
        except ConfigError as error:
            assert error.message and len(error.message) < 5000
            return None


@hypothesis.settings(some, max_examples=300)
@given(yamlish)
def test_any_settings_file_is_settings_or_an_error(text: str) -> None:
    found = load(text.encode("utf-8", "surrogatepass"))
    assert found is None or Config.from_dict(found.to_dict()) == found


@some
@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_an_error(content: bytes) -> None:
    load(content)


@some
@given(values)
def test_any_value_is_settings_or_an_error(raw: Any) -> None:
    try:
        Config.from_dict(raw)
    except ConfigError:
        return


@hypothesis.settings(some, max_examples=150)
@given(st.dictionaries(KEYS, values, max_size=4))
def test_whatever_is_accepted_can_be_saved_and_is_read_as_the_same(changes: dict[str, Any]) -> None:
    try:
        config = Config().replace(changes)
    except ConfigError:
        return
    assert Config.from_dict(yaml.safe_load(settings.to_yaml(config))) == config


@hypothesis.settings(some, max_examples=150)
@given(st.lists(st.builds("{}{}{}".format, KEYS, st.sampled_from(["=", "", "=="]), yamlish), max_size=3))
def test_any_override_is_a_change_or_an_error(overrides: list[str]) -> None:
    try:
        settings.deep_merge(Config().to_dict(), settings.parse_overrides(overrides))
        Config.from_dict(settings.deep_merge(Config().to_dict(), settings.parse_overrides(overrides)))
    except ConfigError as error:
        assert error.message


@some
@given(st.text(max_size=15) | st.from_regex(hours.SPAN, fullmatch=True))
def test_any_quiet_hours_are_hours_or_an_error(text: str) -> None:
    try:
        found = hours.parse(text)
    except ValueError:
        return
    assert found is None or (0 <= found.first <= 1440 and 0 <= found.end <= 1440)


@some
@given(st.text(max_size=12).map("bpe:".__add__) | st.text(max_size=12))
def test_any_tokenizer_is_a_size_or_an_error(spec: str) -> None:
    try:
        bpe_size(spec)
        if spec.startswith("bpe"):
            return  # a size that can be learned
        open_tokenizer("/nowhere/" + spec)
    except TokenizerError as error:
        assert error.remedy


records = st.fixed_dictionaries({}, optional={
    "event": st.sampled_from(["step", "eval", "sample", "run", "checkpoint", "skipped", "rolled_back"]) | json_values,
    "step": st.integers(-5, 99) | json_values, "loss": json_values, "val_loss": json_values, "seconds": json_values,
    "learning_rate": json_values, "tokens_per_s": json_values, "grad_norm": json_values, "tokens_seen": json_values,
    "resumed_from": json_values, "to_step": json_values, "reason": json_values, "prompt": json_values,
    "text": json_values, "seed": json_values,
})
WHOLE = {"event": "step", "step": 1, "loss": 1.0, "learning_rate": 1e-3, "tokens_per_s": 1.0, "grad_norm": 1.0,
         "seconds": 1.0, "tokens_seen": 8}
rows = st.one_of(records.map(json.dumps), records.map(lambda odd: json.dumps(WHOLE | odd)), st.text(max_size=20),
                 st.just("[" * 50_000), st.just('{"step": ' + "9" * 5000 + "}"))


@hypothesis.settings(some, max_examples=200)
@given(st.lists(rows, max_size=5))
def test_any_metrics_are_a_history(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, runs.METRICS_FILE)
        path.write_text("\n".join([*lines, json.dumps(WHOLE)]), encoding="utf-8", errors="surrogatepass")
        found = History.read(path)
        assert 1 in found.steps  # what is ours is never lost
        assert len(found.steps) == len(found.losses) == len(found.tokens_seen)
        history.truncate(path, 50)
        assert all(step <= 50 for step in History.read(path).steps)


SIDECAR = {"kind": "step", "step": 1, "epoch": 0.5, "loss": 1.0, "val_loss": None, "perplexity": 2.0,
           "learning_rate": 1e-3, "bytes": 3, "saved_at": 1.7e9, "max_steps": 10, "parameters": 10}


@hypothesis.settings(some, max_examples=150)
@given(st.dictionaries(st.sampled_from([*SIDECAR, "more"]), json_values | st.integers(), max_size=4))
def test_any_sidecar_is_a_run_that_can_be_listed(changes: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        checkpoint = run / runs.CHECKPOINTS_FOLDER / "atlas_step_1.pt"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(b"abc")
        (run / runs.CONFIG_FILE).write_text("")
        runs.sidecar(checkpoint).write_text(json.dumps(SIDECAR | changes))
        (info,) = runs.list_runs(Path(folder))
        assert info.state in ("interrupted", "done", "empty")


def read(name: str, content: bytes) -> None:
    """All of a file as documents, or an error of ours; what is left out has a reason."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        skips: list[tuple[str, str]] = []
        try:
            entries = list_sources([path])
            found = list(documents([path], on_skip=lambda *skip: skips.append(skip)))
        except DataError as error:
            assert error.message and error.remedy
            return
        assert all(document.text.encode() is not None for document in found)
        assert found or skips or all(entry.bytes == 0 or entry.kind == "lines" for entry in entries)


@hypothesis.settings(some, max_examples=150)
@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_text_or_an_error(content: bytes) -> None:
    read("a.txt", content)
    read("a", content)


@hypothesis.settings(some, max_examples=150)
@given(st.lists(st.binary(max_size=30) | json_values.map(lambda text: json.dumps({"text": text}).encode()), max_size=5))
def test_any_lines_are_documents_or_an_error(lines: list[bytes]) -> None:
    read("a.jsonl", b"\n".join(lines))


zip_names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


def zipped(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in dict.fromkeys(names):
            archive.writestr(zipfile.ZipInfo(name), "some text, and more of it")
    return buffer.getvalue()


@some
@given(st.lists(st.one_of(zip_names, zip_names.map("../{}.txt".format), zip_names.map("{}.zip".format)), max_size=4))
def test_any_names_in_an_archive_are_read_or_refused(names: list[str]) -> None:
    read("a.zip", zipped(names))


@hypothesis.settings(some, max_examples=300)
@given(st.data())
def test_any_damage_to_an_archive_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(zipped(["a.txt", "b/c.md", "d"]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read("a.zip", bytes(content[:data.draw(st.integers(0, len(content)) | st.just(len(content)))]))


def test_an_archive_with_a_file_without_a_name_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(["a.txt", "QQ"]).replace(b"QQ", b"\0\0"))
    with pytest.raises(AtlasError, match=r"a\.zip is damaged"):
        list_sources([tmp_path / "a.zip"])


VOCABULARY = train_bpe(["the king and queen"] * 9, 262).to_dict()


@hypothesis.settings(some, max_examples=150)
@given(st.dictionaries(st.sampled_from([*VOCABULARY, "more"]), json_values, max_size=3) | json_values)
def test_any_tokenizer_file_is_a_tokenizer_or_an_error(changes: Any) -> None:
    raw = {**VOCABULARY, **changes} if isinstance(changes, dict) else changes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        path.write_text(json.dumps(raw))
        try:
            found = AtlasTokenizer.load(path)
        except AtlasError as error:
            assert error.message
            return
        assert found.decode(found.encode("a king")) == "a king"
