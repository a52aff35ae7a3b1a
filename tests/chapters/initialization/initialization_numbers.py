"""What the interactive figures on initialization show, computed by Python from the same random draws."""

import torch
from support import normals

from derived.explorables import AttentionTemperature
from derived.initialization import softmax_jacobian_norm

__all__ = ["ACTIVATIONS", "signal", "temperature", "temperature_draws"]

F = torch.nn.functional
ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh, "selu": F.selu}


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
