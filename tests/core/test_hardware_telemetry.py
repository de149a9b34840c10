"""Telemetry against a driver library built here, a folder of sensor files, and the machine the tests run on."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest
import torch

from atlas_core.hardware import ram
from atlas_core.hardware.processor import tidy_name, usable_cores
from atlas_core.hardware.telemetry import AmdTelemetry, NvmlTelemetry, Reading, SystemTelemetry, best_telemetry
from atlas_core.hardware.torch_build import read_build

GIB = 2**30
SetMode = Callable[[str], None]


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and gcc to build the fake driver library")
    library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    return library


@pytest.fixture
def driver(nvml_library: Path, monkeypatch: pytest.MonkeyPatch) -> SetMode:
    """The fake driver in the place of the real one; the returned function says what goes wrong from now on."""
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(nvml_library)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def set_mode(mode: str) -> None:
        monkeypatch.setenv("FAKE_NVML_MODE", mode)

    return set_mode


def test_every_value_of_a_card_arrives_in_its_unit(driver: SetMode) -> None:
    driver("")
    assert NvmlTelemetry().read() == Reading(
        name="RTX 4070", temperature_c=64.0, memory_used_bytes=5 * GIB, memory_total_bytes=12 * GIB,
        utilization_percent=97.0, power_w=180.5, energy_j=7200.5, fan_percent=42.0,
    )


def test_card_without_a_fan_tells_all_the_rest(driver: SetMode) -> None:
    driver("")
    whole = NvmlTelemetry().read()
    driver("no-fan")
    assert NvmlTelemetry().read() == dataclasses.replace(whole, fan_percent=None)


def test_card_lost_in_mid_run_reads_as_nothing_and_comes_back(driver: SetMode) -> None:
    driver("")
    telemetry = NvmlTelemetry()
    whole = telemetry.read()
    driver("lost")
    assert telemetry.read() == Reading(name="RTX 4070")
    driver("")
    assert telemetry.read() == whole


def test_best_telemetry_is_the_card_if_one_answers(driver: SetMode) -> None:
    driver("")
    assert best_telemetry().is_gpu
    driver("no-card")
    assert not best_telemetry().is_gpu


@pytest.mark.parametrize(("visible", "name"), [("1", "H100 PCIe"), ("1,0", "H100 PCIe"), ("GPU-second", "H100 PCIe"),
                                               ("0", "RTX 4070")])
def test_card_watched_is_the_first_that_is_visible(
    driver: SetMode, monkeypatch: pytest.MonkeyPatch, visible: str, name: str
) -> None:
    driver("")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert NvmlTelemetry().read().name == name


@pytest.mark.parametrize(("mode", "order", "name"), [
    ("slow-first", None, "H100 PCIe"), ("slow-first", "PCI_BUS_ID", "RTX 4070"), ("no-cores", None, "RTX 4070")])
def test_of_two_cards_the_fastest_is_watched_as_cuda_takes_it(
    driver: SetMode, monkeypatch: pytest.MonkeyPatch, mode: str, order: str | None, name: str
) -> None:
    driver(mode)
    if order is not None:
        monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    assert NvmlTelemetry().read().name == name


def test_the_card_that_torch_took_is_watched(driver: SetMode, monkeypatch: pytest.MonkeyPatch) -> None:
    driver("")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="second"))
    assert NvmlTelemetry().read().name == "H100 PCIe"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_cards_leave_the_processor(driver: SetMode, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    driver("")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert isinstance(best_telemetry(), SystemTelemetry)


def test_driver_is_found_where_the_system_loads_libraries_from(nvml_library: Path) -> None:
    program = "from atlas_core.hardware.telemetry import best_telemetry; print(best_telemetry().read().name)"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(nvml_library.parent)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "RTX 4070"


def test_system_telemetry_agrees_with_the_machine() -> None:
    telemetry = SystemTelemetry()
    reading = telemetry.read()
    assert not telemetry.is_gpu
    assert reading.memory_total_bytes is not None and reading.memory_used_bytes is not None
    assert 0 < reading.memory_used_bytes < reading.memory_total_bytes <= psutil.virtual_memory().total
    assert reading.utilization_percent is not None and 0 <= reading.utilization_percent <= 100
    assert reading.name
    assert reading.power_w is None


def test_reading_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SystemTelemetry().read().name = "other"  # type: ignore[misc]


def make_amd_card(drm: Path, number: int, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = drm / f"card{number}" / "device" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


AMD_CARD = {
    "vendor": "0x1002", "product_name": "Radeon RX 7800 XT", "gpu_busy_percent": "88",
    "mem_info_vram_total": str(16 * GIB), "mem_info_vram_used": str(2 * GIB),
    "hwmon/hwmon3/temp1_input": "61000", "hwmon/hwmon3/power1_average": "212000000", "hwmon/hwmon3/pwm1": "102",
}


def test_amd_card_is_read_from_its_driver_files(tmp_path: Path) -> None:
    make_amd_card(tmp_path, 0, {"vendor": "0x1002", "mem_info_vram_total": str(GIB // 2)})  # in the processor
    make_amd_card(tmp_path, 1, AMD_CARD)
    assert AmdTelemetry(drm=tmp_path).read() == Reading(
        name="Radeon RX 7800 XT", temperature_c=pytest.approx(61.0), power_w=pytest.approx(212.0),
        memory_used_bytes=2 * GIB, memory_total_bytes=16 * GIB,
        utilization_percent=88.0, fan_percent=pytest.approx(40.0),
    )


def test_amd_card_that_disappears_reads_as_nothing(tmp_path: Path) -> None:
    make_amd_card(tmp_path, 0, AMD_CARD)
    telemetry = AmdTelemetry(drm=tmp_path)
    shutil.rmtree(tmp_path / "card0")
    assert telemetry.read() == Reading(name="Radeon RX 7800 XT")


def test_cards_of_others_are_not_amd_cards(tmp_path: Path) -> None:
    make_amd_card(tmp_path, 0, {**AMD_CARD, "vendor": "0x8086"})
    with pytest.raises(FileNotFoundError):
        AmdTelemetry(drm=tmp_path)


def test_container_limit_is_the_memory_there_is(tmp_path: Path) -> None:
    limit_bytes, used_bytes, cache_bytes = 64 * 2**20, 48 * 2**20, 16 * 2**20
    (tmp_path / "memory.max").write_text(f"{limit_bytes}\n")
    (tmp_path / "memory.current").write_text(f"{used_bytes}\n")
    (tmp_path / "memory.stat").write_text(f"anon {used_bytes - cache_bytes}\ninactive_file {cache_bytes}\n")
    assert ram.total_and_available_bytes(cgroup=tmp_path) == (limit_bytes, limit_bytes - used_bytes + cache_bytes)


def test_container_without_a_limit_has_the_whole_machine(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert ram.total_and_available_bytes(cgroup=tmp_path)[0] == psutil.virtual_memory().total


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux confines a process to cores")
def test_cores_are_those_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(("reported", "tidy"), [
    ("AMD Ryzen 7 7840U w/ Radeon 780M Graphics", "AMD Ryzen 7 7840U"),
    ("Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", "Intel Core i7-8550U"),
    ("AMD EPYC 7763 64-Core Processor", "AMD EPYC 7763"),
    ("Apple M2 Pro", "Apple M2 Pro"),
])
def test_processor_name_is_short(reported: str, tidy: str) -> None:
    assert tidy_name(reported) == tidy


@pytest.mark.parametrize(("line", "build"), [
    ("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None", "cuda"),
    ("cuda = None\nhip = '6.4.43482'", "rocm"),
    ("cuda: Optional[str] = None\nhip: Optional[str] = None", "cpu"),
])
def test_build_of_torch_is_read_from_its_version_file(line: str, build: str) -> None:
    assert read_build(f"__version__ = '2.13.0'\ndebug = False\n{line}\n") == build
