"""The run that compares outputs: in any folder, without a network or a reader, twice in a kernel."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from nbformat import v4, write

from bookkit.notebooks import run as notebooks
from bookkit.notebooks.compare import RECORD

CHAPTERS = sorted((Path(__file__).parents[2] / "chapters").glob("*.ipynb"))
# Where a chapter turns from formulas to data, training and simulations, which take most of its time.
DATA = re.compile(r"load_digits|mnist|digits_on_canvas|torch\.optim|regression_cases|mean_error")

OWN_FOLDER = "import os; print(os.path.exists('tiny.ipynb'), os.listdir())"
CONNECTS = "import socket; socket.socket().connect(('192.0.2.1', 80))"
ASKS_QUIETLY = """import socket
try:
    socket.getaddrinfo("example.org", 443)
except OSError:
    print("offline")"""
SENDS = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 9))"
BETWEEN_PROCESSES = "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))"
LEAVES = """import torch
print(torch.get_default_dtype())
torch.set_default_dtype(torch.float64)"""


@dataclass
class Case:
    """A cell, what is stored of it, whether it must pass at first and again, and what is said."""

    name: str
    source: str
    stored: str
    passes: tuple[bool, bool]
    says: str = ""


CASES = [
    Case("its own folder is not needed", OWN_FOLDER, "False []\n", (True, True)),
    Case("a file beside it", "open('tiny.ipynb').close()", "", (False, False), "FileNotFound"),
    Case("a connection", CONNECTS, "", (False, False), "socket.connect"),
    Case("a caught look-up", ASKS_QUIETLY, "offline\n", (False, False), "socket.getaddrinfo"),
    Case("a datagram", SENDS, "", (False, False), "socket.sendto"),
    Case("between processes", BETWEEN_PROCESSES, "b'x'\n", (True, True)),
    Case("a question", "input()", "", (False, False), "StdinNotImplementedError"),
    Case("standard input", "import sys; print(repr(sys.stdin.read()))", "''\n", (True, True)),
    Case("a name used before", "print('n' in globals())", "False\n", (True, False), "True"),
    Case("the name", "n = 1", "", (True, True)),
    Case("a default left changed", LEAVES, "torch.float32\n", (True, False), "torch.float64"),
]


def run(notebook, folder, *options):
    """Run and compare a notebook; return each cell's outcomes and what is said of those that fail."""
    write(notebook, folder / "tiny.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-v", "--color=no", "--rootdir", "."]
    command += ["-p", "bookkit.notebooks.compare", "-p", "no:cacheprovider", "tiny.ipynb", *options]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    outcomes = re.findall(r"::Cell (\d+)( again)? (PASSED|FAILED)", done.stdout)
    sections = re.split(r"^_+ .*Cell (\d+(?: again)?) _+$", done.stdout, flags=re.MULTILINE)
    said = dict(zip(sections[1::2], sections[2::2], strict=True))
    return [(int(n), bool(again), word == "PASSED") for n, again, word in outcomes], said


def tiny():
    """Return the cases as one notebook."""
    cells = []
    for number, case in enumerate(CASES, 1):
        outputs = [v4.new_output("stream", name="stdout", text=case.stored)] if case.stored else []
        cells.append(v4.new_code_cell(case.source, outputs=outputs, execution_count=number))
    return v4.new_notebook(cells=cells)


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twice")
    outcomes, said = run(tiny(), folder, "--twice")
    return outcomes, said, json.loads((folder / RECORD).read_text("utf-8"))["tiny.ipynb"]


@pytest.mark.parametrize(
    ("number", "case"), list(enumerate(CASES)), ids=[case.name for case in CASES]
)
def test_a_cell_that_needs_its_surroundings_is_noticed(twice, number, case):
    outcomes, said, _ = twice
    assert (number, False, case.passes[0]) in outcomes
    assert (number, True, case.passes[1]) in outcomes
    for name, passes in zip((str(number), f"{number} again"), case.passes, strict=True):
        assert passes or case.says in said[name]


def test_the_second_run_follows_the_whole_first_and_counts_each_cell_once(twice):
    outcomes, _, counts = twice
    assert [again for _, again, _ in outcomes] == [False] * len(CASES) + [True] * len(CASES)
    good = sum(all(case.passes) for case in CASES)
    assert (counts["passed"], counts["failed"]) == (good, len(CASES) - good)


def test_several_processes_keep_one_record(tmp_path):
    write(tiny(), tmp_path / "other.ipynb")
    run(tiny(), tmp_path, "other.ipynb", "--numprocesses=2", "--dist=loadfile")
    record = json.loads((tmp_path / RECORD).read_text("utf-8"))
    good = sum(first for first, _ in (case.passes for case in CASES))
    assert list(record) == ["other.ipynb", "tiny.ipynb"]
    for counts in record.values():
        assert (counts["passed"], counts["failed"]) == (good, len(CASES) - good)


def test_one_run_records_nowhere_if_told_so(tmp_path):
    outcomes, _ = run(tiny(), tmp_path, "--outputs-record=")
    assert [again for _, again, _ in outcomes] == [False] * len(CASES)
    assert [good for *_, good in outcomes] == [case.passes[0] for case in CASES]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.ipynb"]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapters_formulas_run_anywhere_and_twice(chapter, tmp_path):
    notebook = notebooks.read(chapter)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    end = next((n for n, cell in enumerate(code) if DATA.search(cell.source)), len(code))
    notebook.cells = code[:end]
    outcomes, said = run(notebook, tmp_path, "--twice")
    assert end > len(code) / 3
    assert not said, "\n".join(said.values())
    assert outcomes == [(n, again, True) for again in (False, True) for n in range(end)]
