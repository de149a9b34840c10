"""Sets the program up in its own folder and starts it: `python3 packaging/bootstrap.py run`, `test` or `demo`.

Standard library only, for it runs before anything is installed; it builds no release and publishes nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
LOG = ROOT / "build" / "bootstrap.log"
OLDEST_PYTHON = (3, 10)

# The optional parts of pyproject.toml that each goal needs; "dev" contains "run".
EXTRAS = {"run": "run", "demo": "run", "test": "dev"}

# Tests stay in the order of their files, so that what a file prepares is seldom prepared twice.
IN_PARALLEL = ("-n", "auto", "--dist", "worksteal")

# What the wheels leave to the system, by the name the loader asks for, with the Debian package that brings it.
# Newer releases renamed some packages to ...t64; apt-get knows them by the old name too.
ARITHMETIC_LIBRARIES = {"libgomp.so.1": "libgomp1"}
QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libxkbcommon.so.0": "libxkbcommon0",
}
X11_LIBRARIES = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}


class SetupError(Exception):
    """One sentence that says what is missing or failed, and what to do about it."""


def main(arguments: Sequence[str]) -> int:
    """Set up for the goal, then hand over to it; the exit status is the goal's own."""
    options = parse(arguments)
    try:
        goal = reachable_goal(options.goal)
        install_system_libraries(goal)
        install_project(EXTRAS[goal])
    except SetupError as problem:
        print(f"Error: {problem}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        say("Interrupted. The next start goes on from here.")
        return 130
    if goal == "test":
        return run_checks(check_commands(options.rest))
    return hand_over(program_command(goal, options.rest if goal == options.goal else []))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """`goal`, and in `rest` what is passed on to it untouched."""
    parser = argparse.ArgumentParser(prog="bootstrap.py", description="Set Atlas Studio up, then run or test it.")
    parser.add_argument("goal", choices=list(EXTRAS), help="run: the window; demo: without a window; test: all checks")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="passed on, such as: test tests/core -k name")
    return parser.parse_args(arguments)


def reachable_goal(goal: str) -> str:
    """The goal, or "demo" in the place of a window that nobody could see."""
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(f"Python {python_version()} is too old. Start this with Python 3.10 or newer.")
    if goal == "run" and not has_display(sys.platform, os.environ):
        say("There is no display here for a window, so this runs `atlas demo` instead: the same chain as text.")
        return "demo"
    return goal


def has_display(platform: str, environment: Mapping[str, str]) -> bool:
    """Only Linux can be without one and still run programs."""
    return platform != "linux" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


# ---- system libraries ----------------------------------------------------------------------------------------


def install_system_libraries(goal: str) -> None:
    """Install what the loader does not find; raise `SetupError` with the command where that takes a password."""
    if sys.platform != "linux":
        return  # the wheels for Windows and macOS bring everything
    needed = libraries_needed(goal, os.environ)
    missing = missing_libraries(needed)
    if missing:
        if shutil.which("apt-get") is None:
            raise SetupError(f"Please install these libraries with your system's package manager: {', '.join(missing)}")
        install_packages("system libraries", sorted(needed[name] for name in missing))


