"""What is written, how it is proven, and that nothing half-done or unproven is ever left behind."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

from atlas_core.config import Config
from atlas_core.errors import AtlasError, ExportError
from atlas_core.events import Exported, Progress
from atlas_core.export import exporter, gguf, verify
from atlas_core.model.gpt import AtlasLM
from atlas_core.text.tokenizer import AtlasTokenizer
from tests.core.tiny_model import SHAPES, lively_model, small_vocabulary


class Trained(NamedTuple):
    model: AtlasLM
    tokenizer: AtlasTokenizer
    config: Config
    step: int = 7


def trained(**changes: object) -> Trained:
    tokenizer = small_vocabulary()
    model = lively_model(vocab_size=tokenizer.n_vocab, **changes)
    return Trained(model, tokenizer, Config(name="tiny one", model=model.config))


def export(what: Trained, to: Path, *, type: str = "f16", name: str = "") -> None:
    for event in gguf.write_gguf(what.model, what.tokenizer, what.config, to, type=type, name=name):
        assert 0 < event.done <= event.total


def proof(what: Trained, path: Path, type: str) -> tuple[str, ...]:
    stream = verify.prove(path, what.model, what.tokenizer, what.config, type=type)
    while True:
        try:
            next(stream)
        except StopIteration as end:
            checks: tuple[str, ...] = end.value
            return checks


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("type", gguf.TYPES)
def test_every_type_passes_its_proof(tmp_path: Path, type: str, shape: str, tied: bool) -> None:
    what, path = trained(tie_weights=tied, **SHAPES[shape]), tmp_path / "model.gguf"
    export(what, path, type=type)
    tensors = (2 + 2 * 12 + 2 if shape == "gpt2" else 1 + 2 * 9 + 1) + (not tied)
    assert proof(what, path, type)[0] == f"reopened: {tensors} tensors equal"


@pytest.mark.parametrize(("type", "largest_error"), [
    ("f32", 0.0), ("f16", 2**-11), ("bf16", 2**-8), ("q8_0", 0.01), ("q5_1", 0.05), ("q5_0", 0.1), ("q4_1", 0.1),
    ("q4_0", 0.2),
])
def test_a_type_costs_the_precision_it_is_known_for(tmp_path: Path, type: str, largest_error: float) -> None:
    """Measured by the reader's own arithmetic, relative to the largest weight."""
    what, path = trained(), tmp_path / "model.gguf"
    export(what, path, type=type)
    tensor = next(t for t in GGUFReader(path).tensors if t.name == "blk.1.ffn_up.weight")
    ours = what.model.state_dict()["blocks.1.mlp.up.weight"].numpy()
    error = np.abs(dequantize(tensor.data, tensor.tensor_type) - ours).max() / np.abs(ours).max()
    assert error <= largest_error
    assert type == "f32" or error > 0


def test_names_shapes_and_types_are_what_llama_cpp_wants(tmp_path: Path) -> None:
    export(trained(num_layers=1, mlp_ratio=2.0), tmp_path / "model.gguf", type="q8_0")
    tensors = GGUFReader(tmp_path / "model.gguf").tensors
    found = {t.name: (tuple(map(int, t.shape)), t.tensor_type.name) for t in tensors}
    assert found == {  # GGUF lists the innermost dimension first
        "token_embd.weight": ((32, 300), "Q8_0"), "position_embd.weight": ((32, 32), "F32"),
        "blk.0.attn_norm.weight": ((32,), "F32"), "blk.0.attn_norm.bias": ((32,), "F32"),
        "blk.0.attn_qkv.weight": ((32, 96), "Q8_0"), "blk.0.attn_qkv.bias": ((96,), "F32"),
        "blk.0.attn_output.weight": ((32, 32), "Q8_0"), "blk.0.attn_output.bias": ((32,), "F32"),
        "blk.0.ffn_norm.weight": ((32,), "F32"), "blk.0.ffn_norm.bias": ((32,), "F32"),
        "blk.0.ffn_up.weight": ((32, 64), "Q8_0"), "blk.0.ffn_up.bias": ((64,), "F32"),
        "blk.0.ffn_down.weight": ((64, 32), "Q8_0"), "blk.0.ffn_down.bias": ((32,), "F32"),
        "output_norm.weight": ((32,), "F32"), "output_norm.bias": ((32,), "F32"),
    }


