"""Stored files that are cut off, lack a key or hold something else are refused by name."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measured import RESULT

from bookkit.site.reports import benchmarks, verification
from bookkit.stored import files as stored
from bookkit.verified import marks, record
from derived import gpu

TESTS = {
    "tests/test_box.py": {
        "digest": "0123",
        "date": "2026-01-02",
        "torch": "9.9",
        "outcomes": {"test_area[1]": "passed", "test_area[2]": "failed"},
    },
    "tests/test_pose.py": {
        "digest": "4567",
        "date": "2026-01-02",
        "torch": "9.9",
        "outcomes": {},
    },
}
CHAPTER = {
    "date": "2026-01-02",
    "commit": "abc1234",
    "torch": "9.9",
    "equations": {"box-area": "0123"},
    "tests": {
        "tests/chapters/box/test_box.py": {
            "depends on": {"requirements.txt": "4567"},
            "outcomes": {"test_area": {"passed": 2, "skipped": 1}},
        },
    },
    "outputs": {
        "chapters/box.ipynb": {
            "depends on": {"requirements.txt": "4567"},
            "date": "2026-01-02",
            "passed": 3,
        },
    },
}
NOTEBOOKS = {
    "chapters/box.ipynb": {"digest": "0123", "date": "2026-01-02", "passed": 3, "failed": 0}
}
MUTANTS = {"date": "2026-01-02", "commit": "abc1234", "digest": "0123", "killed": 9, "survived": 1}
BENCHMARK = RESULT | {
    "results": {
        "add": RESULT["results"]["add"],
        "deeper": {"take": {"ms": 3, "times_faster": 0.5, "quartiles": [0.4, 2]}},
        "memory": {"state": 1.5},
    },
}
RUN = {
    "summary": "1,000 cases",
    "device": "NVIDIA H200",
    "torch": "2.13.0",
    "cuda": "13.0",
    "date": "2026-01-05",
    "seconds": 12.345,
    "rows": [{"loss": "iou", "mean IoU": 0.25}, {"loss": "giou", "mean IoU": 0.5}],
}


def use_tests(path):
    for known in record.read(path, record.TESTS).values():
        assert set(known["outcomes"].values()) <= set(record.OUTCOMES), "unknown outcomes"
        assert all(isinstance(known[key], str) for key in ("digest", "date", "torch"))


def use_chapter(path):
    stored = record.read_chapter(path)
    name = "tests/chapters/box/test_box.py"
    test = marks.Test(name, "test_area", 1, 2, "", "", (("box-area", "exact"),), ())
    if known := record.earlier(stored, test, {"requirements.txt": "4567"}):
        assert set(known.outcomes) <= {"passed", "skipped"} and known.date
    assert all(isinstance(digest, str) for digest in stored["equations"].values())


def use_notebooks(path):
    for known in record.read(path, record.NOTEBOOKS).values():
        assert type(known["passed"]) is type(known["failed"]) is int and known["digest"] != 0


def use_mutants(path):
    result = verification.read_mutants(path)
    one = verification.Standing(
        "box", "Boxes", verification.Counter(), 1, None, 1, None, 0, 0, result, False
    )
    assert list(verification.sentences([one])) and "of" in verification._row(one)[-1]


def use_benchmark(path):
    result, found = benchmarks.read(path)
    assert found and benchmarks.summary(found) and benchmarks.tables(found)
    assert all(isinstance(result[key], str) for key in ("date", "machine"))
    assert {*map(type, result["versions"].values())} <= {str} and type(result["rounds"]) is int


def use_run(path):
    """As `run` does where there is no CUDA device."""
    with pytest.MonkeyPatch.context() as patch:
        package = path.parents[2] / "src" / "derived"
        patch.setattr(gpu, "__file__", str(package / "gpu.py"))
        patch.setattr(gpu, "display", lambda output: None)
        patch.setattr(gpu.torch.cuda, "is_available", lambda: False)
        gpu.run(path.stem, lambda device: [], summary="1,000 cases")


READERS = {
    "tests": (use_tests, TESTS),
    "chapter": (use_chapter, CHAPTER),
    "notebooks": (use_notebooks, NOTEBOOKS),
    "mutants": (use_mutants, MUTANTS),
    "benchmark": (use_benchmark, BENCHMARK),
    "run": (use_run, RUN),
}
each_reader = pytest.mark.parametrize("name", READERS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("book") / "chapters" / "recorded"
    path.mkdir(parents=True)
    return path


def places(value, path=()):
    """Yield where a value has parts: the keys that lead to each."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in pairs:
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


