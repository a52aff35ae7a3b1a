"""Verified equations, tried on tiny books: what holds, and everything that must be refused."""

import io
import json
import re
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import docutils_namespace, patch_docutils

from bookkit.verified import checks, equations, marks, record
from bookkit.verified.__main__ import main
from bookkit.verified.dependencies import dependencies, module_files

pytest_plugins = ["pytester"]

TOC = """
format: jb-book
root: index
options: {numbered: true}
chapters:
  - file: chapters/box
  - file: list
"""

# Each way to write a labeled equation, and things that look like one.
CHAPTER = r"""
# Boxes

$$ A = (x_1 - x_0)(y_1 - y_0) $$ (box-area)

$$ unlabeled = 1 $$

- in a list

  $$
  J \le 1
  $$ (box-range)

:::{admonition} Nested
```{math}
:label: box-symmetry
J(A, B) = J(B, A)
```
:::

```{code-block} markdown
$$ printed = 1 $$ (box-printed)
```

See {eq}`box-range`.
"""

TESTS = '''
import pytest

SIDES = [1, 2]


def quarksum(box):
    return sum(box) + len(SIDES)


@pytest.mark.verifies("box-area", by="exact")
@pytest.mark.verifies("box-range", by="enumeration")
def test_area():
    """Areas <b>multiply</b>."""
    assert quarksum([1]) == 3 and "<script>"


class TestSymmetry:
    @pytest.mark.parametrize("n", [1, 2])
    @pytest.mark.verifies("box-symmetry", by="symbolic")
    def test_swap(self, n):
        assert n
'''

LABELS = ["box-area", "box-range", "box-symmetry"]


