"""Make a new chapter that passes every check, ready to be rewritten part by part."""

import argparse
import sys
from pathlib import Path

from bookkit.chapter.make import make


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bookkit.chapter", description=__doc__)
    parser.add_argument("name", help="the chapter's word, the same in all places")
    parser.add_argument("title", help="the heading of its page")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the book's folder")
    options = parser.parse_args(arguments)
    try:
        make(options.root.resolve(), options.name, options.title)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"The chapter {options.name} stands: `make test` passes. Now make it yours.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
