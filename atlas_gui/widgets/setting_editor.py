"""The right widget for one setting: a spin box, a list of choices, a tick or a line of text.

An editor holds one value and says when the person changed it; whether the value goes with the others is
the form's affair.
"""

from __future__ import annotations

import re
from typing import Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QLineEdit, QWidget

from atlas_core.config import Setting
from atlas_gui.widgets.number_spin import NumberSpin

STEPS = {"model.hidden_size": 64, "model.max_seq_len": 64}  # sizes that processors like, and that heads divide
WORDS = {"min": "minimum", "max": "maximum", "num": "", "seq": "sequence", "len": "length", "lr": "learning rate",
         "val": "validation", "eval": "validation", "grad": "gradient", "vocab": "vocabulary", "chars": "characters",
         "mlp": "MLP", "kv": "key-value", "bos": "BOS", "eos": "EOS", "beta1": "beta 1", "beta2": "beta 2",
         "tensorboard": "TensorBoard", "unicode": "Unicode", "k": "K", "p": "P", "warmup": "warm-up"}
ESCAPES = {"\\": r"\\", "\n": r"\n", "\t": r"\t", "|": r"\|"}


class CalmCombo(QComboBox):
    """A list of choices that lets the wheel scroll the form unless it was clicked before."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class SettingEditor(QObject):
    """One setting's widget behind the same three names, whatever its type."""

    edited = Signal(object)  # the new value, of the setting's own type

    def __init__(self, setting: Setting, parent: QWidget) -> None:
        super().__init__(parent)
        self.setting = setting
        self.widget = self._build(parent)
        self.widget.setAccessibleName(label_text(setting))
        self.widget.setAccessibleDescription(setting.help)
        self.widget.setObjectName(setting.key)

    def _build(self, parent: QWidget) -> QWidget:
        s = self.setting
        if s.choices:
            combo = CalmCombo(parent)
            combo.addItems(s.choices)
            combo.textActivated.connect(self.edited.emit)
            return combo
        if s.type is bool:
            tick = QCheckBox(parent)
            tick.clicked.connect(self._on_ticked)
            return tick
        if s.type in (int, float):
            assert s.low is not None and s.high is not None, f"{s.key} has no bounds"
            spin = NumberSpin(s.low, s.high, whole=s.type is int, suffix=s.unit, step=STEPS.get(s.key, 0),
                              parent=parent)
            spin.value_edited.connect(self.edited.emit)
            return spin
        line = QLineEdit(parent)
        line.setPlaceholderText("texts, separated by |" if s.type is tuple else "")
        line.textEdited.connect(lambda text: self.edited.emit(self._from_text(text)))
        return line

    def _on_ticked(self, on: bool) -> None:
        self.edited.emit(on)

    def _from_text(self, text: str) -> Any:
        if self.setting.type is not tuple:
            return text.strip()
        return split_texts(text) if text else self.setting.default

    def set_value(self, value: Any) -> None:
        """Show `value` without telling anyone."""
        widget = self.widget
        if isinstance(widget, QComboBox):
            widget.setCurrentText(value)
        elif isinstance(widget, QCheckBox):
            widget.setChecked(value)
        elif isinstance(widget, NumberSpin):
            widget.set_value(value)
        elif isinstance(widget, QLineEdit):
            text = join_texts(value) if isinstance(value, tuple) else value
            if self._from_text(widget.text()) != value:  # keeps the cursor while someone types
                widget.setText(text)


def label_text(setting: Setting) -> str:
    """`max_seq_len` as "Maximum sequence length"."""
    words = [WORDS.get(word, word) for word in setting.name.split("_")]
    spelled = " ".join(word for word in words if word)
    return spelled[0].upper() + spelled[1:]


def join_texts(texts: tuple[str, ...]) -> str:
    r"""Texts on one line, separated by " | "; a line break is shown as \n."""
    return " | ".join("".join(ESCAPES.get(letter, letter) for letter in text) for text in texts)


def split_texts(line: str) -> tuple[str, ...]:
    """The reverse of `join_texts`; the space on either side of a bar may be missing."""
    texts = [""]
    plain = {shown: meant for meant, shown in ESCAPES.items()}
    for token in re.findall(r"\\.| ?\| ?|.", line):
        if token.strip(" ") == "|":
            texts.append("")
        else:
            texts[-1] += plain.get(token, token)
    return tuple(texts)
