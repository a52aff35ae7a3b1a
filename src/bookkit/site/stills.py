"""What a figure's still picture can depend on, found in the sources of kit and figure.

A picture is stale when something that may have drawn it has changed: the figure's own file, its
default state, the kit's functions that the file uses, directly or through others, and the style
rules for what these make. All of this is read off the text, since pictures are checked where no
browser is. It errs on the safe side: a name that only looks like a function's counts as its use, so
a picture may be drawn again in vain, but an edit of the kit leaves the pictures of figures alone
that have no use for what was edited.
"""

import re
from collections.abc import Iterator

__all__ = ["used_script", "used_style"]

_COMMENT = re.compile(r"/\*.*?\*/|^[ \t]*//[^\n]*", re.MULTILINE | re.DOTALL)
_DECLARED = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
_WORD = re.compile(r"[\w$]+")
_NAME = re.compile(r"[\w-]+")
# Of a class or a property whose name is put together, such as --xp-ramp-${i}.
_STEM = re.compile(r"(?<![\w-])((?:--)?xp-[\w-]*)\$\{")
_READ = re.compile(r"(?<![\w-])(--[\w-]+)(?![\w-]|:)")
_PROPERTY = re.compile(r"(--[\w-]+):[^;]*;")


def _bare(text: str) -> str:
    """Return source text without the comments that fill lines, and without what indents it."""
    lines = (line.strip() for line in _COMMENT.sub("", text).splitlines())
    return "\n".join(line for line in lines if line)


def used_script(kit: str, own: str) -> str:
    """Return a figure's own script and the declarations of the kit that it uses, without comments.

    Args:
        kit: the kit's script. What begins a line there is a declaration or the end of one.
        own: the figure's, which imports from the kit.
    """
    kit, own = (_COMMENT.sub("", text) for text in (kit, own))
    starts = [*_DECLARED.finditer(kit)]
    ends = [start.start() for start in starts[1:]] + [len(kit)]
    declared = {start[1]: kit[start.start() : end] for start, end in zip(starts, ends, strict=True)}
    used, new = set(), set(_WORD.findall(own)) & declared.keys()
    while new:
        used |= new
        new = {word for name in new for word in _WORD.findall(declared[name])}
        new = new & declared.keys() - used
    return "\n".join(_bare(text) for text in (own, *(declared[name] for name in sorted(used))))


def _rules(style: str, condition: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the (condition, selectors, declarations) of each rule of a style sheet."""
    place = 0
    while (opened := style.find("{", place)) >= 0:
        head, depth, closed = style[place:opened].strip(), 1, opened + 1
        while depth:
            depth += {"{": 1, "}": -1}.get(style[closed], 0)
            closed += 1
        body = style[opened + 1 : closed - 1]
        if head.startswith("@"):
            yield from _rules(body, f"{condition} {head}".strip())
        else:
            yield condition, head, body.strip()
        place = closed


def used_style(style: str, script: str) -> str:
    """Return the rules of a style sheet that concern what a script makes.

    A rule counts if a selector of it has no class but those that the script names. The picture is
    taken in the light theme, on a screen and with a mouse, so that rules for other themes, media
    and pointers don't; and of custom properties those alone that a rule or the script asks for.

    Args:
        style: the style sheet.
        script: what `used_script` returned.
    """

    words = set(_NAME.findall(script))
    stems = tuple(_STEM.findall(script))

    def concerns(selector: str) -> bool:
        if re.match(r"(html|body)\b", selector.strip()):  # another theme
            return False
        classes = re.findall(r"\.([a-z][\w-]*)", selector)
        return all(name in words or name.startswith(stems) for name in classes)

    rules = [
        (condition, selectors, body)
        for condition, selectors, body in _rules(_bare(style))
        if not condition or condition.startswith("@container")
        if any(map(concerns, re.split(r",(?![^(]*\))", selectors)))
    ]
    kept = [body for _, _, body in rules]
    while True:
        # What was asked for only by a property that nobody asks for is dropped in the next round.
        fewer = _asked_for(kept, script)
        if fewer == kept:
            break
        kept = fewer
    return "\n".join(
        f"{condition} {selectors} {{ {_bare(body)} }}"
        for (condition, selectors, _), body in zip(rules, kept, strict=True)
        if body.strip()
    )


def _asked_for(bodies: list[str], script: str) -> list[str]:
    """Return declarations without the custom properties that nobody asks for."""
    text = "\n".join([script, *bodies])
    read, stems = set(_READ.findall(text)), tuple(_STEM.findall(text))

    def needed(declaration: re.Match) -> str:
        name = declaration[1]
        return declaration[0] if name in read or name.startswith(stems) else ""

    return [_PROPERTY.sub(needed, body) for body in bodies]
