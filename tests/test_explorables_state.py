"""Interactive figures are found in their folder, and what each declares makes all that concerns its state."""

import inspect
import json
import math
import re
import shutil
import sys

import numpy as np
import pytest
from support import ROOT

import derived.explorables
from derived.explorables import EXPLORABLES, Explorable, PushABox
from derived.explorables._state import Choice, Flag, Integer, Level, Number, PowerOfTwo, State

FOLDER = ROOT / "src/derived/explorables"


def declared(figure):
    return {name: trait for name, trait in vars(figure).items() if isinstance(trait, State)}


FIGURES = pytest.mark.parametrize(
    "figure",
    [
        pytest.param(figure, id=name, marks=pytest.mark.chapter(figure.chapter))
        for name, figure in EXPLORABLES.items()
    ],
)
PARTS = pytest.mark.parametrize(
    ("figure", "name", "trait"),
    [
        pytest.param(figure, name, trait, id=f"{figure.name}-{name}", marks=marks)
        for figure in EXPLORABLES.values()
        for marks in [pytest.mark.chapter(figure.chapter)]
        for name, trait in declared(figure).items()
    ],
)


# Each figure's state.


@FIGURES
def test_a_figures_arguments_are_its_state(figure):
    parts = declared(figure)
    parameters = inspect.signature(figure).parameters
    assert list(parameters) == list(parts)
    assert {p.kind for p in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert figure(**defaults).state() == figure().state() == defaults
    text = inspect.getdoc(figure)
    for name, trait in parts.items():
        assert f"\n    {name}: " in text and len(trait.help) > 10
    assert figure().state_keys == tuple(sorted(parts))


@FIGURES
def test_what_is_no_argument_is_a_type_error(figure):
    with pytest.raises(TypeError, match=r"\w+\(\) got an unexpected keyword argument 'color'"):
        figure(color="red")
    with pytest.raises(TypeError, match="positional argument"):
        figure(next(iter(figure().state().values())))


@PARTS
def test_a_state_comes_back_from_json(figure, name, trait):
    told = json.loads(json.dumps(getattr(figure(), name)))
    assert getattr(figure(**{name: told}), name) == getattr(figure(), name)


@PARTS
def test_what_no_state_can_be_is_explained_and_leaves_it(figure, name, trait):
    shown = figure()
    before = shown.state()
    for wrong in (None, object(), [], {"Z": 1}, b"", math.nan, "", 1j):
        with pytest.raises(ValueError, match=rf"^{name}\b.*; got "):
            setattr(shown, name, wrong)
        with pytest.raises(ValueError, match=rf"^{name}\b.*; got "):
            figure(**{name: wrong})
    assert shown.state() == before


@PARTS
def test_a_bool_is_no_number_and_numpys_numbers_are_numbers(figure, name, trait):
    default = getattr(figure(), name)
    kinds = {Number: np.float64, Level: np.float32, Integer: np.int64, PowerOfTwo: np.uint16}
    if type(trait) in kinds:
        with pytest.raises(ValueError, match="got True"):
            figure(**{name: True})
        value = getattr(figure(**{name: kinds[type(trait)](default)}), name)
        assert value == default and type(value) is type(default)
    elif isinstance(trait, Flag):
        value = getattr(figure(**{name: np.bool_(not default)}), name)
        assert value is (not default)
        with pytest.raises(ValueError, match=f"{name} must be True or False; got 1"):
            figure(**{name: 1})


@PARTS
def test_bounds_belong_to_what_may_be_given(figure, name, trait):
    if isinstance(trait, Number | Integer):
        for edge, way in ((trait.low, -math.inf), (trait.high, math.inf)):
            assert getattr(figure(**{name: edge}), name) == edge
            beyond = (
                edge + int(np.sign(way)) if isinstance(edge, int) else math.nextafter(edge, way)
            )
            with pytest.raises(ValueError, match=rf"{name} must be .* from .* to .*; got "):
                figure(**{name: beyond})
    elif isinstance(trait, Choice):
        for word in trait.words:
            assert getattr(figure(**{name: word}), name) == word
    elif isinstance(trait, Level):
        for level in trait.levels:
            assert getattr(figure(**{name: level}), name) == level


def test_an_integer_is_not_taken_from_a_float():
    with pytest.raises(ValueError, match=r"step must be an integer from 0 to 200; got 3\.0"):
        PushABox(step=3.0)


# The folder.


def test_figures_stand_chapter_by_chapter_as_in_their_modules():
    chapters = [figure.chapter for figure in EXPLORABLES.values()]
    assert chapters == sorted(chapters)
    for figure in EXPLORABLES.values():
        assert getattr(derived.explorables, figure.__name__) is figure
        assert figure.__name__ in derived.explorables.__all__
        assert (FOLDER / f"{figure.chapter}.py").exists()
        assert re.fullmatch(rf"{figure.chapter}(_\w+)?\.js", figure.script)
    places = [(f.chapter, inspect.getsourcelines(f)[1]) for f in EXPLORABLES.values()]
    assert places == sorted(places)


NEW = '''
"""A chapter that is not there yet."""
from derived.explorables._base import Explorable
from derived.explorables._state import Number


class NewFigure(Explorable):
    """A figure."""

    name, script, caption, alt, reserve = "new_one", "zeta.js", "", "", ("1px", "1px")
    size = Number(1.0, 0.0, 2.0, "how large it is.")
'''


def test_a_new_chapters_figure_is_found_without_an_entry(monkeypatch, tmp_path):
    for name in ("kit.js", "kit.css"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "zeta.py").write_text(NEW)
    (tmp_path / "zeta.js").write_text('import { mount } from "./kit.js";\nexport default { };\n')
    (tmp_path / "zeta.css").write_text(".xp-new { color: red; }\n")
    monkeypatch.setattr("derived.explorables._base.FOLDER", tmp_path)
    monkeypatch.setattr(derived.explorables, "__path__", [str(FOLDER), str(tmp_path)])
    monkeypatch.delitem(sys.modules, "derived.explorables.zeta", raising=False)
    *others, new = derived.explorables._figures()
    assert others == list(EXPLORABLES.values())
    assert (new.name, new.chapter) == ("new_one", "zeta")
    assert new._css.endswith(".xp-new { color: red; }\n") and ".xp-body" in new._css
    assert repr(new(size=2)) == "NewFigure(size=2.0)"
    sys.modules.pop("derived.explorables.zeta")


def test_two_figures_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two interactive figures have one name: PushABox push_a"):
        derived.explorables._by_name([PushABox, PushABox])


def test_a_figure_without_state_shows_its_own_words():
    assert "Args" not in inspect.getdoc(Explorable)


# What the kit does for all of them.


@FIGURES
def test_a_figure_leaves_mounting_and_going_to_the_kit(figure):
    own = (FOLDER / figure.script).read_text("utf-8")
    for word in (
        "Observer(",
        "model.",
        "announcer(",
        "data-live",
        "removeEventListener",
        "dataset.now",
    ):
        assert word not in own, word
    assert own.endswith("export default { render: (page) => mount(page, ABOUT, build) };\n")
    assert f'name: "{figure.name}"' in own


@pytest.mark.parametrize("style", [pytest.param(p, id=p.stem) for p in FOLDER.glob("*.css")])
def test_a_style_sheet_names_what_its_figures_make(style):
    """The kit's what several share, a chapter's what its own figures make."""
    scripts = [figure.script for figure in EXPLORABLES.values() if figure.chapter == style.stem]
    text = "".join((FOLDER / script).read_text("utf-8") for script in ["kit.js", *scripts])
    for name in sorted(set(re.findall(r"\.(xp-[\w-]+)", style.read_text("utf-8")))):
        used = {f.chapter for f in EXPLORABLES.values() if names(name, f.script)}
        if style.stem == "kit":
            assert names(name, "kit.js") or len(used) > 1 or name in IN_TEMPLATES, name
        else:
            assert re.search(rf"\b{name}\b(?!-)", text), name


def names(word, script):
    return re.search(rf"\b{word}\b(?!-)", (FOLDER / script).read_text("utf-8"))


IN_TEMPLATES = set(
    re.findall(
        r"xp-[\w-]+",
        (ROOT / "src/bookkit/chapter/templates/explorable.js.in").read_text("utf-8"),
    )
)
