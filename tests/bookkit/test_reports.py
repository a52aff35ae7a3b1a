"""The pages drawn from what was measured: what they say of results, and of what is missing."""

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from measured import RESULT
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import docutils_namespace, patch_docutils

from bookkit.site.reports import benchmarks, verification
from bookkit.site.reports.benchmarks import Row
from bookkit.site.reports.verification import Result, Standing, sentences
from bookkit.verified import record
from bookkit.verified.__main__ import main

ROOT = Path(__file__).parents[2]

BOX = Standing(
    "box",
    "Boxes",
    Counter(passed=8, conjecture=1, open=1),
    tests=12,
    cases=Result(40, 41),
    outputs=20,
    cells=Result(30, 30),
    figures=1,
    exercises=2,
    mutants={"killed": 90, "survived": 10, "date": "2026-01-02", "commit": "abc1234"},
    current=True,
)
UNSEEN = Standing("pose", "Poses", Counter(open=3), 4, None, 5, None, 1, 0, None, False)
CLONED = replace(BOX, cases=Result(41, 41, "2026-01-02"), cells=Result(30, 30, "2026-01-03"))
BEFORE = Result(0, 0, "2026-01-02", changed=True)
CHANGED = replace(UNSEEN, statuses=Counter(changed=3), cases=BEFORE, cells=BEFORE)

BENCH = '''"""How fast is `derived.box`, beside loops?

    python benchmarks/bench_box.py [--rounds 9]

One thread. Writes benchmarks/results/box.json.
"""
'''
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "markdown",
            "id": "a",
            "metadata": {},
            "source": "# Boxes\n\n$$ x $$ (box-x)",
        },
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "source": "print(1)",
            "execution_count": 1,
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "1\n"}],
        },
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def test_sentences_add_up_the_chapters_and_say_what_was_not_run():
    said = list(sentences([BOX, UNSEEN]))
    assert said[0] == (
        "Equations: 13 with a label in 2 chapters; 8 verified, 1 conjectured, with no counterexample "
        "found, 4 not run here."
    )
    assert said[1] == (
        "Tests of them: 16; in the last run here 40 of 41 cases passed, 1 chapter not run here."
    )
    assert said[2].startswith(
        "Stored outputs: 25 in 2 notebooks, figures included; in the last run"
    )
    assert said[-1] == "Mutants: 90 of 100 noticed, in 1 of 2 chapters."
    assert list(sentences([UNSEEN]))[-1] == "Mutants: not run here."


@pytest.mark.parametrize(
    ("chapters", "said"),
    [
        ([CLONED], "41 of 41 cases passed on 2026-01-02."),
        (
            [CLONED, replace(CLONED, cases=Result(41, 41, "2026-01-09"))],
            "82 of 82 cases passed between 2026-01-02 and 2026-01-09.",
        ),
        ([CHANGED], "1 chapter changed since recorded."),
        (
            [BOX, CLONED, CHANGED, UNSEEN, UNSEEN],
            "in the last run here 40 of 41 cases passed, 41 of 41 cases passed on 2026-01-02, 1 "
            + "chapter changed since recorded, 2 chapters not run here.",
        ),
    ],
)
def test_what_is_recorded_counts_where_nothing_ran_here(chapters, said):
    assert list(sentences(chapters))[1].partition("; ")[2] == said


def test_a_row_tells_what_is_recorded_and_what_changed_since():
    equations, tests, outputs = verification._row(CLONED)[1:4]
    assert (equations, tests) == ("9 of 10 hold", "41 of 41 cases, 2026-01-02")
    assert outputs == "20, compared, 2026-01-03"
    changed = tuple(f"{n}, changed since recorded" for n in (3, 4, 5))
    assert verification._row(CHANGED)[1:4] == changed


def test_a_row_tells_a_failed_run_from_none_and_an_old_result_from_a_present_one():
    _, equations, tests, outputs, _, mutants = verification._row(BOX)
    assert (equations, tests, outputs) == ("9 of 10 hold", "40 of 41 cases", "20, compared")
    assert mutants == "90 of 100 (2026-01-02, commit abc1234)"
    changed = replace(BOX, current=False, cells=Result(29, 30))
    assert verification._row(changed)[3] == "20, differ"
    assert verification._row(changed)[5].endswith("abc1234, before the last change)")
    assert verification._row(UNSEEN)[1:4] == tuple(f"{n}, not run here" for n in (3, 4, 5))


def test_comparisons_are_found_at_any_depth_and_a_reference_is_none():
    result = {"decode": {"64": {"cache": RESULT["results"]["add"] | {"quartiles": [1, 1]}}}}
    result["decode"]["64"]["state"] = {"ms": 3.0, "times_faster": 4.0, "quartiles": [3.5, 5]}
    result["memory"] = {"state": 1.5}
    (row,) = benchmarks.rows(result)
    assert row == Row(("decode", "64", "state"), 3.0, 4.0, 3.5, 5)
    assert row.verdict == "faster"


