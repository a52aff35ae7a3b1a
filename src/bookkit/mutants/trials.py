"""Trials: a chapter's tests on each mutant, and the verdict."""

import argparse
import datetime
import difflib
import importlib
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import BinaryIO

import hypothesis
import pytest

import bookkit.mutants
from bookkit.mutants.changes import Mutant, draw, mutants_of
from bookkit.stored.commit import commit
from bookkit.verified.dependencies import module_files
from bookkit.verified.record import chapter_digest

__all__ = ["Outcome", "Target", "keep", "main", "read_settings", "report"]

# The book's folders from whose files the tests import.
_FOLDERS = ("tests", "benchmarks")

# Running the tests ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A chapter's module and its tests, in the folder of a book."""

    root: Path
    chapter: str

    @property
    def files(self) -> list[Path]:
        """The files that are changed: the module, or all of its package."""
        return module_files(self.root, self.chapter)

    def mutants(self, skip: frozenset[str]) -> list[Mutant]:
        """Return the mutants of every file."""
        return [
            mutant
            for path in self.files
            for mutant in mutants_of(path.read_text("utf-8"), skip, path)
        ]

    @property
    def tests(self) -> list[Path]:
        """The tests of the chapter's formulas; those of its figures are named test_explorables_…"""
        return sorted(self.folder.glob(f"test_{self.chapter}*.py"))

    @property
    def folder(self) -> Path:
        """What proves the chapter."""
        return self.root / "tests" / "chapters" / self.chapter


@dataclass(eq=False)
class Watcher:
    """A pytest plugin: chooses and orders the tests, and sees what each of them does.

    `entered` holds, for each test, the functions in the files `watched` that it calls, each as its
    file and first line; under "" those called for all tests, on import or by a fixture that
    several share.
    """

    costs: dict[str, float] | None = None
    watched: frozenset[str] = frozenset()
    seconds: dict[str, float] = field(default_factory=dict)
    entered: dict[str, set[tuple[str, int]]] = field(default_factory=lambda: {"": set()})
    killer: str = ""

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        functions = self.entered.setdefault(name, set())

        def note(frame, event, _) -> None:
            if event == "call" and frame.f_code.co_filename in self.watched:
                functions.add((frame.f_code.co_filename, frame.f_code.co_firstlineno))

        before = sys.getprofile()
        if self.watched:
            sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(before)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self):
        # A failure is enough here: no shrinking of the example, no explaining.
        hypothesis.settings.register_profile(
            "mutants",
            hypothesis.settings(),
            derandomize=True,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        hypothesis.settings.load_profile("mutants")
        with self.watch(""):
            return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.costs is not None:
            chosen = [item for item in items if item.nodeid in self.costs]
            items[:] = sorted(chosen, key=lambda item: self.costs[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef):
        if fixturedef.scope == "function":
            return (yield)
        with self.watch(""):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        start = time.monotonic()
        with self.watch(item.nodeid):
            result = yield
        self.seconds[item.nodeid] = time.monotonic() - start
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.killer = report.nodeid


def _run_tests(target: Target, watcher: Watcher) -> int:
    options = ["-x", "-q", "-p", "no:cacheprovider"]
    # No record of what a mutant does; and of course these modules are loaded already.
    options += ["-p", "bookkit.verified.plugin", "--verified-record="]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*map(str, target.tests), *options], plugins=[watcher]))