def notebook(*cells: str) -> str:
    made = [v4.new_markdown_cell(cell, id=f"c{n}") for n, cell in enumerate(cells)]
    return nbformat.writes(v4.new_notebook(cells=made))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A book of one chapter whose three equations are tested, accepted, and not run yet."""
    files = {
        "_toc.yml": TOC,
        "conf.py": 'extensions = ["sphinx_external_toc", "myst_nb", "bookkit.verified"]\n'
        'myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]\n'
        'html_theme = "basic"\nnumfig = True\nnb_execution_mode = "off"\nexclude_patterns = ["_build"]\nproject = "Tiny"\n',
        "index.md": "# Tiny\n\nA book.\n",
        "list.md": "# Verified equations\n\n```{verified-equations}\n```\n",
        "chapters/box.ipynb": notebook(
            *CHAPTER.split("\n\n- ")[:1], "- " + CHAPTER.split("\n\n- ")[1]
        ),
        "tests/test_box.py": TESTS,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    main(["accept", "--root", str(tmp_path)])
    return tmp_path


def build(root: Path, **config: object) -> tuple[Sphinx, list[str]]:
    """Build the book as HTML; return the application and the warnings."""
    warnings = io.StringIO()
    out = root / "_build"
    with patch_docutils(root), docutils_namespace():
        app = Sphinx(
            str(root), str(root), str(out / "html"), str(out / "trees"), "html",
            confoverrides=config, status=None, warning=warnings,
        )  # fmt: skip
        app.build()
    text = re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue())
    return app, text.strip().splitlines()


def page(root: Path, name: str) -> str:
    return (root / "_build" / "html" / f"{name}.html").read_text("utf-8")


def edit(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def passed(root: Path, **outcomes: str) -> None:
    """Leave what a run leaves in which all tests passed, but for those given."""
    (path,) = root.glob("tests/**/test_box.py")
    swap = outcomes.pop("test_swap", "passed")
    cases = {"test_area": "passed"} | {f"TestSymmetry::test_swap[{n}]": swap for n in (1, 2)}
    entry = {"digest": record.code_digest(path, root), "date": "2026-01-02", "torch": "9.9"}
    entry["outcomes"] = cases | outcomes
    record.write(root / "_build" / "verified.json", {path.relative_to(root).as_posix(): entry})


def read(root: Path) -> checks.Book:
    return checks.read_book(checks.Paths.below(root), equations.book_pages(root))


# Equations ---------------------------------------------------------------------------------------


def test_every_form_of_a_labeled_equation_is_found_as_sphinx_finds_it(root):
    found = equations.in_page(root / "chapters" / "box.ipynb", "chapters/box", root)
    assert [e.label for e in found] == LABELS
    assert [e.where.partition(": ")[2] for e in found] == [
        "cell 1, line 4",
        "cell 2, line 3",
        "cell 2, line 8",
    ]
    app, warnings = build(root)
    assert warnings == []
    assert app.env.verified_seen["chapters/box"] == [(e.label, e.digest) for e in found]


def test_an_equation_that_only_sphinx_sees_is_reported(root):
    hidden = "\n```{eval-rst}\n.. math::\n   :label: box-hidden\n\n   a = b\n```\n"
    edit(root, "index.md", "A book.\n", hidden)
    _, warnings = build(root)
    assert any("Sphinx disagree" in line and "box-hidden" in line for line in warnings)


def test_a_math_directive_with_an_argument_and_a_name():
    text = "```{math} a = b\n:name: two\n\nc = d\n```\n"
    assert list(equations.in_markdown(text)) == [(1, "two", "a = b\n\nc = d")]


def test_white_space_alone_does_not_change_the_hash():
    assert equations.latex_digest(" a\n=  b ") == equations.latex_digest("a = b")
    assert equations.latex_digest("a = b") != equations.latex_digest("a = -b")


def test_a_page_of_the_toc_that_does_not_exist(root):
    (root / "index.md").unlink()
    with pytest.raises(FileNotFoundError, match="index"):
        equations.book_pages(root)


# Marks -------------------------------------------------------------------------------------------


def test_marks_with_their_source_place_and_helpers(root):
    (area, swap), wrong = marks.in_folder(root / "tests", root)
    assert wrong == []
    assert (area.name, area.where, area.last) == ("test_area", "tests/test_box.py:11", 15)
    assert set(area.marks) == {("box-area", "exact"), ("box-range", "enumeration")}
    assert area.source.startswith('@pytest.mark.verifies("box-area"')
    assert area.summary == "Areas <b>multiply</b>."
    assert [name for name, _ in area.helpers] == ["SIDES", "quarksum"]
    assert swap.name == "TestSymmetry::test_swap"
    assert swap.source.startswith("@pytest.mark.parametrize")


@pytest.mark.parametrize(
    "text",
    [
        'pytestmark = pytest.mark.verifies("a", "b", by="exact")\ndef test_x(): ...',
        '@mark.verifies("a", "b", by="exact")\nclass TestX:\n    def test_x(self): ...',
        'verifies = pytest.mark.verifies\n@verifies("a", "b", by="exact")\ndef test_x(): ...',
        "class TestX:\n  def test_x(self): ...\n  def helper(self): ...\n"
        + '  pytestmark = [pytest.mark.verifies("a", "b", by="exact")]',
    ],
)
def test_marks_on_classes_modules_and_with_several_labels(tmp_path, text):
    (tmp_path / "test_x.py").write_text(text)
    (test,), wrong = marks.in_folder(tmp_path, tmp_path)
    assert (test.marks, wrong) == ((("a", "exact"), ("b", "exact")), [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('@pytest.mark.verifies("a", by="magic")\ndef test_x(): ...', "unknown method"),
        ('@pytest.mark.verifies("a")\ndef test_x(): ...', "write pytest.mark"),
        ('@pytest.mark.verifies(LABEL, by="exact")\ndef test_x(): ...', "write pytest.mark"),
        ('@pytest.mark.verifies(by="exact")\ndef test_x(): ...', "write pytest.mark"),
        ('@pytest.mark.verifies("a", by="exact")\ndef check_x(): ...', "does not collect"),
    ],
)
def test_marks_that_cannot_count(tmp_path, text, message):
    (tmp_path / "test_x.py").write_text(text)
    tests, wrong = marks.in_folder(tmp_path, tmp_path)
    assert [message in why for _, why in wrong] == [True]
    assert not any(test.marks for test in tests)


# What a build refuses -----------------------------------------------------------------------------


def _second_label(root):
    edit(root, "index.md", "A book.", "$$ a = b $$ (box-area)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: edit(root, "tests/test_box.py", '"box-symmetry"', '"box-area"'),
            "chapters/box.ipynb: cell 2, line 8: WARNING: no test verifies `box-symmetry`",
        ),
        (
            lambda root: edit(root, "tests/test_box.py", '"box-symmetry"', '"box-symetry"'),
            "tests/test_box.py:19: WARNING: TestSymmetry::test_swap verifies `box-symetry`, but no",
        ),
        (_second_label, "label `box-area` is taken: index.md:3"),
        (
            lambda root: edit(
                root, "chapters/box.ipynb", "J(A, B) = J(B, A)", "J(A, B) = -J(B, A)"
            ),
            "LaTeX of `box-symmetry` changed: compare it with its tests, then `make accept-eq",
        ),
        (
            lambda root: edit(
                root, "tests/chapters/box/equations.json", '  "box-area"', '  "box-old"'
            ),
            "LaTeX of `box-area` is new: compare it with its tests",
        ),
        (
            lambda root: edit(
                root, "tests/chapters/box/equations.json", '  "box-area"', '  "box-old"'
            ),
            "tests/chapters/box/equations.json:1: WARNING: holds `box-old`, which no page has",
        ),
        (
            lambda root: edit(root, "index.md", "A book.", r"\begin{align} a &= b \end{align}"),
            "index.md:3: WARNING: a bare LaTeX environment gets a number but no label",
        ),
        (
            lambda root: edit(root, "tests/test_box.py", 'by="symbolic"', 'by="magic"'),
            'unknown method by="magic"',
        ),
    ],
)
def test_what_a_build_refuses(root, change, message):
    change(root)
    _, warnings = build(root)
    assert any(message in line for line in warnings), warnings


def test_a_problem_is_reported_again_by_a_build_that_reads_nothing(root):
    edit(root, "tests/test_box.py", '"box-symmetry"', '"box-area"')
    _, first = build(root)
    _app, again = build(root)
    assert len(first) == 1 and again == first


@pytest.mark.parametrize(
    ("outcomes", "fine"),
    [
        ({}, True),
        ({"test_swap": "failed"}, False),
        ({"test_swap": "skipped"}, False),
        ({"test_swap": "xfailed"}, False),
        ({"test_swap": "xpassed"}, False),
        ({"TestSymmetry::test_swap[1]": "failed"}, False),
        ({"TestSymmetry::test_swap[1]": "skipped"}, True),
    ],
)
def test_a_required_pass(root, outcomes, fine):
    passed(root, **outcomes)
    _, warnings = build(root, verified_require_pass=True)
    assert (warnings == []) == fine
    assert all("`box-symmetry` needs a test that passes" in line for line in warnings)


def test_a_required_pass_without_a_record(root):
    _, warnings = build(root, verified_require_pass=True)
    assert sum("(tests/test_box.py:11 test_area: not run here)" in line for line in warnings) == 2


def test_the_environment_can_require_a_pass(root, monkeypatch):
    monkeypatch.setenv("VERIFIED_REQUIRE_PASS", "1")
    _, warnings = build(root)
    assert len(warnings) == 3


# What the reader sees ------------------------------------------------------------------------------


def opened(root: Path, chapter: str) -> tuple[dict[str, str], list[str]]:
    """Return what the marks of a chapter open, and the sources that stand in it."""
    script = (root / f"_build/html/_static/verified/{chapter}.js").read_text("utf-8")
    return json.loads(f"[{script.removeprefix('verifiedPanels(').removesuffix(');' + chr(10))}]")


def test_the_mark_opens_the_source_of_its_test(root):
    passed(root)
    build(root)
    html = page(root, "chapters/box")
    assert html.count('<details class="verified" data-status="passed"') == 3
    start = html.index('id="equation-box-area"')
    mark = html[start : html.index("</details>\n", start)]
    assert "</span> verified by exact identity</summary>" in mark
    assert 'data-panels="../_static/verified/box.js?v=' in mark
    assert 'href="../verified/box.html#box-area"' in mark
    panels, sources = opened(root, "box")
    panel = panels["box-area"]
    assert "<code>tests/test_box.py</code>, lines 11–15" in panel
    assert ">passed</span>" in panel
    assert "uses <code>quarksum</code>" in panel
    pre = '<pre tabindex="0" role="group" aria-label="Source of test_area">'
    (source,) = (source for source in sources if pre in source)
    assert "&lt;script&gt;" in source and "<script>" not in source
    assert f'data-source="{sources.index(source)}"' in panel
    assert "passed (2 cases)" in panels["box-symmetry"]
    assert 'href="../_static/verified.css' in html
    assert (root / "_build" / "html" / "_static" / "verified.css").is_file()


def test_what_a_mark_opens_holds_each_source_once(root):
    build(root)
    panels, sources = opened(root, "box")
    # test_area verifies two equations and uses two definitions.
    for name in ("test_area", "quarksum", "SIDES"):
        (number,) = (n for n, s in enumerate(sources) if f'aria-label="Source of {name}"' in s)
        assert sum(f'data-source="{number}"' in panel for panel in panels.values()) == 2


def test_nothing_looks_verified_without_a_record(root):
    build(root)
    html = page(root, "chapters/box")
    assert html.count('data-status="open"') == 3
    assert "tested by exact identity · not run here" in html
    assert "✓" not in html and ">passed" not in html and "verified by" not in html


def test_an_equation_without_a_test_says_so(root):
    edit(root, "tests/test_box.py", '"box-symmetry"', '"box-area"')
    build(root)
    html = page(root, "chapters/box")
    assert 'data-status="untested"' in html and "no test verifies this equation" in html


@pytest.mark.parametrize(
    ("methods", "outcomes", "status", "text"),
    [
        (["exact"], [["passed"]], "passed", "verified by exact identity"),
        (["exact", "peer"], [["passed"], ["skipped"]], "passed", "verified by exact identity"),
        (["exact"], [["passed", "failed"]], "failed", "a test of it fails (exact identity)"),
        (["exact"], [["skipped"]], "open", "tested by exact identity · not passed here"),
        (["exact"], [[]], "open", "tested by exact identity · not run here"),
        (["conjecture"], [["passed"]], "conjecture", "conjecture, checked by search"),
        (["conjecture"], [[]], "open", "conjecture, tested by search · not run here"),
        (
            ["conjecture", "sampling"],
            [["skipped"], ["passed"]],
            "conjecture",
            "conjecture, checked by sampling",
        ),
        (
            ["exact", "symbolic", "gradient"],
            [["passed"]] * 3,
            "passed",
            "verified by exact identity, symbolic algebra and automatic differentiation",
        ),
    ],
)
def test_verdicts(root, methods, outcomes, status, text):
    tests = [marks.Test("t.py", f"test_{by}", 1, 2, "", "", (("x", by),), ()) for by in methods]
    paths = checks.Paths.below(root)
    book = checks.Book(paths, (), tuple(tests), {}, dict(zip(tests, outcomes, strict=True)), ())
    found = checks.verdict(book, "x")
    assert (found.status, found.text) == (status, text)


def test_the_list_of_all_equations(root):
    passed(root, test_swap="skipped")
    build(root)
    overview = page(root, "list")
    assert "3 labeled equations: 2 verified, 1 with tests that have not passed here." in overview
    assert "Exact identity (1)" in overview
    assert '<a class="reference internal" href="verified/box.html">1. Boxes</a>' in overview
    html = page(root, "verified/box")
    assert html.index("<h1>Verified equations: Boxes") < html.index("(1.1)") < html.index("(1.3)")
    assert 'href="../chapters/box.html#equation-box-area"' in html
    assert r"A = (x_1 - x_0)(y_1 - y_0)" in html
    assert html.count("<tr ") == 4 and html.count('role="row"') == 4
    assert "tests/test_box.py:11 · passed. Areas &lt;b&gt;multiply&lt;/b&gt;." in html
    assert html.count('id="equation-') == 0


def test_search_finds_equations_by_label_pages_but_not_the_code_of_tests(root):
    build(root)
    index = (root / "_build" / "html" / "searchindex.js").read_text("utf-8")
    assert "assert" not in index and "verifi" in index


def test_new_outcomes_rewrite_the_pages_without_reading_them_again(root):
    build(root)
    passed(root)
    trees = {p: p.stat().st_mtime_ns for p in (root / "_build" / "trees").rglob("*.doctree")}
    build(root)
    assert page(root, "chapters/box").count('data-status="passed"') == 3
    assert "3 verified" in page(root, "list")
    assert trees == {p: p.stat().st_mtime_ns for p in trees}


def test_a_change_of_a_page_reaches_the_list(root):
    build(root)
    edit(root, "chapters/box.ipynb", "J(A, B) = J(B, A)", "J(A, B) = J(B, A) + 0")
    build(root)
    assert "J(A, B) = J(B, A) + 0" in page(root, "verified/box")


def test_other_builders_have_no_marks(root):
    with patch_docutils(root), docutils_namespace():
        out = root / "_build"
        app = Sphinx(
            str(root), str(root), str(out / "text"), str(out / "t"), "text", status=None,
            warning=io.StringIO(),
        )  # fmt: skip
        app.build()
    assert "verified by" not in (out / "text" / "chapters" / "box.txt").read_text("utf-8")


# The record --------------------------------------------------------------------------------------


@pytest.fixture
def package(root: Path) -> Path:
    """The book with a module that its tests import, through another and relatively."""
    source = root / "src" / "derived"
    source.mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "box": "from ._edge import check\n",
        "_edge": "check = 1\n",
        "pose": "",
    }.items():
        (source / f"{name}.py").write_text(text)
    edit(root, "tests/test_box.py", "import pytest\n", "import pytest\nfrom derived import box\n")
    passed(root)
    return root


@pytest.mark.parametrize(
    ("name", "fresh"),
    [
        ("tests/test_box.py", False),
        ("tests/conftest.py", False),
        ("src/derived/box.py", False),
        ("src/derived/_edge.py", False),
        ("src/derived/pose.py", True),
    ],
)
def test_outcomes_count_until_the_code_changes(package, name, fresh):
    assert {checks.verdict(read(package), label).status for label in LABELS} == {"passed"}
    with (package / name).open("a") as file:
        file.write("print()\n")
    statuses = {checks.verdict(read(package), label).status for label in LABELS}
    assert statuses == ({"passed"} if fresh else {"open"})


MODULES = {
    "requirements.txt": "torch==9.9\n",
    "src/derived/__init__.py": "",
    "src/derived/_edge.py": "LIMIT = 1\n\n\ndef check(x):\n    return x < LIMIT\n\n\n"
    "def other(x):\n    return x\n",
    "src/derived/box.py": "from ._edge import check\n\n\ndef area(x):\n    return check(x)\n",
    "src/derived/pose.py": "x = 1\n",
    "tests/support.py": "import math\nfrom math import pi, tau\n\n\ndef close(x):\n    return pi\n\n\n"
    "def draw(x):\n    return tau\n",
    "tests/conftest.py": "import pytest\n\n\n@pytest.fixture\ndef seed():\n    return 1\n\n\n"
    "@pytest.fixture\ndef browser():\n    return 1\n",
}


@pytest.fixture
def recorded(root: Path) -> Path:
    """A fresh clone of a book whose chapter's tests passed and were recorded."""
    for name, text in MODULES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    used = "import pytest\nfrom support import close\nfrom derived import box\n"
    edit(root, "tests/test_box.py", "import pytest\n", used)
    edit(root, "tests/test_box.py", "def test_area():", "def test_area(seed):")
    edit(root, "tests/test_box.py", "return sum(box)", "return close(1) + sum(box)")
    (root / "tests/test_box.py").rename(root / "tests/chapters/box/test_box.py")
    passed(root)
    assert main(["record", "--root", str(root)]) == 0
    (root / "_build" / "verified.json").unlink()
    return root


