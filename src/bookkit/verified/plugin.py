"""The pytest side: the marker ``verifies(*labels, by)`` and the record of outcomes.

Loaded by ``-p bookkit.verified.plugin`` in pyproject.toml's pytest options. The record is
``_build/verified.json``; ``--verified-record=PATH`` writes another, an empty path none. No tracked
file changes: what is committed, ``python -m bookkit.verified record`` takes from there.

With pytest-xdist the tests run in several processes. Each process says in a report which equation's
test it belongs to; the one process that gathers the reports writes the record.
"""

from importlib import metadata
from pathlib import Path

import pytest
import xdist

from bookkit.verified import marks, record


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("verified equations").addoption(
        "--verified-record",
        default="_build/verified.json",
        metavar="PATH",
        help="where to record which equations passed (an empty path: nowhere)",
    )


def pytest_configure(config: pytest.Config) -> None:
    methods = ", ".join(marks.METHODS)
    config.addinivalue_line(
        "markers", f"verifies(*labels, by): keeps an equation's promise ({methods})"
    )
    config.pluginmanager.register(Recorder(config), "verified-recorder")


class Recorder:
    """Checks the marks of the collected tests, and records what becomes of these tests."""

    def __init__(self, config: pytest.Config) -> None:
        self.root = config.rootpath
        self.target = config.getoption("verified_record")
        self.digests: dict[Path, str] = {}
        self.marks: dict[Path, dict[str, set]] = {}
        self.wrong: dict[Path, list[str]] = {}
        # The outcome of each case, by test file and the digest of what it depends on.
        self.outcomes: dict[tuple[str, str], dict[str, str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for path in {item.path for item in items if any(item.iter_markers("verifies"))}:
            self._read(path)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        # Not when tests are collected: what a process of several says there is lost.
        if errors := self.wrong.get(item.path) or self._mark_errors(item):
            pytest.fail("\n".join(errors), pytrace=False)

    def _read(self, path: Path) -> None:
        """Read a test file's marks, and its digest now: the file may be edited while tests run."""
        tests, wrong = marks.in_file(path, self.root)
        self.marks[path] = {test.name: set(test.marks) for test in tests}
        self.wrong[path] = [f"{where}: {text}" for where, text in wrong]
        self.digests[path] = record.code_digest(path, self.root)

    def _mark_errors(self, item: pytest.Item) -> list[str]:
        """Say where the marks that pytest sees differ from those that the book reads."""
        read = self.marks.get(item.path, {}).get(_case(item).partition("[")[0], set())
        unread = [
            mark
            for mark in item.iter_markers("verifies")
            if any((label, mark.kwargs.get("by")) not in read for label in mark.args)
        ]
        text = (
            f"{item.nodeid}: the book cannot read this mark in the source; write it as a decorator "
            'of the test or its class, or as pytestmark: pytest.mark.verifies("label", by="method")'
        )
        return [text] if unread else []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        report = yield
        if item.path in self.digests and any(item.iter_markers("verifies")):
            path = item.path.relative_to(self.root).as_posix()
            report.verifies = [path, self.digests[item.path], _case(item)]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        path, digest, case = getattr(report, "verifies", [None] * 3)
        if path and (outcome := _outcome(report)):
            cases = self.outcomes.setdefault((path, digest), {})
            cases[case] = max(outcome, cases.get(case, "passed"), key=record.OUTCOMES.index)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not (self.target and self.outcomes) or xdist.is_xdist_worker(session):
            return
        target = self.root / self.target
        known = record.read(target, record.TESTS)
        run = {"date": record.today(), "torch": metadata.version("torch")}
        for (path, digest), cases in self.outcomes.items():
            known = record.merged(known, path, run | {"digest": digest, "outcomes": cases})
        record.write(target, known)


def _case(item: pytest.Item) -> str:
    """Return a test's name with its class and its parameters: ``TestGiou::test_range[3]``."""
    return item.nodeid.partition("::")[2]


def _outcome(report: pytest.TestReport) -> str | None:
    """Return what a phase of a test says of the whole; a setup that went well says nothing."""
    if report.failed:
        return "failed"
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.skipped:
        return "skipped"
    return "passed" if report.when == "call" else None
