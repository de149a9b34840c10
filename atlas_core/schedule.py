"""The learning rate of every step. A pure function of the settings; no loop, no optimizer."""

from __future__ import annotations

import math

from atlas_core.config import Training

HEAD_START = 4.0  # what embeddings and output layers bear for some hundred steps (docs/performance.md)


def learning_rate(step: int, t: Training) -> float:
    """The rate of step `step` (from 0): a linear rise, then the scheduler's fall to `min_lr_ratio` of the peak.

    Cosine as in Loshchilov and Hutter 2017, without restarts. WSD (warm-up, stable, decay) as in MiniCPM (Hu et al.
    2024), whose last `decay_fraction` of the steps after the warm-up falls as 1 - sqrt (Hägele et al. 2024).
    """
    if step < t.warmup_steps:
        return t.learning_rate * (step + 1) / t.warmup_steps
    if t.scheduler_type == "constant":
        return t.learning_rate
    done = min(1.0, (step - t.warmup_steps) / max(1, t.max_steps - t.warmup_steps))
    if t.scheduler_type == "cosine":
        left = 0.5 * (1 + math.cos(math.pi * done))
    elif t.scheduler_type == "wsd":
        left = 1 - math.sqrt(max(0.0, 1 - (1 - done) / t.decay_fraction))
    else:
        left = 1 - done
    return t.learning_rate * (t.min_lr_ratio + (1 - t.min_lr_ratio) * left)


def head_start(step: int, t: Training) -> float:
    """How many times that rate AdamW has beside Muon at step `step` (from 0): a straight fall to once."""
    left = max(0.0, 1 - step / t.head_start_steps) if t.head_start_steps else 0.0
    return 1 + (HEAD_START - 1) * left
