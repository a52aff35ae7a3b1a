"""One style sheet for the site: the theme's, the extensions' and ours, without unused rules."""

import itertools
import re
from collections.abc import Iterable

import tinycss2

__all__ = ["attribute_words", "bundle", "only_woff2", "purge", "script_words"]

_COMMENT = re.compile(r"/\*(?!!).*?\*/", re.DOTALL)
_ATTRIBUTE = re.compile(r'\b(?:class|id)="([^"]*)"')
_WORD = re.compile(r"[\w-]+")
_FONT_SOURCE = re.compile(r"src:(url\([^)]*\.woff2\) format\(\"woff2\"\))[^;}]*")
# At-rules that hold rules; the others (@font-face, @keyframes, …) are kept as they are.
_GROUPS = {"media", "supports", "layer", "container"}


def attribute_words(html: str) -> set[str]:
    """Return every class and id that a page's markup uses."""
    return {word for value in _ATTRIBUTE.findall(html) for word in value.split()}


def script_words(script: str) -> set[str]:
    """Return every word of a script: a superset of the classes that it can set by name."""
    return set(_WORD.findall(script))


def only_woff2(css: str) -> str:
    """Drop the older formats of each `@font-face`; every browser of the last decade reads woff2."""
    return _FONT_SOURCE.sub(r"src:\1", css)


def bundle(sheets: Iterable[str], seen: set[str]) -> str:
    """Join style sheets in order, without rules for classes and ids that are not in `seen`."""
    return "\n".join(purge(sheet, seen) for sheet in sheets)


def purge(css: str, seen: set[str]) -> str:
    """Return `css` without the selectors that need a class or id outside `seen`.

    License comments (`/*! … */`) stay. Raises ValueError where the sheet is not valid CSS.
    """
    text = _COMMENT.sub("", css)
    rules = tinycss2.parse_stylesheet(text, skip_whitespace=True)
    return "\n".join(kept for rule in rules if (kept := _kept(rule, seen)))


def _kept(rule, seen: set[str]) -> str:
    match rule.type:
        case "error":
            raise ValueError(f"style sheet, line {rule.source_line}: {rule.message}")
        case "comment":
            return rule.serialize()
        case "at-rule" if rule.lower_at_keyword in _GROUPS and rule.content is not None:
            inner = tinycss2.parse_rule_list(rule.content, skip_whitespace=True)
            body = "".join(_kept(each, seen) for each in inner)
            prelude = tinycss2.serialize(rule.prelude).strip()
            return f"@{rule.at_keyword} {prelude}{{{body}}}" if body else ""
        case "at-rule":
            return "" if rule.lower_at_keyword == "charset" else _squeeze(rule.serialize())
    selectors = [part for part in _split(rule.prelude) if _needs(part) <= seen]
    if not selectors:
        return ""
    prelude = ",".join(tinycss2.serialize(part).strip() for part in selectors)
    return _squeeze(f"{prelude}{{{tinycss2.serialize(rule.content).strip()}}}")


def _split(prelude: list) -> list[list]:
    """Split a selector list at its top-level commas."""
    parts = [[]]
    for token in prelude:
        if token == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _needs(selector: list) -> set[str]:
    """Return the classes and ids without which a selector matches nothing.

    What stands inside `:not()`, `:is()` or `:has()` is not counted, so too much is kept, never
    too little.
    """
    words = {token.value for token in selector if token.type == "hash"}
    for before, token in itertools.pairwise(selector):
        if before == "." and token.type == "ident":
            words.add(token.value)
    return words


def _squeeze(css: str) -> str:
    return re.sub(r"\s*\n\s*", " ", css)
