"""Parameters and memory as arithmetic, before anything is built.

What is not here: time, and any measurement. The tests hold these sums against the real network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from atlas_core.config import Config, Model

GIB = 2**30
RUNTIME_BYTES = {"cpu": 256 * 2**20, "cuda": 700 * 2**20, "mps": 500 * 2**20}  # measured for the processor alone
BETWEEN_TENSORS = 1 / 8  # of memory that the C library's allocator loses between its blocks, about: measured
LOGITS_BYTES = 2**27  # of the output layer's results, as many as exist at once
COMPILER_BYTES = 80 * 2**20  # of torch's compiler, which checkpointing and bitsandbytes load too: measured
EIGHT_BIT_BYTES = 60 * 2**20  # of bitsandbytes beside that: measured
KERNEL_BYTES = {"fp32": 670_000, "bf16": 1_390_000}  # oneDNN's scratch for a product, at most: measured, one processor
KERNEL_TOKEN_BYTES = {"fp32": 1060, "bf16": 680}     # of it for each token, up to that limit
SUM_PIECE = 2**18  # numbers of a gradient that `model/summing.py` widens at once: cached, and work for all threads
GELU_PIECE = 2**18  # numbers that `model/gelu.py` takes at once on a processor
PIECE = 2**20  # numbers that `training/lowmem.py` widens at once


@dataclass(frozen=True)
class Memory:
    """Peak memory of a training step, item by item, in bytes."""

    items: dict[str, int]

    @property
    def total_bytes(self) -> int:
        return sum(self.items.values())


def count_parameters(model: Model) -> int:
    """Trainable numbers of the whole network; a tied output matrix counts once."""
    H, V = model.hidden_size, model.vocab_size
    matrices = V * H if model.tie_weights else 2 * V * H
    last_norm = H if model.is_llama else 2 * H
    return matrices + position_parameters(model) + model.num_layers * block_parameters(model) + last_norm


def position_parameters(model: Model) -> int:
    """Learned positions; `llama` computes its own."""
    return 0 if model.is_llama else model.max_seq_len * model.hidden_size


def block_parameters(model: Model) -> int:
    """One block: two norms, the joined query-key-value projection, its output, and the MLP.

    In `gpt2` everything has a bias; in `llama` nothing has, and the MLP has a third matrix, its gate.
    """
    H, M = model.hidden_size, inner_size(model)
    qkv = qkv_size(model)
    if model.is_llama:
        return 2 * H + H * qkv + H * H + 3 * H * M
    norms = 2 * 2 * H
    attention = (H * qkv + qkv) + (H * H + H)
    mlp = (H * M + M) + (M * H + H)
    return norms + attention + mlp


def qkv_size(model: Model) -> int:
    """Width of queries, keys and values together."""
    return (model.num_heads + 2 * model.kv_heads) * model.head_size


def inner_size(model: Model) -> int:
    """Width of the MLP's hidden layer.

    `llama` takes two thirds, so that its three matrices hold as much as two of `gpt2`, rounded up to a multiple
    of 32: rows of whole blocks for the quantised types of GGUF.
    """
    if model.is_llama:
        return 32 * math.ceil(model.hidden_size * model.mlp_ratio * 2 / 96)
    return int(model.hidden_size * model.mlp_ratio)


def estimate(config: Config, *, device: str = "cpu", precision: str = "fp32") -> Memory:
    """Peak memory of training `config`: what stays from step to step, and the moment of a step that takes most."""
    step = _Step(config, device, precision)
    activations, scratch = max(step.moments(), key=sum)
    items = {
        "weights": step.weights,
        "gradients": step.gradients,
        "optimizer": step.optimizer,
        "activations": activations,
        "head": step.head,
        "scratch": scratch,
    }
    runtime = RUNTIME_BYTES[device]
    if device == "cpu":
        t = config.training
        runtime += int(sum(items.values()) * BETWEEN_TENSORS)
        eight_bits = t.optimizer_type == "adamw8bit"
        runtime += EIGHT_BIT_BYTES if eight_bits else 0
        runtime += COMPILER_BYTES if eight_bits or t.gradient_checkpointing or config.hardware.compile else 0
    return Memory({**items, "runtime": runtime})


class _Step:
    """The sums behind `estimate`, in bytes. What the network keeps is counted for one token in one block.

    Each sum names the tensors that PyTorch holds; the tests and the benchmark hold it against the allocator. Scalars,
    norms and biases of their own are too few to matter.
    """

    def __init__(self, config: Config, device: str, precision: str) -> None:
        self.model, self.training, self.device, self.precision = config.model, config.training, device, precision
        self.n = count_parameters(self.model)
        self.H, self.M, self.V = self.model.hidden_size, inner_size(self.model), self.model.vocab_size
        self.largest = max(self.V, self.M, qkv_size(self.model)) * self.H
        self.masters = self.training.master_weights or precision == "fp32"
        self.kv = self.model.kv_heads * self.model.head_size
        self.tokens = self.training.batch_size * self.model.max_seq_len
        self.work = 4 if precision == "fp32" else 2             # bytes of a number in products
        self.stream = self.H * (2 if precision == "bf16" else 4)  # autocast's fp16 adds to a stream in fp32
        self.mask = 0 if not self.model.dropout else self.H * (1 if device == "cuda" else self.work)
        self.threads = config.hardware.threads
        self.attends = self._way_of_attention(config.hardware.attention)

    def _way_of_attention(self, wished: str) -> str:
        """ "kernel", "blocks" (see `model/attention.py`) or "matrices": elementary steps, with weights in fp32."""
        if self.model.attention_dropout and self.device != "cuda":  # only there the kernel can drop
            return "matrices"
        if wished == "auto":
            return "blocks" if (self.device, self.precision) == ("cpu", "bf16") else "kernel"
        return wished

    # ---- what stays from step to step ---------------------------------------------------------------

    @property
    def weights(self) -> int:
        """fp32 masters, and below fp32 the half-size copies that products use: kept for bf16, autocast's for fp16."""
        copies = 2 * self.n if self.precision != "fp32" else 0
        return copies + (4 * self.n if self.masters else 0)

    @property
    def gradients(self) -> int:
        return (4 if self.masters else 2) * self.n

    @property
    def optimizer(self) -> int:
        """Its moments, and scratch.

        Without masters a piece of the weights and of the gradients is widened at a time, and rounded with noise.
        """
        widened = 0 if self.masters else 12 * min(PIECE, self.largest)
        return _moments(self.model, self.training.optimizer_type) + widened

    @property
    def head(self) -> int:
        """The loss's kept buffers: a slice of logits and its gradient in the output matrix; see `model/loss.py`."""
        logits, matrix = self._head_rows * self.V, self.V * self.H
        if self.precision == "fp16":  # its softmax runs in fp32, and autograd holds a gradient of its own
            return (2 + 4) * logits + (2 + 4) * matrix
        adds_in_place = self.precision == "fp32" or not self.masters  # the product has the gradient's type
        return self.work * (logits + (0 if adds_in_place else matrix))

    @property
    def _head_rows(self) -> int:
        return head_rows(self.tokens, self.V, self.work)

    # ---- the moments of a step ------------------------------------------------------------------------

    def moments(self) -> Iterator[tuple[int, int]]:
        """What is kept for the backward pass, and what is on the way there, at each moment that may be the peak.

        With checkpointing a block keeps its input alone, until its turn comes to be computed once more.
        """
        layers, checkpointing = self.model.num_layers, self.training.gradient_checkpointing
        turns = self.model.max_seq_len * self.model.head_size * 4 if self.model.is_llama else 0
        inputs = self.tokens * (layers * self.stream + self.mask) + turns  # the embedding is dropped from, too
        block = self.tokens * (self._block - self.stream)                  # beside its input
        forward = inputs if checkpointing else inputs + layers * block
        backward = inputs + block if checkpointing else forward
        yield forward, self._scratch_of_head
        backward -= self.tokens * self.mask  # each part of a block is let go once the gradient is past it
        yield backward, self._scratch_of_mlp
        yield backward - self.tokens * self._mlp, self._scratch_of_attention
        yield 0, self._scratch_of_optimizer

    @property
    def _block(self) -> int:
        """Kept of one token by one block."""
        norms = 2 * (self.stream + self.H * self.work)  # what comes in, and what goes out to the products
        return norms + self._attention + self._mlp + 2 * self.mask

    @property
    def _attention(self) -> int:
        """Queries, keys, values and the result; the kernel's logarithm of each sum, or the weights themselves."""
        T, heads = self.model.max_seq_len, self.model.num_heads
        if self.attends == "blocks":  # copies of all four; of a single window views, which keep all they were cut from
            block = query_block(T, self.work)
            ends = [min(start + block, T) for start in range(0, T, block)]
            pairs = sum((end - start) * end for start, end in zip([0, *ends], ends, strict=False))
            numbers = 4 * self.H
            if self.training.batch_size == 1 and self.kv == self.H and self.model.is_llama:  # before and after turning
                numbers += 2 * self.H
            return self.work * (numbers + heads * pairs // T)
        if self.attends == "matrices":  # after softmax, the mask, and after that
            return 4 * (3 * self.H + 3 * heads * T) + self.work * self.H
        numbers = self.H + qkv_size(self.model)
        if self.kv < self.H:     # keys and values once for each head, beside the turned ones; the joint output goes
            numbers = self.H + (self.H + self.kv) + 2 * self.H
        elif self.model.is_llama:  # the turned queries and keys, beside the joint output that the values lie in
            numbers += 2 * self.H
        return self.work * numbers + 4 * heads

    @property
    def _mlp(self) -> int:
        """What goes into the non-linearity, of which SwiGLU has two inputs, and what comes out; see `model/lean.py`."""
        return (3 if self.model.is_llama else 2) * self.M * self.work

    @property
    def _scratch_of_head(self) -> int:
        """The stream, its norm and their gradient, and a slice of that."""
        tokens = 2 * self.tokens + self._head_rows
        own = max(self._kernel(self.V), self._widened(self.V))
        return self.tokens * self.stream + tokens * self.H * self.work + own

    @property
    def _scratch_of_mlp(self) -> int:
        """The gradients of the stream and of what goes into the non-linearity, and of SwiGLU a third such tensor.

        A matrix has a gradient beside the sum of all where that is wider.
        """
        inner = self.M * self.work
        matrix = self.H * self.M * {"fp32": 0, "bf16": 2 if self.masters else 0, "fp16": 6}[self.precision]
        dropped = self.H * self.work if self.mask else 0  # the gradient before it went through the mask
        token = self.stream + (3 if self.model.is_llama else 1) * inner + dropped
        return self.tokens * token + max(matrix + max(self._kernel(self.H), self._widened(self.M)),
                                          self._pieces_of_gelu)

    def _widened(self, rows: int) -> int:
        """What a piece of a matrix's gradient takes as it is added to a wider sum; see `model/summing.py`."""
        wider = self.device == "cpu" and self.precision == "bf16" and self.masters
        return 4 * min(SUM_PIECE, rows * self.H) if wider else 0

    @property
    def _pieces_of_gelu(self) -> int:
        """What a piece of the non-linearity takes in fp32 on the processor; see `model/gelu.py`."""
        if self.device != "cpu" or self.precision == "bf16" or self.model.is_llama or self.model.activation != "gelu":
            return 0
        return (2 if self.precision == "fp32" else 4) * 4 * min(GELU_PIECE, self.tokens * self.M)

    def _kernel(self, width: int) -> int:
        """What the processor's product takes for itself on each thread: less for few tokens or a narrow result."""
        if self.device != "cpu" or self.precision == "fp16":  # which no processor trains in
            return 0
        whole = min(KERNEL_BYTES[self.precision], KERNEL_TOKEN_BYTES[self.precision] * self.tokens)
        return int(max(1, self.threads) * whole * min(1, width / 256) ** 1.5)

    @property
    def _scratch_of_attention(self) -> int:
        """Gradients of the stream, of the result (twice), of queries, keys and values; of the weights as they come."""
        T, heads = self.model.max_seq_len, self.model.num_heads
        block = min(query_block(T, self.work), T)
        weights = {"kernel": 0, "blocks": 2 * self.work * block, "matrices": 4 * T}[self.attends]
        return self.tokens * (self.stream + 5 * self.H * self.work + heads * weights)

    @property
    def _scratch_of_optimizer(self) -> int:
        """Muon works on one matrix at a time, and within that on one of those it is joined from. On the processor 8-bit
        moments are unpacked piece by piece, and lengths of bf16 gradients are taken of wider copies."""
        if self.training.optimizer_type == "muon":
            joined, largest = max((self.M, self.M), (qkv_size(self.model), self.H), key=sum)
            square = min(self.H, largest) ** 2
            if self.precision == "bf16":  # in which a copy is multiplied
                return 4 * self.H * joined + 2 * (4 * square + 2 * self.H * largest)
            return 4 * (self.H * joined + 4 * square + self.H * largest)
        if self.device != "cpu":
            return 0
        unpacked = 20 * min(PIECE, self.largest) if self.training.optimizer_type == "adamw8bit" else 0
        return max(unpacked, 0 if self.masters else 4 * self.largest)


def query_block(context: int, width: int) -> int:
    """How many queries attention in blocks takes at a time, with numbers `width` bytes wide: what was the fastest."""
    return 64 if context <= 256 and width == 4 else 128


def head_rows(tokens: int, vocab_size: int, width: int) -> int:
    """How many tokens the loss takes at a time, with logits `width` bytes wide: as even slices as there need be."""
    slices = math.ceil(tokens * vocab_size * width / LOGITS_BYTES)
    return math.ceil(tokens / slices)


def verdict(total_bytes: int, available_bytes: int) -> str:
    """ "fits", "tight" (less than a sixth left over) or "too big"."""
    if total_bytes > available_bytes:
        return "too big"
    return "fits" if total_bytes <= available_bytes * 5 / 6 else "tight"


def checkpoint_bytes(config: Config) -> int:
    """One checkpoint on disk: the weights that the optimizer moves, and its moments."""
    width = 4 if config.training.master_weights else 2
    return width * count_parameters(config.model) + _moments(config.model, config.training.optimizer_type)


def _moments(model: Model, optimizer: str) -> int:
    """What the optimizer remembers: AdamW two moments, of 4 bytes or of 1 and a scale for every 256; Muon one."""
    n = count_parameters(model)
    if optimizer == "adamw8bit":
        return 2 * n + 8 * n // 256
    muons = model.num_layers * block_parameters(model) if optimizer == "muon" else 0
    return 8 * (n - muons) + 4 * muons


def disk_bytes(config: Config) -> int:
    """All the checkpoints a run may hold at once, the one being written included."""
    kept = config.checkpointing.keep_checkpoints + config.checkpointing.keep_epochs + 1
    return (kept + 1) * checkpoint_bytes(config)
