"""The environment checker, the lock, the server and the wheel: what surrounds the book."""

import json
import os
import re
import shutil
import sys
import threading
import tomllib
import urllib.request
import zipfile

import pytest
from support import ROOT, run, seconds
from watchfiles import Change

from bookkit import environment, lock
from bookkit.site import serve


def test_locked_versions_of_several_platforms_are_all_kept():
    text = "# numpy==0\nnumpy==2.4 ; python_full_version < '3.12'\nnumpy==2.5\n\ntorch==2.13.0\n"
    assert environment.locked_versions(text) == {"numpy": ["2.4", "2.5"], "torch": ["2.13.0"]}


@pytest.mark.parametrize(
    ("locked", "line"),
    [
        ({}, "(the lock has none)"),
        ({"pytest": ["0.1", "0.2"]}, "(the lock has 0.1 or 0.2)"),
        ({"pytest": [pytest.__version__]}, pytest.__version__),
    ],
)
def test_a_package_is_compared_with_the_lock(locked, line):
    ok, text = environment.package_line("pytest", locked)
    assert ok and text.endswith(line)


def test_a_missing_package_or_tool_is_named_with_its_remedy():
    assert environment.package_line("no-such-package", {}) == (
        False,
        "no-such-package is missing: `make book` installs it into .venv",
    )
    assert environment.tool_line(("no-such-tool",), "to see", "install it") == (
        False,
        "no-such-tool is missing (to see): install it",
    )


def test_the_checker_runs_with_the_standard_library_alone():
    command = [sys.executable, "-I", "-S", str(ROOT / "src/bookkit/environment.py")]
    done = run(command)
    assert done.stderr == ""
    assert "MISSING torch is missing" in done.stdout and "ok      Python 3." in done.stdout


def test_the_lock_holds_every_dependency_and_neither_cuda_packages_nor_addresses():
    text = (ROOT / "requirements.txt").read_text(encoding="utf8")
    locked = environment.locked_versions(text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    extras = project["optional-dependencies"]
    for requirement in project["dependencies"] + extras["book"] + extras["test"]:
        name = re.match(r"[\w-]+", requirement)[0]
        assert name in locked or name == project["name"], name
    assert not lock.CUDA.findall(text) and "://" not in text and "+cpu" not in text
    assert "make lock" in text.splitlines()[1]


def test_the_server_serves_the_site_on_this_machine_alone(tmp_path, monkeypatch):
    (tmp_path / "index.html").write_text("the book")
    monkeypatch.setattr(serve, "SITE", tmp_path)
    with serve.server(0) as http:
        host, port = http.server_address
        threading.Thread(target=http.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=seconds(10)) as answer:
            assert answer.read() == b"the book"
            assert answer.headers["Cache-Control"] == "no-store"
        http.shutdown()
    assert host == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "watched"),
    [
        ("chapters/iou.ipynb", True),
        ("index.md", True),
        ("_build/html/index.html", False),
        (".venv/lib/a.py", False),
    ],
)
def test_the_server_watches_sources_and_not_what_a_build_writes(path, watched):
    assert serve.Sources()(Change.modified, str(ROOT / path)) is watched


def test_the_wheel_carries_what_notebooks_need_and_works_from_another_folder(tmp_path):
    # Built from a copy: setuptools packs whatever an earlier build left behind in the tree.
    source = tmp_path / "source"
    for name in ("src", "chapters/recorded", "chapters/checkpoints"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    run([*build, "-w", tmp_path, source])
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    folders = ("src/derived", "chapters/recorded", "chapters/checkpoints")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.*") if path.is_file()]
    parts = [path.relative_to(ROOT).parts for path in files if path.suffix != ".pyc"]
    carried = {"/".join(part[1:] if part[0] == "src" else ("derived", *part[1:])) for part in parts}
    assert carried == {name for name in names if name.startswith("derived/")}
    assert {name.partition("/")[0].partition("-")[0] for name in names - carried} == {
        "deep_learning_derived"
    }
    zipfile.ZipFile(wheel).extractall(tmp_path / "unpacked")
    # A chapter's cells up to its first drawing, from a folder that has nothing of the book: they
    # ask an exercise and show an interactive figure. Then what else reads files.
    notebook = json.loads((ROOT / "chapters/iou.ipynb").read_text(encoding="utf8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    first = next(i for i, cell in enumerate(cells) if "figures.subplots" in cell)
    assert "check(" in "".join(cells[:first]) and "explorables" in "".join(cells[:first])
    cells = [
        "import derived; assert 'unpacked' in derived.__file__, derived.__file__",
        *cells[:first],
        "from derived import gpu; print(gpu.load('iou_peers')['versions'].keys())",
        "from derived.unet import load_checkpoint; print(load_checkpoint('diffusion')[1]['command'])",
    ]
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join(cells), encoding="utf8")
    env = os.environ | {"PYTHONPATH": str(tmp_path / "unpacked"), "HOME": str(tmp_path)}
    said = run([sys.executable, script], cwd=tmp_path, env=env).stdout
    assert "iou-1: not attempted yet" in said
    assert "make checkpoints CHAPTERS=diffusion" in said


def test_jupyterlab_accepts_the_extension_that_renders_directives():
    command = [sys.executable, "-m", "jupyter", "labextension", "list"]
    done = run(command)
    listed = done.stdout + done.stderr
    assert "jupyterlab-myst" in listed and "not compatible" not in listed
