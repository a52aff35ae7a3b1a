"""What proof costs: a pytest plugin that adds up seconds per part and chapter, and their table.

    python -m bookkit.verified.seconds            the table of the last run
    python -m bookkit.verified.seconds start      forget earlier runs
    python -m bookkit.verified.seconds time NAME COMMAND …   run a command as a part of its own

A test's seconds are those of its set-up, its call and its tear-down; with several processes they
pass side by side, so the table divides by the number of processes. A part's budget is what a quiet
machine of two processors needs. What exceeds it is marked and nothing fails: a busy machine is up to
four times slower.

The plugin also gives each test its time limit (pytest-timeout, which prints where every thread
stands): two minutes on a quick and quiet machine, and more by as much as this one is slower now,
as measured when the run begins. ``TEST_TIMEOUT_SCALE`` replaces the measurement.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from bookkit.verified.chapters import SHARED, chapter_of

__all__ = ["BUDGETS", "add", "machine_scale", "main", "table"]

RESULT = Path("_build/seconds.json")
PARTS = ("lint", "unit", "outputs", "build", "site")
# Seconds for each chapter, and for all that is no chapter's, at two processes; a notebook's are
# seconds of one process, since it runs in one.
BUDGETS = {
    "unit": (30, 120),
    "outputs": (60, 0),
    "site": (20, 60),
    "build": (0, 60),
    "lint": (0, 5),
}
LIMIT = 120  # seconds of a test on a quick and quiet machine


def machine_scale() -> float:
    """Return how many times slower than a quick and quiet one this machine is now, from 2 to 20.

    A loop of Python is timed by the clock, and what else waits for a processor is counted: a test
    starts other processes, which wait in the same line.
    """
    start = time.perf_counter()
    total = 0
    for number in range(2_000_000):
        total += number
    slowness = (time.perf_counter() - start) / 0.08  # seconds on a processor of 2024
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(20.0, max(2.0, 2 * slowness, 2 * waiting))


class Clock:
    """Adds up the seconds of all tests of one run."""

    def __init__(self, part: str, processes: int) -> None:
        self.part, self.processes = part, processes
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        report = yield
        report.chapter = chapter_of(item)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[getattr(report, "chapter", SHARED)] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        root = terminalreporter.config.rootpath
        divisor = 1 if self.part == "outputs" else self.processes
        add(root, self.part, {name: spent / divisor for name, spent in self.seconds.items()})
        terminalreporter.section("seconds per part and chapter")
        terminalreporter.write_line(table(root))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer to count a run as a part of the whole proof."""
    parser.getgroup("chapters").addoption(
        "--part", choices=PARTS, help="the part of the proof whose seconds this run adds up"
    )


@pytest.hookimpl(tryfirst=True)  # before pytest-timeout reads its settings
def pytest_configure(config: pytest.Config) -> None:
    """Set the time limit of each test, and start the clock."""
    if hasattr(config, "workerinput"):  # one of several processes
        config.pluginmanager.register(Clock("", 1))  # says each report's chapter
        return
    if "TEST_TIMEOUT_SCALE" not in os.environ:
        os.environ["TEST_TIMEOUT_SCALE"] = f"{machine_scale():.1f}"
    # By the environment, so that further processes have it too.
    limit = LIMIT * float(os.environ["TEST_TIMEOUT_SCALE"])
    os.environ.setdefault("PYTEST_TIMEOUT", f"{limit:.1f}")
    if config.option.part:
        processes = config.getoption("numprocesses", None) or 1
        config.pluginmanager.register(Clock(config.option.part, processes))


def add(root: Path, part: str, seconds: dict[str, float]) -> None:
    """Enter the seconds of a part, by chapter, among those of the other parts."""
    path = root / RESULT
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    known[part] = {name: round(spent, 1) for name, spent in sorted(seconds.items())}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(known, indent=1) + "\n", "utf-8")


def table(root: Path) -> str:
    """Return the table of what the parts took, a row a chapter; ``*`` marks what exceeds its budget."""
    path = root / RESULT
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    parts = [part for part in PARTS if part in known]
    names = {name for part in parts for name in known[part]}
    rows = [["", *parts]]
    for name in [*sorted(names - {SHARED}), SHARED]:
        cells = [_cell(part, name, known[part].get(name)) for part in parts]
        rows.append([name, *cells])
    budgets = [" / ".join(str(each) if each else "–" for each in BUDGETS[part]) for part in parts]
    rows.append(["budget: chapter / shared", *budgets])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def _cell(part: str, name: str, spent: float | None) -> str:
    if spent is None:
        return ""
    budget = BUDGETS[part][name == SHARED]
    return f"{spent:.0f}{'*' if spent > budget else ' '}"


def _timed(root: Path, part: str, command: list[str]) -> int:
    start = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    add(root, part, {SHARED: time.monotonic() - start})
    return code


def main(arguments: list[str] | None = None) -> int:
    """Run the command line ``python -m bookkit.verified.seconds`` and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bookkit.verified.seconds", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("action", nargs="?", choices=["start", "table", "time"], default="table")
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    root = Path.cwd()
    match options.action:
        case "start":
            (root / RESULT).unlink(missing_ok=True)
        case "time":
            return _timed(root, options.part, options.command)
        case "table":
            print(table(root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
