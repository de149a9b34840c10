"""The choice of device, precision and threads, on whatever machine the tests run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from atlas_core.errors import DeviceError
from atlas_core.hardware.device import (
    choose_device,
    choose_precision,
    describe,
    expected_precision,
    machine_memory,
    total_and_free_bytes,
    use_threads,
)
from atlas_core.hardware.processor import usable_cores
from atlas_core.hardware.torch_build import torch_build

CPU = torch.device("cpu")


@pytest.fixture
def threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_auto_is_the_card_if_there_is_one() -> None:
    if torch.cuda.is_available():
        assert choose_device("auto").type == "cuda"
    elif torch.backends.mps.is_available():
        assert choose_device("auto").type == "mps"
    else:
        assert choose_device("auto") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_absent_card_is_refused_with_a_remedy() -> None:
    with pytest.raises(DeviceError, match="no device 'cuda'") as refused:
        choose_device("cuda")
    assert "device to cpu" in refused.value.remedy


def test_fp16_on_the_processor_is_refused() -> None:
    with pytest.raises(DeviceError, match="fp16"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_precision_that_was_asked_for_is_kept(wanted: str) -> None:
    assert choose_precision(wanted, CPU) == wanted


@pytest.mark.skipif(sys.platform != "linux", reason="the processor's flags are listed on Linux")
def test_auto_precision_follows_the_processor() -> None:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    expected = "bf16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "fp32"
    assert choose_precision("auto", CPU) == expected


def test_older_torch_without_capabilities_gives_the_same_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(torch.cpu, "get_capabilities") or sys.platform != "linux":
        pytest.skip("needs both ways to compare")
    new_way = choose_precision("auto", CPU)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert choose_precision("auto", CPU) == new_way


@pytest.mark.usefixtures("threads_restored")
def test_threads_are_the_count_then_the_environment_then_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    assert use_threads(2) == torch.get_num_threads() == 2
    assert use_threads() == torch.get_num_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert use_threads() == torch.get_num_threads() == usable_cores()


def test_memory_of_the_processor_is_the_machines() -> None:
    total_bytes, free_bytes = total_and_free_bytes(CPU)
    assert 0 < free_bytes < total_bytes <= psutil.virtual_memory().total


@pytest.mark.usefixtures("threads_restored")
def test_description_says_how_many_threads() -> None:
    torch.set_num_threads(1)
    assert describe(CPU).endswith("(1 thread)")
    torch.set_num_threads(2)
    assert describe(CPU).endswith("(2 threads)")


def test_memory_before_torch_is_the_memory_after_it() -> None:
    memory = machine_memory()
    device = choose_device("auto")
    assert memory.is_gpu == (device.type != "cpu")
    if not memory.is_gpu:
        assert memory.total_bytes == total_and_free_bytes(device)[0]


def test_build_read_from_the_file_is_the_build_torch_says() -> None:
    expected = "rocm" if torch.version.hip else "cuda" if torch.version.cuda else "cpu"
    assert torch_build() == expected


def run_python(program: str) -> str:
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    return ran.stdout.strip()


def test_asking_the_machine_imports_neither_torch_nor_qt() -> None:
    loaded = run_python(
        "import sys, atlas_core.config\n"
        "from atlas_core.hardware import device\n"
        "device.machine_memory()\n"
        "print([name for name in ('torch', 'PySide6', 'numpy') if name in sys.modules])"
    )
    assert loaded == "[]"


def test_the_window_expects_the_precision_that_torch_will_choose() -> None:
    chosen = choose_precision("auto", torch.device("cpu"))
    assert expected_precision("auto", is_gpu=False) == chosen or sys.platform != "linux"
    assert expected_precision("fp32", is_gpu=True) == "fp32"
