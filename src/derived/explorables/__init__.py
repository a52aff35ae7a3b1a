"""Interactive figures: one front end for notebooks and for the website, numbers tested against Python."""

from derived.explorables._base import Explorable, module_source
from derived.explorables.diffusion import DenoiseAPoint, GuidancePaths
from derived.explorables.initialization import AttentionTemperature, SignalThroughDepth
from derived.explorables.iou import PushABox
from derived.explorables.linear_attention import MatrixMemory

__all__ = [
    "EXPLORABLES",
    "AttentionTemperature",
    "DenoiseAPoint",
    "Explorable",
    "GuidancePaths",
    "MatrixMemory",
    "PushABox",
    "SignalThroughDepth",
    "module_source",
]

EXPLORABLES: dict[str, type[Explorable]] = {
    figure.name: figure
    for figure in (
        AttentionTemperature,
        SignalThroughDepth,
        MatrixMemory,
        PushABox,
        DenoiseAPoint,
        GuidancePaths,
    )
}
