"""Every setting of the program, each with its default, help, unit and bounds beside it.

The command line's help, the window's form, the YAML files and the messages all read this one table.
Not here: which values go well together for a purpose; that is what `presets.py` is for.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import math
import reprlib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from atlas_core import hours
from atlas_core.errors import ConfigError
from atlas_core.paths import write_atomically
from atlas_core.reading import small_file

MAX_FILE_BYTES = 2**18  # thirty times a file with every setting; YAML is read at some 50 KiB a second
MOST_HINTS = 20         # looking for the nearest name takes a millisecond
COOLEST_TARGET_C = 40.0  # no machine at work stays below it

ENDLESS = 10**7  # an upper bound from here on only keeps arithmetic sane; no one needs to read it


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    advanced: bool = False,
    family: str = "",
) -> Any:
    """A dataclass field that knows what it means, and for which family of networks if not for all."""
    about = {"help": help, "unit": unit, "low": low, "high": high, "choices": choices, "advanced": advanced,
             "family": family}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Model:
    """The shape of the network."""

    family: str = setting("gpt2", "Plan of the network: gpt2, the classic with learned positions, or llama, the newer "
                          "one with rotary positions and gated inner layers. llama.cpp opens both.",
                          choices=("gpt2", "llama"))
    vocab_size: int = setting(50261, "Rows of the embedding. The dataset's tokenizer has the last word.",
                              unit="tokens", low=8, high=2**24, advanced=True)
    max_seq_len: int = setting(512, "Context: how many tokens the model sees at once.",
                               unit="tokens", low=8, high=131072)
    hidden_size: int = setting(512, "Width of every layer.", low=8, high=65536)
    num_layers: int = setting(8, "Depth: how many blocks follow each other.", low=1, high=1024)
    num_heads: int = setting(8, "Attention heads in each block; they share the width equally.", low=1, high=1024)
    num_kv_heads: int = setting(0, "llama: heads of keys and values, shared by groups of attention heads. Fewer save "
                                "memory while writing text; 0 means one for each attention head.",
                                low=0, high=1024, advanced=True, family="llama")
    mlp_ratio: float = setting(4.0, "Width of each block's inner layer, as a multiple of the width. llama has three "
                               "matrices there for gpt2's two, so it takes two thirds of it, rounded up to 32s.",
                               low=0.25, high=64.0, advanced=True)
    activation: str = setting("gelu", "gpt2: non-linearity of the inner layer; only gelu can be exported to GGUF.",
                              choices=("gelu", "silu", "relu"), advanced=True, family="gpt2")
    dropout: float = setting(0.1, "Share of embedding and residual values dropped while training; 0 for large texts.",
                             low=0.0, high=0.95)
    attention_dropout: float = setting(0.0, "Share of attention weights dropped while training; above 0 it costs "
                                       "the fast attention path.", low=0.0, high=0.95, advanced=True)
    tie_weights: bool = setting(True, "Use one matrix for reading and for predicting tokens.", advanced=True)

    @property
    def is_llama(self) -> bool:
        return self.family == "llama"

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_kv_heads or self.num_heads


@dataclass(frozen=True)
class Data:
    """What is kept of the text and how it is cut."""

    text_field: str = setting("text", "Which field of a .jsonl line holds the text.", advanced=True)
    clean_unicode: bool = setting(True, "Bring equal-looking characters to one form (Unicode NFC).")
    clean_control: bool = setting(True, "Remove invisible control characters.")
    clean_whitespace: bool = setting(True, "Remove spaces at line ends and more than two empty lines in a row.")
    min_chars: int = setting(1, "Leave out documents shorter than this.", unit="characters", low=0, high=2**40)
    max_chars: int = setting(0, "Leave out documents longer than this; 0 keeps them all.", unit="characters",
                             low=0, high=2**40, advanced=True)
    min_tokens: int = setting(0, "Leave out documents of fewer tokens; 0 keeps them all.", unit="tokens",
                              low=0, high=2**40, advanced=True)
    chunk_tokens: int = setting(0, "Cut long documents into pieces of this length; 0 leaves them whole.",
                                unit="tokens", low=0, high=2**31, advanced=True)
    chunk_overlap: int = setting(0, "Tokens that neighbouring pieces share.", unit="tokens",
                                 low=0, high=2**31, advanced=True)
    val_fraction: float = setting(0.05, "Share of the text kept aside to measure progress honestly.",
                                  low=0.0, high=0.9)
    test_fraction: float = setting(0.0, "Share of the text kept aside for a final test.",
                                   low=0.0, high=0.9, advanced=True)
    split_seed: int = setting(1337, "Decides which documents are kept aside.", low=0, high=2**63 - 1, advanced=True)
    stride: int = setting(0, "Distance between the starts of training windows; 0 means one context, so no overlap.",
                          unit="tokens", low=0, high=131072, advanced=True)


@dataclass(frozen=True)
class Tokenizer:
    """How text becomes numbers."""

    name: str = setting("gpt2", "gpt2, or bpe:N to learn N tokens from the text itself, or a dataset folder.")
    add_bos: bool = setting(False, "Begin every document with a begin-of-text token.", advanced=True)


@dataclass(frozen=True)
class Training:
    """The optimization."""

    max_steps: int = setting(10000, "How many optimizer steps the whole run takes.", unit="steps", low=1, high=10**9)
    batch_size: int = setting(4, "Windows computed at once; memory grows with it.", low=1, high=65536)
    gradient_accumulation_steps: int = setting(4, "Batches added up before each optimizer step.", low=1, high=65536)
    learning_rate: float = setting(6e-4, "Highest learning rate, reached after the warm-up.", low=1e-9, high=10.0)
    min_lr_ratio: float = setting(0.1, "Learning rate at the end, as a share of the highest.",
                                  low=0.0, high=1.0, advanced=True)
    warmup_steps: int = setting(500, "Steps over which the learning rate rises.", unit="steps", low=0, high=10**9)
    scheduler_type: str = setting("cosine", "How the learning rate falls after the warm-up; wsd stays at the peak "
                                  "until its decay.", choices=("cosine", "linear", "constant", "wsd"))
    decay_fraction: float = setting(0.2, "wsd: share of the steps after the warm-up in which the rate falls.",
                                    low=0.01, high=1.0, advanced=True)
    optimizer_type: str = setting("adamw", "The optimizer; adamw8bit keeps its moments in 8 bits, muon moves the "
                                  "blocks' matrices by Muon and the rest by AdamW.",
                                  choices=("adamw", "adamw8bit", "muon"), advanced=True)
    muon_interval: int = setting(1, "Muon moves each matrix every so many steps, and as much farther: less work, which "
                                 "tells where a step has few tokens.", unit="steps", low=1, high=10, advanced=True)
    head_start_steps: int = setting(0, "Beside Muon, AdamW begins at four times the learning rate and comes down to it "
                                    "in so many steps; 0 turns it off.", unit="steps", low=0, high=10**9, advanced=True)
    master_weights: bool = setting(True, "Keep the weights in fp32 beside the bf16 copies that are computed with. "
                                   "Without, they are bf16 alone, rounded at random after each step.", advanced=True)
    weight_decay: float = setting(0.01, "Pull of the matrices towards zero; norms and biases are spared.",
                                  low=0.0, high=10.0, advanced=True)
    beta1: float = setting(0.9, "Memory of the gradient, of AdamW and of Muon.", low=0.0, high=0.9999, advanced=True)
    beta2: float = setting(0.95, "AdamW: memory of the squared gradient.", low=0.0, high=0.99999, advanced=True)
    max_grad_norm: float = setting(1.0, "Longer gradients are shortened to this; 0 turns it off.",
                                   low=0.0, high=1e6, advanced=True)
    early_stopping_patience: int = setting(0, "End the run after this many validations in a row without a gain; "
                                           "0 turns it off.", unit="validations", low=0, high=10**6, advanced=True)
    early_stopping_min_gain: float = setting(0.0, "How much lower a validation loss must be to count as a gain.",
                                             unit="nats a token", low=0.0, high=10.0, advanced=True)
    spike_patience: int = setting(20, "Training has come apart when the median loss of this many steps is far above "
                                  "that of the hundred before; then it goes back. 0 goes by lost numbers alone.",
                                  unit="steps", low=0, high=10**4, advanced=True)
    max_rollbacks: int = setting(3, "How often in a row a run that comes apart goes back to its last good state, at "
                                 "half the learning rate each time, before it gives up.",
                                 unit="times", low=0, high=100, advanced=True)
    gradient_checkpointing: bool = setting(False, "Compute activations twice to save memory.")
    precision: str = setting("auto", "Number format of the arithmetic; auto takes what this machine is fastest with.",
                             choices=("auto", "fp32", "bf16", "fp16"))
    seed: int = setting(1337, "Makes a run repeatable.", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class Evaluation:
    """Validation while training."""

    eval_interval: int = setting(250, "Steps between validations; 0 only at the end of an epoch and of the run.",
                                 unit="steps", low=0, high=10**9)
    eval_batches: int = setting(40, "At most this many batches per validation.", unit="batches", low=1, high=10**6)


@dataclass(frozen=True)
class Checkpointing:
    """What is saved, and how much of it is kept."""

    save_interval: int = setting(500, "The most steps a crash may cost, if save_minutes is 0.",
                                 unit="steps", low=1, high=10**9)
    save_minutes: float = setting(10.0, "The most minutes of training a crash may cost; 0 counts steps instead.",
                                  unit="minutes", low=0.0, high=10000.0)
    keep_checkpoints: int = setting(3, "How many step checkpoints are kept.", low=1, high=10000)
    keep_epochs: int = setting(5, "How many epoch checkpoints are kept.", low=0, high=10000, advanced=True)


@dataclass(frozen=True)
class Logging:
    """What is recorded."""

    log_interval: int = setting(1, "Steps between reports of the loss.", unit="steps", low=1, high=10**6, advanced=True)
    tensorboard: bool = setting(False, "Also write TensorBoard files.", advanced=True)


@dataclass(frozen=True)
class Sampling:
    """How text is drawn from the model, in training and in the playground."""

    prompts: tuple[str, ...] = setting(("",), "Prompts continued while training; an empty one starts from nothing.")
    interval: int = setting(250, "Steps between samples while training; 0 draws none.", unit="steps", low=0, high=10**9)
    max_new_tokens: int = setting(120, "Length of the continuation.", unit="tokens", low=1, high=10**6)
    temperature: float = setting(0.8, "Boldness: 0 always takes the likeliest token.", low=0.0, high=100.0)
    top_k: int = setting(50, "Choose among this many likeliest tokens; 0 means all.", low=0, high=10**6)
    top_p: float = setting(0.95, "Choose among the likeliest tokens that together have this probability (nucleus).",
                           low=0.0, high=1.0)
    seed: int = setting(1337, "Makes the text repeatable.", low=0, high=2**63 - 1)
    stop: tuple[str, ...] = setting((), "Texts that end the continuation.", advanced=True)
    stop_at_eos: bool = setting(True, "End where the model ends its document.", advanced=True)


@dataclass(frozen=True)
class Hardware:
    """Where it runs."""

    device: str = setting("auto", "auto takes the graphics card if there is one.",
                          choices=("auto", "cpu", "cuda", "mps"))
    attention: str = setting("auto", "How attention is computed: PyTorch's kernel, or plain products in blocks; auto "
                             "tries both on a processor.", choices=("auto", "kernel", "blocks"), advanced=True)
    compile: bool = setting(False, "Let torch compile the network: a minute at the start, faster steps on a card; "
                            "needs a C++ compiler.", advanced=True)
    threads: int = setting(0, "Processor threads for training; 0 means one for every core.",
                           low=0, high=1024, advanced=True)
    keep_awake: bool = setting(True, "Keep the computer from falling asleep while it trains.")
    target_temperature: float = setting(0.0, "Cool mode: rests between batches keep what computes at this temperature; "
                                        "0 turns it off.", unit="°C", low=0.0, high=95.0)
    power_limit: float = setting(0.0, "Cool mode: rests keep the mean power of what computes at this or below; 0 "
                                 "turns it off.", unit="W", low=0.0, high=2000.0, advanced=True)
    quiet_hours: str = setting("", "Hours of the day, such as 22:00-07:00, in which cool mode keeps the quiet "
                               "temperature.", advanced=True)
    quiet_temperature: float = setting(55.0, "What cool mode keeps in the quiet hours.", unit="°C",
                                       low=COOLEST_TARGET_C, high=95.0, advanced=True)


@dataclass(frozen=True)
class Config:
    """All settings of a run. Always valid once made through `from_dict`, `load` or `replace`."""

    name: str = "custom"
    description: str = ""
    dataset: str = ""  # the folder a run learns from, filled in by the run
    dataset_fingerprint: str = ""
    model: Model = Model()
    data: Data = Data()
    tokenizer: Tokenizer = Tokenizer()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    checkpointing: Checkpointing = Checkpointing()
    logging: Logging = Logging()
    sampling: Sampling = Sampling()
    hardware: Hardware = Hardware()

    @property
    def tokens_per_step(self) -> int:
        return self.training.batch_size * self.training.gradient_accumulation_steps * self.model.max_seq_len

    def in_batches_of(self, windows: int) -> Config:
        """The same steps, and the same text to validate on, so many windows at a time: a divisor of the batch.

        Raises `ConfigError` where that would be too many batches.
        """
        t, times = self.training, self.training.batch_size // windows
        most = settings()["evaluation.eval_batches"].high or 0
        return self.replace({"training.batch_size": windows,
                             "training.gradient_accumulation_steps": t.gradient_accumulation_steps * times,
                             "evaluation.eval_batches": min(self.evaluation.eval_batches * times, int(most))})

    def get(self, key: str) -> Any:
        """The value of a dotted key such as "model.dropout"."""
        section, _, name = key.partition(".")
        return getattr(getattr(self, section), name)

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """A copy with dotted keys changed: `config.replace({"model.dropout": 0.0})`.

        Raises `ConfigError` with every problem at once.
        """
        return Config.from_dict(deep_merge(self.to_dict(), _nest(changes)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for YAML, JSON or a checkpoint."""
        sections = {s: _section_to_dict(getattr(self, s)) for s in SECTIONS}
        return {**{name: getattr(self, name) for name in LABELS}, **sections}

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> Config:
        """Check and convert plain values; what is missing takes its default.

        Raises `ConfigError` listing every unknown key, wrong type, broken bound and contradiction.
        """
        if not isinstance(raw, Mapping):
            raise ConfigError([f"settings must be groups such as 'model:', not {_shown(raw)}"])
        problems: dict[str, str] = {}  # by key
        values: dict[str, Any] = {}
        for key, content in raw.items():
            if key in SECTIONS:
                values[key] = _read_section(key, content, problems)
            elif key not in LABELS:
                problems[_shown(key)] = unknown_key(key, (*LABELS, *SECTIONS) if len(problems) < MOST_HINTS else ())
            elif (label := _as_label(content)) is None:
                problems[key] = f"'{key}' must be a text"
            else:
                values[key] = label
        config = Config(**values)  # what is broken has its default, so a contradiction with it means nothing
        clashes = [clash for clash in contradictions(config) if not any(key in clash for key in problems)]
        if problems or clashes:
            raise ConfigError([*problems.values(), *clashes])
        return config

    def save(self, path: Path) -> None:
        """Write YAML with each setting's help as a comment.

        Raises `ConfigError` for texts so long that `load` would refuse the file, and `AtlasError` if it cannot be
        written.
        """
        content = to_yaml(self).encode()
        if len(content) > MAX_FILE_BYTES:
            raise ConfigError([f"The settings are longer than {MAX_FILE_BYTES // 1024} KiB"],
                              "Shorten sampling.prompts, sampling.stop and the description.")
        write_atomically(path, content)


