"""nbval with tolerances: what may differ, what may not, and that nothing else got weaker."""

import json
import re
import sys
from dataclasses import dataclass, field

import pytest
from nbformat import v4, write
from support import run

from bookkit.notebooks.compare import RECORD, differences, numbers, tolerance_problems

TOLERANCE = {"rel": 0.1, "abs": 0.0, "reason": "trained"}
TOLERANT = {"derived": {"tolerance": TOLERANCE}}
STDERR = "import sys; print('careful', file=sys.stderr)"
PICTURE = """from IPython.display import display
said = {"alt": "now", "caption": "A caption."}
display({"image/png": "AAAA", "text/plain": "summary"}, raw=True, metadata={"image/png": said})"""
HTML = "from IPython.display import HTML; HTML('<td>0.52</td>')"
SPLIT = "print('a', flush=True); print('b', flush=True); import time; time.sleep(0.1); print('c')"


@dataclass
class Case:
    """A cell, what is stored of it, and whether it must pass."""

    name: str
    source: str
    stored: list
    passes: bool
    says: str = ""
    metadata: dict = field(default_factory=dict)


def stdout(text):
    return v4.new_output("stream", name="stdout", text=text)


def result(text, kind="text/plain", **more):
    return v4.new_output("execute_result", {kind: text, **more}, execution_count=1)


def picture(alt):
    data = {"image/png": "BBBB", "text/plain": "summary"}
    said = {"image/png": {"alt": alt, "caption": "A caption."}}
    return v4.new_output("display_data", data, metadata=said)


html = {"text/html": "<td>0.5</td>", "text/plain": "<IPython.core.display.HTML object>"}

CASES = [
    Case("the same", "print('loss 0.5')", [stdout("loss 0.5\n")], True),
    Case("a digit", "print('loss 0.51')", [stdout("loss 0.50\n")], False, "stored: loss 0.50"),
    Case("a digit of a value", "0.51", [result("0.5")], False, "now:    0.51"),
    Case("within", "print('loss 0.54')", [stdout("loss 0.5\n")], True, metadata=TOLERANT),
    Case("value within", "0.54", [result("0.5")], True, metadata=TOLERANT),
    Case("outside", "print('loss 0.56')", [stdout("loss 0.5\n")], False, "allowed 0.05", TOLERANT),
    Case("a word", "print('gain 0.5')", [stdout("loss 0.5\n")], False, "more than", TOLERANT),
    Case("a line more", "print('1\\n1')", [stdout("1\n")], False, "not stored", TOLERANT),
    Case("missing output", "_ = 0.5", [stdout("loss 0.5\n")], False, "Missing", TOLERANT),
    Case("extra output", "print(1)", [], False, "Unexpected"),
    Case("extra output in a tolerant cell", "print(1)", [], False, "Unexpected", TOLERANT),
    Case("a result instead of a print", "0.5", [stdout("0.5\n")], False, "Missing", TOLERANT),
    Case("an error", "1 / 0", [], False, "ZeroDivisionError"),
    Case("stderr", STDERR, [], False, "wrote to stderr"),
    Case(
        "stored stderr",
        STDERR,
        [v4.new_output("stream", name="stderr", text="careful\n")],
        False,
        "wrote to stderr",
    ),
    Case(
        "no reason",
        "print(0.5)",
        [stdout("0.5\n")],
        False,
        "no reason",
        {"derived": {"tolerance": {"rel": 0.1}}},
    ),
    Case("a split stream", SPLIT, [stdout("a\nb\n"), stdout("c\n")], True),
    Case(
        "html within",
        HTML,
        [result(html.pop("text/html"), "text/html", **html)],
        True,
        "",
        TOLERANT,
    ),
    Case("other bytes of a picture", PICTURE, [picture("now")], True),
    Case("another alternative text", PICTURE, [picture("then")], False, "alternative texts differ"),
    Case("no picture", PICTURE, [result("summary")], False, "alternative texts differ"),
    Case("after all that", "print('loss 0.5')", [stdout("loss 0.5\n")], True),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Run all cases in one kernel; return each cell's outcome and section of the report."""
    cells = []
    for number, case in enumerate(CASES, 1):
        stored = {"outputs": case.stored, "execution_count": number, "metadata": case.metadata}
        cells.append(v4.new_code_cell(case.source, **stored))
    folder = tmp_path_factory.mktemp("tiny")
    write(v4.new_notebook(cells=cells), folder / "tiny.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-v", "--color=no", "--rootdir", "."]
    command += ["-p", "bookkit.notebooks.compare", "-p", "no:cacheprovider", "tiny.ipynb"]
    said = run(command, cwd=folder, check=False).stdout
    outcomes = dict(re.findall(r"::Cell (\d+) (PASSED|FAILED)", said))
    known = json.loads((folder / RECORD).read_text("utf-8"))["tiny.ipynb"]
    passing = sum(case.passes for case in CASES)
    assert (known["passed"], known["failed"]) == (passing, len(CASES) - passing)
    sections = re.split(r"^_+ .*Cell (\d+) _+$", said, flags=re.MULTILINE)
    return outcomes, dict(zip(sections[1::2], sections[2::2], strict=True))


@pytest.mark.parametrize(
    ("number", "case"), list(enumerate(CASES)), ids=[case.name for case in CASES]
)
def test_cell_is_judged(report, number, case):
    outcomes, sections = report
    assert outcomes[str(number)] == ("PASSED" if case.passes else "FAILED")
    assert case.passes or case.says in sections[str(number)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.87 ± 0.02, (0.5) x=-0.5 −0.3", ["0.87", "0.02", "0.5", "-0.5", "−0.3"]),
        ("tensor([0.1, -2.])", ["0.1", "-2."]),
        ("1,715,000 cases, 1e-3, nan and -inf", ["1,715,000", "1e-3", "nan", "-inf"]),
        ("93% of 12.5 %", ["93", "12.5"]),
        ("conv2 iou-1 2026-01-05 2.13.0 1.5s 0.1,0.2 #a1b2 nano", []),
    ],
)
def test_numbers_stand_alone(text, expected):
    assert numbers(text) == expected


