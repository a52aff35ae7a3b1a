"""The run that compares outputs: in any folder, without a network or a reader, twice in a kernel.

`make outputs` runs every cell of every chapter so, `make outputs-twice` twice.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from nbformat import v4, write
from support import run

from bookkit.notebooks.compare import RECORD

OWN_FOLDER = "import os; print(os.path.exists('tiny.ipynb'), os.listdir())"
CONNECTS = "import socket; socket.socket().connect(('192.0.2.1', 80))"
ASKS_QUIETLY = """import socket
try:
    socket.getaddrinfo("example.org", 443)
except OSError:
    print("offline")"""
SENDS = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 9))"
BETWEEN_PROCESSES = "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))"
LEAVES = """import decimal
print(decimal.getcontext().prec)
decimal.getcontext().prec = 5"""


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
    Case("a default left changed", LEAVES, "28\n", (True, False), "now:    5"),
]


def compare(folder, *options):
    """Run and compare a folder's notebooks.

    Return for each a list of (number, whether it is the second run, whether it passed) in the
    order of the cells that ran, and what is said of those that failed.
    """
    names = sorted(path.name for path in folder.glob("*.ipynb"))
    command = [sys.executable, "-m", "pytest", "--nbval", "--rootdir=.", "--junitxml=said.xml"]
    command += ["-p", "bookkit.notebooks.compare", "-p", "no:cacheprovider", *options, *names]
    run(command, cwd=folder, check=False)
    cases = ElementTree.parse(folder / "said.xml").iter("testcase")
    (folder / "said.xml").unlink()
    outcomes, said = {Path(name).stem: [] for name in names}, {}
    for case in cases:
        notebook = next(name for name in outcomes if name in case.get("classname"))
        number, again = re.fullmatch(r"Cell (\d+)( again)?", case.get("name")).groups()
        failure = case.find("failure")
        outcomes[notebook].append((int(number), bool(again), failure is None))
        if failure is not None:
            said[notebook, int(number), bool(again)] = failure.text
    return outcomes, said


def tiny():
    """Return the cases as one notebook."""
    cells = []
    for number, case in enumerate(CASES, 1):
        outputs = [v4.new_output("stream", name="stdout", text=case.stored)] if case.stored else []
        cells.append(v4.new_code_cell(case.source, outputs=outputs, execution_count=number))
    return v4.new_notebook(cells=cells)


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """Run the cases and a second notebook twice, each in a process of its own."""
    folder = tmp_path_factory.mktemp("twice")
    write(tiny(), folder / "tiny.ipynb")
    cells = [v4.new_code_cell(source, execution_count=n) for n, source in enumerate(("1 / 0", ""))]
    write(v4.new_notebook(cells=cells), folder / "other.ipynb")
    outcomes, said = compare(folder, "--twice", "--numprocesses=2", "--dist=loadfile")
    return outcomes, said, json.loads((folder / RECORD).read_text("utf-8"))


@pytest.mark.parametrize(
    ("number", "case"), list(enumerate(CASES)), ids=[case.name for case in CASES]
)
def test_a_cell_that_needs_its_surroundings_is_noticed(twice, number, case):
    outcomes, said, _ = twice
    for again, passes in zip((False, True), case.passes, strict=True):
        assert (number, again, passes) in outcomes["tiny"]
        assert passes or case.says in said["tiny", number, again]


def test_the_second_run_follows_the_whole_first_and_counts_each_cell_once(twice):
    outcomes, _, record = twice
    assert [again for _, again, _ in outcomes["tiny"]] == [
        again for again in (False, True) for _ in CASES
    ]
    good = sum(all(case.passes) for case in CASES)
    counts = record["tiny.ipynb"]
    assert (counts["passed"], counts["failed"]) == (good, len(CASES) - good)


def test_several_processes_keep_one_record(twice):
    *_, record = twice
    assert list(record) == ["other.ipynb", "tiny.ipynb"]
    assert (record["other.ipynb"]["passed"], record["other.ipynb"]["failed"]) == (1, 1)


def test_one_run_records_nowhere_if_told_so(tmp_path):
    asks, binds = (CASES[number].source for number in (-3, -2))
    output = v4.new_output("stream", name="stdout", text="False\n")
    cells = [
        v4.new_code_cell(asks, outputs=[output], execution_count=1),
        v4.new_code_cell(binds, execution_count=2),
    ]
    write(v4.new_notebook(cells=cells), tmp_path / "tiny.ipynb")
    outcomes, _ = compare(tmp_path, "--outputs-record=")
    assert outcomes == {"tiny": [(0, False, True), (1, False, True)]}
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.ipynb"]