LABELS = ("name", "description", "dataset", "dataset_fingerprint")
SECTIONS: dict[str, type] = {
    name: hint for name, hint in typing.get_type_hints(Config).items() if name not in LABELS
}


@dataclass(frozen=True)
class Setting:
    """One row of the table of settings: what a form or a help text needs to know of a field."""

    section: str
    name: str
    type: type
    default: Any
    help: str
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    advanced: bool
    family: str  # of networks that it is for; empty for all

    @property
    def key(self) -> str:
        return f"{self.section}.{self.name}"

    def applies(self, config: Config) -> bool:
        """Whether it means anything to a network of that family."""
        return self.family in ("", config.model.family)

    @property
    def bounds(self) -> str:
        """The allowed values in words, such as "8 to 1024 tokens"."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is None or self.high is None:
            return ""
        upper = f" to {_written(self.high)}" if self.high < ENDLESS else " or more"
        return f"{_written(self.low)}{upper} {self.unit}".strip()

    def range_for(self, value: float) -> str:
        """The allowed values in words if `value` is out of bounds, the broken one always among them; else empty."""
        if self.low is None or self.high is None or self.low <= value <= self.high:
            return ""
        return self.bounds if value < self.low else f"{_written(self.low)} to {_written(self.high)} {self.unit}".strip()


def _written(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:,.15g}"


@cache
def settings() -> dict[str, Setting]:
    """Every setting by its dotted key, in the order of the file."""
    table = {}
    for section, cls in SECTIONS.items():
        hints = typing.get_type_hints(cls)
        for f in dataclasses.fields(cls):
            kind = tuple if typing.get_origin(hints[f.name]) is tuple else hints[f.name]
            table[f"{section}.{f.name}"] = Setting(section, f.name, kind, f.default, **f.metadata)
    return table


def load(path: Path, *, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file, lay it over the defaults and apply `section.key=value` overrides.

    Raises `ConfigError` for a file that cannot be read or that holds anything unknown or wrong.
    """
    return Config.from_dict(deep_merge(read_yaml(path), parse_overrides(overrides)))


