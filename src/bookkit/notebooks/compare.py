"""A pytest plugin: nbval, with declared tolerances for numbers that differ between processors.

Trained numbers differ from one processor to the next. A cell that shows such numbers says so in
its metadata,

    "derived": {"tolerance": {"rel": 0.05, "abs": 0.02, "reason": "trained on this machine"}}

and then its numbers may lie within `abs + rel·|stored|` of the stored ones, while every word
around them must be the same. All other cells are compared as nbval does: to the letter. Beyond
nbval, no cell may write to stderr, and the captions and alternative texts of figures are compared.

The kernels run anywhere: in an empty folder, without a network, with nobody to answer a question.
What a notebook only looks up in a recording is spot-checked (`derived.recordings`).
With `--twice` each notebook runs a second time in the same kernel, and the outputs must be those
stored again: no cell may leave behind what changes an earlier one.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import xdist
from nbformat import NotebookNode
from nbval import plugin as nbval
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

from bookkit.notebooks.run import ENVIRONMENT
from bookkit.verified import record

__all__ = ["RECORD", "compare_outputs", "differences", "numbers", "tolerance_problems"]

RECORD = "_build/outputs.json"

_SHOWN = 5  # differing lines of an output that a failure shows
_TOLERANT_TYPES = ("stdout", "text/plain", "text/html")

# A number stands alone: digits in a word (`conv2`), a name (`iou-1`), a date or a version are text.
# The group is atomic, so that "1.5s" is not read as the number 1 and the word ".5s".
_NUMBER = re.compile(
    r"""(?<![\w.,/:]) (?<!\w[-–])
    (?> [-+−]? (?:\d{1,3}(?:,\d{3})+ | \d+) (?:\.\d*)? (?:e[-+]?\d+)? | [-+−]?(?:nan|inf) )
    (?! \w | [.,/:\-–]\d )""",
    re.IGNORECASE | re.VERBOSE,
)


def numbers(text: str) -> list[str]:
    """Return the numbers in a text, as they are written."""
    return _NUMBER.findall(text)


def value(number: str) -> float:
    """Return the value of a number as `numbers` gives it."""
    return float(number.replace(",", "").replace("−", "-"))


def tolerance_problems(tolerance: object) -> Iterator[str]:
    """Yield what is wrong with a cell's declared tolerance."""
    if not isinstance(tolerance, dict):
        yield f"tolerance: expected an object, got {tolerance!r}"
        return
    if unknown := sorted(tolerance.keys() - {"rel", "abs", "reason"}):
        yield f"tolerance: unknown keys {', '.join(unknown)}"
    sizes = [tolerance.get(key, 0) for key in ("rel", "abs")]
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int | float) or not 0 <= size < math.inf:
            yield f"tolerance: expected a finite number of at least 0, got {size!r}"
    if not any(sizes):
        yield "tolerance: neither rel nor abs is above 0"
    if not str(tolerance.get("reason", "")).strip():
        yield "tolerance: no reason is given"


def differences(stored: str, now: str, tolerance: dict | None = None) -> list[str]:
    """Return how a text differs from the stored one, a message for each line that does.

    With a tolerance, numbers may differ by `abs + rel·|stored|`, and runs of blanks count as one,
    because columns move when a number takes a digit more.
    """
    found = []
    pairs = zip_longest(stored.splitlines(), now.splitlines())
    for number, (old, new) in enumerate(pairs, 1):
        if why := _difference(old, new, tolerance):
            shown = [f"line {number}: {why}"]
            shown += [f"  stored: {old}"] if old is not None else []
            shown += [f"  now:    {new}"] if new is not None else []
            found.append("\n".join(shown))
    if not found and tolerance is None and stored != now:
        found.append("the line ends differ")
    return found


