"""Interactive figures: one front end for notebooks and for the website, numbers tested against Python."""

from derived.explorables._base import Explorable, module_source
from derived.explorables.iou import PushABox
from derived.explorables.linear_attention import MatrixMemory

__all__ = ["EXPLORABLES", "Explorable", "MatrixMemory", "PushABox", "module_source"]

EXPLORABLES: dict[str, type[Explorable]] = {
    figure.name: figure for figure in (PushABox, MatrixMemory)
}