def is_whole(path: Path) -> bool:
    """Whether a file that the program once wrote can be read and still holds every setting."""
    try:
        raw = read_yaml(path)
        Config.from_dict(raw)
    except ConfigError:
        return False
    return all(s.name in (raw.get(s.section) or {}) for s in settings().values()) and set(LABELS) <= raw.keys()


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping."""
    try:
        content = _parse(small_file(path, MAX_FILE_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"There is no file {path}"], "Check the path, or choose a preset.") from None
    except OSError as error:
        raise ConfigError([f"{path} cannot be read ({error.strerror})"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path} is not text in UTF-8"], "Save it as UTF-8.") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}" if place else ""
        why = f": {error.problem}" if isinstance(error, _Refused) else ""
        raise ConfigError([f"{path} is not valid YAML{where}{why}"], "Check its indentation and quotes.") from error
    except ValueError as error:
        raise ConfigError([f"{path} {error}"], "Correct it, or choose another file.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError([f"{path} holds no settings"], "It must consist of sections such as 'model:'.")
    return content


class _Refused(yaml.constructor.ConstructorError):
    """What YAML allows and settings must not hold; its `problem` is a sentence of ours."""


class _Loader(yaml.SafeLoader):
    """YAML's plain values only. Neither a key twice, of which one would be lost, nor merged mappings, which can
    unfold beyond any memory. Written in Python: libyaml's loader crashes on deep nesting."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise _Refused(problem="'<<' is not allowed in settings", problem_mark=key.start_mark)
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            names = [str(key.value) for key, _ in node.value]
            twice = next(key for place, (key, _) in enumerate(node.value) if str(key.value) in names[:place])
            raise _Refused(problem=f"'{_shown(twice.value)[1:-1]}' stands there twice", problem_mark=twice.start_mark)
        return found


