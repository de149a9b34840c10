"""The network against transformers' GPT-2 and Llama, against slow references, and against its own promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from atlas_core import config, memory, presets
from atlas_core.model import heads
from atlas_core.model.gpt import EMBEDDING_STD, INIT_STD, AtlasLM
from atlas_core.model.heads import rotate, rotations, split_heads
from atlas_core.model.lean import ACTIVATIONS
from atlas_core.model.loss import linear_cross_entropy
from tests.core.tiny_model import SHAPES, lively_model, random_tokens


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings that make each kind of network."""
    return SHAPES[request.param]


# ---- someone else's GPT-2 and Llama ---------------------------------------------------------------


def as_transformers(model: AtlasLM) -> Any:
    theirs = _as_llama(model) if model.config.is_llama else _as_gpt2(model)
    return theirs.eval()


def _as_llama(model: AtlasLM) -> Any:
    """The same weights in Hugging Face's Llama; of a head it pairs value i with i + D / 2, we pair neighbours."""
    from transformers import LlamaConfig, LlamaForCausalLM

    c = model.config
    theirs = LlamaForCausalLM(LlamaConfig(
        vocab_size=c.vocab_size, max_position_embeddings=c.max_seq_len, hidden_size=c.hidden_size,
        num_hidden_layers=c.num_layers, num_attention_heads=c.num_heads, num_key_value_heads=c.kv_heads,
        intermediate_size=memory.inner_size(c), rms_norm_eps=1e-5, tie_word_embeddings=c.tie_weights,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}))
    names = {"tokens": "embed_tokens", "blocks": "layers", "attention_norm": "input_layernorm",
             "mlp_norm": "post_attention_layernorm", "attention": "self_attn", "output": "o_proj", "gate": "gate_proj",
             "up": "up_proj", "down": "down_proj"}
    state = {}
    for name, tensor in model.state_dict().items():
        renamed = "model." + ".".join(names.get(part, part) for part in name.split("."))
        if name == "head.weight":
            state["lm_head.weight"] = tensor
        elif name.endswith("qkv.weight"):
            sizes = [heads * c.head_size for heads in (c.num_heads, c.kv_heads, c.kv_heads)]
            q, k, v = tensor.split(sizes)
            for kind, part in (("q", _halved(q, c.head_size)), ("k", _halved(k, c.head_size)), ("v", v)):
                state[renamed.replace("qkv", f"{kind}_proj")] = part
        else:
            state[renamed] = tensor
    theirs.load_state_dict(state)
    return theirs


