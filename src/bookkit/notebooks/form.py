"""What a chapter's notebook must be, as far as its file can tell.

`check_notebook` returns what is wrong, a sentence each; an empty list means nothing is. nbval then
proves that the stored outputs come out again.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from nbformat import NotebookNode

from bookkit.notebooks import compare, gpu
from bookkit.notebooks.run import read
from derived import gpu as recordings

__all__ = ["check_notebook", "solutions", "stubs"]

LARGEST = 1_000_000  # bytes
LONGEST_CELL = 15  # lines
SHORTEST_ALT = 40  # characters
OPENING = ("Question", "Prerequisites", "Reading time")

_FENCE = re.compile(r"^\s*(`{3,}|~{3,}|:{3,})\s*(\{[\w:-]+\})?(.*)$")
_DISPLAY = re.compile(r"\$\$(?P<math>.*?)\$\$(?:[ \t]*\((?P<label>[^)\n]*)\))?", re.DOTALL)
_INLINE = re.compile(r"(?<![\\$])\$(?!\$)(?:\\.|[^$\\])+\$")
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_ROLE = re.compile(r"\{[\w:-]+\}`[^`]*`")
_LINK = re.compile(r"\]\([^)]*\)|<https?:[^>]*>|https?://\S+")
_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^>]*>", re.DOTALL)
_IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]")
_MACRO = re.compile(r"\\(?:re|provide)?newcommand|\\def\b|\\DeclareMathOperator|\\let\b")
_ENVIRONMENT = re.compile(r"\\begin\{(align|equation|gather|multline|eqnarray|alignat)\*?\}")
_MEASURED = re.compile(
    r"(?<![\w.,])(\d+\.\d+(?!\.?\d)(?:\s?%)?|\d+\s?%)(?!\w)",
)
_SENTENCE_END = re.compile(r"[.!?][)\]”\"’*_]*\s+[(\[“\"‘*_]*[A-Z]")
_ABBREVIATION = re.compile(
    r"\b(?:e\.g|i\.e|et al|cf|vs|viz|etc|Fig|Figs|Eq|Eqs|Sec|Ch|No|Dr|Prof|St|resp|approx|[A-Z])\."
)
_NBVAL_TAGS = {"nbval-skip", "nbval-ignore-output", "raises-exception"}
_CODE_DIRECTIVES = {"{code-block}", "{code}", "{code-cell}", "{explorable}", "{math}"}
_NO_PROSE = re.compile(r"\s*(#|:[\w-]+:)")  # headings, directives' options
_LINE_START = re.compile(r"^\s*(\d+[.)]\s+|[-*+]\s+)?(\*\*[^*]+\*\*\s)?")  # or a run-in heading
_QUOTED = re.compile(r"“[^”]*”|\"[^\"]*\"")
_FILE_NAME = re.compile(
    r"\.{1,2}[/\\].*|(?!https?:)[\w.-]+[/\\][\w./\\-]*\.\w+|[\w-]+\.[a-z]{2,11}"
)
# What draws from PyTorch's global generator if it is given no other, and what seeds it.
_DRAWS = {"torch.rand", "torch.randn", "torch.randint", "torch.randperm", "torch.normal"}
_DRAWS |= {"torch.bernoulli", "torch.multinomial"}
_SEEDS = {"torch.manual_seed", "seed_everything", "training.seed_everything"}
_SETTERS = re.compile(r"set|use|register|update|filterwarnings|simplefilter")
_DATA_ENDINGS = {"csv", "json", "npy", "npz", "png", "jpg", "pt", "safetensors", "txt", "pkl"}


def check_notebook(path: Path) -> list[str]:
    """Return what is wrong with a chapter's notebook, a sentence each."""
    notebook = read(path)
    problems = (
        [] if path.stat().st_size <= LARGEST else [f"the file is larger than {LARGEST} bytes"]
    )
    for check in CHECKS:
        problems += check(notebook, path.stem)
    return problems


