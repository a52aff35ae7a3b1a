"""The notation page explains each symbol that two chapters share, and nothing that no chapter uses."""

import json
import re
from pathlib import Path

import pytest

from bookkit.verified import notation
from bookkit.verified.notation import GENERAL, listed, missing, symbols

ROOT = Path(__file__).parents[2]

PAGE = r"""
# Notation

## Boxes

For the chapter on [boxes](chapters/boxes.ipynb).

| symbol | meaning |
|---|---|
| $A$; $c_w$ | a box of area $a$ |

## General

| symbol | meaning |
|---|---|
| $\mathbb E$ | expectation |
"""


def test_the_notation_page_is_complete():
    assert notation.problems(ROOT) == []


def test_what_the_notation_page_lists_for_a_chapter_stands_in_it():
    for chapter, known in listed((ROOT / "notation.md").read_text("utf-8")).items():
        if chapter == GENERAL:
            continue
        cells = json.loads((ROOT / f"chapters/{chapter}.ipynb").read_text("utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        displays = re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)
        inline = notation._MATH.findall(re.sub(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL))
        used = set().union(*map(symbols, displays + inline))
        assert known - used == set(), f"notation.md lists what {chapter} never writes"


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\hat x_0=\frac{x_t-\sigma_t\varepsilon}{\alpha_t}", r"x t \sigma \varepsilon \alpha"),
        (r"d_{\mathrm{out}}\,\operatorname{Var}[W]\quad\text{for all } n", "d W n"),
        (r"\mathbb E[\boldsymbol q\cdot\boldsymbol{k}]", r"\mathbb_E \boldsymbol_q \boldsymbol_k"),
        (r"\boldsymbol\mu+\mathbf{1}", r"\mu \mathbf_1"),
        (r"\begin{pmatrix}a\\[2pt]b\end{pmatrix}", "a b"),
        (r"\sum_{i=1}^n e^{\pi i}\le\max(u,\ell)", r"i n u \ell"),
        (r"\overline{x^2}\otimes\nabla\!L", r"x \otimes \nabla L"),
    ],
)
def test_symbols(latex, expected):
    assert symbols(latex) == {symbol.replace("_", " ") for symbol in expected.split()}


def test_listed_reads_the_first_column_of_a_chapters_sections():
    assert listed(PAGE) == {GENERAL: {r"\mathbb E"}, "boxes": {"A", "c", "w"}}


def test_a_shared_symbol_must_be_explained_for_each_chapter():
    used = {
        "A": {"boxes": "boxes-area", "poses": "poses-matrix"},
        r"\mathbb E": {"boxes": "boxes-mean", "poses": "poses-mean"},
        "z": {"poses": "poses-depth"},
    }
    (problem,) = missing(used, listed(PAGE))
    assert problem.startswith("$A$ stands in the equation poses-matrix, and in chapters boxes:")
    assert "chapters/poses.ipynb" in problem
