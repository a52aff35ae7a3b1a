"""Nothing that runs code from data: no pickle, no eval, no shell, in Python, notebooks and scripts."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for part in ("src", "benchmarks", "tests") for path in (ROOT / part).rglob("*.py")
)
SOURCES = [path for path in SOURCES if "node_modules" not in path.parts]
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
SCRIPTS = sorted(path for path in (ROOT / "src").rglob("*") if path.suffix in {".js", ".cjs"})

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
# What runs code, or loads objects that do.
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "builtins.eval"}
CALLS |= {"torch.load", "torch.hub.load", "pandas.read_pickle", "pd.read_pickle", "yaml.load"}
CALLS |= {"yaml.unsafe_load", "np.fromfile", "torch.package.PackageImporter"}
ARGUMENTS = {"allow_pickle", "shell"}
# Each place with its reason.
JUSTIFIED = {
    ("src/bookkit/mutants/changes.py", "compile"): "compiles a chapter with one place changed",
    ("tests/test_exercises.py", "exec"): "runs the book's own printed solutions",
    ("tests/test_recordings.py", "compile"): "compiles the test's own cells",
    ("tests/test_recordings.py", "exec"): "runs the test's own cells, as a kernel would",
    (
        "tests/chapters/diffusion/test_diffusion.py",
        "pickle",
    ): "sees that a schedule can be pickled, and reads no other pickle",
    (
        "tests/test_rooms.py",
        "pickle",
    ): "sees that helpers can be pickled, and reads no other pickle",
}
IN_SCRIPTS = re.compile(
    r"\beval\(|\bnew Function\b|\binnerHTML\b|\bouterHTML\s*=|\bdocument\.write|"
    r"\binsertAdjacentHTML\b|set(?:Timeout|Interval)\(\s*[\"'`]"
)


def unsafe(source: str) -> list[str]:
    """Return what in a Python source could run code that comes as data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [n.name for n in names if n.name.partition(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in MODULES:
                found.append(module)
            case ast.Call(func=function, keywords=keywords):
                name = ast.unparse(function)
                found += [name] if name in CALLS else []
                found += [
                    k.arg
                    for k in keywords
                    if k.arg in ARGUMENTS
                    and not (isinstance(k.value, ast.Constant) and k.value.value is False)
                ]
    return found


def code(path: Path) -> str:
    """Return a notebook's Python: its cells and the solutions printed in its text."""
    parts = []
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            parts.append(cell.source)
        else:
            parts += re.findall(r"^```python\n(.*?)^```", cell.source, re.MULTILINE | re.DOTALL)
    return "\n".join(parts)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from pickle import loads", ["pickle"]),
        ("import torch\ntorch.load('weights.pt')", ["torch.load"]),
        ("eval('1 + 1')", ["eval"]),
        ("exec(text)", ["exec"]),
        ("np.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("subprocess.run(line, shell=flag)", ["shell"]),
        ("np.load(path, allow_pickle=False)", []),
        ("network.eval()\nimport json\nre.compile('a')", []),
    ],
)
def test_what_is_unsafe_is_seen(source, found):
    assert unsafe(source) == found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_runs_nothing_that_comes_as_data(path):
    name = path.relative_to(ROOT).as_posix()
    assert [what for what in unsafe(path.read_text("utf-8")) if (name, what) not in JUSTIFIED] == []


@pytest.mark.parametrize(("name", "what"), JUSTIFIED)
def test_what_is_justified_is_there(name, what):
    assert what in unsafe((ROOT / name).read_text("utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_nothing_that_comes_as_data(path):
    assert unsafe(code(path)) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_scripts_build_no_code_from_text(path):
    assert IN_SCRIPTS.findall(path.read_text("utf-8")) == []
