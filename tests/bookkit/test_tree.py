"""The tests' own order: each stands alone, and no two share a name."""

import ast
from collections import Counter

from support import ROOT

TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def imported(source: str) -> set[str]:
    """Return the modules that a file imports, also inside of functions."""
    nodes = list(ast.walk(ast.parse(source)))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return whole | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_no_test_module_imports_another():
    assert imported("import a.b, c\ndef f():\n    from test_x import y") == {"a.b", "c", "test_x"}
    names = {path.stem for path in TESTS}
    borrowed = {path.name: imported(path.read_text("utf-8")) & names for path in TESTS}
    assert {name: modules for name, modules in borrowed.items() if modules} == {}


def test_no_two_files_of_the_tests_share_a_name():
    """pytest imports a file by its bare name, and so do those beside it."""
    files = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    assert [name for name, count in files.items() if count > 1 and name != "conftest.py"] == []
