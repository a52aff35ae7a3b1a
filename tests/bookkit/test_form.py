"""What a chapter's notebook must be: the checks on tiny notebooks, then the chapters."""

from copy import deepcopy

import pytest
from nbformat import v4, write
from support import ROOT

from bookkit.notebooks import form as checks
from derived import gpu

CHAPTERS = [
    pytest.param(path, id=path.stem, marks=pytest.mark.chapter(path.stem))
    for path in sorted((ROOT / "chapters").glob("*.ipynb"))
]
ALT = "Two squares, of which the left one is larger than the right one."

OPENING = """# A tiny chapter

**Question.** What is the least that a chapter can be?

**Prerequisites.** None, e.g. no chapter before this one, cf. Fig. 1 of J. Smith et al. (2020).

**Reading time.** One minute.

The accuracy is 0.87, or 87 %, see {cite}`Someone2.5` and [here](https://example.org/1.5).
With $x = 0.125$ it is “exact. Or so they say”, and `y = 0.375` is code.

$$ a = 0.625 $$ (tiny-definition)

$$ \\begin{aligned} a &= b \\\\ &= c \\end{aligned} $$

```{note}
:class: v1.25
A directive's text.
```
1. The first of a list.
2. The second; of 12.5 % the source is known.

| measured | value |
|---|---|
| accuracy. Mean | 0.87 |

```python
z = 0.375  # A comment. Another.
```
"""
EXERCISE = """:::{exercise} Something
:label: exercise-tiny-1
Do it.
:::"""
STUB = 'def answer():\n    ...\n\nprint("not attempted")\ncheck("tiny-1", answer)'
SOLUTION = """:::{dropdown} Solution
:name: solution-tiny-1
```python
def answer():
    return 42
```
It is known.
:::"""
GPU = "from derived import gpu\ngpu.run('tiny', lambda device: [], summary='all')"


def stdout(text):
    return v4.new_output("stream", name="stdout", text=text)


def code(source, *outputs, tags=(), **metadata):
    metadata |= {"tags": list(tags)} if tags else {}
    return v4.new_code_cell(source, outputs=list(outputs), metadata=metadata)


@pytest.fixture
def tiny(tmp_path):
    """A notebook with nothing wrong, to be spoiled."""
    said = {"image/png": {"alt": ALT, "caption": "Two squares."}}
    picture = v4.new_output("display_data", {"image/png": "", "text/plain": "s"}, metadata=said)
    tolerance = {"tolerance": {"rel": 0.1, "reason": "trained"}}
    cells = [
        v4.new_markdown_cell(OPENING),
        code("import math"),
        code("print(0.8712)", stdout("0.8712\n"), derived=tolerance),
        code("figures.show(fig)", picture, tags=["hide-input"]),
        v4.new_markdown_cell(EXERCISE),
        code(STUB, stdout("not attempted\n"), tags=["exercise"]),
        v4.new_markdown_cell(SOLUTION),
        code(GPU, stdout("Nothing.\n"), tags=["gpu"]),
    ]
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
    numbers = {"12.5 %": "Someone (2020), table 1"}
    notebook = v4.new_notebook(cells=cells, metadata={"derived": {"numbers": numbers}})
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    notebook.path = tmp_path / "tiny.ipynb"
    return notebook


def problems(notebook):
    stored = deepcopy(notebook)
    write(stored, path := stored.pop("path"))
    return checks.check_notebook(path)


def test_nothing_is_wrong_with_the_tiny_notebook(tiny):
    assert problems(tiny) == []


def wrong_kernel(nb):
    nb.metadata.kernelspec.name = "conda-env"


def widget_state(nb):
    nb.metadata.widgets = {}


def large(nb):
    nb.cells[3].outputs[0].data["text/plain"] = "x" * 1_000_000


def not_in_order(nb):
    nb.cells[1].execution_count = 3


def not_run(nb):
    nb.cells[1].execution_count = None


def no_outputs(nb):
    for cell in nb.cells:
        cell.outputs = []


def error(nb):
    nb.cells[1].outputs = [v4.new_output("error", ename="KeyError", evalue="1", traceback=[])]


def stderr(nb):
    nb.cells[1].outputs = [v4.new_output("stream", name="stderr", text="careful")]


def widget_view(nb):
    kind = "application/vnd.jupyter.widget-view+json"
    nb.cells[1].outputs = [v4.new_output("display_data", {kind: {}})]


def long_cell(nb):
    nb.cells[1].source = "\n".join(["1"] * 16)


def empty_cell(nb):
    nb.cells[1].source = " "


def semicolon(nb):
    nb.cells[1].source = "math.pi;"


def magic(nb):
    nb.cells[1].source = "%matplotlib inline"