def with_change(value, place, *new):
    """A copy in which the part at a place is missing, or another."""
    changed = whole = deepcopy(value)
    for key in place[:-1]:
        changed = changed[key]
    if new:
        changed[place[-1]] = new[0]
    else:
        del changed[place[-1]]
    return whole


def is_read_or_refused_by_name(read, path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    try:
        read(path)
    except ValueError as error:
        assert path.name in str(error)
        return str(error)
    return ""


@each_reader
def test_whole_files_are_read(name, folder):
    read, value = READERS[name]
    assert not is_read_or_refused_by_name(read, folder / f"{name}.json", json.dumps(value))


@each_reader
@given(data=st.data())
def test_a_file_cut_off_anywhere_is_refused_by_name(name, folder, data):
    read, value = READERS[name]
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    assert is_read_or_refused_by_name(read, folder / f"{name}.json", cut)


@each_reader
@given(data=st.data())
def test_without_a_key_a_file_is_read_right_or_refused_by_name(name, folder, data):
    read, value = READERS[name]
    changed = with_change(value, data.draw(st.sampled_from([*places(value)])))
    is_read_or_refused_by_name(read, folder / f"{name}.json", json.dumps(changed))


@each_reader
@given(data=st.data())
def test_with_a_value_of_another_type_a_file_is_read_right_or_refused_by_name(name, folder, data):
    read, value = READERS[name]
    place = data.draw(st.sampled_from([(), *places(value)]))
    new = data.draw(st.sampled_from([None, True, 0, -1, 0.5, "", "text", [], [1], {}, {"a": 1}]))
    changed = with_change(value, place, new) if place else new
    is_read_or_refused_by_name(read, folder / f"{name}.json", json.dumps(changed))


@pytest.mark.parametrize(
    ("name", "place", "missing"),
    [
        ("tests", ("tests/test_box.py", "outcomes"), "tests/test_box.py.outcomes is missing"),
        ("notebooks", ("chapters/box.ipynb", "failed"), "chapters/box.ipynb.failed is missing"),
        ("tests", ("tests/test_box.py", "date"), "tests/test_box.py.date is missing"),
        ("chapter", ("equations",), "equations is missing"),
        ("mutants", ("commit",), "commit is missing"),
        ("benchmark", ("rounds",), "rounds is missing"),
        ("benchmark", ("results", "add", "times_faster"), "add.times_faster is missing"),
        ("benchmark", ("results", "add", "ms", "derived"), "add.ms.derived is missing"),
        ("benchmark", ("results", "deeper", "take", "quartiles", 0), "two quartiles"),
        ("run", ("seconds",), "expected seconds"),
        ("run", ("rows", 0, "loss"), "with the same keys"),
    ],
)
def test_what_is_missing_is_named(name, place, missing, folder):
    read, value = READERS[name]
    text = json.dumps(with_change(value, place))
    assert missing in is_read_or_refused_by_name(read, folder / f"{name}.json", text)


def test_a_shape_may_be_one_of_several():
    shape = {"x": (int, [str])}
    stored.check({"x": 1}, shape)
    stored.check({"x": ["a"]}, shape)
    with pytest.raises(
        ValueError, match=r"^x: expected int, got str; or x: expected list, got str"
    ):
        stored.check({"x": "a"}, shape)
    with pytest.raises(ValueError, match=r"x\[1\]: expected str, got bool"):
        stored.check({"x": ["a", True]}, {"x": [str]})
