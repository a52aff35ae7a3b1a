"""One look for every figure, and figures that can be read without being seen.

`subplots` makes axes in the book's style; `show` displays a figure together with its caption, its
alternative text and a rounded summary of the numbers it plots. The summary is what the tests
compare (pictures differ between machines by a pixel) and what the page offers as a data table.
"""

import base64
import io
import math
import sys
from collections.abc import Iterable, Iterator

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgb
from matplotlib.container import BarContainer
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon, Rectangle
from matplotlib.transforms import Affine2D
from PIL import Image

from derived._display import display

__all__ = ["BLACK", "BLUE", "GRAY", "GREEN", "ORANGE", "PALETTE", "PINK", "STYLE"]
__all__ += ["label_lines", "show", "style", "subplots", "summary"]

# The colors of Okabe and Ito (2008) that keep a contrast of 3:1 against white, so that a thin line
# stays visible; gray is for what only gives orientation.
BLUE, ORANGE, GREEN, PINK, BLACK = PALETTE = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000"
GRAY = "#767676"

_CSS_PIXELS = 100  # a figure's inch on the page; the picture itself has twice as many
_SHORTEST_ALT = 40
_LISTED = 8  # a series of at most this many points is listed whole, a longer one sampled

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRAY,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.dpi": _CSS_PIXELS,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "grid.color": "#e4e4e4",
    "image.cmap": "cividis",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "mathtext.fontset": "dejavusans",
    "savefig.dpi": 2 * _CSS_PIXELS,
}


def style() -> None:
    """Make the book's style Matplotlib's own, whatever the reader's settings were."""
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(STYLE)


def subplots(
    rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float | None = None, **options
) -> tuple[Figure, Axes | np.ndarray]:
    """Return a figure in the book's style and its axes, as `matplotlib.pyplot.subplots` does.

    Units: `width` and `height` in inches of 100 CSS pixels. Without a height, panels are 5/8 as
    high as wide. `options` go to `Figure.subplots`.
    """
    style()
    fig = Figure(figsize=(width, height or 0.625 * width * rows / columns))
    return fig, fig.subplots(rows, columns, **options)


def label_lines(ax: Axes) -> None:
    """Write each line's label at its right end, in its color, instead of a legend.

    Call it when the lines are drawn and the limits set. Labels that would overlap are moved apart.
    Text needs more contrast than a line (4.5:1), so the color is darkened until it has it.
    """
    ax.get_xlim(), ax.get_ylim()  # asking for the limits settles them, if they are automatic
    in_points = ax.transData + Affine2D().scale(72 / ax.figure.dpi)
    lines = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
    ends = [(in_points.transform(end)[1], end) for end in map(_last_point, lines)]
    lowest = -math.inf
    for (height, end), line in sorted(zip(ends, lines, strict=True), key=lambda pair: pair[0]):
        lowest = max(height, lowest + 1.3 * matplotlib.rcParams["font.size"])
        ax.annotate(
            line.get_label(),
            xy=end,
            xytext=(6, lowest - height),
            textcoords="offset points",
            va="center",
            color=_readable(line.get_color()),
            annotation_clip=False,
        )


def show(
    fig: Figure, *, caption: str, alt: str, name: str | None = None, photo: bool = False
) -> None:
    """Display a figure with its caption, its alternative text and a summary of its numbers.

    The output holds the picture at twice its size on the page, the summary as `text/plain`, and
    everything else as the picture's metadata, from which the book makes a numbered figure.

    Args:
        caption: what to see, in one or two sentences of MyST Markdown ($math$ works).
        alt: what the figure shows, for someone who can't see it; at least 40 characters.
        name: a label for references from the text, `{numref}`.
        photo: a figure that dark mode must not invert.

    Raises:
        ValueError: if the caption is empty, the alternative text short or a copy of the caption,
            or an axis with numbers has no label.
    """
    _check_words(caption, alt)
    with matplotlib.rc_context(STYLE):
        _check_axes(fig)
        png = io.BytesIO()
        fig.savefig(png, format="png", metadata={"Software": None}, pil_kwargs={"optimize": True})
        plain = summary(fig)
    picture = png.getvalue() if photo else _few_colors(png)
    width, height = (round(inches * _CSS_PIXELS) for inches in fig.get_size_inches())
    said = {"alt": alt, "caption": caption, "height": height, "photo": photo, "width": width}
    if name:
        said["name"] = name
    display(
        {"image/png": base64.b64encode(picture).decode(), "text/plain": plain}, {"image/png": said}
    )
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(fig)  # or Jupyter shows it once more


def summary(fig: Figure) -> str:
    """Return what a figure plots as text: one table a panel, one row a series.

    Numbers have four significant digits. Columns are two or more spaces apart.
    """
    fig.draw_without_rendering()  # ticks and layout exist only from now on
    panels = [ax for ax in fig.axes if ax.get_label() != "<colorbar>"]
    return "\n\n".join(_panel(ax, number) for number, ax in enumerate(panels, 1))


