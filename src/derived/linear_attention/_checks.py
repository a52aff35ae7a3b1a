"""What sequences, decays and states must be, alone and together."""

import warnings
from collections.abc import Callable
from typing import Any

import torch

from derived._validation import checks_values, finite_floats, real_tensor
from derived.linear_attention._precision import _wide

_LENGTH = 2  # which dimension it is
_ROUNDING = 1e-5  # the square of a unit key is 1 up to this, or to that of the key's dtype


def _vectors(name: str, value: Any) -> None:
    """Refuse what is not vectors along the last dimension."""
    finite_floats(name, value)
    if value.ndim == 0:
        raise ValueError(f"{name}: expected shape (..., dim), got ()")


def _sequences(name: str, value: Any) -> None:
    """Refuse what is not laid out as (batch, heads, length, dim)."""
    finite_floats(name, value)
    if value.ndim != 4:
        raise ValueError(
            f"{name}: expected shape (batch, heads, length, dim), got {tuple(value.shape)}"
        )


def _log_decays(name: str, value: Any) -> None:
    """Refuse what is not logarithms of numbers between 0 and 1; None is no decay."""
    if value is None:
        return
    real_tensor(name, value)
    if not value.is_floating_point() or value.ndim == 0:
        raise ValueError(
            f"{name}: expected floats of shape (..., length), got {value.dtype}, "
            f"{tuple(value.shape)}"
        )
    if checks_values() and not (value <= 0).all():  # false for NaN, too
        worst = value[~(value <= 0)][0].item()
        raise ValueError(
            f"{name}: expected logarithms of decays between 0 and 1, so at most 0; got {worst:g}. "
            f"For a decay g pass g.log()"
        )


def _same(arguments: dict[str, Any], first: str, second: str, *, what: str, dims: list) -> None:
    """Refuse two tensors that differ in some dimensions."""
    shapes = [tuple(arguments[name].shape) for name in (first, second)]
    if any(shapes[0][dim] != shapes[1][dim] for dim in dims):
        raise ValueError(
            f"{first} and {second}: expected the same {what}, got {shapes[0]} and {shapes[1]}"
        )


def _related(arguments: dict[str, Any]) -> None:
    """Refuse queries, keys and values that don't belong together."""
    dtypes = [arguments[name].dtype for name in "qkv"]
    if len(set(dtypes)) > 1:
        raise ValueError("q, k and v: expected one dtype, got {}, {} and {}".format(*dtypes))
    _same(arguments, "q", "k", what="batch, heads and dim", dims=[0, 1, 3])
    _same(arguments, "k", "v", what="batch, heads and length", dims=[0, 1, _LENGTH])


def _side_by_side(arguments: dict[str, Any]) -> None:
    """Refuse queries, keys and values that can't be walked through together."""
    _related(arguments)
    _same(arguments, "q", "k", what="length", dims=[_LENGTH])


def _one_a_token(name: str, *, or_channel: bool = False) -> Callable[[dict[str, Any]], None]:
    """Return a check that an argument holds one number for each key (or each entry of one)."""

    def check(arguments: dict[str, Any]) -> None:
        value, k = arguments[name], arguments["k"]
        if value is None or value.shape == k.shape[:3] or (or_channel and value.shape == k.shape):
            return
        channel = ", or one a channel, the shape of k" if or_channel else ""
        raise ValueError(
            f"{name} and k: expected one {name} a token, shape (batch, heads, length){channel}; "
            f"got {tuple(value.shape)} and {tuple(k.shape)}"
        )

    return check


def _fitting_state(arguments: dict[str, Any]) -> None:
    """Refuse a state of another shape than that of an outer product of a key and a value."""
    k, v, state = (arguments[name] for name in ("k", "v", "state"))
    if state is not None and state.shape != (*k.shape[:2], k.shape[3], v.shape[3]):
        raise ValueError(
            f"state and k, v: expected shape (batch, heads, d_k, d_v), got {tuple(state.shape)} "
            f"and {tuple(k.shape)}, {tuple(v.shape)}"
        )


def _stable(arguments: dict[str, Any]) -> None:
    """Warn of steps of the delta rule that enlarge an error."""
    if arguments["beta"] is None or not checks_values():
        return
    beta, k = (_wide(arguments[name].detach()) for name in ("beta", "k"))
    rate = beta * k.square().sum(-1)
    rounding = max(_ROUNDING, 2 * torch.finfo(arguments["k"].dtype).eps)
    if ((rate < 0) | (rate > 2 + rounding)).any():
        warnings.warn(
            f"beta: a step is stable for 0 <= beta |k|^2 <= 2, got {rate.min():g} to "
            f"{rate.max():g}, and the state may grow without bound. Normalize the keys",
            stacklevel=3,  # mutants: skip (which line the warning names)
        )


def _has_positions(arguments: dict[str, Any]) -> None:
    """Refuse vectors without a position where that counts."""
    if arguments["kind"] == "cosformer" and arguments["x"].ndim < 2:
        raise ValueError(
            f"x: expected shape (..., length, dim) with kind='cosformer', got "
            f"{tuple(arguments['x'].shape)}"
        )


def _same_dim(first: str, second: str) -> Callable[[dict[str, Any]], None]:
    """Return a check that two tensors hold vectors of one dimension."""
    return lambda arguments: _same(arguments, first, second, what="last dimension", dims=[-1])


def _directions(name: str, value: Any) -> None:
    """Refuse what is not a list of vectors, at least one."""
    finite_floats(name, value)
    if value.ndim != 2 or len(value) == 0:
        raise ValueError(f"{name}: expected shape (number, dim), got {tuple(value.shape)}")


def _meaningful(arguments: dict[str, Any]) -> None:
    """Refuse what would look ahead, and weights that can't be normalized."""
    _related(arguments)
    kind, causal = arguments["kind"], arguments["causal"]
    if causal or kind == "cosformer":
        _same(arguments, "q", "k", what="length", dims=[_LENGTH])
    if causal and kind == "softmax":
        raise ValueError(
            "kind and causal: expected a kind that sees no later key, got kind='softmax', which is "
            "normalized over the whole length, with causal=True"
        )
    if arguments["normalize"] and kind == "identity":
        raise ValueError(
            "kind and normalize: expected a kind whose weights can't be negative, got "
            "kind='identity', whose weights can add up to 0, with normalize=True"
        )
