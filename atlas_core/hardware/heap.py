"""Whether the C library keeps memory that was freed, or gives it back to the system. GNU's alone, so Linux.

A training step frees as much as it takes. By itself the library gives much of that back after each step, and the
system has to supply (and clear) the same pages again at the next.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# Parameters of `mallopt`, as <malloc.h> numbers them.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20  # of 64 bits; what is larger always comes from the system and returns to it
NEVER = -1
USUAL_TRIM_THRESHOLD = 2 * LARGEST_MMAP_THRESHOLD  # what the library itself comes to where such blocks are freed


def keep() -> None:
    """From now on memory that is freed stays with the process, for what it will take next."""
    if (library := _library()) is not None:
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        library.mallopt(M_TRIM_THRESHOLD, NEVER)


def give_back(*, lastingly: bool = True) -> None:
    """Hand the system all that is free now; `lastingly`, also what will be freed at the end of the heap."""
    if (library := _library()) is not None:
        if lastingly:
            library.mallopt(M_TRIM_THRESHOLD, USUAL_TRIM_THRESHOLD)
        library.malloc_trim(0)


@cache
def _library() -> ctypes.CDLL | None:
    """The C library, if it can be told so; musl's, Apple's and Windows' cannot."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
