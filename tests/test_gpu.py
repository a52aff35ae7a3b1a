"""The GPU cell: run, recorded, shown, and never recorded without having run."""

import json
import sys

import pytest
import torch
from nbformat import v4, write
from support import ROOT, run

from bookkit.notebooks import gpu as recorder
from derived import gpu, initialization, iou, unet

CHAPTERS = [
    pytest.param(path, id=path.stem, marks=pytest.mark.chapter(path.stem))
    for path in sorted((ROOT / "chapters").glob("*.ipynb"))
]

CELL = """from derived import gpu

def experiment(device, scale=1.0):
    import torch
    for loss in ("iou", "giou"):
        cases = torch.ones(round(1000 * scale), device=device)
        yield {"loss": loss, "cases": len(cases), "mean IoU": cases.mean() / 3}

gpu.run("tiny", experiment, summary="1,000 cases × 2 losses")"""

RECORDED = {
    "summary": "1,000 cases × 2 losses",
    "device": "NVIDIA <H200>",
    "torch": "2.13.0",
    "cuda": "13.0",
    "date": "2026-01-05",
    "seconds": 12.345,
    "rows": [{"loss": "iou", "mean IoU": 1 / 3}, {"loss": "giou", "mean IoU": 0.5}],
}


@pytest.fixture
def chapters(tmp_path):
    cells = [v4.new_code_cell("1"), v4.new_code_cell(CELL, metadata={"tags": ["gpu"]})]
    write(v4.new_notebook(cells=cells), tmp_path / "tiny.ipynb")
    write(v4.new_notebook(cells=cells[:1]), tmp_path / "without.ipynb")
    return tmp_path


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(gpu, "display", outputs.append)
    return outputs


def cuda(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)


def refuse(device):
    raise AssertionError("the experiment must not run")


@pytest.mark.parametrize("there", [True, False])
def test_the_recorded_run_is_shown(monkeypatch, shown, there):
    cuda(monkeypatch, there)
    monkeypatch.setenv("DERIVED_GPU", "recorded")
    monkeypatch.setattr(gpu, "load", {"tiny": RECORDED}.get)
    gpu.run("tiny", refuse, summary="something else")
    (output,) = shown
    where, *rest = output["text/plain"].splitlines()
    assert where.startswith(
        "No CUDA device is used here: this is the run recorded on NVIDIA <H200>"
    )
    assert where.endswith("(2026-01-05, torch 2.13.0, CUDA 13.0).")
    assert rest == [
        "1,000 cases × 2 losses, in 12.3 s.",
        "",
        "loss  mean IoU",
        "iou   0.3333",
        "giou  0.5",
    ]
    assert "<tr><td>iou</td><td>0.3333</td></tr>" in output["text/html"]
    assert "NVIDIA &lt;H200&gt;" in output["text/html"]


def test_without_device_and_recording_the_cell_says_what_it_would_do(monkeypatch, shown):
    cuda(monkeypatch, False)
    gpu.run("tiny", refuse, summary="1,000 cases")
    (output,) = shown
    assert output["text/plain"] == (
        "No run has been recorded yet. "
        "With a CUDA device this cell runs the experiment: 1,000 cases."
    )


