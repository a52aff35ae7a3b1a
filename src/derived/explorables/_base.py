"""The base of all interactive figures: one front end, a stable repr, a picture for everyone else."""

import base64
import html
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

from derived.explorables._state import State, signature

__all__ = ["Explorable", "module_source", "style_source"]

FOLDER = Path(__file__).parent
_KIT_IMPORT = re.compile(r'^import \{[^}]*\} from "\./kit\.js";\n', re.MULTILINE)
_COMES_BACK = (
    "What the reader moves comes back: the figure's attributes of these names always hold the\n"
    "present state.\n\nRaises:\n"
    "    ValueError: for any other value, naming the argument and what came.\n"
    "    TypeError: for an argument that is none of these."
)


def module_source(script: str) -> str:
    """Return one ES module: the kit, then the figure's own file without its import of the kit.

    Both hosts use this text: anywidget as it is, the website as a classic script made from it.
    What the kit exports becomes local, so that the module exports only what the figure does.

    Raises:
        ValueError: if the file does not import from "./kit.js" exactly once.
    """
    kit = re.sub(r"^export ", "", (FOLDER / "kit.js").read_text("utf-8"), flags=re.MULTILINE)
    own, imports = _KIT_IMPORT.subn("", (FOLDER / script).read_text("utf-8"))
    if imports != 1:
        raise ValueError(f'{script} must import from "./kit.js" once; it does {imports} times')
    return f"{kit}\n{own}"


def style_source(chapter: str) -> str:
    """Return the style sheet of a chapter's figures: the kit's, then the chapter's own, if any."""
    own = FOLDER / f"{chapter}.css"
    kit = (FOLDER / "kit.css").read_text("utf-8")
    return f"{kit}\n{own.read_text('utf-8')}" if own.exists() else kit


class Explorable(anywidget.AnyWidget):
    """An interactive figure: a live widget where there is a kernel, a page's own script where not.

    A subclass stands in the module of its chapter. It names its `script` (a file beside that
    module), a `caption`, an `alt` text for the picture of its default state, and the height to keep
    free for it on a page while it loads (`reserve`: CSS lengths for a narrow and a wide column;
    `cqw` is 1 % of the column's width). Its traits of the kinds in `derived.explorables._state` are
    its state: they make its arguments, all by keyword, and the end of its docstring.
    """

    name: ClassVar[str]
    script: ClassVar[str]
    caption: ClassVar[str]
    alt: ClassVar[str]
    reserve: ClassVar[tuple[str, str]]
    chapter: ClassVar[str]

    # Tells the front end which of the model's values are the figure's state.
    state_keys = traitlets.Tuple().tag(sync=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # traitlets derives a nameless subclass for each widget that gains a trait: leave it alone.
        if "script" in cls.__dict__:
            cls.chapter = cls.__module__.rpartition(".")[2]
            cls._esm = module_source(cls.script)
            cls._css = style_source(cls.chapter)
            states = {key: value for key, value in vars(cls).items() if isinstance(value, State)}
            cls.__signature__ = signature(states)
            cls.__doc__ = _described(cls.__doc__, states)
        super().__init_subclass__(**kwargs)

    def __init__(self, **state: Any) -> None:
        for name in state:
            if name not in inspect.signature(type(self)).parameters:
                message = f"{type(self).__name__}() got an unexpected keyword argument {name!r}"
                raise TypeError(message)
        super().__init__(**state, state_keys=tuple(self.trait_names(state=True)))

    def state(self) -> dict[str, Any]:
        """Return the traits that make up the state, by name."""
        return {name: getattr(self, name) for name in self.trait_names(state=True)}

    @classmethod
    def frame(cls, state: dict[str, Any]) -> tuple[str, str]:
        """Return the HTML before and after the caption of a figure that starts in `state`."""
        picture = (FOLDER / cls.script).with_suffix(".png")
        size = json.loads(picture.with_suffix(".picture.json").read_text("utf-8"))
        png = base64.b64encode(picture.read_bytes()).decode()
        narrow, wide = cls.reserve
        note = (
            "The picture shows the state in which the live figure starts."
            if state == cls().state()
            else "The picture shows another state than the one in which the live figure starts."
        )
        before = (
            f'<div class="derived-explorable" data-explorable="{cls.name}"'
            f' data-state="{html.escape(json.dumps(state))}">\n<figure>\n'
            f'<div class="explorable-slot"'
            f' style="--xp-reserve-narrow: {narrow}; --xp-reserve-wide: {wide}">\n'
            f'<img src="data:image/png;base64,{png}" alt="{html.escape(cls.alt)}"'
            f' width="{size["width"]}" height="{size["height"]}">\n</div>\n<figcaption>'
        )
        return (
            before,
            f' <span class="explorable-note">{note}</span></figcaption>\n</figure>\n</div>',
        )

    def __repr__(self) -> str:
        """Name the state and nothing that differs from run to run."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.state().items())
        return f"{type(self).__name__}({arguments})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        before, after = self.frame(self.state())
        return {**data, "text/html": f"{before}{html.escape(self.caption)}{after}"}, metadata


def _described(text: str | None, states: dict[str, State]) -> str:
    """Return a figure's docstring with its arguments, which its state says."""
    arguments = "\n".join(
        textwrap.fill(
            f"{name}: {state.help}", 96, initial_indent=" " * 4, subsequent_indent=" " * 8
        )
        for name, state in states.items()
    )
    return f"{inspect.cleandoc(text or '')}\n\nArgs:\n{arguments}\n\n{_COMES_BACK}"
