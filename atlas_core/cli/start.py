"""Begin here: a walk from a text to a model, with questions.

Each step of the walk is one of the other commands, and shows how to type it the next time.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from types import ModuleType

from atlas_core import format as people
from atlas_core import jobs, paths, presets, runs
from atlas_core.cli import arguments, export, generate, prepare, questions, train
from atlas_core.cli import presets as presets_verb
from atlas_core.cli.show import Show
from atlas_core.events import Finished
from atlas_core.presets import Preset
from atlas_core.shell import quoted

SAMPLE = "sample"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It asks for everything."""


def run(_args: argparse.Namespace, show: Show) -> None:
    folder = resumed(show) or begun(show)
    if folder is None or show.interrupted:
        return
    try_it(folder, show)
    take_it_away(folder, show)
    show(Finished())


def resumed(show: Show) -> Path | None:
    """The run that was interrupted last, if the person wants to go on with it; trained when this returns."""
    info = next((info for info in runs.list_runs() if info.state == "interrupted"), None)
    if info is None:
        return None
    question = (f"{info.name} was interrupted at step {info.step} of {info.max_steps}, "
                f"{people.ago(info.updated_at)}. Go on with it?")
    if not questions.yes_no(question):
        return None
    do(train, ["--resume", str(info.path)], show)
    return info.path


def begun(show: Show) -> Path | None:
    """A new run, trained when this returns; None if the person would rather not."""
    source = questions.ask("What shall it learn from? A file, folder or zip of text, a prepared dataset, or the sample "
                           "(Shakespeare):", read_source, default=SAMPLE)
    with show.part():
        presets_verb.show_presets(show)
    preset = questions.ask("Which preset?", presets.find, default=arguments.suggested().name)
    free = paths.fresh_folder(paths.runs_dir(), f"{preset.name.lower()}-{source_name(source)}")
    folder = questions.ask("A name for the run:", read_run_name, default=free.name)
    if not questions.yes_no(f"Train {preset.name} on {source_name(source)} now? Ctrl+C stops and saves."):
        show(Finished())
        return None
    data = prepared(source, preset, show)
    if not show.interrupted:
        do(train, ["--preset", preset.name, *data, "--out", str(folder), "--resume", "never"], show)
    return folder


def prepared(source: Path | None, preset: Preset, show: Show) -> list[str]:
    """The `--data` argument for `source`, which is made a dataset first if it is none."""
    from atlas_core.text.dataset import is_dataset  # late: needs numpy

    if source is None:
        return []
    if not is_dataset(source):
        dataset = paths.fresh_folder(paths.datasets_dir(), source.stem)
        do(prepare, [str(source), "--preset", preset.name, "--out", str(dataset)], show)
        source = dataset
    return ["--data", str(source)]


def try_it(folder: Path, show: Show) -> None:
    prompt = questions.line("Begin a text, and the model goes on (Enter skips this): ")
    if prompt:
        do(generate, [str(folder), f"--prompt={prompt}"], show)


def take_it_away(folder: Path, show: Show) -> None:
    if questions.yes_no("Export it as a GGUF file for llama.cpp, Ollama and LM Studio?"):
        do(export, [str(folder), "--to", str(paths.exports_dir() / f"{folder.name}.gguf")], show)


def do(verb: ModuleType, argv: list[str], show: Show) -> None:
    """Carry out another command as a part of this one."""
    name = verb.__name__.rpartition(".")[2]
    show.say(f"atlas {name} {quoted(*argv)}")
    parser = argparse.ArgumentParser(prog=f"atlas {name}")
    verb.add_arguments(parser)
    with show.part():
        verb.run(parser.parse_args(argv, argparse.Namespace(json=False)), show)


def source_name(source: Path | None) -> str:
    return source.stem if source else jobs.SAMPLE_NAME


def read_source(answer: str) -> Path | None:
    """A path that exists; None for the sample text."""
    if answer == SAMPLE:
        return None
    meant = [answer.strip("'\"")]  # dragging a file into a terminal puts quotes around it
    if sys.platform != "win32":
        meant.append(re.sub(r"\\(.)", r"\1", answer))  # or, on macOS, backslashes before its blanks
    found = [path for path in (Path(text).expanduser() for text in meant) if path.exists()]
    if not found:
        raise ValueError(f"There is no {meant[0]}; check the path.")
    return found[0]


def read_run_name(answer: str) -> Path:
    """The folder of a run that does not exist yet."""
    folder = paths.runs_dir() / answer
    if paths.fresh_folder(paths.runs_dir(), answer) != folder:
        raise ValueError(f"'{answer}' is taken or is no name for a folder; choose another.")
    return folder
