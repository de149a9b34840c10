"""The palettes keep their promise: everything can be read, and train and validation are told apart by anyone."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QSize
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication, QComboBox
from pytestqt.qtbot import QtBot

from atlas_gui import theme
from atlas_gui.theme import DARK, LIGHT, Palette

PALETTES = [pytest.param(LIGHT, id="light"), pytest.param(DARK, id="dark")]


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = QColor(color).getRgbF()[:3]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("ink", ["text", "muted", "accent", "train", "validation", "good", "warning", "bad"])
@pytest.mark.parametrize("paper", ["window", "panel", "field"])
def test_every_ink_reads_on_every_paper(palette: Palette, ink: str, paper: str) -> None:
    assert contrast(getattr(palette, ink), getattr(palette, paper)) >= 4.5


@pytest.mark.parametrize("palette", PALETTES)
def test_the_primary_button_reads(palette: Palette) -> None:
    assert contrast(palette.on_accent, palette.accent) >= 4.5


@pytest.mark.parametrize("palette", PALETTES)
def test_train_and_validation_differ_without_green_and_red(palette: Palette) -> None:
    """Blue against orange: they lie far apart on the blue-yellow axis, which red-green blindness keeps."""
    train, validation = QColor(palette.train), QColor(palette.validation)
    assert abs((train.blueF() - train.redF()) - (validation.blueF() - validation.redF())) > 0.8


def test_an_icon_follows_the_theme(qapp: QApplication) -> None:
    icon = theme.icon("play")
    seen = []
    for dark in (True, False):
        theme.apply(qapp, dark)
        image = icon.pixmap(QSize(32, 32)).toImage()
        opaque = [image.pixelColor(x, y) for x in range(32) for y in range(32) if image.pixelColor(x, y).alpha() == 255]
        assert opaque
        seen.append(opaque[0].name())
    assert seen == [DARK.text, LIGHT.text]


def test_painters_are_told_when_the_theme_changes(qapp: QApplication) -> None:
    told: list[Palette] = []
    receive = lambda: told.append(theme.colors())  # noqa: E731 - it is disconnected below
    theme.notifier.changed.connect(receive)
    theme.apply(qapp, True)
    theme.apply(qapp, False)
    theme.notifier.changed.disconnect(receive)
    assert told == [DARK, LIGHT]


def test_every_picture_the_style_sheet_names_is_there(qapp: QApplication) -> None:
    for dark in (True, False):
        theme.apply(qapp, dark)
        names = [part.split('"')[0] for part in qapp.styleSheet().split('url("')[1:]]
        assert names
        assert all(theme.paths.resource("icons", name.rsplit("/", 1)[1]).is_file() for name in names)


@pytest.mark.parametrize("palette", PALETTES)
def test_the_chosen_line_of_an_open_list_can_be_read(qapp: QApplication, qtbot: QtBot, palette: Palette) -> None:
    theme.apply(qapp, palette.dark)
    combo = QComboBox()
    qtbot.addWidget(combo)
    combo.addItems(["one", "two"])
    combo.show()
    combo.showPopup()
    view = combo.view()
    qtbot.waitUntil(view.isVisible)
    image = view.viewport().grab(view.visualRect(view.model().index(0, 0))).toImage()
    seen = {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}
    assert palette.accent in seen
    assert max(contrast(palette.accent, color) for color in seen) >= 3.5  # thin letters are mixed with their paper
    combo.hidePopup()
    theme.apply(qapp, False)