def _parse(text: str) -> Any:
    """The plain value that YAML spells. Raises `yaml.YAMLError`, or `ValueError` for what is YAML and yet no value."""
    try:
        return yaml.load(text, _Loader)  # a safe loader
    except RecursionError as error:
        raise ValueError("is nested without end") from error
    except (KeyError, IndexError, AttributeError) as error:  # PyYAML on `!!bool maybe`, `!!int ''`, `!!timestamp x`
        raise ValueError("holds a value that is not of the type it names") from error
    except ValueError as error:
        raise ValueError("holds a number or a date that there cannot be") from error


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """`["model.dropout=0", ...]` as nested mappings. Values are read as YAML."""
    changes: dict[str, Any] = {}
    problems = []
    for text in overrides:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or "." not in key:
            problems.append(f"'{text}' is not of the form section.key=value")
        elif key not in settings():
            problems.append(unknown_key(key, settings()))
        else:
            changes[key] = value if settings()[key].type is str else _yaml_value(value)
    if problems:
        raise ConfigError(problems)
    return _nest(changes)


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, section by section; neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = deep_merge(merged[key], value) if both else value
    return merged


def contradictions(config: Config) -> list[str]:
    """Settings that are each allowed but not together, one sentence each."""
    m, d = config.model, config.data
    problems = []
    if m.hidden_size % m.num_heads:
        problems.append(f"model.num_heads ({m.num_heads}) must divide model.hidden_size ({m.hidden_size}): "
                        f"{_fewer_heads(m)}")
    elif m.is_llama and m.head_size % 2:
        problems.append(f"model.hidden_size ({m.hidden_size}) over model.num_heads ({m.num_heads}) makes heads of "
                        f"{m.head_size}; model.family llama turns pairs of values, so they must be even: "
                        f"{_fewer_heads(m)}")
    if m.num_heads % m.kv_heads:
        problems.append(f"model.num_kv_heads ({m.num_kv_heads}) must divide model.num_heads ({m.num_heads}): "
                        f"lower it to {_divisor(m.num_heads, m.num_kv_heads)}")
    for s in settings().values():
        if not s.applies(config) and config.get(s.key) != s.default:
            problems.append(f"{s.key} ({config.get(s.key)}) is for model.family {s.family}, not {m.family}: "
                            f"leave it at {s.default}")
    if d.val_fraction + d.test_fraction > 0.95:
        problems.append(f"data.val_fraction ({d.val_fraction}) and data.test_fraction ({d.test_fraction}) "
                        "leave nothing to train on")
    if d.chunk_tokens and d.chunk_overlap >= d.chunk_tokens:
        problems.append(f"data.chunk_overlap ({d.chunk_overlap}) must be smaller than "
                        f"data.chunk_tokens ({d.chunk_tokens})")
    if d.chunk_overlap and not d.chunk_tokens:
        problems.append(f"data.chunk_overlap ({d.chunk_overlap}) needs data.chunk_tokens above 0")
    if d.max_chars and d.min_chars > d.max_chars:
        problems.append(f"data.min_chars ({d.min_chars}) exceeds data.max_chars ({d.max_chars})")
    if d.stride > m.max_seq_len:
        problems.append(f"data.stride ({d.stride}) exceeds model.max_seq_len ({m.max_seq_len}): text would be skipped")
    return problems + _training_contradictions(config.training) + _cooling_contradictions(config.hardware)


