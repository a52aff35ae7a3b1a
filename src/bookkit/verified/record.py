"""What the last test run found: the outcome of each test that verifies an equation.

The record is JSON, one entry a test file: the outcome of each case, and a digest of the code it
ran (the test file, its conftest and whatever these import from ``src``). When that code has
changed, the outcomes no longer count. A run of some tests alone keeps what is known of the others.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from bookkit.stored import files as stored
from bookkit.verified.marks import Test

__all__ = [
    "NOTEBOOKS",
    "OUTCOMES",
    "TESTS",
    "chapter_digest",
    "code_digest",
    "file_digest",
    "merged",
    "module_files",
    "outcomes",
    "read",
    "write",
]

# From best to worst; only the first is a pass.
OUTCOMES = ("passed", "xpassed", "xfailed", "skipped", "failed")

Record = dict[str, dict]

# What a record holds of each file: of tests, and of notebooks (`bookkit.notebooks.compare`).
TESTS = {str: {"digest": str, "outcomes": {str: str}}}
NOTEBOOKS = {str: {"digest": str, "passed": int, "failed": int}}


def read(path: Path, shape: object = (TESTS, NOTEBOOKS)) -> Record:
    """Read a record; without a file there is nothing in it.

    Raises:
        ValueError: names the file if it is no record of the shape, and says what is wrong.
    """
    if not path.is_file():
        return {}
    with stored.opened(path) as record:
        stored.check(record, shape)
        for name, known in record.items():
            for case, outcome in known.get("outcomes", {}).items():
                if outcome not in OUTCOMES:
                    raise ValueError(f"{name}.outcomes.{case}: expected an outcome, got {outcome}")
    return record


def write(path: Path, record: Record) -> None:
    """Write a record whole, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")
    part.replace(path)


def merged(record: Record, path: str, digest: str, found: dict[str, str]) -> Record:
    """Return the record with the outcomes `found` in the test file `path`."""
    known = record.get(path, {})
    kept = known["outcomes"] if known.get("digest") == digest else {}
    return record | {path: {"digest": digest, "outcomes": kept | found}}


def outcomes(record: Record, test: Test, digest: str) -> list[str]:
    """Return the outcome of each case of a test, none if its code has changed since."""
    known = record.get(test.path, {})
    if known.get("digest") != digest:
        return []
    return [
        outcome
        for case, outcome in known["outcomes"].items()
        if case.partition("[")[0] == test.name
    ]


def file_digest(*paths: Path) -> str:
    """Hash files, so that what a run says of them ends with their next change."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def module_files(root: Path, chapter: str) -> list[Path]:
    """Return the file of a chapter's module, or all files of its package."""
    package = root / "src" / "derived" / chapter
    if (package / "__init__.py").is_file():
        return sorted(package.rglob("*.py"))
    return [package.with_suffix(".py")]


def chapter_digest(root: Path, chapter: str) -> str:
    """Hash a chapter's module and its tests, on which a result of the mutants depends."""
    tests = root / "tests" / "chapters" / chapter
    return file_digest(*module_files(root, chapter), *sorted(tests.glob(f"test_{chapter}*.py")))


def code_digest(path: Path, root: Path) -> str:
    """Hash the code that the tests in `path` run."""
    sums = hashlib.sha256()
    for file in sorted(_code(path, root)):
        sums.update(file.relative_to(root).as_posix().encode() + b"\0")
        sums.update(file.read_bytes() + b"\0")
    return sums.hexdigest()[:16]


def _code(path: Path, root: Path) -> set[Path]:
    """Return the test file, its conftest, and all that these import from ``src``."""
    files, queue = set(), [path, path.with_name("conftest.py")]
    while queue:
        file = queue.pop()
        if file not in files and file.is_file():
            files.add(file)
            queue += _imported(file, root / "src")
    return files


def _imported(file: Path, source: Path) -> Iterator[Path]:
    """Yield where the modules that a file imports would lie below the folder `source`."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"), filename=str(file))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, file, source)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            for end in range(1, len(parts) + 1):
                stem = source.joinpath(*parts[:end])
                yield from (stem.with_suffix(".py"), stem / "__init__.py")


def _absolute(node: ast.ImportFrom, file: Path, source: Path) -> str:
    """Return the full name of the module that ``from … import`` names."""
    if not node.level or not file.is_relative_to(source):
        return node.module or ""
    package = file.relative_to(source).parts[: -node.level]
    return ".".join([*package, *filter(None, [node.module])])
