"""Recorded results are looked up as long as the code that made them is the code that asks."""

import json
import random

import numpy as np
import pytest
import torch

from derived import recordings

IMPORTS = "import torch\nfrom math import sqrt, floor\nfrom derived.recordings import recorded"
DATA = (
    "STEP = 2\nWAYS = {'plain': lambda x: x * STEP}\nWAYS['squared'] = lambda x: x**2\ncalls = []"
)
HELPER = "def scaled(x):\n    return WAYS['plain'](x) / 3"
FUNCTION = """@recorded("tiny_sum", {"n": 2}, rel=0.01, reason="an example")
def total(n, kind="plain"):
    calls.append(n)
    torch.manual_seed(n)
    return {"sum": scaled(WAYS[kind](float(n))), "draws": torch.rand(2, 2)}"""
CELLS = [IMPORTS, DATA, HELPER, FUNCTION]


class Kernel(dict):
    """Runs cells as IPython does, as far as a recorded function can tell."""

    def __init__(self, cells):
        super().__init__(In=[""])
        for cell in cells:
            self.run(cell)

    def run(self, cell):
        self["In"].append(cell)
        exec(compile(cell, "cell", "exec"), self)  # noqa: S102


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where recordings are looked for, with those of `total(4)` and of its spot."""

    def load(name):
        path = tmp_path / f"{name}.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    monkeypatch.setattr(recordings, "load", load)
    for name in (recordings.FOLDER, recordings.NAMES, recordings.CHECK):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as context:
        context.setenv(recordings.FOLDER, str(tmp_path))
        Kernel(CELLS)["total"](4)
    return tmp_path


@pytest.fixture
def checked(folder, monkeypatch):
    """As under the tests."""
    monkeypatch.setenv(recordings.CHECK, "1")
    return folder / "tiny_sum.json"


def edit(path, change):
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def test_a_recorded_call_computes_nothing(folder):
    kernel = Kernel(CELLS)
    looked_up = kernel["total"](4)
    assert kernel["calls"] == []
    assert kernel["total"](n=4, kind="plain") == looked_up
    assert kernel["total"].compute(4) == looked_up
    assert kernel["calls"] == [4]
    assert looked_up["sum"] == pytest.approx(16 / 3, rel=1e-5)
    assert looked_up["sum"] != 16 / 3  # six digits, looked up or computed


def test_the_record_tells_what_was_run(folder):
    content = json.loads((folder / "tiny_sum.json").read_text("utf-8"))
    assert content["function"] == "total"
    assert content["spot"] == {"n": 2, "kind": "plain"}
    assert [entry["arguments"]["n"] for entry in content["results"]] == [4, 2]
    assert content["CPU seconds"] >= 0
    assert len(content["source"]) == 16


@pytest.mark.parametrize("call", [((5,), {}), ((4, "squared"), {}), ((4.5,), {})])
def test_other_arguments_are_computed(folder, call):
    kernel = Kernel(CELLS)
    arguments, options = call
    kernel["total"](*arguments, **options)
    assert kernel["calls"] == [arguments[0]]


CHANGES = {
    "the function": (FUNCTION, FUNCTION.replace("rand(2, 2)", "rand(2, 3)")),
    "a default": (FUNCTION, FUNCTION.replace('kind="plain"', 'kind="squared"')),
    "what it calls": (HELPER, HELPER.replace("/ 3", "/ 4")),
    "a constant behind it": (DATA, DATA.replace("STEP = 2", "STEP = 3")),
    "a function in a table": (DATA, DATA.replace("x**2", "x**3")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_after_an_edit_it_is_computed(folder, name):
    old, new = CHANGES[name]
    kernel = Kernel([new if cell == old else cell for cell in CELLS])
    kernel["total"](4, "plain")
    assert kernel["calls"] == [4]


@pytest.mark.parametrize("name", CHANGES)
def test_an_edited_cell_run_again_counts(folder, name):
    _, new = CHANGES[name]
    kernel = Kernel(CELLS)
    kernel.run(new)
    kernel["total"](4, "plain")
    assert kernel["calls"] == [4]


SAME = {
    "a comment": (HELPER, HELPER.replace("/ 3", "/ 3  # a third")),
    "a docstring": (HELPER, HELPER.replace("x):", 'x):\n    "A third."')),
    "annotations": (HELPER, HELPER.replace("(x):", "(x: float) -> float:")),
    "layout": (FUNCTION, FUNCTION.replace("total(n, ", "total(\n    n,\n    ")),
    "the tolerance": (FUNCTION, FUNCTION.replace("0.01", "0.02")),
    "another import": (IMPORTS, IMPORTS.replace("floor", "floor, ceil")),
}


@pytest.mark.parametrize("name", SAME)
def test_what_changes_no_result_is_no_edit(folder, name):
    old, new = SAME[name]
    kernel = Kernel([new if cell == old else cell for cell in CELLS])
    kernel["total"](4)
    assert kernel["calls"] == []


def test_cells_that_run_twice_are_the_same_code(folder):
    kernel = Kernel(["n = 3", *CELLS, "for n in range(2): kind = n", *CELLS])
    kernel["total"](4)
    assert kernel["calls"] == []


def test_the_spot_is_checked_at_the_first_use(checked):
    kernel = Kernel(CELLS)
    kernel["total"](4)
    kernel["total"](4)
    assert kernel["calls"] == [2]


def refusals():
    def far(content):
        content["results"][1]["result"]["draws"][1][0] *= 1.02

    def shorter(content):
        content["results"][1]["result"]["draws"].pop()

    def other_keys(content):
        content["results"][1]["result"] = {"sums": 1.0}

    def no_spot(content):
        content["results"].pop()

    yield "a number", far, r"spot check of total fails.*result\['draws'\]\[1\]\[0\]: recorded"
    yield "a length", shorter, r"spot check of total fails.*result\['draws'\]"
    yield "a key", other_keys, "spot check of total fails"
    yield "no spot", no_spot, r"the spot \{.*\} is not recorded: make sweeps CHAPTERS=tiny"


@pytest.mark.parametrize(("change", "says"), [pytest.param(*r[1:], id=r[0]) for r in refusals()])
def test_a_failing_spot_check_is_loud(checked, change, says):
    edit(checked, change)
    with pytest.raises(AssertionError, match=says):
        Kernel(CELLS)["total"](4)


def test_a_spot_within_its_tolerance_passes(checked):
    def near(content):
        content["results"][1]["result"]["sum"] *= 1.009

    edit(checked, near)
    Kernel(CELLS)["total"](4)


def test_under_the_tests_stale_code_fails(checked):
    kernel = Kernel([*CELLS[:2], HELPER.replace("3", "4"), FUNCTION])
    says = "the code of total changed since it was recorded: make sweeps CHAPTERS=tiny"
    with pytest.raises(AssertionError, match=says):
        kernel["total"](4)


def test_under_the_tests_nothing_is_computed_unseen(checked):
    with pytest.raises(AssertionError, match="no result of total for .*'n': 7.*make sweeps"):
        Kernel(CELLS)["total"](7)
    checked.unlink()
    with pytest.raises(AssertionError, match="recorded/tiny_sum.json is missing: make sweeps"):
        Kernel(CELLS)["total"](4)
    kernel = Kernel([*CELLS[:3], FUNCTION.replace("tiny_sum", "two_words_sum")])
    with pytest.raises(AssertionError, match="make sweeps CHAPTERS=two_words$"):
        kernel["total"](4)


@pytest.mark.parametrize("n", [4, 5])
def test_global_generators_are_left_alone(folder, n):
    states = []
    for call in (lambda: None, lambda: Kernel(CELLS)["total"](n)):
        np.random.seed(0), torch.manual_seed(0)
        call()
        states.append((np.random.rand(), torch.rand(1).item()))
    assert states[0] == states[1]


def test_pythons_generator_is_left_alone():
    """By itself, since what checks types in the tests draws from it, too."""
    before = random.getstate()
    with recordings._generators_kept():
        random.seed(1)
    assert random.getstate() == before


def test_only_named_records_are_made_anew(folder, monkeypatch):
    monkeypatch.setenv(recordings.FOLDER, str(folder))
    monkeypatch.setenv(recordings.NAMES, "tiny_other,tiny_more")
    kernel = Kernel(CELLS)
    kernel["total"](4)
    assert kernel["calls"] == []
    monkeypatch.setenv(recordings.NAMES, "tiny_other,tiny_sum")
    kernel["total"](4)
    kernel["total"](4)
    assert kernel["calls"] == [4, 2]


def test_results_are_what_json_holds(folder):
    kernel = Kernel([IMPORTS])
    kernel.run(
        "@recorded('tiny_kinds', {}, rel=0.1, reason='an example')\n"
        "def kinds():\n"
        "    import numpy as np\n"
        "    return {1: (torch.arange(2), np.float64(1 / 3)), 'n': None, 'yes': True, 'w': 'a'}"
    )
    expected = {"1": [[0, 1], 0.333333], "n": None, "yes": True, "w": "a"}
    assert kernel["kinds"]() == expected
    assert json.loads(json.dumps(expected)) == expected


def test_arguments_that_json_cannot_hold(folder, monkeypatch):
    kernel = Kernel(CELLS)
    assert kernel["total"](torch.tensor(4))["sum"] == pytest.approx(16 / 3, rel=1e-5)
    assert len(kernel["calls"]) == 1
    monkeypatch.setenv(recordings.FOLDER, str(folder))
    with pytest.raises(ValueError, match="total: JSON can't hold its arguments"):
        kernel["total"](torch.tensor(4))


def plain(n):
    return n


@pytest.mark.parametrize(
    ("options", "function", "says"),
    [
        ({"rel": -0.1, "reason": "a"}, plain, "rel: expected a finite number of at least 0"),
        ({"abs": float("inf"), "reason": "a"}, plain, "abs: expected a finite number"),
        ({"abs": True, "reason": "a"}, plain, "abs: expected a finite number"),
        ({"rel": 0.1, "reason": " "}, plain, "reason: expected why"),
        ({"rel": 0.1, "reason": "a"}, lambda *n: n, "expected plain parameters"),
        ({"rel": 0.1, "reason": "a"}, lambda **n: n, "expected plain parameters"),
    ],
)
def test_wrong_declarations_are_refused(options, function, says):
    with pytest.raises(ValueError, match=says):
        recordings.recorded("tiny_sum", {"n": 1}, **options)(function)


def test_it_works_in_a_script_and_where_no_source_is(folder):
    recorded = recordings.recorded("tiny_sum", {"n": 1}, rel=0.1, reason="an example")
    assert recorded(plain)(3) == 3
    nowhere = {}
    exec("def plain(n): return n + 1", nowhere)  # noqa: S102
    assert recorded(nowhere["plain"])(3) == 4


# Which code counts.

USES = {  # of a change in the first cell: whether it changes what `f` is
    "a name": ("a = {}", "def f():\n    return a", True),
    "its own name": ("a = {}", "def f():\n    a = 1\n    return a", False),
    "a parameter": ("a = {}", "def f(a):\n    return a", False),
    "a lambda's": ("a = {}", "def f():\n    return lambda a: a", False),
    "a comprehension's": ("a = {}", "def f():\n    return [a for a in range(3)]", False),
    "its own import": ("a = {}", "def f():\n    import math as a\n    return a", False),
    "a default": ("a = {}", "def f(x=a):\n    return x", True),
    "an attribute": ("b = {}\na = b", "def f():\n    return a.b.c", True),
    "a class": ("class a:\n    x = {}", "def f():\n    return a()", True),
    "a decorator": ("def a(f):\n    return {}", "@a\ndef f():\n    return 1", True),
    "a loop": ("for a in [{}]:\n    pass", "def f():\n    return a", True),
    "changed in a loop": ("a = []\nfor b in [{}]:\n    a += [b]", "def f():\n    return a", True),
    "an item": ("a = [0]\na[0] = {}", "def f():\n    return a", True),
    "rebound": ("a = {}\na = 3", "def f():\n    return a", False),
    "rebound with itself": ("a = {}\na = a + 3", "def f():\n    return a", True),
    "used by another": ("a = {}", "b = 1\nc = a\ndef f():\n    return b", False),
    "through two": ("a = {}", "def g():\n    return a\ndef f():\n    return g()", True),
    "a function that calls itself": ("a = {}", "def f(n):\n    return f(n - 1) + a", True),
    "a cell that never ran": ("a = 1\n)", "def f():\n    return {}", True),
}


@pytest.mark.parametrize("name", USES)
def test_the_code_of_a_function_is_what_it_uses(name):
    cell, function, counts = USES[name]
    one, two = (
        recordings.digest((cell.replace("{}", value), function.replace("{}", value)), "f")
        for value in ("11", "12")
    )
    assert one
    assert (one != two) == counts


def test_data_keep_what_they_were_made_from():
    cells = ("n = 1", "data = [n]", "def f():\n    return data + other()", "n = 2")
    later = (*cells[:3], "n = 3")
    assert recordings.digest(cells, "f") == recordings.digest(later, "f")


def test_a_digest_is_the_same_in_every_version():
    source = (
        "from torch import nn\n"
        "SIZES = {'a': (1, 2.5)}\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x, *, y: int = 1) -> str:\n"
        "        return f'{x!r:>5} and {SIZES}'\n"
        "def f(n, /, k=None, *rest, **more):\n"
        '    "Words."\n'
        "    with open(n) as file, open(k):\n"
        "        return [Net()(i) async for i in file if (j := i) != 1e-3] or None\n"
    )
    assert recordings.digest((source,), "f") == "7f4d8cbb2e370be5"


def test_what_is_no_function_of_a_cell_has_no_digest():
    assert recordings.digest(("f = lambda: 1",), "f") is None
    assert recordings.digest(("def g(): ...",), "f") is None
