"""What is endless or huge takes bounded memory: measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEBIBYTE = 2**20
# The command, and by how much the process grew over what it had once everything was imported.
CODE = """
import resource, sys
from atlas_core.cli import main
import atlas_core.text.prepare, tiktoken
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
status = main(sys.argv[1:])
print(status, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, file=sys.stderr)
"""


def grown(*argv: str) -> tuple[int, int]:
    """The command's exit status, and the peak of its memory over that of an idle program, in MiB."""
    ended = subprocess.run([sys.executable, "-c", CODE, *argv, "--json"], capture_output=True, text=True, check=False,
                           timeout=280, cwd=ROOT)
    status, grown_mib = ended.stderr.split()[-2:]
    return int(status), int(grown_mib)


def one_line(mebibytes: int) -> Iterator[bytes]:
    """A line without an end, and without a blank to cut at."""
    block = bytes(ord("a") + place * 7 % 26 for place in range(MEBIBYTE))
    return iter([block] * mebibytes)


@pytest.mark.parametrize(("name", "sizes"), [("line.txt", (8, 20)), ("line.jsonl", (80, 160))])
def test_a_longer_line_takes_no_more_memory(name: str, sizes: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("a good text of a few words\n" * 50)
    peaks = []
    for mebibytes in sizes:
        with open(tmp_path / name, "wb") as file:
            file.writelines(one_line(mebibytes))
        status, grown_mib = grown("prepare", str(tmp_path / name), str(tmp_path / "good.txt"), "--out",
                                  str(tmp_path / "out"), "--tokenizer", "gpt2")
        assert status == 0
        peaks.append(grown_mib)
    assert peaks[1] - peaks[0] < 20
    assert peaks[1] < 300


def test_a_device_without_an_end_is_no_file_of_settings_and_no_prompt(tmp_path: Path) -> None:
    status, grown_mib = grown("estimate", "--config", "/dev/zero")
    assert (status, grown_mib < 100) == (1, True)
    (tmp_path / "huge.yaml").write_bytes(b"#" * (50 * MEBIBYTE))
    status, grown_mib = grown("estimate", "--config", str(tmp_path / "huge.yaml"))
    assert (status, grown_mib < 100) == (1, True)
