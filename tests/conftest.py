"""What holds for every test: no screen, no touch of the user's own files, few threads.

Builds no objects for tests: those stand beside the tests that use them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import atlas_core  # noqa: F401 - before torch: it says how torch's threads are to wait

# Qt aborts the whole process where there is no screen, so this comes before anything imports it. It holds on
# machines with a screen too: no windows flash past, and a widget has the same size everywhere. To watch a test,
# name the platform: QT_QPA_PLATFORM=xcb pytest ...
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

# The models of the tests are tiny: on a machine with many cores the threads would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "2")

WORKER_BYTES = 3 * 2**30    # of tests, with those they start: 1.7 GiB were seen, and the rest is room
MOST_WORKERS = 8            # beyond that the longest test decides


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes share the tests: one for each core, as far as memory carries them."""
    return max(1, min(psutil.cpu_count(logical=False) or 1, psutil.virtual_memory().available // WORKER_BYTES,
                      MOST_WORKERS))


@pytest.fixture(scope="session", autouse=True)
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures that live longer than one test must not find the user's own folder either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATLAS_HOME", str(tmp_path_factory.mktemp("session-home")))
        yield


@pytest.fixture(autouse=True)
def atlas_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder for all that the program writes for its user; `tmp_path` stays the test's own."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ATLAS_HOME", str(home))
    return home
