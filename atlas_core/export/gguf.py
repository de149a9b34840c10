"""A model as a GGUF file that llama.cpp, Ollama and LM Studio open: architecture "gpt2" or "llama", as its family.

The keys and names are those of llama.cpp's loaders of that name; the `gguf` package knows the file format. Whether
the file is right is judged elsewhere: `verify.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, LlamaFileType

from atlas_core import memory
from atlas_core.config import Config, Model
from atlas_core.errors import ExportError
from atlas_core.events import Progress
from atlas_core.export import vocabulary
from atlas_core.model.gpt import NORM_EPSILON, AtlasLM
from atlas_core.model.heads import ROPE_BASE
from atlas_core.text.tokenizer import AtlasTokenizer

TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")

_OUTER = {
    "tokens.weight": "token_embd.weight",
    "positions.weight": "position_embd.weight",
    "norm.weight": "output_norm.weight",
    "norm.bias": "output_norm.bias",
    "head.weight": "output.weight",
}
_IN_BLOCK = {
    "attention_norm": "attn_norm",
    "attention.qkv": "attn_qkv",
    "attention.output": "attn_output",
    "mlp_norm": "ffn_norm",
    "mlp.gate": "ffn_gate",
    "mlp.up": "ffn_up",
    "mlp.down": "ffn_down",
}


@dataclass(frozen=True)
class Planned:
    """One tensor of the file: the name llama.cpp knows it by, our name for it, which of its rows, its number format."""

    name: str
    source: str
    rows: slice
    type: GGMLQuantizationType

    def of(self, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The numbers, from the model's state dict."""
        return state[self.source][self.rows]


def plan(model: AtlasLM, type: str) -> tuple[Planned, ...]:
    """Every tensor of the model, in the order of the file.

    Norms, biases and positions stay F32, as llama.cpp wants them. A matrix whose rows do not divide into the
    blocks of a quantised type becomes F16, as llama.cpp's own converter does it.

    Raises `ExportError` for a model or a type that GGUF cannot hold.
    """
    _check(model, type)
    wanted = GGMLQuantizationType[type.upper()]
    return tuple(Planned(name, source, rows, _type_of(source, tensor, wanted))
                 for source, tensor in model.state_dict().items()
                 if not (source == "head.weight" and model.config.tie_weights)
                 for name, rows in _places(source, model.config))


def write_gguf(model: AtlasLM, tokenizer: AtlasTokenizer, config: Config, to: Path,
               *, type: str = "f16", name: str = "") -> Iterator[Progress]:
    """Write the file `to`, one tensor in memory at a time, and make it durable.

    The caller decides what becomes of an unfinished file. Raises `ExportError` as `plan` does, and `OSError`
    where the disk refuses.
    """
    planned = plan(model, type)
    words = vocabulary.build(tokenizer, rows=model.config.vocab_size)
    writer = gguf.GGUFWriter(None, model.config.family)
    _add_shape(writer, model, type)
    _add_names(writer, config, name)
    _add_vocabulary(writer, tokenizer, words, add_bos=config.tokenizer.add_bos)
    state = model.state_dict()
    for tensor in planned:
        _announce(writer, tensor, tuple(tensor.of(state).shape))
    try:
        writer.write_header_to_file(to)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for done, tensor in enumerate(planned, 1):
            writer.write_tensor_data(_checked(tensor.of(state), tensor))
            yield Progress(done, len(planned), "tensors", "Writing")
        for file in writer.fout or ():
            file.flush()
            os.fsync(file.fileno())
    finally:
        writer.close()


def encode(tensor: torch.Tensor, type: GGMLQuantizationType) -> np.ndarray:
    """The numbers of one tensor as the file holds them; for other types than F32 and F16, as bytes."""
    return gguf.quants.quantize(tensor.detach().float().cpu().contiguous().numpy(), type)


def _checked(source: torch.Tensor, tensor: Planned) -> np.ndarray:
    """The tensor encoded. Raises `ExportError` for weights that are not numbers, or not any more."""
    if not torch.isfinite(source).all():
        raise ExportError(f"The weights of {tensor.name} are not numbers.",
                          "The training went astray: export an earlier checkpoint.")
    if tensor.type == GGMLQuantizationType.F16 and source.abs().max() > torch.finfo(torch.float16).max:
        raise ExportError(f"The weights of {tensor.name} are too large for f16.", "Export with --type bf16 or f32.")
    return encode(source, tensor.type)


