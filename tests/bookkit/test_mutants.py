"""Mutants: what is changed, what is left alone, and what a run makes of good and weak tests."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bookkit import ROOT
from bookkit.mutants import trials as mutants
from bookkit.mutants.changes import draw, mutants_of
from bookkit.verified import record


def changes(source: str, *skip: str) -> set[str]:
    return {mutant.mutant for mutant in mutants_of(textwrap.dedent(source), frozenset(skip))}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("y = a + b", {"y = a - b"}),
        ("y = (a * b) / (c)", {"y = (a / b) / (c)", "y = (a * b) * (c)"}),
        ("y = a ** b", {"y = a * b"}),
        ("y = a @ b", {"y = a * b"}),
        ("y += b", {"y -= b"}),
        ("y = -a", {"y = a"}),
        ("y = ~a & b", {"y = a & b", "y = ~a | b"}),
        ("y = a < b", {"y = a <= b", "y = a >= b"}),
        ("y = a <= b == c", {"y = a < b == c", "y = a > b == c", "y = a <= b != c"}),
        ("y = a is not b", {"y = a is b"}),
        (
            "y = a and not b or c",
            {"y = a or not b or c", "y = a and  b or c", "y = a and not b and c"},
        ),
        ("y = 0", {"y = 1"}),
        ("y = 1", {"y = 0", "y = 2"}),
        ("y = 1.0", {"y = 0.0", "y = 2"}),
        ("y = 1e-3", {"y = 1.001", "y = (-0.001)"}),
        ("y = True", {"y = False"}),
        ("y = a[..., 2:]", {"y = a[..., 3:]"}),
        ("y = a[f(2)]", {"y = a[f(3)]", "y = a[f((-2))]"}),
        ("y = torch.minimum(a, b)", {"y = torch.maximum(a, b)"}),
        ("y = max(a, b)", {"y = min(a, b)"}),
        ("y = a.clamp(min=b)", {"y = a.clamp(max=b)", "y = a"}),
        ("y = torch.clamp(a, min=b, max=c)", set()),
        ("y = (a - b).detach()", {"y = (a + b).detach()", "y = (a - b)"}),
        ("y = torch.exp(a)", set()),
        ("y = torch.where(c, a, b)", {"y = torch.where(c, b, a)"}),
        ("y = a if c else b", {"y = a if not c else b"}),
        ("def f(a, flag=False): ...", {"def f(a, flag=True): ..."}),
        ("y = é + 'ü'[a] + b", {"y = é - 'ü'[a] + b", "y = é + 'ü'[a] - b"}),
    ],
)
def test_each_kind_of_change(line, expected):
    assert changes(line) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Return a + 1."""',
        'y = "a" + b + "c"',
        'y = f"{a + 1}"',
        "def f(a: T[1 + 2]) -> T[3]: ...",
        "y: T[1 + 2]",
        "__all__ = names[1:]",
        "raise ValueError(a - 1)",
        "assert a > 0",
        "from __future__ import annotations",
        "y = a + 1  # mutants: skip (only a speed)",
        "if TYPE_CHECKING:\n    y = 1",
    ],
)
def test_what_is_left_alone(source):
    assert changes(source) == set()


def test_names_to_skip():
    source = "BLOCK = 1024\ndef _explain(a):\n    return a + 1\ndef f(a):\n    return a * b\n"
    assert changes(source, "BLOCK", "_explain") == {"return a / b"}


def test_a_skipped_line_needs_a_reason():
    with pytest.raises(ValueError, match="line 2"):
        mutants_of("\ny = a + b  # mutants: skip\n")


def test_a_mutant_knows_its_place_and_its_key_does_not_know_its_line():
    source = "class Box:\n    @cached(1)\n    def area(self):\n        return self.w * self.h\n"
    for shift in (0, 7):
        *cached, area = mutants_of("\n" * shift + source)
        assert area.key == ("Box.area", "return self.w * self.h", "return self.w / self.h")
        assert (area.number, area.scope) == (shift + 4, (shift + 1, shift + 4))
        # What a decorator does, it may do without entering the function.
        assert [mutant.scope for mutant in cached] == [None, None]


