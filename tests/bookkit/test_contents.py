"""The list of chapters: each with the question that its notebook opens with."""

import json

import pytest

from bookkit.site.contents import question

OPENING = """\
# Boxes

:::{admonition} Question
:class: question
How far
is *far*, if $d=0$?

**Prerequisites:** none.
:::

Another paragraph.
"""


def notebook(folder, *cells):
    path = folder / "boxes.ipynb"
    path.write_text(json.dumps({"cells": [{"source": cell.splitlines(True)} for cell in cells]}))
    return path


@pytest.mark.parametrize(
    "cells",
    [
        [OPENING],
        OPENING.split("\n\n", 1),
        [OPENING.replace(":class: question\n", "")],
        [OPENING.replace("\n\n**Prerequisites:** none.", "")],
        [OPENING.replace(":::", "::::").replace(":class: question\n", ":class: question\n\n")],
    ],
)
def test_the_question_is_the_first_paragraph_of_its_box(cells, tmp_path):
    assert question(notebook(tmp_path, *cells)) == "How far is *far*, if $d=0$?"


@pytest.mark.parametrize(
    "cells", [[OPENING.replace("Question", "Answer")], ["# Boxes", "Text.", OPENING], ["# Boxes"]]
)
def test_a_notebook_without_a_question_is_refused(cells, tmp_path):
    with pytest.raises(ValueError, match="boxes.ipynb does not open with"):
        question(notebook(tmp_path, *cells))