def _panel(ax: Axes, number: int) -> str:
    names = {
        "title": ax.get_title("left") or ax.get_title("center"),
        "x": ax.get_xlabel(),
        "y": ax.get_ylabel(),
        "color": ", ".join(_colorbar_labels(ax)),
        "texts": ", ".join(_flat(text.get_text()) for text in ax.texts),
    }
    head = [f"panel {number}"] + [f"{key}: {_flat(text)}" for key, text in names.items() if text]
    rows = list(_series(ax))
    if not rows:
        return "; ".join(head)
    header = ("series", "drawn as", "n", "x", "y", "mean", "values")
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
    return "\n".join(["; ".join(head), *lines])


def _series(ax: Axes) -> Iterator[tuple[str, ...]]:
    """Yield a row for each thing drawn: label, kind, number of points, ranges, mean, values."""
    bars = [container for container in ax.containers if isinstance(container, BarContainer)]
    # The label of error bars belongs to the whole, not to the line through their middles.
    outer = {id(whole[0]): whole.get_label() for whole in ax.containers if whole not in bars}
    for line in ax.get_lines():
        label = outer.get(id(line), line.get_label())
        x, y = (_floats(values) for values in line.get_data())
        # Lines at one height or one place span the axes, in units that are not the data's.
        if line.get_transform() == ax.get_yaxis_transform(which="grid"):
            yield _row(label, "horizontal line", [], y[:1])
        elif line.get_transform() == ax.get_xaxis_transform(which="grid"):
            yield _row(label, "vertical line", x[:1], [])
        else:
            yield _row(label, "points" if line.get_linestyle() == "None" else "line", x, y)
    for container in bars:
        yield _bars(ax, container)
    for artist in ax.collections:
        yield from _collection(artist)
    for image in ax.get_images():
        left, right, *vertical = image.get_extent()
        yield _grid(image.get_label(), "image", [left, right], vertical, image.get_array())
    in_bars = {id(bar) for container in bars for bar in container}
    yield from _patches([patch for patch in ax.patches if id(patch) not in in_bars])


def _bars(ax: Axes, container: BarContainer) -> tuple[str, ...]:
    """Return a row for bars, whose values carry the names that stand under them."""
    upright = container.orientation != "horizontal"
    lengths = _floats([bar.get_height() if upright else bar.get_width() for bar in container])
    centers = [bar.get_center()[0 if upright else 1] for bar in container]
    ticks = (ax.xaxis if upright else ax.yaxis).get_major_ticks()
    if len(container) > _LISTED or not ticks:
        listed = None
    else:
        nearest = (min(ticks, key=lambda tick: abs(tick.get_loc() - at)) for at in centers)
        names = [_flat(tick.label1.get_text()) for tick in nearest]
        listed = ", ".join(
            f"{name} {_number(length)}" for name, length in zip(names, lengths, strict=True)
        )
    x, y = (centers, lengths) if upright else (lengths, centers)
    return _row(container.get_label(), "bars", x, y, lengths, listed=listed)


def _collection(artist: Collection) -> Iterator[tuple[str, ...]]:
    if isinstance(artist, ContourSet):
        levels = _floats(artist.levels)
        yield _row(artist.get_label(), "contours", [], [], levels)
    elif isinstance(artist, QuadMesh):
        corners, cells = artist.get_coordinates(), artist.get_array()
        yield _grid(artist.get_label(), "heat map", corners[..., 0], corners[..., 1], cells)
    elif isinstance(artist, PathCollection):
        x, y = np.ma.getdata(artist.get_offsets()).T
        yield _row(artist.get_label(), "points", x, y)
    elif hasattr(artist, "U"):  # a quiver: the arrows' lengths are the data
        yield _row(artist.get_label(), "arrows", artist.X, artist.Y, np.hypot(artist.U, artist.V))
    else:
        kind = "segments" if isinstance(artist, LineCollection) else "area"
        paths = artist.get_paths()
        points = np.concatenate([path.vertices for path in paths]) if paths else np.empty((0, 2))
        x, y = points.T
        yield _row(artist.get_label(), kind, x, y, [], n=str(len(paths)))


def _patches(patches: Iterable[Patch]) -> Iterator[tuple[str, ...]]:
    """Yield one row for all patches of the same kind and label."""
    groups: dict[tuple[str, str], list[Patch]] = {}
    for patch in patches:
        kind = {Rectangle: "rectangles", Polygon: "polygons"}.get(type(patch))
        key = kind or f"{type(patch).__name__.lower()}s", patch.get_label()
        groups.setdefault(key, []).append(patch)
    for (kind, _), group in groups.items():
        to_data = group[0].axes.transData.inverted()
        corners = [to_data.transform(patch.get_window_extent().get_points()) for patch in group]
        x, y = np.concatenate(corners).T
        yield _row(group[0].get_label(), kind, x, y, [], n=str(len(group)))