def said(root: Path) -> set[str]:
    """What the marks of a book say after the method."""
    return {checks.verdict(read(root), label).text.partition(" · ")[2] for label in LABELS}


def test_a_record_tells_how_many_cases_had_which_outcome_and_what_they_depend_on(recorded):
    known = json.loads((recorded / "tests/chapters/box/record.json").read_text())
    assert (known["date"], known["torch"], known["commit"]) == ("2026-01-02", "9.9", "unknown")
    assert known["equations"] == {e.label: e.digest for e in read(recorded).equations}
    (tests,) = known["tests"].values()
    assert tests["outcomes"] == {
        "test_area": {"passed": 1},
        "TestSymmetry::test_swap": {"passed": 2},
    }
    assert list(tests["depends on"]) == [
        "requirements.txt",
        "src/derived/_edge.py",
        "src/derived/box.py",
        "tests/chapters/box/test_box.py",
        "tests/conftest.py",
        "tests/support.py",
    ]


def test_a_fresh_clone_shows_when_each_equation_passed(recorded, capfd):
    _, warnings = build(recorded)
    html = page(recorded, "chapters/box")
    assert warnings == [] and "make record" not in capfd.readouterr().err
    assert html.count('data-status="passed"') == 3
    assert "verified by exact identity · passed on 2026-01-02</summary>" in html
    panels, _ = opened(recorded, "box")
    assert ">passed (2 cases) on 2026-01-02</span>" in panels["box-symmetry"]
    assert "3 labeled equations: 3 verified." in page(recorded, "list")
    assert "passed on 2026-01-02" in page(recorded, "verified/box")


