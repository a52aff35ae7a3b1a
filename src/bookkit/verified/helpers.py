"""Public helpers and the equations that they compute, read from their source; nothing is imported.

A helper is a function, a class or a method of a class that ``__all__`` of ``derived.CHAPTER`` names,
a module or a package. Its docstring cites equations by their full labels, in parentheses:

    (iou-giou)               the helper computes what the equation defines or states
    (iou-ciou, iou-ciou-v)   it computes both
    (see iou-eiou-range)     the equation says something about it

What must hold between the two (`problems`):

- Each label that a docstring cites stands on a page, and is cited in this form.
- A helper that says it computes an equation is called by a test of that equation. So "computed by
  `giou`" beside an equation names code that was put to its test.
- The other way round, a helper whose name says that it computes an equation cites it. Its name says
  so if the label, without the chapter, is the name or its first words (``diffusion-energy-distance``
  for `energy_distance`, ``iou-nms`` for `nms`), or is one of the choices that it offers or its first
  words (``iou-focal-eiou`` for ``kind="focal_eiou"`` of `box_loss`); what several helpers offer
  one of them cites. That a test calls a helper doesn't say so: the test of a range calls it as well.
"""

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bookkit.verified.checks import Book, Problem
from bookkit.verified.marks import Test

__all__ = ["CITATION", "Helper", "calls", "computing", "in_book", "in_chapter", "problems"]

_LABEL = r"[a-z]\w*-[\w-]*\w"
# `(iou-ciou, iou-ciou-v)` or `(see iou-eiou-range)`.
CITATION = re.compile(rf"\((?P<see>see\s+)?(?P<labels>{_LABEL}(?:,\s+{_LABEL})*)\)")
# Any one word in parentheses, which may be a label that lacks its chapter.
_PARENTHESIS = re.compile(r"\((?P<words>[a-z][\w-]*(?:,\s+[a-z][\w-]*)*)\)")
_WIDTH = 84  # what fits the box on a wide screen

_Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Helper:
    """A public helper of a chapter, with its place, what it says of itself, and its code.

    Args:
        name: `giou`, or with its class, `Schedule.shifted`.
        source: the code without the docstring, and that of the private function of its name below.
        computes: labels of the equations that it says it computes.
        mentions: labels of those that it says to see.
        choices: for each argument with a ``Literal`` annotation its name, and the words that it takes.
    """

    chapter: str
    name: str
    path: str
    first: int
    last: int
    signature: str
    docstring: str
    source: str
    computes: tuple[str, ...]
    mentions: tuple[str, ...]
    choices: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def where(self) -> str:
        return f"{self.path}:{self.first}"

    @property
    def owner(self) -> str:
        """The class that a method belongs to, or the empty string."""
        return self.name.rpartition(".")[0]


def in_book(book: Book, source: Path) -> tuple[Helper, ...]:
    """Return the public helpers of all chapters whose pages hold equations, in the book's order."""
    root = book.paths.root
    return tuple(h for name in _chapters(book) for h in in_chapter(source, name, root))


def in_chapter(source: Path, chapter: str, root: Path) -> list[Helper]:
    """Return the public helpers of a chapter, in the order of its files; none without a module.

    Raises:
        ValueError: for a name in ``__all__`` that no file of the chapter defines, or several do.
    """
    parsed = [(path, *_parsed(path)) for path in _files(source, chapter)]
    public = [name for path, _, tree in parsed[:1] for name in _public(path, tree)]
    aliases = {name: words for _, _, tree in parsed for name, words in _aliases(tree)}
    helpers = []
    places: dict[str, Path] = {}
    for path, text, tree in parsed:
        reader = _Reader(
            source, chapter, path.relative_to(root).as_posix(), text.splitlines(), aliases
        )
        functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        for node in tree.body:
            for name in _defined(node):
                if name in public and places.setdefault(name, path) != path:
                    raise ValueError(f"{path}: `{name}` is defined in {places[name]}, too")
            if isinstance(node, _Definition) and node.name in public:
                helpers += reader.helpers(node, functions.get(f"_{node.name}"))
    if missing := [name for name in public if name not in places]:
        raise ValueError(f"{parsed[0][0]}: __all__ names what is not defined: {', '.join(missing)}")
    return helpers


