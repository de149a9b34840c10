"""The stream of generated text: what a row says alone and in company, when it ends, and what it leaves behind."""

from __future__ import annotations

import pytest
import torch

from atlas_core.config import Sampling
from atlas_core.errors import NumericsError
from atlas_core.events import Generated, TextPiece
from atlas_core.generation import generator
from atlas_core.model.gpt import AtlasLM
from atlas_core.text.tokenizer import AtlasTokenizer, gpt2
from tests.core.tiny_model import SHAPES, TEXT, lively_model, small_vocabulary

GREEDY = Sampling(temperature=0.0, max_new_tokens=24, stop_at_eos=False)
WARM = Sampling(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=24, stop_at_eos=False)


@pytest.fixture(scope="module")
def tokenizer() -> AtlasTokenizer:
    return small_vocabulary()


@pytest.fixture(scope="module", params=["gpt2", "llama, grouped"])
def model(tokenizer: AtlasTokenizer, request: pytest.FixtureRequest) -> AtlasLM:
    return lively_model(vocab_size=tokenizer.n_vocab, **SHAPES[request.param])


def texts(model: AtlasLM, tokenizer: AtlasTokenizer, prompts: list[str], settings: Sampling) -> list[Generated]:
    ended = [event for event in generator.stream(model, tokenizer, prompts, settings) if isinstance(event, Generated)]
    return sorted(ended, key=lambda event: event.row)


def pieces(model: AtlasLM, tokenizer: AtlasTokenizer, prompt: str, settings: Sampling) -> list[TextPiece]:
    events = generator.stream(model, tokenizer, [prompt], settings)
    return [event for event in events if isinstance(event, TextPiece)]


@torch.no_grad()
def likeliest(model: AtlasLM, tokenizer: AtlasTokenizer, window: list[int]) -> int:
    """The model's choice after `window`, among the tokens that may be drawn."""
    logits = model(torch.tensor([window]))[0, -1]
    logits[[tokenizer.bos_id, tokenizer.pad_id, tokenizer.unk_id]] = float("-inf")
    return int(logits.argmax())


