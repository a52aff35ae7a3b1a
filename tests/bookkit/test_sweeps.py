"""What notebooks only look up is recorded by one command, and is of the code that they hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import v4, write

from bookkit.notebooks import sweeps
from derived import recordings

CHAPTERS = sorted((Path(__file__).parents[2] / "chapters").glob("*.ipynb"))

CELLS = [
    "from derived.recordings import recorded\n\nFACTOR = 2",
    """@recorded("tiny_double", {"n": 1}, rel=0.01, reason="an example")
def double(n, text="é"):
    return {"n": FACTOR * n, text: [0.5]}""",
    """@recorded("tiny_half", {"n": 1}, rel=0.01, reason="an example")
def half(n):
    return n / 2""",
    "print(double(3), [half(n) for n in (2, 1)])",
]


def save(folder, *cells):
    write(v4.new_notebook(cells=[*map(v4.new_code_cell, cells)]), folder / "tiny.ipynb")
    return folder / "tiny.ipynb"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder in which a notebook's sweeps were made."""
    folder = tmp_path_factory.mktemp("chapters")
    save(folder, *CELLS)
    assert sweeps.main(["tiny", "--chapters", str(folder)]) == 0
    return folder


def test_a_record_says_where_it_comes_from(swept):
    text = (swept / "recorded/tiny_double.json").read_text("utf-8")
    content = json.loads(text)
    results = content.pop("results")
    assert content.keys() == {
        *("CPU seconds", "command", "commit", "date", "function", "machine", "source", "spot"),
        "torch",
    }
    assert content["command"] == "python -m bookkit.notebooks.sweeps tiny"
    assert content["machine"].endswith(", 1 thread")
    assert results == [
        {"arguments": {"n": 1, "text": "é"}, "result": {"n": 2, "é": [0.5]}},
        {"arguments": {"n": 3, "text": "é"}, "result": {"n": 6, "é": [0.5]}},
    ]
    assert text.count("\n  {") == 2  # a line for each result
    assert "é" in text


def test_a_fresh_record_is_of_the_notebook(swept, monkeypatch):
    monkeypatch.setattr(sweeps.recordings, "load", loader(swept))
    assert sweeps.problems(swept / "tiny.ipynb") == []


def loader(folder):
    def load(name):
        path = folder / "recorded" / f"{name}.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    return load


def test_what_does_not_fit_is_named(swept, tmp_path, monkeypatch):
    (tmp_path / "recorded").mkdir()
    for name in ("tiny_double", "tiny_old"):
        text = (swept / "recorded/tiny_double.json").read_text("utf-8")
        (tmp_path / f"recorded/{name}.json").write_text(text, "utf-8")
    (tmp_path / "recorded/tiny_peers.json").write_text('{"cases": []}', "utf-8")
    monkeypatch.setattr(sweeps.recordings, "load", loader(tmp_path))
    path = save(
        tmp_path,
        CELLS[0].replace("2", "3"),
        *CELLS[1:3],
        CELLS[2].replace("tiny_", "other_").replace("half", "third"),
        CELLS[3],
    )
    assert sweeps.problems(path) == [
        "double: its code changed since it was recorded: make sweeps CHAPTERS=tiny",
        "half: recorded/tiny_half.json is missing: make sweeps CHAPTERS=tiny",
        "third: the record other_third is not named after the chapter",
        "third: recorded/other_third.json is missing: make sweeps CHAPTERS=tiny",
        "recorded/tiny_old.json is used by no cell",
    ]
    content = json.loads((tmp_path / "recorded/tiny_double.json").read_text("utf-8"))
    content["results"].pop(0)
    (tmp_path / "recorded/tiny_double.json").write_text(json.dumps(content), "utf-8")
    (tmp_path / "recorded/tiny_old.json").unlink()
    assert sweeps.problems(save(tmp_path, *CELLS[:2])) == [
        "double: no cell calls it",
        "double: its spot {'n': 1, 'text': 'é'} is not recorded",
    ]


def test_only_what_is_named_is_made_and_a_failure_stores_nothing(tmp_path, monkeypatch):
    path = save(tmp_path, *CELLS)
    seen = {}

    def execute(notebook, folder, timeout, environment):
        seen.update(environment)
        Path(environment[recordings.FOLDER], "tiny_half.json").write_text("{}", "utf-8")

    monkeypatch.setattr(sweeps, "execute", execute)
    assert list(sweeps.record(path, ["tiny_half"])) == ["tiny_half"]
    assert seen[recordings.NAMES] == "tiny_half"

    def fail(notebook, folder, timeout, environment):
        execute(notebook, folder, timeout, environment)
        raise sweeps.DeadKernelError("the kernel died")

    monkeypatch.setattr(sweeps, "execute", fail)
    with pytest.raises(SystemExit, match="tiny: failed, nothing stored\nthe kernel died"):
        sweeps.main(["tiny", "--chapters", str(tmp_path)])
    assert not (tmp_path / "recorded").exists()


def test_a_notebook_that_records_nothing_is_not_run(tmp_path, monkeypatch, capsys):
    save(tmp_path, "1 / 0")
    assert sweeps.main(["--chapters", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "tiny: nothing to record\n"


def test_the_comparison_of_outputs_checks_what_is_looked_up(tmp_path):
    """No record of this name is where the package looks, and the kernel knows the cells it ran."""
    path = save(tmp_path, *CELLS[:2], "assert 'double' in In[2]", "double(1)")
    command = [sys.executable, "-m", "pytest", "--nbval", "--color=no", "--rootdir", ".", path.name]
    command += ["-p", "bookkit.notebooks.compare", "-p", "no:cacheprovider", "--outputs-record="]
    clean = {name: value for name, value in os.environ.items() if name != recordings.CHECK}
    done = subprocess.run(
        command, cwd=tmp_path, env=clean, check=False, capture_output=True, text=True
    )
    assert "recorded/tiny_double.json is missing: make sweeps CHAPTERS=tiny" in done.stdout
    assert "1 failed, 3 passed" in done.stdout


@pytest.mark.parametrize(
    "notebook",
    [pytest.param(path, id=path.stem, marks=pytest.mark.chapter(path.stem)) for path in CHAPTERS],
)
def test_what_a_chapter_looks_up_is_of_its_code(notebook):
    assert sweeps.problems(notebook) == []
