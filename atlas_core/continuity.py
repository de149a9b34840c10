"""What of a run may change between two sessions, and what the person is told of it. Compares; reads no file.

Every setting is of one kind: it makes the run what it is, or decides how it goes on, or decides only its digits, or
is free. What no setting says, such as the processor, is in the `MadeOn` of the checkpoint.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

from atlas_core import format as people
from atlas_core.config import Config, Training
from atlas_core.errors import CheckpointError
from atlas_core.schedule import learning_rate

# The network, the order of the text, and what a checkpoint keeps: with another value it would be another run. So it
# would with other tokens in a step; how they are cut into batches decides only digits.
IDENTITY = (
    "model.family", "model.vocab_size", "model.max_seq_len", "model.hidden_size", "model.num_layers",
    "model.num_heads", "model.num_kv_heads", "model.mlp_ratio", "model.activation", "model.tie_weights",
    "data.stride", "training.optimizer_type", "training.master_weights", "training.seed",
)
# How the run learns from here on, is measured, and when it ends: changed on purpose, and told by name.
FUTURE = (
    "model.dropout", "model.attention_dropout", "training.max_steps", "training.learning_rate",
    "training.min_lr_ratio", "training.warmup_steps", "training.scheduler_type", "training.decay_fraction",
    "training.weight_decay", "training.muon_interval", "training.head_start_steps", "training.beta1", "training.beta2",
    "training.max_grad_norm",
    "training.early_stopping_patience", "training.early_stopping_min_gain", "training.spike_patience",
    "training.max_rollbacks", "evaluation.eval_batches",
)
# Of these, what losses depend on beside the learning rate.
LEARNING = ("model.dropout", "model.attention_dropout", "training.weight_decay", "training.muon_interval",
            "training.head_start_steps", "training.beta1", "training.beta2", "training.max_grad_norm")
# The same mathematics, rounded or added up in another way (dropout draws other masks for other batches).
DIGITS = (
    "training.batch_size", "training.gradient_accumulation_steps", "training.gradient_checkpointing",
    "training.precision", "hardware.attention", "hardware.compile",
)
# Digits too, but what they come to on a machine is what counts, and that `MadeOn` says.
MACHINE = ("hardware.device", "hardware.threads")
# What is recorded, saved, shown and drawn; how the text was prepared, for which the dataset's fingerprint speaks.
FREE = (
    "data.text_field", "data.clean_unicode", "data.clean_control", "data.clean_whitespace", "data.min_chars",
    "data.max_chars", "data.min_tokens", "data.chunk_tokens", "data.chunk_overlap", "data.val_fraction",
    "data.test_fraction", "data.split_seed", "tokenizer.name", "tokenizer.add_bos", "evaluation.eval_interval",
    "checkpointing.save_interval", "checkpointing.save_minutes", "checkpointing.keep_checkpoints",
    "checkpointing.keep_epochs", "logging.log_interval", "logging.tensorboard", "sampling.prompts",
    "sampling.interval", "sampling.max_new_tokens", "sampling.temperature", "sampling.top_k", "sampling.top_p",
    "sampling.seed", "sampling.stop", "sampling.stop_at_eos", "hardware.keep_awake", "hardware.target_temperature",
    "hardware.power_limit", "hardware.quiet_hours", "hardware.quiet_temperature",
)


@dataclass(frozen=True)
class MadeOn:
    """What a checkpoint's digits depend on beside its settings; empty where an older checkpoint does not say.

    `threads` is 0 on a graphics card, whose digits do not depend on them.
    """

    device: str = ""
    threads: int = 0
    torch: str = ""
    atlas: str = ""


def refuse_another_run(saved: Config, wished: Config) -> None:
    """Raises `CheckpointError` naming every setting whose change would make another run of it."""
    changed = _changes(saved, wished, IDENTITY)
    if saved.tokens_per_step != wished.tokens_per_step and not changed:
        changed = [f"the tokens of a step ({saved.tokens_per_step}, now {wished.tokens_per_step})"]
    if changed:
        raise CheckpointError(f"A run cannot go on with other values of {', '.join(changed)}.",
                              "Leave them as they were, or start a fresh run.")
    if saved.dataset_fingerprint != wished.dataset_fingerprint:
        raise CheckpointError("The dataset is not the one this run has learned from.",
                              "Choose the run's own dataset, or start a fresh run.")


def future(saved: Config, wished: Config, step: int, *, factor: float = 1.0) -> list[str]:
    """In a sentence or two, which settings make the run go on otherwise after `step` steps; empty if none do.

    `factor` is what the seat-belt has made of the learning rate.
    """
    before, now = (config.evaluation.eval_batches * config.training.batch_size for config in (saved, wished))
    same_text = before == now  # in more or fewer batches
    changed = _changes(saved, wished, [key for key in FUTURE if key != "evaluation.eval_batches" or not same_text])
    if not same_text and saved.evaluation.eval_batches == wished.evaluation.eval_batches:
        changed.append(f"the windows of a validation ({before}, now {now})")
    if not changed:
        return []
    sentence = f"Changed since the checkpoint: {', '.join(changed)}."
    return [f"{sentence} {rates(saved.training, wished.training, step, factor=factor)}".rstrip()]


def learns_alike(saved: Config, wished: Config, step: int) -> bool:
    """Whether losses after `step` steps compare with those before: the same dropout, optimizer and learning rate."""
    same_rate = learning_rate(step, saved.training) == learning_rate(step, wished.training)
    return same_rate and not _changes(saved, wished, LEARNING)


def rates(saved: Training, wished: Training, step: int, *, factor: float = 1.0) -> str:
    """What a changed schedule does to the learning rate after `step` steps; empty if the schedule is the same.

    More steps alone leave the steps already taken as they are if the rates of those never knew of the end: a constant
    rate, WSD before its decay, or any warm-up. Then the longer run is the one that had been planned so.
    """
    last = max(0, step - 1)
    if dataclasses.replace(wished, max_steps=saved.max_steps) == saved != wished:
        if learning_rate(last, saved) == learning_rate(last, wished):
            return f"Its steps are those of a run that was planned for {people.many(wished.max_steps, 'step')}."
        return (f"The {wished.scheduler_type} schedule is now that of {people.many(wished.max_steps, 'step')}: "
                f"{_jump(saved, wished, step, factor)}, so it differs from a run planned for that many from the start.")
    same = all(learning_rate(at, saved) == learning_rate(at, wished) for at in (last, step, wished.max_steps))
    return "" if same else f"From here on {_jump(saved, wished, step, factor)}."


def _jump(saved: Training, wished: Training, step: int, factor: float) -> str:
    later = factor if wished.learning_rate == saved.learning_rate else 1.0  # a rate that was chosen counts as it is
    before, after, end = (people.learning_rate(rate) for rate in (
        factor * learning_rate(max(0, step - 1), saved), later * learning_rate(step, wished),
        later * learning_rate(wished.max_steps, wished)))
    return f"the learning rate was {before}, goes on at {after} and ends at {end}"


def digits(saved: Config, wished: Config, before: MadeOn, now: MadeOn) -> list[str]:
    """In a sentence, what keeps the run from going on to the last digit as it would have; empty if nothing does."""
    changed = _changes(saved, wished, DIGITS)
    machine = [f"{name} ({old}, now {new})" for name, old, new in (
        ("device", before.device, now.device), ("threads", before.threads, now.threads),
        ("torch", before.torch, now.torch), ("Atlas Studio", before.atlas, now.atlas)) if old and new and old != new]
    if not changed and not machine:
        return []
    only_threads = not changed and len(machine) == 1 and machine[0].startswith("threads")
    remedy = f" hardware.threads={before.threads} would keep them." if only_threads else ""
    return [f"The run goes on, but with other last digits than it would have had: {', '.join([*changed, *machine])}."
            f"{remedy}"]


def _changes(saved: Config, wished: Config, keys: Collection[str]) -> list[str]:
    return [f"{key} ({saved.get(key)}, now {wished.get(key)})" for key in keys if saved.get(key) != wished.get(key)]
