"""A result names its commit, and says when code or tests are not as in it."""

from bookkit.stored.commit import commit


def test_the_commit_is_named_with_changes_of_code_and_tests_alone(git, tmp_path):
    assert commit(tmp_path) == "unknown"
    for name in ("src", "tests", "tests/chapters/tiny"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "src/tiny.py").write_text("x = 1\n")
    git("init", "-q")
    assert commit(tmp_path) == "unknown"  # there is none yet
    git("add", ".")
    git("commit", "-qm", "all")
    head = git("rev-parse", "--short", "HEAD")
    assert commit(tmp_path) == head
    (tmp_path / "tests/chapters/tiny/mutants.json").write_text("{}")
    (tmp_path / "tests/chapters/tiny/record.json").write_text("{}")
    (tmp_path / "notes.md").write_text("elsewhere")
    assert commit(tmp_path) == head
    (tmp_path / "tests/test_tiny.py").write_text("new, and not added yet")
    assert commit(tmp_path) == f"{head} with changes"
    git("add", "tests/test_tiny.py")
    git("commit", "-qm", "more")
    assert commit(tmp_path) == git("rev-parse", "--short", "HEAD") != head
    (tmp_path / "src/tiny.py").write_text("x = 2\n")
    assert commit(tmp_path).endswith(" with changes")


def test_without_git_the_commit_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) == "unknown"