@pytest.mark.parametrize(
    ("name", "old", "new", "fresh"),
    [
        ("requirements.txt", "9.9", "9.10", False),
        ("tests/chapters/box/test_box.py", "[1, 2]", "[1, 2, 3]", False),
        ("src/derived/box.py", "check(x)", "check(-x)", False),
        # Of shared code, what is entered by a name in a test, a helper or the module.
        ("src/derived/_edge.py", "x < LIMIT", "x <= LIMIT", False),
        ("src/derived/_edge.py", "LIMIT = 1", "LIMIT = 2", False),
        ("src/derived/_edge.py", "    return x\n", "    return -x\n", True),
        ("tests/support.py", "return pi", "return 3", False),
        ("tests/support.py", "import pi, tau", "import e as pi, tau", False),
        ("tests/support.py", "return tau", "return 6", True),
        ("tests/support.py", "import pi, tau", "import pi, e as tau", True),
        ("tests/support.py", "import math", "import math\n\nmath.pi = 3", False),
        ("tests/support.py", "import math", '"""A note."""\n\nimport math  # of numbers', True),
        ("tests/conftest.py", "def seed():\n    return 1", "def seed():\n    return 2", False),
        ("tests/conftest.py", "def browser():\n    return 1", "def browser():\n    pass", True),
        ("tests/conftest.py", "fixture\ndef b", "fixture(autouse=True)\ndef b", False),
        ("src/derived/pose.py", "x = 1", "x = 2", True),
    ],
)
def test_a_record_holds_until_what_its_tests_depend_on_changes(recorded, name, old, new, fresh):
    assert said(recorded) == {"passed on 2026-01-02"}
    edit(recorded, name, old, new)
    assert said(recorded) == {f"{'passed on' if fresh else 'changed since'} 2026-01-02"}
    book = read(recorded)
    assert checks.unrecorded(book) == ([] if fresh else LABELS)
    files = {file for earlier in book.earlier.values() for file in earlier.changed}
    assert files == (set() if fresh else {name})


