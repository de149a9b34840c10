"""Which kind of device the installed torch was built for, read from its version file.

Does not import torch: that takes seconds, and the window asks before them.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path


@cache
def torch_build() -> str:
    """One of "cuda", "rocm" and "cpu"; also "cpu" where torch is missing, for then nothing can use a card."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return "cpu"
    return read_build(Path(spec.origin).with_name("version.py").read_text(encoding="utf-8"))


def read_build(version_file: str) -> str:
    """The kind of build in the text of `torch/version.py`, whose lines are like `cuda: Optional[str] = '12.8'`."""
    built_with = dict(re.findall(r"^(\w+)\s*(?::[^=]+)?=\s*['\"](.+)['\"]", version_file, re.MULTILINE))
    if "hip" in built_with:
        return "rocm"
    return "cuda" if "cuda" in built_with else "cpu"
