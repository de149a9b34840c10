"""The ready-made configurations: ours in `resources/presets`, the user's in their own folder.

A preset is an ordinary configuration file; nothing here knows what its numbers mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas_core import config as settings
from atlas_core import memory, paths
from atlas_core.config import Config
from atlas_core.errors import ConfigError

BUILT_IN = ("NANO", "MICRO", "TINY", "SMALL", "DEFAULT", "LARGE", "XLARGE", "ULTRA")


@dataclass(frozen=True)
class Preset:
    """A named configuration and the file it came from."""

    name: str
    config: Config
    builtin: bool
    path: Path


def all_presets() -> dict[str, Preset]:
    """Ours from smallest to largest, then the user's by name.

    A user's file that cannot be read is left out, and `unreadable` tells why.
    """
    found = {}
    for name in BUILT_IN:
        path = paths.resource("presets", f"{name.lower()}.yaml")
        found[name] = Preset(name, settings.load(path), builtin=True, path=path)
    for _, preset in _of_the_user():
        if isinstance(preset, Preset):
            found.setdefault(preset.name, preset)
    return found


def unreadable() -> list[str]:
    """A sentence for each of the user's presets that cannot be read."""
    return [f"Your preset {path.name} is left out: {error}" for path, error in _of_the_user()
            if isinstance(error, ConfigError)]


def _of_the_user() -> Iterator[tuple[Path, Preset | ConfigError]]:
    for path in sorted(paths.user_presets_dir().glob("*.yaml")):
        try:
            yield path, read_preset(path)
        except ConfigError as error:
            yield path, error


def read_preset(path: Path) -> Preset:
    """One user preset; a file without a name is called after itself."""
    config = settings.load(path)
    name = config.name if config.name != Config.name else path.stem
    return Preset(name, dataclasses.replace(config, name=name), builtin=False, path=path)


def find(name: str) -> Preset:
    """The preset of that name, in any spelling of capitals. Raises `ConfigError` with the nearest name."""
    known = all_presets()
    if name in known:
        return known[name]
    for candidate, preset in known.items():
        if candidate.casefold() == name.casefold():
            return preset
    message = settings.unknown_key(name.upper(), known).replace("is no setting", "is no preset")
    raise ConfigError([message], f"There are: {', '.join(known)}.")


def save_user_preset(config: Config) -> Path:
    """Keep `config` under its name, beside the user's other presets."""
    if config.name.upper() in BUILT_IN:
        raise ConfigError([f"{config.name} is a built-in preset"], "Choose another name.")
    target = paths.user_presets_dir() / f"{paths.file_name(config.name.lower())}.yaml"
    if target.exists() and read_preset(target).name != config.name:
        raise ConfigError([f"{config.name} is too like the preset {read_preset(target).name}"], "Choose another name.")
    config.save(target)
    return target


def delete_user_preset(name: str) -> None:
    """Remove a preset of the user's own. Raises `ConfigError` for a built-in one."""
    preset = find(name)
    if preset.builtin:
        raise ConfigError([f"{preset.name} is a built-in preset"], "Only presets of your own can be deleted.")
    preset.path.unlink()


def suggest(device_bytes: int, *, gpu: bool) -> str:
    """The preset for a newcomer on this machine: the largest that fits a graphics card, else the quickest.

    `device_bytes` is the memory of the card, or of the machine without one.
    """
    if not gpu:
        return "NANO"
    known = all_presets()
    comfortable = [
        name for name in ("TINY", "SMALL", "DEFAULT")
        if memory.verdict(memory.estimate(known[name].config, device="cuda", precision="bf16").total_bytes,
                          device_bytes) == "fits"
    ]
    return comfortable[-1] if comfortable else "MICRO"
