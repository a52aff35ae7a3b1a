"""What holds for every public helper, whatever it's given: finite values and gradients, the shapes
and dtypes that are documented, and every documented error.

The rows of `tests/chapters/<chapter>/<chapter>_rows.py` are gathered here. A public helper without
a row fails, a chapter without rows too, and so does a documented error of which a row says nothing.

Each run draws the same few examples a helper: what a change of code is likely to break (empty and
broadcast shapes, every dtype, zeros, bounds) is drawn among the first, and a chapter's properties
take a few seconds. What is rare is found at night, on 2,000 new examples (`make properties`).
"""

import inspect
import re
import sys
import types

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import floats_in, lacking, public, rows
from strategies import examples

from bookkit.verified.chapters import chapters
from derived import iou

HELPERS = {name: helper for own in rows().values() for name, helper in own.items()}


def each(names):
    """Try each helper, as a case of its chapter."""
    cases = [pytest.param(n, marks=pytest.mark.chapter(n.partition(".")[0])) for n in names]
    return pytest.mark.parametrize("name", cases)


@pytest.mark.parametrize(
    "chapter", [pytest.param(name, marks=pytest.mark.chapter(name)) for name in chapters()]
)
def test_every_public_helper_has_its_row(chapter):
    assert list(lacking(chapter)) == []


def test_a_chapter_without_a_module_or_rows_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters/fresh.ipynb").touch()
    assert chapters(tmp_path) == ["fresh"]
    assert list(lacking("fresh", tmp_path)) == [
        "chapters/fresh.ipynb has no module src/derived/fresh.py"
    ]
    fresh = types.ModuleType("derived.fresh")
    fresh.__spec__, fresh.__all__ = types.SimpleNamespace(), ["mean"]
    monkeypatch.setitem(sys.modules, "derived.fresh", fresh)
    (problem,) = lacking("fresh", tmp_path)
    assert problem.startswith("tests/chapters/fresh/fresh_rows.py is missing: each public helper")


def test_a_helper_without_a_row_and_a_row_without_a_helper_are_noticed(monkeypatch):
    others = [name for name in iou.__all__ if name != "kld"]
    monkeypatch.setattr(iou, "__all__", [*others, "fresh"])
    monkeypatch.setattr(iou, "fresh", iou.kld, raising=False)
    place = "tests/chapters/iou/iou_rows.py"
    assert list(lacking("iou")) == [
        f"iou.fresh has no row in {place}",
        f"{place} has a row for iou.kld, which derived.iou doesn't offer",
    ]


CONNECTIVES = {"for", "from", "of", "in", "or", "and", "a", "an", "wrong", "at", "that", "which"}


@each(HELPERS)
def test_every_documented_error_has_its_case(name):
    """Taking away the words of a row's errors leaves of the docstring's list what joins them."""
    helper = HELPERS[name]
    source = helper.documented or dict(public(name.partition(".")[0]))[name]
    raises = re.search(
        r"Raises:\s+ValueError: (.*?)(\n\n|$)", inspect.getdoc(source) or "", re.DOTALL
    )
    left = " ".join(raises[1].split()) if raises else ""
    for words in sorted(helper.errors, key=len, reverse=True):
        left = left.replace(words, " ")
    assert set(re.findall(r"[\w'`]+", left)) <= CONNECTIVES


@each([name for name, helper in HELPERS.items() if not helper.slow])
@given(data=st.data())
@examples(10)
def test_results_and_gradients_are_finite_and_of_the_documented_shape(name, data):
    answers_finitely_in_the_documented_shape(HELPERS[name], data)


@each([name for name, helper in HELPERS.items() if helper.slow])
@given(data=st.data())
@examples(2)
def test_results_of_slow_helpers_are_finite_and_of_the_documented_shape(name, data):
    answers_finitely_in_the_documented_shape(HELPERS[name], data)


def answers_finitely_in_the_documented_shape(helper, data):
    drawn = data.draw(helper.arguments)
    leaves = {
        name: drawn[name].detach().clone().requires_grad_()
        for name in helper.slopes
        if name in drawn and drawn[name].is_floating_point()
    }
    result = helper.call(**drawn | leaves)
    helper.answer(drawn, result)
    numbers = list(floats_in(result))
    if not helper.without:
        assert not any(part.isnan().any() for part in numbers)
    finite = all(part.isfinite().all() for part in numbers)
    assert finite or not helper.finite(drawn)
    if not leaves or not finite:
        return
    total = sum(part.double().sum() for part in numbers)
    for slope in torch.autograd.grad(total, list(leaves.values()), allow_unused=True):
        if slope is None:
            continue
        # Infinity times 0 stands only beside a slope that its dtype is too small for.
        assert not slope.isnan().any() or slope.isinf().any() and not helper.finite(drawn)
        if helper.finite(drawn):
            # The slope of an answer need not fit into an argument's smaller dtype.
            smaller = any(slope.dtype.itemsize < part.dtype.itemsize for part in numbers)
            assert smaller or slope.isfinite().all()


@each(HELPERS)
@given(data=st.data())
@examples(2)
def test_documented_errors_are_raised_and_name_the_argument(name, data):
    helper = HELPERS[name]
    drawn = data.draw(helper.arguments)
    for cases in helper.errors.values():
        for says, changes in cases:
            with pytest.raises(ValueError) as error:
                helper.call(**drawn | changes)
            assert re.match(rf"{re.escape(says)}(?!\w)", str(error.value)), str(error.value)
