"""What the machine feels like right now: temperature, memory, load and power. Never raises while it is read.

Knows nothing of torch, so that the window can show it from the first moment; keeps no history.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psutil
import pynvml

from atlas_core.hardware import ram
from atlas_core.hardware.processor import processor_name
from atlas_core.hardware.torch_build import torch_build

T = TypeVar("T")

# The driver's names of the sensor in the processor's package, best first: Intel, AMD, a patched AMD, ARM boards.
PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
AMD_VENDOR = "0x1002"
DRM = Path("/sys/class/drm")


@dataclass(frozen=True)
class Reading:
    """One look at the machine. None stands for what this hardware or driver does not tell."""

    name: str
    temperature_c: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    utilization_percent: float | None = None
    power_w: float | None = None
    energy_j: float | None = None  # used since the driver was loaded; only differences mean something
    fan_percent: float | None = None


class Telemetry(Protocol):
    """Something that can be read about once a second, each time from the thread that made it."""

    is_gpu: bool

    def read(self) -> Reading:
        """The state at this moment. A sensor that fails is None; nothing is raised."""
        ...


class SystemTelemetry:
    """The processor and its memory: what there is to see on a machine without a graphics card."""

    is_gpu = False

    def __init__(self) -> None:
        # psutil measures the load since this thread's previous call; this one only starts the clock.
        psutil.cpu_percent(interval=None)

    def read(self) -> Reading:
        total_bytes, available_bytes = ram.total_and_available_bytes()
        return Reading(
            name=processor_name(),
            temperature_c=_processor_temperature_c(),
            memory_used_bytes=total_bytes - available_bytes,
            memory_total_bytes=total_bytes,
            utilization_percent=psutil.cpu_percent(interval=None),
        )


class NvmlTelemetry:
    """An NVIDIA card through its driver's management library.

    Raises `pynvml.NVMLError` when made on a machine without a driver or card. A card that is lost later on
    (overheated, unplugged, driver reloaded) only reads as None.
    """

    is_gpu = True

    def __init__(self) -> None:
        pynvml.nvmlInit()
        self._card = _card_in_use()
        self._name = short_card_name(_told(lambda: pynvml.nvmlDeviceGetName(self._card)) or "NVIDIA card")

    def read(self) -> Reading:
        card = self._card
        memory = _told(lambda: pynvml.nvmlDeviceGetMemoryInfo(card))
        utilization = _told(lambda: pynvml.nvmlDeviceGetUtilizationRates(card))
        power_mw = _told(lambda: pynvml.nvmlDeviceGetPowerUsage(card))
        energy_mj = _told(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(card))  # since Volta
        return Reading(
            name=self._name,
            temperature_c=_told(lambda: float(pynvml.nvmlDeviceGetTemperature(card, pynvml.NVML_TEMPERATURE_GPU))),
            memory_used_bytes=memory.used if memory else None,
            memory_total_bytes=memory.total if memory else None,
            utilization_percent=float(utilization.gpu) if utilization else None,
            power_w=None if power_mw is None else power_mw / 1000,
            energy_j=None if energy_mj is None else energy_mj / 1000,
            fan_percent=_told(lambda: float(pynvml.nvmlDeviceGetFanSpeed(card))),
        )


class AmdTelemetry:
    """An AMD card through the files of Linux's amdgpu driver.

    Raises `FileNotFoundError` when made on a machine without one. Where there are several (a card beside the
    graphics in the processor), it reads the one with the most memory. The files are described in the kernel's
    documentation, "GPU amdgpu: thermal and power controls"; temperatures are in thousandths of a degree, power
    in millionths of a watt, and the fan's `pwm1` goes to 255.
    """

    is_gpu = True

    def __init__(self, *, drm: Path = DRM) -> None:
        cards = [path.parent for path in drm.glob("card*/device/mem_info_vram_total")
                 if _read_line(path.with_name("vendor")) == AMD_VENDOR]
        if not cards:
            raise FileNotFoundError(f"no AMD card under {drm}")
        self._card = max(cards, key=lambda card: _read_number(card / "mem_info_vram_total") or 0)
        self._sensors = next(iter(sorted(self._card.glob("hwmon/hwmon*"))), self._card / "hwmon")
        self._name = _read_line(self._card / "product_name") or "AMD card"

    def read(self) -> Reading:
        card, sensors = self._card, self._sensors
        power_uw = _read_number(sensors / "power1_average")
        if power_uw is None:  # newer cards tell only the momentary value
            power_uw = _read_number(sensors / "power1_input")
        return Reading(
            name=self._name,
            temperature_c=_scaled(_read_number(sensors / "temp1_input"), 1 / 1000),
            memory_used_bytes=_read_number(card / "mem_info_vram_used"),
            memory_total_bytes=_read_number(card / "mem_info_vram_total"),
            utilization_percent=_scaled(_read_number(card / "gpu_busy_percent"), 1.0),
            power_w=_scaled(power_uw, 1e-6),
            fan_percent=_scaled(_read_number(sensors / "pwm1"), 100 / 255),
        )


def best_telemetry() -> Telemetry:
    """The graphics card if there is one worth watching, else the processor."""
    try:
        return NvmlTelemetry()
    except pynvml.NVMLError:
        pass  # no driver or no card: the usual case on most machines
    if torch_build() == "rocm":  # without it, an AMD chip is the one that draws the screen, and stays idle
        try:
            return AmdTelemetry()
        except FileNotFoundError:
            pass
    return SystemTelemetry()


def telemetry_of(device_type: str) -> Telemetry | None:
    """What watches the device that computes ("cpu", "cuda", "mps"); None where nothing does."""
    if device_type == "cpu":
        return SystemTelemetry()
    telemetry = best_telemetry()
    return telemetry if telemetry.is_gpu else None


def short_card_name(name: str) -> str:
    """The name as people say it: "NVIDIA GeForce RTX 4070" is an "RTX 4070"."""
    return re.sub(r"^(NVIDIA\s+)?(GeForce\s+)?", "", name).strip() or name


def _card_in_use() -> Any:
    """The handle of the first card that CUDA_VISIBLE_DEVICES leaves to this process.

    Torch knows which one that is, once it has looked. Raises `pynvml.NVMLError` if none is left.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with contextlib.suppress(pynvml.NVMLError):  # the driver may call a part of a card otherwise
            return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = "0" if visible is None else visible.split(",")[0].strip()
    if first.startswith(("GPU-", "MIG-")):
        return pynvml.nvmlDeviceGetHandleByUUID(first)
    cards = _cards()
    if not first.isdecimal() or int(first) >= len(cards):  # "" and "-1" hide every card
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
    return cards[int(first)]


def _cards() -> list[Any]:
    """All cards in the order in which CUDA counts them: the fastest first, if nobody wishes for that of the slots.

    How CUDA tells is its secret; here it is by cores and clock.
    """
    cards = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    if os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return cards
    return sorted(cards, key=lambda card: (_told(lambda: pynvml.nvmlDeviceGetNumGpuCores(card)) or 0) *
                  (_told(lambda: pynvml.nvmlDeviceGetMaxClockInfo(card, pynvml.NVML_CLOCK_SM)) or 0), reverse=True)


def _told(query: Callable[[], T]) -> T | None:
    """What the driver answers, or None: a card may lack a fan, a driver a counter, a run its card."""
    try:
        return query()
    except pynvml.NVMLError:
        return None


def _processor_temperature_c() -> float | None:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    for name in PROCESSOR_SENSORS:
        if sensors.get(name):
            return float(sensors[name][0].current)
    return None


def _read_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _read_number(path: Path) -> int | None:
    text = _read_line(path)
    return int(text) if text.lstrip("-").isdecimal() else None


def _scaled(number: int | None, factor: float) -> float | None:
    return None if number is None else number * factor
