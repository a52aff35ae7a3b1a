"""How the book is made; no reader imports it, and the wheel does not carry it.

site/       the website: pages, figures, formulas, reports, building, serving
notebooks/  running notebooks, their form, the comparison of their outputs, GPU cells
verified/   equations, the tests that verify them, what became of these, notation
mutants/    changed formulas, and what notices them
chapter/    a new chapter from templates
stored/     files that an earlier run left, and the commit that they are of
"""

import sys
from pathlib import Path

__all__ = ["ROOT"]

ROOT = Path(__file__).parents[2]

# What reads a notebook imports jsonschema, which would compile the grammars of internationalized
# addresses at each start, for seconds; no schema here has such a format.
sys.modules.setdefault("rfc3987_syntax", None)
