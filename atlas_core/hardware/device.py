"""Where the arithmetic runs, in which number format, on how many threads, and how much memory is there.

Torch is imported inside the functions that need it; `machine_memory` needs none, for the window asks it first.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from atlas_core import memory
from atlas_core.config import Config
from atlas_core.errors import DeviceError
from atlas_core.fitting import Fitted, fit
from atlas_core.hardware import heap, ram
from atlas_core.hardware.processor import processor_name, usable_cores
from atlas_core.hardware.telemetry import best_telemetry, short_card_name
from atlas_core.hardware.torch_build import torch_build
from atlas_core.memory import Memory

if TYPE_CHECKING:
    import torch

# What a processor calls its units that multiply bf16. Where they are missing, torch imitates bf16: with AVX2 alone,
# products of 2 048 x 2 048 took 400 times as long as in fp32 (AMD EPYC 7003, 0.34 against 140 GFLOP/s).
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
AMX_FLAGS = {"amx_bf16", "amx_tile"}
X86 = {"x86_64", "amd64"}
APPLE_SILICON = sys.platform == "darwin" and os.uname().machine == "arm64"


_used: set[str] = set()  # the kinds of devices that were chosen by this process
_training: WeakSet[object] = WeakSet()


class MachineMemory(NamedTuple):
    """The memory that training would use: the card's if torch can use one, else the machine's."""

    total_bytes: int
    available_bytes: int
    device: str  # whose it is: "cpu", "cuda" or "mps"

    @property
    def is_gpu(self) -> bool:
        return self.device != "cpu"


def choose_device(wanted: str = "auto") -> torch.device:
    """The device named "cpu", "cuda" or "mps", or with "auto" the fastest that is there.

    Raises `DeviceError` if the named one is not there.
    """
    import torch

    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        wanted = next(name for name, is_there in present.items() if is_there)
    if not present.get(wanted, False):
        raise DeviceError(f"There is no device '{wanted}' here that torch can use.", _remedy(wanted))
    _used.add(wanted)
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> str:
    """The number format "fp32", "bf16" or "fp16"; with "auto" the one this device is fastest with.

    Raises `DeviceError` for fp16 elsewhere than with CUDA: its narrow range is worth the trouble only on older cards,
    and torch's scaler may need numbers of 64 bits, which Apple's graphics do not have.
    """
    if wanted == "fp16" and device.type in ("cpu", "mps"):
        where = "the processor" if device.type == "cpu" else "Apple's graphics"
        raise DeviceError(f"fp16 does not run on {where}.", "Set training.precision to auto, bf16 or fp32.")
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        import torch

        major, _ = torch.cuda.get_device_capability(device)
        return "bf16" if major >= 8 else "fp16"  # bf16 units came with Ampere, compute capability 8.0
    if device.type == "cpu" and _processor_has(BF16_FLAGS):
        return "bf16"
    return "fp32"


def imitates(precision: str, device: torch.device) -> bool:
    """Whether `device` has no units for `precision`, so that computing in it is very slow."""
    return precision == "bf16" and device.type == "cpu" and not _processor_has(BF16_FLAGS)


def expected_precision(wanted: str, device: str) -> str:
    """What `choose_precision` will say of a "cpu", "cuda" or "mps" of this machine, without importing torch.

    Of a graphics card it assumes a recent one; of a processor, what Linux tells of it, elsewhere fp32.
    """
    if wanted != "auto":
        return wanted
    if device == "cpu":
        return "bf16" if _processor_flags() & BF16_FLAGS else "fp32"
    return "bf16" if device == "cuda" else "fp32"


def expected_memory(config: Config, device: str) -> Memory:
    """What training `config` will take on a "cpu", "cuda" or "mps" of this machine, without importing torch."""
    return memory.estimate(config, device=device, precision=expected_precision(config.training.precision, device))


def fitted_here(config: Config, *, device_bytes: int | None = None) -> Fitted:
    """`config` made to fit into the memory that is free here, or into `device_bytes`; without importing torch."""
    machine = machine_memory(config.hardware.device)
    return fit(config, device_bytes or machine.available_bytes, device=machine.device,
               precision=expected_precision(config.training.precision, machine.device))


def use_threads(count: int = 0) -> int:
    """Let torch compute on `count` threads and return how many that is; 0 takes every core.

    Leaving a core to the window gains nothing: Qt is not late beside a full load, and on two cores it costs a
    third of the speed. OMP_NUM_THREADS, the usual way to say how much of a shared machine to take, is kept.
    """
    import torch

    threads = thread_count(count)
    torch.set_num_threads(threads)
    return threads


def thread_count(count: int = 0) -> int:
    """How many threads `use_threads` will take."""
    return count or _threads_asked_by_environment() or usable_cores()


def use_fast_products(device: torch.device) -> None:
    """Let fp32 products take the device's quick way: TF32 on a card, oneDNN's kernels on a processor.

    On AMD's processors with AVX-512 those still round as fp32 does (error 6e-7 of the length, 2e-7 before), and are up
    to 1.6 times as fast; with AVX2 alone nothing changes. Where there is AMX, or on ARM, they may round to bf16, so
    there the setting stays.
    """
    import torch

    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    elif device.type == "cpu" and platform.machine().lower() in X86 and not _processor_has(AMX_FLAGS):
        torch.set_float32_matmul_precision("medium")


def finish(device_type: str) -> None:
    """Wait until the device has done what it was given; the processor does so at once."""
    import torch

    if device_type == "cuda":
        torch.cuda.synchronize()
    elif device_type == "mps":
        torch.mps.synchronize()


def keep_memory(device: torch.device, trainer: object) -> None:
    """Let memory that is freed stay with the process while `trainer` lives; on a card it does so by itself."""
    _training.add(trainer)
    if device.type == "cpu":
        heap.keep()


def let_go(*, even_in_training: bool = False) -> None:
    """Give memory that nothing uses any more back to the system and to every device that was used.

    Not while somebody trains, for whom it was kept, unless it is for their own good.
    """
    if _training and not even_in_training:
        return
    heap.give_back(lastingly=not _training)
    if "cuda" in _used:
        import torch

        torch.cuda.empty_cache()
    if "mps" in _used:
        import torch

        torch.mps.empty_cache()


def machine_memory(wanted: str = "auto") -> MachineMemory:
    """The memory of the device that `choose_device` will choose, without importing torch.

    A card counts only if the installed torch was built for it. On Apple silicon the graphics share the
    machine's memory.
    """
    if wanted != "cpu" and torch_build() != "cpu":
        telemetry = best_telemetry()
        reading = telemetry.read()
        if telemetry.is_gpu and reading.memory_total_bytes and reading.memory_used_bytes is not None:
            free_bytes = reading.memory_total_bytes - reading.memory_used_bytes
            return MachineMemory(reading.memory_total_bytes, free_bytes, "cuda")
        if telemetry.is_gpu:  # one that shares the machine's memory does not tell of its own
            return MachineMemory(*ram.total_and_available_bytes(), "cuda")
    return MachineMemory(*ram.total_and_available_bytes(), "mps" if APPLE_SILICON and wanted != "cpu" else "cpu")


def describe(device: torch.device) -> str:
    """The device in a few words: "RTX 4070", "AMD EPYC (2 threads)"."""
    import torch

    if device.type != "cpu":
        return name(device)
    threads = torch.get_num_threads()
    return f"{name(device)} ({threads} thread{'' if threads == 1 else 's'})"


def name(device: torch.device) -> str:
    """What the device is called: "RTX 4070", "AMD EPYC"."""
    import torch

    if device.type == "cuda":
        return short_card_name(torch.cuda.get_device_name(device))
    return f"{processor_name()} graphics" if device.type == "mps" else processor_name()


def _remedy(wanted: str) -> str:
    if wanted == "cuda" and torch_build() == "cpu":
        return "This torch was built without CUDA: install one that was (pytorch.org says how), or set device to cpu."
    if wanted == "cuda":
        return "Check the graphics driver with nvidia-smi, or set device to cpu."
    if wanted == "mps":
        return "Only Macs with Apple silicon have it: set device to auto or cpu."
    return "Choose auto, cpu, cuda or mps."


def _threads_asked_by_environment() -> int:
    """OMP_NUM_THREADS, which may be a list for nested loops ("4,2"); 0 where it says nothing."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def _processor_has(flags: set[str]) -> bool:
    """Whether the processor has one of these units."""
    import torch

    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(flag) for flag in flags)
    return bool(_processor_flags() & flags)


def _processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """For a torch older than `get_capabilities`; empty where the system has no such file."""
    if not cpuinfo.exists():
        return set()
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