def test_a_draw_does_not_know_where_functions_stand():
    first = "def f(a, b):\n    return a + b * 2\n\n\n"
    second = "def g(a):\n    if a > 3:\n        return a - 1\n    return a / 2\n\n\n"
    together = mutants_of(first + second)
    apart = mutants_of("import math\n" + second) + mutants_of(first)
    keys = [mutant.key for mutant in draw(together, 5, seed=0)]
    assert len(set(keys)) == 5 < len(together)
    assert [mutant.key for mutant in draw(apart, 5, seed=0)] == keys
    assert [mutant.key for mutant in draw(together, 6, seed=0)][:5] == keys
    assert [mutant.key for mutant in draw(together, 5, seed=1)] != keys
    assert len(draw(together, 1000, seed=0)) == len(together)


CHAPTERS = [
    pytest.param(path.parent.name, marks=pytest.mark.chapter(path.parent.name))
    for path in sorted(ROOT.glob("tests/chapters/*/survivors.toml"))
]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_accepted_survivors_are_mutants_of_the_chapters_code(chapter):
    skip, accepted = mutants.read_settings(ROOT, chapter)
    target = mutants.Target(ROOT, chapter)
    code = {mutant.key for mutant in target.mutants(skip)}
    assert not [" | ".join(key) for key in accepted if key not in code]
    names = set(re.findall(r"\w+", "\n".join(path.read_text() for path in target.files)))
    assert skip <= names


MODULE = """
from jaxtyping import Float
from numpy import ndarray


def giou(j: Float[ndarray, "n"], waste: Float[ndarray, "n"]) -> Float[ndarray, "n"]:
    return j - waste


def emptied(n, by):
    while n:
        n -= by
    return n


def doubled(x):
    return x + x
"""

GOOD = """
import os
from derived.tiny import doubled, emptied, giou
import numpy as np
import pytest


@pytest.mark.verifies("tiny-giou", by="exact")
def test_giou():
    assert giou(np.full(1, 0.5), np.full(1, 0.25)) == 0.25


def test_shapes_are_checked_in_mutants_too():
    with pytest.raises(Exception, match="type"):
        giou(np.ones((2, 2)), np.ones(1))


def test_emptied():
    assert emptied(2, 1) == 0


def test_doubled():
    if doubled(2) != 4:
        os._exit(3)
"""

TESTS = "tests/chapters/tiny/test_tiny.py"
SURVIVORS = "tests/chapters/tiny/survivors.toml"
KEPT = "tests/chapters/tiny/mutants.json"

CONFTEST = """
from jaxtyping import install_import_hook

install_import_hook("derived", "beartype.beartype")
"""