def test_the_summary_counts_only_what_the_rounds_agree_on():
    found = list(benchmarks.rows(RESULT["results"]))
    assert [row.verdict for row in found] == ["faster", "even"]
    assert benchmarks.summary(found) == (
        "Of 2 comparisons: 1 faster, 1 about even. "
        "Ours takes between 50 % (add) and 200 % (take) of the reference's time."
    )


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/bench_*.py")), ids=lambda p: p.stem)
def test_each_benchmark_explains_itself_and_its_result_can_be_drawn(path):
    chapter = path.stem.removeprefix("bench_")
    said = benchmarks.explanation(path)
    assert said[0].endswith("?") and f"derived.{chapter}" in said[0]
    assert not any("python benchmarks/" in text for text in said)
    stored = ROOT / "benchmarks" / "results" / f"{chapter}.json"
    if stored.exists():
        found = json.loads(stored.read_text("utf-8"))
        assert list(benchmarks.rows(found["results"]))
        assert {"date", "machine", "rounds", "versions"} <= found.keys()


@pytest.fixture
def book(tmp_path):
    files = {
        "_toc.yml": "format: jb-book\nroot: index\nchapters:\n  - file: chapters/box\n",
        "index.md": "# Book\n\n```{verification-report}\n```\n\n```{benchmark-report}\n```\n",
        "chapters/box.ipynb": json.dumps(NOTEBOOK),
        "benchmarks/bench_box.py": BENCH,
        "src/derived/box.py": "x = 1\n",
        "tests/chapters/box/test_box.py": "import pytest\n\n\n"
        '@pytest.mark.verifies("box-x", by="exact")\ndef test_x():\n    assert True\n',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path


def built(folder: Path) -> str:
    """Build the book, as often as one likes; return its first page."""
    extensions = ["myst_nb", "sphinx_external_toc", "bookkit.verified", "bookkit.site.reports"]
    settings = {
        "extensions": extensions,
        "myst_enable_extensions": ["dollarmath"],
        "nb_execution_mode": "off",
        "external_toc_path": "_toc.yml",
    }
    out = folder / "_build" / "html"
    with patch_docutils(), docutils_namespace():
        Sphinx(folder, None, out, folder / "_build/trees", "html", settings, io.StringIO()).build()
    return (out / "index.html").read_text("utf-8")


def compared(book: Path, **more: int) -> None:
    """Leave what a run leaves in which the notebook's cells came out."""
    digest = record.code_digest(book / "chapters/box.ipynb", book)
    entry = {"digest": digest, "date": "2026-01-03", "passed": 1, "failed": 0} | more
    record.write(book / "_build/outputs.json", {"chapters/box.ipynb": entry})


def test_a_new_result_rewrites_the_page(book):
    page = built(book)
    assert "Mutants: not run here." in page and "Result: not run here." in page
    assert "Stored outputs: 1 in 1 notebook, figures included; not run here." in page

    path = book / "chapters/box.ipynb"
    compared(book)
    mutants = BOX.mutants | {"digest": record.chapter_digest(book, "box")}
    record.write(book / "tests/chapters/box/mutants.json", mutants)
    record.write(book / "benchmarks/results/box.json", RESULT)
    page = built(book)
    assert "in the last run here 1 of 1 cell passed" in page
    assert "90 of 100 (2026-01-02, commit abc1234)" in page
    assert "Measured on 2026-01-02: 9 rounds on abacus; torch 9.9." in page

    (book / "src/derived/box.py").write_text("x = 2\n")
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    page = built(book)
    assert "before the last change" in page
    assert "figures included; not run here." in page


def test_a_clone_shows_what_is_recorded_until_its_code_changes(book, capsys):
    page = built(book)
    assert "1 not run here" in page and "Tests of them: 1; not run here." in page
    test = book / "tests/chapters/box/test_box.py"
    entry = {"digest": record.code_digest(test, book), "date": "2026-01-02", "torch": "9.9"}
    entry["outcomes"] = {"test_x[1]": "passed", "test_x[2]": "passed"}
    record.write(book / "_build/verified.json", {"tests/chapters/box/test_box.py": entry})
    main(["accept", "--root", str(book)])
    compared(book, failed=2)
    assert main(["record", "--root", str(book)]) == 1
    assert "chapters/box.ipynb: 2 cells do not come out as stored" in capsys.readouterr().out
    compared(book)
    assert main(["record", "--root", str(book)]) == 0
    assert "in the last run here 2 of 2 cases passed" in built(book)
    (book / "_build/outputs.json").unlink()
    # The outputs that were recorded before are, as long as they hold.
    assert main(["record", "--root", str(book)]) == 0
    (book / "_build/verified.json").unlink()
    page = built(book)
    assert "1 verified" in page and "2 of 2 cases passed on 2026-01-02." in page
    assert "figures included; 1 of 1 cell passed on 2026-01-03." in page
    (book / "src/derived/box.py").write_text("x = 2\n")
    page = built(book)
    assert "1 with tests that passed before a change" in page
    assert "Tests of them: 1; 1 chapter changed since recorded." in page
    assert "figures included; 1 chapter changed since recorded." in page


@pytest.mark.parametrize(
    "name",
    [
        "tests/chapters/box/mutants.json",
        "tests/chapters/box/record.json",
        "benchmarks/results/box.json",
        "_build/verified.json",
    ],
)
def test_a_build_names_the_file_that_is_cut_off(book, name):
    (book / name).parent.mkdir(parents=True, exist_ok=True)
    (book / name).write_text('{"date": "2026-01', "utf-8")
    with pytest.raises(ExtensionError, match=f"{name}: .*; restore it, or delete it"):
        built(book)
