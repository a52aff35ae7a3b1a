"""Mutation testing: would a chapter's tests fail, were its formulas wrong?

``python -m bookkit.mutants iou`` changes ``src/derived/iou.py``, or each file of the package
``src/derived/iou/``, one operator, constant, index or call at a time and runs
``tests/chapters/iou/test_iou*.py`` on each changed module. A mutant that no test notices
survives: a formula that nobody checks, or a change without an effect. The latter is accepted, with
its reason, in ``tests/chapters/iou/survivors.toml``:

    skip = ["BLOCK"]  # constants and functions that are never changed

    [[survivors]]
    function = "giou"
    line = "hull = hull.clamp(min=0)"
    mutant = "hull = hull.clamp(min=1)"
    reason = "why the change has no effect"

A line that ends in ``# mutants: skip (reason)`` is left alone. So are messages, annotations,
assertions and ``raise``.

Torch and all else that the tests import from outside is imported once; each mutant is a fork, in
which the changed source stands in for the file's, so conftest and its import hooks see nothing
unusual. It runs only those tests that enter the changed function (seen on a first, unchanged run),
likely killers first, and ends at the first failure.

A run that tried all leaves its figures in ``tests/chapters/CHAPTER/mutants.json``, with date and
commit; the page on what is verified shows them. ``--sample 200 --seed 0`` tries 200 mutants, which
the seed alone draws, and leaves its figures beside those of the last whole run. The draw does not
depend on where functions stand, so that two arrangements of the same code can be compared.

Mutmut, the usual tool, can't serve: it leaves decorated functions alone, and every public helper here
is decorated (`derived._validation.validated`).

changes.py  the mutants of a source
trials.py   the tests on each of them, and the verdict
"""
