"""Renew requirements.txt, the full lock for every platform, from pyproject.toml's ranges."""

import os
import re
import subprocess
import sys

from bookkit import ROOT

# torch's own wheel asks for the CUDA packages where it needs them; in a lock they would drag
# gigabytes onto every CPU machine.
CUDA = re.compile(r"^((?:nvidia|cuda|triton)[\w-]*)==", re.MULTILINE)


def compile_lock(*options: str) -> str:
    """Resolve pyproject.toml with uv and return the lock as text."""
    command = [
        *(
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            "pyproject.toml",
            "--extra",
            "test",
            "--universal",
        ),
        *("--python-version", "3.11", "--no-annotate", "--no-emit-index-url"),
        *("--no-emit-find-links", "--quiet", *options),
    ]
    env = os.environ | {"UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    return subprocess.run(
        command, cwd=ROOT, env=env, check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def main() -> int:
    """Write requirements.txt without torch's CUDA packages."""
    skipped = [f"--no-emit-package={name}" for name in sorted(set(CUDA.findall(compile_lock())))]
    (ROOT / "requirements.txt").write_text(compile_lock(*skipped), encoding="utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
