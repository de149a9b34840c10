"""Seeds as a function of (seed, step): what is random in a step does not depend on what came before it."""

from __future__ import annotations


def seed_of_step(seed: int, step: int) -> int:
    """A seed for each step, far from its neighbours' (Fibonacci hashing, Knuth 6.4)."""
    return (seed + step * 0x9E3779B97F4A7C15) % 2**63
