"""`make chapter`: a chapter made from the templates passes every check, in a copy of the book."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from support import ROOT

from bookkit.chapter import make as chapter
from bookkit.chapter.order import ORDER
from bookkit.notebooks.form import check_notebook
from bookkit.verified.chapters import chapters

# A chapter that is yet to come: the first, should this one be written by now.
FREE = [name for name in ORDER if name not in chapters()]
NAME = "pose" if "pose" in FREE else FREE[0]
TITLE = "A new chapter: where the numbers are"

TOC = """\
parts:
  - caption: Chapters
    chapters:
      - file: chapters/initialization
      - file: chapters/iou
  - caption: Reference
    chapters:
      - file: notation
"""
# What was installed, built or remembered.
APART = (".*", "node_modules", "_build", "build", "dist", "__pycache__", "*.egg-info")


@dataclass
class Made:
    """A copy of the book in which the chapter was made."""

    root: Path
    edited: set[str]
    new: set[str]


def copied(folder: Path) -> Path:
    """Copy the book's sources, and what npm installed: a build of the copy may renew it."""
    root = shutil.copytree(ROOT, folder / "book", ignore=shutil.ignore_patterns(*APART))
    shutil.copytree(ROOT / "node_modules", root / "node_modules")
    return root


def hashes(root: Path) -> dict[str, str]:
    """Return a hash of each of the book's files."""
    files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    own = [f for f in files if not any(Path(part).match(a) for part in f.parts for a in APART)]
    return {file.as_posix(): hashlib.sha256((root / file).read_bytes()).hexdigest() for file in own}


def run(root: Path, *command: str) -> str:
    """Run a module of the copy, and return what it says; it must go well."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PYTHONPATH": str(root / "src"), "PATH": programs, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env=env,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1: the picture of a new chapter's figure is drawn by a browser")
    root = copied(tmp_path_factory.mktemp("copy"))
    before = hashes(root)
    assert "stands" in run(root, "bookkit.chapter", NAME, TITLE)
    after = hashes(root)
    edited = {path for path in before if after.get(path) != before[path]}
    return Made(root, edited, after.keys() - before.keys())


def test_only_the_contents_the_symbols_and_the_sources_are_edited(book):
    assert book.edited == {"_toc.yml", "notation.md", "references.bib"}
    assert book.new >= {*chapter.files(NAME, TITLE), f"chapters/{NAME}.ipynb"}
    assert all(NAME in path for path in book.new), "found by the chapter's word"


def test_no_mark_of_the_templates_is_left_and_all_is_linted(book):
    for path in [*chapter.files(NAME, TITLE), f"chapters/{NAME}.ipynb"]:
        text = (book.root / path).read_text("utf-8")
        assert not any(mark in text for mark in ("@NAME@", "@TITLE@", "@CLASS@")), path
    run(book.root, "ruff", "check", ".")
    run(book.root, "ruff", "format", "--check", ".")


def test_its_notebook_and_its_equations_are_in_order(book):
    assert check_notebook(book.root / f"chapters/{NAME}.ipynb") == []
    assert "no problems" in run(book.root, "bookkit.verified", "check")


def test_its_tests_pass(book):
    options = ["-p", "no:cacheprovider", "--color=no", "-vv", "--chapters", NAME]
    said = run(book.root, "pytest", *options, "tests", "--ignore=tests/site")
    outcomes = dict(re.findall(r"^(tests/.*\S) +([A-Z]+) +\[ *\d+%\]$", said, re.MULTILINE))
    assert set(outcomes.values()) == {"PASSED"}
    own = f"tests/chapters/{NAME}"
    for test in (  # what finds the chapter by its word
        f"{own}/test_{NAME}.py::test_rows_are_independent",
        f"{own}/test_explorables_{NAME}.py::test_the_front_ends_numbers_equal_pythons",
        f"tests/test_properties.py::test_every_public_helper_has_its_row[{NAME}]",
        f"tests/test_properties.py::test_every_documented_error_has_its_case[{NAME}.spread]",
        f"tests/test_exercises.py::test_stub_is_not_attempted_and_solution_passes[{NAME}-1]",
    ):
        assert test in outcomes


def test_its_outputs_come_out_again(book):
    run(book.root, "pytest", "-p", "no:cacheprovider", "--nbval", f"chapters/{NAME}.ipynb")
    outputs = json.loads((book.root / "_build/outputs.json").read_text("utf-8"))
    assert outputs[f"chapters/{NAME}.ipynb"]["failed"] == 0


def test_the_site_builds_without_a_warning(book):
    run(book.root, "bookkit.site.build")
    site = book.root / "_build/html"
    page = (site / f"chapters/{NAME}.html").read_text("utf-8")
    assert 'class="verified" data-status="passed"' in page
    assert f'data-explorable="{NAME}"' in page and "Legendre" in page
    index = BeautifulSoup((site / "index.html").read_text("utf-8"), "html.parser")
    listed = index.select("ol.chapter-list > li")
    names = [item.a["href"].removeprefix("chapters/").removesuffix(".html") for item in listed]
    assert names == sorted([*chapters(), NAME], key=list(ORDER).index)
    title, question = listed[names.index(NAME)].select("p")
    assert title.text == TITLE
    assert question.text == "Which single number stands best for a list of numbers?"
    coming = index.select_one("ol.chapter-list ~ p").text
    assert coming.startswith("Coming: ") and ORDER[NAME] not in coming


def test_its_figure_on_its_page_shows_pythons_numbers(book):
    options = ["-p", "no:cacheprovider", "--color=no", "-vv", "-k", f"figures_react and {NAME}"]
    assert " PASSED " in run(book.root, "pytest", *options, "tests/site/test_page_figures.py")


def test_a_second_chapter_of_that_name_is_refused(book):
    with pytest.raises(ValueError, match=f"NAME: {NAME} exists already: src/derived/{NAME}.py"):
        chapter.check(book.root, NAME, TITLE)


# What needs no copy.


@pytest.mark.parametrize("name", ["", "Pose", "poses", "../pose", "pose-2", "training"])
def test_a_name_that_is_no_chapter_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="NAME: expected one of initialization, transformer"):
        chapter.make(tmp_path, name, TITLE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("title", ["", "  ", "two\nlines", 'a "quote"', "$x$", "a`b"])
def test_a_title_that_would_break_a_file_is_refused(title, tmp_path):
    with pytest.raises(ValueError, match="TITLE: expected one line"):
        chapter.check(tmp_path, NAME, title)


def test_the_order_is_that_of_the_chapters_that_stand():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    files = [c["file"] for part in toc["parts"] for c in part["chapters"]]
    names = [file.removeprefix("chapters/") for file in files if file.startswith("chapters/")]
    assert names == sorted(names, key=list(ORDER).index)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("transformer", ["initialization", "transformer", "iou"]),
        ("pose", ["initialization", "iou", "pose"]),
    ],
)
def test_a_chapter_comes_at_its_place(name, expected):
    toc = yaml.safe_load(chapter._into_toc(TOC, name))
    assert toc["parts"][0]["chapters"] == [{"file": f"chapters/{word}"} for word in expected]
    assert toc["parts"][1]["chapters"] == [{"file": "notation"}]


def test_a_source_stands_once():
    first, second = "@book{one1805,\n}\n", "\n@book{two1809,\n}\n"
    assert chapter._into_sources(first, second) == first + second
    assert chapter._into_sources(first + second, second) == first + second