def _halved(weight: Tensor, head_size: int) -> Tensor:
    """The rows of each head with the first of every pair before the second of every pair."""
    return weight.unflatten(0, (-1, head_size // 2, 2)).transpose(1, 2).flatten(0, 2)


def _as_gpt2(model: AtlasLM) -> Any:
    """The same weights in Hugging Face's GPT-2, whose projections are stored transposed."""
    from transformers import GPT2Config, GPT2LMHeadModel

    c = model.config
    theirs = GPT2LMHeadModel(GPT2Config(
        vocab_size=c.vocab_size, n_positions=c.max_seq_len, n_embd=c.hidden_size, n_layer=c.num_layers,
        n_head=c.num_heads, n_inner=memory.inner_size(c), activation_function="gelu_new", resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, tie_word_embeddings=c.tie_weights, bos_token_id=0, eos_token_id=0))
    names = {"tokens": "wte", "positions": "wpe", "blocks": "h", "attention_norm": "ln_1", "mlp_norm": "ln_2",
             "attention": "attn", "qkv": "c_attn", "output": "c_proj", "up": "c_fc", "down": "c_proj", "norm": "ln_f"}
    state = {}
    for name, tensor in model.state_dict().items():
        projection = name.endswith(("qkv.weight", "output.weight", "up.weight", "down.weight"))
        renamed = ".".join(names.get(part, part) for part in name.split("."))
        theirs_name = "lm_head.weight" if name == "head.weight" else f"transformer.{renamed}"
        state[theirs_name] = tensor.T if projection else tensor
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_transformers(shape: dict[str, Any], tied: bool) -> None:
    model = lively_model(tie_weights=tied, **shape)
    tokens = random_tokens(model, 3, 32)
    with torch.inference_mode():
        ours, theirs = model(tokens), as_transformers(model)(tokens).logits
    assert ours.std() > 1, "the comparison needs logits that differ"
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


# ---- slow references ------------------------------------------------------------------------------


def slow_gpt2(model: AtlasLM, tokens: list[int]) -> list[Tensor]:
    """GPT-2 in fp64, one query and one head at a time, straight from the formulas."""
    w = {name: tensor.double() for name, tensor in model.state_dict().items()}
    c = model.config
    D = c.hidden_size // c.num_heads

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean()
        return centred / torch.sqrt((centred**2).mean() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    stream = [w["tokens.weight"][token] + w["positions.weight"][place] for place, token in enumerate(tokens)]
    for layer in range(c.num_layers):
        block = f"blocks.{layer}"
        qkv = [linear(norm(x, f"{block}.attention_norm"), f"{block}.attention.qkv") for x in stream]
        for place in range(len(stream)):
            heads = []
            for head in range(c.num_heads):
                q, k, v = (slice(part * c.hidden_size + head * D, part * c.hidden_size + (head + 1) * D)
                           for part in range(3))
                scores = torch.stack([qkv[place][q] @ qkv[past][k] / math.sqrt(D) for past in range(place + 1)])
                heads.append(sum(share * qkv[past][v] for past, share in enumerate(scores.softmax(0))))
            stream[place] = stream[place] + linear(torch.cat(heads), f"{block}.attention.output")
        for place, x in enumerate(stream):
            wide = linear(norm(x, f"{block}.mlp_norm"), f"{block}.mlp.up")
            bent = 0.5 * wide * (1 + torch.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
            stream[place] = x + linear(bent, f"{block}.mlp.down")
    return [w["head.weight"] @ norm(x, "norm") for x in stream]


def slow_llama(model: AtlasLM, tokens: list[int]) -> list[Tensor]:
    """Llama in fp64, one query and one head at a time, straight from the formulas."""
    w = {name: tensor.double() for name, tensor in model.state_dict().items()}
    c = model.config
    D, group = c.head_size, c.num_heads // c.kv_heads
    at = {"q": 0, "k": c.num_heads, "v": c.num_heads + c.kv_heads}  # where each kind's heads begin

    def norm(x: Tensor, name: str) -> Tensor:
        return x / torch.sqrt((x**2).mean() + 1e-5) * w[f"{name}.weight"]

    def turned(pairs: Tensor, place: int) -> Tensor:
        out = torch.empty_like(pairs)
        for i in range(0, D, 2):
            angle = place * 10000.0 ** (-i / D)
            out[i] = pairs[i] * math.cos(angle) - pairs[i + 1] * math.sin(angle)
            out[i + 1] = pairs[i] * math.sin(angle) + pairs[i + 1] * math.cos(angle)
        return out

    stream = [w["tokens.weight"][token] for token in tokens]
    for layer in range(c.num_layers):
        block = f"blocks.{layer}"
        qkv = [w[f"{block}.attention.qkv.weight"] @ norm(x, f"{block}.attention_norm") for x in stream]

        def head(kind: str, number: int, place: int, qkv: list[Tensor] = qkv) -> Tensor:
            values = qkv[place][(at[kind] + number) * D : (at[kind] + number + 1) * D]
            return values if kind == "v" else turned(values, place)

        for place in range(len(stream)):
            heads = []
            for h in range(c.num_heads):
                scores = torch.stack([head("q", h, place) @ head("k", h // group, past) / math.sqrt(D)
                                      for past in range(place + 1)])
                heads.append(sum(share * head("v", h // group, past) for past, share in enumerate(scores.softmax(0))))
            stream[place] = stream[place] + w[f"{block}.attention.output.weight"] @ torch.cat(heads)
        for place, x in enumerate(stream):
            normed = norm(x, f"{block}.mlp_norm")
            gate, wide = w[f"{block}.mlp.gate.weight"] @ normed, w[f"{block}.mlp.up.weight"] @ normed
            stream[place] = x + w[f"{block}.mlp.down.weight"] @ (gate / (1 + torch.exp(-gate)) * wide)
    return [w["head.weight"] @ norm(x, "norm") for x in stream]


def test_logits_are_those_of_the_formulas_in_double_precision(shape: dict[str, Any]) -> None:
    model = lively_model(**shape)
    tokens = random_tokens(model, 9)
    slow = slow_llama if model.config.is_llama else slow_gpt2
    with torch.inference_mode():
        fast, formulas = model.double()(tokens[None])[0], torch.stack(slow(model, tokens.tolist()))
    # Angles are fp32 in every precision: they round sines by 1e-7 a unit of position.
    torch.testing.assert_close(fast, formulas, atol=1e-4 if model.config.is_llama else 1e-10, rtol=0)


def test_activations_are_what_they_are_called() -> None:
    x = torch.linspace(-4, 4, 33)[None]
    assert torch.equal(ACTIVATIONS["relu"].forward(x), x.clamp(min=0))
    torch.testing.assert_close(ACTIVATIONS["silu"].forward(x), x / (1 + torch.exp(-x)))
    tanh_form = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    torch.testing.assert_close(ACTIVATIONS["gelu"].forward(x), tanh_form)


def test_rotated_products_depend_on_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(1))
    near, far = (float((rotate(q, rotations(torch.tensor([a]), 8)) * rotate(k, rotations(torch.tensor([b]), 8))).sum())
                 for a, b in ((9, 4), (505, 500)))
    assert near == pytest.approx(far, abs=1e-4)
    assert near != pytest.approx(float((q * k).sum()), abs=1e-2)


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_heads_are_split_as_pytorch_would(turned: bool, dtype: torch.dtype, kv_heads: int) -> None:
    chance = torch.Generator().manual_seed(1)
    joint = torch.randn(2, 5, 4 + 2 * kv_heads, 8, generator=chance).to(dtype).requires_grad_()
    rotation = rotations(torch.arange(5), 8) if turned else None
    lean, plain = (split(joint, rotation, 4, kv_heads) for split in (split_heads, heads._split))
    gradients = [torch.randn(5, 2, part.shape[1], 8, generator=chance).to(dtype).transpose(0, 2).transpose(0, 1)
                 for part in plain]
    assert all(map(torch.equal, lean, plain))
    found, expected = (torch.autograd.grad(parts, joint, gradients)[0] for parts in (lean, plain))
    torch.testing.assert_close(found, expected)


def test_rotation_keeps_the_type_and_rounds_once() -> None:
    x = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(1)).bfloat16()
    rotation = rotations(torch.arange(5), 8)
    assert torch.equal(rotate(x, rotation), rotate(x.float(), rotation).bfloat16())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_model_of_half_precision_computes_nearly_the_same(family: str) -> None:
    model = lively_model(family=family)
    tokens = random_tokens(model, 2, 32)
    with torch.inference_mode():
        whole = model(tokens)
        half = model.bfloat16()(tokens)
    assert half.dtype == torch.bfloat16
    assert (half.float() - whole).norm() < 0.05 * whole.norm()


# ---- cache and mask -------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [[1] * 20, [13, 1, 1, 5], [20], [1, 19]])
def test_reading_in_pieces_through_the_cache_changes_nothing(shape: dict[str, Any], pieces: list[int]) -> None:
    model = lively_model(**shape)
    tokens = random_tokens(model, 2, 20)
    cache = model.new_cache(2)
    with torch.inference_mode():
        whole = model(tokens)
        parts = torch.cat([model(piece, cache=cache) for piece in tokens.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=0)
    assert cache.length == 20


def test_a_cleared_cache_forgets() -> None:
    model = lively_model()
    tokens = random_tokens(model, 1, 10)
    cache = model.new_cache()
    with torch.inference_mode():
        model(random_tokens(model, 1, 25, seed=2), cache=cache)
        cache.clear()
        torch.testing.assert_close(model(tokens, cache=cache), model(tokens), atol=1e-4, rtol=0)


def test_more_tokens_than_the_context_are_refused() -> None:
    model, cache = lively_model(), lively_model().new_cache()
    with pytest.raises(ValueError, match="33 tokens exceed the context of 32"):
        model(random_tokens(model, 1, 33))
    with torch.inference_mode():
        model(random_tokens(model, 1, 32), cache=cache)
        with pytest.raises(ValueError, match="33 tokens exceed the context of 32"):
            model(random_tokens(model, 1, 1), cache=cache)


def test_no_token_sees_the_future(shape: dict[str, Any]) -> None:
    model = lively_model(**shape)
    tokens = random_tokens(model, 1, 16)
    changed = tokens.clone()
    changed[0, 10:] = (changed[0, 10:] + 1) % model.config.vocab_size
    with torch.inference_mode():
        before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.equal(before[:, 10:], after[:, 10:])


def test_a_mask_narrows_causality_and_never_widens_it() -> None:
    model = lively_model()
    tokens = random_tokens(model, 1, 12)
    everything = torch.ones(12, 12, dtype=torch.bool)
    without_first_three = everything.clone()
    without_first_three[3:, :3] = False
    other_start = tokens.clone()
    other_start[0, :3] = (other_start[0, :3] + 7) % model.config.vocab_size
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens, mask=everything), model(tokens), atol=1e-4, rtol=0)
        narrowed = model(tokens, mask=without_first_three)
        assert torch.equal(narrowed[:, 3:], model(other_start, mask=without_first_three)[:, 3:])
        assert not torch.allclose(narrowed[:, 3:], model(tokens)[:, 3:], atol=1e-2)


def test_positions_may_be_given(shape: dict[str, Any]) -> None:
    model = lively_model(**shape)
    tokens, places = random_tokens(model, 1, 8), torch.arange(8)[None]
    with torch.inference_mode():
        assert torch.equal(model(tokens, positions=places), model(tokens))
        assert not torch.allclose(model(tokens, positions=2 * places), model(tokens), atol=1e-2)


def test_only_distances_count_in_llama() -> None:
    model = lively_model(family="llama")
    tokens, places = random_tokens(model, 1, 8), torch.arange(8)[None]
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens, positions=places + 5), model(tokens), atol=1e-4, rtol=0)


# ---- training -------------------------------------------------------------------------------------


def loss_and_gradients(model: AtlasLM, tokens: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(3)  # the same dropout each time
    model.zero_grad()
    loss = model.loss(tokens, targets)
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_changes_neither_loss_nor_gradients(shape: dict[str, Any]) -> None:
    model = lively_model(dropout=0.1, attention_dropout=0.1, **shape).train()
    tokens, targets = random_tokens(model, 2, 16), random_tokens(model, 2, 16, seed=2)
    loss, gradients = loss_and_gradients(model, tokens, targets)
    model.gradient_checkpointing = True
    again, others = loss_and_gradients(model, tokens, targets)
    assert torch.equal(loss, again)
    assert gradients.keys() == others.keys() == dict(model.named_parameters()).keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, msg=name)


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_compiled_blocks_serve_training_and_not_the_checkpoint() -> None:
    """With torch's own debugging backend, which traces the network but needs no compiler."""
    model = lively_model()
    tokens, targets = random_tokens(model, 2, 16), random_tokens(model, 2, 16, seed=2)
    plain, names = model.loss(tokens, targets), set(model.state_dict())
    text = model(tokens)
    model.compile_training("eager")
    assert torch.equal(model.eval()(tokens), text)
    torch.testing.assert_close(model.train().loss(tokens, targets), plain)
    assert set(model.state_dict()) == names


@pytest.mark.filterwarnings("ignore")
def test_compiled_blocks_in_bf16_leave_products_to_the_compiler() -> None:
    """It takes oneDNN's own, with a bias, for weights that never change, and fails."""
    model = lively_model().bfloat16()
    tokens, targets = random_tokens(model, 2, 16), random_tokens(model, 2, 16, seed=2)
    compiled: set[str] = set()

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs = [part for part in graph.modules() if isinstance(part, torch.fx.GraphModule)]
        compiled.update(str(node.target) for part in graphs for node in part.graph.nodes)
        return graph.forward

    model.compile_training(backend)
    model.train().loss(tokens, targets).backward()
    assert any("linear" in name for name in compiled)
    assert not any("_linear_pointwise" in name for name in compiled)


def test_dropout_acts_in_training_only() -> None:
    model = lively_model(dropout=0.2)
    tokens = random_tokens(model, 1, 16)
    with torch.no_grad():
        assert torch.equal(model(tokens), model(tokens))
        model.train()
        assert not torch.equal(model(tokens), model(tokens))


def plain_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy((hidden @ weight.T).float(), targets)


def loss_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """37 rows, so that slices of 8 leave a rest."""
    noise = torch.Generator().manual_seed(5)
    hidden, weight = torch.randn(37, 16, generator=noise), torch.randn(50, 16, generator=noise)
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(50, (37,), generator=noise)


def test_loss_and_its_gradients_are_those_of_cross_entropy() -> None:
    hidden, weight, targets = loss_inputs()
    expected = plain_loss(hidden, weight, targets)
    wanted = torch.autograd.grad(expected * 3, (hidden, weight))
    loss = linear_cross_entropy(hidden, weight, targets, rows=8)
    found = torch.autograd.grad(loss * 3, (hidden, weight))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("type", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 4e-3)])
def test_loss_under_autocast_stays_close(type: torch.dtype, tolerance: float) -> None:
    hidden, weight, targets = loss_inputs()
    expected = plain_loss(hidden, weight, targets)
    wanted = torch.autograd.grad(expected, (hidden, weight))
    with torch.autocast("cpu", dtype=type):
        loss = linear_cross_entropy(hidden, weight, targets, rows=8)
    found = torch.autograd.grad(loss, (hidden, weight))
    assert loss.dtype == torch.float32
    assert abs(loss.item() - expected.item()) < tolerance
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).norm() < tolerance * theirs.norm()


