"""Helpers, read from their source, and what they cite: on a tiny book, and on this one."""

import textwrap
from pathlib import Path

import pytest
from support import ROOT

from bookkit.verified import checks, equations, helpers, marks
from bookkit.verified.__main__ import main
from bookkit.verified.chapters import chapters

TOC = "format: jb-book\nroot: chapters/box\n"
PAGE = """
# Boxes

$$ |A| = wh $$ (box-area)

$$ |A| \\ge 0 $$ (box-area-range)

$$ J = 1 $$ (box-tight-fit)
"""
MODULE = '''
"""Boxes. Labels are those of the chapter."""

from typing import Literal

__all__ = ["Grid", "area", "fit"]
__all__ += ["LIMIT"]

Kind = Literal["loose", "tight_fit"]
LIMIT = 3


@checked
def area(sides: Real[Tensor, "*#n 2"], /, unit=1, *, long: bool = False, **rest) -> Float[Tensor, ""]:
    """Return the area (box-area), at least 0 (see box-area-range)."""

    # Why this is so.
    return sides.prod()


def _area(sides):
    """The formula."""
    return 2 * sides


def fit(kind: Kind | None = None):
    """Return how a box fits
    (box-tight-fit,
    box-area)."""


class Grid:
    """A grid."""

    def __init__(self, n: int):
        self.n = n

    def boxes(self, *more: int):
        """Return boxes (box-area)."""
        return self._all()

    def _all(self):
        return []


def hidden():
    """Not public (box-area)."""
'''
TESTS = """
import pytest
from derived import box as b
from derived.box import Grid, fit as fits


@pytest.mark.verifies("box-area", by="exact")
def test_area():
    assert b.area(SIDES) and Grid(1).boxes()


@pytest.mark.verifies("box-tight-fit", "box-area", by="exact")
def test_fit():
    assert fits() is None


@pytest.mark.verifies("box-area-range", by="exact")
def test_range():
    area = 1
    assert area > 0


SIDES = Grid(2)
"""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A book of one chapter without a problem."""
    files = {"_toc.yml": TOC, "chapters/box.md": PAGE, "tests/test_box.py": TESTS}
    write(tmp_path, files | {"src/derived/box.py": MODULE})
    main(["accept", "--root", str(tmp_path)])
    return tmp_path


def read(root: Path) -> tuple[checks.Book, tuple[helpers.Helper, ...]]:
    book = checks.read_book(checks.Paths.below(root), equations.book_pages(root))
    return book, helpers.in_book(book, root / "src" / "derived")


def problems(root: Path) -> list[str]:
    book, known = read(root)
    return [str(problem) for problem in helpers.problems(book, known, root / "src" / "derived")]


def edit(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text("utf-8")
    assert old in text
    (root / name).write_text(text.replace(old, new), "utf-8")


def test_helpers_with_their_place_signature_source_and_labels(root):
    _, (area, fit, grid, boxes) = read(root)
    assert [helper.name for helper in (area, fit, grid, boxes)] == [
        "area", "fit", "Grid", "Grid.boxes",
    ]  # fmt: skip
    assert area.where == "src/derived/box.py:13"
    assert area.signature == textwrap.dedent("""\
        area(
            sides: Real[Tensor, "*#n 2"],
            /,
            unit=1,
            *,
            long: bool = False,
            **rest,
        ) -> Float[Tensor, ""]""")
    assert area.source.splitlines()[0] == "@checked"
    assert area.source.splitlines()[2:] == [
        *("    # Why this is so.", "    return sides.prod()", "", ""),
        *("def _area(sides):", "    return 2 * sides"),  # the formula of its name
    ]
    assert (area.computes, area.mentions) == (("box-area",), ("box-area-range",))
    assert fit.computes == ("box-tight-fit", "box-area")
    assert fit.choices == (("kind", ("loose", "tight_fit")),)
    assert (grid.signature, boxes.signature) == ("Grid(n: int)", "Grid.boxes(*more: int)")
    assert boxes.owner == "Grid"


def test_a_package_is_read_like_a_module(root):
    _, module = read(root)
    source = root / "src/derived"
    head, room = MODULE.split("Kind = ")
    head = head.replace("from typing import Literal\n", "from derived.box.room import *\n")
    (source / "box.py").unlink()
    write(source, {"box/__init__.py": head, "box/room.py": f"Kind = {room}"})
    _, package = read(root)
    assert [h.name for h in package] == [h.name for h in module]
    assert [h.signature for h in package] == [h.signature for h in module]
    assert {h.path for h in package} == {"src/derived/box/room.py"}
    assert problems(root) == []
    (source / "box/other.py").write_text("def area(): ...\n")
    with pytest.raises(ValueError, match="`area` is defined in .*other.py, too"):
        read(root)


def test_what_all_names_must_exist(root):
    edit(root, "src/derived/box.py", '["LIMIT"]', '["LIMITS"]')
    with pytest.raises(ValueError, match="box.py: __all__ names what is not defined: LIMITS"):
        read(root)
    edit(root, "src/derived/box.py", '["LIMITS"]', "list(globals())")
    with pytest.raises(ValueError, match="box.py:7: __all__: expected a list of names"):
        read(root)


def test_a_chapter_without_a_module_has_no_helpers(root):
    (root / "src/derived/box.py").unlink()
    assert read(root)[1] == ()
    assert problems(root) == []


@pytest.mark.parametrize(
    ("name", "caller"),
    [
        ("area", "test_area"),
        ("Grid", "test_area"),
        ("Grid.boxes", "test_area"),
        ("fit", "test_fit"),
    ],
)
def test_a_test_calls_what_it_imports_by_any_name(root, name, caller):
    book, known = read(root)
    (helper,) = (helper for helper in known if helper.name == name)
    assert [t.name for t in book.tests if helpers.calls(t, helper, root)] == [caller]


def test_nothing_is_wrong_with_the_tiny_book(root):
    assert problems(root) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(box-area), at", "(box-aera), at", "box.py:15: cites `box-aera`, but no page has"),
        ("see box-area-range", "see box-range", "box.py:15: cites `box-range`, but no page has"),
        ("public (box-area)", "public (box-aera)", "cites `box-aera`, but no page has"),
        ("public (box-area)", "public, box-area", "a way of its own: write (box-area), or (see"),
        (
            "public (box-area)",
            "public (area)",
            "cites (area) without its chapter: write (box-area)",
        ),
        (
            "public (box-area)",
            "public (tight-fit, area)",
            "cites (tight-fit) without its chapter: write (box-tight-fit)",
        ),
        (
            "(see box-area-range)",
            "(box-area-range)",
            "`area` says that it computes `box-area-range`, but no test of that label calls it",
        ),
        (
            "(box-area), at",
            "(see box-area), at",
            "`area` by its name computes `box-area`, but its docstring does not say so",
        ),
        (
            "(box-tight-fit,\n    box-area)",
            "",
            "`fit` by its name computes `box-tight-fit`, but its docstring does not say so",
        ),
    ],
)
def test_what_is_refused(root, old, new, message):
    edit(root, "src/derived/box.py", old, new)
    assert [message in problem for problem in problems(root)].count(True) == 1


def test_words_that_are_no_labels_may_stand_in_parentheses(root):
    edit(root, "src/derived/box.py", "Not public", "Not (in-place) public (see other-things, too)")
    assert problems(root) == []


@pytest.fixture(scope="module")
def book() -> checks.Book:
    """This book: its equations and tests, without their outcomes."""
    pages = equations.book_pages(ROOT).items()
    found = tuple(e for name, file in pages for e in equations.in_page(file, name, ROOT))
    tests, _ = marks.in_folder(ROOT / "tests", ROOT)
    return checks.Book(checks.Paths.below(ROOT), found, tuple(tests), {}, {}, ())


@pytest.mark.parametrize(
    "chapter", [pytest.param(name, marks=pytest.mark.chapter(name)) for name in chapters()]
)
def test_each_cited_label_exists_and_each_computed_one_is_cited(book, chapter):
    source = ROOT / "src" / "derived"
    known = helpers.in_chapter(source, chapter, ROOT)
    assert len(known) > 3
    wrong = helpers.problems(book, known, source, [chapter])
    assert [str(problem) for problem in wrong] == []