def file_bytes(model: AtlasLM, type: str) -> int:
    """Bytes that the tensors take; the vocabulary adds one to three megabytes."""
    state = model.state_dict()
    total = 0
    for tensor in plan(model, type):
        block, block_bytes = gguf.GGML_QUANT_SIZES[tensor.type]
        total += tensor.of(state).numel() // block * block_bytes
    return total


def _check(model: AtlasLM, type: str) -> None:
    if type not in TYPES:
        raise ExportError(f"'{type}' is not a type of GGUF file that can be written.",
                          f"Choose one of {', '.join(TYPES)}.")
    activation = model.config.activation
    if activation != "gelu" and not model.config.is_llama:
        raise ExportError(f"llama.cpp's gpt2 architecture computes GELU, but this model was trained with {activation}: "
                          "as a GGUF file it would say something else.",
                          "Train with model.activation=gelu, or keep using the checkpoint here.")


def _places(source: str, c: Model) -> list[tuple[str, slice]]:
    """llama.cpp's name for a tensor of the state dict and its rows; several where it wants one of ours in parts.

    Its `gpt2` takes queries, keys and values joined as ours are, its `llama` wants three tensors. It rotates
    neighbouring values as we do, so no row changes its place. Raises `ExportError` for a tensor without a place.
    """
    if source in _OUTER:
        return [(_OUTER[source], slice(None))]
    head, _, rest = source.partition(".")
    layer, _, inner = rest.partition(".")
    module, _, kind = inner.rpartition(".")
    if head != "blocks" or module not in _IN_BLOCK or kind not in ("weight", "bias"):
        raise ExportError(f"llama.cpp's {c.family} architecture has no place for the tensor '{source}'.",
                          "The model has a shape that this version cannot export.")
    if module == "attention.qkv" and c.is_llama:
        q, kv = c.num_heads * c.head_size, c.kv_heads * c.head_size
        parts = {"q": slice(0, q), "k": slice(q, q + kv), "v": slice(q + kv, q + 2 * kv)}
        return [(f"blk.{layer}.attn_{part}.{kind}", rows) for part, rows in parts.items()]
    return [(f"blk.{layer}.{_IN_BLOCK[module]}.{kind}", slice(None))]


def _type_of(source: str, tensor: torch.Tensor, wanted: GGMLQuantizationType) -> GGMLQuantizationType:
    if tensor.dim() == 1 or source == "positions.weight":
        return GGMLQuantizationType.F32
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted if tensor.shape[-1] % block == 0 else GGMLQuantizationType.F16


def _add_shape(writer: gguf.GGUFWriter, model: AtlasLM, type: str) -> None:
    c = model.config
    writer.add_context_length(c.max_seq_len)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_layers)
    writer.add_feed_forward_length(memory.inner_size(c))
    writer.add_head_count(c.num_heads)
    if c.is_llama:
        writer.add_head_count_kv(c.kv_heads)
        writer.add_layer_norm_rms_eps(NORM_EPSILON)
        writer.add_rope_dimension_count(c.head_size)
        writer.add_rope_freq_base(ROPE_BASE)
    else:
        writer.add_layer_norm_eps(NORM_EPSILON)
    writer.add_vocab_size(c.vocab_size)
    writer.add_file_type(LlamaFileType[("ALL_" if type == "f32" else "MOSTLY_") + type.upper()])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_names(writer: gguf.GGUFWriter, config: Config, name: str) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name or config.name)
    writer.add_description(config.description or "Trained from scratch with Atlas Studio")


def _add_vocabulary(writer: gguf.GGUFWriter, tokenizer: AtlasTokenizer, words: vocabulary.Vocabulary,
                    *, add_bos: bool) -> None:
    writer.add_tokenizer_model("gpt2")  # byte-level BPE
    writer.add_tokenizer_pre("gpt-2")   # GPT-2's way of cutting text into words
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_bos_token_id(tokenizer.bos_id)
    writer.add_eos_token_id(tokenizer.eos_id)
    writer.add_pad_token_id(tokenizer.pad_id)
    writer.add_unk_token_id(tokenizer.unk_id)
    writer.add_add_bos_token(add_bos)
    writer.add_add_eos_token(False)


def _announce(writer: gguf.GGUFWriter, tensor: Planned, shape: tuple[int, ...]) -> None:
    """Enter a tensor into the file's table before any numbers are written."""
    block, block_bytes = gguf.GGML_QUANT_SIZES[tensor.type]
    size = int(np.prod(shape)) // block * block_bytes
    writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), size, raw_dtype=tensor.type)