def test_fp16_gradients_do_not_vanish_in_a_long_batch() -> None:
    """The gradients are computed before a gradient scaler could lift them out of fp16's underflow."""
    noise = torch.Generator().manual_seed(6)
    hidden = torch.randn(16384, 4, generator=noise).requires_grad_()
    weight = (0.02 * torch.randn(4000, 4, generator=noise) + 0.02).requires_grad_()
    targets = torch.randint(4000, (16384,), generator=noise)
    wanted = torch.autograd.grad(plain_loss(hidden, weight, targets), (hidden, weight))
    with torch.autocast("cpu", dtype=torch.float16):
        loss = linear_cross_entropy(hidden, weight, targets)
    for ours, theirs in zip(torch.autograd.grad(loss, (hidden, weight)), wanted, strict=True):
        assert (ours - theirs).norm() < 1e-2 * theirs.norm()


class LargestTensor(TorchDispatchMode):
    """Watches every operation and remembers the most numbers one of its results held."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_loss_never_holds_all_logits() -> None:
    hidden, weight, targets = loss_inputs()
    with LargestTensor() as largest:
        linear_cross_entropy(hidden, weight, targets, rows=4).backward()
    assert largest.numbers == max(4 * 50, weight.numel())


def test_loss_of_the_model_is_the_cross_entropy_of_its_logits(shape: dict[str, Any]) -> None:
    model = lively_model(**shape)
    tokens, targets = random_tokens(model, 2, 16), random_tokens(model, 2, 16, seed=2)
    expected = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    found = torch.autograd.grad(model.loss(tokens, targets), list(model.parameters()))
    torch.testing.assert_close(model.loss(tokens, targets), expected)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


# ---- size and beginning ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("name", list(presets.all_presets()))
def test_counted_parameters_are_the_networks(name: str, family: str) -> None:
    c = presets.find(name).config.replace({"model.family": family}).model
    with torch.device("meta"):
        model = AtlasLM(c)
    assert model.count_parameters() == memory.count_parameters(c)


def test_an_untied_head_counts() -> None:
    c = config.Model(vocab_size=100, hidden_size=16, num_heads=2, num_layers=1, mlp_ratio=2.5, tie_weights=False)
    assert AtlasLM(c).count_parameters() == memory.count_parameters(c)
    assert memory.count_parameters(c) - memory.count_parameters(config.Model(
        vocab_size=100, hidden_size=16, num_heads=2, num_layers=1, mlp_ratio=2.5)) == 100 * 16


@pytest.mark.parametrize("tied", [True, False])
def test_weights_begin_as_gpt2s_do_but_a_wider_embedding_that_only_reads(shape: dict[str, Any], tied: bool) -> None:
    torch.manual_seed(0)
    layers = 3
    model = AtlasLM(config.Model(vocab_size=500, hidden_size=96, num_layers=layers, num_heads=4, tie_weights=tied,
                                 **shape))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight")))), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        else:
            additive = name.endswith(("attention.output.weight", "mlp.down.weight"))
            std = INIT_STD / math.sqrt(2 * layers) if additive else INIT_STD
            if name == "tokens.weight" and model.config.is_llama and not tied:
                std = EMBEDDING_STD
            assert abs(parameter.std().item() / std - 1) < 0.05, name
            assert abs(parameter.mean().item()) < std / 20, name
    assert (model.head.weight is model.tokens.weight) == tied


def test_a_fresh_model_finds_all_tokens_about_equally_likely() -> None:
    torch.manual_seed(0)
    model = AtlasLM(config.Model(vocab_size=1000, hidden_size=64, num_layers=2, num_heads=4, max_seq_len=32)).eval()
    loss = model.loss(random_tokens(model, 4, 32), random_tokens(model, 4, 32, seed=2))
    assert abs(loss.item() - math.log(1000)) < 0.1
