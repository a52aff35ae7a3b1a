"""Exercises: a stub is not attempted, each common mistake gets its own hint, a solution passes."""

import ast
import importlib
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from support import ROOT, judgment

from bookkit.notebooks.form import solutions, stubs
from bookkit.verified.chapters import chapters
from derived.exercises import check, exercises
from derived.exercises._exercise import examine, number

NOTEBOOKS = {chapter: ROOT / f"chapters/{chapter}.ipynb" for chapter in chapters()}


def chapter_of(name):
    """An exercise is called as its chapter, and numbered."""
    return name.rpartition("-")[0]


def case(name, *values, id=None):
    """A case about an exercise."""
    return pytest.param(name, *values, marks=pytest.mark.chapter(chapter_of(name)), id=id or name)


each_chapter = pytest.mark.parametrize(
    "chapter", [pytest.param(name, marks=pytest.mark.chapter(name)) for name in NOTEBOOKS]
)
each_exercise = pytest.mark.parametrize("name", [case(name) for name in exercises()])
MISTAKES = [
    case(name, key, wrong, id=f"{name}-{key}-{index}")
    for name, exercise in exercises().items()
    for key, hint in exercise.hints.items()
    for index, wrong in enumerate(hint.wrong)
]


def run(source, namespace):
    """Run code of a notebook."""
    exec(source, namespace)  # noqa: S102 - the book's own


# The chapters: what the notebook shows is what is tested.


@each_chapter
def test_each_exercise_of_a_chapter_has_a_stub_and_a_solution(chapter):
    checked = {name for name in exercises() if chapter_of(name) == chapter}
    assert set(stubs(NOTEBOOKS[chapter])) == checked
    assert set(solutions(NOTEBOOKS[chapter])) == checked


def test_each_exercise_is_called_as_the_module_that_checks_it():
    for chapter in map(chapter_of, exercises()):
        assert chapter in NOTEBOOKS
        module = importlib.import_module(f"derived.exercises.{chapter}")
        assert {chapter_of(name) for name in module.EXERCISES} == {chapter}


@pytest.mark.parametrize(
    "name", [case(name) for notebook in NOTEBOOKS.values() for name in stubs(notebook)]
)
def test_stub_is_not_attempted_and_solution_passes(name, capsys):
    notebook = NOTEBOOKS[chapter_of(name)]
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    stub = stubs(notebook)[name]
    namespace = {}
    run(f"{first}\nfrom derived.exercises import check", namespace)
    capsys.readouterr()

    run(stub, namespace)
    assert capsys.readouterr().out.startswith(f"{name}: not attempted yet. ")

    run(solutions(notebook)[name], namespace)
    run(ast.unparse(ast.parse(stub).body[-1]), namespace)
    assert capsys.readouterr().out.startswith(f"{name}: correct. Passed: ")


# The judges.


@pytest.mark.parametrize(("name", "key", "wrong"), MISTAKES)
def test_each_mistake_gets_its_own_hint(name, key, wrong, monkeypatch):
    exercise, verdicts = exercises()[name], []

    def examined(*arguments):
        verdicts.append(examine(*arguments))
        return verdicts[-1]

    monkeypatch.setattr("derived.exercises.examine", examined)
    said = judgment(name, wrong)
    (verdict,) = verdicts
    assert verdict.hint == key
    assert "{" not in verdict.text
    assert said == f"{name}: {' '.join(verdict.text.split())}"
    fixed_part = exercise.hints[key].text.split("{")[0] or exercise.hints[key].text.split("}")[1]
    assert verdict.text.startswith("not yet. ") and fixed_part in verdict.text


@each_exercise
def test_hints_differ_and_each_has_a_mistake(name):
    hints = exercises()[name].hints.values()
    assert len({hint.text for hint in hints}) == len(hints)
    assert all(hint.wrong for hint in hints)


def raises_not_implemented(*arguments):
    raise NotImplementedError


@each_exercise
@pytest.mark.parametrize("stub", [lambda *_: None, lambda *_: ..., raises_not_implemented])
def test_empty_bodies_are_not_attempts(name, stub):
    assert judgment(name, stub).startswith(f"{name}: not attempted yet. Write the body of")


# Whatever the reader's function does, the notebook goes on.


class Untouchable:
    """An object that refuses everything."""

    def __float__(self):
        raise LookupError("no")

    def __iter__(self):
        raise LookupError("no")


class Wordless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def leave(*arguments):
    raise SystemExit


def recurse(*arguments):
    return recurse(*arguments)


def fail_without_words(*arguments):
    raise Wordless


@each_exercise
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda *_: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda one, two, three, four, five: 0, "raised TypeError: "),
        (leave, "raised SystemExit"),
        (recurse, "raised RecursionError: "),
        (fail_without_words, f"raised {__name__}.Wordless: "),
        (lambda *_: Untouchable(), ("can't be judged: LookupError: no", "returns Untouchable")),
        (3, "Give check the function itself"),
        (None, "Give check the function itself"),
    ],
)
def test_check_reports_what_goes_wrong(name, answer, said):
    text = judgment(name, answer)
    options = (said,) if isinstance(said, str) else said
    assert text.startswith(f"{name}: not yet. ") and any(option in text for option in options)


@pytest.mark.parametrize("name", ["iou-99", "", 5, None, ["iou-1"], len])
def test_an_unknown_name_lists_the_known_ones(name):
    text = judgment(name, lambda: None)
    assert text.startswith("No exercise has this name.") and "iou-1, iou-2" in text


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner, inner),
)


@each_exercise
@given(result=anything)
@examples(10)
def test_check_judges_anything(name, result):
    verdict = examine(exercises()[name], lambda *_: result)
    assert verdict.text.startswith(("not yet. ", "not attempted"))


def test_the_reader_can_interrupt():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("iou-1", interrupted)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1.0), (torch.tensor(2.5), 2.5), ("1", None), (b"1", None), (None, None), (1j, None)]
    + [(math.inf, None), (math.nan, None), (10**400, None), (torch.ones(2), None), ([1], None)],
)
def test_number(value, expected):
    assert number(value) == expected
