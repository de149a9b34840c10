"""The documents say what the program does: their tables are current, links lead somewhere, commands parse.

`python -m tests.core.test_docs` writes the tables anew. Whether the sentences are good, only people can tell.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from atlas_core import config, events, memory, presets, runs
from atlas_core import format as people
from atlas_core.cli import app
from atlas_core.cli import presets as presets_verb
from atlas_core.cli import runs as runs_verb
from atlas_core.export import gguf
from atlas_core.text.dataset import Meta, Split
from atlas_core.training import checkpoint
from tests.core.tiny_model import lively_model, small_vocabulary

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
FORMATS = ROOT / "docs" / "file-formats.md"

# A table between these comments is made by the function of that name in TABLES.
GENERATED = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end of \2 -->)", re.DOTALL)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^]]*]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
OUR_PATH = re.compile(r"(?<![\w./])(?:atlas_core|atlas_gui|resources|tests|packaging|docs|\.ci)/[\w./-]*\w")


# ---- the tables -----------------------------------------------------------------------------------


def preset_table() -> str:
    """The built-in presets, with what `memory.py` computes for the processor in fp32 and for a card in bf16.

    A preset that sets a precision is counted in that.
    """
    rows = []
    for name in presets.BUILT_IN:
        c = presets.find(name).config
        m, t = c.model, c.training
        own = None if t.precision == "auto" else t.precision
        needs = [memory.estimate(c, device=device, precision=own or precision).total_bytes
                 for device, precision in (("cpu", "fp32"), ("cuda", "bf16"))]
        rows.append((name, people.short_count(memory.count_parameters(m)), m.num_layers, m.hidden_size, m.num_heads,
                     people.count(m.max_seq_len), f"{t.batch_size} x {t.gradient_accumulation_steps}",
                     f"{t.learning_rate:g}", people.count(t.max_steps), *map(people.size, needs)))
    return markdown(("preset", "parameters", "layers", "width", "heads", "context", "batch", "peak rate", "steps",
                     "memory, processor", "memory, card"), rows)


def settings_table() -> str:
    """Every setting, section by section, in the order of a configuration file."""
    sections = []
    for section, cls in config.SECTIONS.items():
        rows = [(f"`{s.key}`" + (" *" if s.advanced else ""), f"`{presets_verb._shown(s.default)}`", s.bounds, s.help)
                for s in config.settings().values() if s.section == section]
        table = markdown(("setting", "default", "allowed", "what it does"), rows)
        sections.append(f"## {section}\n\n{cls.__doc__}\n\n{table}")
    return "\n\n".join(sections)


def event_table() -> str:
    """Every event of the engine and of the terminal, with its fields and the first sentence about it."""
    kinds = [kind for module in (events, runs_verb, presets_verb) for kind in vars(module).values()
             if isinstance(kind, type) and issubclass(kind, events.Event) and kind.__module__ == module.__name__]
    rows = [(f"`{kind.event}`", ", ".join(f"`{f.name}`" for f in dataclasses.fields(kind)), first_sentence(kind))
            for kind in kinds if kind is not events.Event]
    return markdown(("event", "fields", "meaning"), rows)


TABLES = {"presets": preset_table, "settings": settings_table, "events": event_table}


def markdown(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    text = "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
    return text.replace(people.SPACE, " ")


def first_sentence(kind: type) -> str:
    return " ".join(str(kind.__doc__).split()).partition(". ")[0].rstrip(".") + "."


def renewed(text: str) -> str:
    """A document with every generated table as it is now."""
    return GENERATED.sub(lambda match: match[1] + TABLES[match[2]]() + "\n" + match[4], text)


# ---- what stands in the documents -------------------------------------------------------------------


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """A document without its code blocks."""
    return BLOCK.sub("", text)


def anchors(path: Path) -> set[str]:
    """The names by which GitHub links to the headings of a document."""
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "")).strip().lower().replace(" ", "-")
            for title in HEADING.findall(prose(read(path)))}


def commands(text: str) -> Iterator[str]:
    """Each `atlas ...` line of the blocks and each `atlas verb ...` in a sentence."""
    for _, block in BLOCK.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        yield from (line.partition("  #")[0].strip() for line in lines if line.startswith("atlas "))
    yield from (code for code in CODE.findall(prose(text)) if code.startswith("atlas "))


def tree_paths(block: str) -> Iterator[Path]:
    """The paths in an annotated tree: two blanks of indentation a level, names joined by commas, then the remark."""
    above: list[str] = []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.split(r"\s{2,}", line.strip())[0].split(", ")
        del above[depth:]
        yield from (Path(*above, name) for name in names)
        above.append(names[0])


def the_tree() -> list[Path]:
    (block,) = [block for kind, block in BLOCK.findall(read(ROOT / "README.md")) if kind == "tree"]
    return list(tree_paths(block))


# ---- the laws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_generated_tables_are_current(path: Path) -> None:
    assert read(path) == renewed(read(path)), "write the tables anew: python -m tests.core.test_docs"


def test_every_table_has_its_place() -> None:
    placed = [name for path in DOCS for _, name, _, _ in GENERATED.findall(read(path))]
    assert sorted(placed) == sorted(TABLES)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in LINK.findall(prose(read(path))):
        if re.match(r"[a-z]+:", target):
            continue  # other people's pages are not ours to test
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_path_that_is_named_exists(path: Path) -> None:
    assert [named for named in OUR_PATH.findall(read(path)) if not (ROOT / named).exists()] == []


def test_the_tree_in_the_readme_is_the_repositorys() -> None:
    tree = the_tree()
    assert [str(path) for path in tree if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("package", ["atlas_core", "atlas_gui", "tests", "resources"])
def test_the_tree_in_the_readme_leaves_no_folder_out(package: str) -> None:
    folders = {path.relative_to(ROOT) for path in (ROOT / package).iterdir() if path.is_dir() and any(path.iterdir())}
    assert {path for path in folders if path.name != "__pycache__"} <= set(the_tree())


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_command_is_understood(path: Path) -> None:
    parser = app._parser()
    for command in commands(read(path)):
        words = shlex.split(command)[1:]
        if len(words) == 1:
            assert words[0] in app.VERBS or words[0].startswith("--"), command  # names the verb, no more
            continue
        try:
            args = parser.parse_args(words)
        except SystemExit as ended:  # --help
            assert ended.code == 0, command
            continue
        if getattr(args, "preset", None):
            presets.find(args.preset)
        config.parse_overrides(getattr(args, "overrides", []))
        if args.verb == "export":
            assert args.type in gguf.TYPES, command


def test_every_setting_that_is_named_exists() -> None:
    sections = "|".join(config.SECTIONS)
    for path in DOCS:
        for key in re.findall(rf"`((?:{sections})\.[a-z_0-9]+)(?:=[^`]*)?`", read(path)):
            assert key in config.settings() or key in (runs.LOG_FILE, runs.TOKENIZER_FILE), f"{path.name}: {key}"


@pytest.mark.parametrize("name", [
    *checkpoint.KEYS, *(f.name for f in dataclasses.fields(checkpoint.Progress)),
    *(f.name for f in dataclasses.fields(runs.CheckpointInfo) if f.name != "path"), "sha256", "seal",
    *(f.name for f in dataclasses.fields(Meta)), *(f.name for f in dataclasses.fields(Split)),
    runs.CONFIG_FILE, runs.METRICS_FILE, runs.SAMPLES_FILE, runs.LOG_FILE, runs.TOKENIZER_FILE, runs.BEST,
    *(checkpoint.file_name(kind, 1000, 2) for kind in ("step", "epoch", "emergency")),
])
def test_the_file_formats_name_everything_that_is_written(name: str) -> None:
    assert f"`{name}`" in read(FORMATS)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> list[GGUFReader]:
    """GGUF files of models that together have every tensor there can be."""
    files = []
    for family in ("gpt2", "llama"):
        files.append(tmp_path_factory.mktemp("docs") / f"{family}.gguf")
        model = lively_model(tie_weights=False, family=family)
        list(gguf.write_gguf(model, small_vocabulary(), config.Config(), files[-1]))
    return [GGUFReader(file) for file in files]


def test_the_file_formats_name_every_key_of_an_export_and_no_other(exported: list[GGUFReader]) -> None:
    written = {key for file in exported for key in file.fields if not key.startswith("GGUF.")}  # the reader's own
    assert set(re.findall(r"`((?:general|gpt2|llama|tokenizer\.ggml)\.[a-z_.]+)`", read(FORMATS))) == written


def test_the_file_formats_name_every_tensor_of_an_export_and_no_other(exported: list[GGUFReader]) -> None:
    kinds = {re.sub(r"^blk\.\d+\.(\w+)\..*", r"blk.N.\1", tensor.name) for file in exported for tensor in file.tensors}
    assert set(re.findall(r"`((?:blk|output|output_norm|token_embd|position_embd)\.[\w.]+)`", read(FORMATS))) == kinds


if __name__ == "__main__":
    for document in DOCS:
        document.write_text(renewed(read(document)), encoding="utf-8")
