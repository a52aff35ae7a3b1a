"""Verified equations: every labeled equation of the book names the tests that prove it.

equations.py     labeled equations and the hash of their LaTeX, read from the pages
marks.py         the tests that carry ``@pytest.mark.verifies``, read from their source
helpers.py       public helpers and the equations that their docstrings cite, read from their source
dependencies.py  the code that a test file depends on, read from its source
record.py        what became of the tests, in the last run here and when last recorded
checks.py        what must hold between these
extension.py     the Sphinx side: a mark beside each equation, a page a chapter that lists them
markup.py        what the reader sees of it
plugin.py        the pytest side: the marker and the record of a run
__main__.py      ``python -m bookkit.verified accept | check | record``
"""


def setup(app):
    """Set up the Sphinx extension ``bookkit.verified``."""
    # Imported here because the pytest plugin lives in this package and has no need of Sphinx.
    from bookkit.verified import extension

    return extension.setup(app)