def _difference(old: str | None, new: str | None, tolerance: dict | None) -> str | None:
    if old == new:
        return None
    if old is None or new is None:
        return "missing now" if new is None else "not stored"
    if tolerance is None:
        return "differs, and the cell declares no tolerance"
    if _words(old) != _words(new):
        return "differs in more than its numbers"
    pairs = zip(numbers(old), numbers(new), strict=True)
    outside = [why for a, b in pairs if (why := _deviation(a, b, tolerance))]
    return "; ".join(outside) or None


def _words(line: str) -> str:
    """Return a line with a placeholder, which no output holds, for each number."""
    return " ".join(_NUMBER.sub("\0", line).split())


def _deviation(old: str, new: str, tolerance: dict) -> str | None:
    a, b = value(old), value(new)
    if a == b or (math.isnan(a) and math.isnan(b)):
        return None
    allowed = tolerance.get("abs", 0) + tolerance.get("rel", 0) * abs(a)
    if math.isfinite(a) and abs(a - b) <= allowed:
        return None
    return f"{old} → {new} deviates by {abs(a - b):.3g}, allowed {allowed:.3g}"


_nbval_compare = IPyNbCell.compare_outputs


def compare_outputs(
    cell: IPyNbCell,
    test: list[NotebookNode],
    ref: list[NotebookNode],
    skip_compare: Iterable[str] | None = None,
) -> bool:
    """Compare a cell's outputs now (`test`) with the stored ones (`ref`), as nbval's own method."""
    tolerance = cell.cell.metadata.get("derived", {}).get("tolerance")
    problems = [] if tolerance is None else list(tolerance_problems(tolerance))
    problems += _stderr(test)
    if not problems:
        test = deepcopy(test)
        problems += _compare_texts(test, ref, tolerance, cell.sanitize)
        problems += _compare_pictures(test, ref)
    if problems:
        cell.comparison_traceback = problems
        return False
    # Texts within tolerance are the stored ones now: nbval compares the rest, to the letter.
    return _nbval_compare(cell, test, ref, skip_compare)


def _compare_texts(
    test: list[NotebookNode],
    ref: list[NotebookNode],
    tolerance: dict | None,
    sanitize: Callable[[str], str],
) -> list[str]:
    problems = []
    for kind in _TOLERANT_TYPES:
        now, stored = list(_slots(test, kind)), list(_slots(ref, kind))
        if len(now) != len(stored):
            continue  # an output too many or too few is nbval's to report
        for (holder, key), (stored_holder, stored_key) in zip(now, stored, strict=True):
            old, new = stored_holder[stored_key], holder[key]
            if found := differences(sanitize(old), sanitize(new), tolerance):
                more = f"\n… and {len(found) - _SHOWN} lines more" if len(found) > _SHOWN else ""
                problems.append(f"{kind}: " + "\n".join(found[:_SHOWN]) + more)
            elif tolerance is not None:
                holder[key] = old
    return problems


def _slots(outputs: list[NotebookNode], kind: str) -> Iterator[tuple[NotebookNode, str]]:
    """Yield where the texts of one kind are held: the node, and its key."""
    for output in outputs:
        if output.output_type == "stream" and output.name == kind:
            yield output, "text"
        elif kind in output.get("data", {}):
            yield output.data, kind


def _stderr(outputs: list[NotebookNode]) -> list[str]:
    texts = [output.text for output in outputs if output.get("name") == "stderr"]
    return [f"the cell wrote to stderr:\n{text}" for text in texts]


def _compare_pictures(test: list[NotebookNode], ref: list[NotebookNode]) -> list[str]:
    """Compare what is said about pictures; nbval skips it with the rest of the metadata."""
    old, new = ([_picture(output) for output in outputs] for outputs in (ref, test))
    if [*filter(None, old)] == [*filter(None, new)]:
        return []
    return [f"the pictures or their captions or alternative texts differ\n  {old}\n  {new}"]


def _picture(output: NotebookNode) -> dict | None:
    if "image/png" not in output.get("data", {}):
        return None
    said = output.metadata.get("image/png", {})
    return {"picture": True, **{key: said.get(key) for key in ("alt", "caption", "name", "photo")}}