def _fewer_heads(m: Model) -> str:
    """The remedy for attention heads that the width cannot be shared among."""
    if m.is_llama and m.hidden_size % 2:
        return "make the width even"
    return f"lower model.num_heads to {_divisor(m.hidden_size // 2 if m.is_llama else m.hidden_size, m.num_heads)}"


def _divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return max(divisor for divisor in range(1, min(number, most) + 1) if number % divisor == 0)


def _training_contradictions(t: Training) -> list[str]:
    problems = []
    if t.scheduler_type != "constant" and t.warmup_steps > t.max_steps:
        problems.append(f"training.warmup_steps ({t.warmup_steps}) exceeds training.max_steps ({t.max_steps}): "
                        f"lower it too, say to {t.max_steps // 10}")
    if t.batch_size * t.gradient_accumulation_steps > 2**20:
        problems.append(f"training.batch_size ({t.batch_size}) times training.gradient_accumulation_steps "
                        f"({t.gradient_accumulation_steps}) is more than a million windows a step")
    if not t.master_weights and t.precision != "bf16":
        problems.append(f"training.precision ({t.precision}) must be bf16 where training.master_weights is false")
    if not t.master_weights and t.optimizer_type == "muon":
        problems.append("training.optimizer_type (muon) needs training.master_weights true")
    return problems