def libraries_needed(goal: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Tests draw without a screen, and a pure Wayland session without X11."""
    needed = dict(ARITHMETIC_LIBRARIES)
    if goal in ("run", "test"):
        needed.update(QT_LIBRARIES)
    if goal == "run" and environment.get("DISPLAY"):
        needed.update(X11_LIBRARIES)
    return needed


def missing_libraries(names: Iterable[str], *, can_load: Callable[[str], bool] | None = None) -> list[str]:
    """Those that the loader does not find, whichever package or distribution should have brought them."""
    return [name for name in names if not (can_load or loads)(name)]


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def install_packages(what: str, packages: Sequence[str]) -> None:
    """Install Debian packages as root; otherwise raise `SetupError` with the line to paste."""
    if os.geteuid() != 0:
        raise SetupError(f"Some {what} are missing. Please run: sudo apt-get install -y {' '.join(packages)}")
    # A machine that has just started may be updating itself: wait for it rather than fail.
    apt_get = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
    no_questions = {"DEBIAN_FRONTEND": "noninteractive"}
    run_phase("Refreshing the list of system packages", [*apt_get, "update"], environment=no_questions)
    install = [*apt_get, "install", "-y", "--no-install-recommends", *packages]
    run_phase(f"Installing {what} ({', '.join(packages)})", install, environment=no_questions)


# ---- the project and its packages -----------------------------------------------------------------------------


def install_project(extras: str) -> None:
    """Make `.venv` and install into it, unless it holds exactly what is wanted already."""
    wanted = fingerprint(ROOT / "pyproject.toml", CONSTRAINTS)
    if is_installed(extras, wanted, venv=VENV) and venv_program("python").exists():  # its Python may be gone since
        return
    say(f"Setting up in {VENV}. This happens once, and takes some minutes for the download of torch.")
    if not is_usable(VENV):
        make_environment()
    run_phase("Installing Atlas Studio and its packages", install_command(extras))
    stamp(VENV, extras).write_text(wanted, encoding="utf-8")


def fingerprint(*files: Path) -> str:
    """Changes when anything does that decides what must be installed."""
    digest = hashlib.sha256(f"{python_version()} {VENV}".encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def is_installed(extras: str, wanted: str, *, venv: Path) -> bool:
    """Whether the last complete installation was this one, or the larger one for developers."""
    stamps = [stamp(venv, extras), stamp(venv, "dev")]
    return any(path.is_file() and path.read_text(encoding="utf-8") == wanted for path in stamps)


def stamp(venv: Path, extras: str) -> Path:
    """The file written after a complete installation; it goes when the environment is deleted."""
    return venv / f"installed-{extras}"


def is_usable(venv: Path) -> bool:
    """Whether the environment runs, has pip and is of this Python; one that was cut short or moved does not."""
    question = "import pip, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([venv_program("python", venv=venv), "-c", question], capture_output=True, text=True,
                                check=False)
    except OSError:
        return False
    return answer.stdout.strip() == python_version()


def make_environment() -> None:
    if importlib.util.find_spec("ensurepip") is None:  # Debian keeps it in a package of its own
        if shutil.which("apt-get") is None:
            raise SetupError("This Python cannot make environments: it lacks the module ensurepip.")
        install_packages("parts of Python", ["python3-venv"])
    run_phase("Making .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)])


def install_command(extras: str) -> list[str]:
    """pip, told to ask nothing and to take the versions this project was tested with."""
    return [str(venv_program("python")), "-m", "pip", "install", "--no-input", "--disable-pip-version-check",
            "--progress-bar", "off", "--constraint", str(CONSTRAINTS), "--editable", f"{ROOT}[{extras}]"]


def python_version() -> str:
    return "{}.{}".format(*sys.version_info[:2])


def venv_program(name: str, *, venv: Path = VENV, platform: str = sys.platform) -> Path:
    return venv / "Scripts" / f"{name}.exe" if platform == "win32" else venv / "bin" / name


# ---- a phase that may take minutes ----------------------------------------------------------------------------


def run_phase(title: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
    """Run one command with its output in the log, and a sign of life all the while.

    Raises `SetupError` with the log's last lines if the command fails.
    """
    LOG.parent.mkdir(exist_ok=True)
    started = time.monotonic()
    say(f"{title} ...")
    with LOG.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT,
                                   env={**os.environ, **(environment or {})})
        try:
            status = wait_with_signs_of_life(process, started)
        except KeyboardInterrupt:
            process.wait()  # Ctrl+C reached it too; let it tidy up
            raise
    if status:
        raise SetupError(f"{title} failed. The end of {LOG}:\n\n{last_lines(LOG, 15)}\n\n"
                         "Check the network and the disk, then start this again.")
    say(f"  done in {time.monotonic() - started:.0f} s")


def wait_with_signs_of_life(process: subprocess.Popen[bytes], started: float, *, interval_s: float = 15.0) -> int:
    """The exit status; until then the elapsed time and what is being done, every `interval_s` seconds."""
    while True:
        try:
            return process.wait(timeout=interval_s)
        except subprocess.TimeoutExpired:
            say(f"  {time.monotonic() - started:4.0f} s  {doing(LOG)[:90]}".rstrip())


def doing(log: Path) -> str:
    """The last line of pip's or apt's that says what it is at; warnings and side notes say nothing to anyone."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    telling = ("Collecting", "Downloading", "Building", "Installing", "Get:", "Unpacking", "Setting up")
    return next((line.strip() for line in reversed(lines) if line.strip().startswith(telling)), "")


def last_lines(path: Path, count: int) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([line for line in lines if line.strip()][-count:])


# ---- the goals ------------------------------------------------------------------------------------------------


def program_command(goal: str, rest: Sequence[str]) -> list[str]:
    if goal == "run":
        return [str(venv_program("atlas-studio")), *rest]
    return [str(venv_program("atlas")), "demo", *rest]


def check_commands(rest: Sequence[str]) -> list[list[str]]:
    """Quickest first; the tests come last, so that their summary ends the output."""
    return [
        [str(venv_program("ruff")), "check"],
        [str(venv_program("lint-imports"))],
        [str(venv_program("mypy"))],
        [str(venv_program("pytest")), *IN_PARALLEL, *rest],
    ]


def run_checks(commands: Iterable[Sequence[str]]) -> int:
    """Run one after the other up to the first that fails, and return its exit status, or 0."""
    for command in commands:
        say(f"\n==== {shlex.join([Path(command[0]).stem, *command[1:]])} ====")
        status = hand_over(command)
        if status:
            return status
    return 0


def hand_over(command: Sequence[str]) -> int:
    """Run the command in this terminal and return its exit status.

    Ctrl+C is the command's own affair: it may want to save before it ends, so this waits for it.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = subprocess.Popen(command, cwd=ROOT).wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status  # as a shell reports an end by a signal


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
