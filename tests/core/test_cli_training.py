"""The verbs that make something, on a tiny model: prepare, train, resume, generate, evaluate, runs, start."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas_core import config as settings
from atlas_core import fitting, paths, runs
from atlas_core import format as people
from atlas_core.claim import claimed
from atlas_core.cli import main
from atlas_core.cli.generate import InOrder, read_prompts
from atlas_core.errors import DataError
from atlas_core.events import Generated, TextPiece
from atlas_core.training import measure

TINY = ("model.hidden_size=32", "model.num_layers=2", "model.max_seq_len=32", "training.batch_size=4",
        "training.warmup_steps=2", "sampling.interval=0", "sampling.max_new_tokens=8", "tokenizer.name=bpe:300",
        "evaluation.eval_batches=2", "hardware.device=cpu")


def tiny(*more: str, steps: int = 6) -> list[str]:
    """The arguments for a model that trains in a blink."""
    changes = [*TINY, f"training.max_steps={steps}", *more]
    return ["--preset", "nano", *(word for change in changes for word in ("--set", change))]


Events = list[dict[str, Any]]


class Atlas:
    """The command line in this process; remembers what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.out, self.err = "", ""

    def __call__(self, *argv: str | Path, typed: str = "", terminal: bool = False) -> int:
        stdin = io.StringIO(typed)
        self._monkeypatch.setattr(stdin, "isatty", lambda: terminal)
        self._monkeypatch.setattr(sys, "stdin", stdin)
        status = main([str(word) for word in argv])
        self.out, self.err = self._capsys.readouterr()
        return status

    def events(self, *argv: str | Path, typed: str = "", status: int = 0) -> Events:
        assert self(*argv, "--json", typed=typed) == status, self.out + self.err
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def atlas(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Atlas:
    return Atlas(capsys, monkeypatch)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "verses.txt"
    verses = (f"The {n % 7} winds of winter blow {n} times across the sea.\n" for n in range(900))
    file.write_text("".join(verses), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def dataset(text: Path) -> Path:
    out = text.with_name("verses")
    assert main(["prepare", str(text), "--out", str(out), "--tokenizer", "bpe:300", "--json"]) == 0
    return out


@pytest.fixture(scope="module")
def finished_run(dataset: Path) -> Path:
    run = dataset.with_name("finished")
    on = "sampling.stop_at_eos=false"  # what has hardly learned may end its text anywhere
    assert main(["train", *tiny(on), "--data", str(dataset), "--out", str(run), "--json"]) == 0
    return run


@pytest.fixture
def interrupted_run(finished_run: Path, tmp_path: Path) -> Path:
    """A run that still has steps to go, as after a loss of power."""
    run = tmp_path / "interrupted"
    shutil.copytree(finished_run, run)
    settings.load(run / runs.CONFIG_FILE).replace({"training.max_steps": 9}).save(run / runs.CONFIG_FILE)
    assert runs.inspect(run).state == "interrupted"
    return run


def steps(events: Events) -> list[int]:
    return [event["step"] for event in events if event["event"] == "step"]


def the_run(events: Events) -> Path:
    return Path(next(event["run"] for event in events if event["event"] == "run"))


def test_training_for_minutes_takes_the_steps_planned_for_them(
        atlas: Atlas, dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "ENOUGH_SECONDS", 0.0)
    monkeypatch.setattr(fitting, "FEWEST_STEPS", 1)
    run = tmp_path / "run"
    assert atlas("train", *tiny(), "--data", dataset, "--out", run, "--minutes", "0.02") == 0, atlas.err
    planned = settings.load(run / runs.CONFIG_FILE).training.max_steps
    assert f"about {people.many(planned, 'step')} here" in atlas.out
    assert runs.inspect(run).step == planned


def test_after_a_sample_text_that_was_interrupted_nothing_is_planned_or_prepared_again(
        atlas: Atlas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []
    monkeypatch.setattr("atlas_core.cli.train.sample_dataset", lambda *_: asked.append(1))
    atlas("train", *tiny(), "--out", tmp_path / "run", "--minutes", "1")
    assert len(asked) == 1 and not (tmp_path / "run").exists()


def test_a_run_that_goes_on_is_not_planned_anew_for_minutes(atlas: Atlas, interrupted_run: Path) -> None:
    assert atlas("train", "--resume", interrupted_run, "--minutes", "1") == 1
    assert "--minutes plans a new run, and this one goes on" in atlas.err


def test_lr_find_tells_each_rate_then_its_suggestion_and_leaves_no_run(
        atlas: Atlas, dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    events = atlas.events("lr-find", *tiny(), "--data", dataset, "--steps", "30")
    assert [e["event"] for e in events[-2:]] == ["rate_found", "finished"]
    assert 25 <= len(events) - 2 <= 30, "it ends where the loss explodes"
    assert {e["event"] for e in events[:-2]} == {"rate_point"}
    assert events[-2]["points"] == [{key: e[key] for key in e if key != "event"} for e in events[:-2]]
    assert list(tmp_path.iterdir()) == [] and runs.list_runs() == []


def test_lr_find_says_how_to_use_its_rate(atlas: Atlas, dataset: Path) -> None:
    assert atlas("lr-find", *tiny(), "--data", dataset, "--steps", "30") == 0
    suggested = float(atlas.out.split("Suggested learning rate:")[1].split()[0])
    assert f"--set training.learning_rate={suggested:g}" in atlas.out


def test_lr_find_refuses_a_range_in_which_nothing_can_be_found(atlas: Atlas, dataset: Path) -> None:
    assert atlas("lr-find", *tiny(), "--data", dataset, "--low", "1", "--high", "0.1") == 1
    assert "(1) is not below the highest (0.1)" in atlas.err


def test_a_run_that_ends_early_is_a_success_that_says_so(atlas: Atlas, dataset: Path, tmp_path: Path) -> None:
    impatient = tiny("training.early_stopping_patience=2", "training.early_stopping_min_gain=9",
                     "evaluation.eval_interval=1", steps=9)
    assert atlas("train", *impatient, "--data", dataset, "--out", tmp_path / "run") == 0
    assert "Ended early at step 3" in atlas.out and "3 of 9 steps" in atlas.out and "atlas generate" in atlas.out


def test_prepare_makes_a_dataset_and_says_how_to_train_on_it(atlas: Atlas, text: Path, tmp_path: Path) -> None:
    assert atlas("prepare", text, "--out", tmp_path / "my data", "--tokenizer", "bpe:300") == 0
    assert f"atlas train --data '{tmp_path / 'my data'}'" in atlas.out
    assert (tmp_path / "my data" / "meta.json").is_file()


def test_prepare_without_a_place_puts_it_among_the_datasets(atlas: Atlas, text: Path) -> None:
    events = atlas.events("prepare", text, "--tokenizer", "bpe:300")
    assert events[-1]["event"] == "finished"
    assert (paths.datasets_dir() / "verses" / "meta.json").is_file()


def test_training_in_json_ends_with_one_finished(atlas: Atlas, dataset: Path, tmp_path: Path) -> None:
    events = atlas.events("train", *tiny(), "--data", dataset, "--out", tmp_path / "run")
    assert steps(events) == [1, 2, 3, 4, 5, 6]
    assert [event["event"] for event in events].count("finished") == 1
    assert events[-1]["event"] == "finished"
    assert atlas.err == ""


def test_training_for_people_ends_with_what_to_do_next(atlas: Atlas, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert atlas("train", *tiny(), "--data", dataset, "--out", run) == 0
    assert "6 of 6 steps" in atlas.out
    assert f"atlas generate {run} --interactive" in atlas.out
    assert f"atlas export {run}" in atlas.out


def test_without_data_the_sample_text_is_prepared_once(
    atlas: Atlas, monkeypatch: pytest.MonkeyPatch, text: Path,
) -> None:
    monkeypatch.setattr("atlas_core.jobs.sample_source", lambda: text)  # the real one takes a while to learn from
    first = atlas.events("train", *tiny())
    assert "prepared" in [event["event"] for event in first]
    assert [event["event"] for event in first].count("finished") == 1
    assert the_run(first).parent == paths.runs_dir()
    second = atlas.events("train", *tiny())
    assert "prepared" not in [event["event"] for event in second]
    assert the_run(second) != the_run(first)
    cut_otherwise = atlas.events("train", *tiny("data.val_fraction=0.3"))
    assert "prepared" in [event["event"] for event in cut_otherwise]


def test_settings_that_contradict_each_other_fail_before_anything_is_written(
    atlas: Atlas, dataset: Path, tmp_path: Path,
) -> None:
    argv = ("train", *tiny("model.num_heads=5"), "--data", dataset, "--out", tmp_path / "run")
    events = atlas.events(*argv, status=1)
    assert [event["event"] for event in events] == ["failed"]
    assert "num_heads" in events[0]["error"]
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_by_its_folder_alone(atlas: Atlas, interrupted_run: Path) -> None:
    events = atlas.events("train", "--resume", interrupted_run)
    assert steps(events) == [7, 8, 9]
    assert the_run(events) == interrupted_run


def test_the_same_command_again_goes_on_where_nobody_can_answer(
    atlas: Atlas, dataset: Path, interrupted_run: Path,
) -> None:
    events = atlas.events("train", "--preset", "nano", "--data", dataset, "--out", interrupted_run)
    assert steps(events) == [7, 8, 9]


def test_changes_are_laid_on_the_runs_own_settings(atlas: Atlas, interrupted_run: Path) -> None:
    events = atlas.events("train", "--resume", interrupted_run, "--set", "training.max_steps=8")
    assert steps(events) == [7, 8]
    config = settings.load(interrupted_run / runs.CONFIG_FILE)
    assert (config.training.max_steps, config.model.hidden_size) == (8, 32)


def test_a_preset_that_is_not_used_is_said_so(atlas: Atlas, interrupted_run: Path) -> None:
    assert atlas("train", "--preset", "micro", "--out", interrupted_run) == 0
    assert "MICRO" in atlas.out
    assert "own settings" in atlas.out


def test_a_single_checkpoint_can_be_gone_on_from(atlas: Atlas, interrupted_run: Path, tmp_path: Path) -> None:
    early = runs.checkpoints(interrupted_run)[0]
    alone = tmp_path / "alone" / early.path.name
    alone.parent.mkdir()
    for file in (early.path, runs.sidecar(early.path)):
        shutil.copy(file, alone.parent)
    events = atlas.events("train", "--resume", early.path)
    assert steps(events)[0] == early.step + 1
    events = atlas.events("train", "--resume", alone, "--set", "training.max_steps=9")
    assert steps(events)[0] == early.step + 1
    assert the_run(events).parent == paths.runs_dir()


def test_a_finished_run_says_how_to_extend_it(atlas: Atlas, finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    assert atlas("train", "--out", run) == 1
    assert "--set training.max_steps=12" in atlas.err
    assert steps(atlas.events("train", "--out", run, "--set", "training.max_steps=7")) == [7]


def test_what_a_kill_left_half_written_in_a_finished_run_is_cleared(
        atlas: Atlas, finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    before = {path.name for path in (run / runs.CHECKPOINTS_FOLDER).iterdir()}
    (run / runs.CHECKPOINTS_FOLDER / ".atlas_step_6.pt.0123abcd.tmp").write_bytes(b"half")
    assert atlas("train", "--out", run) == 1
    assert {path.name for path in (run / runs.CHECKPOINTS_FOLDER).iterdir()} == before


def test_asking_shows_where_the_run_stands_and_yes_resumes(atlas: Atlas, interrupted_run: Path) -> None:
    events = atlas.events("train", "--out", interrupted_run, "--resume", "ask", typed="maybe\ny\n")
    assert "interrupted at step 6 of 9" in atlas.err
    for word in ("epoch", "loss", "perplexity", "ago" if "ago" in atlas.err else "just now"):
        assert word in atlas.err
    assert "Please answer y or n." in atlas.err
    assert steps(events) == [7, 8, 9]


def test_asking_names_what_was_changed(atlas: Atlas, interrupted_run: Path) -> None:
    changes = ("training.weight_decay=0.3", "training.max_steps=12", "logging.log_interval=2")
    events = atlas.events("train", "--out", interrupted_run, "--resume", "ask",
                          *(word for change in changes for word in ("--set", change)), typed="y\n")
    told = "Changed since the checkpoint: training.max_steps (9, now 12), training.weight_decay (0.05, now 0.3)."
    question = atlas.err.partition("Resume it?")[0]
    assert told in question and "the learning rate was" in question and "log_interval" not in question
    notices = [event["message"] for event in events if event["event"] == "notice"]
    assert any("training.weight_decay (0.05, now 0.3)" in notice for notice in notices)


@pytest.mark.parametrize("argv", [("--resume", "never"), ("--resume", "ask")])
def test_beginning_anew_never_touches_the_old_run(
    atlas: Atlas, dataset: Path, interrupted_run: Path, argv: tuple[str, ...],
) -> None:
    before = {path: path.read_bytes() for path in interrupted_run.rglob("*") if path.is_file()}
    argv = ("train", *tiny(steps=8), "--data", str(dataset), "--out", str(interrupted_run), *argv)
    events = atlas.events(*argv, typed="n\n")
    assert the_run(events) == interrupted_run.with_name("interrupted-2")
    assert steps(events)[0] == 1
    assert {path: path.read_bytes() for path in interrupted_run.rglob("*") if path.is_file()} == before
    assert any("interrupted-2" in event.get("message", "") for event in events if event["event"] == "notice")


def test_going_on_elsewhere_never_touches_what_is_there(
    atlas: Atlas, interrupted_run: Path, finished_run: Path, tmp_path: Path,
) -> None:
    other = tmp_path / "other"
    shutil.copytree(finished_run, other)
    before = (other / runs.CONFIG_FILE).read_bytes()
    checkpoint = runs.newest(interrupted_run)
    assert checkpoint is not None
    events = atlas.events("train", "--resume", checkpoint.path, "--out", other)
    assert the_run(events) == tmp_path / "other-2"
    assert steps(events) == [7, 8, 9]
    assert (other / runs.CONFIG_FILE).read_bytes() == before


def damage(checkpoint: Path) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)


def warnings(events: Events) -> str:
    return " ".join(event["message"] for event in events if event["event"] == "notice")


@pytest.fixture
def run_of_many_saves(atlas: Atlas, dataset: Path, tmp_path: Path) -> Path:
    """An interrupted run with the checkpoints 3, 6 (the best) and 6."""
    run = tmp_path / "saved"
    argv = tiny("checkpointing.save_interval=4", "checkpointing.save_minutes=0")
    atlas.events("train", *argv, "--data", dataset, "--out", run)
    settings.load(run / runs.CONFIG_FILE).replace({"training.max_steps": 9}).save(run / runs.CONFIG_FILE)
    return run


@pytest.mark.parametrize("how", ["auto", "by name"])
def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before_and_says_so(
        atlas: Atlas, run_of_many_saves: Path, how: str) -> None:
    run = run_of_many_saves
    for info in runs.checkpoints(run):
        if info.step == 6:
            damage(info.path)
    argv: list[str | Path] = ["--resume", run] if how == "by name" else ["--out", run, "--resume", "auto"]
    events = atlas.events("train", *argv)
    assert "atlas_step_6.pt" in warnings(events) and "goes on from atlas_step_3.pt" in warnings(events)
    assert steps(events) == list(range(4, 10))
    lines = [json.loads(line) for line in (run / runs.METRICS_FILE).read_text().splitlines()]
    assert steps(lines) == list(range(1, 10))


def test_a_checkpoint_that_lost_its_end_is_named_as_well(atlas: Atlas, run_of_many_saves: Path) -> None:
    newest = runs.resolve(run_of_many_saves)
    newest.write_bytes(newest.read_bytes()[:1000])
    assert f"{newest.name} is damaged" in warnings(atlas.events("train", "--resume", run_of_many_saves))


def test_a_run_without_a_sound_checkpoint_is_refused_by_name_and_begun_anew_by_itself(
        atlas: Atlas, interrupted_run: Path, dataset: Path) -> None:
    for info in runs.checkpoints(interrupted_run):
        damage(info.path)
    assert "is damaged" in atlas.events("train", "--resume", interrupted_run, status=1)[-1]["error"]
    events = atlas.events("train", *tiny(), "--data", dataset, "--out", interrupted_run)
    assert "begins anew" in warnings(events) and the_run(events) != interrupted_run


def test_a_damaged_checkpoint_that_is_named_is_refused(atlas: Atlas, interrupted_run: Path) -> None:
    newest = runs.resolve(interrupted_run)
    damage(newest)
    assert "damaged" in atlas.events("train", "--resume", newest, status=1)[-1]["error"]


def test_a_run_that_saved_nothing_says_so(atlas: Atlas, interrupted_run: Path) -> None:
    shutil.rmtree(interrupted_run / runs.CHECKPOINTS_FOLDER)
    assert "before anything was saved" in atlas.events("train", "--resume", interrupted_run, status=1)[-1]["error"]


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("how", ["by name", "in --out"])
def test_a_run_that_is_being_trained_and_has_saved_nothing_yet_is_left_to_its_trainer(
        atlas: Atlas, interrupted_run: Path, dataset: Path, how: str, begun: bool) -> None:
    shutil.rmtree(interrupted_run / runs.CHECKPOINTS_FOLDER)
    if not begun:
        (interrupted_run / runs.CONFIG_FILE).unlink()
    resume = ["--resume", interrupted_run] if how == "by name" else ["--out", interrupted_run, "--resume", "auto"]
    with claimed(interrupted_run):
        failed = atlas.events("train", *tiny(), "--data", dataset, *resume, status=1)[-1]
    assert failed["error"] == f"{interrupted_run} is being trained by another process now."
    assert (interrupted_run / runs.METRICS_FILE).exists()


def test_the_name_of_a_configuration_leads_to_no_place_outside_the_runs(
        atlas: Atlas, dataset: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.yaml"
    stranger.write_text("name: ../../elsewhere\n")
    run = the_run(atlas.events("train", "--config", stranger, *tiny()[2:], "--data", dataset))
    assert run.parent == paths.runs_dir()


def test_resume_auto_without_a_folder_takes_the_run_interrupted_last(atlas: Atlas, interrupted_run: Path) -> None:
    mine = paths.runs_dir() / "mine"
    shutil.copytree(interrupted_run, mine)
    events = atlas.events("train", "--resume", "auto")
    assert the_run(events) == mine
    assert steps(events) == [7, 8, 9]


def endless(dataset: Path, run: Path) -> list[str]:
    """The command for a training that lasts longer than anybody waits."""
    return [sys.executable, "-m", "atlas_core", "train", *tiny(steps=1_000_000), "--data", str(dataset),
            "--out", str(run)]


@pytest.fixture(params=[(), ("--json",)], ids=["people", "json"])
def long_training(dataset: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """The real program in its own process."""
    argv = [*endless(dataset, tmp_path / "run"), *request.param]
    program = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8")
    yield program
    if program.poll() is None:
        program.kill()
    program.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("long_training", [()], indirect=True)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_saves_once_and_the_printed_command_resumes(
    name: str, long_training: subprocess.Popen[str], tmp_path: Path, atlas: Atlas,
) -> None:
    assert long_training.stdout is not None
    said = ""
    for line in long_training.stdout:
        said += line
        if "step 1/" in line:
            break
    time.sleep(0.2)
    long_training.send_signal(getattr(signal, name))
    said += long_training.communicate(timeout=60)[0]
    assert long_training.returncode == 130, said
    run = tmp_path / "run"
    stopped_at = runs.newest(run).step  # type: ignore[union-attr]
    assert said.count(f"saved atlas_step_{stopped_at}.pt") == 1
    command = next(line for line in said.splitlines() if "atlas train --resume" in line).partition(": atlas ")[2]
    events = atlas.events(*command.split(), "--set", f"training.max_steps={stopped_at + 2}")
    assert steps(events) == [stopped_at + 1, stopped_at + 2]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_a_reader_that_goes_away_makes_training_save(long_training: subprocess.Popen[str], tmp_path: Path) -> None:
    assert long_training.stdout is not None
    for line in long_training.stdout:
        if "step 1/" in line or '"step": 1,' in line:
            break
    long_training.stdout.close()
    long_training.stdout = None
    assert long_training.wait(timeout=60) == 130
    assert runs.inspect(tmp_path / "run").state == "interrupted"


@pytest.mark.skipif(sys.platform == "win32", reason="no such terminals")
def test_a_terminal_that_is_closed_makes_training_save(dataset: Path, tmp_path: Path) -> None:
    screen, terminal = os.openpty()
    program = subprocess.Popen(endless(dataset, tmp_path / "run"), stdout=terminal, stderr=subprocess.DEVNULL,
                               env={**os.environ, "TERM": "xterm"})
    os.close(terminal)
    shown = b""
    while b"ppl" not in shown:
        shown += os.read(screen, 4096)
    os.close(screen)
    assert program.wait(timeout=60) == 130
    assert runs.inspect(tmp_path / "run").state == "interrupted"


def test_a_place_that_cannot_be_written_is_told_before_the_text_is_drawn(
        atlas: Atlas, finished_run: Path, tmp_path: Path) -> None:
    assert atlas("generate", finished_run, "--prompt", "KING", "--out", tmp_path) == 1
    assert "it is a folder" in atlas.err
    assert "tokens/s" not in atlas.err


def test_generated_text_alone_is_on_standard_output(atlas: Atlas, finished_run: Path) -> None:
    argv = ("generate", finished_run, "--prompt", "The winds", "--greedy", "--max-new-tokens", "5")
    assert atlas(*argv) == 0
    plain, news = atlas.out, atlas.err
    assert plain.startswith("The winds")
    assert "5 tokens" in news
    (generated,) = [event for event in atlas.events(*argv) if event["event"] == "generated"]
    assert plain == f"The winds{generated['text']}\n"


def test_several_prompts_are_separated_and_written_to_a_file(
    atlas: Atlas, finished_run: Path, tmp_path: Path,
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("The winds\n\nAcross\n", encoding="utf-8")
    argv = ("generate", finished_run, "--prompts-file", prompts, "--max-new-tokens", "4")
    assert atlas(*argv) == 0
    first, second = atlas.out.split("\n\n")
    assert first.startswith("The winds")
    assert second.startswith("Across")
    on_screen = atlas.out
    out = tmp_path / "texts.txt"
    assert atlas(*argv, "--out", out) == 0
    assert atlas.out == ""
    assert out.read_text(encoding="utf-8") == on_screen


def test_a_prompt_gets_the_same_text_in_whichever_batch_it_is(
    atlas: Atlas, finished_run: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    argv = ("generate", finished_run, *("--prompt", "The") * 5, "--max-new-tokens", "6", "--temperature", "1.5")
    together = [event for event in atlas.events(*argv) if event["event"] == "generated"]
    monkeypatch.setattr("atlas_core.cli.generate.BATCH", 2)
    apart = [event for event in atlas.events(*argv) if event["event"] == "generated"]
    assert sorted(e["row"] for e in apart) == [0, 1, 2, 3, 4]
    assert {e["row"]: e["text"] for e in apart} == {e["row"]: e["text"] for e in together}


def test_the_sampling_of_the_run_is_the_default(atlas: Atlas, finished_run: Path) -> None:
    events = atlas.events("generate", finished_run, "--prompt", "The")
    (generated,) = [event for event in events if event["event"] == "generated"]
    assert (generated["tokens"], generated["reason"]) == (8, "length")


def test_sampling_out_of_bounds_is_refused_with_the_bounds(atlas: Atlas, finished_run: Path) -> None:
    assert atlas("generate", finished_run, "--prompt", "a", "--top-p", "1.5") == 1
    assert "0 to 1" in atlas.err


def test_a_conversation_goes_on_until_exit(atlas: Atlas, finished_run: Path, tmp_path: Path) -> None:
    argv = ("generate", finished_run, "--interactive", "--max-new-tokens", "3")
    assert atlas(*argv, "--out", tmp_path / "talk.txt", typed="The\n\nAcross\nexit\nnever read\n") == 0
    assert "The" in atlas.out
    assert "Across" in atlas.out
    assert "never" not in atlas.out
    assert (tmp_path / "talk.txt").read_text(encoding="utf-8") == atlas.out
    events = atlas.events(*argv, typed="The\nAcross\n")
    assert [event["event"] for event in events].count("generated") == 2
    assert [event["event"] for event in events].count("finished") == 1


def test_texts_that_are_generated_together_are_written_one_after_another() -> None:
    written: list[str] = []
    texts = InOrder(["A", "B", "C"], written.append, separator="---")
    for row, piece in ((0, "1"), (1, "2"), (2, "3"), (0, "4"), (1, "5")):
        texts.take(TextPiece(piece, 0, 1.0, row=row))
    texts.take(Generated("C", "3", 1, 1.0, "eos", 0, row=2))
    assert "".join(written) == "A14"
    texts.take(Generated("A", "14", 2, 1.0, "length", 0, row=0))
    texts.take(TextPiece("6", 0, 1.0, row=1))
    texts.take(Generated("B", "256", 3, 1.0, "length", 0, row=1))
    assert "".join(written) == "A14\n---\nB256\n---\nC3\n"


def test_prompts_are_lines_or_stand_between_separators(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffone\r\n\r\ntwo\r\n==\r\nthree".encode())
    assert read_prompts(file) == ["one", "two", "==", "three"]
    assert read_prompts(file, separator="==") == ["one\n\ntwo", "three"]
    file.write_text("\n \n")
    with pytest.raises(DataError, match="no prompts"):
        read_prompts(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_prompts(tmp_path / "nowhere.txt")


def test_a_run_is_evaluated_on_its_own_data_unless_told_otherwise(
    atlas: Atlas, finished_run: Path, dataset: Path,
) -> None:
    by_itself = atlas.events("evaluate", finished_run)
    told = atlas.events("evaluate", finished_run, "--data", dataset)
    (first,), (second,) = ([e for e in events if e["event"] == "eval"] for events in (by_itself, told))
    assert first["val_loss"] == second["val_loss"]
    assert first["step"] == 6


def test_a_text_without_a_part_kept_aside_is_measured_on_another(
        atlas: Atlas, finished_run: Path, text: Path, tmp_path: Path) -> None:
    argv = ("--tokenizer", finished_run, "--val-fraction", "0")
    atlas.events("prepare", text, "--out", tmp_path / "all", *argv)
    assert atlas("evaluate", finished_run, "--data", tmp_path / "all") == 1
    assert "no part 'val'" in atlas.err
    assert "Take --split train, or prepare it again with data.val_fraction above 0." in atlas.err
    assert atlas("evaluate", finished_run, "--data", tmp_path / "all", "--split", "train") == 0


def test_a_remedy_can_be_pasted_though_the_path_has_spaces(
        atlas: Atlas, finished_run: Path, text: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "my run"))
    atlas.events("prepare", text, "--out", tmp_path / "other", "--tokenizer", "bpe:270")
    assert atlas("evaluate", run, "--data", tmp_path / "other") == 1
    remedy = atlas.err.splitlines()[-1]
    flags = shlex.split(remedy.removeprefix("Prepare the text again, with ").removesuffix(" this time."))
    assert flags == ["--tokenizer", str(run)]
    assert atlas("prepare", text, "--out", tmp_path / "again", *flags) == 0
    assert atlas("evaluate", run, "--data", tmp_path / "again") == 0


def test_runs_are_listed_and_looked_at(atlas: Atlas, finished_run: Path, interrupted_run: Path) -> None:
    folder = interrupted_run.parent
    shutil.copytree(finished_run, folder / "finished")
    events = atlas.events("runs", folder)
    assert {event["info"]["name"]: event["info"]["state"] for event in events if event["event"] == "run_listed"} == \
        {"finished": "done", "interrupted": "interrupted"}
    assert atlas("runs", folder) == 0
    assert "interrupted" in atlas.out
    assert "6/9" in atlas.out
    assert atlas("runs", interrupted_run) == 0
    assert "atlas_best.pt" in atlas.out
    assert f"atlas train --resume {interrupted_run}" in atlas.out


def test_no_runs_says_how_to_begin_one(atlas: Atlas) -> None:
    assert atlas("runs") == 0
    assert "atlas train" in atlas.out


def test_the_walk_asks_trains_samples_and_exports(atlas: Atlas, text: Path, tmp_path: Path) -> None:
    preset = settings.Config.from_dict({"name": "WEE"}).replace(
        dict(pair.split("=") for pair in (*TINY, "training.max_steps=4")))
    preset.save(paths.user_presets_dir() / "wee.yaml")
    typed = [tmp_path / "nowhere", text, "huge", "wee", "first", "y", "The winds", "y"]
    events = atlas.events("start", typed="".join(f"{answer}\n" for answer in typed))
    assert "There is no" in atlas.err
    assert "'HUGE' is no preset" in atlas.err
    kinds = [event["event"] for event in events]
    for kind in ("prepared", "run", "step", "generated", "exported"):
        assert kind in kinds
    assert kinds.count("finished") == 1
    assert kinds[-1] == "finished"
    assert runs.inspect(paths.runs_dir() / "first").state == "done"
    assert (paths.exports_dir() / "first.gguf").is_file()


def test_the_walk_offers_to_go_on_with_an_interrupted_run(atlas: Atlas, interrupted_run: Path) -> None:
    shutil.copytree(interrupted_run, paths.runs_dir() / "mine")
    assert atlas("start", typed="y\n\nn\n", terminal=True) == 0, atlas.err
    assert "mine was interrupted at step 6 of 9" in atlas.err
    assert "9 of 9 steps" in atlas.out
    assert runs.inspect(paths.runs_dir() / "mine").state == "done"


def test_the_walk_can_be_left_before_it_trains(atlas: Atlas) -> None:
    assert atlas("start", typed="\n\n\nn\n") == 0
    assert not paths.runs_dir().exists()
    assert list(paths.home().iterdir()) == []


def test_a_model_that_cannot_be_opened_leaves_standard_output_empty(atlas: Atlas, interrupted_run: Path) -> None:
    assert atlas("generate", interrupted_run, "--prompt", "The", "--device", "abacus") == 1
    assert atlas.out == "" and "abacus" in atlas.err