@pytest.mark.parametrize(
    ("stored", "now"),
    [
        ("loss  9.99  x", "loss 10.01 x"),  # columns move when a number takes a digit more
        ("nan", "nan"),
        ("inf", "inf"),
        ("-0.5", "-0.52"),
        ("a 1.0\nb 2.0", "a 1.05\nb 1.95"),
    ],
)
def test_within_tolerance(stored, now):
    assert differences(stored, now, TOLERANCE) == []


@pytest.mark.parametrize(
    ("stored", "now"),
    [
        ("nan", "0.5"),
        ("0.5", "nan"),
        ("inf", "-inf"),
        ("inf", "1.0"),
        ("0.5", "-0.5"),
        ("0.0", "0.001"),  # relative to zero nothing is allowed
        ("conv1", "conv2"),
        ("0.5 0.5", "0.5"),
        ("seed 1: 0.5", "seed 1, 0.5"),
        ("a\n", "a\nb\n"),
        ("a\nb\n", "a\n"),
    ],
)
def test_outside_tolerance(stored, now):
    assert differences(stored, now, TOLERANCE)


def test_without_tolerance_every_character_counts():
    assert differences("a  b", "a b")
    assert differences("a\n", "a")
    assert not differences("a\n", "a\n")


@pytest.mark.parametrize(
    "tolerance",
    [
        0.1,
        {"reason": "r"},
        {"rel": 0.1},
        {"rel": 0.1, "reason": " "},
        {"rel": -0.1, "reason": "r"},
        {"rel": float("inf"), "reason": "r"},
        {"abs": "0.1", "reason": "r"},
        {"rel": True, "reason": "r"},
        {"rel": 0.1, "reason": "r", "absolute": 1},
    ],
)
def test_bad_tolerance_is_named(tolerance):
    assert list(tolerance_problems(tolerance))


def test_good_tolerance():
    assert not list(tolerance_problems(TOLERANCE))