def slow_greedy(model: AtlasLM, tokenizer: AtlasTokenizer, prompt: str, count: int) -> list[int]:
    """Everything recomputed for every token, sliding by the documented rule."""
    window = tokenizer.encode(prompt) or [tokenizer.eos_id]
    context, found = model.config.max_seq_len, []
    for _ in range(count):
        if len(window) > context:
            window = window[-(context // 2):]
        found.append(likeliest(model, tokenizer, window))
        window.append(found[-1])
    return found


PROMPTS = ["the king", "", TEXT * 2, "queen of night speak", "the king and queen " * 20]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_that_of_recomputing_everything_also_beyond_the_context(
    model: AtlasLM, tokenizer: AtlasTokenizer, prompt: str
) -> None:
    settings = Sampling(temperature=0.0, max_new_tokens=100, stop_at_eos=False)
    tokens = [piece.token for piece in pieces(model, tokenizer, prompt, settings)]
    assert tokens == slow_greedy(model, tokenizer, prompt, 100)
    assert len(set(tokens)) > 5, "a model that repeats itself would prove little"


def test_each_row_of_a_batch_says_what_it_says_alone(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    settings = Sampling(temperature=0.0, max_new_tokens=70, stop_at_eos=False)
    together = texts(model, tokenizer, PROMPTS, settings)
    assert [event.row for event in together] == list(range(len(PROMPTS)))
    for prompt, event in zip(PROMPTS, together, strict=True):
        assert (event.prompt, event.text) == (prompt, texts(model, tokenizer, [prompt], settings)[0].text)


def test_rows_that_end_early_do_not_disturb_the_others(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    alone = [texts(model, tokenizer, [prompt], GREEDY)[0] for prompt in PROMPTS]
    stop = alone[2].text[3:6]  # ends row 2 soon, and others only where they say the same
    settings = Sampling(temperature=0.0, max_new_tokens=60, stop_at_eos=False, stop=(stop,))
    together = texts(model, tokenizer, PROMPTS, settings)
    assert together[2].reason == "stop"
    assert {event.reason for event in together} == {"stop", "length"}
    for prompt, event in zip(PROMPTS, together, strict=True):
        assert event.text == texts(model, tokenizer, [prompt], settings)[0].text


def test_a_drawn_row_is_repeated_alone_by_the_seed_it_names(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    same = texts(model, tokenizer, ["the king"] * 3, WARM)
    assert len({event.text for event in same}) == 3
    for event in same:
        alone = Sampling(**{**WARM.__dict__, "seed": event.seed})
        assert texts(model, tokenizer, ["the king"], alone)[0].text == event.text


def test_the_largest_seed_serves_a_batch_too(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    settings = Sampling(**{**WARM.__dict__, "seed": 2**63 - 1})
    assert [event.seed for event in texts(model, tokenizer, ["a", "b"], settings)] == [2**63 - 1, 0]


def test_no_prompts_no_text(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    assert list(generator.stream(model, tokenizer, [], GREEDY)) == []


def test_pieces_joined_are_the_text_and_their_tokens_decode_to_it(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    events = list(generator.stream(model, tokenizer, ["the king"], WARM))
    shown, ended = [e for e in events if isinstance(e, TextPiece)], events[-1]
    assert isinstance(ended, Generated)
    assert "".join(piece.text for piece in shown) == ended.text == tokenizer.decode(piece.token for piece in shown)
    assert (ended.tokens, ended.reason, ended.seed) == (24, "length", WARM.seed)
    assert ended.tokens_per_s > 0


def test_pieces_hold_whole_characters_only() -> None:
    """Fresh GPT-2 text is full of broken characters; a replacement sign may stand only for a real break."""
    tokenizer = gpt2()
    large = lively_model(vocab_size=tokenizer.n_vocab)
    shown = pieces(large, tokenizer, "", Sampling(**{**WARM.__dict__, "max_new_tokens": 60}))
    assert "".join(piece.text for piece in shown) == tokenizer.decode(piece.token for piece in shown)


def test_probabilities_are_the_models_own(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    cold = Sampling(temperature=0.3, top_k=3, max_new_tokens=4, stop_at_eos=False)
    window = tokenizer.encode("the king")
    for piece in pieces(model, tokenizer, "the king", cold):
        with torch.inference_mode():
            likely = model(torch.tensor([window]))[0, -1].softmax(-1)
        best, ids = likely.topk(generator.CHOICES)
        assert piece.probability == pytest.approx(float(likely[piece.token]), abs=1e-5)
        assert [choice.probability for choice in piece.choices] == pytest.approx(best.tolist(), abs=1e-5)
        assert [choice.text for choice in piece.choices] == [tokenizer.token_text(i) for i in ids.tolist()]
        window.append(piece.token)


def favour(model: AtlasLM, *tokens: int) -> AtlasLM:
    """A copy that finds `tokens` by far the likeliest everywhere, the first one most."""
    copy = lively_model(vocab_size=model.config.vocab_size, tie_weights=False)
    with torch.no_grad():
        copy.norm.weight.zero_()
        copy.norm.bias.fill_(1.0)
        copy.head.weight.zero_()
        for rank, token in enumerate(tokens):
            copy.head.weight[token] = 10.0 - rank
    return copy


def test_special_tokens_but_eos_are_never_drawn(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    a = tokenizer.encode("a")[0]
    eager = favour(model, tokenizer.bos_id, tokenizer.pad_id, tokenizer.unk_id, a)
    assert texts(eager, tokenizer, ["the"], GREEDY)[0].text == "a" * 24


def test_gpt2s_unused_slot_and_rows_beyond_the_vocabulary_are_never_drawn() -> None:
    tokenizer = gpt2()
    a = tokenizer.encode("a")[0]
    padded = lively_model(vocab_size=tokenizer.n_vocab + 43, hidden_size=8, num_layers=1, num_heads=1)
    eager = favour(padded, 50256, tokenizer.n_vocab + 42, a)
    ended = texts(eager, tokenizer, ["x"], GREEDY)[0]
    assert ended.text == "a" * 24


def test_the_end_of_a_document_ends_the_text_if_wished(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    eager = favour(model, tokenizer.eos_id)
    ended = texts(eager, tokenizer, ["the"], Sampling(temperature=0.0))[0]
    assert (ended.reason, ended.text, ended.tokens) == ("eos", "", 1)
    assert texts(eager, tokenizer, ["the"], GREEDY)[0].reason == "length"


def test_an_empty_prompt_starts_where_documents_start(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    after_bos = next(iter(generator.stream(model, tokenizer, [""], GREEDY, add_bos=True)))
    assert isinstance(after_bos, TextPiece)
    assert pieces(model, tokenizer, "", GREEDY)[0].token == likeliest(model, tokenizer, [tokenizer.eos_id])
    assert after_bos.token == likeliest(model, tokenizer, [tokenizer.bos_id])


def test_special_names_in_a_prompt_are_ordinary_text(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    said = pieces(model, tokenizer, "<|endoftext|><|eos|>", GREEDY)
    assert [piece.token for piece in said] == slow_greedy(model, tokenizer, "<|endoftext|><|eos|>", 24)
    assert not tokenizer.special_ids & set(tokenizer.encode("<|endoftext|><|eos|>"))


def test_a_stop_string_ends_the_text_and_is_not_shown(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    whole = texts(model, tokenizer, ["the king"], GREEDY)[0].text
    stop = whole[5:9]
    settings = Sampling(**{**GREEDY.__dict__, "stop": ("never said", stop)})
    events = list(generator.stream(model, tokenizer, ["the king"], settings))
    ended = events[-1]
    assert isinstance(ended, Generated)
    assert (ended.text, ended.reason) == (whole[: whole.index(stop)], "stop")
    assert "".join(event.text for event in events[:-1] if isinstance(event, TextPiece)) == ended.text


def test_stopping_ends_every_row_after_the_token_at_hand(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    events, seen = generator.stream(model, tokenizer, ["a", "b"], GREEDY, should_stop=lambda: len(got) >= 6), []
    got: list[object] = seen
    for event in events:
        seen.append(event)
    ended = [event for event in seen if isinstance(event, Generated)]
    assert [event.reason for event in ended] == ["stopped", "stopped"]
    assert all(event.tokens <= 4 for event in ended)
    for event in ended:
        assert event.text == "".join(e.text for e in seen if isinstance(e, TextPiece) and e.row == event.row)


def test_a_stop_before_the_first_token_costs_nothing(model: AtlasLM, tokenizer: AtlasTokenizer) -> None:
    events = list(generator.stream(model, tokenizer, ["a", "b"], GREEDY, should_stop=lambda: True))
    assert [(e.reason, e.tokens) for e in events if isinstance(e, Generated)] == [("stopped", 0)] * 2
    assert len(events) == 2


@pytest.mark.parametrize("training", [True, False])
def test_the_consumer_never_sees_the_model_in_another_state(
    model: AtlasLM, tokenizer: AtlasTokenizer, training: bool
) -> None:
    before = torch.random.get_rng_state()
    stream = generator.stream(model.train(training), tokenizer, ["the king", "a"], WARM)
    for _ in range(5):
        next(stream)
        assert model.training == training
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
    stream.close()
    assert model.training == training
    assert torch.equal(torch.random.get_rng_state(), before)
    model.eval()


def test_training_between_two_tokens_is_possible(tokenizer: AtlasTokenizer) -> None:
    learner = lively_model(vocab_size=tokenizer.n_vocab).train()
    stream = generator.stream(learner, tokenizer, ["the king"], GREEDY)
    next(stream)
    learner.loss(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]])).backward()
    assert learner.tokens.weight.grad is not None
    assert isinstance(list(stream)[-1], Generated)


def test_a_model_gone_astray_says_so_in_a_sentence(tokenizer: AtlasTokenizer) -> None:
    broken = lively_model(vocab_size=tokenizer.n_vocab)
    with torch.no_grad():
        broken.norm.bias[0] = float("nan")
    with pytest.raises(NumericsError, match="no longer numbers"):
        list(generator.stream(broken, tokenizer, ["the king"], GREEDY))
