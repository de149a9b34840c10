"""Hostile datasets: a prepared folder that somebody else has made, or broken."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.case import Case, Ground


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def train(ground: Ground, dataset: Path) -> list[object]:
    return ["train", "--preset", "NANO", "--data", dataset, "--out", ground.path("trained"), "--resume", "never"]


def spoilt(name: str, content: str | bytes | None) -> Callable[[Ground], list[object]]:
    """A dataset of which one file holds something else, or is gone."""

    def make(ground: Ground) -> list[object]:
        dataset = ground.own_dataset()
        if content is None:
            (dataset / name).unlink()
        else:
            ground.write(f"data/{name}", content)
        return train(ground, dataset)

    return make


def described(change: Callable[[dict[str, Any]], object], name: str = "meta.json") -> Callable[[Ground], list[object]]:
    """A dataset whose description says something else."""

    def make(ground: Ground) -> list[object]:
        dataset = ground.own_dataset()
        raw = json.loads((dataset / name).read_text(encoding="utf-8"))
        change(raw)
        ground.write(f"data/{name}", json.dumps(raw))
        return train(ground, dataset)

    return make


def executing(ground: Ground) -> list[object]:
    dataset = ground.own_dataset()
    objects = np.empty(1, dtype=object)
    objects[0] = Touch(ground.path("pwned"))
    with open(dataset / "train.offsets.npy", "wb") as file:
        np.save(file, objects, allow_pickle=True)
    return ["evaluate", ground.run, "--data", dataset, "--split", "train"]


def pickled(ground: Ground) -> list[object]:
    dataset = ground.own_dataset()
    (dataset / "meta.json").write_bytes(pickle.dumps(Touch(ground.path("pwned"))))
    return train(ground, dataset)


def beyond_the_vocabulary(ground: Ground) -> list[object]:
    dataset = ground.own_dataset()
    tokens = np.fromfile(dataset / "train.bin", dtype="<u2")
    tokens[:] = 65535
    tokens.tofile(dataset / "train.bin")
    return ["evaluate", ground.run, "--data", dataset, "--split", "train"]


def no_code(ground: Ground) -> None:
    ground.nothing_new("data")


CASES = [
    Case("a description that is no JSON", spoilt("meta.json", "{"),
         "The dataset …/data is damaged: meta.json is not JSON. Prepare the dataset again."),
    Case("a description nested 100 000 deep", spoilt("meta.json", "[" * 100_000),
         "The dataset …/data is damaged: meta.json is not JSON. Prepare the dataset again."),
    Case("a description that is a pickle", pickled,
         "The dataset …/data is damaged: meta.json is not JSON. Prepare the dataset again.", check=no_code),
    Case("a description with text for numbers", described(lambda meta: meta.update(n_vocab="many")),
         "The dataset …/data is damaged: meta.json lacks something or says nonsense. Prepare the dataset again."),
    Case("a description with numbers beyond all measure",
         described(lambda meta: meta["splits"]["train"].update(tokens=10**30)),
         "The dataset …/data is damaged: meta.json lacks something or says nonsense. Prepare the dataset again."),
    Case("another format", described(lambda meta: meta.update(format=99)),
         "The dataset …/data has format 99, this version reads 1. Prepare the dataset again."),
    Case("a part whose name leads out of the folder",
         described(lambda meta: meta["splits"].update({"../../etc/passwd": meta["splits"]["val"]})),
         "The dataset …/data is damaged: meta.json lacks something or says nonsense. Prepare the dataset again."),
    Case("numbers of a type nobody knows", described(lambda meta: meta.update(dtype="object")),
         "The dataset …/data is damaged: meta.json names no type of numbers we know. Prepare the dataset again."),
    Case("tokens that are missing", spoilt("train.bin", b"\0" * 10),
         "The dataset …/data is damaged: train.bin is incomplete. Prepare the dataset again."),
    Case("tokens beyond the vocabulary", beyond_the_vocabulary,
         "The dataset is damaged: it holds the token 65535, and its vocabulary ends at 299. Prepare the dataset "
         "again."),
    Case("offsets that are a pickle, which a training does not need", executing, "", goes_on=True, check=no_code),
    Case("no tokenizer", spoilt("tokenizer.json", None),
         "There is no tokenizer at …/data/tokenizer.json. Choose gpt2, bpe:4096 or a dataset folder."),
    Case("a tokenizer that is no JSON", spoilt("tokenizer.json", b"\xff\xfe"),
         "The tokenizer is damaged: …/data/tokenizer.json is not JSON. Prepare the dataset again."),
    Case("a tokenizer that is a list", spoilt("tokenizer.json", "[]"),
         "The tokenizer is damaged: it is no description of a vocabulary. Prepare the dataset again."),
    Case("a tokenizer without tokens", described(lambda raw: raw.update(ranks=[]), "tokenizer.json"),
         "The tokenizer is damaged: its vocabulary is incomplete. Prepare the dataset again."),
    Case("a tokenizer of a million empty tokens",
         described(lambda raw: raw.update(ranks=[""] * 2**20), "tokenizer.json"),
         "The tokenizer is damaged: its vocabulary is incomplete. Prepare the dataset again."),
    Case("another tokenizer than the tokens were made with",
         described(lambda raw: raw.update(ranks=raw["ranks"][:-1]), "tokenizer.json"),
         "The tokenizer is damaged: its fingerprint does not match its vocabulary. Prepare the dataset again."),
]
