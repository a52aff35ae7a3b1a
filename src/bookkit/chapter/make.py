"""A new chapter in one command: ``python -m bookkit.chapter segmentation "Segmentation: …"``.

It writes the chapter's files from those in ``templates/``, edits what chapters share and nothing can
tell from the new files (`_toc.yml`, `notation.md`, `references.bib`), draws the interactive figure's
picture and runs the notebook. What comes out passes every check, so that an author replaces one part
after another and sees at once what broke. In a template ``@NAME@``, ``@TITLE@`` and ``@CLASS@`` stand
for the chapter's word, its title and its figure's class.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from nbformat import v4

from bookkit.chapter.order import ORDER
from bookkit.notebooks.run import normalize, write
from bookkit.verified.equations import in_page

__all__ = ["check", "files", "make", "register"]

TEMPLATES = Path(__file__).with_name("templates")

# Where each template goes; `notebook.md.in` and those that become a part of a file are elsewhere.
_PLACES = {
    "module.py.in": "src/derived/@NAME@.py",
    "test.py.in": "tests/chapters/@NAME@/test_@NAME@.py",
    "explorable.js.in": "src/derived/explorables/@NAME@.js",
    "explorable.py.in": "src/derived/explorables/@NAME@.py",
    "parity.mjs.in": "tests/chapters/@NAME@/explorables_@NAME@_parity.mjs",
    "rows.py.in": "tests/chapters/@NAME@/@NAME@_rows.py",
    "page.py.in": "tests/chapters/@NAME@/@NAME@_page.py",
    "numbers.py.in": "tests/chapters/@NAME@/@NAME@_numbers.py",
    "test_explorables.py.in": "tests/chapters/@NAME@/test_explorables_@NAME@.py",
    "exercises.py.in": "src/derived/exercises/@NAME@.py",
    "bench.py.in": "benchmarks/bench_@NAME@.py",
}
_CELL = re.compile(r"^\+\+\+ (markdown|code)(.*)\n", re.MULTILINE)
_IN_TOC = re.compile(r"^ *- file: chapters/(\w+)\n", re.MULTILINE)
_KEY = re.compile(r"^@\w+\{(.+),$", re.MULTILINE)


def check(root: Path, name: str, title: str) -> None:
    """Refuse a name that is no chapter of the book or has one already, and a title of several lines.

    Raises:
        ValueError: saying what was expected and what came.
    """
    if name not in ORDER:
        words = ", ".join(ORDER)
        raise ValueError(
            f"NAME: expected one of {words}; got {name!r} (the list is in src/bookkit/chapter/order.py)"
        )
    taken = [path for path in _targets(name) if (root / path).exists()]
    if taken:
        raise ValueError(f"NAME: {name} exists already: {', '.join(taken)}")
    if not title.strip() or not title.isprintable() or set(title) & set('"\\`$|'):
        raise ValueError(f'TITLE: expected one line without any of " \\ ` $ |; got {title!r}')


def _targets(name: str) -> list[str]:
    places = [*_PLACES.values(), "chapters/@NAME@.ipynb"]
    return [place.replace("@NAME@", name) for place in places]


def files(name: str, title: str) -> dict[str, str]:
    """Return the text of each new file by its path, but for the notebook."""
    return {
        path.replace("@NAME@", name): _filled(template, name, title)
        for template, path in _PLACES.items()
    }


def _class(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_")) + "Figure"


def _filled(template: str, name: str, title: str) -> str:
    text = (TEMPLATES / template).read_text("utf-8")
    words = {"@NAME@": name, "@TITLE@": title.strip(), "@CLASS@": _class(name)}
    return re.sub("|".join(words), lambda mark: words[mark[0]], text)


def _write_notebook(root: Path, name: str, title: str) -> None:
    """Write the notebook, its cells not run yet."""
    first, *parts = _CELL.split(_filled("notebook.md.in", name, title))
    cells = [v4.new_markdown_cell(first.strip())]
    for kind, tags, source in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        new = v4.new_code_cell if kind == "code" else v4.new_markdown_cell
        cells.append(new(source.strip(), metadata={"tags": tags.split()} if tags else {}))
    for number, cell in enumerate(cells):
        cell.id = f"{name}-{number:02d}"
    notebook = v4.new_notebook(cells=cells)
    normalize(notebook)
    write(notebook, root / "chapters" / f"{name}.ipynb")


def register(root: Path, name: str, title: str) -> None:
    """Enter the chapter in what chapters share: the contents, the symbols, the sources."""
    _edit(root / "_toc.yml", lambda text: _into_toc(text, name))
    symbols = _filled("notation.md.in", name, title)
    _edit(root / "notation.md", lambda text: _before(text, "## General\n", symbols))
    source = _filled("references.bib.in", name, title)
    _edit(root / "references.bib", lambda text: _into_sources(text, source))


def _edit(path: Path, change) -> None:
    path.write_text(change(path.read_text("utf-8")), "utf-8")


def _before(text: str, place: str, new: str) -> str:
    """Insert before a place that there must be once."""
    if text.count(place) != 1:
        raise ValueError(f"expected {place.strip()!r} once, found it {text.count(place)} times")
    return text.replace(place, new + place)


def _rank(name: str) -> int:
    return list(ORDER).index(name) if name in ORDER else len(ORDER)


def _into_toc(text: str, name: str) -> str:
    entries = list(_IN_TOC.finditer(text))
    later = [entry for entry in entries if _rank(entry[1]) > _rank(name)]
    place = later[0].start() if later else entries[-1].end()
    return f"{text[:place]}      - file: chapters/{name}\n{text[place:]}"


def _into_sources(text: str, source: str) -> str:
    """Add a source, unless another chapter cites it already."""
    return text if _KEY.search(source)[1] in _KEY.findall(text) else text + source


def _accept(root: Path, name: str) -> None:
    """Fingerprint the new chapter's equations; those of others are left to their authors."""
    new = in_page(root / f"chapters/{name}.ipynb", f"chapters/{name}", root)
    accepted = {equation.label: equation.digest for equation in new}
    path = root / f"tests/chapters/{name}/equations.json"
    path.write_text(json.dumps(accepted, indent=2, sort_keys=True) + "\n", "utf-8")


def make(root: Path, name: str, title: str) -> None:
    """Make the chapter in the book's folder `root`.

    Raises:
        ValueError: as `check` does, before anything is written.
        subprocess.CalledProcessError: if the picture can't be drawn or the notebook doesn't run.
    """
    check(root, name, title)
    written = files(name, title)
    for path, text in written.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8")
    _write_notebook(root, name, title)
    register(root, name, title)
    _accept(root, name)
    python = [path for path in written if path.endswith(".py")]
    for command in (
        ["ruff", "check", "--quiet", "--fix", "--select", "I,RUF022", *python],
        ["ruff", "format", "--quiet", *python],
        ["bookkit.site.explorables", "pictures", name],
        ["bookkit.notebooks.run", name],
    ):
        # The new files must be found, also where another copy of the book is installed.
        env = os.environ | {"PYTHONPATH": str(root / "src")}
        subprocess.run([sys.executable, "-m", *command], cwd=root, env=env, check=True)
