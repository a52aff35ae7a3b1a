"""What the tests of a file, or the outputs of a notebook, depend on, read from source: nothing is
imported.

The test file or notebook and the module of its chapter count whole, and so does the lock. Of what they share
with others (tests/support.py, tests/conftest.py, `derived._validation`, …) those functions, classes
and constants count that can be reached from there by name, so that a change of what only others
use leaves a chapter's results standing. Where names do not say what is used, the whole file counts:
a star import, a module that is handed on as a value (``getattr(module, name)``), a name that the
module does not define. An import of a computed name counts as all modules of its package, but for
those that bear another chapter's name, since that is how a package finds what it holds of each
chapter. A notebook depends on what is recorded of its chapter too, and on trained weights.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

__all__ = ["LOCK", "dependencies", "module_files", "text_digest"]

LOCK = "requirements.txt"

_NOTEBOOK = ".ipynb"

_DOTTED = re.compile(r"\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_IMPORT = ast.Import | ast.ImportFrom
_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def dependencies(path: Path, root: Path) -> dict[str, str]:
    """Return the digest of each file that a test file or notebook depends on, of what it enters there.

    The files' names are relative to the book's folder `root`.
    """
    chapter = _chapter(path, root)
    reach = _Reach(root, chapter)
    reach.whole(path)
    if chapter:
        for file in module_files(root, chapter):
            if file.is_file():
                reach.whole(file)
    digests = reach.digests()
    if (root / LOCK).is_file():
        digests[LOCK] = text_digest((root / LOCK).read_text("utf-8"))
    if path.suffix == _NOTEBOOK:
        for folder in ("recorded", "checkpoints"):
            for file in (path.parent / folder).glob(f"{chapter}*"):
                digests[file.relative_to(root).as_posix()] = _data_digest(file)
    return dict(sorted(digests.items()))


def module_files(root: Path, chapter: str) -> list[Path]:
    """Return the files of a chapter's module, which is one file or a package of several."""
    package = root / "src" / "derived" / chapter
    if (package / "__init__.py").is_file():
        return sorted(package.rglob("*.py"))
    return [package.with_suffix(".py")]


def text_digest(text: str) -> str:
    """Hash a text. A file that is read as text has one hash, whatever ends its lines."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _data_digest(path: Path) -> str:
    if path.suffix == ".json":
        return text_digest(path.read_text("utf-8"))
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _chapter(path: Path, root: Path) -> str:
    """Return the chapter that a test file or a notebook belongs to, nothing if it is none's."""
    match path.relative_to(root).parts:
        case ["tests", "chapters", chapter, _, *_]:
            return chapter
        case ["chapters", _]:
            return path.stem
    return ""


def _code(notebook: str) -> str:
    """Return the code of a notebook, without cells that are not Python alone."""
    cells = json.loads(notebook)["cells"]
    sources = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n".join(source for source in sources if _is_python(source))


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


class _Module:
    """A source file: what its names mean, and what runs when it is imported."""

    def __init__(self, path: Path, package: tuple[str, ...], text: str) -> None:
        self.path, self.package, self.text = path, package, text
        code = _code(text) if path.suffix == _NOTEBOOK else text
        self.lines = code.splitlines()
        self.body = ast.parse(code, filename=str(path)).body
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.running: list[ast.stmt] = []
        for node in self.body:
            names = list(_bound(node))
            for name in names:
                self.definitions.setdefault(name, []).append(node)
            if not names:
                self.running.append(node)
        # Each imported name, with the full names of what it may mean. Imports within functions
        # count as the file's own.
        self.imported: dict[str, list[list[str]]] = {}
        for node in _imports_in(self.body):
            for alias in node.names:
                full = self.full_name(node, alias)
                bound = alias.asname or alias.name.partition(".")[0]
                plain = isinstance(node, ast.Import) and not alias.asname
                self.imported.setdefault(bound, []).append(full[:1] if plain else full)
        self.known_uses: dict[ast.stmt, set[tuple[str, ...]]] = {}

    def full_name(self, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> list[str]:
        """Return the parts of the full name of what an import names."""
        if isinstance(node, ast.Import):
            return alias.name.split(".")
        base = list(self.package[: len(self.package) + 1 - node.level]) if node.level else []
        return [*base, *(node.module.split(".") if node.module else ()), alias.name]

    def source(self, node: ast.stmt) -> str:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(d.lineno for d in decorators)])
        return "\n".join(self.lines[first - 1 : node.end_lineno])

    def uses(self, statement: ast.stmt) -> set[tuple[str, ...]]:
        """Return what a statement uses: a kind of use and the parts of a name."""
        if statement not in self.known_uses:
            self.known_uses[statement] = set(self._uses(statement))
        return self.known_uses[statement]

    def _uses(self, node: ast.AST) -> Iterator[tuple[str, ...]]:
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from (("import", *self.full_name(node, alias)) for alias in node.names)
                return
            case ast.Expr() if _is_text(node):
                return
            case ast.Attribute() if parts := _chain(node):
                yield ("name", *parts)
                return
            case ast.Name(id=name):
                yield ("name", name)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from self._function_uses(node)
                return
            case ast.Constant(value=str(text)):
                if text.isidentifier():
                    yield ("fixture", text)
                yield from (("full name", *name.split(".")) for name in _DOTTED.findall(text))
            case ast.Call(func=function, args=[name, *_]) if _imports(function):
                if isinstance(name, ast.Constant):
                    yield ("full name", *name.value.split("."))
                else:
                    yield ("full name", *(self.package or ("derived",)))
        for child in ast.iter_child_nodes(node):
            yield from self._uses(child)

    def _function_uses(self, node: _FUNCTION) -> Iterator[tuple[str, ...]]:
        """Yield what a function uses; in its body, its arguments hide what has the same name."""
        arguments = {n.arg for n in ast.walk(node.args) if isinstance(n, ast.arg)}
        decorators = getattr(node, "decorator_list", [])
        # The arguments of tests and fixtures, which lie in no package, name fixtures.
        if not self.package and (decorators or getattr(node, "name", "").startswith("test")):
            yield from ((kind, name) for name in arguments for kind in ("name", "fixture"))
        outside = [node.args, *decorators, *filter(None, [getattr(node, "returns", None)])]
        for part in outside:
            yield from self._uses(part)
        for part in node.body if isinstance(node.body, list) else [node.body]:
            for kind, *parts in self._uses(part):
                if kind != "name" or parts[0] not in arguments:
                    yield (kind, *parts)


