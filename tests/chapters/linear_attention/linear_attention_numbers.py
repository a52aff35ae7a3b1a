"""What the figure "matrix memory" shows, computed by Python for the keys that the figure drew."""

import math

import torch

from derived.linear_attention import recurrent

__all__ = ["LETTERS", "RULES", "memory", "values"]

RULES = ("hebb", "decay", "delta", "softmax")
LETTERS = "ABCDEFGHIJKL"


def values(order):
    """The one-hot values of the letters, (N, 12)."""
    index = torch.tensor([LETTERS.index(letter) for letter in order])
    return torch.nn.functional.one_hot(index, len(LETTERS)).double()


def memory(state, keys, rule):
    """The matrix (None for softmax), the answers (N, 12) and the squared read errors (N)."""
    k, v = torch.as_tensor(keys, dtype=torch.float64)[None, None], values(state["order"])
    written = v[None, None]
    if rule == "softmax":
        matrix = None
        attention = torch.nn.functional.scaled_dot_product_attention
        answers = attention(k, k, written, scale=state["scale"])[0, 0]
    else:
        parameters = {}
        if rule == "decay":
            decay = state["decay"]
            log_decay = math.log(decay) if decay else -math.inf
            parameters = {"log_decay": torch.full_like(k[..., 0], log_decay)}
        if rule == "delta":
            parameters = {"beta": torch.full_like(k[..., 0], state["beta"])}
        _, matrix = recurrent(k, k, written, **parameters)
        answers, matrix = (k @ matrix)[0, 0], matrix[0, 0]
    return matrix, answers, (answers - v).square().sum(1)