def _files(source: Path, chapter: str) -> list[Path]:
    """Return the files of a chapter's module or package, first the one whose names it exports.

    The rooms of a package come in the order in which its docstring lists them.
    """
    module, package = source / f"{chapter}.py", source / chapter
    if module.is_file():
        return [module]
    head = package / "__init__.py"
    if not head.is_file():
        return []
    rooms = re.findall(r"^(\w+)\.py\b", ast.get_docstring(_parsed(head)[1]) or "", re.MULTILINE)
    order = {f"{room}.py": place for place, room in enumerate(rooms)}
    others = sorted(set(package.rglob("*.py")) - {head})
    return [head, *sorted(others, key=lambda path: order.get(path.name, len(order)))]


def _parsed(path: Path) -> tuple[str, ast.Module]:
    text = path.read_text("utf-8")
    return text, ast.parse(text, filename=str(path))


def _public(path: Path, tree: ast.Module) -> list[str]:
    """Return the names in ``__all__``, which may grow by ``+=``."""
    names = []
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                pass
            case ast.AugAssign(target=ast.Name(id="__all__"), value=value):
                pass
            case _:
                continue
        try:
            names += ast.literal_eval(value)
        except ValueError:
            raise ValueError(f"{path}:{node.lineno}: __all__: expected a list of names") from None
    return names


def _defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module gives to something of its own."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _aliases(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the names that a module gives to ``Literal[…]``, with the words in it."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as value):
                if words := _literals(value, {}):
                    yield name, words


def _literals(annotation: ast.expr, aliases: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    words: list[str] = []
    for node in ast.walk(annotation):
        match node:
            case ast.Name(id=name):
                words += aliases.get(name, ())
            case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
                constants = [n.value for n in ast.walk(choices) if isinstance(n, ast.Constant)]
                words += [word for word in constants if isinstance(word, str)]
    return tuple(dict.fromkeys(words))


@dataclass(frozen=True)
class _Reader:
    """Makes helpers of the definitions in one file."""

    source: Path
    chapter: str
    path: str
    lines: list[str]
    aliases: dict[str, tuple[str, ...]]

    def helpers(self, node: _Definition, formula: ast.FunctionDef | None) -> Iterator[Helper]:
        """Yield what a definition offers: a function, or a class and then its public methods.

        `formula` is the private function of its name, which holds the formula where the public one
        only prepares its arguments.
        """
        if isinstance(node, ast.FunctionDef):
            helper = self._helper(node, node.name, node.args, node.returns, bound=False)
            if formula:
                code = f"{helper.source}\n\n\n{self._code(formula)}"
                helper = replace(helper, source=code)
            yield helper
            return
        methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
        makers = [method for method in methods if method.name == "__init__"]
        yield self._helper(node, node.name, makers[0].args if makers else None, None, bound=True)
        for method in methods:
            if not method.name.startswith("_"):
                name = f"{node.name}.{method.name}"
                static = any(ast.unparse(d) == "staticmethod" for d in method.decorator_list)
                yield self._helper(method, name, method.args, method.returns, bound=not static)

    def _helper(
        self,
        node: _Definition,
        name: str,
        arguments: ast.arguments | None,
        returns: ast.expr | None,
        *,
        bound: bool,
    ) -> Helper:
        docstring = ast.get_docstring(node) or ""
        computes, mentions = _cited(docstring, self.source)
        parameters = self._parameters(arguments, bound) if arguments else None
        annotated = [part for part in _all_arguments(arguments) if part.annotation]
        choices = [(part.arg, _literals(part.annotation, self.aliases)) for part in annotated]
        return Helper(
            self.chapter,
            name,
            self.path,
            _first(node),
            node.end_lineno,
            _signature(name, parameters, returns and self._segment(returns)),
            docstring,
            self._code(node),
            computes,
            mentions,
            tuple(pair for pair in choices if pair[1]),
        )

    def _segment(self, node: ast.expr | ast.arg) -> str:
        """Return an expression as it is written, on one line.

        `ast.get_source_segment` splits the whole file each time; columns count bytes.
        """
        lines = [line.encode() for line in self.lines[node.lineno - 1 : node.end_lineno]]
        lines[-1] = lines[-1][: node.end_col_offset]
        lines[0] = lines[0][node.col_offset :]
        return " ".join(b" ".join(lines).decode().split())

    def _parameters(self, arguments: ast.arguments, bound: bool) -> list[str]:
        """Return each parameter as it is written; `bound` leaves out ``self`` or ``cls``."""
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
        parts = [self._parameter(*pair) for pair in zip(positional, defaults, strict=True)]
        if arguments.posonlyargs:
            parts.insert(len(arguments.posonlyargs), "/")
        if arguments.vararg:
            parts.append(f"*{self._segment(arguments.vararg)}")
        elif arguments.kwonlyargs:
            parts.append("*")
        pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        parts += [self._parameter(*pair) for pair in pairs]
        if arguments.kwarg:
            parts.append(f"**{self._segment(arguments.kwarg)}")
        return parts[1:] if bound else parts

    def _parameter(self, argument: ast.arg, default: ast.expr | None) -> str:
        if default is None:
            return self._segment(argument)
        equals = " = " if argument.annotation else "="
        return f"{self._segment(argument)}{equals}{self._segment(default)}"

    def _code(self, node: _Definition) -> str:
        """Return the source of a definition without its docstring."""
        first, body, end = _first(node), node.body, node.end_lineno
        if ast.get_docstring(node) is None or len(body) == 1:
            kept = self.lines[first - 1 : end]
        else:
            # What follows is found by its line, so that no empty line is left in between; a
            # comment above the first statement stays.
            said = body[0]
            after = self.lines[said.end_lineno : end]
            while not after[0].strip():
                after = after[1:]
            kept = self.lines[first - 1 : said.lineno - 1] + after
        return textwrap.dedent("\n".join(kept))


def _first(node: _Definition) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _all_arguments(arguments: ast.arguments | None) -> list[ast.arg]:
    if arguments is None:
        return []
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _signature(name: str, parameters: list[str] | None, returns: str | None) -> str:
    """Return a signature on one line, or where that would be long with a line a parameter."""
    end = f" -> {returns}" if returns else ""
    if parameters is None:
        return name
    line = f"{name}({', '.join(parameters)}){end}"
    if len(line) <= _WIDTH or not parameters:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parameters), f"){end}"])


