"""What the core's tests share: one prepared dataset for the whole session, never written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas_core.training import saver
from tests import tiny


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def saved_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory for snapshots: every save is over before the next step, however slow the disk."""
    monkeypatch.setattr(saver, "SPARED_BYTES", 2**62)
