"""Which code a stored result is of."""

import subprocess
from pathlib import Path

__all__ = ["commit"]


def commit(root: Path) -> str:
    """Return the commit that is checked out, and say so if code or tests differ from it.

    Results of mutants among the tests are no code. Without a repository the commit is unknown.
    """
    found = _git(root, "rev-parse", "--short", "HEAD")
    if found and _git(
        root, "status", "--porcelain", "--", "src", "tests", ":!tests/chapters/*/mutants.json"
    ):
        found += " with changes"
    return found or "unknown"


def _git(root: Path, *arguments: str) -> str:
    """Return what git prints, nothing where it fails or is missing."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
