"""The website.

pages.py        the frame of every page, as a Sphinx extension
math.py         formulas, drawn by KaTeX (katex.cjs) when the site is built
styles.py       the one style sheet
heights.py      what a browser may leave out until it comes near
figures.py      still figures, with their captions and data
reference.py    a page for each chapter, made of its helpers' docstrings
collected.py    pages that no file of the book stands for
explorables.py  interactive figures, with their pictures and scripts
stills.py       what a figure's still picture depends on
reports/        pages made of what is stored: what is verified, benchmarks
build.py, serve.py, browser.py, lighthouse.py
templates/      what is overridden of the theme
static/         our scripts, styles and mark
"""