def shell(nb):
    nb.cells[1].source = "!pip install torch"


def nbval_comment(nb):
    nb.cells[1].source = "# NBVAL_IGNORE_OUTPUT\nimport math"


def nbval_tag(nb):
    nb.cells[1].metadata.tags = ["nbval-ignore-output"]


def nbval_skip_of_the_gpu_cell(nb):
    nb.cells[7].metadata.tags = ["gpu", "nbval-skip"]


def tolerance_without_reason(nb):
    nb.cells[2].metadata.derived.tolerance.pop("reason")


def tolerance_without_numbers(nb):
    nb.cells[2].outputs[0].text = "none\n"
    nb.cells[1].outputs = [stdout("0.87\n")]


def short_alt(nb):
    nb.cells[3].outputs[0].metadata["image/png"].alt = "Squares."


def no_caption(nb):
    nb.cells[3].outputs[0].metadata["image/png"].caption = ""


def html_image(nb):
    nb.cells[1].outputs = [v4.new_output("display_data", {"text/html": '<img src="a.png">'})]


def markdown_image(nb):
    nb.cells[4].source += "\n\n![](a.png)"


def figure_directive(nb):
    nb.cells[4].source += "\n\n```{figure} a.png\n:width: 3\nA caption.\n```"


def foreign_label(nb):
    nb.cells[4].source += "\n\n$$ a $$ (other-definition)"


def shapeless_label(nb):
    nb.cells[4].source += "\n\n$$ a $$ (tiny_definition)"


def bare_align(nb):
    nb.cells[4].source += "\n\n\\begin{align} a &= b \\end{align}"


def inner_align(nb):
    nb.cells[4].source += "\n\n$$ \\begin{align} a &= b \\end{align} $$"


def macro(nb):
    nb.cells[4].source += "\n\n$\\newcommand{\\R}{\\mathbb R}$"


def dollar(nb):
    nb.cells[4].source += "\n\nIt costs 5$ a month."


def two_sentences(nb):
    nb.cells[4].source += "\n\nThis is one. This is another."


def two_sentences_around_mathematics(nb):
    nb.cells[4].source += "\n\nThis is $x$. It is here."


def two_sentences_in_a_list(nb):
    nb.cells[4].source += "\n\n- **Title.** This is one? This is another."


def unknown_number(nb):
    nb.cells[4].source += "\n\nThe accuracy is 0.88."


def too_many_digits(nb):
    nb.cells[4].source += "\n\nThe accuracy is 0.8711."


def unknown_percentage(nb):
    nb.cells[4].source += "\n\nThe accuracy is 88%."


def unused_number(nb):
    nb.metadata.derived.numbers["0.99"] = "Nobody"


def number_without_source(nb):
    nb.metadata.derived.numbers["12.5 %"] = ""


def number_that_is_shown(nb):
    nb.metadata.derived.numbers["0.87"] = "Someone"


def no_heading(nb):
    nb.cells[0].source = nb.cells[0].source.replace("# A tiny", "## A tiny")


def no_question(nb):
    nb.cells[0].source = nb.cells[0].source.replace("**Question.**", "")


def relative_path(nb):
    nb.cells[1].source = 'open("recorded/iou.json")'


def file_name(nb):
    nb.cells[1].source = 'open("iou.json")'


def parent(nb):
    nb.cells[1].source = 'sys.path.append("../src")'


def chdir(nb):
    nb.cells[1].source = "os.chdir(folder)"


def syntax(nb):
    nb.cells[1].source = "import"


def name_of_python(nb):
    nb.cells[2].source += "\nmax = 3"


def lasting_setting(nb):
    nb.cells[1].source = "import torch"
    nb.cells[2].source += "\ntorch.set_default_dtype(torch.float64)"


def lasting_attribute(nb):
    nb.cells[2].source += "\nmath.pi = 3"


def lasting_item(nb):
    nb.cells[1].source = "import os"
    nb.cells[2].source += "\ndel os.environ['HOME']"


def draw_without_seed(nb):
    nb.cells[1].source = "import torch"
    nb.cells[2].source += "\nx = torch.rand(3)"
    nb.cells[3].source += "\ntorch.manual_seed(0)"


def no_statement(nb):
    nb.cells[4].source = "Text."


def no_solution(nb):
    nb.cells[6].source = "Text."


def solution_first(nb):
    nb.cells[4].source, nb.cells[6].source = SOLUTION, EXERCISE


def solution_without_code(nb):
    nb.cells[6].source = SOLUTION.replace("```python", "```")


def two_solutions(nb):
    nb.cells[6].source += "\n\n" + SOLUTION


def orphan_solution(nb):
    nb.cells[6].source += "\n\n" + SOLUTION.replace("tiny-1", "tiny-2")