def test_changed_latex_makes_the_record_of_that_equation_old(recorded, capfd):
    edit(recorded, "chapters/box.ipynb", "J(A, B) = J(B, A)", "J(A, B) = -J(B, A)")
    main(["accept", "--root", str(recorded)])
    assert checks.unrecorded(read(recorded)) == ["box-symmetry"]
    build(recorded)
    html = page(recorded, "chapters/box")
    assert html.count('data-status="passed"') == 2 and html.count('data-status="changed"') == 1
    assert "tested by symbolic algebra · changed since 2026-01-02</summary>" in html
    panels, _ = opened(recorded, "box")
    assert ">changed since 2026-01-02 (the equation)</span>" in panels["box-symmetry"]
    assert "changed since" not in panels["box-area"]
    assert "1 with tests that passed before a change" in page(recorded, "list")
    assert "1 mark has an old record, or none: `make test`, then" in capfd.readouterr().err


def test_a_changed_dependency_rewrites_the_pages(recorded):
    build(recorded)
    edit(recorded, "src/derived/box.py", "check(x)", "check(-x)")
    build(recorded)
    html = page(recorded, "chapters/box")
    assert html.count('data-status="changed"') == 3
    panels, _ = opened(recorded, "box")
    assert all("since 2026-01-02 (src/derived/box.py)</span>" in each for each in panels.values())


