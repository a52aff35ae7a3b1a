"""The pytest side: the marker ``verifies(*labels, by)`` and the record of outcomes.

Loaded by ``-p bookkit.verified.plugin`` in pyproject.toml's pytest options. The record is
``_build/verified.json``; ``--verified-record=PATH`` writes another, an empty path none.
"""

from pathlib import Path

import pytest

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
        self.digests: dict[str, str] = {}
        self.marks: dict[Path, dict[str, set]] = {}
        self.running: dict[str, str] = {}
        self.found: dict[str, dict[str, str]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wrong, unread = [], []
        for item in items:
            if any(item.iter_markers("verifies")):
                if item.path not in self.marks:
                    wrong += self._read(item.path)
                unread += self._mark_errors(item)
        if errors := wrong or unread:
            raise pytest.UsageError("\n".join(errors))

    def _read(self, path: Path) -> list[str]:
        """Read a test file's marks, and its digest now: the file may be edited while tests run."""
        tests, wrong = marks.in_file(path, self.root)
        self.marks[path] = {test.name: set(test.marks) for test in tests}
        self.digests[_name(path, self.root)] = record.code_digest(path, self.root)
        return [f"{where}: {text}" for where, text in wrong]

    def _mark_errors(self, item: pytest.Item) -> list[str]:
        """Say where the marks that pytest sees differ from those that the book reads."""
        read = self.marks[item.path].get(_case(item).partition("[")[0], set())
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
        path = _name(item.path, self.root)
        if path in self.digests and any(item.iter_markers("verifies")):
            case = _case(item)
            if outcome := _outcome(report):
                worst = max(outcome, self.running.get(case, "passed"), key=record.OUTCOMES.index)
                self.running[case] = worst
            if report.when == "teardown":
                self.found.setdefault(path, {})[case] = self.running.pop(case)
        return report

    def pytest_sessionfinish(self) -> None:
        if not (self.target and self.found):
            return
        target = self.root / self.target
        known = record.read(target)
        for path, found in self.found.items():
            known = record.merged(known, path, self.digests[path], found)
        record.write(target, known)


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


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