def _cited(docstring: str, source: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels of what a docstring says is computed, and of what it says to see.

    Words in parentheses are labels if the first begins with the name of a module in `source`.
    """
    computes, mentions = [], []
    for match in CITATION.finditer(docstring):
        labels = re.split(r",\s+", match["labels"])
        if _files(source, labels[0].partition("-")[0]):
            (mentions if match["see"] else computes).extend(labels)
    return tuple(dict.fromkeys(computes)), tuple(dict.fromkeys(mentions))


# What calls them ----------------------------------------------------------------------------------


def computing(helpers: Iterable[Helper], label: str) -> list[Helper]:
    """Return the helpers that say they compute the equation `label`."""
    return [helper for helper in helpers if label in helper.computes]


def calls(test: Test, helper: Helper, root: Path) -> bool:
    """Say whether a test uses a helper by its name, itself or in a definition of its file."""
    functions, modules = _imports(root / test.path, helper.chapter)
    names, attributes = _used(test)
    used = {functions.get(name) for name in names}
    used |= {attribute for module in modules for attribute in attributes.get(module, ())}
    if not helper.owner:
        return helper.name in used
    # An instance may come from anywhere; what it is an instance of must be imported.
    known = bool(modules) or helper.owner in functions.values()
    return known and any(helper.name.rpartition(".")[2] in part for part in attributes.values())


@cache
def _used(test: Test) -> tuple[frozenset[str], dict[str, set[str]]]:
    """Return the names in a test and its definitions, and the attributes of each object."""
    names, attributes = set(), {}
    for text in (test.source, *(source for _, source in test.helpers)):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Attribute):
                # `iou.giou`, `derived.iou.giou`, or of what a call or another expression gives.
                plain = isinstance(node.value, ast.Name | ast.Attribute)
                owner = ast.unparse(node.value) if plain else ""
                attributes.setdefault(owner, set()).add(node.attr)
    return frozenset(names), attributes


@cache
def _imports(path: Path, chapter: str) -> tuple[dict[str, str], frozenset[str]]:
    """Return what a file imports from a chapter: functions by their name there, and modules."""
    functions, modules = {}, set()
    base = f"derived.{chapter}"
    for node in ast.walk(_parsed(path)[1]):
        match node:
            case ast.ImportFrom(module="derived", names=names):
                modules |= {alias.asname or alias.name for alias in names if alias.name == chapter}
            case ast.ImportFrom(module=str(module), names=names) if (
                module == base or module.startswith(f"{base}.")
            ):
                functions |= {alias.asname or alias.name: alias.name for alias in names}
            case ast.Import(names=names):
                modules |= {alias.asname or base for alias in names if alias.name == base}
    return functions, frozenset(modules)


# What must hold -----------------------------------------------------------------------------------


def problems(
    book: Book, helpers: Iterable[Helper], source: Path, chapters: Iterable[str] = ()
) -> Iterator[Problem]:
    """Yield what is wrong between docstrings, equations and tests (see the top of this module).

    Args:
        helpers: of these chapters, or of all.
        chapters: whose docstrings to look at, by default all.
    """
    helpers = tuple(helpers)
    for chapter in chapters or _chapters(book):
        yield from _citation_problems(book, source, chapter)
    yield from _untested(book, helpers)
    yield from _uncited(book, helpers)


def _chapters(book: Book) -> list[str]:
    return list(dict.fromkeys(equation.page.rpartition("/")[2] for equation in book.equations))


def _citation_problems(book: Book, source: Path, chapter: str) -> Iterator[Problem]:
    labels = {equation.label for equation in book.equations}
    for path in _files(source, chapter):
        for line, docstring in _docstrings(path):
            where = f"{path.relative_to(book.paths.root).as_posix()}:{line}"
            for text in _wrong_citations(docstring, chapter, source, labels):
                yield Problem("citation", where, text)


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each docstring in a file, private ones included."""
    for node in ast.walk(_parsed(path)[1]):
        if isinstance(node, ast.Module | _Definition) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text


def _wrong_citations(docstring: str, chapter: str, source: Path, labels: set[str]) -> Iterator[str]:
    for label in dict.fromkeys(label for part in _cited(docstring, source) for label in part):
        if label not in labels:
            yield f"cites `{label}`, but no page has an equation with that label"

    def other(match: re.Match) -> str:
        return "" if any(_cited(match[0], source)) else match[0]

    rest = CITATION.sub(other, docstring)
    for word in dict.fromkeys(re.findall(rf"(?<![\w-]){_LABEL}(?![\w-])", rest)):
        if word in labels:
            yield f"cites `{word}` in a way of its own: write ({word}), or (see {word})"
    for match in _PARENTHESIS.finditer(rest):
        for word in re.split(r",\s+", match["words"]):
            if (label := f"{chapter}-{word}") in labels:
                yield f"cites ({word}) without its chapter: write ({label})"


def _untested(book: Book, helpers: tuple[Helper, ...]) -> Iterator[Problem]:
    labels = {equation.label for equation in book.equations}
    for helper in helpers:
        for label in helper.computes:
            tests = book.tests_of(label)
            if label in labels and not any(calls(t, helper, book.paths.root) for t in tests):
                text = (
                    f"`{helper.name}` says that it computes `{label}`, but no test of that label "
                    f"calls it: let one do so, or write (see {label})"
                )
                yield Problem("uncalled", helper.where, text)


def _uncited(book: Book, helpers: tuple[Helper, ...]) -> Iterator[Problem]:
    for equation in book.equations:
        chapter, _, words = equation.label.partition("-")
        own = [helper for helper in helpers if helper.chapter == chapter]
        named = [helper for helper in own if _begins(helper.name, words)]
        offering = [
            helper
            for helper in own
            if any(_begins(word, words) for _, offered in helper.choices for word in offered)
        ]
        silent = [helper for helper in named if equation.label not in helper.computes]
        if not named and not computing(offering, equation.label):
            silent = offering[:1]
        for helper in silent:
            text = (
                f"`{helper.name}` by its name computes `{equation.label}`, but its docstring does "
                f"not say so: write ({equation.label})"
            )
            yield Problem("uncited", helper.where, text)


def _begins(name: str, words: str) -> bool:
    """Say whether a label's words are the first of a name's, or all of them."""
    return f"{name.strip('_').replace('_', '-')}-".startswith(f"{words}-")
