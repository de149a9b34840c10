"""List the ready-made configurations, or show one of them, or every setting there is."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, ClassVar

from atlas_core import config as settings
from atlas_core import format as people
from atlas_core import memory
from atlas_core import presets as known
from atlas_core.cli.show import Show
from atlas_core.events import Event, Finished, Notice
from atlas_core.hardware.device import expected_memory, machine_memory


@dataclass(frozen=True)
class PresetListed(Event):
    """A preset and what it comes to; `config` holds all its settings."""

    event: ClassVar[str] = "preset"
    name: str
    builtin: bool
    parameters: int
    memory_bytes: int
    fits: str
    context: int
    tokens_per_step: int
    max_steps: int
    config: dict[str, Any]


@dataclass(frozen=True)
class SettingListed(Event):
    """A setting that `--set` can change."""

    event: ClassVar[str] = "setting"
    key: str
    default: Any
    bounds: str
    unit: str
    help: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("name", metavar="NAME", nargs="?", help="show this one as a configuration file")
    what.add_argument("--settings", action="store_true", help="show every setting with its default and bounds")


def run(args: argparse.Namespace, show: Show) -> None:
    if args.settings:
        show_settings(show)
    elif args.name:
        preset = known.find(args.name)
        show.text(settings.to_yaml(preset.config))
        show(listed(preset))
        show(Finished())
    else:
        show_presets(show)


def show_presets(show: Show) -> None:
    found = [listed(preset) for preset in known.all_presets().values()]
    for preset in found:
        show(preset)
    for sentence in known.unreadable():
        show(Notice(sentence, "warning"))
    show.table(("preset", "parameters", "context", "tokens a step", "steps", "memory", "here", "about"), [
        (p.name, people.short_count(p.parameters), people.count(p.context), people.count(p.tokens_per_step),
         people.count(p.max_steps), people.size(p.memory_bytes), p.fits, str(p.config["description"])) for p in found
    ])
    show(Finished())


def listed(preset: known.Preset) -> PresetListed:
    """A preset with its size, and its memory on the device that this machine would train it on."""
    machine, config = machine_memory(), preset.config
    needed = expected_memory(config, machine.device).total_bytes
    return PresetListed(
        preset.name, preset.builtin, memory.count_parameters(config.model), needed,
        memory.verdict(needed, machine.total_bytes), config.model.max_seq_len, config.tokens_per_step,
        config.training.max_steps, config.to_dict(),
    )


def show_settings(show: Show) -> None:
    for s in settings.settings().values():
        show(SettingListed(s.key, s.default, s.bounds, s.unit, s.help))
    show.table(("setting", "default", "allowed", "what it does"), [
        (s.key, _shown(s.default), s.bounds, s.help) for s in settings.settings().values()
    ])
    show(Finished())


def _shown(value: Any) -> str:
    """A value as one writes it after `--set section.key=`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return str(value)
