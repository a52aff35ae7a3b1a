"""Integrals over a normal distribution, on the CPU whatever the default device is."""

import math
from numbers import Real

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

_REACH = 12.0  # standard deviations; 1e-32 of a normal distribution lies beyond
_X, _WEIGHT = map(torch.from_numpy, leggauss(20))  # on the piece from -1 to 1
_KINKS = (
    torch.arange(-16, 17, dtype=torch.float64, device="cpu") / 2
)  # where activations are put together


def _normal_nodes(sigma: Real) -> tuple[Tensor, Tensor]:
    """Return where to evaluate a function of N(0, sigma²), and the weights, which add up to 1."""
    even = torch.linspace(-_REACH, _REACH, 49, dtype=torch.float64, device="cpu")
    kinks = (_KINKS / max(sigma, 1e-300)).clamp(-_REACH, _REACH)
    z, weight = _gauss_legendre(torch.cat([even, kinks]).unique())
    return sigma * z, weight * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _gauss_legendre(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of an integral over the pieces between sorted edges."""
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * _X).flatten(), (half[:, None] * _WEIGHT).flatten()
