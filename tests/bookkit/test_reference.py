"""The pages that are made of docstrings and tests, and what a mark opens, on a small book."""

import json
import re

import pytest
import yaml
from bs4 import BeautifulSoup
from jupyter_book.sphinx import build_sphinx
from support import ROOT

from bookkit.site import reference
from bookkit.site.reference import sections, timed
from bookkit.verified.__main__ import main
from bookkit.verified.helpers import Helper

PAGE = """
# Boxes

A page about boxes, which is long enough for a description of it.

$$ |A| = wh $$ (box-area)

## Range

$$ |A| \\ge 0 $$ (box-area-range)
"""
MODULE = '''
"""Boxes."""

__all__ = ["Grid", "area", "fit"]


def area(sides: Real[Tensor, "*#n 2"]) -> Float[Tensor, "*#n"]:
    r"""Return the area, $|A|=wh$ (box-area), at least 0 (see box-area-range).

    - *Small* boxes fit, see `fit`.

    $$\\prod_kw_k$$

    Args:
        sides: of the box, $w$ and $h$,
            in any unit.
        kind: a name, or
            another: see `fit`.

    Source: somebody.

    Raises:
        ValueError: for `n < 0`.
    """
    return sides.prod(-1)


def fit(kind: Literal["loose", "tight"]):
    """Return <nothing>."""


class Grid:
    """A grid.

    Returns:
        Nothing in a list.
    """

    def __init__(self, n: int):
        self.n = n

    def boxes(self):
        """Return the boxes."""
        return []
'''
TESTS = '''
import pytest
from derived.box import Grid, area

SIDES = 2


@pytest.mark.verifies("box-area", by="exact")
@pytest.mark.verifies("box-area-range", by="exact")
def test_area():
    """Sides multiply."""
    assert area(SIDES) == "</script>"


@pytest.mark.verifies("box-area-range", by="exact")
def test_range():
    assert Grid(SIDES).boxes()
'''
BENCHMARK = {
    "date": "2026-11-24",
    "machine": "a machine",
    "rounds": 3,
    "versions": {"python": "3"},
    "results": {
        "box area, N = 5": {"ms": 1.0, "times_faster": 2.5, "quartiles": [2.0, 3.0]},
        "grids": {"ms": 1.0, "times_faster": 1.5, "quartiles": [1.0, 2.0]},
    },
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A function that returns a page of the small book, which is built once."""
    root = tmp_path_factory.mktemp("book")
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    parts = {"chapters": [{"file": "chapters/box"}], "numbered": True, "caption": "Chapters"}
    rest = {"chapters": [{"file": "verified"}, {"file": "benchmarks"}], "caption": "Rest"}
    toc = {"format": "jb-book", "root": "index", "parts": [parts, rest]}
    files = {
        "_config.yml": yaml.safe_dump(config),
        "_toc.yml": yaml.safe_dump(toc),
        "references.bib": "",
        "index.md": "# A book\n\nA first page that is long enough for a description of it.\n",
        "verified.md": "# Verified equations\n\n```{verified-equations}\n```\n",
        "benchmarks.md": "# Benchmarks\n\n```{benchmark-report}\n```\n",
        "chapters/box.md": PAGE,
        "src/derived/box.py": MODULE,
        "tests/test_box.py": TESTS,
        "benchmarks/bench_box.py": '"""What is measured."""\n',
        "benchmarks/results/box.json": json.dumps(BENCHMARK),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    main(["accept", "--root", str(root)])
    code = build_sphinx(
        root,
        root / "_build" / "html",
        noconfig=True,
        path_config=root / "_config.yml",
        confoverrides={
            "external_toc_path": str(root / "_toc.yml"),
            "latex_individualpages": False,
        },
        warningiserror=True,
        keep_going=True,
        quiet=True,
    )
    assert code == 0

    def read(name: str) -> str:
        return (root / "_build" / "html" / name).read_text("utf-8")

    return read


@pytest.fixture(scope="module")
def page(site):
    return lambda name: BeautifulSoup(site(name), "html.parser")


@pytest.fixture(scope="module")
def opened(site):
    """The panels of the chapter's marks, and the sources that they stand for."""
    call = re.fullmatch(r"verifiedPanels\((.*)\);\n", site("_static/verified/box.js"), re.DOTALL)
    return json.loads(f"[{call[1]}]")


def links(element) -> dict[str, str]:
    return {a.get_text(): a["href"] for a in element.find_all("a")}


def test_a_chapter_leads_to_its_helpers_and_equations_and_back(page):
    ways = page("chapters/box.html").article.select_one("section > h1 + p.ways")
    assert links(ways) == {
        "Reference of its code": "../reference/box.html",
        "Its verified equations": "../verified/box.html",
    }
    assert "../chapters/box.html" in links(page("reference/box.html").select_one(".ways")).values()
    back = links(page("verified/box.html").select_one(".ways"))
    assert back["To the chapter"] == "../chapters/box.html"
    assert back["Reference of its code"] == "../reference/box.html"
    assert back["All chapters"] == "../verified.html"


def test_a_page_outside_the_contents_has_the_frame_of_the_others(page):
    for name in ("reference/box.html", "verified/box.html"):
        made = page(name)
        assert len(made.find_all("h1")) == 1
        assert "Boxes — Deep Learning, Derived" in made.title.text
        assert 10 < len(made.find("meta", {"name": "description"})["content"]) <= 160
        assert made.select_one("#book-contents a[href='../chapters/box.html']")
        for section in made.select(".bd-article > section > section"):
            assert section["style"].startswith("--height: ")
    contents = page("reference/box.html").select_one("#page-contents")
    assert list(links(contents).values()) == ["#area", "#fit", "#Grid"]


def test_the_reference_shows_signature_docstring_and_facts(page):
    area = page("reference/box.html").find(id="area")
    assert area.find("pre").text == 'area(sides: Real[Tensor, "*#n 2"]) -> Float[Tensor, "*#n"]\n'
    summary = area.find("p")
    assert summary.find("annotation").text == "|A|=wh"
    assert links(summary) == {
        "(1.1)": "../chapters/box.html#equation-box-area",
        "(1.2)": "../chapters/box.html#equation-box-area-range",
    }
    assert "at least 0 (see (1.2))." in summary.text
    assert area.select_one("li em").text == "Small"
    assert links(area.find("li")) == {"fit": "#fit"}
    assert area.select_one("div.math annotation").text == "\\prod_kw_k"
    terms = {dt.text.strip(): dt.find_next("dd") for dt in area.select(".helper-terms dt")}
    assert list(terms) == ["sides", "kind", "ValueError"]
    assert terms["sides"].text.strip().endswith("in any unit.")
    assert links(terms["kind"]) == {"fit": "#fit"}
    facts = {dt.text.strip(): dt.find_next("dd") for dt in area.select(".helper-facts dt")}
    assert list(facts) == ["Computes", "See also", "Speed", "Source", "Tests"]
    assert "2.50 times as fast (box area, N = 5)" in facts["Speed"].text
    assert "../benchmarks.html#benchmark-box" in links(facts["Speed"]).values()
    assert facts["Source"].text.strip() == "src/derived/box.py:7"
    assert links(facts["Tests"]) == {"test_area": "../verified/box.html#test_box.test_area"}
    fit = page("reference/box.html").find(id="fit")
    assert "<nothing>" in fit.text
    choices = fit.find("dt")
    assert (choices.text.strip(), choices.find_next("dd").text.strip()) == (
        "Choices of kind",
        "loose, tight",
    )


def test_methods_stand_under_their_class(page):
    grid = page("reference/box.html").find(id="Grid")
    assert grid.find("pre").text == "Grid(n: int)\n"
    assert "Nothing in a list." in grid.text
    assert grid.find(id="Grid.boxes").h3


def test_the_list_holds_equations_helpers_tests_and_their_sources_once(page):
    made = page("verified/box.html")
    row = made.find(id="box-area")
    assert row.find("annotation").text.strip() == "|A| = wh"
    assert links(row) == {
        "(1.1)": "../chapters/box.html#equation-box-area",
        "area": "../reference/box.html#area",
        "test_area": "#test_box.test_area",
    }
    assert "Sides multiply." in row.text
    sources = made.select(".verified-sources pre")
    assert [source["id"] for source in sources] == [
        "test_box.test_area",
        "test_box.test_range",
        "test_box.SIDES",
    ]
    assert sources[0].text.startswith("@pytest.mark.verifies")
    assert all(source.find_parent("details") for source in sources)
    assert links(sources[0].parent.find("p")) == {"SIDES": "#test_box.SIDES"}


def test_the_overview_has_a_row_a_chapter(page):
    made = page("verified.html")
    assert "2 labeled equations: 2 with tests that have not passed here." in made.article.text
    cells = [cell.text.strip() for cell in made.select("table tbody tr:first-child :is(th, td)")]
    assert cells == ["1. Boxes", "2", "2 with tests that have not passed here", "2"]
    assert links(made.table) == {"1. Boxes": "verified/box.html"}


def test_a_mark_says_its_verdict_and_leads_to_what_it_will_load(page, site):
    made = page("chapters/box.html")
    first, second = made.select("details.verified")
    assert first.previous_sibling.previous_sibling["id"] == "equation-box-area"
    assert first.summary.text.split() == [
        "○",
        "tested",
        "by",
        "exact",
        "identity",
        "·",
        "not",
        "run",
        "here",
    ]
    assert re.fullmatch(r"\.\./_static/verified/box\.js\?v=\w{8}", first["data-panels"])
    assert (first["data-label"], second["data-label"]) == ("box-area", "box-area-range")
    assert links(first) == {"Its tests and their source": "../verified/box.html#box-area"}
    assert "assert" not in made.article.text


def test_what_a_mark_opens_holds_each_source_once(opened):
    panels, sources = opened
    assert list(panels) == ["box-area", "box-area-range"]
    area = BeautifulSoup(panels["box-area"], "html.parser")
    computed = area.select_one(".verified-code")
    assert computed.p.text == "computed by area src/derived/box.py, lines 7–25"
    assert links(computed) == {"area": "../reference/box.html#area"}
    code = BeautifulSoup(sources[int(computed.find("div")["data-source"])], "html.parser").pre
    assert "return sides.prod(-1)" in code.text and "Args:" not in code.text
    assert (code["tabindex"], code["role"]) == ("0", "group")
    assert code["aria-label"] == "Source of area"
    test = area.select_one(".verified-test")
    assert "tests/test_box.py, lines 8–12 · exact identity" in test.p.text
    assert test.select_one("details summary").text == "uses SIDES"
    texts = [BeautifulSoup(source, "html.parser").pre.text for source in sources]
    assert len(texts) == len(set(texts)) == 4
    assert any("</script>" in text for text in texts)
    assert not BeautifulSoup("".join(sources), "html.parser").select(":is(.n, .nn, .p, .w)")
    slots = re.findall(r'data-source="(\d+)"', "".join(panels.values()))
    assert sorted(slots) == ["0", "1", "1", "1", "2", "2", "3"]


def test_styles_and_search_know_the_pages_and_not_the_code(site):
    css = site("_static/book.css")
    for name in ("helper-facts", "verified-sources", "verified-code", "ways", "highlight .k"):
        assert f".{name}" in css, name
    index = json.loads(site("searchindex.js").removeprefix("Search.setIndex(").removesuffix(")"))
    assert {"reference/box", "verified/box"} < set(index["docnames"])
    places = [index["docnames"].index(name) for name in ("reference/box", "verified/box")]
    # "Sides multiply." is what a test says of itself.
    assert [found for term, found in index["terms"].items() if "multipl" in term] == [places]
    assert "assert" not in index["terms"]


def test_sections_of_a_docstring():
    said = (
        "One.\n\nArgs:\n    a: first,\n        still: first.\n    b, c: second.\n\nUnits: none.\n"
    )
    assert list(sections(said)) == [
        ("", "One."),
        ("Args", [("a", "first, still: first."), ("b, c", "second.")]),
        ("", "Units: none."),
    ]
    assert list(sections("Returns:\n    a: not a name.\n")) == [("Returns", "a: not a name.")]


def test_a_row_is_of_the_helper_with_the_longest_name_in_it(tmp_path):
    rows = ["rotated iou, N = 2", "iou loss", "coco_map, few", "pairwise iou", "previous"]
    one = {"ms": 1.0, "times_faster": 2.0, "quartiles": [1.5, 3.0]}
    result = BENCHMARK | {"results": dict.fromkeys(rows, one)}
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "benchmarks/results/iou.json").write_text(json.dumps(result))
    names = ("iou", "rotated_iou", "coco_map", "pairwise", "nms")
    helpers = [Helper("iou", n, "", 1, 1, "", "", "", (), (), ()) for n in names]
    found = timed(tmp_path, "iou", helpers)
    assert {name: [" ".join(row.name) for row in of] for name, of in found.items()} == {
        "rotated_iou": ["rotated iou, N = 2"],
        "iou": ["iou loss", "pairwise iou"],
        "pairwise": ["pairwise iou"],
        "coco_map": ["coco_map, few"],
    }
    assert timed(tmp_path, "pose", helpers) == {}


def test_a_place_is_a_name():
    helper = Helper("box", "Grid.boxes", "", 1, 1, "", "", "", (), (), ())
    assert (reference.page_name("box"), reference.place(helper)) == ("reference/box", "Grid.boxes")
