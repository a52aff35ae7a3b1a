"""Run the chapters' notebooks from a fresh kernel and store them in one normal form.

What a notebook's file holds depends on its source alone: no widget state, no timing, no trace of
the editor, so that running it twice gives the same bytes and a changed output is a real change.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

__all__ = ["ENVIRONMENT", "execute", "explain", "find", "main", "normalize", "read", "write"]

CHAPTERS = Path("chapters")

# One thread, because numbers depend on how many share a sum; the recorded GPU run, because not
# every machine has a GPU. The comparison with stored outputs runs under the same settings.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MKL_NUM_THREADS": "1",
    "DERIVED_GPU": "recorded",
    "DERIVED_PROGRESS": "0",
}

_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_NOTEBOOK_KEYS = ("derived", "mystnb")
_CELL_KEYS = ("derived", "jupyter", "mystnb", "tags")
_WIDGET = "application/vnd.jupyter.widget-view+json"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def read(path: Path) -> NotebookNode:
    """Read a notebook in format 4.5, without the random ids that nbformat gives to cells."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook.update(nbformat=4, nbformat_minor=5)
    taken = {cell.get("id") for cell in notebook["cells"]}
    seen = {None}
    for number, cell in enumerate(notebook["cells"], 1):
        if cell.get("id") in seen:
            cell["id"] = _fresh_id(f"{path.stem}-{number:02d}", taken)
        seen.add(cell["id"])
    return nbformat.reads(json.dumps(notebook), as_version=4)


def _fresh_id(wish: str, taken: set[str]) -> str:
    return wish if wish not in taken else _fresh_id(f"{wish}-again", taken)


def execute(
    notebook: NotebookNode,
    folder: Path,
    timeout: float = 1800.0,
    environment: dict[str, str] | None = None,
) -> None:
    """Run all cells in a fresh kernel in `folder`, in place, with more of an environment if given.

    Raises:
        CellExecutionError, CellTimeoutError, DeadKernelError: as nbclient does.
    """
    client = NotebookClient(
        notebook,
        kernel_name=_KERNEL["name"],
        resources={"metadata": {"path": str(folder)}},
        timeout=timeout,
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],  # no word on how the kernel is connected
        coalesce_streams=True,  # how a stream is cut into messages is chance
    )
    client.execute(env=os.environ | ENVIRONMENT | (environment or {}))


def normalize(notebook: NotebookNode) -> None:
    """Remove everything that the source does not determine, in place."""
    kept = {key: notebook.metadata[key] for key in _NOTEBOOK_KEYS if key in notebook.metadata}
    notebook.metadata = nbformat.from_dict(
        {**kept, "kernelspec": _KERNEL, "language_info": {"name": "python"}}
    )
    count = 0
    for cell in notebook.cells:
        cell.metadata = NotebookNode(
            {key: cell.metadata[key] for key in _CELL_KEYS if key in cell.metadata}
        )
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_widget_only(output)]
            if cell.execution_count is not None:
                count += 1
                cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count


def _is_widget_only(output: NotebookNode) -> bool:
    """Drop a widget's view, which no other page can show; say whether the output is empty now."""
    data = output.get("data", {})
    return data.pop(_WIDGET, None) is not None and not data


def write(notebook: NotebookNode, path: Path) -> bool:
    """Write a notebook if that changes its file, at once or not at all; say whether it did."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    draft = path.with_suffix(".ipynb.tmp")
    draft.write_text(text, encoding="utf-8", newline="\n")
    draft.replace(path)
    return True


def _run(path: Path) -> tuple[str, bool]:
    """Run, normalize and write one notebook; return what to say of it and whether it went well."""
    notebook = read(path)
    start, before = time.perf_counter(), os.times()
    try:
        execute(notebook, path.parent)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return f"{path.stem}: failed, file unchanged\n{explain(notebook, error)}", False
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    normalize(notebook)
    news = "written" if write(notebook, path) else "unchanged"
    return f"{path.stem}: {cpu:.1f} s of processor time in {wall:.1f} s, {news}", True


def explain(notebook: NotebookNode, error: Exception) -> str:
    """Return the source of the cell that failed and its error."""
    ran = [cell for cell in notebook.cells if cell.get("execution_count") or cell.get("outputs")]
    if not isinstance(error, CellExecutionError) or not ran:
        return str(error)
    failed = next(cell for cell in ran if _has_error(cell))
    number = notebook.cells.index(failed) + 1
    source = "\n".join(f"    {line}" for line in failed.source.splitlines())
    trace = _ANSI.sub("", error.traceback)
    return f"cell {number} of {len(notebook.cells)} ({failed.id}):\n{source}\n\n{trace}"


def _has_error(cell: NotebookNode) -> bool:
    return any(output.output_type == "error" for output in cell.outputs)


def find(names: list[str], folder: Path) -> Iterator[Path]:
    """Yield the notebooks of chapters by their names; of all without any."""
    known = sorted(path.stem for path in folder.glob("*.ipynb"))
    for name in names or known:
        if name not in known:
            raise SystemExit(f"no chapter {name!r} in {folder}; there are: {', '.join(known)}")
        yield folder / f"{name}.ipynb"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line `python -m bookkit.notebooks.run` and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bookkit.notebooks.run", description=__doc__)
    parser.add_argument("chapter", nargs="*", help="names of chapters; all without any")
    parser.add_argument("--chapters", type=Path, default=CHAPTERS, help="the notebooks' folder")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time")
    options = parser.parse_args(arguments)
    paths = list(find(options.chapter, options.chapters))
    # A process each: its children's processor time is then one notebook's.
    pool = ProcessPoolExecutor(options.jobs, get_context("spawn"), max_tasks_per_child=1)
    good = True
    with pool:
        for done in as_completed([pool.submit(_run, path) for path in paths]):
            message, went_well = done.result()
            good &= went_well
            print(message, file=sys.stdout if went_well else sys.stderr, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
