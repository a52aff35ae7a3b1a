"""Colors of the interactive figures, for all eyes: told apart by difference, or by more than hue."""

import re
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from colors import COLOR_BLINDNESS, contrast, difference, seen

CSS = (Path(__file__).parents[1] / "src/derived/explorables/kit.css").read_text("utf-8")
THEMES = dict(
    zip(
        ("light", "dark"),
        (
            dict(re.findall(r"--xp-([\w-]+):\s*(#[0-9a-f]{6})", block))
            for block in re.findall(r"\{([^{}]*--xp-paper:[^{}]*)\}", CSS)
        ),
        strict=True,
    )
)
# Of each category: the color's name and the dashes of its line.
CATEGORIES = re.findall(r"--xp-kind: var\(--xp-([\w-]+)\);\s*--xp-dash: ([^;]+);", CSS)
BOTH = pytest.mark.parametrize("theme", THEMES)
EYES = pytest.mark.parametrize("kind", COLOR_BLINDNESS)
# CIE76; 2.3 is just noticeable side by side.
APART = 15


def test_the_style_sheet_is_read():
    assert set(THEMES["light"]) == set(THEMES["dark"])
    assert len(CATEGORIES) >= 6


@BOTH
@EYES
def test_categories_differ_in_color_or_in_dashes(theme, kind):
    same = [
        (a, b)
        for (a, dash_a), (b, dash_b) in combinations(CATEGORIES, 2)
        if dash_a == dash_b and difference(THEMES[theme][a], THEMES[theme][b], kind) < APART
    ]
    assert same == []


@BOTH
def test_all_eyes_need_the_dashes(theme):
    """Some pairs look alike to some eyes, so no figure may tell its lines apart by hue alone."""
    dashes = [dash for _, dash in CATEGORIES]
    assert len(set(dashes)) == len(dashes)


# Both ends of a map of signed numbers; what is chosen, or predicted, beside ordinary ink.
@BOTH
@EYES
@pytest.mark.parametrize("pair", [("a", "series-3"), ("a", "ink")])
def test_pairs_without_dashes_differ_in_color(theme, kind, pair):
    first, second = (THEMES[theme][name] for name in pair)
    assert difference(first, second, kind) > 2 * APART


@BOTH
@EYES
def test_the_ramp_rises_for_all_eyes(theme, kind):
    """Neighboring stops of the color ramp differ, and its lightness goes one way."""
    light = [seen(THEMES[theme][f"ramp-{i}"], kind)[0] for i in range(5)]
    steps = [b - a for a, b in pairwise(light)]
    assert min(map(abs, steps)) > 2
    assert len({step > 0 for step in steps}) == 1


@BOTH
def test_lines_and_texts_are_seen_on_paper(theme):
    colors = THEMES[theme]
    names = {name for name, _ in CATEGORIES} | {"a", "ink", "soft", "accent"}
    faint = {n for n in names if contrast(colors[n], colors["paper"]) < 4.5}
    faint |= {"edge"} if contrast(colors["edge"], colors["paper"]) < 3 else set()
    assert faint == set()
