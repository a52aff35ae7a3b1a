"""Run every property-based test on 2,000 examples, and say what came of each: ``make properties``.

    python -m bookkit.verified.properties [pytest's options, such as -k rotated]

A pytest plugin as well: it reads how many examples hypothesis ran for each test, prints a table and
writes it to ``_build/properties.json``.
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import xdist

from bookkit.stored.commit import commit

__all__ = ["main", "pytest_configure"]

RESULT = Path("_build/properties.json")
PROFILE = "nightly"


class Table:
    """What became of each property."""

    def __init__(self) -> None:
        self.rows: dict[str, dict] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        report = yield
        if report.when == "call":
            report.examples = sum(_counts(getattr(item, "hypothesis_statistics", ""), "passing"))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.rows[report.nodeid] = {
                "examples": report.examples,
                "failures": int(report.failed),
                "seconds": round(report.duration, 2),
            }

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("properties: examples, failures, seconds")
        for name, row in sorted(self.rows.items()):
            terminalreporter.write_line(
                f"{row['examples']:7,} {row['failures']:3} {row['seconds']:8.1f}  {name}"
            )
        total = {key: sum(row[key] for row in self.rows.values()) for key in _COLUMNS}
        terminalreporter.write_line(
            f"{total['examples']:7,} {total['failures']:3} {total['seconds']:8.1f}  "
            f"all {len(self.rows)} properties"
        )

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if xdist.is_xdist_worker(session):
            return  # the process that gathers the reports of all writes
        target = session.config.rootpath / RESULT
        target.parent.mkdir(exist_ok=True)
        record = {
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit(session.config.rootpath),
            "properties": dict(sorted(self.rows.items())),
        }
        target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


_COLUMNS = ("examples", "failures", "seconds")


def _counts(statistics: str, word: str) -> Iterator[int]:
    """Yield each number that stands before a word in hypothesis's statistics of a test."""
    return map(int, re.findall(rf"(\d+) {word}", statistics))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Table(), "properties-table")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line ``python -m bookkit.verified.properties`` and return its exit status."""
    more = sys.argv[1:] if arguments is None else arguments
    # Thousands of examples may take an hour: no limit, as pytest-timeout reads a zero.
    os.environ.setdefault("PYTEST_TIMEOUT", "0")
    options = ["-m", "hypothesis", f"--hypothesis-profile={PROFILE}", "--ignore=tests/site"]
    # The record of verified equations is of whole runs in the usual profile.
    options += ["--verified-record=", "-p", "bookkit.verified.properties", "--tb=short", "-q"]
    return pytest.main([*options, "tests", *more])


if __name__ == "__main__":
    sys.exit(main())