def _cooling_contradictions(h: Hardware) -> list[str]:
    problems = []
    if 0 < h.target_temperature < COOLEST_TARGET_C:
        problems.append(f"hardware.target_temperature ({h.target_temperature:g}) is too cool for a machine at work: "
                        f"take {COOLEST_TARGET_C:g} or more, or 0 to turn it off")
    try:
        quiet = hours.parse(h.quiet_hours)
    except ValueError:
        problems.append(f"hardware.quiet_hours must be like 22:00-07:00, not {_shown(h.quiet_hours)}")
    else:
        if quiet is not None and not h.target_temperature:
            problems.append("hardware.quiet_hours needs a hardware.target_temperature for the rest of the day")
    return problems


def unknown_key(key: Any, known: Iterable[str]) -> str:
    """The sentence for a name nobody knows, with the nearest one that exists."""
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5) if isinstance(key, str) else []
    return f"{_shown(key)} is no setting" + (f" (did you mean '{near[0]}'?)" if near else "")


def to_yaml(config: Config) -> str:
    """The configuration as YAML, each setting with its help, unit and bounds as a comment."""
    lines = [f"{label}: {_yaml_text(getattr(config, label))}" for label in LABELS]
    section = ""
    for key, s in settings().items():
        if s.section != section:
            section = s.section
            lines += ["", f"{section}:"]
        value = config.get(key)
        shown = _yaml_text(list(value) if isinstance(value, tuple) else value)
        lines.append(f"  {s.name}: {shown}  # {s.help}" + (f" [{s.bounds}]" if s.bounds else ""))
    return "\n".join(lines) + "\n"