def solutions(path: Path) -> dict[str, str]:
    """Return the Python source of each exercise's solution, by the exercise's id."""
    text = "\n\n".join(cell.source for cell in _markdown(read(path)))
    return {name: "\n".join(sources) for name, sources in _solutions(text).items()}


def stubs(path: Path) -> dict[str, str]:
    """Return the source of each exercise's stub cell, by the exercise's id."""
    cells = (cell.source for cell in _code(read(path)) if "exercise" in _tags(cell))
    return {name: source for source in cells for name in _checked(source)}


# The checks. Each yields sentences.


def _form(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """Format, kernel, no widget state."""
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec is not python3"
    if "widgets" in notebook.metadata:
        yield "the metadata hold widget state"


def _executed(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """Stored outputs of one run from a fresh kernel, none of them an error."""
    cells = list(_code(notebook))
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        yield f"the execution counts are {counts}, not 1 to {len(cells)}: run `make notebooks`"
    if not any(cell.outputs for cell in cells):
        yield "there are no stored outputs: run `make notebooks`"
    for cell in cells:
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"{_name(cell)}: the stored output is an error, {output.ename}"
            if output.get("name") == "stderr":
                yield f"{_name(cell)}: the stored output holds stderr: {output.text.strip()[:80]}"
            if any("widget" in kind for kind in output.get("data", {})):
                yield f"{_name(cell)}: the stored output holds a widget's view"


def _cells(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """Short cells of plain Python, which nbval compares."""
    for cell in _code(notebook):
        lines, tags = cell.source.splitlines(), _tags(cell)
        if not cell.source.strip():
            yield f"{_name(cell)}: the cell is empty"
        if len(lines) > LONGEST_CELL:
            yield f"{_name(cell)}: {len(lines)} lines, at most {LONGEST_CELL} are allowed"
        if any(line.rstrip().endswith(";") for line in lines):
            yield f"{_name(cell)}: a line ends in `;`; assign to `_` to hide a value"
        if any(line.lstrip().startswith(("%", "!")) for line in lines):
            yield f"{_name(cell)}: a magic or shell command"
        if re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source):
            yield f"{_name(cell)}: a comment that changes what nbval does"
        allowed = {"nbval-ignore-output"} if "gpu" in tags else set()
        for tag in sorted((tags & _NBVAL_TAGS) - allowed):
            yield f"{_name(cell)}: tagged {tag}, but its outputs must be compared"


def _tolerances(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """Tolerances with a reason, on cells that show numbers."""
    for cell in _code(notebook):
        tolerance = cell.metadata.get("derived", {}).get("tolerance")
        if tolerance is None:
            continue
        for problem in compare.tolerance_problems(tolerance):
            yield f"{_name(cell)}: {problem}"
        if not any(compare.numbers(text) for text in _texts(cell)):
            yield f"{_name(cell)}: a tolerance, but no number in the output"


def _pictures(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """A caption and words for those who can't see it, with every picture."""
    for cell in _code(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            for kind in (kind for kind in data if kind.startswith("image/")):
                said = output.metadata.get(kind, {})
                if len(said.get("alt", "").strip()) < SHORTEST_ALT:
                    yield f"{_name(cell)}: a picture with less than {SHORTEST_ALT} characters of alt"
                if not said.get("caption", "").strip():
                    yield f"{_name(cell)}: a picture without a caption"
            for tag in re.findall(r"<img\b[^>]*>", data.get("text/html", "")):
                if not re.search(r"\balt=\"[^\"]+\"", tag):
                    yield f"{_name(cell)}: HTML with an image without alt"
    for cell in _markdown(notebook):
        source = _CODE.sub("", cell.source)
        if any(not image["alt"].strip() for image in _IMAGE.finditer(source)):
            yield f"{_name(cell)}: an image without alternative text"
        for directive in re.findall(r"\{(?:figure|image)\}.*\n(?:\s*:.*\n)*", cell.source):
            if not re.search(r"^\s*:alt:\s*\S", directive, re.MULTILINE):
                yield f"{_name(cell)}: a figure or image directive without :alt:"


def _equations(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """Well-formed labels, and mathematics that renders everywhere."""
    pattern = re.compile(rf"{re.escape(chapter)}(-[a-z0-9]+)+")
    for cell in _markdown(notebook):
        source = _without_fences(cell.source)
        for display in _DISPLAY.finditer(source):
            label = display["label"]
            if label is not None and not pattern.fullmatch(label):
                yield f"{_name(cell)}: the label {label!r} is not `{chapter}-` and words"
        if _ENVIRONMENT.search(_DISPLAY.sub("", source)):
            yield f"{_name(cell)}: a bare environment; write $$ \\begin{{aligned}} … $$"
        if _ENVIRONMENT.search(" ".join(display["math"] for display in _DISPLAY.finditer(source))):
            yield f"{_name(cell)}: within $$ use aligned, not align or its like"
        if _MACRO.search(source):
            yield f"{_name(cell)}: a custom TeX macro"
        prose = _INLINE.sub("", _DISPLAY.sub("", _CODE.sub("", source)))
        if "$" in prose:
            yield f"{_name(cell)}: a dollar sign that opens no mathematics"


def _sentences(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """One sentence a line."""
    for cell in _markdown(notebook):
        for line in _prose(cell.source).splitlines():
            if line.lstrip().startswith("|"):
                continue
            text = _ABBREVIATION.sub("", _QUOTED.sub("", _LINE_START.sub("", line)))
            if found := _SENTENCE_END.search(text):
                around = text[max(0, found.start() - 20) : found.end() + 20].strip()
                yield f"{_name(cell)}: two sentences on a line: “…{around}…”"


def _measured(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """Decimal numbers and percentages of the prose come from outputs, or have a source."""
    texts = [text for cell in _code(notebook) for text in _texts(cell)]
    shown = {abs(compare.value(number)) for text in texts for number in compare.numbers(text)}
    sources = notebook.metadata.get("derived", {}).get("numbers", {})
    allowed = {_squeezed(number): source for number, source in sources.items()}
    used = set()
    for cell in _markdown(notebook):
        for number in map(_squeezed, _MEASURED.findall(_prose(cell.source))):
            if _is_shown(number, shown):
                continue
            if number not in allowed:
                yield f"{_name(cell)}: {number} stands in no output of this notebook"
            used.add(number)
    for number, source in allowed.items():
        if not str(source).strip():
            yield f"the number {number} is allowed without a source"
        if number not in used:
            yield f"the number {number} is allowed, but no prose needs it"


def _opening(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """A title, then the chapter's question, prerequisites and reading time."""
    head = [cell.source for cell in notebook.cells[:2] if cell.cell_type == "markdown"]
    if not head or not head[0].startswith("# "):
        yield "the notebook does not open with a heading of level 1"
    if missing := [word for word in OPENING if word not in "\n".join(head)]:
        yield f"the opening does not name: {', '.join(missing)}"


def _places(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """Code that works from any working directory."""
    for cell in _code(notebook):
        try:
            nodes = list(ast.walk(ast.parse(cell.source)))
        except SyntaxError as error:
            yield f"{_name(cell)}: {error}"
            continue
        for node in nodes:
            if isinstance(node, ast.Constant) and _is_relative_path(node.value):
                yield f"{_name(cell)}: the relative path {node.value!r} depends on the folder"
            if isinstance(node, ast.Attribute) and node.attr in ("chdir", "getcwd", "cwd"):
                yield f"{_name(cell)}: {node.attr} depends on the folder"


def _lasting(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """Nothing that an earlier cell would meet if all ran again in the same kernel.

    This is what a source tells; `make outputs-twice` runs them again. A second run gives a name
    its value before any cell reads it, so only what no cell binds can differ: Python's own names,
    what was imported, and the state of the global generator. The first cell may set what it wants.
    """
    imported: set[str] = set()
    seeded = False
    for number, cell in enumerate(_code(notebook)):
        if "gpu" in _tags(cell):
            continue
        try:
            nodes = list(ast.walk(ast.parse(cell.source)))
            symbols = symtable.symtable(cell.source, "cell", "exec").get_symbols()
        except SyntaxError:
            continue  # the check of places says so
        imported |= {symbol.get_name() for symbol in symbols if symbol.is_imported()}
        calls = [(ast.unparse(node.func), node) for node in nodes if isinstance(node, ast.Call)]
        seeded |= any(name in _SEEDS for name, _ in calls)
        for name, call in calls:
            given = any(keyword.arg == "generator" for keyword in call.keywords)
            if name in _DRAWS and not given and not seeded:
                yield f"{_name(cell)}: {name} draws before anything is seeded"
        if not number:
            continue
        for symbol in symbols:
            name = symbol.get_name()
            if (symbol.is_assigned() or symbol.is_imported()) and name in dir(builtins):
                yield f"{_name(cell)}: {name} takes a name of Python's own from earlier cells"
        for text in _changes(nodes, imported):
            yield f"{_name(cell)}: `{text}` changes what earlier cells use"


def _changes(nodes: list[ast.AST], imported: set[str]) -> Iterator[str]:
    """Yield what changes an imported thing: an assignment to a part of it, a call that sets it."""
    for node in nodes:
        changed = isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(
            node.ctx, ast.Load
        )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changed = bool(_SETTERS.match(node.func.attr))
        root = node.func if isinstance(node, ast.Call) else node
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        if changed and isinstance(root, ast.Name) and root.id in imported:
            yield ast.unparse(node)


def _exercises(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """A statement before each stub, a solution after it."""
    expected = set()
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or "exercise" not in _tags(cell):
            continue
        names = _checked(cell.source)
        if len(names) != 1:
            yield f'{_name(cell)}: expected one call check("<id>", …), got {len(names)}'
            continue
        expected.update(names)
        before, after = (
            "\n\n".join(other.source for other in cells if other.cell_type == "markdown")
            for cells in (notebook.cells[:index], notebook.cells[index + 1 :])
        )
        if not re.search(rf"^:label: exercise-{re.escape(names[0])}$", before, re.MULTILINE):
            yield f"{_name(cell)}: no exercise-{names[0]} before the stub"
        if len(_solutions(after).get(names[0], [])) != 1:
            yield f"{_name(cell)}: no solution-{names[0]} with one python fence after the stub"
    found = _solutions("\n\n".join(cell.source for cell in _markdown(notebook)))
    for name in found.keys() - expected:
        yield f"solution-{name} belongs to no stub"


def _gpu_cells(notebook: NotebookNode, chapter: str) -> Iterator[str]:
    """At most one GPU cell, which needs no other, and a recording of this very cell."""
    cells = [cell for cell in _code(notebook) if "gpu" in _tags(cell)]
    if len(cells) > 1:
        yield f"{len(cells)} cells are tagged gpu, at most one may be"
    for cell in cells[:1]:
        if missing := sorted(_free_names(cell.source)):
            yield f"{_name(cell)}: the GPU cell needs {', '.join(missing)} from other cells"
        recorded = recordings.load(chapter)
        if recorded and recorded.get("cell") != gpu.digest(cell.source):
            yield f"{_name(cell)}: the recorded run is of another version of this cell"


CHECKS: tuple[Callable[[NotebookNode, str], Iterator[str]], ...] = (
    _form,
    _executed,
    _cells,
    _tolerances,
    _pictures,
    _equations,
    _sentences,
    _measured,
    _opening,
    _places,
    _lasting,
    _exercises,
    _gpu_cells,
)


# What the checks read.


def _code(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (cell for cell in notebook.cells if cell.cell_type == "code")


def _markdown(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (cell for cell in notebook.cells if cell.cell_type == "markdown")


def _tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def _name(cell: NotebookNode) -> str:
    first = cell.source.strip().partition("\n")[0]
    return f"cell {cell.id} ({first[:40]})"


def _texts(cell: NotebookNode) -> Iterator[str]:
    """Yield what a cell's outputs say, without markup."""
    for output in cell.outputs:
        yield output.get("text", "")
        yield output.get("data", {}).get("text/plain", "")
        yield _TAG.sub(" ", output.get("data", {}).get("text/html", ""))


def _without_fences(source: str) -> str:
    """Return Markdown without its code blocks and without the fences of its directives."""
    kept: list[str] = []
    opened: list[tuple[str, bool]] = []  # each open fence, and whether it holds code
    for line in source.splitlines():
        in_code = bool(opened) and opened[-1][1]
        fence = _FENCE.match(line)
        if fence and opened and line.strip() == fence[1] and fence[1].startswith(opened[-1][0]):
            opened.pop()
        elif fence and not in_code:
            opened.append(
                (fence[1], fence[2] in _CODE_DIRECTIVES or not (fence[2] or ":" in fence[1]))
            )
        elif not in_code:
            kept.append(line)
    return "\n".join(kept)


def _prose(source: str) -> str:
    """Return what a reader reads as text: no code, mathematics, links' addresses, headings.

    A word stands for what is taken out of a sentence, so that the sentence keeps its shape.
    """
    text = _DISPLAY.sub("\n", _without_fences(source))
    for pattern in (_ROLE, _CODE, _INLINE, _LINK, _TAG):
        text = pattern.sub("Xx", text)
    return "\n".join(line for line in text.splitlines() if not _NO_PROSE.match(line))


def _squeezed(number: str) -> str:
    return re.sub(r"\s", "", number)


def _is_shown(number: str, shown: set[float]) -> bool:
    """Say whether a number of the prose is an output's, rounded to the digits it has."""
    digits = number.rstrip("%")
    step = 10.0 ** -len(digits.partition(".")[2])
    scales = (1.0, 100.0) if number.endswith("%") else (1.0,)
    return any(
        abs(value * scale - float(digits)) <= step / 2 * (1 + 1e-9)
        for value in shown
        for scale in scales
    )


def _is_relative_path(value: object) -> bool:
    if not isinstance(value, str) or not _FILE_NAME.fullmatch(value):
        return False
    return value.startswith(".") or value.rpartition(".")[2].lower() in _DATA_ENDINGS


def _checked(source: str) -> list[str]:
    return re.findall(r"^check\(\s*\"([\w-]+)\"", source, re.MULTILINE)


def _solutions(text: str) -> dict[str, list[str]]:
    """Return the Python sources in each dropdown that is named `solution-<id>`."""
    lines = text.splitlines()
    found: dict[str, list[str]] = {}
    for number, (opening, option) in enumerate(pairwise(lines)):
        fence, name = _FENCE.match(opening), re.match(r"\s*:name: solution-([\w-]+)\s*$", option)
        if not name or not fence or fence[2] != "{dropdown}":
            continue
        rest = lines[number + 2 :]
        end = rest.index(fence[1]) if fence[1] in rest else len(rest)
        block = "\n".join(rest[:end])
        found.setdefault(name[1], []).extend(
            re.findall(r"^```python\n(.*?\n)```$", block, re.DOTALL | re.MULTILINE)
        )
    return found


def _free_names(source: str) -> set[str]:
    """Return the names that a cell uses and neither binds nor imports."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {
        (node.asname or node.name).partition(".")[0]
        for node in nodes
        if isinstance(node, ast.alias)
    }
    return used - bound - set(dir(builtins))
