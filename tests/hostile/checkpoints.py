"""Hostile checkpoints: pickles that would run code, and files that lie about what they hold."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from atlas_core import soundness
from atlas_core.text.tokenizer import train_bpe
from tests.hostile.case import Case, Ground
from tests.hostile.datasets import Touch
from tests.tiny import TEXT


def generate(checkpoint: Path) -> list[object]:
    return ["generate", checkpoint, "--prompt", "the king", "--max-new-tokens", "4", "--device", "cpu"]


def holding(content: Callable[[Ground], Any]) -> Callable[[Ground], list[object]]:
    """A file that `torch.save` has made of something else."""

    def make(ground: Ground) -> list[object]:
        torch.save(content(ground), ground.path("stranger.pt"))
        return generate(ground.path("stranger.pt"))

    return make


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Ground], list[object]]:
    """A checkpoint of ours in which something was changed."""

    def make(ground: Ground) -> list[object]:
        path = ground.own_checkpoint()
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)
        return generate(path)

    return make


def bare(content: bytes) -> Callable[[Ground], list[object]]:
    return lambda ground: generate(ground.write("stranger.pt", content))


def old_pickle(ground: Ground) -> list[object]:
    return generate(ground.write("stranger.pt", pickle.dumps(Touch(ground.path("pwned")))))


def truncated(ground: Ground) -> list[object]:
    path = ground.own_checkpoint()
    os.truncate(path, path.stat().st_size // 2)
    return generate(path)


def flipped(ground: Ground) -> list[object]:
    """A bit in the pickle itself."""
    path = ground.own_checkpoint()
    content = bytearray(path.read_bytes())
    content[content.index(b"hidden_size")] ^= 1
    path.write_bytes(content)
    return generate(path)


def bomb(ground: Ground) -> list[object]:
    """Our own file packed again, with a tensor that unfolds a thousand times."""
    path = ground.own_checkpoint()
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, bytes(2**25) if name.endswith("/data/0") else content)
    return generate(path)


def a_zip(ground: Ground) -> list[object]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", TEXT)
    return generate(ground.write("stranger.pt", buffer.getvalue()))


def legacy(ground: Ground) -> list[object]:
    torch.save({"weight": torch.zeros(2)}, ground.path("stranger.pt"), _use_new_zipfile_serialization=False)
    return generate(ground.path("stranger.pt"))


def poses_as_a_matrix(state: dict[str, Any]) -> None:
    """One number that claims to be 65 536 times 16 million of them."""
    state["config"]["model"] |= {"hidden_size": 65536, "vocab_size": 2**24, "num_heads": 1}
    state["model"]["tokens.weight"] = torch.zeros(1).expand(2**24, 65536)


def smaller_network(state: dict[str, Any]) -> None:
    """A network of fewer tokens than the vocabulary has."""
    state["config"]["model"]["vocab_size"] = 280
    state["model"]["tokens.weight"] = state["model"]["tokens.weight"][:280].clone()


def other_vocabulary(state: dict[str, Any]) -> None:
    state["tokenizer"] = train_bpe(["another text altogether, learned elsewhere"] * 30, 280).to_dict() | {
        "fingerprint": state["tokenizer"]["fingerprint"]}


def predecessor(_: Ground) -> dict[str, Any]:
    return {"model_state_dict": {"embeddings.token_embedding.embedding.weight": torch.zeros(4, 4)},
            "optimizer_state_dict": {}, "scheduler_state_dict": {}, "metadata": {"step": 3}}


def beside(change: Callable[[dict[str, Any]], object]) -> Callable[[Ground], list[object]]:
    """A run whose checkpoints' sidecars say something else."""

    def make(ground: Ground) -> list[object]:
        run = ground.own_run()
        for path in (run / "checkpoints").glob("*.json"):
            about = json.loads(path.read_text(encoding="utf-8"))
            change(about)
            path.write_text(json.dumps(about), encoding="utf-8")
        return generate(run)

    return make


def beside_in_words(content: str) -> Callable[[Ground], list[object]]:
    def make(ground: Ground) -> list[object]:
        run = ground.own_run()
        for path in (run / "checkpoints").glob("*.json"):
            path.write_text(content, encoding="utf-8")
        return generate(run)

    return make


def other_digest(ground: Ground) -> list[object]:
    beside(lambda about: about.update(sha256="0" * 64))(ground)
    return ["export", ground.path("run"), "--to", ground.path("model.gguf")]


