"""The browser in which pages are tried and pictures are taken: a Chromium of this machine."""

import shutil
from pathlib import Path
from typing import Any

__all__ = ["find_chromium", "launch"]

_COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_APPLICATIONS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Google/Chrome/Application/chrome.exe",
)
# No sandbox: containers have none. The rest keeps the browser from calling home.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str:
    """Return the path of a Chromium or Chrome on this machine.

    Raises:
        RuntimeError: if there is none, naming the command that installs one.
    """
    found = [path for name in _COMMANDS if (path := shutil.which(name))]
    found += [path for path in _APPLICATIONS if Path(path).exists()]
    if not found:
        raise RuntimeError(
            "No Chromium or Chrome was found: install one with `sudo apt-get install chromium` "
            "(macOS: `brew install --cask chromium`, Windows: `winget install Google.Chrome`)."
        )
    return found[0]


def launch(playwright: Any) -> Any:
    """Start that browser, headless, with Playwright's synchronous interface; return it."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=_ARGUMENTS)
