"""Memory that runs out in the midst of a run: smaller batches, the same steps. The allocator is a stand-in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from atlas_core import config as settings
from atlas_core import jobs, runs
from atlas_core.config import Config, Sampling
from atlas_core.control import Control
from atlas_core.errors import AtlasError, DeviceError
from atlas_core.events import EvalDone, Event, Healed, Notice, StepDone
from atlas_core.hardware import device as hardware
from atlas_core.model.gpt import AtlasLM
from atlas_core.training import checkpoint, healing
from atlas_core.training.muon import Muon
from atlas_core.training.plain_errors import is_out_of_memory
from tests import tiny

CUDA = ("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.12 GiB is "
        "free. Of the allocated memory 5.10 GiB is allocated by PyTorch, and 1.02 GiB is reserved by PyTorch but "
        "unallocated.")
PROCESSOR = ("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate "
             "9663676416 bytes. Error code 12 (Cannot allocate memory)")

Limit = Callable[..., None]


@pytest.fixture
def memory_for(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """`memory_for(windows)`: from then on the last block computes no more windows at once.

    It fails in a step's second batch, when the first has left its gradients behind, unless there is only one.
    """
    true_loss, calls = AtlasLM.loss, [0]

    def memory_for(windows: int, *, checkpointed: bool = True, error: Exception | None = None,
                   validating: bool = False) -> None:
        def loss(self: AtlasLM, tokens: Tensor, targets: Tensor, *, share: float = 1.0) -> Tensor:
            calls[0] += 1
            needs_less = checkpointed and self.gradient_checkpointing
            limited = not needs_less and self.training != validating
            if limited and len(tokens) > windows and (share == 1.0 or calls[0] % 2 == 0):
                self.blocks[-1].forward = fail  # type: ignore[method-assign]
            try:
                return true_loss(self, tokens, targets, share=share)
            finally:
                self.blocks[-1].__dict__.pop("forward", None)

        def fail(*_: object, **__: object) -> Tensor:
            raise error or torch.OutOfMemoryError(CUDA)

        monkeypatch.setattr(AtlasLM, "loss", loss)

    return memory_for


def train(dataset: Path, run: Path, config: Config, *, resume: Path | None = None) -> list[Event]:
    return tiny.drain(jobs.train(config, dataset, run, Control(), resume=resume))


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepDone)]


def healed(events: list[Event]) -> list[tuple[int, int, bool]]:
    return [(e.batch_size, e.gradient_accumulation_steps, e.gradient_checkpointing) for e in events
            if isinstance(e, Healed)]


def steady(**changes: object) -> Config:
    """Without dropout, whose masks are drawn for each batch."""
    return tiny.config(**{"model__dropout": 0.0, "sampling__interval": 0, **changes})


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CUDA), RuntimeError(PROCESSOR), MemoryError()],
                         ids=["card", "processor", "Python"])
def test_a_run_goes_on_in_smaller_batches_with_the_same_losses_and_weights(
        dataset: Path, tmp_path: Path, memory_for: Limit, error: Exception) -> None:
    whole = train(dataset, tmp_path / "whole", steady())
    memory_for(2, error=error)
    events = train(dataset, tmp_path / "run", steady())
    assert healed(events) == [(2, 4, False)]
    (told,) = [e for e in events if isinstance(e, Healed)]
    assert told.message == ("Memory ran out after step 0: from here on each step adds up 4 batches of 2 instead of "
                            "2 of 4, as many tokens as before.")
    assert losses(events) == pytest.approx(losses(whole), rel=1e-5)
    one, other = (checkpoint.load(runs.resolve(tmp_path / name))["model"] for name in ("whole", "run"))
    for name in one:
        assert torch.allclose(one[name], other[name], atol=1e-4), name


def test_what_was_healed_is_kept_and_a_resume_starts_there(
        dataset: Path, tmp_path: Path, memory_for: Limit) -> None:
    memory_for(1)
    events = train(dataset, tmp_path / "run", steady(training__max_steps=6))
    assert healed(events) == [(2, 4, False), (1, 8, False)]
    kept = settings.load(tmp_path / "run" / runs.CONFIG_FILE)
    assert (kept.training.batch_size, kept.training.gradient_accumulation_steps) == (1, 8)
    assert checkpoint.load(runs.resolve(tmp_path / "run"))["config"]["training"]["batch_size"] == 1
    rest = train(dataset, tmp_path / "run", kept.replace({"training.max_steps": 8}), resume=tmp_path / "run")
    assert healed(rest) == [] and len(losses(rest)) == 2


def test_after_the_smallest_batch_activations_are_computed_twice(
        dataset: Path, tmp_path: Path, memory_for: Limit) -> None:
    whole = train(dataset, tmp_path / "whole", steady())
    memory_for(0)
    events = train(dataset, tmp_path / "run", steady())
    assert healed(events) == [(2, 4, False), (1, 8, False), (1, 8, True)]
    assert losses(events) == pytest.approx(losses(whole), rel=1e-5)
    assert settings.load(tmp_path / "run" / runs.CONFIG_FILE).training.gradient_checkpointing


def test_then_a_plain_sentence_ends_the_run_and_what_was_learned_is_kept(
        dataset: Path, tmp_path: Path, memory_for: Limit) -> None:
    with pytest.raises(DeviceError, match="memory is not enough") as caught:
        for event in jobs.train(steady(), dataset, tmp_path / "run", Control()):
            if isinstance(event, StepDone) and event.step == 3:
                memory_for(0, checkpointed=False)
    assert "batch_size" in caught.value.remedy
    newest = runs.newest(tmp_path / "run")
    assert newest is not None and (newest.kind, newest.step) == ("emergency", 3)


def test_a_validation_is_healed_and_takes_the_same_text(dataset: Path, tmp_path: Path, memory_for: Limit) -> None:
    whole = train(dataset, tmp_path / "whole", steady())
    memory_for(2, validating=True)
    events = train(dataset, tmp_path / "run", steady())
    assert healed(events) == [(2, 4, False)]
    one, other = ([(e.tokens, e.val_loss) for e in told if isinstance(e, EvalDone)] for told in (whole, events))
    assert [tokens for tokens, _ in one] == [tokens for tokens, _ in other]
    assert [loss for _, loss in one] == pytest.approx([loss for _, loss in other], rel=1e-4)


def test_a_text_for_which_there_is_no_memory_does_not_end_the_training(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(dataset, tmp_path / "whole", tiny.config())

    def no_room(*_: object, **__: object) -> object:
        raise torch.OutOfMemoryError(CUDA)

    monkeypatch.setattr(AtlasLM, "new_cache", no_room)
    events = train(dataset, tmp_path / "run", tiny.config())
    assert losses(events) == losses(whole)
    told = [event.message for event in events if isinstance(event, Notice)]
    assert sum("not enough for a text beside training" in message for message in told) == 3  # samples at 0, 6 and 12


def test_an_optimizer_that_fails_half_way_leaves_no_half_step_behind(
        dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = steady(training__optimizer_type="muon", checkpointing__save_interval=5)
    for event in jobs.train(config, dataset, tmp_path / "run", Control()):
        if isinstance(event, StepDone) and event.step == 6:
            break

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError(CUDA)

    with monkeypatch.context() as patch, pytest.raises(AtlasError, match="not enough"):
        patch.setattr(Muon, "_move", fail)
        train(dataset, tmp_path / "run", config, resume=tmp_path / "run")
    newest = runs.newest(tmp_path / "run")
    assert newest is not None and (newest.kind, newest.step) == ("best", 5)


@pytest.mark.parametrize("verb", ["generate", "evaluate", "export"])
def test_whoever_only_uses_a_model_is_told_in_a_sentence_too(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def fail(*_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError(CUDA)

    train(dataset, tmp_path / "run", tiny.config())
    monkeypatch.setattr(AtlasLM, "hidden", fail)
    used = {"generate": lambda: jobs.generate(tmp_path / "run", ["The"], Sampling(), Control()),
            "evaluate": lambda: jobs.evaluate(tmp_path / "run", dataset, Control()),
            "export": lambda: jobs.export(tmp_path / "run", tmp_path / "model.gguf", Control())}
    with pytest.raises(DeviceError, match="memory is not enough") as told:
        list(used[verb]())
    assert "Close other programs" in told.value.remedy


def test_a_run_is_evaluated_in_the_numbers_it_was_validated_in(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(dataset, tmp_path / "run", tiny.config(training__precision="fp32"))

    def loss() -> float:
        return next(event.val_loss for event in jobs.evaluate(tmp_path / "run", dataset, Control())
                    if isinstance(event, EvalDone))

    in_fp32 = loss()
    monkeypatch.setattr(hardware, "_processor_has", lambda flags: flags == hardware.BF16_FLAGS)
    assert loss() == in_fp32


def test_any_other_error_is_not_taken_for_it() -> None:
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough "
                                         "memory: you tried to allocate 4294967296 bytes."))  # on Windows
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GiB)"))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(("before", "after"), [
    ((16, 1), (8, 2)), ((9, 2), (3, 6)), ((7, 3), (1, 21)), ((6, 5), (3, 10)), ((2, 64), (1, 128))])
def test_an_odd_batch_is_cut_by_its_smallest_factor(before: tuple[int, int], after: tuple[int, int]) -> None:
    config = tiny.config(training__batch_size=before[0], training__gradient_accumulation_steps=before[1])
    smaller = healing.smaller(config)
    assert smaller is not None and smaller.tokens_per_step == config.tokens_per_step
    assert (smaller.training.batch_size, smaller.training.gradient_accumulation_steps) == after
    windows = [c.training.batch_size * c.evaluation.eval_batches for c in (config, smaller)]
    assert windows[0] == windows[1]


def test_where_no_more_batches_are_allowed_activations_are_computed_twice() -> None:
    full = tiny.config(training__batch_size=2, training__gradient_accumulation_steps=65536)
    smaller = healing.smaller(full)
    assert smaller is not None and smaller.training.gradient_checkpointing and smaller.training.batch_size == 2
    assert healing.smaller(smaller) is None
