"""The run that compares outputs: in any folder, without a network or a reader, twice in a kernel."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
from nbformat import v4, write

from bookkit.comparator import RECORD

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


def run(folder, *options):
    """Run the cases as one notebook; return each cell's outcomes, the report and the counts."""
    cells = []
    for number, case in enumerate(CASES, 1):
        outputs = [v4.new_output("stream", name="stdout", text=case.stored)] if case.stored else []
        cells.append(v4.new_code_cell(case.source, outputs=outputs, execution_count=number))
    write(v4.new_notebook(cells=cells), folder / "tiny.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-v", "--color=no", "--rootdir", "."]
    command += ["-p", "bookkit.comparator", "-p", "no:cacheprovider", "tiny.ipynb", *options]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    outcomes = re.findall(r"::Cell (\d+)( again)? (PASSED|FAILED)", done.stdout)
    sections = re.split(r"^_+ .*Cell (\d+(?: again)?) _+$", done.stdout, flags=re.MULTILINE)
    said = dict(zip(sections[1::2], sections[2::2], strict=True))
    return [(int(n), bool(again), word == "PASSED") for n, again, word in outcomes], said


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twice")
    outcomes, said = run(folder, "--twice")
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


def test_one_run_records_nowhere_if_told_so(tmp_path):
    outcomes, _ = run(tmp_path, "--outputs-record=")
    assert [again for _, again, _ in outcomes] == [False] * len(CASES)
    assert [good for *_, good in outcomes] == [case.passes[0] for case in CASES]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.ipynb"]
