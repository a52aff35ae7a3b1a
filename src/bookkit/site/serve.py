"""Build the site, serve it on this machine alone and build again when a source changes."""

import argparse
import functools
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from watchfiles import DefaultFilter, watch

from bookkit import ROOT

SITE = ROOT / "_build" / "html"


class Sources(DefaultFilter):
    """What the site is made of: not what building it writes."""

    ignore_dirs = (*DefaultFilter.ignore_dirs, "_build", ".ruff_cache", ".ipynb_checkpoints")


class Handler(SimpleHTTPRequestHandler):
    """Static files, always asked for anew, without a line for each."""

    def end_headers(self) -> None:
        """Forbid caching, so that reloading shows the last build."""
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def build() -> None:
    """Build; a failed build is shown by its own output and the last good site stays served."""
    subprocess.run([sys.executable, "-m", "bookkit.site.build"], check=False, cwd=ROOT)


def server(port: int) -> ThreadingHTTPServer:
    """Return an HTTP server for the built site on 127.0.0.1; port 0 takes a free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Handler, directory=str(SITE)))


def main() -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    build()
    with server(port) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        print(f"Serving http://127.0.0.1:{port}/ (Ctrl-C ends it)", flush=True)
        # watch() ends quietly on Ctrl-C.
        for changes in watch(ROOT, watch_filter=Sources()):
            print("Changed:", *sorted(Path(path).name for _, path in changes), flush=True)
            build()
    return 0


if __name__ == "__main__":
    sys.exit(main())
