"""Symbols are found in LaTeX and on the notation page, and what is missing there is told."""

import pytest

from bookkit.verified.notation import GENERAL, listed, missing, symbols

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
