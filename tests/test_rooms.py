"""A chapter's module may be a package of rooms; from outside, nobody can tell."""

import importlib
import inspect
import pickle
import tomllib

import pytest

from bookkit import ROOT
from bookkit.verified.dependencies import module_files

DERIVED = ROOT / "src" / "derived"
CHAPTERS = [
    pytest.param(path.stem, marks=pytest.mark.chapter(path.stem))
    for path in sorted(ROOT.glob("chapters/*.ipynb"))
    if any(file.is_file() for file in module_files(ROOT, path.stem))
]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_public_names_are_there_once_and_can_be_pickled(chapter):
    module = importlib.import_module(f"derived.{chapter}")
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        helper = getattr(module, name)
        assert helper.__name__ == name
        assert helper.__module__ == module.__name__ or helper.__module__.startswith(
            f"{module.__name__}."
        )
        assert pickle.loads(pickle.dumps(helper)) is helper


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_public_helper_of_a_room_is_one_of_the_package(chapter):
    module = importlib.import_module(f"derived.{chapter}")
    for file in module_files(ROOT, chapter):
        inside = ".".join(file.relative_to(DERIVED).with_suffix("").parts)
        room = importlib.import_module(f"derived.{inside.removesuffix('.__init__')}")
        own = {
            name
            for name, value in vars(room).items()
            if not name.startswith("_")
            and (inspect.isfunction(value) or inspect.isclass(value))
            and value.__module__ == room.__name__
        }
        assert own <= set(module.__all__)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_file_of_a_chapter_has_more_than_600_lines(chapter):
    for file in module_files(ROOT, chapter):
        assert len(file.read_text("utf-8").splitlines()) <= 600


def test_the_wheel_carries_every_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT / "src") for path in DERIVED.rglob("__init__.py")}
    packages = {".".join(folder.parts) for folder in folders}
    assert packages == set(settings["packages"]) - set(settings["package-dir"])