SURVIVOR = """
skip = ["emptied"]

[[survivors]]
function = "doubled"
line = "return x + x"
mutant = "return x - x"
reason = "only tried at zero, where both are the same"
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A book with one tiny chapter and tests that notice every change of it."""
    for name, text in {
        "pytest.ini": "[pytest]\n",
        "src/derived/__init__.py": "",
        "src/derived/tiny.py": MODULE,
        "tests/conftest.py": CONFTEST,
        TESTS: GOOD,
        SURVIVORS: SURVIVOR.partition("[[")[0],
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def run(book: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "bookkit.mutants", "tiny", "--patience", "0", *options]
    # The plugins of what else is installed would take most of the time.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=book, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def figures(book: Path) -> dict:
    return json.loads((book / "_build" / "mutants-tiny.json").read_text())


def test_good_tests_kill_every_mutant(book):
    (book / SURVIVORS).unlink()
    status, printed = run(book)
    assert status == 0, printed
    assert "tiny: 4 of 4 mutants killed (100.0 %); 0 more survive" in printed
    assert (figures(book)["total"], figures(book)["killed"]) == (4, 4)
    # `n -= by` made `n += by` counts for ever.
    assert figures(book)["killers"] == {
        "tests/chapters/tiny/test_tiny.py::test_giou": 1,
        "tests/chapters/tiny/test_tiny.py::test_emptied": 1,
        "exit 3": 1,
        "time limit": 1,
    }
    kept = json.loads((book / KEPT).read_text())
    assert (kept["killed"], kept["survived"], kept["commit"]) == (4, 0, "unknown")
    assert kept["digest"] == record.chapter_digest(book, "tiny")
    # Mutants leave no trace: no record of outcomes, no bytecode of theirs.
    assert not (book / "_build" / "verified.json").exists()
    check = f"import sys; sys.path.insert(0, {str(book / 'src')!r}); "
    check += "import derived.tiny as t; print(t.__file__, t.doubled(3))"
    seen = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == [str(book / "src" / "derived" / "tiny.py"), "6"]


def test_a_weak_test_and_a_missing_one_let_mutants_survive(book):
    edit(book / TESTS, "doubled(2) != 4", "doubled(0) != 0")
    edit(
        book / "src" / "derived" / "tiny.py",
        "def doubled",
        "def unused(x):\n    return -x\n\n\ndef doubled",
    )
    status, printed = run(book)
    assert status == 1
    assert "src/derived/tiny.py:21 in doubled\n" in printed
    assert "-    return x + x\n+    return x - x\n" in printed
    assert "tiny: 1 of 3 mutants killed (33.3 %)" in printed
    assert {m["function"] for m in figures(book)["survivors"]} == {"doubled", "unused"}


def test_a_package_is_changed_in_each_of_its_files(book):
    package = book / "src" / "derived" / "tiny"
    similarity, loops = MODULE.split("\n\n\n", 1)[0], MODULE[MODULE.index("def emptied") :]
    similarity += "\n\n\n" + MODULE[MODULE.index("def giou") : MODULE.index("def emptied")]
    (package / "rooms").mkdir(parents=True)
    (package / "rooms" / "__init__.py").write_text("")
    (package / "rooms" / "similarity.py").write_text(similarity)
    (package / "loops.py").write_text(loops)
    (package / "__init__.py").write_text(
        "from derived.tiny.loops import doubled, emptied\n"
        "from derived.tiny.rooms.similarity import giou\n"
    )
    package.with_suffix(".py").unlink()
    edit(book / TESTS, "doubled(2) != 4", "doubled(0) != 0")
    status, printed = run(book)
    assert status == 1
    assert "src/derived/tiny/loops.py:8 in doubled\n" in printed
    assert "tiny: 1 of 2 mutants killed (50.0 %)" in printed
    assert figures(book)["killers"] == {f"{TESTS}::test_giou": 1}
    digest = json.loads((book / KEPT).read_text())["digest"]
    assert digest == record.chapter_digest(book, "tiny")
    edit(package / "rooms" / "similarity.py", "j - waste", "j + waste")
    assert digest != record.chapter_digest(book, "tiny")


def test_a_sample_stands_beside_the_last_whole_run(book):
    edit(book / TESTS, "doubled(2) != 4", "doubled(0) != 0")
    keep = {"killed": 7, "survived": 1, "accepted": 0, "score": 87.5, "seconds": 1}
    target = mutants.Target(book, "tiny")
    mutants.keep(target, keep)
    whole = json.loads((book / KEPT).read_text())
    tries = draw(target.mutants(frozenset(["emptied"])), 1, seed=3)
    killed = sum(mutant.function == "giou" for mutant in tries)
    run(book, "--sample", "1", "--seed", "3")
    kept = json.loads((book / KEPT).read_text())
    sample = kept.pop("sample")
    assert kept == whole
    assert (sample["tried"], sample["killed"], sample["seed"]) == (1, killed, 3)
    assert {"date", "commit", "digest"} < sample.keys()
    mutants.keep(target, keep)
    assert json.loads((book / KEPT).read_text()) == whole | {"sample": sample}


def test_a_survivor_that_a_sample_leaves_out_is_not_stale(book, capsys):
    (book / SURVIVORS).write_text(SURVIVOR)
    *others, doubled = mutants.Target(book, "tiny").mutants(frozenset())
    assert report(book, killed=[(m, "test") for m in others], undrawn=[doubled])[1]
    assert "stale" not in capsys.readouterr().out


def test_a_chapters_tests_may_span_several_files(book):
    edit(
        book / "src" / "derived" / "tiny.py",
        "def doubled",
        "def negated(x):\n    return -x\n\n\ndef doubled",
    )
    (book / TESTS).with_name("test_tiny_more.py").write_text(
        "from derived.tiny import negated\n\n\ndef test_negated():\n    assert negated(1) == -1\n"
    )
    run(book)
    assert figures(book)["killers"]["tests/chapters/tiny/test_tiny_more.py::test_negated"] == 1


def test_tests_may_import_from_the_folder_of_benchmarks(book):
    (book / "benchmarks").mkdir()
    (book / "benchmarks" / "sizes.py").write_text("TWO = 2\n")
    path = (
        'import sys\nsys.path.insert(0, str(__import__("pathlib").Path("benchmarks").resolve()))\n'
    )
    edit(book / TESTS, "import os\n", f"import os\n{path}from sizes import TWO\n")
    edit(book / TESTS, "doubled(2)", "doubled(TWO)")
    status, printed = run(book)
    assert status == 0, printed


def test_a_result_names_its_commit_and_changes_since(book, git):
    def commit_after(change=""):
        (book / "src" / "derived" / "tiny.py").write_text(MODULE + change)
        numbers = dict.fromkeys(("killed", "survived", "accepted", "score", "seconds"), 0)
        mutants.keep(mutants.Target(book, "tiny"), numbers)
        return json.loads((book / KEPT).read_text())["commit"]

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    head = git("rev-parse", "--short", "HEAD")
    assert commit_after() == head
    # Another chapter's result, not committed yet, is no change.
    assert (book / KEPT).exists()
    assert commit_after() == head
    assert commit_after("\n# changed\n") == f"{head} with changes"


def test_an_accepted_survivor_does_not_count(book):
    (book / SURVIVORS).write_text(SURVIVOR)
    edit(book / TESTS, "doubled(2) != 4", "doubled(0) != 0")
    status, printed = run(book)
    assert status == 0, printed
    assert "1 of 1 mutants killed (100.0 %); 1 more survive for an accepted reason" in printed
    assert (figures(book)["accepted"], figures(book)["survived"]) == (1, 0)


def test_tests_that_fail_on_the_unchanged_module(book):
    edit(book / TESTS, "emptied(2, 1) == 0", "emptied(2, 1) == 1")
    status, printed = run(book)
    assert status == 1
    assert "test_emptied" in printed and "must pass on the unchanged module" in printed


def report(book: Path, **outcome: list) -> tuple[dict, bool]:
    target = mutants.Target(book, "tiny")
    settings = mutants.read_settings(book, "tiny")
    return mutants.report(target, mutants.Outcome(**outcome), *settings)


def test_an_accepted_survivor_that_is_killed_or_gone_is_stale(book, capsys):
    (book / SURVIVORS).write_text(SURVIVOR)
    *_, doubled = mutants.Target(book, "tiny").mutants(frozenset())
    assert report(book, survived=[doubled])[1]
    assert report(book, untried=[doubled])[0]["untried"] == 1
    assert "stale" not in capsys.readouterr().out
    for outcome in ({"killed": [(doubled, "test")]}, {}):
        assert not report(book, **outcome)[1]
        assert "stale in survivors.toml, killed or gone: doubled" in capsys.readouterr().out


def test_a_name_to_skip_that_is_gone_is_stale(book, capsys):
    (book / SURVIVORS).write_text('skip = ["BLOCK", "emptied"]\n')
    assert not report(book)[1]
    assert "killed or gone: skip | BLOCK\n" in capsys.readouterr().out


def test_being_out_of_time_is_no_success(book, capsys):
    first, *others = mutants.Target(book, "tiny").mutants(frozenset())
    figures, in_order = report(book, killed=[(first, "test")], untried=others)
    assert not in_order and figures["score"] == 100
    assert "3 mutants were not tried: out of time" in capsys.readouterr().out


def test_an_accepted_survivor_needs_a_reason(book):
    reason = "only tried at zero, where both are the same"
    (book / SURVIVORS).write_text(SURVIVOR.replace(reason, " "))
    with pytest.raises(SystemExit, match="needs function, line, mutant and reason"):
        mutants.read_settings(book, "tiny")