@lru_cache(maxsize=256)
def _parsed(path: Path, package: tuple[str, ...], text: str) -> _Module:
    return _Module(path, package, text)


class _Reach:
    """All that is reached from some files: other files as a whole, and statements in others."""

    def __init__(self, root: Path, chapter: str) -> None:
        self.root, self.tests, self.source = root, root / "tests", root / "src"
        chapters = {path.stem for path in (root / "chapters").glob(f"*{_NOTEBOOK}")}
        self.others = chapters - {chapter} if chapter else set()
        # Where imported modules may lie. Each folder of tests is one, and names in them are unique.
        self.folders = [self.tests, self.source, root / "benchmarks"]
        self.folders += [*sorted(self.tests.glob("*/")), *sorted(self.tests.glob("chapters/*/"))]
        self.modules: dict[Path, _Module] = {}
        self.entire: set[Path] = set()
        self.statements: dict[Path, set[ast.stmt]] = {}
        self.meanings: dict[Path, set[str]] = {}
        self.queue: list[tuple[_Module, ast.stmt]] = []
        self.places: dict[tuple[str, ...], Path | None] = {}
        self.names = {file.stem for folder in self.folders for file in folder.glob("*")}
        self.conftests: dict[Path, list[Path]] = {}

    def whole(self, path: Path) -> None:
        """Reach all of a file; of a package, all of its files but those of other chapters."""
        if path not in self.entire:
            self.entire.add(path)
            module = self._run(path)
            self._reach(module, module.body)
            if path.name == "__init__.py":
                for file in path.parent.rglob("*.py"):
                    if not self._is_of_another(file.stem):
                        self.whole(file)

    def _is_of_another(self, name: str) -> bool:
        return any(name == other or name.startswith(f"{other}_") for other in self.others)

    def digests(self) -> dict[str, str]:
        """Follow all names; return the digest of each file that is reached, by its name."""
        while self.queue:
            module, statement = self.queue.pop()
            for kind, *parts in module.uses(statement):
                self._follow(module, kind, parts)
        texts = {path: self._text(module) for path, module in self.modules.items()}
        return {
            path.relative_to(self.root).as_posix(): text_digest(text)
            for path, text in texts.items()
            if text or path in self.entire
        }

    def _follow(self, module: _Module, kind: str, parts: list[str]) -> None:
        match kind:
            case "import":
                self._import(parts)
            case "name":
                self._use(module, parts)
            case "fixture":
                self._fixture(module, parts[0])
            case "full name":
                self._enter(parts)

    def _text(self, module: _Module) -> str:
        if module.path in self.entire:
            return module.text
        parts = sorted(self.statements[module.path], key=lambda node: node.lineno)
        # Not the line of an import, which may bring more than what is used.
        meanings = sorted(self.meanings[module.path])
        return "\0".join([*meanings, *map(module.source, parts)])

    def _reach(self, module: _Module, statements: Iterable[ast.stmt]) -> None:
        known = self.statements[module.path]
        new = [statement for statement in statements if statement not in known]
        known.update(new)
        self.queue += [(module, statement) for statement in new]

    def _run(self, path: Path) -> _Module:
        """Reach what runs when a file is imported, be it called by name or not."""
        if path in self.modules:
            return self.modules[path]
        below = path.is_relative_to(self.source)
        package = path.relative_to(self.source).parts[:-1] if below else ()
        module = self.modules[path] = _parsed(path, package, path.read_text("utf-8"))
        self.statements[path], self.meanings[path] = set(), set()
        for node in module.running:
            if isinstance(node, _IMPORT):
                for _, *parts in module.uses(node):
                    self._import(parts)
            elif not _is_text(node):
                self._reach(module, [node])
        for file in self._conftests(path):
            self._set_up(file)
        return module

    def _set_up(self, path: Path) -> None:
        """Reach what pytest calls in a conftest.py although no test names it."""
        module = self._run(path)
        for name, nodes in module.definitions.items():
            if name.startswith("pytest_") or any(map(_serves_unasked, nodes)):
                self._reach(module, nodes)

    def _conftests(self, path: Path) -> list[Path]:
        """Return the conftest.py in the folder of a test and those in the folders above it."""
        folder = path.parent
        if folder not in self.conftests:
            served = folder == self.root or folder.is_relative_to(self.tests)
            folders = [f for f in path.parents if f.is_relative_to(self.root)] if served else []
            files = [above / "conftest.py" for above in folders]
            self.conftests[folder] = [file for file in files if file.is_file()]
        return self.conftests[folder]

    def _fixture(self, module: _Module, name: str) -> None:
        """Reach the fixtures that a test uses by an argument or by their name as text."""
        for path in self._conftests(module.path):
            conftest = self._run(path)
            self._reach(conftest, conftest.definitions.get(name, ()))

    def _use(self, module: _Module, parts: list[str]) -> None:
        """Reach what a name means in a file; `parts` are the name and its attributes."""
        self._reach(module, module.definitions.get(parts[0], ()))
        for meaning in module.imported.get(parts[0], ()):
            self.meanings[module.path].add(f"{'.'.join(meaning)} as {parts[0]}")
            self._enter([*meaning, *parts[1:]])

    def _enter(self, parts: list[str]) -> None:
        """Reach what has this full name, if it is the book's."""
        for end in range(len(parts), 0, -1):
            if path := self._find(parts[:end]):
                other = self._run(path)
                if parts[end:] and (parts[end] in other.definitions | other.imported):
                    self._use(other, parts[end:])
                else:
                    self.whole(path)
                return

    def _import(self, parts: list[str]) -> None:
        """Reach what an import runs: a module and the packages around it; with a star, all."""
        for end in range(1, len(parts) + 1):
            if path := self._find(parts[:end]):
                self._run(path)
                if parts[end:] == ["*"]:
                    self.whole(path)

    def _find(self, parts: list[str]) -> Path | None:
        """Return the file of a module of the book, None for any other."""
        if parts[0] not in self.names:
            return None
        key = tuple(parts)
        if key not in self.places:
            stems = [folder.joinpath(*parts) for folder in self.folders]
            files = [f for s in stems for f in (s / "__init__.py", s.with_name(f"{s.name}.py"))]
            self.places[key] = next((file for file in files if file.is_file()), None)
        return self.places[key]