def test_a_run_here_is_preferred_to_the_record(recorded):
    passed(recorded, test_swap="skipped")
    assert said(recorded) == {"", "not passed here"}
    passed(recorded, test_swap="failed")
    assert checks.verdict(read(recorded), "box-symmetry").status == "failed"
    # Where only some have run here, the others' record counts.
    path = recorded / "_build/verified.json"
    known = record.read(path)
    (entry,) = known.values()
    entry["outcomes"] = {"test_area": "passed"}
    record.write(path, known)
    assert said(recorded) == {"", "passed on 2026-01-02"}


def test_a_required_pass_is_one_of_this_run(recorded):
    _, warnings = build(recorded, verified_require_pass=True)
    assert sum("needs a test that passes and none that fails" in line for line in warnings) == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: passed(root, test_swap="failed"), "`box-symmetry` needs a test that passes"),
        (lambda root: passed(root, test_swap="skipped"), "`box-symmetry` needs a test that passes"),
        (lambda root: None, "test_area: not run here"),
        (
            lambda root: (passed(root), edit(root, "src/derived/box.py", "(x)", "(y)")),
            "test_area: not run here",
        ),
        (
            lambda root: (passed(root), edit(root, "chapters/box.ipynb", "B, A)", "B, B)")),
            "LaTeX of `box-symmetry` changed",
        ),
        (
            # The equation has a test that passed, and another that has not run.
            lambda root: (
                (root / "tests/chapters/box/test_more.py").write_text(
                    'import pytest\n@pytest.mark.verifies("box-area", by="peer")\ndef test_p(): ...'
                ),
                passed(root),
            ),
            "tests/chapters/box/test_more.py:2: test_p has not run as it is now",
        ),
    ],
)
def test_nothing_is_recorded_of_a_run_that_lacks_a_pass(recorded, capsys, change, told):
    change(recorded)
    before = (recorded / "tests/chapters/box/record.json").read_text()
    capsys.readouterr()
    assert main(["record", "--root", str(recorded)]) == 1
    out = capsys.readouterr().out
    assert told in out and "nothing is recorded: " in out
    assert (recorded / "tests/chapters/box/record.json").read_text() == before


def test_chapters_are_recorded_one_by_one_and_what_is_no_chapter_goes(recorded, capsys):
    old = recorded / "tests/chapters/old/record.json"
    old.parent.mkdir()
    old.write_text("{}")
    edit(recorded, "index.md", "A book.", "$$ a = b $$ (index-a)")
    main(["accept", "--root", str(recorded)])
    passed(recorded)
    assert main(["record", "--root", str(recorded)]) == 1
    assert main(["record", "pose", "--root", str(recorded)]) == 1
    assert "no chapter with labeled equations: pose; of" in capsys.readouterr().out
    assert main(["record", "box", "--root", str(recorded)]) == 0 and old.is_file()
    assert "tests/chapters/box/record.json: 3 equations, 2 tests" in capsys.readouterr().out
    edit(recorded, "index.md", "$$ a = b $$ (index-a)", "A book.")
    assert main(["record", "--root", str(recorded)]) == 0 and not old.exists()


def test_a_build_names_the_record_that_is_broken(recorded):
    edit(recorded, "tests/chapters/box/record.json", '"passed": 2', '"past": 2')
    with pytest.raises(ExtensionError, match=r"box/record\.json: .*expected an outcome, got past"):
        build(recorded)


@pytest.mark.parametrize(
    "text",
    [
        "from helper import *",
        "import helper\nx = getattr(helper, 'f')",
        "import helper\nx = helper.made_at_runtime",
        "x = 'helper.made_at_runtime'",
        "from importlib import import_module\nx = import_module('helper')",
        "def test_x(monkeypatch):\n    import helper as h\n    return [h]",
    ],
)
def test_all_of_a_file_counts_where_names_do_not_say_what_is_used(tmp_path, text):
    (tmp_path / "tests").mkdir()
    helper = tmp_path / "tests" / "helper.py"
    helper.write_text("def f(): ...\n\n\ndef g(): ...\n")
    (tmp_path / "tests" / "test_x.py").write_text(f"{text}\n")
    before = dependencies(tmp_path / "tests" / "test_x.py", tmp_path)
    with helper.open("a") as file:
        file.write("\n\ndef h(): ...\n")
    after = dependencies(tmp_path / "tests" / "test_x.py", tmp_path)
    assert {name for name, _ in before.items() ^ after.items()} == {"tests/helper.py"}


