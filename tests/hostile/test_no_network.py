"""The program opens no connection: watched from within Python and, where there is a C compiler, below it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas_core.export.llama import llama_installed

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = Path(__file__).with_name("offline")
WINDOW = "tests/gui/test_window.py"

Watched = Callable[..., tuple[subprocess.CompletedProcess[str], list[str]]]


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The library that watches the calls of all code, Python's or not."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        return None  # then Python alone is watched
    library = tmp_path_factory.mktemp("offline") / "watch.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, OFFLINE / "watch.c", "-ldl"],
                   check=True)
    return library


@pytest.fixture
def watched(below: Path | None, tmp_path: Path) -> Watched:
    """Runs a Python program, and what it starts; returns how it ended and every network it asked for."""

    def run(*argv: str, loopback: bool = False) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        log = tmp_path / "network.log"
        environment = {**os.environ, "OFFLINE_LOG": str(log), "PYTHONPATH": str(OFFLINE),
                       "ATLAS_HOME": str(tmp_path / "home")}
        if below is not None:
            environment["LD_PRELOAD"] = str(below)
        if loopback:
            environment["OFFLINE_LOOPBACK"] = "1"
        ended = subprocess.run([sys.executable, *argv], capture_output=True, text=True, check=False, timeout=280,
                               cwd=ROOT, env=environment)
        return ended, log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    return run


def is_the_proof(line: str) -> bool:
    """Whether it is llama.cpp's child that talks to itself."""
    return " 127.0.0.1 " in line and "atlas_core.export.llama_child" in line


@pytest.mark.parametrize("code", [
    "import socket; socket.create_connection(('93.184.215.14', 80), timeout=3)",
    "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "import socket; socket.create_server(('127.0.0.1', 0))",
    "import urllib.request; urllib.request.urlopen('http://example.org', timeout=3)",
])
def test_the_watch_sees_and_refuses_a_connection(code: str, watched: Watched) -> None:
    ended, log = watched("-c", code)
    assert ended.returncode != 0
    assert log


def test_the_watch_sees_below_python(watched: Watched, below: Path | None) -> None:
    code = ("import ctypes, socket, struct; s = socket.socket(); "
            "address = struct.pack('=HH4s8x', 2, 0x5000, bytes([1] * 4)); "
            "raise SystemExit(ctypes.CDLL(None).connect(s.fileno(), address, 16))")
    ended, log = watched("-c", code)
    assert below is None or (ended.returncode != 0 and log[0].startswith("connect 1.1.1.1 "))


def test_the_chain_in_the_terminal_opens_no_connection(watched: Watched, tmp_path: Path) -> None:
    ended, log = watched("-m", "tests.hostile.chain", str(tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "model.gguf").is_file()
    assert log == []


def test_the_chain_in_the_window_opens_no_connection(watched: Watched) -> None:
    """From a dropped archive to an exported model, and a run that is interrupted and goes on."""
    ended, log = watched("-m", "pytest", "-q", "-p", "no:cacheprovider", WINDOW, "-k",
                         "from_a_dropped_archive or an_interrupted_run_is_offered", loopback=True)
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr
    assert [line for line in log if not is_the_proof(line)] == []


def test_the_proof_of_an_export_talks_to_its_own_child_only(watched: Watched, tmp_path: Path) -> None:
    """llama.cpp is a server in a child process, on this machine's own address, for as long as the proof takes."""
    ended, log = watched("-m", "tests.hostile.chain", str(tmp_path), "--verify", loopback=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert bool(log) == llama_installed()
    assert [line for line in log if not is_the_proof(line)] == []
