"""The optional GPU cell: a chapter's experiment at the size where it matters.

On a CUDA machine `run` runs it. Elsewhere it shows the run that `python -m bookkit.notebooks.gpu` recorded on
such a machine, and says so; without a recording it says what it would do.
"""

import html
import inspect
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Real
from pathlib import Path

import torch
from torch import Tensor

from derived._display import display

__all__ = ["Session", "load", "measure", "recording", "run"]

Value = str | int | float
Row = dict[str, Value]

_RECORDED = {"summary": str, "device": str, "torch": str, "cuda": str | None, "date": str}
_RECORDED |= {"seconds": int | float, "rows": list}

_LEAST_TIME = 0.5  # seconds for which `measure` repeats a step


@dataclass
class Session:
    """What `recording` makes `run` do, and the runs that it made."""

    device: torch.device
    scale: float | None = None  # None: the whole experiment, which alone may be recorded
    runs: dict[str, dict] = field(default_factory=dict)


_session: Session | None = None


def run(chapter: str, experiment: Callable[..., Iterable[Row]], *, summary: str) -> None:
    """Run a chapter's experiment on a CUDA device and show its table, or show the recorded run.

    Args:
        chapter: the chapter's name, under which the run is recorded.
        experiment: `experiment(device)` returns or yields the table's rows, dicts with the same
            keys. With a second parameter `scale` it can be tried small: 0.01 means about 1 % of
            the work.
        summary: what is run, in a few words with its size.

    The environment variable `DERIVED_GPU=recorded` shows the recording on a CUDA machine too.
    """
    if _session:
        _session.runs[chapter] = _measure(experiment, summary, _session.device, _session.scale)
    elif torch.cuda.is_available() and os.environ.get("DERIVED_GPU") != "recorded":
        _show(_measure(experiment, summary, torch.device("cuda"), None), "Run just now on")
    elif (recorded := load(chapter)) is not None:
        _show(
            _checked(chapter, recorded), "No CUDA device is used here: this is the run recorded on"
        )
    else:
        promise = "No run has been recorded yet. With a CUDA device this cell runs the experiment: "
        promise += f"{summary}."
        page = f'<div class="derived-run"><p>{html.escape(promise)}</p></div>'
        display({"text/plain": promise, "text/html": page})


@contextmanager
def recording(device: torch.device, scale: float | None = None) -> Iterator[Session]:
    """Within this context `run` runs on `device` and keeps the results instead of showing them."""
    global _session
    _session = Session(device, scale)
    try:
        yield _session
    finally:
        _session = None


