"""Where tensors are made: what is computed on the CPU stays there, whatever the default is."""

import functools
from collections.abc import Callable

import torch

__all__ = ["on_the_cpu"]


def on_the_cpu(function: Callable) -> Callable:
    """Decorate a function so that the tensors that it makes are on the CPU."""

    @functools.wraps(function)
    def made(*args, **kwargs):
        if torch.get_default_device().type == "cpu":
            return function(*args, **kwargs)  # a default makes each call of PyTorch slower
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return made
