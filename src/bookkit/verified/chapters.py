"""A pytest plugin: which chapter a test proves, and the choice of some chapters' tests.

``--chapters "iou pose"`` runs what proves these chapters; ``--chapters shared`` what proves no
single one. A test belongs to a chapter by its place (``tests/chapters/iou/…``,
``chapters/iou.ipynb``), or by its mark: ``pytest.mark.chapter("iou")`` on a case of a test that
goes through all chapters.
"""

from pathlib import Path

import pytest

from bookkit import ROOT

__all__ = ["SHARED", "chapter_of", "chapters", "chosen"]

SHARED = "shared"


def chapters(root: Path = ROOT) -> list[str]:
    """Return the names of the chapters that have a notebook."""
    return sorted(path.stem for path in (root / "chapters").glob("*.ipynb"))


def chosen(words: str, root: Path = ROOT) -> list[str]:
    """Return the chapters that a choice names, all of them and `shared` for an empty one.

    Raises:
        ValueError: for a word that is no chapter, in one sentence.
    """
    known = [*chapters(root), SHARED]
    names = words.replace(",", " ").split()
    if wrong := [name for name in names if name not in known]:
        raise ValueError(f"CHAPTERS: {wrong[0]!r} is none of {', '.join(known)}")
    return names or known


def chapter_of(item: pytest.Item) -> str:
    """Return the chapter that a test proves, `shared` if no single one."""
    if mark := item.get_closest_marker("chapter"):
        return mark.args[0]
    match item.path.parts:
        case [*_, "tests", "chapters", chapter, _]:
            return chapter
        case [*_, "chapters", notebook] if notebook.endswith(".ipynb"):
            return notebook.removesuffix(".ipynb")
    return SHARED


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the choice."""
    parser.getgroup("chapters").addoption(
        "--chapters",
        default="",
        metavar="NAMES",
        help=f"run what proves these chapters ({SHARED}: what proves no single one)",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out folders and notebooks that only other chapters' proof needs: reading them takes time."""
    if not config.option.chapters:
        return None
    names = chosen(config.option.chapters, config.rootpath)
    match collection_path.relative_to(config.rootpath).parts:
        case ["tests", "chapters", name]:
            return True if name not in names else None
        case ["chapters", notebook]:
            return True if notebook.removesuffix(".ipynb") not in names else None
        case ["tests", "bookkit"]:
            return True if SHARED not in names else None
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and refuse a name that is no chapter's."""
    config.addinivalue_line("markers", "chapter(name): the chapter that a test or a case proves")
    try:
        chosen(config.option.chapters, config.rootpath)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what proves other chapters."""
    if not config.option.chapters:
        return
    names = set(chosen(config.option.chapters, config.rootpath))
    left_out = [item for item in items if chapter_of(item) not in names]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if chapter_of(item) in names]
