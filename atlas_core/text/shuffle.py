"""A seeded order that is the same on every machine and with every version of numpy, today and in ten years."""

from __future__ import annotations

import numpy as np

_MASK = 2**64 - 1


def permutation(count: int, *, seed: int, round: int = 0) -> np.ndarray:
    """0 to `count - 1` in an order that depends on `seed` and `round` alone.  # (count,) int64

    Every number gets a hash, and the hashes are sorted. numpy's own shuffles may change between versions.
    """
    key = _mixed(np.array([_mixed_int(seed) ^ round], dtype=np.uint64))
    return np.argsort(_mixed(np.arange(count, dtype=np.uint64) + key), kind="stable")


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finishing steps of SplitMix64 (Steele, Lea, Flood 2014): a bijection, so no two hashes are equal."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _mixed_int(value: int) -> int:
    return int(_mixed(np.array([value & _MASK], dtype=np.uint64))[0])