class AnywhereKernel(RunningKernel):
    """A kernel in an empty folder and without a network; nbval itself closes its standard input."""

    def __init__(self, kernel_name: str, cwd: str | None = None, startup_timeout: int = 60) -> None:
        self.folder = TemporaryDirectory()
        super().__init__(kernel_name, cwd=self.folder.name, startup_timeout=startup_timeout)
        code = "__import__('bookkit.notebooks.isolate', fromlist=['install']).install()"
        said = self.kc.execute(code, silent=True, reply=True, timeout=startup_timeout)["content"]
        if said["status"] != "ok":
            raise RuntimeError(f"the kernel keeps its network: {said['evalue']}")

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        """Run a cell as a reader does, with a history: it tells of what code a recording must be."""
        return self.kc.execute(cell_input, allow_stdin=allow_stdin, stop_on_error=False)

    def stop(self) -> None:
        super().stop()
        self.folder.cleanup()


_nbval_kernel, _nbval_collect = nbval.RunningKernel, IPyNbFile.collect


class AgainCell(IPyNbCell):
    """A cell's second run, which a report tells from its first."""

    def reportinfo(self) -> tuple[object, int, str]:
        path, line, description = super().reportinfo()
        return path, line, f"{description} again"


def collect_twice(file: IPyNbFile) -> Iterator[IPyNbCell]:
    """Yield a notebook's cells, and then the same cells again for the same kernel."""
    cells = list(_nbval_collect(file))
    yield from cells
    for cell in cells:
        yield AgainCell.from_parent(
            file,
            name=f"{cell.name} again",
            cell_num=cell.cell_num,
            cell=cell.cell,
            options=cell.options,
        )


class Recorder:
    """Records in ``_build/outputs.json`` how many cells of each notebook came out as stored."""

    def __init__(self, target: Path, root: Path) -> None:
        self.target, self.root = target, root
        self.found: dict[Path, dict[int, bool]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        report = yield
        if isinstance(item, IPyNbCell) and call.when == "call":
            report.compared = [str(item.path), item.cell_num]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "compared"):
            path, number = report.compared
            cells = self.found.setdefault(Path(path), {})
            cells[number] = cells.get(number, True) and not report.failed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if xdist.is_xdist_worker(session):
            return  # the process that gathers the reports of all writes
        known = record.read(self.target, record.NOTEBOOKS)
        for path, cells in self.found.items():
            if path.is_relative_to(self.root):
                known[path.relative_to(self.root).as_posix()] = {
                    "digest": record.code_digest(path, self.root),
                    "date": record.today(),
                    "passed": sum(cells.values()),
                    "failed": len(cells) - sum(cells.values()),
                }
        if self.found:
            record.write(self.target, known)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer to run notebooks twice, and to record the outcome elsewhere or nowhere."""
    group = parser.getgroup("stored outputs")
    group.addoption(
        "--twice",
        action="store_true",
        help="run each notebook a second time in the same kernel",
    )
    group.addoption(
        "--outputs-record",
        default=RECORD,
        metavar="PATH",
        help="where to record how many cells came out as stored (an empty path: nowhere)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Hook into nbval, and let its kernels run under the settings of the stored outputs."""
    if config.option.nbval:
        # Imported here: with unit tests, nothing of `derived` may come before their import hook.
        from derived import recordings

        IPyNbCell.compare_outputs = compare_outputs
        nbval.RunningKernel = AnywhereKernel
        os.environ.update(ENVIRONMENT | {recordings.CHECK: "1"})
        if config.option.twice:
            IPyNbFile.collect = collect_twice
        if target := config.option.outputs_record:
            recorder = Recorder(config.rootpath / target, config.rootpath)
            config.pluginmanager.register(recorder, "outputs-recorder")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give nbval its own methods back."""
    IPyNbCell.compare_outputs = _nbval_compare
    nbval.RunningKernel = _nbval_kernel
    IPyNbFile.collect = _nbval_collect