def _row(
    label: str, kind: str, x, y, values=None, *, n: str | None = None, listed: str | None = None
) -> tuple[str, ...]:
    """Return a table row; `values` (else `y`) are what is averaged and listed."""
    x, y = _floats(x), _floats(y)
    values = y if values is None else _floats(values)
    finite = values[np.isfinite(values)]
    return (
        "–" if not label or label.startswith("_") else _flat(label),
        kind,
        n or str(max(len(x), len(values))),
        _range(x),
        _range(y),
        _number(finite.mean(), abs(finite).max()) if finite.size else "–",
        listed or _list(values) or "–",
    )


def _list(values: np.ndarray) -> str:
    """Return a short series whole, and five values spread evenly over a longer one."""
    if len(values) <= _LISTED:
        shown = values
    else:
        shown = values[np.linspace(0, len(values) - 1, 5).astype(int)]
    scale = abs(values[np.isfinite(values)]).max(initial=0)
    return ", ".join(_number(value, scale) for value in shown)


def _grid(label: str, kind: str, x, y, cells: np.ndarray) -> tuple[str, ...]:
    """Return a row for a picture: its shape, and of its cells the mean and the range."""
    shape = "×".join(map(str, cells.shape))
    return _row(label, kind, x, y, cells, n=shape, listed=_range(_floats(cells)))


def _range(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "–"
    low, high = (_number(end, abs(finite).max()) for end in (finite.min(), finite.max()))
    return low if low == high else f"{low} to {high}"


def _number(value: float, scale: float = 0.0) -> str:
    """Return four significant digits, and 0 for what is rounding noise beside `scale`."""
    return format(0.0 if abs(value) < max(1e-12, 1e-7 * scale) else float(value), ".4g")


def _floats(values) -> np.ndarray:
    return np.ma.filled(np.ma.asarray(values, dtype=float), np.nan).ravel()


def _flat(text: str) -> str:
    """Return a label on one line, without the dollar signs around its mathematics."""
    return " ".join(text.replace("$", "").split())


def _last_point(line: Line2D) -> tuple[float, float]:
    points = line.get_xydata()
    return tuple(points[np.isfinite(points).all(axis=1)][-1])


def _colorbar_labels(ax: Axes) -> Iterator[str]:
    for artist in [*ax.collections, *ax.get_images()]:
        if artist.colorbar:
            yield artist.colorbar.ax.get_ylabel() or artist.colorbar.ax.get_xlabel()


def _readable(color) -> str:
    """Darken a color until text in it has a contrast of 4.5:1 against white."""
    rgb = np.array(to_rgb(color))
    while _luminance(rgb) > 1.05 / 4.5 - 0.05:
        rgb *= 0.97
    return to_hex(rgb)


def _luminance(rgb: np.ndarray) -> float:
    """Return WCAG's relative luminance of an sRGB color in [0, 1]."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _few_colors(png: io.BytesIO) -> bytes:
    """Return a drawing in 256 colors, a third of the bytes; what is lost can't be seen."""
    drawing = Image.open(png).convert("RGB")
    method, dither = Image.Quantize.FASTOCTREE, Image.Dither.NONE
    smaller = io.BytesIO()
    drawing.quantize(256, method, dither=dither).save(smaller, "png", optimize=True)
    return smaller.getvalue()


def _check_words(caption: str, alt: str) -> None:
    if not caption.strip():
        raise ValueError("caption: expected a sentence that says what to see, got nothing")
    if len(alt.strip()) < _SHORTEST_ALT:
        raise ValueError(
            f"alt: expected at least {_SHORTEST_ALT} characters, got {len(alt.strip())} ({alt!r}). "
            "Say what kind of figure it is, what its axes hold, and what a reader sees in it, "
            "as you would on the telephone."
        )
    if alt.strip() == caption.strip():
        raise ValueError(
            "alt: expected words of its own, got the caption again. "
            "The caption says what to notice; the alternative text describes what is drawn."
        )


def _check_axes(fig: Figure) -> None:
    for number, ax in enumerate(fig.axes, 1):
        # A label of the whole figure counts for each of its axes.
        axes = {"x": (ax.xaxis, fig.get_supxlabel()), "y": (ax.yaxis, fig.get_supylabel())}
        for name, (axis, shared) in axes.items():
            labels = [tick.get_text() for tick in axis.get_ticklabels() if tick.get_visible()]
            has_numbers = any(any(map(str.isdigit, label)) for label in labels)
            if ax.axison and has_numbers and not axis.get_label_text() and not shared:
                raise ValueError(
                    f"fig: axes {number} show numbers along {name} and no label. "
                    f"Say what they are and their unit: ax.set_{name}label('distance (sides)')"
                )
