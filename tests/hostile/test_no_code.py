"""Opening a stranger's file can run no code: nothing in the program could, and what tries does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from atlas_core.errors import DataError
from atlas_core.text.dataset import Dataset
from tests import tiny
from tests.hostile.datasets import Touch

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = sorted([*(ROOT / "atlas_core").rglob("*.py"), *(ROOT / "atlas_gui").rglob("*.py")])

# Modules that build objects from bytes, or code from texts.
FORBIDDEN_MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "runpy"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.unsafe_load",
                   "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "importlib.import_module",
                   "torch.jit.load", "torch.package.PackageImporter", "torch.hub.load"}


def offences(path: Path) -> Iterator[str]:
    """What in a file could run a stranger's code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        yield from (f"imports {name}" for name in names if name.split(".")[0] in FORBIDDEN_MODULES)
        if isinstance(node, ast.Call):
            yield from judged(ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords},
                              [ast.unparse(word) for word in node.args])


def judged(call: str, options: dict[str | None, str], words: list[str]) -> Iterator[str]:
    if call in FORBIDDEN_CALLS:
        yield f"calls {call}"
    if call == "torch.load" and options.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if call == "np.load" and options.get("allow_pickle") != "False":
        yield "np.load without allow_pickle=False"
    if call == "yaml.load" and (words[1:] or [options.get("Loader", "")])[0] not in ("_Loader", "yaml.SafeLoader"):
        yield "yaml.load without a safe loader"
    if options.get("shell") == "True":
        yield f"{call} through a shell"


@pytest.mark.parametrize("path", PROGRAM, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_in_the_program_builds_objects_or_code_from_bytes(path: Path) -> None:
    assert list(offences(path)) == []


@pytest.mark.parametrize("code", [
    "import pickle", "from marshal import loads", "torch.load(path)", "torch.load(path, weights_only=False)",
    "np.load(path, allow_pickle=True)", "yaml.load(text, yaml.Loader)", "yaml.load(text)", "eval(text)",
    "subprocess.run(text, shell=True)",
])
def test_the_search_finds_what_it_is_for(code: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(code)
    assert list(offences(tmp_path / "a.py"))


def test_the_loader_of_settings_is_a_safe_one() -> None:
    import yaml

    from atlas_core import config

    assert issubclass(config._Loader, yaml.SafeLoader)
    made_by = [name for name in config._Loader.yaml_constructors if name and "python" in name]
    assert made_by == [] and not config._Loader.yaml_multi_constructors


def test_offsets_that_are_a_pickle_are_not_unpickled(tmp_path: Path) -> None:
    dataset = tiny.make_dataset(tmp_path)
    objects = np.empty(1, dtype=object)
    objects[0] = Touch(tmp_path / "pwned")
    np.save(dataset / "train.offsets.npy", objects, allow_pickle=True)
    with pytest.raises(DataError, match=r"train\.offsets\.npy is no array"):
        Dataset.open(dataset).offsets("train")
    assert not (tmp_path / "pwned").exists()


def test_the_trap_itself_works(tmp_path: Path) -> None:
    """Else the other tests would prove nothing."""
    import pickle

    pickle.loads(pickle.dumps(Touch(tmp_path / "pwned")))  # noqa: S301
    assert (tmp_path / "pwned").exists()
