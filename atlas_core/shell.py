"""Words as they must be typed in this system's shell, so that a command we tell can be pasted."""

from __future__ import annotations

import shlex
import subprocess
import sys


def quoted(*words: object) -> str:
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if sys.platform == "win32" else shlex.join(texts)
