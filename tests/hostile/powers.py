"""What a test may take from its own process for a while: root's right to read and write everything, and room."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_VERSION_3 = 0x20080522              # of the kernel's capability calls: see capset(2)
_OVERRIDE = (1 << 1) | (1 << 2)      # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@contextlib.contextmanager
def of_an_ordinary_user() -> Iterator[None]:
    """The rights of files hold for this thread and those it starts, also if it is root's."""
    if sys.platform != "linux" or os.geteuid() != 0:
        yield
        return
    before = _get()
    _set([before[0] & ~_OVERRIDE, *before[1:]])
    try:
        yield
    finally:
        _set(before)


@contextlib.contextmanager
def of_no_room(most_bytes: int = 2**14) -> Iterator[None]:
    """No file may grow beyond this, as on a full disk or with a quota; Python ignores the signal that comes with it."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_Words = ctypes.c_uint32 * 6  # effective, permitted, inheritable; twice, for 64 bits


def _get() -> list[int]:
    words = _Words()
    _call("capget", words)
    return list(words)


def _set(words: list[int]) -> None:
    _call("capset", _Words(*words))


def _call(name: str, words: ctypes.Array[ctypes.c_uint32]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(ctypes.byref(_Header(_VERSION_3, 0)), words) != 0:
        raise OSError(ctypes.get_errno(), name)
