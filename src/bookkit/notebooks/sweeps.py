"""Compute anew what a chapter's notebook only looks up, and record it.

Runs the notebook's cells with every call of a `derived.recordings.recorded` function computed, and
stores the results in `chapters/recorded/`; `make notebooks` then puts them on the page. Nothing is
stored unless the whole notebook ran.
"""

import argparse
import ast
import json
import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from bookkit.notebooks.run import CHAPTERS, execute, explain, find, read
from bookkit.stored.commit import commit
from derived import recordings

__all__ = ["main", "problems", "record", "uses"]

LIMIT = 4 * 3600.0  # seconds for one cell


def record(notebook: Path, names: list[str] | None = None) -> dict[str, dict]:
    """Run a notebook and return what it records, by name; with `names`, only those anew.

    Raises:
        CellExecutionError, CellTimeoutError, DeadKernelError: as nbclient does.
    """
    made = {
        "command": f"python -m bookkit.notebooks.sweeps {notebook.stem}",
        "commit": commit(Path.cwd()),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{_processor()}, 1 thread",
        "torch": torch.__version__,
    }
    content = read(notebook)
    with TemporaryDirectory() as folder:
        settings = {recordings.FOLDER: folder, recordings.NAMES: ",".join(names or [])}
        try:
            execute(content, notebook.parent, timeout=LIMIT, environment=settings)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            why = explain(content, error)
            raise SystemExit(f"{notebook.stem}: failed, nothing stored\n{why}") from None
        paths = sorted(Path(folder).glob("*.json"))
        return {path.stem: made | json.loads(path.read_text("utf-8")) for path in paths}


def _processor() -> str:
    """Return the processor's name, or at least its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _text(content: dict) -> str:
    """Return a record as JSON: sorted keys, and a line for each result."""
    head = {key: value for key, value in content.items() if key != "results"}
    lines = json.dumps(head, indent=1, sort_keys=True, ensure_ascii=False).removesuffix("\n}")
    results = [
        json.dumps(entry, sort_keys=True, ensure_ascii=False) for entry in content["results"]
    ]
    return f'{lines},\n "results": [\n  ' + ",\n  ".join(sorted(results)) + "\n ]\n}\n"


def uses(notebook: Path) -> Iterator[tuple[str, str, int]]:
    """Yield the recorded functions of a notebook: the record's name, the function's, its code cell.

    Reads the source; nothing is run.
    """
    for index, source in enumerate(_sources(notebook)):
        for node in ast.walk(ast.parse(source)):
            for call in getattr(node, "decorator_list", []):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("recorded"):
                    yield ast.literal_eval(call.args[0]), node.name, index


def problems(notebook: Path) -> list[str]:
    """Return what is wrong between a notebook and its records, a sentence each.

    Each record is of the code that the notebook holds, at each place that calls the function; it
    holds the spot; and no record of the chapter is unused.
    """
    return list(_problems(notebook))


def _problems(notebook: Path) -> Iterator[str]:
    chapter, sources, used = notebook.stem, _sources(notebook), set()
    for name, function, first in uses(notebook):
        used.add(name)
        if not name.startswith(f"{chapter}_"):
            yield f"{function}: the record {name} is not named after the chapter"
        if (content := recordings.load(name)) is None:
            yield f"{function}: recorded/{name}.json is missing: make sweeps CHAPTERS={chapter}"
            continue
        calls = [i for i in range(first, len(sources)) if _calls(sources[i], function)]
        if not calls:
            yield f"{function}: no cell calls it"
        for index in calls:
            if recordings.digest(tuple(sources[: index + 1]), function) != content["source"]:
                yield f"{function}: its code changed since it was recorded: make sweeps CHAPTERS={chapter}"
                break
        if content["spot"] not in [entry["arguments"] for entry in content["results"]]:
            yield f"{function}: its spot {content['spot']} is not recorded"
    for path in sorted((notebook.parent / "recorded").glob(f"{chapter}_*.json")):
        content = json.loads(path.read_text("utf-8"))
        if "source" in content and path.stem not in used:
            yield f"recorded/{path.name} is used by no cell"


def _sources(notebook: Path) -> list[str]:
    return [cell.source for cell in read(notebook).cells if cell.cell_type == "code"]


def _calls(source: str, function: str) -> bool:
    """Say whether a cell calls the function, by its name or through another name for it."""
    nodes = ast.walk(ast.parse(source))
    return any(
        isinstance(n, ast.Name) and n.id == function and isinstance(n.ctx, ast.Load) for n in nodes
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line `python -m bookkit.notebooks.sweeps` and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bookkit.notebooks.sweeps", description=__doc__)
    parser.add_argument("chapter", nargs="*", help="names of chapters; all without any")
    parser.add_argument("--chapters", type=Path, default=CHAPTERS, help="the notebooks' folder")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these records")
    options = parser.parse_args(arguments)
    for notebook in find(options.chapter, options.chapters):
        if not any(uses(notebook)):
            print(f"{notebook.stem}: nothing to record")
            continue
        start = time.perf_counter()
        for name, content in record(notebook, options.only).items():
            path = options.chapters / "recorded" / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(_text(content), encoding="utf-8")
            count, seconds = len(content["results"]), content["CPU seconds"]
            print(f"{path}: {count} results in {seconds:.0f} CPU-s")
        minutes = (time.perf_counter() - start) / 60
        print(
            f"{notebook.stem}: {minutes:.1f} minutes; `make notebooks CHAPTERS={notebook.stem}` puts the results on the page"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
