"""The table of `make properties` comes from the run: how many examples, which failed."""

import json
import subprocess
import sys

import pytest

TESTS = """
from hypothesis import given, settings, strategies as st

@settings(max_examples=7, database=None)
@given(st.floats())
def test_holds(x):
    pass

@settings(max_examples=7, database=None)
@given(st.integers())
def test_fails(x):
    assert x < 0

def test_without_examples():
    pass
"""


@pytest.mark.parametrize("options", [[], ["--numprocesses=2"]])
def test_the_table_tells_examples_and_failures(tmp_path, options):
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "bookkit.verified.properties",
        "-m",
        "hypothesis",
    ]
    command += ["-q", f"--rootdir={tmp_path}", "-c", "/dev/null", str(tmp_path), *options]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    record = json.loads((tmp_path / "_build" / "properties.json").read_text())
    assert record["commit"] == "unknown"  # no repository
    fails, holds = record["properties"].values()
    assert (holds["examples"], holds["failures"]) == (7, 0)
    assert (fails["examples"], fails["failures"]) != (7, 0) and fails["failures"] == 1
    assert "test_some.py::test_holds" in run.stdout and "all 2 properties" in run.stdout
