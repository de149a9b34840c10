"""Memory that is freed stays while somebody keeps it, and goes back to the system afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from atlas_core.hardware import device as hardware
from atlas_core.hardware import heap

# A round takes and frees 30 blocks of 10 MB, which differ a little so that none fits exactly where another was.
ROUNDS = """
import json, resource
import torch
from atlas_core.hardware import device

def faults():
    blocks, before = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for i in range(30):
        blocks.append(torch.ones(2_500_000 + 1_000 * i))
    while blocks:
        blocks.pop()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6

class Owner:
    pass

owner = Owner()
device.keep_memory(torch.device("cpu"), owner)
faults()
told = {"kept": faults(), "held_mb": resident_mb()}
device.let_go()
told["others_ended_mb"] = resident_mb()
device.let_go(even_in_training=True)
told["given_back_mb"] = resident_mb()
faults()
told["still_kept"] = faults()
del owner
device.let_go()
faults()
told["let_go"] = faults()
print(json.dumps(told))
"""
BLOCKS_MB = 30 * 10
PAGES = BLOCKS_MB * 10**6 // 4096


@pytest.mark.skipif(heap._library() is None, reason="this C library cannot be told what to keep")
def test_what_is_freed_is_kept_for_the_next_step_and_given_back_when_asked() -> None:
    ran = subprocess.run([sys.executable, "-c", ROUNDS], capture_output=True, text=True, check=True,
                         env={**os.environ, "OMP_NUM_THREADS": "1"})
    told = json.loads(ran.stdout)
    assert told["kept"] < PAGES / 20
    assert told["still_kept"] < PAGES / 20
    assert told["let_go"] > PAGES / 2
    assert told["held_mb"] - told["others_ended_mb"] < BLOCKS_MB * 0.1  # of them the one that trains notices nothing
    assert told["held_mb"] - told["given_back_mb"] > BLOCKS_MB * 0.9


class FakeLibrary:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[int, ...]]] = []

    def mallopt(self, *arguments: int) -> int:
        self.told.append(("mallopt", arguments))
        return 1

    def malloc_trim(self, *arguments: int) -> int:
        self.told.append(("malloc_trim", arguments))
        return 1


def test_a_card_keeps_its_memory_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    monkeypatch.setattr(heap, "_library", lambda: library)
    hardware.keep_memory(torch.device("meta"), library)
    assert library.told == []
    hardware.keep_memory(torch.device("cpu"), library)
    assert ("mallopt", (heap.M_TRIM_THRESHOLD, heap.NEVER)) in library.told


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_left_alone(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert heap._library.__wrapped__() is None


def test_cards_give_back_what_their_caches_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append("mps"))
    monkeypatch.setattr(hardware, "_used", {"cpu"})
    hardware.let_go()
    assert emptied == []  # a card that nobody used is not woken
    monkeypatch.setattr(hardware, "_used", {"cpu", "cuda", "mps"})
    hardware.let_go()
    assert emptied == ["cuda", "mps"]


def test_whoever_ends_while_another_loads_torch_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a module is there then, and none of what a device would be asked with."""
    monkeypatch.setattr(hardware, "_used", set[str]())
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    hardware.let_go()