def no_check(nb):
    nb.cells[5].source = "pass"


def two_gpu_cells(nb):
    nb.cells[1].metadata.tags = ["gpu"]


def leaning_gpu_cell(nb):
    nb.cells[7].source = "gpu.run('tiny', experiment, summary='all')"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_kernel, "the kernelspec is not python3"),
        (widget_state, "widget state"),
        (large, "larger than 1000000 bytes"),
        (not_in_order, "the execution counts are [3, 2, 3, 4, 5], not 1 to 5"),
        (not_run, "the execution counts are [None, 2"),
        (no_outputs, "no stored outputs"),
        (error, "the stored output is an error, KeyError"),
        (stderr, "holds stderr: careful"),
        (widget_view, "a widget's view"),
        (long_cell, "16 lines, at most 15"),
        (empty_cell, "the cell is empty"),
        (semicolon, "a line ends in `;`"),
        (magic, "a magic or shell command"),
        (shell, "a magic or shell command"),
        (nbval_comment, "a comment that changes what nbval does"),
        (nbval_tag, "tagged nbval-ignore-output"),
        (nbval_skip_of_the_gpu_cell, "tagged nbval-skip"),
        (tolerance_without_reason, "tolerance: no reason is given"),
        (tolerance_without_numbers, "a tolerance, but no number in the output"),
        (short_alt, "less than 40 characters of alt"),
        (no_caption, "a picture without a caption"),
        (html_image, "HTML with an image without alt"),
        (markdown_image, "an image without alternative text"),
        (figure_directive, "a figure or image directive without :alt:"),
        (foreign_label, "the label 'other-definition' is not `tiny-` and words"),
        (shapeless_label, "the label 'tiny_definition' is not `tiny-` and words"),
        (bare_align, "a bare environment"),
        (inner_align, "within $$ use aligned"),
        (macro, "a custom TeX macro"),
        (dollar, "a dollar sign that opens no mathematics"),
        (two_sentences, "two sentences on a line: “…This is one. This is another.…”"),
        (two_sentences_around_mathematics, "two sentences on a line"),
        (two_sentences_in_a_list, "two sentences on a line"),
        (unknown_number, "0.88 stands in no output"),
        (too_many_digits, "0.8711 stands in no output"),
        (unknown_percentage, "88% stands in no output"),
        (unused_number, "0.99 is allowed, but no prose needs it"),
        (number_without_source, "12.5% is allowed without a source"),
        (number_that_is_shown, "0.87 is allowed, but no prose needs it"),
        (no_heading, "does not open with a heading of level 1"),
        (no_question, "the opening does not name: Question"),
        (relative_path, "the relative path 'recorded/iou.json'"),
        (file_name, "the relative path 'iou.json'"),
        (parent, "the relative path '../src'"),
        (chdir, "chdir depends on the folder"),
        (syntax, "invalid syntax"),
        (name_of_python, "max takes a name of Python's own from earlier cells"),
        (lasting_setting, "`torch.set_default_dtype(torch.float64)` changes what earlier cells"),
        (lasting_attribute, "`math.pi` changes what earlier cells use"),
        (lasting_item, "`os.environ['HOME']` changes what earlier cells use"),
        (draw_without_seed, "torch.rand draws before anything is seeded"),
        (no_statement, "no exercise-tiny-1 before the stub"),
        (no_solution, "no solution-tiny-1 with one python fence after the stub"),
        (solution_first, "no solution-tiny-1 with one python fence after the stub"),
        (solution_without_code, "no solution-tiny-1 with one python fence"),
        (two_solutions, "no solution-tiny-1 with one python fence"),
        (orphan_solution, "solution-tiny-2 belongs to no stub"),
        (no_check, 'expected one call check("<id>", …), got 0'),
        (two_gpu_cells, "2 cells are tagged gpu"),
        (leaning_gpu_cell, "the GPU cell needs experiment, gpu from other cells"),
    ],
)
def test_what_is_wrong_is_named(tiny, spoil, message):
    spoil(tiny)
    assert message in "\n".join(problems(tiny))


def test_a_recording_of_another_version_of_the_cell_is_named(tiny, monkeypatch):
    monkeypatch.setattr(gpu, "load", {"tiny": {"cell": "0"}}.get)
    assert "the recorded run is of another version of this cell" in problems(tiny)[0]


def test_solutions_and_stubs_are_found(tiny):
    assert problems(tiny) == []
    assert checks.solutions(tiny.path) == {"tiny-1": "def answer():\n    return 42\n"}
    assert checks.stubs(tiny.path) == {"tiny-1": STUB}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_nothing_is_wrong_with_the_chapter(chapter):
    found = checks.check_notebook(chapter)
    assert not found, "\n".join(found)