def load(name: str) -> dict | None:
    """Return what is recorded under a name, or None: `chapters/recorded/<name>.json`.

    The installed package carries these files along; in the repository they stand beside the text.

    Raises:
        ValueError: names the file if it is not a JSON object.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "recorded", package.parents[1] / "chapters" / "recorded"):
        if (path := folder / f"{name}.json").is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            if not isinstance(found, dict):
                what = type(found).__name__
                raise ValueError(f"{path}: expected an object, got {what}")
            return found
    return None


def _checked(chapter: str, found: dict) -> dict:
    """Refuse a recorded run that cannot be shown."""
    for key, kind in _RECORDED.items():
        if key not in found or isinstance(found[key], bool) or not isinstance(found[key], kind):
            name = getattr(kind, "__name__", kind)
            raise ValueError(
                f"recorded/{chapter}.json: expected {key} ({name}), got {found.get(key)!r}"
            )
    rows = found["rows"]
    if (
        not rows
        or not all(isinstance(row, dict) and [*row] == [*rows[0]] for row in rows)
        or not all(isinstance(value, Value) for row in rows for value in row.values())
    ):
        raise ValueError(
            f"recorded/{chapter}.json: expected rows of texts and numbers with the same keys, "
            f"got {rows!r}"
        )
    return found


def measure(
    function: Callable[..., Tensor], *inputs: Tensor, count: Real, unit: str, **options
) -> Row:
    """Return a function's name, speed and memory on top of its inputs, forward and in training.

    Args:
        function: `function(*inputs, **options)` returns a tensor.
        inputs: floating-point tensors, with respect to which training differentiates.
        count: how many units one call processes, such as tokens or thousands of them.
        unit: their name, for the keys of the row.

    The speed is that of the median of as many calls as fit into half a second. Peaks of memory are
    in MB (10⁶ bytes), outputs and gradients included; on a CPU, where nothing counts them, 0.
    """
    # Imported here, because it warns on stderr where there is a CUDA toolkit and no GPU.
    from torch.utils.benchmark import Timer

    leaves = [each.detach().requires_grad_() for each in inputs]

    def forward() -> None:
        with torch.no_grad():
            function(*inputs, **options)

    def training() -> None:
        torch.autograd.grad(function(*leaves, **options).sum(), leaves)

    row: Row = {"function": function.__name__}
    for name, step in {"forward": forward, "training": training}.items():
        timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
        seconds = timer.blocked_autorange(min_run_time=_LEAST_TIME).median
        row[f"{name}: {unit}/s"] = count / seconds
        row[f"{name}: peak MB"] = _peak(step, inputs[0].device) / 1e6
    return row


def _peak(step: Callable[[], None], device: torch.device) -> int:
    """Return the bytes that a step holds at most, beyond what was held before."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _measure(
    experiment: Callable[..., Iterable[Row]],
    summary: str,
    device: torch.device,
    scale: float | None,
) -> dict:
    if scale is None:
        arguments = {}
    elif "scale" in inspect.signature(experiment).parameters:
        arguments = {"scale": scale}
    else:
        raise ValueError("experiment: expected a parameter `scale`, without which no small run")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    print(f"Running on {name}: {summary}")
    rows, start = [], time.perf_counter()
    for row in experiment(device, **arguments):
        rows.append({key: _plain_value(value) for key, value in row.items()})
        print(f"{time.perf_counter() - start:8.1f} s  {_line(rows[-1])}", flush=True)
    if not rows or any(list(row) != list(rows[0]) for row in rows):
        raise ValueError(f"experiment: expected rows with the same keys, got {rows!r}")
    return {
        "summary": summary,
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.perf_counter() - start, 2),
        "rows": rows,
    }


def _plain_value(value) -> Value:
    """Return a number of NumPy's or PyTorch's as Python's, which JSON can hold."""
    return value.item() if hasattr(value, "item") else value


def _line(row: Row) -> str:
    return ", ".join(f"{key} {_text(value)}" for key, value in row.items())


def _show(result: dict, how: str) -> None:
    made = f"{how} {result['device']} ({result['date']}, torch {result['torch']}"
    made += f", CUDA {result['cuda']})." if result["cuda"] else ")."
    size = f"{result['summary']}, in {result['seconds']:.3g} s."
    head, *body = [list(result["rows"][0]), *(list(row.values()) for row in result["rows"])]
    display(
        {"text/plain": _plain(made, size, head, body), "text/html": _html(made, size, head, body)}
    )


def _plain(made: str, size: str, head: list[str], body: list[list]) -> str:
    table = [head, *([_text(value) for value in row] for row in body)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
    return "\n".join([made, size, "", *lines])


def _html(made: str, size: str, head: list[str], body: list[list]) -> str:
    def cells(tag: str, row: list) -> str:
        return "".join(f"<{tag}>{html.escape(_text(value))}</{tag}>" for value in row)

    columns = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    rows = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in body)
    return (
        f'<div class="derived-run"><p>{html.escape(made)}<br>{html.escape(size)}</p>\n'
        '<div role="region" aria-label="Table of the run" tabindex="0">'  # scrolls if it must
        f'<table class="table">\n<thead><tr>{columns}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div></div>"
    )


def _text(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
