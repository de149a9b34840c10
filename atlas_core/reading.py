"""Files that anybody may have written, read within bounds: small ones whole, JSON, and long ones line by line.

Not here: what their content means. Everything refused is an `OSError` or a `ValueError`.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 64 * 2**20   # the longest of ours, a vocabulary of a million tokens, has about half of that
MAX_LINE_BYTES = 64 * 2**20   # a drawn text of a million tokens has a tenth of that


def small_file(path: Path, most_bytes: int) -> bytes:
    """The whole of a file. A pipe or device, which may never end, is an `OSError`; too large a file a `ValueError`."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    with open(path, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"is larger than {most_bytes // 1024:,} KiB")
    return content


def json_file(path: Path) -> Any:
    """The value in a JSON file. Errors as for `small_file`, and `ValueError` for what is no JSON."""
    return json_value(small_file(path, MAX_JSON_BYTES))


def json_value(text: str | bytes) -> Any:
    """The value that JSON spells. `ValueError` for what is none, also for one nested without end."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested without end") from error


def lines(path: Path) -> Iterator[str]:
    """The lines of a text file without their ends; one of more than `MAX_LINE_BYTES` is passed over."""
    with open(path, "rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
                yield line.decode("utf-8", "replace").rstrip("\r\n")
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(2**20)