@pytest.mark.parametrize(
    ("function", "entered"),
    [
        ("def run(check):\n    return check()", False),
        ("def run(x):\n    return check(x)", True),
        ("def run(x=check):\n    return x", True),
        ("run = lambda check: check()", False),
        ("@pytest.fixture\ndef run(check):\n    return check", True),
    ],
)
def test_an_argument_hides_what_has_its_name_unless_it_asks_for_a_fixture(
    tmp_path, function, entered
):
    for name, text in {
        "tests/test_x.py": "from support import run\n\nx = run\n",
        "tests/support.py": f"import pytest\nfrom checks import check\n\n\n{function}\n",
        "tests/checks.py": "def check(): ...\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    reached = dependencies(tmp_path / "tests/test_x.py", tmp_path)
    assert ("tests/checks.py" in reached) == entered


def test_a_package_counts_by_the_rooms_that_are_entered(tmp_path):
    for name, text in {
        "tests/test_x.py": "import derived.iou\n\nx = derived.iou.giou\n",
        "src/derived/__init__.py": "",
        "src/derived/iou/__init__.py": "from derived.iou._losses import giou\n"
        "from derived.iou._rotated import rotated\n",
        "src/derived/iou/_losses.py": "def giou(): ...\n",
        "src/derived/iou/_rotated.py": "def rotated(): ...\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set(dependencies(tmp_path / "tests/test_x.py", tmp_path)) == {
        "src/derived/iou/__init__.py",
        "src/derived/iou/_losses.py",
        "tests/test_x.py",
    }
    # Of its own chapter, all rooms count.
    own = tmp_path / "tests/chapters/iou/test_y.py"
    own.parent.mkdir(parents=True)
    own.write_text("")
    names = [f"src/derived/iou/{name}.py" for name in ("__init__", "_losses", "_rotated")]
    assert list(dependencies(own, tmp_path)) == [*names, "tests/chapters/iou/test_y.py"]
    assert module_files(tmp_path, "iou") == [tmp_path / name for name in names]
    assert module_files(tmp_path, "pose") == [tmp_path / "src/derived/pose.py"]


def test_a_notebook_depends_on_its_recordings_and_not_on_other_chapters(tmp_path):
    cells = [v4.new_code_cell(text) for text in ("%time 1", "from derived import tool\ntool.use()")]
    cells.append(v4.new_markdown_cell("import derived.pose"))
    for name, text in {
        "chapters/box.ipynb": nbformat.writes(v4.new_notebook(cells=cells)),
        "chapters/pose.ipynb": nbformat.writes(v4.new_notebook()),
        "chapters/recorded/box_peers.json": "{}",
        "chapters/recorded/pose.json": "{}",
        "chapters/checkpoints/box.safetensors": "",
        "src/derived/box.py": "",
        "src/derived/pose.py": "",
        "src/derived/tool/__init__.py": "import importlib\n\n\ndef use():\n"
        "    return importlib.import_module(input())\n",
        "src/derived/tool/_base.py": "",
        "src/derived/tool/box.py": "",
        "src/derived/tool/pose_more.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert list(dependencies(tmp_path / "chapters/box.ipynb", tmp_path)) == [
        "chapters/box.ipynb",
        "chapters/checkpoints/box.safetensors",
        "chapters/recorded/box_peers.json",
        "src/derived/box.py",
        "src/derived/tool/__init__.py",
        "src/derived/tool/_base.py",
        "src/derived/tool/box.py",
    ]


RUN = """
import pytest

@pytest.fixture
def broken():
    yield
    raise RuntimeError

@pytest.mark.verifies("a", by="exact")
@pytest.mark.parametrize("n", [1, 2])
def test_pass(n): ...

@pytest.mark.verifies("a", by="exact")
def test_fail(): assert False

@pytest.mark.verifies("a", by="exact")
def test_skip(): pytest.skip("no")

@pytest.mark.verifies("a", by="exact")
@pytest.mark.xfail
def test_xfail(): assert False

@pytest.mark.verifies("a", by="exact")
@pytest.mark.xfail
def test_xpass(): ...

@pytest.mark.verifies("a", by="exact")
def test_teardown(broken): ...

@pytest.mark.verifies("a", by="exact")
def test_setup(missing): ...

def test_unmarked(): ...
"""


@pytest.fixture
def run(pytester):
    """Run pytest with the plugin in a folder of its own."""

    def go(*arguments: str) -> pytest.RunResult:
        plugins = ["-p", "bookkit.verified.plugin", "-p", "no:cacheprovider"]
        return pytester.runpytest_inprocess(*plugins, "--strict-markers", *arguments)

    return go


def outcomes_in(folder: Path) -> dict[str, dict[str, str]]:
    known = json.loads((folder / "_build" / "verified.json").read_text())
    return {path: entry["outcomes"] for path, entry in known.items()}


@pytest.mark.parametrize("options", [(), ("--numprocesses=2",)])
def test_the_plugin_records_what_became_of_each_case(pytester, run, options):
    # A name that no test file of the book has: both would be the same module.
    pytester.makepyfile(test_tiny_outcomes=RUN)
    run(*options)
    assert outcomes_in(pytester.path) == {
        "test_tiny_outcomes.py": {
            "test_pass[1]": "passed",
            "test_pass[2]": "passed",
            "test_fail": "failed",
            "test_skip": "skipped",
            "test_xfail": "xfailed",
            "test_xpass": "xpassed",
            "test_teardown": "failed",
            "test_setup": "failed",
        }
    }


def test_a_partial_run_keeps_the_others_until_the_code_changes(pytester, run):
    mark = '@pytest.mark.verifies("a", by="exact")'
    text = f"import pytest\n{mark}\ndef test_a(): ...\n{mark}\ndef test_b(): ...\n"
    pytester.makepyfile(test_one=text, test_two=text)
    run()
    run("-k", "test_a", "test_one.py")
    everything = {"test_a": "passed", "test_b": "passed"}
    assert outcomes_in(pytester.path) == {"test_one.py": everything, "test_two.py": everything}
    pytester.makepyfile(test_one=text + "# changed")
    run("-k", "test_a", "test_one.py")
    assert outcomes_in(pytester.path) == {
        "test_one.py": {"test_a": "passed"},
        "test_two.py": everything,
    }


def test_a_run_says_when_it_was_and_on_which_torch(pytester, run):
    pytester.makepyfile(test_tiny_outcomes=RUN)
    run()
    (entry,) = record.read(pytester.path / "_build" / "verified.json", record.TESTS).values()
    assert (entry["date"], entry["torch"]) == (record.today(), metadata.version("torch"))


@pytest.mark.parametrize(
    ("changes", "outcomes", "date"),
    [
        # Of test_b nothing newer is known, so that the older date stays.
        ({}, {"test_a": "passed", "test_b": "passed"}, "2026-01-02"),
        ({"digest": "other"}, {"test_a": "passed"}, "2026-01-09"),
        ({"torch": "9.10"}, {"test_a": "passed"}, "2026-01-09"),
        (
            {"outcomes": {"test_a": "passed", "test_b": "failed"}},
            {"test_a": "passed", "test_b": "failed"},
            "2026-01-09",
        ),
    ],
)
def test_what_is_kept_of_an_earlier_run(changes, outcomes, date):
    old = {"digest": "same", "date": "2026-01-02", "torch": "9.9"}
    old["outcomes"] = {"test_a": "failed", "test_b": "passed"}
    new = old | {"date": "2026-01-09", "outcomes": {"test_a": "passed"}} | changes
    (entry,) = record.merged({"t.py": old}, "t.py", new).values()
    assert (entry["outcomes"], entry["date"]) == (outcomes, date)


def test_a_run_writes_nothing_but_the_build_folder(pytester, run):
    pytester.makepyfile(test_tiny_outcomes=RUN)
    record_file = pytester.path / "tests" / "chapters" / "box" / "record.json"
    record_file.parent.mkdir(parents=True)
    record_file.write_text("{}")
    before = files_below(pytester.path)
    run()
    changed = {name for name, _ in before.items() ^ files_below(pytester.path).items()}
    assert changed == {"_build/verified.json"}


def files_below(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): record.file_digest(path)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_an_empty_path_records_nothing(pytester, run):
    pytester.makepyfile(test_tiny_outcomes=RUN)
    run("--verified-record=")
    assert not (pytester.path / "_build").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '@pytest.mark.verifies("a", by="magic")\ndef test_x(): ...',
            '*unknown method by="magic"*',
        ),
        (
            'promise = pytest.mark.verifies("a", by="exact")\n@promise\ndef test_x(): ...',
            "*test_x: the book cannot read this mark*",
        ),
        (
            'case = pytest.param(1, marks=pytest.mark.verifies("a", by="exact"))\n'
            + '@pytest.mark.parametrize("n", [case])\ndef test_x(n): ...',
            "*test_x[[]1[]]: the book cannot read this mark*",
        ),
    ],
)
def test_the_plugin_refuses_marks_that_the_book_cannot_read(pytester, run, text, message):
    pytester.makepyfile(f"import pytest\n{text}\n")
    result = run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([message])


