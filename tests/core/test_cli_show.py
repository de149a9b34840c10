"""How events look: lines of JSON, sentences, bars on a terminal and lines elsewhere."""

from __future__ import annotations

import inspect
import io
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from atlas_core import events
from atlas_core.cli import interrupt, questions, sentences
from atlas_core.cli.meter import SECONDS_BETWEEN_LINES, LineMeter, LiveMeter
from atlas_core.cli.show import JsonLines, Terminal
from atlas_core.control import Control
from atlas_core.errors import AtlasError
from atlas_core.events import (
    CheckpointSaved,
    EpochDone,
    EvalDone,
    Failed,
    Finished,
    Generated,
    Healed,
    Notice,
    Progress,
    RateFound,
    RatePoint,
    RolledBack,
    RunStarted,
    SampleDrawn,
    StepDone,
    StepSkipped,
)

RUN = RunStarted(Path("run"), "NANO", 1_300_000, "cpu", "fp32", "kernel", 2, 1500, 2048, 10**6)
EVAL = EvalDone(250, 0.5, 2.5, math.exp(2.5), 1.7, 1000, 2.4, False)


def step(number: int, *, loss: float = 2.0, seconds: float | None = None) -> StepDone:
    return StepDone(number, 0.1, loss, 3e-3, 1.0, 12_345.0, number * 2048, number * 0.5 if seconds is None else seconds)


@pytest.mark.parametrize("event", [
    StepSkipped(7, "Step 7 was skipped."), RolledBack(9, 4, 0.5, "Went back to step 4."),
    Healed(3, 2, 8, False, "Went on with half the batch.")])
