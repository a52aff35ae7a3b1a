"""Exercises: a stub is not attempted, each common mistake gets its own hint, a solution passes."""

import ast
import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from bookkit.notebooks.form import solutions, stubs
from derived.exercises import check, exercises
from derived.exercises._exercise import examine, number
from derived.iou import box_loss

NOTEBOOKS = sorted((Path(__file__).parents[1] / "chapters").glob("*.ipynb"))
MISTAKES = [
    pytest.param(name, key, wrong, id=f"{name}-{key}-{index}")
    for name, exercise in exercises().items()
    for key, hint in exercise.hints.items()
    for index, wrong in enumerate(hint.wrong)
]


def printed(capsys, name, answer):
    """Return what a check prints, on one line."""
    check(name, answer)
    captured = capsys.readouterr()
    assert not captured.err
    return " ".join(captured.out.split())


def run(source, namespace):
    """Run code of a notebook."""
    exec(source, namespace)  # noqa: S102 - the book's own


# The chapters: what the notebook shows is what is tested.


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_exercise_of_a_chapter_has_a_stub_and_a_solution(notebook):
    registered = {name for name in exercises() if name.rpartition("-")[0] == notebook.stem}
    assert set(stubs(notebook)) == registered
    assert set(solutions(notebook)) == registered


def test_each_exercise_belongs_to_a_chapter():
    chapters = {notebook.stem for notebook in NOTEBOOKS}
    assert {name.rpartition("-")[0] for name in exercises()} <= chapters


@pytest.mark.parametrize(
    ("notebook", "name"),
    [pytest.param(path, name, id=name) for path in NOTEBOOKS for name in stubs(path)],
)
def test_stub_is_not_attempted_and_solution_passes(notebook, name, capsys):
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
def test_each_mistake_gets_its_own_hint(name, key, wrong, capsys, monkeypatch):
    exercise, verdicts = exercises()[name], []

    def examined(*arguments):
        verdicts.append(examine(*arguments))
        return verdicts[-1]

    monkeypatch.setattr("derived.exercises.examine", examined)
    said = printed(capsys, name, wrong)
    (verdict,) = verdicts
    assert verdict.hint == key
    assert "{" not in verdict.text
    assert said == f"{name}: {' '.join(verdict.text.split())}"
    fixed_part = exercise.hints[key].text.split("{")[0] or exercise.hints[key].text.split("}")[1]
    assert verdict.text.startswith("not yet. ") and fixed_part in verdict.text


@pytest.mark.parametrize("name", exercises())
def test_hints_differ_and_each_has_a_mistake(name):
    hints = exercises()[name].hints.values()
    assert len({hint.text for hint in hints}) == len(hints)
    assert all(hint.wrong for hint in hints)


def raises_not_implemented(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("name", exercises())
@pytest.mark.parametrize("stub", [lambda *_: None, lambda *_: ..., raises_not_implemented])
def test_empty_bodies_are_not_attempts(name, stub, capsys):
    assert printed(capsys, name, stub).startswith(f"{name}: not attempted yet. Write the body of")


def test_other_right_answers_pass(capsys):
    shifted = ((-2, 0.0), torch.tensor([1, 3]), [-2, 3])
    assert printed(capsys, "iou-1", lambda: shifted) == (
        "iou-1: correct. Passed: three intervals with d(A, B) = 1 above d(A, M) + d(M, B) = "
        "0.4286 + 0.4286."
    )

    def by_differences(t, s, h=1e-6):
        def loss(x):
            square = torch.tensor([0, 0, s, s], dtype=torch.float64)
            shift = torch.tensor([x, 0, x, 0], dtype=torch.float64)
            return box_loss(square + shift, square, "diou")

        return (loss(t + h) - loss(t - h)) / (2 * h)

    assert printed(capsys, "iou-2", by_differences).startswith("iou-2: correct. Passed: ")


def test_other_right_answers_on_initialization_pass(capsys):
    def printed_for(number, answer):
        return printed(capsys, f"initialization-{number}", answer)

    for a in (2.443, torch.tensor(2.444)):
        assert "correct. Passed: gamma(2.44" in printed_for(1, lambda a=a: a)
    grid = torch.linspace(-10, 10, 200_001, dtype=torch.float64)
    density = torch.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    by_trapezoids = lambda alpha: torch.trapezoid(F.elu(grid, alpha) ** 2 * density, grid)
    assert "correct. Passed: quadrature agrees" in printed_for(2, by_trapezoids)
    rounded = lambda layers: float(f"{6.0 ** (1 - layers) / 3:.2e}")
    assert "after 30 layers 9e-24 of the signal is left" in printed_for(3, rounded)
    by_optimizer = lambda optimizer, lr, d: lr / {"sgd": d, "adam": math.sqrt(d)}[optimizer]
    assert "correct. Passed: in three steps" in printed_for(4, by_optimizer)
    state = torch.get_rng_state()
    zero = lambda r: (0, 1, 1 / r, 1 / r)  # a readout that starts at zero is as good
    assert "correct. Passed: the changes of the three layers" in printed_for(5, zero)
    as_tensor = lambda r: torch.tensor([r**-0.5, 1, 1 / r, 1 / r])
    assert "correct. Passed: the changes of the three layers" in printed_for(5, as_tensor)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("initialization-2", lambda alpha: alpha, "For (1.0), expected 0.644945, got 1."),
        ("initialization-3", lambda layers: 1 / (3 * layers), "For (2), expected 0.0555556, got"),
        ("initialization-3", lambda layers: 0, "For (1), expected 0.333333, got 0."),
        (
            "initialization-4",
            lambda optimizer, lr, d: lr / (d if optimizer == "sgd" else 4),
            "For ('adam', 0.003, 64), the outputs of the two models are",
        ),
        (
            "initialization-5",
            lambda r: (20 * r**-0.5, 1, 1 / r, 1 / r),
            "At r = 1 the factors should be 1.",
        ),
    ],
)
def test_an_unknown_mistake_on_initialization_is_shown(name, answer, said, capsys):
    text = printed(capsys, name, answer)
    assert text.startswith(f"{name}: not yet. ") and said in text


