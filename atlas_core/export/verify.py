"""The proof of an exported GGUF file: reopened by the `gguf` package's reader and by a real llama.cpp.

It compares with the model, never with what the writer meant to do, and says in sentences what it compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, TokenType

from atlas_core import memory
from atlas_core.config import Config
from atlas_core.errors import ExportError
from atlas_core.events import Progress
from atlas_core.export import vocabulary
from atlas_core.export.gguf import encode, plan
from atlas_core.export.llama import TIMEOUT_SECONDS, LlamaUnavailable, greedy_steps
from atlas_core.format import count
from atlas_core.model.gpt import NORM_EPSILON, AtlasLM
from atlas_core.model.heads import ROPE_BASE
from atlas_core.text.tokenizer import AtlasTokenizer

LLAMA_TOKENS = 32  # length of the text that llama.cpp continues


def prove(path: Path, model: AtlasLM, tokenizer: AtlasTokenizer, config: Config,
          *, type: str) -> Generator[Progress, None, tuple[str, ...]]:
    """Reopen `path` and compare everything in it; returns what was checked, one sentence each.

    Raises `ExportError` at the first difference.
    """
    try:
        reader = GGUFReader(path)
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise _failed(f"it cannot be read back ({error})") from error
    tensors = yield from _compare_tensors(reader, model, type)
    settings = _compare_settings(reader, model, tokenizer, config)
    words = _compare_vocabulary(reader, model, tokenizer)
    return (f"reopened: {tensors}", settings, words)


def llama_check(path: Path, model: AtlasLM, tokenizer: AtlasTokenizer,
                *, timeout_seconds: float = TIMEOUT_SECONDS) -> Generator[Progress, None, str]:
    """Let a real llama.cpp write a greedy text from the file, and ask the model at each token for its choice.

    Returns a sentence in every case, also where no llama.cpp is installed. Raises `ExportError` if it refuses
    to open the file or disagrees on most tokens. Coarse types and near ties may cost some; the reader may judge.
    """
    start = [tokenizer.eos_id]
    wanted = min(LLAMA_TOKENS, model.config.max_seq_len - len(start))
    try:
        asking = greedy_steps(path, start, wanted, timeout_seconds=timeout_seconds)
        text = yield from _told(asking, Progress(0, 0, "", "Asking llama.cpp"))
    except LlamaUnavailable as reason:
        return f"not checked with llama.cpp: {reason}"
    agreed = sum(ours == theirs for ours, theirs in zip(_choices(model, start + text, tokenizer), text, strict=True))
    if agreed < len(text) / 2:  # near ties and coarse types cost single tokens, never most of them
        raise ExportError(
            f"The exported file failed its proof: llama.cpp agrees with this model on {agreed} of {len(text)} tokens.",
            "It was removed. Export it as f32: some models' numbers are too large or too fine for 16 bits. If that "
            "fails too, please report it.")
    return f"llama.cpp agrees on {agreed} of {len(text)} tokens"


def _told(asking: Generator[None, None, list[int]], progress: Progress) -> Generator[Progress, None, list[int]]:
    """`asking`, with `progress` told first and at each of its pauses; closed when this is closed."""
    yield progress
    with contextlib.closing(asking):
        while True:
            try:
                next(asking)
            except StopIteration as end:
                text: list[int] = end.value
                return text
            yield progress


@torch.inference_mode()
def _choices(model: AtlasLM, ids: list[int], tokenizer: AtlasTokenizer) -> list[int]:
    """The model's likeliest token after each id but the last, EOS left out as llama.cpp leaves it out."""
    was_training = model.training
    model.eval()
    logits = model(torch.tensor([ids[:-1]], device=model.device))[0]  # (T, V)
    model.train(was_training)
    logits[:, tokenizer.eos_id] = float("-inf")
    choices: list[int] = logits.argmax(-1).tolist()
    return choices


def _compare_tensors(reader: GGUFReader, model: AtlasLM, type: str) -> Generator[Progress, None, str]:
    found = {tensor.name: tensor for tensor in reader.tensors}
    planned, state = plan(model, type), model.state_dict()
    if found.keys() != {tensor.name for tensor in planned}:
        raise _failed("it does not hold the model's tensors")
    for done, wanted in enumerate(planned, 1):
        tensor, source = found[wanted.name], wanted.of(state)
        shape = tuple(reversed([int(size) for size in tensor.shape]))  # GGUF counts from the innermost
        if tensor.tensor_type != wanted.type or shape != tuple(source.shape) or not _equal(tensor, source):
            raise _failed(f"the tensor {wanted.name} is not the model's")
        yield Progress(done, len(planned), "tensors", "Verifying")
    return f"{len(planned)} tensors equal" + _as_f16(planned, type)


