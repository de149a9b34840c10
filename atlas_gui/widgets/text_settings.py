"""How text is tidied and cut into tokens: the few settings that everybody meets, by the text they act on.

The same settings as the form's `data` and `tokenizer` sections, in fewer words and with counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from atlas_core import format
from atlas_core.config import Config, Model, settings
from atlas_core.errors import TokenizerError
from atlas_core.text.tokenizer import bpe_size
from atlas_gui import theme
from atlas_gui.widgets.setting_editor import CalmCombo

TOKENIZERS = ("gpt2", "bpe:1024", "bpe:4096", "bpe:16384")
GPT2_TOKENS = 50257
SWITCHES = {
    "data.clean_unicode": ("Unify equal-looking characters", ("recomposed",)),
    "data.clean_control": ("Remove invisible characters", ("controls_removed", "line_ends_replaced")),
    "data.clean_whitespace": ("Tidy blanks and empty lines", ("blanks_removed",)),
}


class TextSettings(QWidget):
    """Shows the text settings of a configuration; says which one the person changed."""

    edited = Signal(str, object)  # dotted key, new value

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.switches: dict[str, QCheckBox] = {}
        self._build()

    def _build(self) -> None:
        self.tokenizer_combo = CalmCombo()
        self.tokenizer_combo.setObjectName("tokenizerCombo")
        self.tokenizer_combo.setAccessibleName("Tokenizer")
        self.tokenizer_combo.setToolTip("How text becomes numbers. A vocabulary of its own, learned from your text, "
                                        "keeps a small model small; GPT-2's suits large texts and models.")
        for name in TOKENIZERS:
            self.tokenizer_combo.addItem(tokenizer_label(name), name)
        self.tokenizer_combo.activated.connect(
            lambda: self.edited.emit("tokenizer.name", self.tokenizer_combo.currentData()))
        self._hint = QLabel()
        self._hint.setWordWrap(True)
        theme.set_role(self._hint, "muted")
        self.more_button = QPushButton("All text settings")
        self.more_button.setObjectName("moreTextSettingsButton")
        self.more_button.setCheckable(True)
        self.more_button.setToolTip("Lengths, chunks, validation share and the rest")
        line = QHBoxLayout()
        label = QLabel("&Tokenizer")
        label.setBuddy(self.tokenizer_combo)
        line.addWidget(label)
        line.addWidget(self.tokenizer_combo, 1)
        line.addWidget(self.more_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(line)
        layout.addWidget(self._hint)
        for key, (text, _) in SWITCHES.items():
            switch = QCheckBox(text)
            switch.setObjectName(key)
            switch.setToolTip(settings()[key].help)
            switch.clicked.connect(lambda on, key=key: self.edited.emit(key, on))
            self.switches[key] = switch
            layout.addWidget(switch)

    def set_locked(self, locked: bool) -> None:
        """Locked, everything can still be read."""
        for widget in (self.tokenizer_combo, *self.switches.values()):
            widget.setEnabled(not locked)

    def show_config(self, config: Config) -> None:
        name = config.tokenizer.name
        if self.tokenizer_combo.findData(name) < 0:
            self.tokenizer_combo.addItem(tokenizer_label(name), name)
        self.tokenizer_combo.setCurrentIndex(self.tokenizer_combo.findData(name))
        self._hint.setText(_cost(name, config.model))
        for key, switch in self.switches.items():
            switch.setChecked(config.get(key))

    def show_counts(self, cleaned: Mapping[str, int], made_with: Mapping[str, bool]) -> None:
        """Say beside each switch what it did; `cleaned` counts characters, as `meta.json` does.

        `made_with` are the dataset's own switches: what was off has done nothing, so nothing is said of it.
        """
        for key, (text, kinds) in SWITCHES.items():
            number = sum(cleaned.get(kind, 0) for kind in kinds)
            told = f"{format.count(number)} characters" if number else "nothing to do"
            self.switches[key].setText(f"{text}: {told}" if cleaned and made_with.get(key, True) else text)


def tokenizer_label(name: str) -> str:
    """A tokenizer's setting in words: "bpe:4096" is "Own vocabulary, 4 096 tokens"."""
    if name == "gpt2":
        return f"GPT-2's vocabulary, {format.count(GPT2_TOKENS)} tokens"
    size = vocabulary_size(name)
    return f"Own vocabulary, {format.count(size)} tokens" if size else f"From {name}"


def vocabulary_size(name: str) -> int | None:
    """Rows of the embedding that a tokenizer's setting asks for; None if only its folder knows."""
    if name == "gpt2":
        return Config().model.vocab_size  # the default tokenizer's
    try:
        return bpe_size(name)
    except TokenizerError:
        return None


def text_settings(config: Config) -> dict[str, Any]:
    """Everything that decides how text is prepared, by dotted key."""
    return {key: config.get(key) for key in settings() if key.startswith(("data.", "tokenizer."))}


def _cost(name: str, model: Model) -> str:
    """What a vocabulary costs a model of this shape, beside GPT-2's."""
    size, largest = vocabulary_size(name), vocabulary_size("gpt2")
    if size is None or largest is None:
        return "The vocabulary comes with that dataset."
    token = model.hidden_size * (1 if model.tie_weights else 2)  # parameters
    own, saved = format.short_count(size * token), largest - size
    if saved <= 0:
        return f"The model spends {own} parameters on it; one of 4{format.SPACE}096 would leave more for learning."
    return f"The model spends {own} parameters on it, {format.short_count(saved * token)} fewer than on GPT-2's."
