"""The table of `make properties` comes from the run: how many examples, which failed."""

import json
import os
import sys

import pytest
from support import run

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
    plugins = ("bookkit.verified.properties", "_hypothesis_pytestplugin", "xdist.plugin")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "hypothesis", "-c", os.devnull]
    command += [part for name in plugins for part in ("-p", name)]
    # The plugins of what else is installed would take most of the time.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command += [f"--rootdir={tmp_path}", str(tmp_path), *options]
    done = run(command, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    record = json.loads((tmp_path / "_build" / "properties.json").read_text())
    assert record["commit"] == "unknown"  # no repository
    fails, holds = record["properties"].values()
    assert (holds["examples"], holds["failures"]) == (7, 0)
    assert (fails["examples"], fails["failures"]) != (7, 0) and fails["failures"] == 1
    assert "test_some.py::test_holds" in done.stdout and "all 2 properties" in done.stdout
