"""Measure the pages with Lighthouse, served as GitHub Pages does; store _build/lighthouse.json.

`make lighthouse` installs Lighthouse (benchmarks/lighthouse/package.json) and runs this. A score is
noisy, above all on a machine with other work, so each comes with the measurements behind it, and it
fails only where a page misses its target in the better of two runs.
"""

import argparse
import contextlib
import functools
import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bookkit import ROOT
from bookkit.site.browser import find_chromium
from bookkit.site.math import find_node

__all__ = ["TARGETS", "Compressed", "measure", "served", "summary"]


SITE = ROOT / "_build" / "html"
FOLDER = ROOT / "benchmarks" / "lighthouse"
RESULTS = ROOT / "_build" / "lighthouse.json"
PROGRAM = FOLDER / "node_modules" / "lighthouse" / "cli" / "index.js"

# The least score in percent, by device and category.
TARGETS = {
    "desktop": {"performance": 95, "accessibility": 100, "best-practices": 100},
    "mobile": {"performance": 75, "accessibility": 100, "best-practices": 100},
}
# What the performance score is made of, and the bytes that a visit takes.
_METRICS = {
    "first-contentful-paint": "first paint",
    "largest-contentful-paint": "largest paint",
    "total-blocking-time": "blocked",
    "cumulative-layout-shift": "layout shift",
    "speed-index": "speed index",
    "total-byte-weight": "weight",
}
_FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-background-networking"


class Compressed(SimpleHTTPRequestHandler):
    """Static files as GitHub Pages sends them: text compressed, to be kept for ten minutes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send a file, compressed if it is text."""
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            self.send_error(404)
            return
        kind, body = self.guess_type(path), path.read_bytes()
        is_text = kind.startswith("text/") or "javascript" in kind or kind.endswith(("xml", "json"))
        compress = is_text and "gzip" in self.headers.get("Accept-Encoding", "")
        body = gzip.compress(body) if compress else body
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8" if is_text else kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=600")
        if compress:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine alone; yield its address."""
    handler = functools.partial(Compressed, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def measure(url: str, device: str) -> dict:
    """Run Lighthouse once for "desktop" or "mobile" and return what `summary` keeps of its report."""
    command = [find_node(), str(PROGRAM), url, "--quiet", "--output=json", "--output-path=stdout"]
    command += [f"--chrome-flags={_FLAGS}", f"--only-categories={','.join(TARGETS[device])}"]
    command += ["--preset=desktop"] if device == "desktop" else []
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"CHROME_PATH": find_chromium(), "TMPDIR": folder}
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return summary(json.loads(done.stdout))


def summary(report: dict) -> dict:
    """Return a report's scores in percent, its measurements, and what it found wrong."""
    audits = report["audits"]
    scored = {
        reference["id"]
        for category in ("accessibility", "best-practices")
        for reference in report["categories"][category]["auditRefs"]
        if reference["weight"]
    }
    return {
        "scores": {k: round(100 * c["score"]) for k, c in report["categories"].items()},
        "measurements": {k: round(audits[k]["numericValue"], 3) for k in _METRICS},
        "wrong": sorted(k for k in scored if audits[k]["score"] not in (None, 1)),
    }


def missed(result: dict, device: str) -> list[str]:
    """Return the categories in which a result is below its target."""
    return [k for k, least in TARGETS[device].items() if result["scores"][k] < least]


def _line(result: dict) -> str:
    measured = result["measurements"]
    shown = {
        k: f"{v:.3f}" if "shift" in k else f"{v / 1000:.0f} kB" if "byte" in k else f"{v:.0f} ms"
        for k, v in measured.items()
    }
    scores = " ".join(f"{score:3}" for score in result["scores"].values())
    return f"{scores}   " + ", ".join(f"{_METRICS[k]} {text}" for k, text in shown.items())


def main() -> int:
    """Measure the pages named, or the landing page and every chapter; store and print the results."""
    parser = argparse.ArgumentParser(prog="python -m bookkit.site.lighthouse", description=__doc__)
    parser.add_argument("pages", nargs="*", help="such as index.html or chapters/iou.html")
    parser.add_argument("--device", choices=TARGETS, action="append")
    arguments = parser.parse_args()
    if not PROGRAM.exists():
        sys.exit("Lighthouse is missing: run `npm ci --prefix benchmarks/lighthouse`")
    chapters = sorted(path.relative_to(SITE).as_posix() for path in SITE.glob("chapters/*.html"))
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    failures = []
    print("performance, accessibility, best practices")
    with served(SITE) as base:
        for page in arguments.pages or ["index.html", *chapters]:
            for device in arguments.device or TARGETS:
                result = measure(f"{base}/{page}", device)
                if missed(result, device):  # once more: noise only ever slows down
                    again = measure(f"{base}/{page}", device)
                    result = max(result, again, key=lambda r: r["scores"]["performance"])
                results.setdefault(page, {})[device] = result
                print(f"{page:32} {device:8} {_line(result)}", *result["wrong"], flush=True)
                failures += [f"{page}, {device}: {name}" for name in missed(result, device)]
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")
    for failure in failures:
        print(f"below its target: {failure}", file=sys.stderr)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
