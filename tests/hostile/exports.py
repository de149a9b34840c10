"""Hostile places to export to: what lies there is somebody's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.hostile.case import Case, Ground
from tests.hostile.powers import of_an_ordinary_user, of_no_room


def export(place: Callable[[Ground], Path], *more: str) -> Callable[[Ground], list[object]]:
    return lambda ground: ["export", ground.run, "--to", place(ground), "--no-verify", *more]


def read_only(ground: Ground) -> Path:
    ground.path("closed").mkdir(mode=0o555)
    return ground.path("closed") / "model.gguf"


def pipe(ground: Ground) -> Path:
    os.mkfifo(ground.path("model.gguf"))
    return ground.path("model.gguf")


def letters(ground: Ground) -> Path:
    return ground.write("letters.txt", "Dear friend")


def unharmed(ground: Ground) -> None:
    assert ground.path("letters.txt").read_text() == "Dear friend"
    ground.nothing_new("letters.txt")


def link_to_letters(ground: Ground) -> Path:
    ground.path("model.gguf").symlink_to(letters(ground))
    return ground.path("model.gguf")


CASES = [
    Case("a folder", export(lambda ground: ground.here),
         "… is a folder, not a file. Choose a file name such as …/model.gguf."),
    Case("a file that is no GGUF", export(letters),
         "…/letters.txt exists and is no GGUF file, so it is left alone. Choose another name.", check=unharmed),
    Case("a link to a file that is no GGUF", export(link_to_letters),
         "…/model.gguf exists and is no GGUF file, so it is left alone. Choose another name."),
    Case("a named pipe", export(pipe),
         "Cannot write …/model.gguf: it is no ordinary "
         "file. Free some space or choose a folder you may "
         "write to.", check=lambda ground: ground.nothing_new("model.gguf")),
    Case("a place that may only be read", export(read_only),
         "Cannot write …/closed/model.gguf: Permission denied. Free some space or "
         "choose a folder you may write to.", around=of_an_ordinary_user),
    Case("below a file", export(lambda ground: letters(ground) / "model.gguf"),
         "Cannot write …/letters.txt/model.gguf: a part of its path is a file, not a folder. Free "
         "some space or choose a folder you may write to.", check=unharmed),
    Case("no room", export(lambda ground: ground.path("model.gguf")),
         "Cannot write …/model.gguf: not all of it could be written; the disk may be full. Free "
         "some space or choose a folder you may write to.", around=of_no_room,
         check=lambda ground: ground.nothing_new()),
    Case("a type nobody knows", export(lambda ground: ground.path("model.gguf"), "--type", "q9"),
         "'q9' is not a type of GGUF file that can be written. Choose one of f32, f16, bf16, q8_0, q5_1, q5_0, "
         "q4_1, q4_0."),
]