def test_names_shapes_and_types_of_a_llama_are_what_llama_cpp_wants(tmp_path: Path) -> None:
    what, path = trained(num_layers=1, family="llama", num_kv_heads=1), tmp_path / "model.gguf"
    export(what, path, type="q8_0")
    found = {t.name: (tuple(map(int, t.shape)), t.tensor_type.name) for t in GGUFReader(path).tensors}
    assert found == {  # heads of 8, inner layer of 32 x 4 x 2 / 3, rounded up to 96
        "token_embd.weight": ((32, 300), "Q8_0"), "blk.0.attn_norm.weight": ((32,), "F32"),
        "blk.0.attn_q.weight": ((32, 32), "Q8_0"), "blk.0.attn_k.weight": ((32, 8), "Q8_0"),
        "blk.0.attn_v.weight": ((32, 8), "Q8_0"), "blk.0.attn_output.weight": ((32, 32), "Q8_0"),
        "blk.0.ffn_norm.weight": ((32,), "F32"), "blk.0.ffn_gate.weight": ((32, 96), "Q8_0"),
        "blk.0.ffn_up.weight": ((32, 96), "Q8_0"), "blk.0.ffn_down.weight": ((96, 32), "Q8_0"),
        "output_norm.weight": ((32,), "F32"),
    }


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    what = trained()
    export(what, tmp_path / "named.gguf", type="f16", name="My own model")
    export(what, tmp_path / "unnamed.gguf", type="f16")

    def read(file: str, key: str) -> object:
        return GGUFReader(tmp_path / file).get_field(key).contents()  # type: ignore[union-attr]

    assert read("named.gguf", "general.name") == "My own model"
    assert read("unnamed.gguf", "general.name") == "tiny one"
    assert read("named.gguf", "general.file_type") == 1
    assert read("named.gguf", "tokenizer.ggml.add_bos_token") is False
    bos = what.config.replace({"tokenizer.add_bos": True})
    export(what._replace(config=bos), tmp_path / "bos.gguf")
    assert read("bos.gguf", "tokenizer.ggml.add_bos_token") is True