def test_what_a_run_mended_is_told_in_one_sentence(
        event: StepSkipped | RolledBack | Healed, capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as show:
        show(event)
    assert capsys.readouterr().out == (event.message if isinstance(event, Healed) else event.reason) + "\n"


def test_a_range_test_is_drawn_with_its_suggestion_under_the_curve(capsys: pytest.CaptureFixture[str]) -> None:
    losses = [8.0, 8.0, 7.5, 6.0, 6.0, 7.0, 90.0]
    points = tuple(RatePoint(i + 1, 7, 10.0 ** (i - 5), loss, loss) for i, loss in enumerate(losses))
    with Terminal() as show:
        show(RateFound(1e-2, points))
    *plot, axis, names, mark, sentence = capsys.readouterr().out.splitlines()
    places = [mark.index("^"), names.index("1e-02"), axis.index("|", names.index("1e-02") - 1)]
    assert places[0] == places[1] == places[2]
    lows = [i for i, cell in enumerate(plot[-1]) if cell == "*"]
    assert lows[0] == places[0] and "6.000" in plot[-1] and "8.000" in plot[0]  # the lowest losses, on the last row
    assert plot[0].endswith("*") and "90" not in "".join(plot)  # the explosion stays on the upper edge
    assert sentence == "Suggested learning rate: 1.00e-2"


def test_json_is_one_event_a_line_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    show = JsonLines()
    show(RUN)
    show.say("for people")
    show.text("for people")
    show.table(("for",), [("people",)])
    show(step(1, loss=math.inf))
    show(Finished())
    captured = capsys.readouterr()
    assert [json.loads(line)["event"] for line in captured.out.splitlines()] == ["run", "step", "finished"]
    assert json.loads(captured.out.splitlines()[1])["loss"] is None
    assert captured.err == ""


def test_training_without_a_terminal_is_told_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show = Terminal()
    with show:
        for event in (RUN, step(1), EVAL, SampleDrawn(1, "KING", ". To be", 1337), *map(step, range(2, 1501)),
                      CheckpointSaved(Path("a/atlas_step_1500.pt"), "step", 1500, 2**20, 0.1), Finished()):
            show(event)
    out = capsys.readouterr().out
    assert "NANO: 1.3 M parameters" in out
    assert "step 1/1 500  loss 2.000  ppl 7.4  lr 3.00e-3  12.3 k tokens/s" in out
    assert "validation at step 250: loss 2.500, perplexity 12.2" in out
    assert "  | KING. To be" in out
    assert "saved atlas_step_1500.pt (1.0 MB)" in out
    assert "\x1b" not in out
    assert out.count("step 1 500/") == 1
    assert len(out.splitlines()) < 12, "1 500 steps in no time are not 1 500 lines"


def test_a_validation_is_compared_only_within_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    show = Terminal()
    show(EVAL)
    assert "best" not in capsys.readouterr().out
    show(RUN)
    show(EVAL)
    assert "(best 2.400)" in capsys.readouterr().out


class _Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_what_a_model_writes_cannot_command_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    show = Terminal()
    show.text("\x1b[2Jgone\nkept\ttab\x9b")
    show(SampleDrawn(1, "", "\x1b]0;title\x07", 0))
    shown = screen.getvalue()
    assert "\x1b[2J" not in shown
    assert "\x1b]0" not in shown
    assert "gone\nkept\ttab" in shown


def test_text_in_a_pipe_is_exactly_what_the_model_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().text("a\x1bb")
    assert capsys.readouterr().out == "a\x1bb"


def test_time_left_is_told_once_the_session_has_a_speed(capsys: pytest.CaptureFixture[str]) -> None:
    show = Terminal()
    show(RUN)
    show(step(1000, seconds=99_999.0))
    assert "left" not in capsys.readouterr().out
    show(step(1500, seconds=99_999.0 + 500))
    assert "0 s left" in capsys.readouterr().out


def test_a_failure_is_two_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal()(Failed("It is broken.", "Mend it."))
    captured = capsys.readouterr()
    assert captured.err == "It is broken.\nMend it.\n"
    assert captured.out == ""


def test_generated_text_has_standard_output_to_itself_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    show = Terminal()
    show.keep_stdout_clean()
    show(Notice("news"))
    show.text("a text")
    show(Generated("a", " text", 2, 10.0, "length", 5))
    captured = capsys.readouterr()
    assert captured.out == "a text"
    assert "news" in captured.err
    assert "seed 5" in captured.err


def test_a_part_that_is_done_does_not_end_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    show = JsonLines()
    with show.part():
        with show.part():
            show(Finished())
        show(Finished())
    assert capsys.readouterr().out == ""
    assert not show.interrupted
    with show.part():
        show(Finished("stopped"))
    assert show.interrupted
    assert json.loads(capsys.readouterr().out)["reason"] == "stopped"


def test_a_bar_moves_on_a_terminal_and_notices_scroll_by_above_it() -> None:
    screen = io.StringIO()
    meter = LiveMeter(Console(file=screen, force_terminal=True, width=100, legacy_windows=False), print)
    meter.update("step", 1, 2, "loss 9.000")
    meter.update("step", 2, 2, "loss 1.000")
    meter.clear()
    shown = screen.getvalue()
    assert "loss 1.000" in shown
    assert "━" in shown
    meter.clear()
    assert screen.getvalue() == shown, "clearing twice draws nothing"


def test_lines_come_at_the_beginning_now_and_then_and_at_the_end() -> None:
    clock, said = [0.0], []
    meter = LineMeter(said.append, now=lambda: clock[0])
    for number in range(1, 101):
        clock[0] += 1.0
        meter.update("step", number, 100, str(number))
    assert said[0] == "step 1"
    assert said[-1] == "step 100"
    assert len(said) == pytest.approx(100 / SECONDS_BETWEEN_LINES + 1, abs=1)


def test_remarks_that_come_at_once_are_thinned_and_on_a_terminal_all_are_said() -> None:
    clock, said = [0.0], []
    meter = LineMeter(said.append, now=lambda: clock[0])
    for number in range(100):
        meter.update("step", number, 100, "")  # has a clock of its own
        meter.remark(f"epoch {number}")
        clock[0] += 1.0
    assert [line for line in said if "epoch" in line] == [f"epoch {number}" for number in range(0, 100, 10)]
    said.clear()
    live = LiveMeter(Console(file=io.StringIO()), said.append)
    for number in range(100):
        live.remark(f"epoch {number}")
    assert len(said) == 100


def test_epochs_of_one_step_each_are_not_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as show:
        show(RUN)
        for number in range(1, 1501):
            show(step(number))
            show(EpochDone(number, number, 2.0, math.exp(2.0), 0.1, 2048))
    out = capsys.readouterr().out
    assert "epoch 1 done at step 1" in out and out.count("done at step") < 5


def test_a_new_label_is_told_at_once() -> None:
    said: list[str] = []
    meter = LineMeter(said.append, now=lambda: 0.0)
    for label in ("Reading", "Reading", "Writing"):
        meter.update(label, 1, 10, "")
    assert [line.strip() for line in said] == ["Reading", "Writing"]


def test_progress_is_told_in_its_own_unit() -> None:
    assert sentences.progress(Progress(3, 37, "documents")) == "3 of 37 documents"
    assert sentences.progress(Progress(2**20, 2**21, "bytes")).replace("\u202f", " ") == "1.0 MB of 2.0 MB"
    assert sentences.progress(Progress(5, 0, "tokens")) == "5 tokens"
    assert sentences.progress(Progress(1, 1, "windows")) == "1 of 1 window"
    assert sentences.progress(Progress(1, 37, "windows")) == "1 of 37 windows"
    assert sentences.progress(Progress(1, 0, "tokens")) == "1 token"
    assert sentences.progress(Progress(0, 0, "")) == "..."


def test_every_event_of_a_job_is_shown_or_left_out_on_purpose() -> None:
    shown_otherwise = {"Event", "Progress", "Notice", "StepDone", "SampleDrawn", "TextPiece", "Failed",
                       "RatePoint", "Cooling"}
    kinds = {name for name, kind in inspect.getmembers(events, inspect.isclass) if issubclass(kind, events.Event)}
    told = {kind.__name__ for kind in sentences.sentence.registry if kind is not object}
    assert told - {"Event"} == kinds - shown_otherwise


class _GoneAfter(io.StringIO):
    """A stream whose reader goes away after some lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._left = lines

    def flush(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise BrokenPipeError


def test_a_reader_that_goes_away_stops_the_job_instead_of_breaking_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", _GoneAfter(2))
    show, control = JsonLines(), Control()
    with show.stops(control):
        for number in range(1, 6):
            show(step(number))
            assert control.stopping == (number > 2)


def test_without_a_job_the_broken_pipe_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", _GoneAfter(0))
    with pytest.raises(BrokenPipeError):
        JsonLines()(Finished())


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_a_signal_becomes_a_wish_to_stop(
    number: signal.Signals, capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(number)
    with interrupt.stoppable(Terminal(), saves=True) as control:
        os.kill(os.getpid(), number)
        _wait_until(lambda: control.stopping)
    assert signal.getsignal(number) == before
    assert "then saving" in capsys.readouterr().out
    assert not [thread for thread in threading.enumerate() if thread.name == "signals"]


def test_while_saving_a_second_ctrl_c_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with interrupt.stoppable(Terminal(), saves=True) as control:
        os.kill(os.getpid(), signal.SIGINT)
        _wait_until(lambda: control.stopping)
        os.kill(os.getpid(), signal.SIGINT)
    assert "Still saving" in capsys.readouterr().out


def test_where_nothing_is_saved_a_second_ctrl_c_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), interrupt.stoppable(Terminal()) as control:
        os.kill(os.getpid(), signal.SIGINT)
        _wait_until(lambda: control.stopping)
        os.kill(os.getpid(), signal.SIGINT)
        _wait_until(lambda: False)


def test_a_signal_may_come_while_the_control_is_locked() -> None:
    with interrupt.stoppable(Terminal()) as control:
        with control._lock:
            os.kill(os.getpid(), signal.SIGINT)
        _wait_until(lambda: control.stopping)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no such signal")
def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt.stoppable(Terminal()) as control:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
            assert not control.stopping
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_question_is_asked_again_until_the_answer_makes_sense(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("perhaps\nNO\n"))
    assert questions.yes_no("Go on?") is False
    captured = capsys.readouterr()
    assert captured.err.count("Go on? (y/n) [y]") == 2
    assert captured.err.count("Please answer y or n.") == 1
    assert captured.out == ""


@pytest.mark.parametrize("default", [True, False])
def test_an_empty_answer_means_the_default(default: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert questions.yes_no("Go on?", default=default) is default


def test_a_question_that_nobody_can_answer_ends_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(AtlasError, match="arguments"):
        questions.yes_no("Go on?")