# The commands ------------------------------------------------------------------------------------


def test_accept_says_what_changed_and_what_to_compare(root, capsys):
    capsys.readouterr()
    edit(root, "chapters/box.ipynb", "J(A, B) = J(B, A)", "J(A, B) = -J(B, A)")
    edit(root, "tests/chapters/box/equations.json", '  "box-area"', '  "box-old"')
    assert main(["check", "--root", str(root)]) == 1
    assert "3 problems" in capsys.readouterr().out
    main(["accept", "--root", str(root)])
    told = capsys.readouterr().out
    assert re.search(
        r"^box-symmetry  \w{16} -> \w{16}  \(chapters/box.ipynb: cell 2", told, re.MULTILINE
    )
    assert "    J(A, B) = -J(B, A)\n    compare with tests/test_box.py:19 TestSym" in told
    assert re.search(r"^box-area  new -> \w{16}", told, re.MULTILINE)
    assert re.search(r"^box-old  \w{16} -> removed", told, re.MULTILINE)
    assert list(json.loads((root / "tests/chapters/box/equations.json").read_text())) == LABELS
    assert main(["check", "--root", str(root)]) == 0
    main(["accept", "--root", str(root)])
    assert "all 3 equations are as accepted" in capsys.readouterr().out


def test_check_can_require_a_pass(root, monkeypatch, capsys):
    monkeypatch.setenv("VERIFIED_REQUIRE_PASS", "1")
    assert main(["check", "--root", str(root)]) == 1
    passed(root)
    assert main(["check", "--root", str(root)]) == 0