def test_other_right_answers_on_diffusion_pass(capsys):
    def printed_for(number, answer):
        return printed(capsys, f"diffusion-{number}", answer)

    def by_elimination(x, v, alpha, sigma):
        both = torch.tensor([[alpha, sigma], [-sigma, alpha]], dtype=torch.float64)
        return torch.linalg.solve(both, torch.stack([x, v]))[1]

    single = lambda x, v, alpha, sigma: by_elimination(x, v, alpha, sigma).float()
    for answer in (by_elimination, single):
        assert "correct. Passed: right where alpha" in printed_for(1, answer)

    def by_precisions(alpha_t, alpha_s, eta):
        gain = torch.tensor(alpha_t / alpha_s)
        precision = 1 / (1 - alpha_s**2) + gain**2 / (1 - gain**2)
        return eta * precision.rsqrt()

    assert "correct. Passed: the step leaves x_s" in printed_for(2, by_precisions)

    def by_bisection(m, s):
        low, high = 0.0, m
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if m**2 > s**2 + middle**2 else (low, middle)
        return low

    assert "correct. Passed: there the density" in printed_for(3, by_bisection)
    as_list = lambda n, k: [k * (n - i) / (n + (k - 1) * (n - i)) for i in range(n + 1)]
    for answer in (as_list, lambda n, k: torch.tensor(as_list(n, k))):
        assert "correct. Passed: four steps shifted by 3" in printed_for(4, answer)
    powers = lambda a, b, w: torch.tensor(a) ** (1 - w) * b**w
    assert "correct. Passed: right at four triples" in printed_for(5, powers)


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("diffusion-1", lambda x, v, alpha, sigma: x, "0.7, 0.3), expected (2.06897, "),
        (
            "diffusion-2",
            lambda t, s, eta: eta * s * t,
            "For (0.5, 0.8, 1.0), expected 0.540833, got",
        ),
        (
            "diffusion-4",
            lambda n, k: [1 - i / n * (n < 4) for i in range(n)] + [0],
            "got (1, 1, 1,",
        ),
        ("diffusion-5", lambda a, b, w: a, "For (2.0, 1.0, 4.0), expected 0.125, got 2."),
    ],
)
def test_an_unknown_mistake_on_diffusion_is_shown(name, answer, said, capsys):
    text = printed(capsys, name, answer)
    assert text.startswith(f"{name}: not yet. ") and said in text


def test_equality_is_no_violation(capsys):
    answer = printed(capsys, "iou-1", lambda: ((0, 2), (2, 4), (1, 3)))
    assert "d(A, B) = 1 is not above d(A, M) + d(M, B) = 0.5 + 0.5" in answer


def test_an_unknown_mistake_is_shown_with_its_input(capsys):
    assert printed(capsys, "iou-2", lambda t, s: t) == (
        "iou-2: not yet. For t = 2 and s = 1, expected 0.16, got 2."
    )
    assert "got no finite number (NoneType)." in printed(
        capsys, "iou-2", lambda t, s: None if t == 2 else 0.0
    )
    assert "got no finite number (float)." in printed(capsys, "iou-2", lambda t, s: math.nan)
    assert "got 0." in printed(capsys, "iou-2", lambda t, s: 0)


def test_right_for_some_inputs_only_is_not_right(capsys):
    right = lambda t, s: 2 * t * s * (t + 2 * s) / ((t + s) ** 2 + s**2) ** 2
    for spoiled in (2, 5, 3, 7, 40):
        answer = printed(
            capsys, "iou-2", lambda t, s, spoiled=spoiled: right(t, s) + 0.01 * (t == spoiled)
        )
        assert answer.startswith(f"iou-2: not yet. For t = {spoiled} and s = ")


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


@pytest.mark.parametrize("name", exercises())
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
def test_check_reports_what_goes_wrong(name, answer, said, capsys):
    text = printed(capsys, name, answer)
    options = (said,) if isinstance(said, str) else said
    assert text.startswith(f"{name}: not yet. ") and any(option in text for option in options)


@pytest.mark.parametrize("name", ["iou-99", "", 5, None, ["iou-1"], len])
def test_an_unknown_name_lists_the_known_ones(name, capsys):
    text = printed(capsys, name, lambda: None)
    assert text.startswith("No exercise has this name.") and "iou-1, iou-2" in text


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.complex_numbers(),
        lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner, inner),
    )
)
def test_check_judges_anything(result):
    for exercise in exercises().values():
        assert examine(exercise, lambda *_: result).text.startswith(("not yet. ", "not attempted"))


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
