"""A figure's picture is stale when something that may have drawn it has changed, and only then."""

import re
import shutil

import pytest
from support import ROOT

from bookkit.site.explorables import picture_key
from bookkit.site.stills import used_script, used_style
from derived.explorables import EXPLORABLES

FOLDER = ROOT / "src/derived/explorables"
ALL = set(EXPLORABLES)
DIFFUSION = {"denoise_a_point", "guidance_paths"}


@pytest.fixture
def stale(monkeypatch, tmp_path):
    """Change a file of a copy of the figures' folder; return the figures whose pictures are stale."""
    before = {name: picture_key(figure) for name, figure in EXPLORABLES.items()}
    folder = shutil.copytree(FOLDER, tmp_path / "explorables")
    monkeypatch.setattr("derived.explorables._base.FOLDER", folder)
    monkeypatch.setattr("bookkit.site.explorables.FOLDER", folder)

    def change(file, old, new):
        text = (folder / file).read_text("utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1), "utf-8")
        return {name for name, figure in EXPLORABLES.items() if picture_key(figure) != before[name]}

    return change


@pytest.mark.parametrize(
    ("file", "old", "new", "figures"),
    [
        # The kit's functions: of all figures, of some, of one through another function, of none.
        ("kit.js", "document.createElement(tag)", "document.createElement(`${tag}`)", ALL),
        ("kit.js", "r: 10.5 }", "r: 11 }", DIFFUSION),
        ("kit.js", '"⁰¹²³⁴⁵⁶⁷⁸⁹"', '"0123456789"', ALL - {"denoise_a_point", "matrix_memory", "push_a_box"}),
        ("kit.js", "// ----", "// A new remark.\n// ----", set()),
        ("kit.js", "/** Create an SVG element. */", "/** Make an SVG element. */", set()),
        ("kit.js", "export function plane(", "export function unasked() {}\n\nexport function plane(", set()),
        ("kit.js", "const points = new Float64Array(2 * columns", "const points = new Float32Array(2 * columns", DIFFUSION),
        # A figure's own file and default.
        ("iou.js", "const MINIMUM = 0.1", "const MINIMUM = 0.2", {"push_a_box"}),
        ("iou.js", "// Push a box:", "// Push a box, or pull:", set()),
        # Styles: for all, for some, for one; another theme, print, touch; names that nobody asks for.
        ("kit.css", "--xp-ink: #1d232b", "--xp-ink: #1d232c", ALL),
        ("kit.css", "--xp-many: 40%", "--xp-many: 41%", {"signal_through_depth"}),
        ("kit.css", "--xp-ink: #e8ebef", "--xp-ink: #e8ebff", set()),
        ("kit.css", "  --xp-paper: #ffffff;", "  --xp-new: red;\n  --xp-paper: #ffffff;", set()),
        ("kit.css", "--xp-touch: 125px", "--xp-touch: 126px", set()),
        ("kit.css", ".xp-body {", ".xp-new-thing {\n  color: red;\n}\n\n.xp-body {", set()),
        ("kit.css", "/* The bars */", "/* Bars */", set()),
        ("kit.css", "@container (min-width: 660px) {", "@container (min-width: 661px) {", ALL),
        ("iou.css", "stroke-width: 2.5", "stroke-width: 3", {"push_a_box"}),
        ("diffusion.css", "stroke-dasharray: 3 4", "stroke-dasharray: 3 5", {"guidance_paths"}),
    ],
)  # fmt: skip
def test_a_change_makes_stale_what_it_may_have_drawn(stale, file, old, new, figures):
    assert stale(file, old, new) == figures


def test_another_default_makes_a_picture_stale(monkeypatch):
    figure = EXPLORABLES["push_a_box"]
    before = picture_key(figure)
    monkeypatch.setattr(figure.step, "default_value", 3)
    assert picture_key(figure) != before


def test_the_kit_can_be_taken_apart():
    """What begins a line of the kit is a declaration, the end of one, or a comment."""
    text = (FOLDER / "kit.js").read_text("utf-8")
    begins = [line for line in text.splitlines() if line and line[0] not in " }])/"]
    odd = [line for line in begins if not re.match(r"(export )?(function|const|let) \w+", line)]
    assert odd == []


def test_what_is_used_through_others_is_used():
    kit = (
        "const a = 1;\nfunction b() {\n  return a;\n}\nexport const c = () => b();\nconst d = 2;\n"
    )
    used = used_script(kit, "// d\nc();\n")
    assert "const a" in used and "function b" in used and "const d" not in used


def test_rules_for_what_is_not_made_are_left_out():
    style = ".x-a {\n  color: var(--p);\n  --q: 1;\n}\n.x-b,\n.x-c {\n  --p: 2;\n}\n"
    assert used_style(style, 'class: "x-a"').split() == [".x-a", "{", "color:", "var(--p);", "}"]
    both = used_style(style, 'class: "x-a x-c"')
    assert "--p: 2;" in both and "--q" not in both
