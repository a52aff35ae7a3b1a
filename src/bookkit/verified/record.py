"""What became of the tests that verify equations, in the last run here and when last recorded.

A run here leaves ``_build/verified.json``, one entry a test file: the outcome of each case, when and
on which torch, and a digest of what it depends on. When that has changed, the outcomes no longer
count. A run of some tests alone keeps what is known of the others.

``python -m bookkit.verified record`` stores the same in short for those who have run nothing, in
``tests/chapters/CHAPTER/record.json``: how many cases of each test had which outcome, the digest of
each file that they depend on, and the hash of each equation's LaTeX. Outcomes whose digests do not
hold any more are of what was before a change, and are said to be.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bookkit.stored import files as stored
from bookkit.verified.dependencies import dependencies, module_files, text_digest
from bookkit.verified.marks import Test

__all__ = [
    "CHAPTER",
    "NOTEBOOKS",
    "OUTCOMES",
    "OUTPUTS",
    "TESTS",
    "Earlier",
    "chapter_digest",
    "code_digest",
    "combined",
    "earlier",
    "file_digest",
    "in_short",
    "merged",
    "outcomes",
    "read",
    "read_chapter",
    "today",
    "write",
]

# What a run leaves of the notebooks (`bookkit.notebooks.compare`), below the book's folder.
OUTPUTS = "_build/outputs.json"

# From best to worst; only the first is a pass.
OUTCOMES = ("passed", "xpassed", "xfailed", "skipped", "failed")

Record = dict[str, dict]

# What a record holds of each file: of tests, and of notebooks (`bookkit.notebooks.compare`).
TESTS = {str: {"digest": str, "date": str, "torch": str, "outcomes": {str: str}}}
NOTEBOOKS = {str: {"digest": str, "date": str, "passed": int, "failed": int}}
# What is stored of a chapter.
CHAPTER = {"date": str, "commit": str, "torch": str, "equations": {str: str}}
CHAPTER["tests"] = {str: {"depends on": {str: str}, "outcomes": {str: {str: int}}}}
# Of its notebook, how many cells came out as stored: of one at most, of none before its first run.
CHAPTER["outputs"] = {str: {"depends on": {str: str}, "date": str, "passed": int}}


@dataclass(frozen=True)
class Earlier:
    """What became of a test's cases when its chapter was last recorded.

    Args:
        date: of the run, as 2026-12-01.
        outcomes: one for each case.
        changed: the files among those that the test depends on that have changed since.
    """

    date: str
    outcomes: tuple[str, ...]
    changed: tuple[str, ...] = ()


def today() -> str:
    """Return the date of a run that ends now, as 2026-12-01."""
    return datetime.now(UTC).date().isoformat()


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


def merged(record: Record, path: str, entry: dict) -> Record:
    """Return the record with the entry of a run of some tests in the file `path`.

    Outcomes of its other tests are kept if the digest and torch are the same, and with them their
    date: the oldest counts.
    """
    known = record.get(path, {})
    same = all(known.get(key) == entry[key] for key in ("digest", "torch"))
    if same and known["outcomes"].keys() - entry["outcomes"].keys():
        entry = entry | {
            "date": min(known["date"], entry["date"]),
            "outcomes": known["outcomes"] | entry["outcomes"],
        }
    return record | {path: entry}


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


def read_chapter(path: Path) -> dict:
    """Read what is stored of a chapter's tests; without a file that is nothing.

    Raises:
        ValueError: names the file if it is no such record, and says what is wrong.
    """
    if not path.is_file():
        return {}
    with stored.opened(path) as record:
        stored.check(record, CHAPTER)
        for name, known in record["tests"].items():
            for test, counts in known["outcomes"].items():
                for outcome in counts.keys() - set(OUTCOMES):
                    raise ValueError(f"tests.{name}.{test}: expected an outcome, got {outcome}")
    return record


def earlier(record: dict, test: Test, depends_on: Mapping[str, str]) -> Earlier | None:
    """Return what a chapter's record says of a test whose dependencies now are `depends_on`."""
    known = record.get("tests", {}).get(test.path)
    if not known or test.name not in known["outcomes"]:
        return None
    before = known["depends on"]
    changed = {file for file, _ in before.items() ^ depends_on.items()}
    counts = known["outcomes"][test.name]
    every = (outcome for outcome in OUTCOMES for _ in range(counts.get(outcome, 0)))
    return Earlier(record["date"], tuple(every), tuple(sorted(changed)))


def in_short(
    record: Record, tests: Iterable[Test], depends_on: Mapping[str, Mapping[str, str]]
) -> dict:
    """Return what is stored of these tests: the record of a run here, cases counted.

    `depends_on` gives what each test file depends on.
    """
    by_file: dict[str, list[str]] = {}
    for test in tests:
        by_file.setdefault(test.path, []).append(test.name)
    entries = {path: record[path] for path in by_file}
    return {
        "date": min(entry["date"] for entry in entries.values()),
        "torch": ", ".join(sorted({entry["torch"] for entry in entries.values()})),
        "tests": {
            path: {
                "depends on": dict(depends_on[path]),
                "outcomes": {name: _counts(entries[path], name) for name in names},
            }
            for path, names in by_file.items()
        },
    }


def _counts(entry: dict, name: str) -> dict[str, int]:
    cases = entry["outcomes"].items()
    return dict(Counter(outcome for case, outcome in cases if case.partition("[")[0] == name))


def file_digest(*paths: Path) -> str:
    """Hash files, so that what a run says of them ends with their next change."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def chapter_digest(root: Path, chapter: str) -> str:
    """Hash a chapter's module and its tests, on which a result of the mutants depends."""
    tests = root / "tests" / "chapters" / chapter
    return file_digest(*module_files(root, chapter), *sorted(tests.glob(f"test_{chapter}*.py")))


def code_digest(path: Path, root: Path) -> str:
    """Hash all that the tests in `path` depend on, see `bookkit.verified.dependencies`."""
    return combined(dependencies(path, root))


def combined(digests: Mapping[str, str]) -> str:
    """Hash the digests of several files."""
    return text_digest(json.dumps(sorted(digests.items())))