@dataclass(frozen=True)
class Clean:
    """What the run of the unchanged module showed."""

    status: int
    output: str
    total: float
    seconds: dict[str, float]
    entered: dict[str, set[tuple[str, int]]]
    modules: list[str]

    def limit(self, tests: list[str]) -> float:
        """Return the time after which some of the tests must have ended: four times what it took."""
        others = sum(self.seconds.values()) - sum(self.seconds[test] for test in tests)
        return 4 * (self.total - others)

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Return the tests that enter the changed function; no other can notice the change."""
        if not mutant.scope:
            return list(self.seconds)
        first, last = mutant.scope

        def enters(name: str) -> bool:
            functions = self.entered[name]
            return any(f == str(mutant.path) and first <= line <= last for f, line in functions)

        return [test for test in self.seconds if enters("") or enters(test)]


def _clean_run(target: Target, answers: Connection) -> None:
    """Run the tests on the unchanged module, in a fork, and send what they show."""
    watcher = Watcher(watched=frozenset(map(str, target.files)))
    output, start = _silence(), time.monotonic()
    status = _run_tests(target, watcher)
    total = time.monotonic() - start
    sys.stdout.flush()
    output.seek(0)
    printed = output.read().decode(errors="replace")
    modules = _outside(target.root)
    answers.send(Clean(status, printed, total, watcher.seconds, watcher.entered, modules))


def _trial(target: Target, mutant: Mutant, costs: dict[str, float], answers: Connection) -> None:
    """Run the tests on a mutant, in a fork, and send what noticed it, "" if nothing did."""
    os.setpgid(0, 0)  # so that a time limit also ends what the tests have started
    _silence()
    _substitute(mutant.path, mutant.source)
    watcher = Watcher(costs)
    status = _run_tests(target, watcher)
    answers.send((watcher.killer or f"pytest's exit status {status}") if status else "")


def _silence() -> BinaryIO:
    """Send what this process prints to an unnamed file, and return that."""
    sink = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process lives)
    os.dup2(sink.fileno(), 1)
    os.dup2(sink.fileno(), 2)
    return sink


def _outside(root: Path) -> list[str]:
    """Return the loaded modules that come from outside the book and are imported as usual."""
    names = []
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if type(getattr(spec, "loader", None)) in (SourceFileLoader, ExtensionFileLoader):
            own = name.partition(".")[0] in ("bookkit", "derived", "__main__")
            if not own and not any(Path(spec.origin).is_relative_to(root / f) for f in _FOLDERS):
                names.append(name)
    return names


def _substitute(path: Path, source: str) -> None:
    """Let importing the file at `path` give `source`; import hooks then work on it as on any."""
    get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def changed_data(loader: SourceFileLoader, name: str) -> bytes:
        return source.encode() if name == str(path) else get_data(loader, name)

    def changed_stats(loader: SourceFileLoader, name: str) -> dict:
        if name == str(path):
            raise OSError("a mutant has no bytecode")
        return path_stats(loader, name)

    SourceFileLoader.get_data = changed_data
    SourceFileLoader.path_stats = changed_stats


_FORK = multiprocessing.get_context("fork")


@dataclass
class Trial:
    """A mutant whose tests are running; at `ends` its time is over."""

    mutant: Mutant
    process: ForkProcess
    answers: Connection
    ends: float

    def killer(self) -> str:
        """Return what noticed the mutant, "" if nothing did; end the tests if they still run."""
        if self.process.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.join()
            return "time limit"
        self.process.join()
        with suppress(EOFError):  # no answer: the change has brought the whole process down
            if self.answers.poll():
                return self.answers.recv()
        return f"exit {self.process.exitcode}"


def _fork(work: Callable[..., None], *arguments: object) -> tuple[ForkProcess, Connection]:
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=work, args=(*arguments, sender))
    process.start()
    sender.close()
    return process, receiver


@dataclass
class Outcome:
    """What became of each mutant; with the killed ones, what noticed them.

    Those not drawn for a sample were to be left alone; those untried would have had their turn.
    """

    killed: list[tuple[Mutant, str]] = field(default_factory=list)
    survived: list[Mutant] = field(default_factory=list)
    untried: list[Mutant] = field(default_factory=list)
    undrawn: list[Mutant] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.killed) + len(self.survived) + len(self.untried)


def _try_all(
    target: Target, mutants: list[Mutant], clean: Clean, jobs: int, patience: float, deadline: float
) -> Outcome:
    """Run the tests on each mutant, `jobs` at a time, until the deadline.

    A mutant has `patience` seconds, or four times what the unchanged module needed if that is more.
    """
    outcome, waiting, trials = Outcome(), mutants[::-1], []
    kills: Counter[str] = Counter()
    end = "\r" if sys.stderr.isatty() else "\n"
    while trials or (waiting and time.monotonic() < deadline):
        while waiting and len(trials) < jobs and time.monotonic() < deadline:
            mutant = waiting.pop()
            tests = clean.tests_for(mutant)
            if not tests:
                outcome.survived.append(mutant)
                continue
            # Quick tests that have killed before come first.
            costs = {test: clean.seconds[test] / (1 + kills[test]) for test in tests}
            limit = max(patience, clean.limit(tests))
            process, answers = _fork(_trial, target, mutant, costs)
            ends = min(time.monotonic() + limit, deadline)
            trials.append(Trial(mutant, process, answers, ends))
        pause = min((trial.ends for trial in trials), default=0) - time.monotonic()
        wait([trial.process.sentinel for trial in trials], max(0, pause))
        for trial in list(trials):
            late = time.monotonic() >= trial.ends
            if trial.process.is_alive() and not late:
                continue
            trials.remove(trial)
            killer = trial.killer()
            if killer == "time limit" and trial.ends == deadline:
                outcome.untried.append(trial.mutant)
            elif killer:
                kills[killer] += 1
                outcome.killed.append((trial.mutant, killer))
            else:
                outcome.survived.append(trial.mutant)
            if sys.stderr.isatty() or len(outcome) % 50 == 0:
                print(f"{len(outcome)} of {len(mutants)} mutants tried", end=end, file=sys.stderr)
    outcome.untried += waiting
    return outcome


# The verdict ------------------------------------------------------------------------------------


def read_settings(
    root: Path, chapter: str
) -> tuple[frozenset[str], dict[tuple[str, str, str], str]]:
    """Return the names to skip and the accepted survivors, each with its reason."""
    path = Target(root, chapter).folder / "survivors.toml"
    settings = tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
    accepted = {}
    for entry in settings.get("survivors", []):
        if set(entry) != {"function", "line", "mutant", "reason"} or not entry["reason"].strip():
            sys.exit(f"{path}: a survivor needs function, line, mutant and reason, not {entry}")
        accepted[entry["function"], entry["line"], entry["mutant"]] = entry["reason"]
    return frozenset(settings.get("skip", [])), accepted


def _difference(target: Target, mutant: Mutant) -> str:
    """Return a survivor as a diff, headed by the entry that would accept it."""
    name = mutant.path.relative_to(target.root).as_posix()
    source = mutant.path.read_text("utf-8")
    lines = difflib.unified_diff(
        source.splitlines(), mutant.source.splitlines(), name, name, n=1, lineterm=""
    )
    return f"{name}:{mutant.number} in {mutant.function}\n" + "\n".join(list(lines)[2:])


def report(
    target: Target, outcome: Outcome, skip: frozenset[str], accepted: dict
) -> tuple[dict, bool]:
    """Print what survived and what is stale; return the figures and whether all is in order."""
    fine = [mutant for mutant in outcome.survived if mutant.key in accepted]
    open_ = [mutant for mutant in outcome.survived if mutant.key not in accepted]
    unknown = outcome.untried + outcome.undrawn
    stale = accepted.keys() - {mutant.key for mutant in outcome.survived + unknown}
    for mutant in open_:
        print(_difference(target, mutant), end="\n\n")
    code = "\n".join(path.read_text("utf-8") for path in target.files)
    stale |= {("skip", name) for name in skip if not re.search(rf"\b{re.escape(name)}\b", code)}
    for entry in sorted(stale):
        print(f"stale in survivors.toml, killed or gone: {' | '.join(entry)}")
    counted = len(outcome.killed) + len(open_)
    score = 100 * len(outcome.killed) / counted if counted else 100.0
    print(
        f"{target.chapter}: {len(outcome.killed)} of {counted} mutants killed ({score:.1f} %); "
        f"{len(fine)} more survive for an accepted reason"
    )
    if outcome.untried:
        print(f"{len(outcome.untried)} mutants were not tried: out of time")
    figures = {
        "chapter": target.chapter,
        "total": len(outcome),
        "killed": len(outcome.killed),
        "survived": len(open_),
        "accepted": len(fine),
        "untried": len(outcome.untried),
        "score": round(score, 1),
        "killers": dict(Counter(killer for _, killer in outcome.killed).most_common()),
        "survivors": [
            {"function": m.function, "line": m.line, "mutant": m.mutant, "number": m.number}
            for m in open_
        ],
    }
    return figures, not (stale or outcome.untried)


def keep(target: Target, figures: dict, seed: int | None = None) -> None:
    """Write what came of a run to ``tests/chapters/CHAPTER/mutants.json``.

    The book's pages show that of a whole run. With a seed it was a sample, which is kept beside it.
    """
    path = target.folder / "mutants.json"
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    result = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(target.root),
        "digest": chapter_digest(target.root, target.chapter),
        **{key: figures[key] for key in ("killed", "survived", "accepted", "score", "seconds")},
    }
    if seed is not None:
        known["sample"] = {"seed": seed, "tried": figures["total"], **result}
    else:
        known = result | {key: known[key] for key in ("sample",) if key in known}
    path.write_text(json.dumps(known, indent=2) + "\n", "utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bookkit.mutants", description=bookkit.mutants.__doc__.partition("\n")[0]
    )
    parser.add_argument("chapter", help="the chapter's name, as in `import derived.CHAPTER`")
    parser.add_argument("--jobs", type=int, default=2, help="tests run at a time (2)")
    parser.add_argument("--max-minutes", type=float, default=20, help="time for all (20)")
    parser.add_argument(
        "--patience", type=float, default=20, help="seconds that each mutant has at least (20)"
    )
    parser.add_argument("--fail-under", type=float, default=90, help="percent to be killed (90)")
    parser.add_argument("--sample", type=int, metavar="N", help="try only N mutants (all)")
    parser.add_argument("--seed", type=int, default=0, help="which N mutants are drawn (0)")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the book's folder")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    target = Target(options.root.resolve(), options.chapter)
    skip, accepted = read_settings(target.root, target.chapter)
    mutants = target.mutants(skip)
    chosen = mutants if options.sample is None else draw(mutants, options.sample, options.seed)

    os.chdir(target.root)
    sys.path.insert(0, str(target.root / "src"))
    os.environ["OMP_NUM_THREADS"] = "1"  # a pool of threads does not outlive a fork
    process, answers = _fork(_clean_run, target)
    clean = answers.recv()
    process.join()
    if clean.status:
        print(clean.output)
        print("the tests must pass on the unchanged module before mutants mean anything")
        return 1
    for name in clean.modules:
        importlib.import_module(name)

    deadline = start + 60 * options.max_minutes
    outcome = _try_all(target, chosen, clean, options.jobs, options.patience, deadline)
    outcome.undrawn = [mutant for mutant in mutants if mutant not in chosen]
    figures, in_order = report(target, outcome, skip, accepted)
    figures["seconds"] = round(time.monotonic() - start, 1)
    result = target.root / "_build" / f"mutants-{target.chapter}.json"
    result.parent.mkdir(exist_ok=True)
    result.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    if not outcome.untried:
        keep(target, figures, None if options.sample is None else options.seed)
    return 0 if in_order and figures["score"] >= options.fail_under else 1