def test_load_reads_the_repositorys_recordings_and_the_packages(monkeypatch, tmp_path):
    package = tmp_path / "src" / "derived"
    for folder in (tmp_path / "chapters" / "recorded", package / "recorded"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(gpu, "__file__", str(package / "gpu.py"))
    assert gpu.load("tiny") is None
    (tmp_path / "chapters" / "recorded" / "tiny.json").write_text('{"from": "repository"}')
    assert gpu.load("tiny") == {"from": "repository"}
    (package / "recorded" / "tiny.json").write_text('{"from": "package"}')
    assert gpu.load("tiny") == {"from": "package"}


def test_measure_runs_a_function_without_and_with_gradients():
    calls = []

    def scaled(x, *, factor):
        calls.append((x.requires_grad and torch.is_grad_enabled(), factor))
        return (factor * x).square()

    row = gpu.measure(scaled, torch.ones(8), count=8, unit="numbers", factor=3)
    keys = (
        f"{step}: {what}" for step in ("forward", "training") for what in ("numbers/s", "peak MB")
    )
    assert [*row] == ["function", *keys]
    assert row["function"] == "scaled"
    assert set(calls) == {(False, 3), (True, 3)}
    assert row["forward: numbers/s"] > 0 and row["training: numbers/s"] > 0
    assert row["forward: peak MB"] == row["training: peak MB"] == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_measure_counts_what_a_step_holds():
    held = torch.ones(1000, 1000, device="cuda")
    row = gpu.measure(lambda x: x * 2, held, count=1, unit="call")
    assert 4.0 <= row["forward: peak MB"] <= 4.5  # the result alone
    assert row["training: peak MB"] >= 8.0  # the result and the gradient


def test_a_dry_run_is_small_and_records_nothing(chapters, capsys):
    arguments = ["tiny", "--dry-run", "--scale", "0.01", "--chapters", str(chapters)]
    assert recorder.main(arguments) == 0
    said = capsys.readouterr().out
    assert "Running on CPU: 1,000 cases × 2 losses" in said
    assert "loss giou, cases 10, mean IoU 0.3333" in said
    assert not (chapters / "recorded").exists()


def test_nothing_is_recorded_without_cuda(monkeypatch, chapters, capsys):
    cuda(monkeypatch, False)
    assert recorder.main(["--chapters", str(chapters)]) == 1
    assert "nothing can be recorded" in capsys.readouterr().err
    assert not (chapters / "recorded").exists()


def test_what_is_recorded_is_what_ran(chapters):
    result = recorder.record(chapters / "tiny.ipynb", torch.device("cpu"))
    rows = [
        {"loss": loss, "cases": 1000, "mean IoU": pytest.approx(1 / 3)} for loss in ("iou", "giou")
    ]
    assert result["rows"] == rows
    assert result["device"] == "CPU"
    assert result["torch"] == torch.__version__
    assert result["cell"] == recorder.digest(CELL)
    assert json.loads(json.dumps(result)) == result
    assert recorder.record(chapters / "without.ipynb", torch.device("cpu")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_run_is_recorded(chapters):
    assert recorder.main(["--chapters", str(chapters)]) == 0
    result = json.loads((chapters / "recorded" / "tiny.json").read_text(encoding="utf-8"))
    assert result["device"] == torch.cuda.get_device_name()
    assert result["rows"][0]["cases"] == 1000


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (CELL.replace('"tiny"', '"other"'), r"expected the GPU cell to call gpu.run\('tiny'"),
        ("1", "got runs of"),
        (CELL.replace(", scale=1.0", "").replace("* scale", ""), "expected a parameter `scale`"),
        (CELL.replace("yield {", "if False: yield {"), "expected rows with the same keys"),
        (CELL.replace('"loss": loss', "loss: loss"), "expected rows with the same keys"),
    ],
)
def test_a_cell_that_breaks_the_rules_is_refused(chapters, source, message):
    cell = v4.new_code_cell(source, metadata={"tags": ["gpu"]})
    write(v4.new_notebook(cells=[cell]), chapters / "tiny.ipynb")
    with pytest.raises(ValueError, match=message):
        recorder.record(chapters / "tiny.ipynb", torch.device("cpu"), 0.01)


def test_two_gpu_cells_are_refused(chapters):
    cells = [v4.new_code_cell(CELL, metadata={"tags": ["gpu"]}) for _ in range(2)]
    write(v4.new_notebook(cells=cells), chapters / "tiny.ipynb")
    with pytest.raises(ValueError, match="expected one cell tagged gpu, got 2"):
        recorder.find_cell(chapters / "tiny.ipynb")


def test_a_bare_machine_is_enough(chapters):
    """Run the recorder where importing anything of Jupyter, Sphinx or pytest fails."""
    code = """
import sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        absent = ("IPython", "ipykernel", "nbformat", "nbclient", "sphinx", "pytest", "anywidget")
        if name.partition(".")[0] in (*absent, "mlxtend", "sklearn", "myst_nb", "beartype", "accelerate"):
            raise ImportError(f"{name} is not on a bare machine")
sys.meta_path.insert(0, Bare())
from bookkit.notebooks import gpu
sys.exit(gpu.main(["tiny", "--dry-run", "--scale", "0.01", "--chapters", "."]))
"""
    command = [sys.executable, "-c", code]
    assert "mean IoU 0.3333" in run(command, cwd=chapters).stdout


WIDTH_SWEEP = initialization.width_sweep


def one_step(start, goal, slope):
    """Stand for `iou.regression_descent`, of whose 200 steps one tries a rule."""
    return start - 0.1 * slope(start, goal), None


def narrow_sweep(data, widths, rates, *, steps):
    """Stand for `initialization.width_sweep`, at widths and for steps that a CPU can take."""
    widths = [width // 64 for width in widths]
    return WIDTH_SWEEP(data, widths, rates, steps=max(1, steps), batch_size=16)


@pytest.mark.parametrize("notebook", CHAPTERS)
def test_the_chapters_cell_runs_small(notebook, monkeypatch):
    """On the CPU, at a twenty thousandth of its size; neither times nor distances need be exact."""
    monkeypatch.setattr(gpu, "_LEAST_TIME", 0.01)
    # What no scale reaches.
    monkeypatch.setattr(unet, "_HELD_OUT", 4)
    monkeypatch.setattr(iou, "regression_descent", one_step)
    monkeypatch.setattr(initialization, "width_sweep", narrow_sweep)
    result = recorder.record(notebook, torch.device("cpu"), 0.00005)
    assert result is None or result["rows"]
