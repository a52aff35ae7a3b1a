"""Interactive figures: one front end for notebooks and for the website, numbers tested against Python.

One module a chapter holds its figures, subclasses of `Explorable`; each can be imported from here.
`EXPLORABLES` has all of them by their names, chapter by chapter and in a chapter as they stand there.
"""

import importlib
import pkgutil

from derived.explorables._base import Explorable, module_source, style_source


def _figures() -> list[type[Explorable]]:
    """Return the figures of all modules in this folder."""
    chapters = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [
        importlib.import_module(f"{__name__}.{chapter}")
        for chapter in chapters
        if not chapter.startswith("_")
    ]
    return [
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type)
        and issubclass(thing, Explorable)
        and thing.__module__ == module.__name__
    ]


def _by_name(figures: list[type[Explorable]]) -> dict[str, type[Explorable]]:
    """Return figures by their names.

    Raises:
        ValueError: if two have one name, or one class name: each must be found by both.
    """
    by_name = {figure.name: figure for figure in figures}
    if not len(by_name) == len({figure.__name__ for figure in figures}) == len(figures):
        names = sorted(f"{figure.__name__} {figure.name}" for figure in figures)
        raise ValueError(f"two interactive figures have one name: {', '.join(names)}")
    return by_name


EXPLORABLES: dict[str, type[Explorable]] = _by_name(_figures())

_BY_CLASS = {figure.__name__: figure for figure in EXPLORABLES.values()}
globals().update(_BY_CLASS)

__all__ = ["EXPLORABLES", "Explorable", "module_source", "style_source", *_BY_CLASS]  # noqa: PLE0604
