"""What bootstrap.py decides, and how it runs programs; the installation itself is what CI does on each change."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "packaging" / "bootstrap.py"


def load_bootstrap() -> ModuleType:
    """The script as a module; its folder is no package, on purpose."""
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bootstrap = load_bootstrap()


@pytest.fixture
def own_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bootstrap, "LOG", tmp_path / "build" / "bootstrap.log")
    return tmp_path / "build" / "bootstrap.log"


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_script_needs_nothing_but_the_standard_library() -> None:
    ran = subprocess.run([sys.executable, "-I", "-S", SCRIPT, "--help"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert all(goal in ran.stdout for goal in ("run", "demo", "test"))


def test_unknown_goal_is_wrong_usage() -> None:
    with pytest.raises(SystemExit, match="2"):
        bootstrap.parse(["install"])


def test_what_follows_the_goal_is_passed_on_untouched() -> None:
    assert bootstrap.parse(["test", "-k", "x", "tests/core", "--co"]).rest == ["-k", "x", "tests/core", "--co"]
    assert bootstrap.parse(["run"]).rest == []


@pytest.mark.parametrize(("platform", "environment", "expected"), [
    ("linux", {}, False),
    ("linux", {"DISPLAY": ""}, False),
    ("linux", {"DISPLAY": ":0"}, True),
    ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
    ("darwin", {}, True),
    ("win32", {}, True),
])
def test_only_linux_can_lack_a_display(platform: str, environment: dict[str, str], expected: bool) -> None:
    assert bootstrap.has_display(platform, environment) is expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can lack a display")
def test_window_without_a_display_becomes_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert bootstrap.reachable_goal("run") == "demo"
    said = capsys.readouterr().out
    assert "no display" in said and "atlas demo" in said and len(said.splitlines()) == 1
    assert bootstrap.reachable_goal("test") == "test"


def test_goal_decides_which_libraries_are_needed() -> None:
    x11, wayland = {"DISPLAY": ":0"}, {"WAYLAND_DISPLAY": "wayland-0"}
    assert set(bootstrap.libraries_needed("demo", x11)) == {"libgomp.so.1"}
    assert "libEGL.so.1" in bootstrap.libraries_needed("test", {})
    assert "libxcb-cursor.so.0" not in bootstrap.libraries_needed("test", x11)
    assert "libxcb-cursor.so.0" in bootstrap.libraries_needed("run", x11)
    assert "libxcb-cursor.so.0" not in bootstrap.libraries_needed("run", wayland)


def test_missing_libraries_are_those_the_loader_does_not_find() -> None:
    present = {"libEGL.so.1"}
    missing = bootstrap.missing_libraries(["libEGL.so.1", "libGL.so.1"], can_load=present.__contains__)
    assert missing == ["libGL.so.1"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's loader")
def test_loader_knows_what_is_there_and_what_is_not() -> None:
    assert bootstrap.missing_libraries(["libc.so.6", "libatlas-nowhere.so.9"]) == ["libatlas-nowhere.so.9"]


@pytest.mark.skipif(sys.platform == "win32", reason="asks for the user's number")
def test_without_root_the_command_to_paste_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(bootstrap.SetupError) as refused:
        bootstrap.install_packages("system libraries", ["libegl1", "libgl1"])
    assert str(refused.value).endswith("sudo apt-get install -y libegl1 libgl1")
    assert "\n" not in str(refused.value)


def test_fingerprint_changes_with_any_file_and_only_then(tmp_path: Path) -> None:
    project, pins = tmp_path / "pyproject.toml", tmp_path / "constraints.txt"
    project.write_text("a")
    pins.write_text("b")
    first = bootstrap.fingerprint(project, pins)
    assert bootstrap.fingerprint(project, pins) == first
    pins.write_text("c")
    second = bootstrap.fingerprint(project, pins)
    project.write_text("d")
    assert len({first, second, bootstrap.fingerprint(project, pins)}) == 3


def test_second_start_installs_nothing(tmp_path: Path) -> None:
    bootstrap.stamp(tmp_path, "run").write_text("now")
    assert bootstrap.is_installed("run", "now", venv=tmp_path)
    assert not bootstrap.is_installed("run", "changed", venv=tmp_path)


def test_developers_environment_runs_the_window_but_not_the_reverse(tmp_path: Path) -> None:
    bootstrap.stamp(tmp_path, "run").write_text("now")
    assert not bootstrap.is_installed("dev", "now", venv=tmp_path)
    bootstrap.stamp(tmp_path, "run").unlink()
    bootstrap.stamp(tmp_path, "dev").write_text("now")
    assert bootstrap.is_installed("run", "now", venv=tmp_path)


def test_environment_that_was_cut_short_is_not_usable(tmp_path: Path) -> None:
    assert not bootstrap.is_usable(tmp_path)
    assert bootstrap.is_usable(Path(sys.prefix))


def test_programs_lie_where_each_system_puts_them() -> None:
    venv = Path("v")
    assert bootstrap.venv_program("atlas", venv=venv, platform="linux") == Path("v/bin/atlas")
    assert bootstrap.venv_program("atlas", venv=venv, platform="win32") == Path("v/Scripts/atlas.exe")


def test_installation_is_editable_and_constrained() -> None:
    command = bootstrap.install_command("dev")
    assert command[command.index("--constraint") + 1] == str(ROOT / "packaging" / "constraints.txt")
    assert command[command.index("--editable") + 1] == f"{ROOT}[dev]"


def test_tests_come_last_and_take_the_arguments() -> None:
    names = [Path(command[0]).stem for command in bootstrap.check_commands(["tests/core", "-k", "x"])]
    assert names == ["ruff", "lint-imports", "mypy", "pytest"]
    assert bootstrap.check_commands(["tests/core", "-k", "x"])[-1][1:] == [
        "-n", "auto", "--dist", "worksteal", "tests/core", "-k", "x"]


def test_first_check_that_fails_ends_the_checks_with_its_status(capfd: pytest.CaptureFixture[str]) -> None:
    commands = [python("print('first')"), python("print('second'); raise SystemExit(3)"), python("print('third')")]
    assert bootstrap.run_checks(commands) == 3
    printed = [line for line in capfd.readouterr().out.splitlines() if line and not line.startswith("====")]
    assert printed == ["first", "second"]


def test_each_check_stands_under_its_heading(capfd: pytest.CaptureFixture[str]) -> None:
    assert bootstrap.run_checks([python("print('checked')")]) == 0
    heading, printed = capfd.readouterr().out.split("====\n")
    assert "==== python" in heading
    assert printed == "checked\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_waits_for_the_program_to_save() -> None:
    program = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(0.3); raise SystemExit(130)"
    assert bootstrap.hand_over(python(program)) == 130


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_program_ended_by_a_signal_has_a_shells_status() -> None:
    assert bootstrap.hand_over(python("import os; os.kill(os.getpid(), 9)")) == 128 + 9


def test_phase_that_fails_shows_the_end_of_its_log(own_log: Path) -> None:
    with pytest.raises(bootstrap.SetupError, match="no space left") as failed:
        bootstrap.run_phase("Installing", python("print('no space left'); raise SystemExit(1)"))
    assert str(own_log) in str(failed.value)


def test_phase_that_takes_long_gives_signs_of_life(own_log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_log.parent.mkdir()
    with own_log.open("wb") as log:
        program = "import time; print('Downloading torch', flush=True); time.sleep(0.5)"
        process = subprocess.Popen(python(program), stdout=log)
        assert bootstrap.wait_with_signs_of_life(process, started=0.0, interval_s=0.2) == 0
    assert "Downloading torch" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="CI's script is for a POSIX shell")
def test_ci_does_what_a_developer_does() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert shlex.split(lines[-1]) == ["exec", "python3", "packaging/bootstrap.py", "test"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_waiting_shows_what_is_being_done_and_no_side_notes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Collecting torch\nInstalling collected packages: torch\n  Successfully uninstalled setuptools\n\n")
    assert bootstrap.doing(log) == "Installing collected packages: torch"
    log.write_text("")
    assert bootstrap.doing(log) == ""
