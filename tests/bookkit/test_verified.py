"""Verified equations, tried on tiny books: what holds, and everything that must be refused."""

import io
import json
import re
from pathlib import Path

import nbformat
import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from bookkit.verified import checks, equations, marks, record
from bookkit.verified.__main__ import main

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
    made = [nbformat.v4.new_markdown_cell(cell, id=f"c{n}") for n, cell in enumerate(cells)]
    return nbformat.writes(nbformat.v4.new_notebook(cells=made))


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
    """Record that all tests passed, but for those given."""
    path = root / "tests" / "test_box.py"
    swap = outcomes.pop("test_swap", "passed")
    found = {"test_area": "passed"} | {f"TestSymmetry::test_swap[{n}]": swap for n in (1, 2)}
    digest = record.code_digest(path, root)
    known = record.merged({}, "tests/test_box.py", digest, found | outcomes)
    record.write(root / "_build" / "verified.json", known)


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
        file.write("# a change\n")
    statuses = {checks.verdict(read(package), label).status for label in LABELS}
    assert statuses == ({"passed"} if fresh else {"open"})


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
    pytester.makepyfile(test_run=RUN)
    run(*options)
    assert outcomes_in(pytester.path) == {
        "test_run.py": {
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


def test_an_empty_path_records_nothing(pytester, run):
    pytester.makepyfile(test_run=RUN)
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
