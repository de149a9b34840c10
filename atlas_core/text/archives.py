"""Zip archives, read member by member as streams: nothing is ever unpacked to disk under a name of the archive.

Archives that would write outside, hide links, need a password or unfold beyond reason are refused whole. Not
here: which members are text.
"""

from __future__ import annotations

import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from atlas_core.errors import DataError

MAX_DEPTH = 3                     # an archive in an archive in an archive
MAX_UNPACKED_BYTES = 2**38        # 256 GiB in one archive
MAX_NESTED_BYTES = 2**32          # an inner archive is kept in a temporary file while it is read
MAX_RATIO = 250                   # text shrinks 3 to 20 times; bombs more than 1000 times
_BOMB_BYTES = 10 * 2**20          # what is smaller when unpacked harms nobody

# What the zip library raises depends on the bytes. A wrong name, date, offset or length is one of the last two.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError)
# The library unfolds the other methods a whole block at a time, which may be a thousand times what was asked for.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Allowance:
    """What an archive on disk may unfold to, the archives in it counted in: each level of a bomb looks harmless."""

    def __init__(self, packed_bytes: int) -> None:
        self._packed_bytes = packed_bytes
        self._unpacked_bytes = 0

    def draw(self, unpacked_bytes: int, name: str) -> None:
        """Raises `DataError` if that is too much on top of what was unfolded before."""
        self._unpacked_bytes += unpacked_bytes
        _check_size(self._unpacked_bytes, self._packed_bytes, name)


@contextmanager
def opened(file: BinaryIO, name: str, allowance: Allowance) -> Iterator[zipfile.ZipFile]:
    """The archive in `file`, checked. Raises `DataError` with one sentence if it is damaged or not safe."""
    with damage_told(name), zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for member in members:
            _check_member(member, name)
        # Measured by the file: members may lie on top of each other, so their sizes can add up to more than it has.
        allowance.draw(sum(member.file_size for member in members), name)
        yield archive


@contextmanager
def nested(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Iterator[BinaryIO]:
    """An inner archive as a file to seek in: in memory while small, else in an unnamed temporary file."""
    if member.file_size > MAX_NESTED_BYTES:
        raise DataError(f"The inner archive {name} is too large to be read inside another.", "Unpack it first.")
    with tempfile.SpooledTemporaryFile(max_size=2**25) as file, archive.open(member) as stream:
        shutil.copyfileobj(stream, file)
        file.seek(0)
        yield _seekable(file)


@contextmanager
def damage_told(name: str) -> Iterator[None]:
    """Turn the zip library's many errors into one sentence."""
    try:
        yield
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"The archive {name} is damaged ({error}).", "Download or pack it again.") from error
    except NotImplementedError as error:
        raise DataError(f"The archive {name} is packed with a method that cannot be read here ({error}).",
                        "Pack it again as an ordinary zip.") from error


def _seekable(file: tempfile.SpooledTemporaryFile[bytes]) -> BinaryIO:
    """The file inside: the wrapper itself lacks `seekable` before Python 3.11."""
    inner: IO[bytes] = file._file
    return inner  # type: ignore[return-value]


def _check_member(member: zipfile.ZipInfo, name: str) -> None:
    if not member.filename:
        raise zipfile.BadZipFile("a file without a name")
    path = member.orig_filename.replace("\\", "/")
    if path.startswith("/") or path[1:2] == ":" or ".." in path.split("/"):
        raise DataError(f"The archive {name} holds a file that points outside it ({member.orig_filename!r}).",
                        "It is not to be trusted; unpack and look through it by yourself.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(f"The archive {name} holds a link ({member.filename}).", "Pack the files themselves.")
    if member.flag_bits & 1:
        raise DataError(f"The archive {name} is protected by a password.", "Unpack it first and add the folder.")
    if member.compress_type not in _METHODS:
        raise DataError(f"The archive {name} is packed with a method that cannot be read here (number "
                        f"{member.compress_type}).", "Pack it again as an ordinary zip.")
    _check_size(member.file_size, member.compress_size, name)


def _check_size(unpacked: int, packed: int, name: str) -> None:
    bomb = unpacked > _BOMB_BYTES and unpacked > MAX_RATIO * max(packed, 1)
    if bomb or unpacked > MAX_UNPACKED_BYTES:
        sizes = f"{unpacked / 2**20:,.0f} MiB from {packed / 2**20:,.2f} MiB"
        raise DataError(f"The archive {name} would unfold to {sizes}.",
                        "It looks like a trap; if you trust it, unpack it and add the folder.")
