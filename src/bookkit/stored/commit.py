"""Which code a stored result is of."""

import subprocess
from pathlib import Path

__all__ = ["commit"]


def commit(root: Path) -> str:
    """Return the commit that is checked out, and say so if code or tests differ from it.

    Results among the tests, of mutants and of the tests themselves, are no code. Without a
    repository the commit is unknown.
    """
    name = _git(root, "rev-parse", "--short", "HEAD")
    results = (f":!tests/chapters/*/{file}.json" for file in ("mutants", "record"))
    if name and _git(root, "status", "--porcelain", "--", "src", "tests", *results):
        name += " with changes"
    return name or "unknown"


def _git(root: Path, *arguments: str) -> str:
    """Return what git prints, nothing where it fails or is missing."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
