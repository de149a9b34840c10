"""Arguments that several verbs share, made from the table of settings, and read back into a configuration."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atlas_core import config as settings
from atlas_core import jobs, presets
from atlas_core.cli.show import Show
from atlas_core.config import Config, Setting
from atlas_core.events import Notice
from atlas_core.fitting import Fitted
from atlas_core.hardware.device import fitted_here, machine_memory

MOST_MINUTES = 365 * 24 * 60
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--preset` or `--config`, and `--set`."""
    base = parser.add_mutually_exclusive_group()
    base.add_argument("--preset", metavar="NAME", help="a ready-made configuration (atlas presets lists them)")
    base.add_argument("--config", metavar="FILE", type=Path, help="a configuration file")
    parser.add_argument("--set", metavar="SECTION.KEY=VALUE", action="append", default=[], dest="overrides",
                        help="change one setting; may be repeated (atlas presets --settings lists them)")


def read_config(args: argparse.Namespace, *, default: Config | None = None) -> Config:
    """The configuration that was asked for, else `default`, else what suits this machine; `--set` is laid on it.

    Raises `ConfigError` with every problem.
    """
    return changed(args, named_config(args) or default or suggested().config)


def named_config(args: argparse.Namespace) -> Config | None:
    """What `--config` or `--preset` names, as it stands there."""
    if args.config:
        return settings.load(args.config)
    return presets.find(args.preset).config if args.preset else None


def changed(args: argparse.Namespace, config: Config) -> Config:
    """`config` with every `--set` laid on it."""
    return Config.from_dict(settings.deep_merge(config.to_dict(), settings.parse_overrides(args.overrides)))


def add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fit", action="store_true",
                        help="change batch size, accumulation and checkpointing so that it fits into the free memory, "
                             "and say what was changed; a step learns the same")


def add_minutes(parser: argparse.ArgumentParser, default: float | None = None) -> None:
    told = "" if default is None else f" (default: {default:g})"
    parser.add_argument("--minutes", metavar="N", type=minutes, default=default,
                        help="plan for as many steps as this machine makes in so many minutes, which a few measured "
                             f"ones tell; the learning rate falls within them{told}")


def within(config: Config, minutes: float, dataset: Path | None, show: Show) -> Config:
    """`config` with the steps of so many minutes; how many those are is told."""
    for item in jobs.within(config, 60 * minutes, dataset=dataset):
        if not isinstance(item, Fitted):
            show(item)
    assert isinstance(item, Fitted)
    return item.config


def fitted(config: Config, show: Show, *, device_bytes: int | None = None) -> Config:
    """`config` made to fit; what was changed and why is told."""
    found = fitted_here(config, device_bytes=device_bytes)
    show(Notice(" ".join(found.reasons) or f"{config.name} fits as it is."))
    return found.config


def suggested() -> presets.Preset:
    """The preset that suits this machine."""
    memory = machine_memory()
    return presets.find(presets.suggest(memory.total_bytes, gpu=memory.is_gpu))


def add_settings(parser: argparse._ActionsContainer, chosen: Iterable[Setting]) -> None:
    """One flag for each setting: `sampling.top_k` becomes `--top-k`. What is not given stays None."""
    for s in chosen:
        about = f"{s.help} [{s.bounds}]" if s.bounds else s.help
        common: dict[str, Any] = {"dest": s.name, "default": None, "help": about.replace("%", "%%")}
        flag = "--" + s.name.replace("_", "-")
        if s.type is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif s.type is tuple:
            parser.add_argument(flag, action="append", metavar="TEXT", **common)
        else:
            parser.add_argument(flag, type=s.type, metavar={int: "N", float: "X"}.get(s.type, "TEXT"), **common)


def given_settings(args: argparse.Namespace, chosen: Iterable[Setting]) -> dict[str, Any]:
    """The settings whose flags were given, by dotted key."""
    return {s.key: getattr(args, s.name) for s in chosen if getattr(args, s.name) is not None}


def memory_size(text: str) -> int:
    """ "8GiB", "8 GB", "8g" or "512M" in bytes. Units are of 1024 under every name, as memory is sold."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    size_bytes = round(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size_bytes < 2**20:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size of memory: write it like 8GiB or 512MiB")
    return size_bytes


def minutes(text: str) -> float:
    """ "10" or "0.5"."""
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) <= MOST_MINUTES:
            return number
        if number > MOST_MINUTES:
            raise argparse.ArgumentTypeError(f"'{text}' is more than a year: at most {MOST_MINUTES} minutes")
    raise argparse.ArgumentTypeError(f"'{text}' is not a number of minutes: write it like 10 or 0.5")
