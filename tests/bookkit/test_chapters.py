"""Which chapter a test proves, the choice of some chapters' tests, and what the parts took."""

import json
import os

import pytest

from bookkit.verified import seconds
from bookkit.verified.chapters import chosen

pytest_plugins = ["pytester"]

PLACES = {
    "tests/chapters/iou/test_about_iou.py": "def test_iou(): ...",
    "tests/chapters/pose/test_about_pose.py": "def test_pose(): ...",
    "tests/bookkit/test_about_tools.py": "def test_tools(): ...",
    "tests/test_about_all.py": """
import pytest

CASES = [pytest.param(name, marks=pytest.mark.chapter(name)) for name in ("iou", "pose")]

@pytest.mark.parametrize("name", CASES)
def test_each(name): ...

def test_none(): ...
""",
    "chapters/iou.ipynb": "{}",
    "chapters/pose.ipynb": "{}",
}


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest with both plugins in a book of two chapters."""
    # Those of what else is installed would take most of the time.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name, text in PLACES.items():
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def go(*arguments: str) -> pytest.RunResult:
        plugins = ["-p", "bookkit.verified.chapters", "-p", "bookkit.verified.seconds"]
        plugins += ["-p", "pytest_timeout", "-p", "xdist.plugin"]
        return pytester.runpytest_inprocess(
            *plugins, "-p", "no:cacheprovider", "-v", "--strict-markers", "tests", *arguments
        )

    return go


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("iou", {"test_iou", "test_each[iou]"}),
        ("iou, pose", {"test_iou", "test_each[iou]", "test_pose", "test_each[pose]"}),
        ("shared", {"test_tools", "test_none"}),
        ("shared pose", {"test_tools", "test_none", "test_pose", "test_each[pose]"}),
        (
            "",
            {
                "test_iou",
                "test_pose",
                "test_tools",
                "test_none",
                "test_each[iou]",
                "test_each[pose]",
            },
        ),
    ],
)
def test_a_choice_runs_what_proves_it_and_nothing_else(run, words, names):
    result = run("--chapters", words)
    passed = [line for line in result.outlines if " PASSED" in line]
    assert {line.split("::")[1].split(" ")[0] for line in passed} == names


def test_a_wrong_name_gets_one_sentence(run, tmp_path):
    result = run("--chapters", "iuo")
    result.stderr.fnmatch_lines(["ERROR: CHAPTERS: 'iuo' is none of iou, pose, shared"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    with pytest.raises(ValueError, match="CHAPTERS: 'iou' is none of shared"):
        chosen("iou", tmp_path)


@pytest.mark.parametrize("options", [(), ("--numprocesses=2",)])
def test_a_run_adds_up_seconds_by_chapter_and_prints_the_table(pytester, run, options):
    slow = "import time\n\ndef test_slow():\n    time.sleep(0.4)\n"
    (pytester.path / "tests/chapters/pose/test_about_time.py").write_text(slow)
    result = run("--part", "unit", *options)
    result.stdout.fnmatch_lines(["*seconds per part and chapter*", "*unit*", "pose *", "budget*"])
    spent = json.loads((pytester.path / seconds.RESULT).read_text())["unit"]
    assert spent.keys() == {"iou", "pose", "shared"}
    assert spent["pose"] >= (0.2 if options else 0.4) > spent["iou"]


def test_what_exceeds_its_budget_is_marked(tmp_path):
    seconds.add(tmp_path, "unit", {"iou": 29.0, "pose": 31.0, "shared": 1.0})
    seconds.add(tmp_path, "outputs", {"pose": 60.4})
    head, iou, pose, shared, budget = seconds.table(tmp_path).splitlines()
    assert head.split() == ["unit", "outputs"]
    assert iou.split() == ["iou", "29"]
    assert pose.split() == ["pose", "31*", "60*"]
    assert shared.split() == ["shared", "1"]
    assert budget.startswith("budget: chapter / shared")
    assert seconds.main(["start"]) == 0  # of the current folder, which this one is not
    assert seconds.table(tmp_path).splitlines()[1:3] == [iou, pose]


def test_a_command_is_a_part_of_its_own_and_its_failure_stays_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert seconds.main(["time", "lint", "sh", "-c", "sleep 0.2; exit 3"]) == 3
    assert json.loads((tmp_path / seconds.RESULT).read_text())["lint"]["shared"] >= 0.2


@pytest.mark.parametrize("options", [(), ("--numprocesses=1",)])
def test_a_test_that_hangs_is_ended_and_says_where_it_stood(pytester, run, monkeypatch, options):
    """The limit of a test follows the machine: here a hundredth of a second."""
    monkeypatch.setenv("TEST_TIMEOUT_SCALE", str(0.5 / seconds.LIMIT))
    monkeypatch.delenv("PYTEST_TIMEOUT", raising=False)
    hanging = "import threading\n\ndef test_hangs():\n    threading.Event().wait()\n"
    (pytester.path / "tests/bookkit/test_about_tools.py").write_text(hanging)
    result = run("--chapters", "shared", *options)
    result.stdout.fnmatch_lines(["*Timeout (>0.5s) from pytest-timeout*"])
    result.stdout.fnmatch_lines(["*threading.Event().wait()*"])
    result.assert_outcomes(passed=1, failed=1)


def test_a_slow_machine_gets_more_time(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    quiet = seconds.machine_scale()
    monkeypatch.setattr(os, "getloadavg", lambda: (9.0 * os.cpu_count(), 0.0, 0.0))
    assert 2 <= quiet <= 20
    assert seconds.machine_scale() >= 18
