"""The command line as a whole: exit status, where failures end up, and what start-up costs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atlas_core import paths
from atlas_core.cli import app, main, presets


def atlas(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real program in a process of its own."""
    return subprocess.run([sys.executable, "-m", "atlas_core", *argv], capture_output=True, text=True, check=False,
                          timeout=120, env={**os.environ, **environment}, encoding="utf-8")


def events_in(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_help_starts_without_torch_and_without_rich() -> None:
    code = ("import sys; from atlas_core.cli import main\n"
            "try: main(['--help'])\n"
            "except SystemExit as end: assert end.code == 0\n"
            "print(sorted({'torch', 'numpy', 'rich'} & set(sys.modules)), file=sys.stderr)")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stderr.strip() == "[]"
    assert all(verb in ran.stdout for verb in app.VERBS)


@pytest.mark.parametrize("verb", app.VERBS)
def test_every_verb_explains_itself_and_takes_json(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [
    [], ["fly"], ["presets", "--bogus"], ["train", "--preset", "a", "--config", "b"], ["export", "somewhere"],
    ["estimate", "--device-memory", "much"], ["generate", "run"], ["prepare", "a.txt", "--clean", "teeth"],
    ["presets", "NANO", "--settings"],
])
def test_wrong_usage_ends_with_status_2_and_one_sentence(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--help" in captured.err
    assert len(captured.err.splitlines()) == 2


def test_wrong_usage_in_json_is_a_failed_event(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly", "--json"]) == 2
    (failed,) = events_in(capsys.readouterr().out)
    assert failed["event"] == "failed"
    assert "fly" in str(failed["error"])


@pytest.mark.parametrize("argv", [
    ["estimate", "--preset", "tinny"],
    ["estimate", "--preset", "nano", "--set", "model.num_heads=3"],
    ["estimate", "--preset", "nano", "--set", "model.dropuot=0"],
    ["estimate", "--config", "nowhere.yaml"],
    ["runs", "nowhere"],
    ["generate", "nowhere", "--prompt", "a"],
    ["export", "nowhere", "--to", "model.gguf"],
])
def test_a_mistake_of_the_user_is_told_without_a_traceback(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err
    assert "Traceback" not in captured.err
    assert main([*argv, "--json"]) == 1
    captured = capsys.readouterr()
    assert events_in(captured.out)[-1]["event"] == "failed"
    assert captured.err == ""


def test_a_misspelt_setting_names_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    main(["estimate", "--set", "model.dropuot=0"])
    assert "model.dropout" in capsys.readouterr().err


def test_something_unforeseen_is_one_sentence_and_the_traceback_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    def collapse(*_: object) -> None:
        raise ZeroDivisionError("the moon fell down")

    monkeypatch.setattr(presets, "run", collapse)
    assert main(["presets"]) == 1
    captured = capsys.readouterr().err
    assert "the moon fell down" in captured
    assert "Traceback" not in captured
    assert str(paths.log_file()) in captured
    log = paths.log_file().read_text(encoding="utf-8")
    assert "Traceback" in log
    assert "atlas presets" in log


def test_ctrl_c_outside_a_job_ends_with_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(presets, "run", interrupted)
    assert main(["presets", "--json"]) == 130
    assert events_in(capsys.readouterr().out) == [
        {"event": "finished", "reason": "interrupted", "message": "", "details": {}}]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run([sys.executable, "-m", "atlas_core", "presets", "--settings"], stdout=write,
                         stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(write)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX closes them")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("argv", [["runs"], ["presets", "NANO"], ["presets", "NANO", "--json"]])
def test_a_stream_that_is_closed_is_no_error(argv: list[str], closed: str) -> None:
    program = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "atlas_core", *argv]
    ran = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60, encoding="utf-8")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert bool(ran.stdout) == (" >&-" not in f" {closed}")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no such disk")
@pytest.mark.parametrize("argv", [["presets"], ["presets", "NANO"], ["estimate", "--preset", "NANO", "--json"]])
def test_output_to_a_full_disk_is_told_on_standard_error(argv: list[str]) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        ran = subprocess.run([sys.executable, "-m", "atlas_core", *argv], stdout=full, stderr=subprocess.PIPE,
                             text=True, check=False, timeout=60, encoding="utf-8")
    assert (ran.returncode, ran.stderr) == (1, "The output cannot be written: No space left on device.\n"
                                               "Make room on its disk, or write it elsewhere.\n")


def test_a_terminal_that_knows_only_ascii_does_not_stop_the_program(tmp_path: Path) -> None:
    config = tmp_path / "umlaut.yaml"
    config.write_text("name: Übung\n", encoding="utf-8")
    ran = atlas("presets", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ran.returncode == 0, ran.stderr
    ran = atlas("estimate", "--config", str(config), "--set", "naïve.ü=1", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ran.returncode == 1
    assert "is no setting" in ran.stderr


def test_json_is_utf_8_whatever_the_terminal_knows(tmp_path: Path) -> None:
    ran = atlas("runs", str(tmp_path / "Übung"), "--json", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert "Übung" in str(events_in(ran.stdout)[-1]["error"])


def test_main_leaves_streams_that_are_no_files_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    caught = io.StringIO()
    monkeypatch.setattr(sys, "stdout", caught)
    assert main(["estimate", "--preset", "nano", "--json"]) == 0
    assert events_in(caught.getvalue())[-1]["event"] == "finished"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows says it in other words")
def test_what_the_system_refuses_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(tmp_path / ("x" * 300))]) == 1
    error = capsys.readouterr().err
    assert "cannot be used" in error and "unforeseen" not in error and len(error.splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_after_the_end_shows_no_traceback() -> None:
    code = ("import atexit, os, signal; from atlas_core.cli import main\n"
            "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
            "main(['presets'])")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
