"""Colors as people see them: contrast, and differences under three kinds of color blindness."""

from itertools import combinations

import numpy as np
from matplotlib.colors import to_rgb

# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
COLOR_BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # of linear sRGB


def linear(color):
    """Return a color's linear sRGB."""
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(color, other):
    """Return WCAG's contrast of two colors."""
    low, high = sorted(linear(c) @ XYZ[1] for c in (color, other))
    return (high + 0.05) / (low + 0.05)


def seen(color, kind):
    """Return a color in CIELAB as seen with a kind of color blindness."""
    rgb = np.clip(COLOR_BLINDNESS[kind] @ linear(color), 0, 1)
    ratio = XYZ @ rgb / [0.9505, 1.0, 1.089]
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(color, other, kind):
    """Return CIE76's difference of two colors as seen with a kind of color blindness."""
    return float(np.linalg.norm(seen(color, kind) - seen(other, kind)))


def least_difference(colors, kind):
    """Return the smallest difference among colors as seen with a kind of color blindness."""
    return min(difference(a, b, kind) for a, b in combinations(colors, 2))
