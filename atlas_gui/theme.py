"""The look: one palette in a light and a dark form, the fonts, the icons. Decides no layout.

A widget that paints asks `colors()` when it paints, and repaints on `notifier.changed`. Ordinary widgets
need nothing: they say what they are with a property, and the style sheet below does the rest:

    button.setProperty("role", "primary")     the one thing to do here
    button.setProperty("role", "flat")        an icon or link without a frame
    frame.setProperty("role", "card")         a panel with a border; "card-selected" when chosen
    text_edit.setProperty("role", "plain")    text on a card, without a field around it
    label.setProperty("role", "title" | "muted" | "good" | "warning" | "bad")

Change a role later with `set_role(widget, role)`, which also redraws it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import qtawesome
from PySide6.QtCore import QObject, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QIcon, QIconEngine, QPainter, QPalette, QPixmap
from PySide6.QtWidgets import QApplication, QWidget

from atlas_core import paths

spacing = 8  # pixels; every distance is a multiple


@dataclass(frozen=True)
class Palette:
    """Colours by meaning, as #rrggbb. `train` and `validation` are Okabe and Ito's, safe for the colour-blind."""

    dark: bool
    window: str
    panel: str
    field: str
    border: str
    hover: str
    text: str
    muted: str
    accent: str
    on_accent: str
    train: str
    validation: str
    good: str
    warning: str
    bad: str
    grid: str


LIGHT = Palette(
    dark=False, window="#f4f5f8", panel="#ffffff", field="#ffffff", border="#d5d9e1", hover="#e9ecf3",
    text="#1b1f27", muted="#5a6270", accent="#2a5bd7", on_accent="#ffffff",
    train="#0072b2", validation="#b84f00", good="#00714f", warning="#8f5200", bad="#b3261e", grid="#dfe3ea",
)
DARK = Palette(
    dark=True, window="#16181d", panel="#1e2128", field="#262a33", border="#363c48", hover="#2d323d",
    text="#e7e9ee", muted="#a2a9b7", accent="#7ba7ff", on_accent="#0d1424",
    train="#56b4e9", validation="#e69f00", good="#3fcf9f", warning="#f0b35b", bad="#ff8a80", grid="#2f343f",
)

# Further series, in the order to use them (Okabe and Ito 2008); each reads on both backgrounds.
SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")


class _Notifier(QObject):
    """Tells painters that the colours are other ones now."""

    changed = Signal()


notifier = _Notifier()
_current = LIGHT


def colors() -> Palette:
    """The palette in force."""
    return _current


def apply(app: QApplication, dark: bool | None) -> None:
    """Give the program its look: light, dark, or (None) as the system has it."""
    global _current  # noqa: PLW0603 - there is one screen and one theme
    if dark is None:
        dark = app.styleHints().colorScheme() == Qt.ColorScheme.Dark
    _current = DARK if dark else LIGHT
    if app.style().objectName() != "fusion":
        app.setStyle("Fusion")
    app.setPalette(_qt_palette(_current))
    app.setStyleSheet(_style_sheet(_current))
    notifier.changed.emit()