def test_rows_that_do_not_fill_blocks_become_f16_and_it_is_said(tmp_path: Path) -> None:
    what, path = trained(hidden_size=48, num_heads=4, mlp_ratio=4.0), tmp_path / "model.gguf"
    export(what, path, type="q4_0")
    types = {t.name: t.tensor_type for t in GGUFReader(path).tensors}
    assert types["blk.0.ffn_up.weight"] == GGMLQuantizationType.F16     # rows of 48
    assert types["blk.0.ffn_down.weight"] == GGMLQuantizationType.Q4_0  # rows of 192
    assert "(7 of them in f16: q4_0 needs rows of whole blocks of 32)" in proof(what, path, "q4_0")[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("type", gguf.TYPES)
def test_the_size_is_known_before_writing(tmp_path: Path, type: str, shape: str) -> None:
    what = trained(**SHAPES[shape])
    export(what, tmp_path / "model.gguf", type=type)
    size = (tmp_path / "model.gguf").stat().st_size
    assert 0 < size - gguf.file_bytes(what.model, type) < 20_000  # names, vocabulary, padding


@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_another_activation_is_refused_before_anything_is_written(tmp_path: Path, activation: str) -> None:
    with pytest.raises(ExportError, match=f"trained with {activation}") as refused:
        list(exporter.export_checkpoint(trained(activation=activation), tmp_path / "new" / "model.gguf"))
    assert "model.activation=gelu" in refused.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'q9_9' is not a type") as refused:
        list(exporter.export_checkpoint(trained(), tmp_path / "model.gguf", type="q9_9"))
    assert "q8_0" in refused.value.remedy


def test_a_tensor_without_a_place_is_refused() -> None:
    what = trained()
    what.model.register_buffer("surprise", torch.zeros(3))
    with pytest.raises(ExportError, match="no place for the tensor 'surprise'"):
        gguf.plan(what.model, "f16")
    strange = trained()
    strange.model.blocks[0].register_buffer("extra", torch.zeros(3))
    with pytest.raises(ExportError, match=r"no place for the tensor 'blocks\.0\.extra'"):
        gguf.plan(strange.model, "f16")


def test_weights_that_the_type_cannot_hold_are_refused(tmp_path: Path) -> None:
    what = trained()
    with torch.no_grad():
        what.model.blocks[1].mlp.up.weight[0, 0] = 1e5
    with pytest.raises(ExportError, match="too large for f16") as refused:
        export(what, tmp_path / "model.gguf", type="f16")
    assert "bf16" in refused.value.remedy
    export(what, tmp_path / "model.gguf", type="bf16")
    with torch.no_grad():
        what.model.blocks[1].mlp.up.weight[0, 0] = float("nan")
    with pytest.raises(ExportError, match=r"blk\.1\.ffn_up\.weight .*not numbers"):
        export(what, tmp_path / "model.gguf", type="f32")


# ---- the proof ------------------------------------------------------------------------------------


def flip_one_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("type", ["f32", "f16", "q4_0"])
def test_one_wrong_bit_in_any_tensor_fails_the_proof(tmp_path: Path, type: str, shape: str) -> None:
    what, path = trained(num_layers=1, **SHAPES[shape]), tmp_path / "model.gguf"
    export(what, path, type=type)
    for tensor in [(t.name, int(t.data_offset), int(t.n_bytes)) for t in GGUFReader(path).tensors]:
        name, offset, size = tensor
        flip_one_bit(path, offset + size // 2)
        with pytest.raises(ExportError, match=f"the tensor {name} is not the model's"):
            proof(what, path, type)
        flip_one_bit(path, offset + size // 2)
    assert proof(what, path, type)


def test_the_proof_notices_another_model_tokenizer_and_setting(tmp_path: Path) -> None:
    what, path = trained(), tmp_path / "model.gguf"
    export(what, path, type="f32")
    with pytest.raises(ExportError, match="is not the model's"):
        proof(what._replace(model=lively_model(seed=1, vocab_size=300)), path, "f32")
    with pytest.raises(ExportError, match="does not hold the model's tensors"):
        proof(trained(num_layers=3), path, "f32")
    ranks = dict(what.tokenizer.ranks)
    a, b = [token for token, rank in ranks.items() if rank in (290, 291)]
    ranks[a], ranks[b] = ranks[b], ranks[a]
    with pytest.raises(ExportError, match="its vocabulary is not the tokenizer's"):
        proof(what._replace(tokenizer=AtlasTokenizer("other", ranks)), path, "f32")
    with pytest.raises(ExportError, match="add_bos_token is False instead of True"):
        proof(what._replace(config=what.config.replace({"tokenizer.add_bos": True})), path, "f32")


def test_a_torn_file_fails_the_proof(tmp_path: Path) -> None:
    what, path = trained(), tmp_path / "model.gguf"
    export(what, path, type="f32")
    whole = path.read_bytes()
    for length in (10, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ExportError, match="failed its proof"):
            proof(what, path, "f32")


# ---- from end to end ------------------------------------------------------------------------------


def test_without_verification_nothing_is_claimed(tmp_path: Path) -> None:
    events = list(exporter.export_checkpoint(trained(), tmp_path / "model.gguf", verify=False))
    last = events[-1]
    assert isinstance(last, Exported)
    assert (last.verified, last.checks, last.type, last.tensors, last.step) == (False, (), "f16", 28, 7)
    assert last.bytes == last.path.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_a_failed_proof_leaves_the_earlier_file(tmp_path: Path) -> None:
    what, path = trained(), tmp_path / "model.gguf"
    path.write_bytes(b"GGUF, the earlier file")
    with pytest.raises(ExportError, match="is not the model's"):
        for event in exporter.export_checkpoint(what, path):
            if isinstance(event, Progress) and event.label == "Verifying":
                with torch.no_grad():  # the model moves on while its file is being proven
                    what.model.norm.bias.add_(1)
    assert path.read_bytes() == b"GGUF, the earlier file"
    assert list(tmp_path.iterdir()) == [path]


def test_a_consumer_that_leaves_takes_the_unfinished_file_along(tmp_path: Path) -> None:
    stream = exporter.export_checkpoint(trained(), tmp_path / "model.gguf")
    next(stream)
    assert len(list(tmp_path.iterdir())) == 1
    stream.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_or_a_file_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is a folder") as refused:
        list(exporter.export_checkpoint(trained(), tmp_path))
    assert "model.gguf" in refused.value.remedy
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AtlasError, match="Cannot write"):
        list(exporter.export_checkpoint(trained(), tmp_path / "file" / "model.gguf"))


def test_a_file_that_is_no_gguf_is_never_replaced(tmp_path: Path) -> None:
    letters = tmp_path / "letters.txt"
    letters.write_text("Dear Anna,")
    with pytest.raises(ExportError, match="left alone"):
        list(exporter.export_checkpoint(trained(), letters))
    assert letters.read_text() == "Dear Anna,"
