"""What `make lighthouse` serves and keeps; Lighthouse itself is measured with by hand and weekly."""

import gzip
import urllib.request

import pytest

from bookkit.site import lighthouse


def fetch(address, encoding=""):
    request = urllib.request.Request(address, headers={"Accept-Encoding": encoding})
    with urllib.request.urlopen(request) as answer:
        return answer.headers, answer.read()


def test_text_is_compressed_for_who_can_read_it_and_pictures_are_not(tmp_path):
    text, picture = b"<p>text</p>" * 100, bytes(range(256))
    (tmp_path / "index.html").write_bytes(text)
    (tmp_path / "a.js").write_bytes(text)
    (tmp_path / "a.png").write_bytes(picture)
    with lighthouse.served(tmp_path) as base:
        for name in ("", "a.js"):
            headers, body = fetch(f"{base}/{name}", "gzip, br")
            assert headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(body) == text
        headers, body = fetch(f"{base}/index.html")
        assert (headers["Content-Encoding"], body) == (None, text)
        headers, body = fetch(f"{base}/a.png", "gzip")
        assert (headers["Content-Encoding"], body) == (None, picture)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(f"{base}/missing.html")


def report(performance=0.97, contrast=1):
    names = lighthouse.TARGETS["desktop"]
    audits = {name: {"numericValue": 1.0, "score": 0.5} for name in lighthouse._METRICS}
    audits |= {"color-contrast": {"score": contrast}, "by-hand": {"score": None}}
    references = [{"id": "color-contrast", "weight": 1}, {"id": "by-hand", "weight": 1}]
    scores = {name: {"score": 1, "auditRefs": references} for name in names}
    scores["performance"] = {"score": performance, "auditRefs": []}
    return {"audits": audits, "categories": scores}


def test_a_report_is_judged_by_its_targets():
    good = lighthouse.summary(report())
    assert good["scores"]["performance"] == 97
    assert good["wrong"] == []
    assert lighthouse.missed(good, "desktop") == []
    slow = lighthouse.summary(report(performance=0.8))
    assert lighthouse.missed(slow, "desktop") == ["performance"]
    assert lighthouse.missed(slow, "mobile") == []


def test_what_a_page_does_wrong_is_named():
    assert lighthouse.summary(report(contrast=0))["wrong"] == ["color-contrast"]