def _yaml_text(value: Any) -> str:
    texts = value if isinstance(value, list) else [value]
    readable = all(str(text).isprintable() for text in texts)  # others are escaped: YAML folds invisible characters
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=readable, width=10**9)
    return text.removesuffix("\n").removesuffix("...").rstrip()


def _yaml_value(text: str) -> Any:
    try:
        return _parse(text)
    except (yaml.YAMLError, ValueError):
        return text


def _nest(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """By section; a setting that is named beside its whole section goes into it, unless that is no section at all."""
    nested: dict[str, Any] = {}
    for key, value in sorted(dotted.items(), key=lambda item: "." in item[0]):
        section, _, name = key.partition(".")
        whole = nested.get(section)
        if not name:
            nested[section] = value
        elif whole is None or isinstance(whole, Mapping):
            nested[section] = {**(whole or {}), name: value}
    return nested


def _section_to_dict(section: Any) -> dict[str, Any]:
    values = {f.name: getattr(section, f.name) for f in dataclasses.fields(section)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _read_section(section: str, content: Any, problems: dict[str, str]) -> Any:
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        problems[section] = f"'{section}' must be a group of settings, not {_shown(content)}"
        content = {}
    values = {}
    for name, value in content.items():
        key = f"{section}.{name}" if isinstance(name, str) else f"{section}.{_shown(name)}"
        if key not in settings():
            problems[key] = unknown_key(key, settings() if len(problems) < MOST_HINTS else ())
            continue
        problem, converted = _convert(settings()[key], value)
        if problem:
            problems[key] = problem
        else:
            values[name] = converted
    return SECTIONS[section](**values)


def _convert(known: Setting, value: Any) -> tuple[str, Any]:
    """`value` as the setting's type, with a sentence if it is not of that type or out of bounds."""
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", tuple: "a list of texts"}
    converted = _as_type(known.type, value)
    if converted is None:
        bounds = f" ({known.bounds})" if known.bounds and not known.choices else ""
        return f"{known.key} must be {wanted[known.type]}{bounds}, not {_shown(value)}", value
    if known.choices and converted not in known.choices:
        near = difflib.get_close_matches(str(converted), known.choices, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return f"{known.key} must be one of {known.bounds}, not {_shown(converted)}{hint}", value
    if allowed := known.range_for(converted):
        return f"{known.key} must be {allowed}, not {_shown(converted)}", value
    return "", converted


def _shown(value: Any) -> str:
    """`value` as a message can hold it; YAML's anchors may make it larger than any memory."""
    try:
        return _SHORT.repr(value)
    except ValueError:
        return "a number of thousands of digits"


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 80


def _as_type(kind: type, value: Any) -> Any:
    """`value` as `kind`, or None. YAML 1.1 reads 6e-4 as text, so numbers in text count too."""
    if kind in (bool, str):
        return value if isinstance(value, kind) else None
    if kind is tuple:
        return _as_texts(value)
    return _as_number(kind, value)


def _as_label(value: Any) -> str | None:
    """A label as text, or None. YAML reads a bare 1984 as a number and 2026-11-25 as a date."""
    try:
        return str(value) if isinstance(value, (str, int, float, datetime.date)) else None
    except ValueError:  # a number of thousands of digits
        return None


def _as_texts(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return (value,)
    texts = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    return tuple(value) if texts else None


def _as_number(kind: type, value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if kind is float:
        return number if math.isfinite(number) else None
    return int(value) if isinstance(value, int) else int(number) if number.is_integer() else None
