"""What the interactive figures on initialization show, computed by Python from the same random draws."""

import functools

import numpy as np
import torch

from derived.explorables import AttentionTemperature
from derived.initialization import softmax_jacobian_norm

__all__ = ["ACTIVATIONS", "mulberry32", "normals", "signal", "temperature", "temperature_draws"]

F = torch.nn.functional
ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh, "selu": F.selu}


def mulberry32(seed, count):
    """The generator's numbers in (0, 1); its state only counts, so all can be mixed at once."""
    mask = np.uint64(2**32 - 1)
    state = (
        np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x6D2B79F5) + np.uint64(seed)
    ) & mask

    def shifted(x, bits):
        return x ^ (x >> np.uint64(bits))

    t = (shifted(state, 15) * (state | np.uint64(1))) & mask
    t ^= (t + ((shifted(t, 7) * (t | np.uint64(61))) & mask)) & mask
    return (shifted(t, 14) + 0.5) / 2**32


@functools.cache
def normals(seed, count):
    """Standard normal numbers by Box and Muller, as a point of the plane for each two."""
    radius, turn = mulberry32(seed, count).reshape(-1, 2).T
    z = np.sqrt(-2 * np.log(radius)) * np.exp(2j * np.pi * turn)
    return np.stack([z.real, z.imag], 1).reshape(-1)


def temperature_draws():
    """The logits of 200 queries over 1024 keys, before they are scaled."""
    return torch.tensor(normals(1, 200 * 1024)).reshape(200, 1024)


def temperature(state):
    """For each exponent: σ, and over the 200 queries the entropy, the mean and the median gradient."""
    found = {}
    for exponent in (0, 0.5, 1):
        sigma = AttentionTemperature(**{**state, "exponent": exponent}).sigma
        p = (sigma * temperature_draws()[:, : state["n"]]).softmax(1)
        gradient = softmax_jacobian_norm(p) * sigma / state["sigma_q"]
        found[exponent] = {
            "sigma": sigma,
            "entropy": torch.special.entr(p).sum(1).mean().item(),
            "mean": gradient.mean().item(),
            "median": gradient.quantile(0.5).item(),
        }
    return found


def signal(state):
    """q of 40 networks after 0, 1, … layers."""
    draws = torch.tensor(normals(state["seed"], 2 * 40 * 50 * 256)[: 40 * 50 * 256])
    draws = draws.reshape(40, 50, 256)[:, : state["depth"], : state["width"]]
    q = [torch.ones(40, 1, dtype=torch.float64)]
    for layer in draws.unbind(1):
        h = ACTIVATIONS[state["activation"]](q[-1].sqrt() * layer)
        q.append(state["gain"] ** 2 * h.square().mean(1, keepdim=True))
    return torch.cat(q, 1)
