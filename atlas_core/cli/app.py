"""The command line as a whole: its verbs, where failures end up, and the exit status.

What a verb does stands in the module of its name; how events look stands in `show.py`.
"""

from __future__ import annotations

import argparse
import atexit
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from atlas_core import __version__, paths
from atlas_core.cli import demo, estimate, evaluate, export, generate, lr_find, prepare, presets, runs, start, train
from atlas_core.cli.show import JsonLines, OutputError, Show, Terminal, silence_stdout
from atlas_core.errors import AtlasError, refused
from atlas_core.events import Failed, Finished

VERBS = {
    "start": start, "demo": demo,
    "prepare": prepare, "train": train, "generate": generate, "evaluate": evaluate, "export": export,
    "estimate": estimate, "lr-find": lr_find, "runs": runs, "presets": presets,
}

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(AtlasError):
    """A command line that cannot be understood."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises, so that wrong usage is told in JSON too where that was asked for."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", f"See: {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    _open_closed_streams()
    as_json = "--json" in argv  # looked up before parsing: wrong usage is an event as well
    _set_encodings(utf8=as_json)
    show: Show = JsonLines() if as_json else Terminal()
    status = DONE
    try:
        with show:
            status = _run(argv, show)
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()  # whoever read our output has seen enough
    except OSError as error:  # a closed terminal or a full disk
        silence_stdout()
        with suppress(OSError):
            print(f"The output cannot be written: {error.strerror or error}.\n"
                  "Make room on its disk, or write it elsewhere.", file=sys.stderr, flush=True)
        return status or FAILED
    atexit.unregister(_heed_no_interrupt)
    atexit.register(_heed_no_interrupt)  # last in, first out: before torch tidies up
    return status


def _heed_no_interrupt() -> None:
    """All is done and told: one Ctrl+C too many must not end in a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(argv: Sequence[str], show: Show) -> int:
    """Parse and run; whatever goes wrong becomes one `Failed` event and a status."""
    try:
        args = _parser().parse_args(argv)
        args.run(args, show)
    except UsageError as error:
        return _fail(show, error.message, error.remedy, status=WRONG_USAGE)
    except AtlasError as error:
        return _fail(show, error.message, error.remedy)
    except MemoryError:
        return _fail(show, "The memory is full.", "Close other programs, or choose a smaller preset.")
    except KeyboardInterrupt:
        show(Finished("interrupted"))
    except (BrokenPipeError, OutputError):
        raise
    except OSError as error:
        _log_traceback(argv)
        return _fail(show, *refused(error))
    except Exception as error:  # noqa: BLE001 - this is the border: whatever it was, the person is told
        return _fail(show, f"Something unforeseen went wrong ({type(error).__name__}: {error}).", _log_traceback(argv))
    return INTERRUPTED if show.interrupted else DONE


def _fail(show: Show, error: str, remedy: str, *, status: int = FAILED) -> int:
    show(Failed(error, remedy))
    return status


def _parser() -> Parser:
    parser = Parser(prog="atlas", description="Train a language model from scratch on your own text.",
                    epilog="New here? Begin with: atlas start", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"Atlas Studio {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True, dest="verb")
    for name, module in VERBS.items():
        about = str(module.__doc__).partition("\n")[0].replace("`", "")
        verb = verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
        module.add_arguments(verb)
        verb.add_argument("--json", action="store_true", help="write one JSON event a line and nothing else")
        verb.set_defaults(run=module.run)
    return parser


def _open_closed_streams() -> None:
    """A stream that was closed before the start (`atlas runs >&-`) is None: then nothing is read or told there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # each takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end


def _set_encodings(*, utf8: bool) -> None:
    """No character may stop the program. JSON is UTF-8 everywhere (RFC 8259); people's terminals differ."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8" if utf8 else None, errors="replace")


def _log_traceback(argv: Sequence[str]) -> str:
    """Keep the traceback that is being handled; returns the sentence that says where."""
    log = paths.log_file()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8", errors="replace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} atlas {' '.join(argv)}\n{traceback.format_exc()}\n")
    except OSError as error:
        return f"The details could not be written to {log} ({error.strerror}):\n{traceback.format_exc()}"
    return f"The details are in {log}; please report them."
