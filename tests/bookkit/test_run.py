"""Notebooks run from a fresh kernel and are stored in one normal form."""

import json

import pytest
from nbformat import v4, write

from bookkit.notebooks import run as notebooks

FIGURE = """from derived import figures
fig, ax = figures.subplots(width=3.0)
ax.plot([0, 1], [0, 1])
ax.set(xlabel="time (s)", ylabel="distance (m)")
figures.show(fig, caption="A line.", alt="A straight line from the origin up to one at one second.")"""
WIDGET = """import ipywidgets
ipywidgets.IntSlider(value=3)"""
ENVIRONMENT = """import os, torch
print(torch.get_num_threads(), os.environ["DERIVED_GPU"], os.path.basename(os.getcwd()))"""


@pytest.fixture
def chapters(tmp_path):
    folder = tmp_path / "chapters"
    folder.mkdir()
    return folder


def save(folder, name, *sources, **metadata):
    cells = [v4.new_markdown_cell("# Title"), *map(v4.new_code_cell, sources)]
    write(v4.new_notebook(cells=cells, metadata=metadata), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def test_running_twice_gives_the_same_bytes(chapters, capfd):
    sources = FIGURE, WIDGET, ENVIRONMENT, "print('a', flush=True); print('b')"
    path = save(chapters, "tiny", *sources, widgets={"state": 1}, derived={"numbers": {}})
    assert notebooks.main(["tiny", "--chapters", str(chapters)]) == 0
    first = path.read_bytes()
    assert notebooks.main(["--chapters", str(chapters)]) == 0
    assert path.read_bytes() == first
    report = capfd.readouterr().out
    assert "s of processor time in" in report
    assert report.rstrip().endswith("unchanged")

    stored = json.loads(first)
    assert first.endswith(b"}\n")
    assert set(stored["metadata"]) == {"derived", "kernelspec", "language_info"}
    code = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [1, 2, 3, 4]
    assert all(cell["metadata"] == {} for cell in stored["cells"])
    figure, slider, environment, prints = (cell["outputs"] for cell in code)
    assert len(figure) == 1
    assert figure[0]["metadata"]["image/png"]["caption"] == "A line."
    assert figure[0]["data"]["text/plain"][0] == "panel 1; x: time (s); y: distance (m)\n"
    assert list(slider[0]["data"]) == ["text/plain"]
    assert environment[0]["text"] == ["1 recorded chapters\n"]
    assert [output["text"] for output in prints] == [["a\n", "b\n"]]


def test_a_failing_cell_is_shown_and_the_file_left(chapters, capfd):
    path = save(chapters, "broken", "x = 0", "print('before')\n1 / x")
    before = path.read_bytes()
    assert notebooks.main(["broken", "--chapters", str(chapters)]) == 1
    assert path.read_bytes() == before
    assert list(chapters.iterdir()) == [path]
    said = capfd.readouterr().err
    assert "cell 3 of 3" in said
    assert "    1 / x" in said
    assert "ZeroDivisionError: division by zero" in said
    assert "\x1b" not in said


def test_an_unknown_chapter_is_named(chapters):
    save(chapters, "tiny", "1")
    with pytest.raises(SystemExit, match="no chapter 'tinny'.*there are: tiny"):
        notebooks.main(["tinny", "--chapters", str(chapters)])


def test_cells_without_an_id_of_their_own_get_a_stable_one(tmp_path):
    path = save(tmp_path, "tiny", "1", "2", "3")
    stored = json.loads(path.read_text())
    stored["nbformat_minor"] = 4
    for cell, name in zip(stored["cells"], ["keep", None, "keep", "tiny-02"], strict=True):
        cell.pop("id")
        cell |= {"id": name} if name else {}
    path.write_text(json.dumps(stored))
    ids = [cell.id for cell in notebooks.read(path).cells]
    assert ids == ["keep", "tiny-02-again", "tiny-03", "tiny-02"]
    assert ids == [cell.id for cell in notebooks.read(path).cells]


def test_normalize_keeps_what_the_book_needs_and_nothing_else():
    output = v4.new_output("execute_result", {"text/plain": "1"}, execution_count=7)
    view = v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})
    metadata = {
        "tags": ["gpu"],
        "derived": {"tolerance": {}},
        "execution": {"iopub.status.busy": "now"},
    }
    cell = v4.new_code_cell("1", execution_count=7, outputs=[output, view], metadata=metadata)
    notebook = v4.new_notebook(cells=[cell], metadata={"vscode": {}, "derived": {"numbers": {}}})
    notebooks.normalize(notebook)
    assert cell.metadata == {"tags": ["gpu"], "derived": {"tolerance": {}}}
    assert (cell.execution_count, cell.outputs) == (1, [{**output, "execution_count": 1}])
    assert set(notebook.metadata) == {"derived", "kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
