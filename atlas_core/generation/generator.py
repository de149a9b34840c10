"""Text from a model, as a stream of events. Knows nothing of terminals, windows or training.

Each new token costs one token's work: what came before lies in a cache that is allocated once.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from atlas_core.config import Sampling
from atlas_core.events import Choice, Generated, TextPiece
from atlas_core.generation.sampling import next_token
from atlas_core.generation.stop import StopGate
from atlas_core.model.gpt import AtlasLM
from atlas_core.text.tokenizer import AtlasTokenizer

CHOICES = 5  # alternatives reported with each token
_SEEDS = 2**63


def never() -> bool:
    """The `should_stop` of those who never stop."""
    return False


def stream(
    model: AtlasLM,
    tokenizer: AtlasTokenizer,
    prompts: Sequence[str],
    settings: Sampling,
    *,
    add_bos: bool = False,
    should_stop: Callable[[], bool] = never,
) -> Iterator[TextPiece | Generated]:
    """Continue every prompt: a `TextPiece` for each new token, a `Generated` when a row ends.

    The rows run together, yet each gets the text it would get alone: row r draws with `settings.seed` + r,
    the seed that its `Generated` names. The texts of a row's pieces joined are its whole text.
    Probabilities are the model's own, before temperature and cuts. A text longer than the context slides:
    see `_Batch`. An empty prompt starts where a document starts: after an EOS, or at a BOS (`add_bos`, which
    precedes every prompt). `should_stop` is asked after every token. The model is in evaluation mode only
    while it computes, never while the consumer holds an event.

    Raises `NumericsError` if the model's predictions are not numbers.
    """
    rows = [_Row(number, prompt, tokenizer, settings, add_bos=add_bos) for number, prompt in enumerate(prompts)]
    forbidden = _never_drawn(tokenizer, model.config.vocab_size)
    if should_stop():
        yield from (row.generated("stopped", seconds=0.0) for row in rows)
        return
    batch, seconds = _Batch(model, rows), 0.0
    while batch.rows:
        started = time.perf_counter()
        logits = batch.logits()
        likely = logits.softmax(-1)
        seconds += time.perf_counter() - started
        for row, row_logits, row_likely in zip(batch.rows, logits, likely, strict=True):
            token = int(next_token(row_logits, settings, row.generator, forbidden=forbidden))
            yield row.accept(token, row_likely, stopped=should_stop())
            if row.reason:
                yield row.generated(row.reason, seconds=seconds)
        batch.drop_finished()


class _Row:
    """One prompt and what has become of it. `window` holds the tokens the model still sees."""

    def __init__(self, number: int, prompt: str, tokenizer: AtlasTokenizer, settings: Sampling,
                 *, add_bos: bool) -> None:
        self.number, self.prompt = number, prompt
        self.tokenizer, self.settings = tokenizer, settings
        self.window = tokenizer.encode(prompt, add_bos=add_bos) or [tokenizer.eos_id]
        self.seed = (settings.seed + number) % _SEEDS
        self.generator = torch.Generator().manual_seed(self.seed)
        self.decoder = tokenizer.stream()
        self.gate = StopGate(settings.stop)
        self.text, self.count, self.reason = "", 0, ""

    def accept(self, token: int, likely: Tensor, *, stopped: bool) -> TextPiece:
        """Take in the token that was drawn; sets `reason` if the text ends with it. likely: (V,)"""
        self.window.append(token)
        self.count += 1
        shown = self.gate.push(self.decoder.feed(token))
        self.reason = self._end(token, stopped=stopped)
        if self.reason:
            shown += self.gate.push(self.decoder.flush()) + self.gate.flush()
        self.text += shown
        return TextPiece(shown, token, float(likely[token]), self._choices(likely), self.number)

    def _end(self, token: int, *, stopped: bool) -> str:
        if self.gate.stopped:
            return "stop"
        if self.settings.stop_at_eos and token == self.tokenizer.eos_id:
            return "eos"
        if self.count >= self.settings.max_new_tokens:
            return "length"
        return "stopped" if stopped else ""

    def _choices(self, likely: Tensor) -> tuple[Choice, ...]:
        best, ids = likely[: self.tokenizer.n_vocab].topk(CHOICES)
        return tuple(Choice(self.tokenizer.token_text(i), p) for i, p in zip(ids.tolist(), best.tolist(), strict=True))

    def generated(self, reason: str, *, seconds: float) -> Generated:
        speed = self.count / seconds if seconds else 0.0
        return Generated(self.prompt, self.text, self.count, speed, reason, self.seed, self.number)


class _Batch:
    """The rows that still write, aligned at their newest token by padding on the left.

    When the cache is full, a row that fills the context keeps the last half of its tokens, the others all
    of theirs, and the cache is filled again. So each row slides exactly when it would slide alone.
    """

    def __init__(self, model: AtlasLM, rows: list[_Row]) -> None:
        self.model, self.rows = model, rows
        self.cache = model.new_cache(len(rows))
        self.real: Tensor | None = None  # (B, context) bool, False on padding; None without any padding

    def logits(self) -> Tensor:
        """Logits for the next token of each row, on the CPU in fp32.  # (B, V)"""
        with _inference(self.model):
            fresh = self.cache.length in (0, self.cache.context)
            hidden = self._fill() if fresh else self._advance()
            # Drawing happens on the CPU, so that a seed means the same text on every device.
            return self.model.head(hidden).float().cpu()

    def _fill(self) -> Tensor:
        """Read all windows at once; the last column of the stream.  # (B, H)"""
        context, device = self.cache.context, self.model.device
        for row in self.rows:
            if len(row.window) > context:
                row.window = row.window[-(context // 2):]
        T = max(len(row.window) for row in self.rows)
        padding = torch.tensor([T - len(row.window) for row in self.rows], device=device)  # (B,)
        tokens = torch.tensor([[0] * (T - len(row.window)) + row.window for row in self.rows], device=device)
        column = torch.arange(context, device=device)
        self.real = column >= padding[:, None] if padding.any() else None
        self.cache.clear()
        return self.model.hidden(tokens, positions=(column[:T] - padding[:, None]).clamp(min=0),
                                 mask=self._fill_mask(T), cache=self.cache)[:, -1]

    def _fill_mask(self, T: int) -> Tensor | None:
        """Text sees text and padding sees padding: no query is left with nothing to look at, which would be NaN."""
        if self.real is None:
            return None
        real = self.real[:, :T]
        return (real[:, :, None] == real[:, None, :])[:, None]  # (B, 1, T, T)

    def _advance(self) -> Tensor:
        """Read the newest token of each row.  # (B, H)"""
        device, keys = self.model.device, self.cache.length + 1
        newest = torch.tensor([[row.window[-1]] for row in self.rows], device=device)
        positions = torch.tensor([[len(row.window) - 1] for row in self.rows], device=device)
        mask = None if self.real is None else self.real[:, None, None, :keys]
        return self.model.hidden(newest, positions=positions, mask=mask, cache=self.cache)[:, -1]

    def drop_finished(self) -> None:
        """Rows that ended leave the batch and its cache, so that they cost nothing more."""
        alive = [place for place, row in enumerate(self.rows) if not row.reason]
        if len(alive) == len(self.rows):
            return
        self.rows = [self.rows[place] for place in alive]
        with torch.inference_mode():
            self.cache.keys, self.cache.values = self.cache.keys[:, alive], self.cache.values[:, alive]
            self.real = None if self.real is None else self.real[alive]


@contextlib.contextmanager
def _inference(model: AtlasLM) -> Iterator[None]:
    """Evaluation and inference mode for one computation. Never held across a `yield` of events: it would leak."""
    was_training = model.training
    if was_training:  # a walk over all modules, for every token, that need not be
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_training:
            model.train()


def _never_drawn(tokenizer: AtlasTokenizer, rows: int) -> list[int]:
    """Ids that no text contains: special tokens but EOS, unused slots, and rows of the model beyond the vocabulary."""
    beyond_text = range(len(tokenizer.ranks), rows)
    return [token for token in beyond_text if token != tokenizer.eos_id]
