"""`make chapter`: a chapter made from the templates passes every check, in a copy of the book."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bookkit.chapter import make as chapter
from bookkit.notebooks.form import check_notebook

ROOT = Path(__file__).parents[2]
NAME, TITLE = "pose", "Pose: where the joints are"

TOC = """\
parts:
  - caption: Chapters
    chapters:
      - file: chapters/initialization
      - file: chapters/iou
  - caption: Reference
    chapters:
      - file: notation
"""
INDEX = """\
## Chapters

1. [Initialization: how large](chapters/initialization.ipynb)
2. [IoU](chapters/iou.ipynb)

Coming: the Transformer · pose · face.
"""


def copied(folder: Path) -> Path:
    """Copy the book's sources, without what was installed or built."""
    made = shutil.ignore_patterns(
        ".*", "node_modules", "_build", "build", "dist", "__pycache__", "*.egg-info"
    )
    root = shutil.copytree(ROOT, folder / "book", ignore=made)
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    return root


def run(root: Path, *command: str) -> str:
    """Run a module of the copy, and return what it says; it must go well."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PYTHONPATH": str(root / "src"), "PATH": programs, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env=env,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1: the picture of a new chapter's figure is drawn by a browser")
    root = copied(tmp_path_factory.mktemp("copy"))
    if (root / f"chapters/{NAME}.ipynb").exists():
        pytest.fail(f"{NAME} is a chapter now: take another for this test", pytrace=False)
    assert "stands" in run(root, "bookkit.chapter", NAME, TITLE)
    return root


def test_the_five_places_are_there_and_linted(book):
    for path in [*chapter.files(NAME, TITLE), f"chapters/{NAME}.ipynb"]:
        text = (book / path).read_text("utf-8")
        assert not any(mark in text for mark in ("@NAME@", "@TITLE@", "@CLASS@")), path
    run(book, "ruff", "check", ".")
    run(book, "ruff", "format", "--check", ".")


def test_its_notebook_and_its_equations_are_in_order(book):
    assert check_notebook(book / f"chapters/{NAME}.ipynb") == []
    assert "no problems" in run(book, "bookkit.verified", "check")


def test_its_tests_pass(book):
    names = f"tests/test_{NAME}.py", f"tests/test_explorables_{NAME}.py", "tests/test_exercises.py"
    names += ("tests/test_notation.py",)
    chosen = f"{NAME} or exercise_of_a_chapter or test_notation"
    said = run(book, "pytest", "-p", "no:cacheprovider", "--color=no", *names, "-k", chosen)
    assert "skipped" not in said
    outcomes = json.loads((book / "_build/verified.json").read_text("utf-8"))
    assert set(outcomes[f"tests/test_{NAME}.py"]["outcomes"].values()) == {"passed"}


def test_its_outputs_come_out_again(book):
    run(book, "pytest", "-p", "no:cacheprovider", "--nbval", f"chapters/{NAME}.ipynb")
    found = json.loads((book / "_build/outputs.json").read_text("utf-8"))
    assert found[f"chapters/{NAME}.ipynb"]["failed"] == 0


def test_the_site_builds_without_a_warning(book):
    run(book, "bookkit.site.build")
    page = (book / f"_build/html/chapters/{NAME}.html").read_text("utf-8")
    assert 'class="verified" data-status="passed"' in page
    assert f'data-explorable="{NAME}"' in page


def test_a_second_chapter_of_that_name_is_refused(book):
    with pytest.raises(ValueError, match=f"NAME: {NAME} exists already: src/derived/{NAME}.py"):
        chapter.check(book, NAME, TITLE)


# What needs no copy.


@pytest.mark.parametrize("name", ["", "Pose", "poses", "../pose", "pose-2", "training"])
def test_a_name_that_is_no_chapter_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="NAME: expected one of initialization, transformer"):
        chapter.make(tmp_path, name, TITLE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("title", ["", "  ", "two\nlines", 'a "quote"', "$x$", "a`b"])
def test_a_title_that_would_break_a_file_is_refused(title, tmp_path):
    with pytest.raises(ValueError, match="TITLE: expected one line"):
        chapter.check(tmp_path, NAME, title)


def test_the_order_is_that_of_the_chapters_that_stand():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    files = [c["file"] for part in toc["parts"] for c in part["chapters"]]
    names = [file.removeprefix("chapters/") for file in files if file.startswith("chapters/")]
    assert names == sorted(names, key=list(chapter.ORDER).index)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("transformer", ["initialization", "transformer", "iou"]),
        ("pose", ["initialization", "iou", "pose"]),
    ],
)
def test_a_chapter_comes_at_its_place(name, expected):
    toc = yaml.safe_load(chapter._into_toc(TOC, name))
    assert toc["parts"][0]["chapters"] == [{"file": f"chapters/{word}"} for word in expected]
    assert toc["parts"][1]["chapters"] == [{"file": "notation"}]
    index = chapter._into_index(INDEX, name, "New")
    numbered = [line.partition("(chapters/")[::2] for line in index.splitlines() if "](" in line]
    assert [word.removesuffix(".ipynb)") for _, word in numbered] == expected
    assert [head[:3] for head, _ in numbered] == ["1. ", "2. ", "3. "]
    assert chapter.ORDER[name] not in index.partition("Coming: ")[2]


@pytest.mark.parametrize("figures", ["(A, B)", "(\n        A,\n        B,\n    )"])
def test_a_figure_joins_the_others_however_they_are_laid_out(figures):
    text = f'import a\n\n__all__ = [\n    "EXPLORABLES",\n]\n\nX = {{f.n: f for figure in {figures}}}\n'
    new = chapter._into_figures(text, "pose")
    assert "from derived.explorables.pose import PoseFigure\n" in new
    assert '"PoseFigure",' in new
    assert "".join(new.partition("for figure in ")[2].split()) == "(A,B,PoseFigure)}"