def mono_font(*, points: float | None = None) -> QFont:
    """A font whose digits are all equally wide, for numbers that change."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    font.setPointSizeF(points or QApplication.font().pointSizeF())
    return font


def icon(name: str, color: str = "text") -> QIcon:
    """A Material Design icon by name (`play`, `pause`); `color` is a field of the palette.

    It follows the theme by itself.
    """
    return QIcon(_ThemedIcon(name, color))


def set_role(widget: QWidget, role: str) -> None:
    """Change what a widget is to the style sheet, and let it be drawn anew."""
    if widget.property("role") != role:
        widget.setProperty("role", role)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


class _ThemedIcon(QIconEngine):
    """Draws an icon in the colour the theme has at that moment."""

    def __init__(self, name: str, color: str) -> None:
        super().__init__()
        self._name, self._color = name, color

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        palette = colors()
        color = palette.border if mode == QIcon.Mode.Disabled else getattr(palette, self._color)
        _drawn_icon(self._name, color).paint(painter, rect, Qt.AlignmentFlag.AlignCenter, QIcon.Mode.Normal, state)

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        pixmap = QPixmap(size)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        self.paint(painter, QRect(QPoint(0, 0), size), mode, state)
        painter.end()
        return pixmap

    def clone(self) -> QIconEngine:
        return _ThemedIcon(self._name, self._color)


@cache
def _drawn_icon(name: str, color: str) -> QIcon:
    return qtawesome.icon(f"mdi6.{name}", color=color)


def _qt_palette(p: Palette) -> QPalette:
    role, group = QPalette.ColorRole, QPalette.ColorGroup
    palette = QPalette()
    for which, color in {
        role.Window: p.window, role.WindowText: p.text, role.Base: p.field, role.AlternateBase: p.panel,
        role.Text: p.text, role.Button: p.panel, role.ButtonText: p.text, role.BrightText: p.bad,
        role.ToolTipBase: p.panel, role.ToolTipText: p.text, role.PlaceholderText: p.muted,
        role.Highlight: p.accent, role.HighlightedText: p.on_accent, role.Link: p.accent, role.LinkVisited: p.accent,
        role.Light: p.panel, role.Midlight: p.hover, role.Mid: p.border, role.Dark: p.border, role.Shadow: p.border,
    }.items():
        palette.setColor(which, QColor(color))
    for which in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(group.Disabled, which, QColor(p.muted))
    palette.setColor(group.Disabled, role.Highlight, QColor(p.border))
    return palette


def _style_sheet(p: Palette) -> str:
    """Only what Fusion cannot do by palette, and only by class or role: `QWidget {}` would reach into plots."""
    return f"""
    QFrame[role="card"], QFrame[role="card-selected"] {{
        background: {p.panel}; border: 1px solid {p.border}; border-radius: 8px; }}
    QFrame[role="card-selected"] {{ border: 2px solid {p.accent}; }}
    QLabel {{ background: transparent; }}
    QLabel[role="title"] {{ font-weight: 600; }}
    QLabel[role="muted"] {{ color: {p.muted}; }}
    QLabel[role="good"] {{ color: {p.good}; }}
    QLabel[role="warning"] {{ color: {p.warning}; }}
    QLabel[role="bad"] {{ color: {p.bad}; }}

    QDialogButtonBox {{ dialogbuttonbox-buttons-have-icons: 0; }}
    QPushButton {{ background: {p.panel}; border: 1px solid {p.border}; border-radius: 6px; padding: 5px 12px; }}
    QPushButton:hover {{ background: {p.hover}; }}
    QPushButton:focus {{ border-color: {p.accent}; }}
    QPushButton:disabled {{ color: {p.muted}; background: {p.window}; }}
    QPushButton[role="primary"] {{
        background: {p.accent}; color: {p.on_accent}; border: 1px solid {p.accent}; font-weight: 600; }}
    QPushButton[role="primary"]:hover {{ border: 1px solid {p.text}; }}
    QPushButton[role="primary"]:disabled {{ background: {p.hover}; color: {p.muted}; border-color: {p.border}; }}
    QPushButton[role="flat"], QToolButton {{ background: transparent; border: 1px solid transparent;
        border-radius: 6px; padding: 4px; }}
    QPushButton[role="flat"]:hover, QToolButton:hover {{ background: {p.hover}; }}
    QPushButton[role="flat"]:focus, QToolButton:focus {{ border-color: {p.accent}; }}

    QTabWidget::pane {{ border: none; border-top: 1px solid {p.border}; }}
    QTabBar::tab {{ background: transparent; color: {p.muted}; padding: 8px 16px; border: none;
        border-bottom: 2px solid transparent; }}
    QTabBar::tab:hover {{ color: {p.text}; }}
    QTabBar::tab:selected {{ color: {p.text}; border-bottom: 2px solid {p.accent}; }}
    QTabBar::tab:focus {{ color: {p.accent}; }}

    QProgressBar {{ background: {p.hover}; border: none; border-radius: 4px; min-height: 8px; text-align: center; }}
    QProgressBar::chunk {{ background: {p.accent}; border-radius: 4px; }}
    QProgressBar#runProgress, QProgressBar#runProgress::chunk {{ border-radius: 0; min-height: 0; }}
    QToolTip {{ background: {p.panel}; color: {p.text}; border: 1px solid {p.border}; padding: 4px; }}
    QToolBar {{ background: {p.panel}; border: none; border-bottom: 1px solid {p.border}; padding: 6px 8px; }}
    QStatusBar {{ background: {p.panel}; border-top: 1px solid {p.border}; }}
    QStatusBar::item {{ border: none; }}
    QStatusBar QLabel {{ padding: 2px 8px; }}
    QSplitter::handle {{ background: transparent; }}
    QScrollArea {{ background: transparent; border: none; }}

    QScrollBar {{ background: transparent; border: none; }}
    QScrollBar:vertical {{ width: 12px; }}
    QScrollBar:horizontal {{ height: 12px; }}
    QScrollBar::handle {{ background: {p.border}; border-radius: 4px; margin: 2px; min-height: 24px; min-width: 24px; }}
    QScrollBar::handle:hover {{ background: {p.muted}; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}

    QLineEdit, QTextEdit, QPlainTextEdit, QTreeView, QComboBox, QAbstractSpinBox {{
        background: {p.field}; border: 1px solid {p.border}; border-radius: 6px; }}
    QLineEdit, QComboBox, QAbstractSpinBox {{ min-height: 24px; padding: 0 6px; }}
    QComboBox:hover, QAbstractSpinBox:hover, QLineEdit:hover {{ border-color: {p.muted}; }}
    QLineEdit:focus, QTextEdit:focus, QPlainTextEdit:focus, QTreeView:focus, QComboBox:focus,
    QAbstractSpinBox:focus {{ border-color: {p.accent}; }}
    QLineEdit:disabled, QComboBox:disabled, QAbstractSpinBox:disabled {{
        color: {p.muted}; background: {p.window}; }}
    QComboBox {{ combobox-popup: 0; }}
    QComboBox QAbstractItemView {{ background: {p.panel}; border: 1px solid {p.border}; outline: none;
        selection-background-color: {p.accent}; selection-color: {p.on_accent}; }}
    QComboBox::drop-down {{ border: none; width: 24px; }}
    QComboBox::down-arrow {{ image: url("{_picture("chevron-down")}"); width: 16px; height: 16px; }}
    QAbstractSpinBox::up-button {{ border: none; width: 20px; subcontrol-position: top right; }}
    QAbstractSpinBox::down-button {{
        border: none; width: 20px; subcontrol-position: bottom right; }}
    QAbstractSpinBox::up-arrow {{
        image: url("{_picture("chevron-up")}"); width: 12px; height: 12px; }}
    QAbstractSpinBox::down-arrow {{
        image: url("{_picture("chevron-down")}"); width: 12px; height: 12px; }}
    QAbstractSpinBox QLineEdit, QComboBox QLineEdit {{
        border: none; padding: 0 4px; min-height: 0; background: transparent; }}

    QCheckBox::indicator {{ width: 16px; height: 16px; border: 1px solid {p.muted}; border-radius: 4px;
        background: {p.field}; }}
    QCheckBox::indicator:focus {{ border-color: {p.accent}; }}
    QCheckBox::indicator:checked {{ background: {p.accent}; border-color: {p.accent};
        image: url("{_picture("check-dark" if p.dark else "check-white")}"); }}
    QCheckBox::indicator:disabled {{ border-color: {p.border}; background: {p.hover}; }}
    QSlider::groove:horizontal {{ background: {p.border}; height: 4px; border-radius: 2px; }}
    QSlider::sub-page:horizontal {{ background: {p.accent}; border-radius: 2px; }}
    QSlider::handle:horizontal {{ background: {p.accent}; border: 1px solid {p.panel}; width: 14px; height: 14px;
        margin: -6px 0; border-radius: 7px; }}
    QSlider::handle:horizontal:focus {{ border-color: {p.text}; }}
    QSlider::sub-page:horizontal:disabled, QSlider::handle:horizontal:disabled {{ background: {p.muted}; }}
    QTextEdit[role="plain"], QPlainTextEdit[role="plain"] {{ background: transparent; border: none; }}
    """


def _picture(name: str) -> str:
    """A drawing that travels with the program, as a style sheet names it: with forward slashes everywhere."""
    return paths.resource("icons", f"{name}.svg").as_posix()
