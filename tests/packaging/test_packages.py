"""What is installed, and what must not be loaded when: laws between pyproject.toml, the pins and the imports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

ROOT = Path(__file__).resolve().parents[2]
NEWEST_PYTHON = {"python_version": "3.13"}


def run_python(program: str) -> str:
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return ran.stdout.strip()


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "packaging" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def direct_dependencies() -> list[Requirement]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    return [Requirement(text) for text in texts if not text.startswith("atlas-studio")]


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    pinned = pins()
    for dependency in direct_dependencies():
        pin = pinned[canonicalize_name(dependency.name)]
        version = str(pin.specifier).removeprefix("==")
        assert dependency.specifier.contains(version), f"{dependency} does not allow {pin}"


def test_pins_are_exact_and_name_no_build_or_place() -> None:
    for pin in pins().values():
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), pin
        assert pin.url is None
        assert pin.marker is None or pin.marker.evaluate(NEWEST_PYTHON), pin


def test_folder_packaging_does_not_hide_the_library_of_that_name() -> None:
    assert not (ROOT / "packaging" / "__init__.py").exists()
    found = run_python("import packaging.version; print(packaging.version.__file__)")
    assert Path(found).parent != ROOT / "packaging"


def test_configuration_imports_neither_torch_nor_qt() -> None:
    loaded = run_python(
        "import sys, atlas_core.config, atlas_core.control, atlas_core.events\n"
        "print(sorted({'torch', 'numpy', 'PySide6', 'pyqtgraph'} & set(sys.modules)))"
    )
    assert loaded == "[]"


def test_qt_calls_lose_no_reference_to_none(qtbot: QtBot) -> None:
    """PySide6 6.12.0 loses one a call on Python 3.10 and 3.11, until the interpreter aborts.

    None is immortal from Python 3.12 on; its count then stands still.
    """
    label = QLabel()
    qtbot.addWidget(label)
    before = sys.getrefcount(None)
    for number in range(1000):
        label.setText(str(number))
    assert sys.getrefcount(None) > before - 100