def resumed(change: Callable[[dict[str, Any]], object]) -> Callable[[Ground], list[object]]:
    """A run whose checkpoint was changed by somebody who knew to change its digest and its seal too."""

    def make(ground: Ground) -> list[object]:
        run = ground.own_run()
        path = run / "checkpoints" / "atlas_step_2.pt"
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        about |= {"bytes": path.stat().st_size, "sha256": soundness.sha256(path)}
        about["seal"] = soundness.seal(about)
        path.with_suffix(".json").write_text(json.dumps(about), encoding="utf-8")
        return ["train", "--resume", path, "--set", "training.max_steps=3"]

    return make


def no_code(ground: Ground) -> None:
    ground.nothing_new("stranger.pt")


CASES = [
    Case("a pickle that would run code, saved by torch", holding(lambda ground: {"model": Touch(ground.path("pwned"))}),
         "…/stranger.pt is not a readable checkpoint. Choose another checkpoint of the run; each is "
         "whole by itself.", check=no_code),
    Case("a bare pickle that would run code", old_pickle,
         "…/stranger.pt is not a readable checkpoint. Choose another checkpoint of the run; each is "
         "whole by itself.", check=no_code),
    Case("our format around a pickle that would run code",
         holding(lambda ground: {"format": 2, "config": Touch(ground.path("pwned"))}),
         "…/stranger.pt is not a readable checkpoint. Choose another checkpoint of the run; each is "
         "whole by itself.", check=no_code),
    Case("zero bytes", bare(b""),
         "…/stranger.pt is not a readable checkpoint. Choose another checkpoint of the run; each is whole by "
         "itself."),
    Case("a text", bare(TEXT.encode()),
         "…/stranger.pt is not a readable checkpoint. Choose another checkpoint of the run; each is whole by "
         "itself."),
    Case("truncated", truncated,
         "…/stranger.pt is not a readable checkpoint. Choose another checkpoint of the run; each is whole by "
         "itself."),
    Case("a flipped bit", flipped,
         "The settings in …/stranger.pt are not valid: 'model.iidden_size' is no setting (did you mean "
         "'model.hidden_size'?). It was written by another version of Atlas Studio."),
    Case("a zip of something else", a_zip,
         "…/stranger.pt is not a readable checkpoint. Choose another checkpoint of the run; each is whole by "
         "itself."),
    Case("weights in torch's old format", legacy,
         "…/stranger.pt is not a readable checkpoint. Choose another checkpoint of the run; each is whole by "
         "itself."),
    Case("weights alone", holding(lambda _: {"weight": torch.zeros(2, 2)}),
         "…/stranger.pt is not a checkpoint of Atlas Studio. Choose an atlas_....pt file."),
    Case("one tensor", holding(lambda _: torch.zeros(2, 2)),
         "…/stranger.pt is not a checkpoint of Atlas Studio. Choose an atlas_....pt file."),
    Case("the predecessor's format", holding(predecessor),
         "…/stranger.pt holds the weights of another program, without the settings of their network. Train anew "
         "with that program's configuration file: atlas train --config FILE."),
    Case("packed, to unfold a thousand times", bomb,
         "…/stranger.pt would unfold to more than it holds, which no checkpoint does. It looks like a trap: do not "
         "open it."),
    Case("a format of the future", changed(lambda state: state.update(format=99)),
         "…/stranger.pt has the format 99, this program reads 2. Open it with the version of Atlas Studio that "
         "wrote it."),
    Case("settings that are a list", changed(lambda state: state.update(config=[1])),
         "The settings in …/stranger.pt are not valid: settings must be groups such as 'model:', not [1]. It was "
         "written by another version of Atlas Studio."),
    Case("settings with a trillion layers",
         changed(lambda state: state["config"]["model"].update(num_layers=10**12)),
         "The settings in …/stranger.pt are not valid: model.num_layers must be 1 to 1,024, not 1000000000000. It "
         "was written by another version of Atlas Studio."),
    Case("settings with as many layers as are allowed, and weights for two",
         changed(lambda state: state["config"]["model"].update(num_layers=1024)),
         "…/stranger.pt does not fit its own settings: blocks.10.attention.output.bias is None, needed (32,). The "
         "file is damaged or was made by another program."),
    Case("one number that poses as a trillion", changed(poses_as_a_matrix),
         "…/stranger.pt does not fit together: its weights are not plain numbers. The file is damaged or was made "
         "by another program."),
    Case("weights of another shape",
         changed(lambda state: state["model"].update({"norm.weight": torch.zeros(7)})),
         "…/stranger.pt does not fit its own settings: norm.weight is (7,), needed (32,). The file is damaged or "
         "was made by another program."),
    Case("weights that are texts", changed(lambda state: state["model"].update({"norm.weight": "heavy"})),
         "…/stranger.pt does not fit together: its weights are not plain numbers. The file is damaged or was made "
         "by another program."),
    Case("weights that are complex numbers",
         changed(lambda state: state["model"].update({"norm.weight": torch.zeros(32, dtype=torch.complex64)})),
         "…/stranger.pt does not fit together: its weights are not plain numbers. The file is damaged or was made "
         "by another program."),
    Case("weights too many", changed(lambda state: state["model"].update({"more": torch.zeros(1)})),
         "…/stranger.pt does not fit its own settings: more is (1,), needed None. The file is damaged or was made "
         "by another program."),
    Case("weights that are no numbers any more",
         changed(lambda state: state["model"].update({"norm.weight": torch.full((32,), torch.nan)})),
         "The model's predictions are no longer numbers. Its training went astray: use an earlier checkpoint, or a "
         "lower learning rate."),
    Case("fewer tokens than its vocabulary", changed(smaller_network),
         "…/stranger.pt does not fit together: its network knows 280 tokens, its vocabulary has 300. The file is "
         "damaged or was made by another program."),
    Case("another vocabulary under the same fingerprint", changed(other_vocabulary),
         "The tokenizer is damaged: its fingerprint does not match its vocabulary. Prepare the dataset again."),
    Case("a tokenizer that is a number", changed(lambda state: state.update(tokenizer=3)),
         "The tokenizer is damaged: it is no description of a vocabulary. Prepare the dataset again."),
    Case("a tokenizer of tokens that are no base64",
         changed(lambda state: state["tokenizer"].update(ranks=["?"] * 300)),
         "The tokenizer is damaged: its vocabulary is not base64. Prepare the dataset again."),
    Case("progress that is a list", changed(lambda state: state.update(progress=[])),
         "…/stranger.pt does not fit together: its progress is of another kind. The file is damaged or was made by "
         "another program."),
    Case("progress in words", changed(lambda state: state["progress"].update(step="three")),
         "…/stranger.pt does not fit together: its progress is not told in numbers. The file is damaged or was "
         "made by another program."),
    Case("an optimizer's memory of another network, resumed",
         resumed(lambda state: state.update(optimizers=[{"state": {}, "param_groups": []}])),
         "…/run/checkpoints/atlas_step_2.pt does not fit together: its optimizer's memory is of another kind. The "
         "file is damaged or was made by another program."),
    Case("an optimizer's memory that is a text, resumed", resumed(lambda state: state.update(optimizers="none")),
         "…/run/checkpoints/atlas_step_2.pt does not fit together: its optimizer's memory is of another kind. The "
         "file is damaged or was made by another program."),
    Case("progress in words, resumed", resumed(lambda state: state["progress"].update(step="three")),
         "…/run/checkpoints/atlas_step_2.pt does not fit together: its progress is not told in numbers. The file "
         "is damaged or was made by another program."),
    Case("sidecar: no JSON", beside_in_words("{"),
         "…/run holds no finished checkpoint. Name a run's folder or an atlas_....pt file."),
    Case("sidecar: nested 100 000 deep", beside_in_words("[" * 100_000),
         "…/run holds no finished checkpoint. Name a run's folder or an atlas_....pt file."),
    Case("sidecar: texts for numbers", beside(lambda about: about.update(step="three")),
         "…/run holds no finished checkpoint. Name a run's folder or an atlas_....pt file."),
    Case("sidecar: numbers beyond all measure", beside(lambda about: about.update(saved_at=1e300)),
         "…/run holds no finished checkpoint. Name a run's folder or an atlas_....pt file."),
    Case("sidecar: another digest", other_digest,
         "…/run/checkpoints/atlas_step_2.pt is damaged: its "
         "content is not what was written. Choose another "
         "checkpoint of the run.", check=lambda ground: ground.nothing_new("run")),
]