def _equal(tensor: gguf.ReaderTensor, source: torch.Tensor) -> bool:
    """Whether the file's numbers are the model's, rounded once to the file's type."""
    kind = tensor.tensor_type
    rounded = {GGMLQuantizationType.F32: torch.float32, GGMLQuantizationType.F16: torch.float16,
               GGMLQuantizationType.BF16: torch.bfloat16}.get(kind)
    if rounded is None:  # block types have no single right rounding: the bytes must be the quantiser's
        return np.array_equal(tensor.data, encode(source, kind))
    expected = source.detach().float().cpu().to(rounded).float().numpy()
    return np.array_equal(gguf.quants.dequantize(tensor.data, kind), expected)


def _as_f16(planned: Iterable[Any], type: str) -> str:
    """A remark on matrices that the wanted type could not hold."""
    if type == "f16":
        return ""
    others = sum(tensor.type == GGMLQuantizationType.F16 for tensor in planned)
    return f" ({others} of them in f16: {type} needs rows of whole blocks of 32)" if others else ""


def _compare_settings(reader: GGUFReader, model: AtlasLM, tokenizer: AtlasTokenizer, config: Config) -> str:
    c = model.config
    epsilon = float(np.float32(NORM_EPSILON))
    of_the_family = {
        "attention.head_count_kv": c.kv_heads,
        "attention.layer_norm_rms_epsilon": epsilon,
        "rope.dimension_count": c.head_size,
        "rope.freq_base": ROPE_BASE,
    } if c.is_llama else {"attention.layer_norm_epsilon": epsilon}
    shape = {
        "context_length": c.max_seq_len,
        "embedding_length": c.hidden_size,
        "block_count": c.num_layers,
        "feed_forward_length": memory.inner_size(c),
        "attention.head_count": c.num_heads,
        "vocab_size": c.vocab_size,
        **of_the_family,
    }
    wanted = {
        "general.architecture": c.family,
        **{f"{c.family}.{key}": value for key, value in shape.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.bos_token_id": tokenizer.bos_id,
        "tokenizer.ggml.eos_token_id": tokenizer.eos_id,
        "tokenizer.ggml.padding_token_id": tokenizer.pad_id,
        "tokenizer.ggml.unknown_token_id": tokenizer.unk_id,
        "tokenizer.ggml.add_bos_token": config.tokenizer.add_bos,
    }
    for key, value in wanted.items():
        if _read(reader, key) != value:
            raise _failed(f"{key} is {_read(reader, key)!r} instead of {value!r}")
    return f"{len(wanted)} settings equal"


def _compare_vocabulary(reader: GGUFReader, model: AtlasLM, tokenizer: AtlasTokenizer) -> str:
    """Every token's bytes against the tokenizer's, and every merge against the token it makes."""
    tokens, types = _read(reader, "tokenizer.ggml.tokens"), _read(reader, "tokenizer.ggml.token_type")
    ordinary = [vocabulary.spell(token) for token in tokenizer.vocabulary[: len(tokenizer.ranks)]]
    if len(tokens) != model.config.vocab_size or len(set(tokens)) != len(tokens) or tokens[: len(ordinary)] != ordinary:
        raise _failed("its vocabulary is not the tokenizer's")
    control = {token for token, kind in enumerate(types) if kind == TokenType.CONTROL}
    if control != tokenizer.special_ids or len(types) != len(tokens):
        raise _failed("its special tokens are not the tokenizer's")
    merges = _read(reader, "tokenizer.ggml.merges") or []
    made = [token for token, spelled in zip(tokenizer.vocabulary, ordinary, strict=False) if len(spelled) > 1]
    if [merge.replace(" ", "") for merge in merges] != [vocabulary.spell(token) for token in made]:
        raise _failed("its merges do not make its tokens")
    return f"{count(len(tokens))} tokens and {count(len(merges))} merges equal"


def _read(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _failed(reason: str) -> ExportError:
    return ExportError(f"The exported file failed its proof: {reason}.",
                       "It was removed. Export again; if that fails too, please report it.")
