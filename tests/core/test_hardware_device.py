"""The choice of device, precision and threads, on whatever machine the tests run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from atlas_core import jobs, presets
from atlas_core.errors import DeviceError
from atlas_core.events import Estimate
from atlas_core.hardware import device as device_module
from atlas_core.hardware import ram
from atlas_core.hardware.device import (
    choose_device,
    choose_precision,
    describe,
    expected_precision,
    fitted_here,
    machine_memory,
    use_threads,
)
from atlas_core.hardware.processor import usable_cores
from atlas_core.hardware.telemetry import Reading
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


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_fp16_is_refused_where_it_does_not_run(kind: str) -> None:
    with pytest.raises(DeviceError, match="fp16"):
        choose_precision("fp16", torch.device(kind))


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
    total_bytes, free_bytes, _ = machine_memory("cpu")
    assert 0 < free_bytes < total_bytes <= psutil.virtual_memory().total


@pytest.mark.usefixtures("threads_restored")
def test_description_says_how_many_threads() -> None:
    torch.set_num_threads(1)
    assert describe(CPU).endswith("(1 thread)")
    torch.set_num_threads(2)
    assert describe(CPU).endswith("(2 threads)")


def test_the_device_expected_before_torch_is_the_one_it_chooses() -> None:
    assert machine_memory().device == choose_device("auto").type


def test_a_run_set_to_the_processor_is_judged_by_the_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though there is a card, which is smaller: for the fit, the estimate and the room to measure."""
    small = Reading("Small card", memory_total_bytes=6 * 2**30, memory_used_bytes=2**30)
    card = SimpleNamespace(is_gpu=True, read=lambda: small)
    monkeypatch.setattr(device_module, "torch_build", lambda: "cuda")
    monkeypatch.setattr(device_module, "best_telemetry", lambda: card)
    monkeypatch.setattr(ram, "total_and_available_bytes", lambda: (64 * 2**30, 60 * 2**30))
    config = presets.find("DEFAULT").config
    on_processor = config.replace({"hardware.device": "cpu"})
    assert fitted_here(config).config.training.batch_size < config.training.batch_size
    assert fitted_here(on_processor).config == on_processor
    *_, estimate, _ = jobs.estimate(on_processor)
    assert isinstance(estimate, Estimate)
    assert (estimate.device_bytes, estimate.fits) == (64 * 2**30, "fits")
    assert machine_memory() == (6 * 2**30, 5 * 2**30, "cuda")


def test_a_card_that_shares_the_machines_memory_is_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(is_gpu=True, read=lambda: Reading("Orin"))
    monkeypatch.setattr(device_module, "torch_build", lambda: "cuda")
    monkeypatch.setattr(device_module, "best_telemetry", lambda: card)
    monkeypatch.setattr(ram, "total_and_available_bytes", lambda: (64 * 2**30, 60 * 2**30))
    assert machine_memory() == (64 * 2**30, 60 * 2**30, "cuda")


def test_apples_graphics_share_the_machines_memory_and_are_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "APPLE_SILICON", True)
    monkeypatch.setattr(device_module, "torch_build", lambda: "cpu")
    assert (machine_memory().device, machine_memory("cpu").device) == ("mps", "cpu")
    assert expected_precision("auto", "mps") == "fp32"


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
    assert expected_precision("auto", "cpu") == chosen or sys.platform != "linux"
    assert expected_precision("fp32", "cuda") == "fp32"
