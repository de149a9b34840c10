"""The speeds that were measured on this machine, by the shape of what was trained. One small file; no torch.

The file is a convenience: one that makes no sense counts as nothing measured.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from atlas_core import __version__, memory, paths
from atlas_core.config import Config
from atlas_core.forecast import Speed
from atlas_core.hardware.device import machine_memory, thread_count
from atlas_core.hardware.processor import processor_name, usable_cores
from atlas_core.hardware.telemetry import best_telemetry
from atlas_core.reading import json_file

FILE_NAME = "speeds.json"
# Beside the model itself, what the time of a step depends on. The other settings change what is learned.
MATTERS = ("batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "precision", "optimizer_type",
           "muon_interval", "master_weights")


@dataclass(frozen=True)
class Measured:
    """A speed and the floating-point operations of one step, to continue it to other sizes."""

    speed: Speed
    operations: float

    def __post_init__(self) -> None:
        seconds = [number for number in dataclasses.astuple(self.speed) if number is not None]
        bounded = all(0 <= number < 1e30 for number in (*seconds, self.operations))
        if not (bounded and self.speed.step_s > 0 and self.operations > 0):
            raise ValueError(self)


Known = dict[str, dict[str, Measured]]  # by machine, then by shape


def known(config: Config) -> Speed | None:
    """What was measured here of this very work."""
    found = _read().get(machine(config), {}).get(shape(config))
    return found.speed if found else None


def guess(config: Config) -> Speed | None:
    """A speed from the measured work that is nearest in size, scaled by the operations; None if none was measured."""
    work = operations(config)
    others = _read().get(machine(config), {}).values()
    nearest = min(others, key=lambda other: abs(math.log(work / other.operations)), default=None)
    if nearest is None:
        return None
    ratio, speed = work / nearest.operations, nearest.speed
    return Speed(ratio * speed.step_s, ratio * speed.quick_step_s, ratio * speed.slow_step_s)


def remember(config: Config, speed: Speed) -> None:
    """Keep a measurement for the next time. Raises `AtlasError` if it cannot be written."""
    everything = _read()
    everything.setdefault(machine(config), {})[shape(config)] = Measured(speed, operations(config))
    plain = {name: {key: dataclasses.asdict(found) for key, found in shapes.items()}
             for name, shapes in everything.items()}
    paths.write_atomically(_file(), json.dumps(plain, indent=1).encode())


def machine(config: Config) -> str:
    """Whose speed it is: the device, how much of it may be used, and the version of the program that used it."""
    here = config.hardware
    return f"{_device_name()}, {here.device}, {thread_count(here.threads)} threads, Atlas {__version__}"


def shape(config: Config) -> str:
    """16 hex digits that are equal for configurations that are equally fast."""
    about = {**dataclasses.asdict(config.model), **{name: getattr(config.training, name) for name in MATTERS},
             "attention": config.hardware.attention, "compile": config.hardware.compile}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def operations(config: Config) -> float:
    """Of one step: 6 a parameter and token (Kaplan et al. 2020, section 2.1), and 2 to compute activations twice."""
    per_token = 8 if config.training.gradient_checkpointing else 6
    return float(per_token * memory.count_parameters(config.model) * config.tokens_per_step)


@cache
def _device_name() -> str:
    if machine_memory().is_gpu:
        return best_telemetry().read().name
    return f"{processor_name()}, {usable_cores()} cores"


def _file() -> Path:
    return paths.home() / FILE_NAME


def _read() -> Known:
    try:
        content = json_file(_file())
        return {name: {key: Measured(Speed(**found["speed"]), found["operations"])
                       for key, found in shapes.items()} for name, shapes in content.items()}
    except (OSError, ValueError, OverflowError, TypeError, KeyError, AttributeError):
        return {}
