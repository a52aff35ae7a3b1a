"""How the book is made; no reader imports it, and the wheel does not carry it.

site/       the website: pages, figures, formulas, reports, building, serving
notebooks/  running notebooks, their form, the comparison of their outputs, GPU cells
verified/   equations, the tests that verify them, what became of these, notation
mutants/    changed formulas, and what notices them
chapter/    a new chapter from templates
stored/     files that an earlier run left, and the commit that they are of
"""

from pathlib import Path

__all__ = ["ROOT"]

ROOT = Path(__file__).parents[2]