def _imports_in(statements: Iterable[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports among statements, and in the blocks of these."""
    for statement in statements:
        if isinstance(statement, _IMPORT):
            yield statement
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(statement, block, ())
            yield from _imports_in(inner if isinstance(inner, list) else ())


def _bound(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a definition or an assignment binds."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.Assign(targets=targets):
            for target in targets:
                yield from _names(target)
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            yield from _names(target)


def _names(target: ast.expr) -> Iterator[str]:
    """Yield the names in the target of an assignment, none where it sets a part of a thing."""
    match target:
        case ast.Name(id=name):
            yield name
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                yield from _names(part)


def _is_text(node: ast.AST) -> bool:
    """Say whether a statement is a docstring or the like."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _serves_unasked(node: ast.stmt) -> bool:
    """Say whether a fixture serves tests that do not name its function."""
    decorators = getattr(node, "decorator_list", [])
    keywords = {k.arg for decorator in decorators for k in getattr(decorator, "keywords", [])}
    return bool(keywords & {"autouse", "name"})


def _imports(function: ast.expr) -> bool:
    """Say whether a call of this function imports a module."""
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def _chain(node: ast.Attribute) -> list[str]:
    """Return the parts of ``a.b.c``, none for an attribute of what is no name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if isinstance(node, ast.Name) else []
