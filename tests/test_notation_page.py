"""The notation page explains each symbol that two chapters share, and nothing that no chapter uses."""

import json
import re

import pytest
from support import ROOT

from bookkit.verified import notation
from bookkit.verified.chapters import chapters
from bookkit.verified.notation import GENERAL, listed, symbols

PAGE = (ROOT / "notation.md").read_text("utf-8")
each_chapter = pytest.mark.parametrize(
    "chapter", [pytest.param(name, marks=pytest.mark.chapter(name)) for name in chapters()]
)


@each_chapter
def test_what_a_chapter_shares_with_another_is_explained(chapter):
    assert [p for p in notation.problems(ROOT) if f"chapters/{chapter}.ipynb" in p] == []


@each_chapter
def test_what_the_page_lists_for_a_chapter_stands_in_it(chapter):
    cells = json.loads((ROOT / f"chapters/{chapter}.ipynb").read_text("utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    displays = re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)
    inline = notation._MATH.findall(re.sub(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL))
    used = set().union(*map(symbols, displays + inline))
    unused = listed(PAGE).get(chapter, set()) - used
    assert unused == set(), f"notation.md lists what {chapter} never writes"


def test_nothing_else_is_missing_and_no_other_chapter_is_listed():
    assert notation.problems(ROOT) == []
    assert listed(PAGE).keys() <= {GENERAL, *chapters()}
