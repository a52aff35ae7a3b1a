"""Attention without the softmax: feature maps, recurrences, their parallel forms, their memory.

All sequences are laid out as `(batch, heads, length, dim)`. A state is a matrix
`(batch, heads, d_k, d_v)`, the sum of outer products of keys and values. Labels in parentheses are
those of the equations in the chapter that a function computes; others it says to see.

- `recurrent`, `chunked` and `delta_rule` compute the bare sums: they divide by nothing and scale by
  nothing unless asked. For attention weights that add up to 1, call `linear_attention`.
- Any length will do, 0 and 1 included, and any size of chunk.
- Outputs have the dtype of the values. States are kept in float32 at least, since a state in
  bfloat16 stops growing when its sum is 256 times what is added.
- A decay of 0 (a logarithm of -inf) forgets exactly what came before, with finite gradients. So
  several sequences may stand one behind the other: put a decay of 0 at the first token of each.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from derived._validation import (
    broadcastable,
    checks_values,
    count,
    finite_number,
    one_of,
    real_tensor,
    validated,
)

__all__ = ["chunked", "delta_rule", "feature_map", "linear_attention", "random_feature_variance"]
__all__ += ["random_features", "recall_error", "recurrent", "segsum"]

FeatureMap = Literal["elu", "relu", "sphere", "taylor", "cosformer", "identity"]
Kind = Literal[FeatureMap, "softmax"]
RandomFeatures = Literal["positive", "trigonometric"]
Rule = Literal["hebb", "delta", "least_squares"]

_LENGTH = 2  # which dimension it is
_CHUNK = 64  # tokens at a time: a speed, not a value
_ROUNDING = 1e-5  # the square of a unit key is 1 up to this


def _floats(name: str, value: Any) -> None:
    """Refuse what is not a tensor of finite floats; look at the values only if they are checked."""
    real_tensor(name, value)
    if not value.is_floating_point():
        raise ValueError(f"{name}: expected floats, got {value.dtype}")
    # A sum is quicker to look at than all numbers, and is finite unless one of them isn't.
    if checks_values() and not value.detach().sum().isfinite() and not value.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, got {_first_not_finite(value)}")


def _first_not_finite(value: Tensor) -> str:
    index = (~value.isfinite()).nonzero()[0].tolist()
    return f"{value[tuple(index)].item()} at {index}"


def _vectors(name: str, value: Any) -> None:
    """Refuse what is not vectors along the last dimension."""
    _floats(name, value)
    if value.ndim == 0:
        raise ValueError(f"{name}: expected shape (..., dim), got ()")


def _sequences(name: str, value: Any) -> None:
    """Refuse what is not laid out as (batch, heads, length, dim)."""
    _floats(name, value)
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


def _optional_floats(name: str, value: Any) -> None:
    if value is not None:
        _floats(name, value)


def _share(name: str, value: Any) -> None:
    """Refuse what is not a number between 0 and 1."""
    finite_number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number between 0 and 1, got {value!r}")


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
    beta, k = (arguments[name].detach() for name in ("beta", "k"))
    rate = beta * k.square().sum(-1)
    if ((rate < 0) | (rate > 2 + _ROUNDING)).any():
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
    _floats(name, value)
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


@validated(_has_positions, x=_vectors, kind=one_of(get_args(FeatureMap)))
def feature_map(x: Float[Tensor, "*n d"], kind: FeatureMap = "elu") -> Float[Tensor, "*n r"]:
    r"""Return features whose inner products stand for the weights of attention.

    | kind        | $\phi(x)$                                     | number     |
    |-------------|-----------------------------------------------|------------|
    | `elu`       | $\operatorname{elu}(x)+1=e^{\min(x,0)}+[x]_+$ | d          |
    | `relu`      | $[x]_+$                                       | d          |
    | `sphere`    | $(1,\hat x)$, with $\hat x=x/\lVert x\rVert$  | 1 + d      |
    | `taylor`    | $(1,x,x\otimes x/\sqrt2)$                     | 1 + d + d² |
    | `cosformer` | $([x]_+\cos\theta_i,[x]_+\sin\theta_i)$       | 2 d        |
    | `identity`  | $x$                                           | d          |

    The products are $1+\cos$ of the angle for `sphere`, $1+s+s^2/2$ with $s=q^\top k$ for `taylor`
    (linear_attention-taylor), and $[q]_+^\top[k]_+\cos\frac{\pi(i-j)}{2m}$ for `cosformer`
    (linear_attention-cosformer), whose angle $\theta_i=\pi i/2m$ depends on the position
    $i=0,1,\dots$ along the length $m$ of x, its second to last dimension. The direction of a zero
    vector is 0.

    Shapes: `(..., d)` to `(..., r)`; cosformer needs `(..., length, d)`.
    Sources: Katharopoulos et al. (2020) for elu, Arora et al. (2024) for taylor, Qin et al. (2022),
    "cosFormer", for cosformer.

    Raises:
        ValueError: for a wrong shape, dtype or kind, NaN, infinity.
    """
    return _feature_map(x, kind)


@validated(
    _same_dim("x", "directions"),
    x=_vectors,
    directions=_directions,
    kind=one_of(get_args(RandomFeatures)),
)
def random_features(
    x: Float[Tensor, "*n d"],
    directions: Float[Tensor, "m d"],
    kind: RandomFeatures = "positive",
) -> Float[Tensor, "*n r"]:
    r"""Return random features, whose inner products are $e^{q^\top k}$ in the mean
    (linear_attention-random-features).

    For directions $w_1,\dots,w_m$ drawn from $\mathcal N(0,I)$: positive features are
    $m^{-1/2}e^{w^\top x-\lVert x\rVert^2/2}$, trigonometric ones
    $m^{-1/2}e^{\lVert x\rVert^2/2}(\cos w^\top x,\sin w^\top x)$.

    Shapes: `(..., d)` and `(m, d)` to `(..., m)`, trigonometric to `(..., 2 m)`.
    Source: Choromanski et al. (2021).

    Raises:
        ValueError: for a wrong shape, dtype or kind, NaN, infinity.
    """
    projection, half_square = x @ directions.mT, x.square().sum(-1, keepdim=True) / 2
    if kind == "positive":
        features = (projection - half_square).exp()
    else:
        features = half_square.exp() * torch.cat([projection.cos(), projection.sin()], -1)
    return features / math.sqrt(len(directions))


@validated(
    _same_dim("q", "k"),
    broadcastable("q", "k", hint="For every query with every key, pass q[..., :, None, :]."),
    q=_vectors,
    k=_vectors,
    kind=one_of(get_args(RandomFeatures)),
)
def random_feature_variance(
    q: Float[Tensor, "*#n d"], k: Float[Tensor, "*#n d"], kind: RandomFeatures = "positive"
) -> Float[Tensor, "*#n"]:
    r"""Return the variance of one random direction's estimate of $e^{q^\top k}$.

    Of the mean of m it is the m-th part. For positive features it is
    $e^{2q^\top k}(e^{\lVert q+k\rVert^2}-1)$, for trigonometric ones
    $\frac12e^{\lVert q\rVert^2+\lVert k\rVert^2}(1-e^{-\lVert q-k\rVert^2})^2$
    (linear_attention-random-variance).

    Shapes: `(..., d)` and `(..., d)`, whose leading dimensions broadcast, to `(...)`.

    Raises:
        ValueError: for a wrong shape, dtype or kind, NaN, infinity.
    """
    # In each the exponents are added first: their powers could be infinite and 0.
    if kind == "positive":
        squared = (q + k).square().sum(-1)
        return (2 * (q * k).sum(-1) + squared).exp() * -(-squared).expm1()
    missing = -(-(q - k).square().sum(-1)).expm1()
    same = missing < torch.finfo(missing.dtype).tiny
    exponent = q.square().sum(-1) + k.square().sum(-1) + 2 * missing.masked_fill(same, 1).log()
    return exponent.masked_fill(same, -torch.inf).exp() / 2


@validated(_meaningful, q=_sequences, k=_sequences, v=_sequences, kind=one_of(get_args(Kind)))
def linear_attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    kind: Kind = "elu",
    causal: bool = False,
    normalize: bool = True,
) -> Float[Tensor, "b h n e"]:
    r"""Return attention whose weights are inner products of features, in linear time.

    $$o_i=\frac{\sum_j\phi(q_i)^\top\phi(k_j)\,v_j}{\sum_j\phi(q_i)^\top\phi(k_j)}$$

    The sums run over all j (linear_attention-factored), or over j <= i if `causal`
    (linear_attention-recurrence). Where all weights of a query are 0, so is
    its output, and the gradient. Kind softmax takes the softmax of q over the dimension and of k
    over the length (linear_attention-total-probability).

    Shapes: `(b, h, n, d)`, `(b, h, m, d)`, `(b, h, m, e)` to `(b, h, n, e)`; n = m if causal.

    Args:
        kind: of features, see `feature_map`.
        causal: let a query see only keys up to its own position.
        normalize: divide by the sum of the weights.

    Raises:
        ValueError: for a wrong shape, dtype or kind, NaN, infinity, weights that can be negative
            with `normalize`, a kind that looks ahead with `causal`.
    """
    if causal:
        features = (_feature_chunks(x, kind) for x in (q, k))
        values = (_with_one(V, normalize) for V in v.split(_CHUNK, _LENGTH))
        outputs = _chunks(zip(*features, values, strict=True))
        return _joined((_normalized(out, normalize) for out in outputs), v)
    if kind == "softmax":
        q, k = q.softmax(-1), k.softmax(_LENGTH)
    else:
        q, k = _feature_map(q, kind), _feature_map(k, kind)
    return _normalized(q @ (k.mT @ _with_one(v, normalize)), normalize)


@validated(log_decay=_log_decays)
def segsum(log_decay: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n n"]:
    r"""Return the logarithms of all products of decays, $\ln D_{ij}=\sum_{l=j+1}^i\ln\gamma_l$.

    D is the matrix of decays (linear_attention-decay). The logarithm is 0 on the diagonal and -inf
    above it. Summing over what lies between, rather than subtracting two sums from the start, keeps
    -inf (a decay of 0) exact and small sums precise.
    Shapes: `(..., n)` to `(..., n, n)`. Source: Dao and Gu (2024), listing 1.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, logarithms above 0.
    """
    n = log_decay.shape[-1]
    lower = torch.ones(n, n, dtype=torch.bool, device=log_decay.device).tril()
    terms = log_decay[..., None].expand(*log_decay.shape, n)  # the same for all j
    return terms.masked_fill(~lower.tril(-1), 0).cumsum(-2).masked_fill(~lower, -torch.inf)


@validated(
    _side_by_side,
    _one_a_token("log_decay", or_channel=True),
    _one_a_token("beta"),
    _fitting_state,
    _stable,
    q=_sequences,
    k=_sequences,
    v=_sequences,
    log_decay=_log_decays,
    beta=_optional_floats,
    state=_optional_floats,
    scale=finite_number,
)
def recurrent(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n e"],
    *,
    log_decay: Float[Tensor, "b h n"] | Float[Tensor, "b h n d"] | None = None,
    beta: Float[Tensor, "b h n"] | None = None,
    state: Float[Tensor, "b h d e"] | None = None,
    scale: Real = 1.0,
) -> tuple[Float[Tensor, "b h n e"], Float[Tensor, "b h d e"]]:
    r"""Return outputs and the last state of the recurrence, one token after the other.

    $$S_t=\gamma_tS_{t-1}+k_tv_t^\top,\qquad o_t=S_t^\top q_t$$

    Without decay it is the plain sum (linear_attention-recurrence), else that with one decay a
    token (linear_attention-decay) or one a channel (linear_attention-gates). With `beta` it writes
    what is missing from what it would read, the gated delta rule (linear_attention-delta,
    linear_attention-rules), $S_t=\gamma_t(I-\beta_tk_tk_t^\top)S_{t-1}+\beta_tk_tv_t^\top$.

    Shapes: `(b, h, n, d)`, `(b, h, n, d)`, `(b, h, n, e)` to `(b, h, n, e)` and `(b, h, d, e)`.

    Args:
        log_decay: $\ln\gamma_t$, one a token, or one a channel of the keys, $(\ln\gamma_t)_c$.
        beta: the step size of the delta rule.
        state: where to start, zero by default; it is not changed.
        scale: a factor of the outputs.

    Warns if a step of the delta rule is not stable, $\beta\lVert k\rVert^2\notin[0,2]$.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, logarithms above 0.
    """
    work = _at_least_float32(v.dtype)
    state = _empty_state(k, v) if state is None else state.to(work)
    if log_decay is not None and log_decay.ndim == 3:
        log_decay = log_decay[..., None]
    outputs = [v[:, :, :0].to(work)]
    for t in range(k.shape[_LENGTH]):
        query, key, value = (x[:, :, t, None].to(work) for x in (q, k, v))  # rows
        if log_decay is not None:
            state = log_decay[:, :, t, :, None].to(work).exp() * state
        if beta is not None:
            value = beta[:, :, t, None, None].to(work) * (value - key @ state)
        state = state + key.mT * value
        outputs.append(scale * query @ state)
    return torch.cat(outputs, _LENGTH).to(v.dtype), state


@validated(
    _side_by_side,
    _one_a_token("log_decay"),
    q=_sequences,
    k=_sequences,
    v=_sequences,
    log_decay=_log_decays,
    chunk=count,
    scale=finite_number,
)
def chunked(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n e"],
    *,
    log_decay: Float[Tensor, "b h n"] | None = None,
    chunk: int = 64,
    scale: Real = 1.0,
) -> Float[Tensor, "b h n e"]:
    r"""Return what `recurrent` does, with matrix products within chunks and one state between them.

    $$O_c=Q_cS_{c-1}+((Q_cK_c^\top)\odot M)V_c,\qquad S_c=S_{c-1}+K_c^\top V_c$$

    So it is without decays (linear_attention-chunked). With them, M is
    $D_{ij}=\prod_{l=j+1}^i\gamma_l$ (see `segsum`), and what passes from chunk to chunk decays as
    well (linear_attention-chunked-decay). The products are in the dtype of the inputs.

    Shapes: `(b, h, n, d)`, `(b, h, n, d)`, `(b, h, n, e)` to `(b, h, n, e)`, for any n.

    Args:
        log_decay: $\ln\gamma_t$, one a token.
        chunk: tokens at a time; it changes the speed, not the result. Larger ones suit a GPU.
        scale: a factor of the outputs.

    Raises:
        ValueError: for a wrong shape or dtype, NaN, infinity, logarithms above 0.
    """
    parts = zip(*[x.split(chunk, _LENGTH) for x in (q, k, v)], strict=True)
    if log_decay is None:
        outputs = _chunks(parts)
    else:
        outputs = _decaying_chunks(parts, log_decay.split(chunk, _LENGTH))
    return _joined((scale * out for out in outputs), v)


@validated(
    _side_by_side,
    _one_a_token("beta"),
    _stable,
    q=_sequences,
    k=_sequences,
    v=_sequences,
    beta=_floats,
    chunk=count,
    scale=finite_number,
)
def delta_rule(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h n d"],
    v: Float[Tensor, "b h n e"],
    beta: Float[Tensor, "b h n"],
    *,
    chunk: int = 64,
    scale: Real = 1.0,
) -> Float[Tensor, "b h n e"]:
    r"""Return the outputs of the delta rule, with one triangular system a chunk.

    $$\bigl(I+\operatorname{tril}(\operatorname{diag}(\beta)KK^\top,-1)\bigr)U
    =\operatorname{diag}(\beta)(V-KS)$$

    U holds what is written in place of the values; with it, all is as in `chunked`
    (linear_attention-delta-ut). The result is that of `recurrent` with `beta`
    (linear_attention-delta).

    Shapes: `(b, h, n, d)`, `(b, h, n, d)`, `(b, h, n, e)`, `(b, h, n)` to `(b, h, n, e)`.
    Args, errors and the warning as for `recurrent` and `chunked`.
    Source: Yang et al. (2024), "Parallelizing linear transformers with the delta rule over sequence
    length".
    """
    parts = zip(*[x.split(chunk, _LENGTH) for x in (q, k, v, beta[..., None])], strict=True)
    return _joined((scale * out for out in _delta_chunks(parts)), v)


@validated(pairs=count, dim=count, rule=one_of(get_args(Rule)), decay=_share, beta=finite_number)
def recall_error(
    pairs: int, dim: int, rule: Rule = "hebb", *, decay: Real = 1.0, beta: Real = 1.0
) -> Float64[Tensor, "{pairs}"]:
    r"""Return the expected error of reading each pair from a memory, oldest first.

    The error is $\lVert S^\top k_i-v_i\rVert^2$ after all pairs have been written once. Keys are
    independent and uniform on the unit sphere, values have length 1. Exact for any number of pairs
    (linear_attention-hebb-error, linear_attention-delta-age, linear_attention-least-squares).

    Shape: `(pairs,)`; its mean is the error of a pair drawn at random.

    Args:
        rule: hebb writes as `recurrent` does, delta as it does with `beta`, least_squares is the
            state with the least sum of errors, for values that are independent with mean 0.
        decay: $\gamma$, the same for each step; not for least_squares.
        beta: of the delta rule.

    Raises:
        ValueError: for counts below 1, an unknown rule, a decay outside 0 to 1.
    """
    if rule == "least_squares":
        return torch.full((pairs,), max(0, 1 - dim / pairs), dtype=torch.float64)
    write, erase = (beta, beta) if rule == "delta" else (1, 0)
    # The means of |S^T k|^2 and v^T S^T k for each pair, and of |S|^2, written pair by pair.
    square, signal = torch.empty(2, pairs, dtype=torch.float64)
    norm = 0.0
    for t in range(pairs):
        norm *= decay**2
        square[:t] *= decay**2 * (1 - 2 * erase / dim + 2 * erase**2 / (dim * (dim + 2)))
        square[:t] += erase**2 * norm / (dim * (dim + 2)) + write**2 / dim
        signal[:t] *= decay * (1 - erase / dim)
        square[t] = (1 - erase) ** 2 * norm / dim + write**2
        signal[t] = write
        norm = (1 - erase * (2 - erase) / dim) * norm + write**2
    return square - 2 * signal + 1


def _feature_map(x: Tensor, kind: FeatureMap) -> Tensor:
    if kind == "elu":
        return x.clamp(max=0).exp() + x.relu()
    if kind == "relu":
        return x.relu()
    one = x.new_ones(*x.shape[:-1], 1)  # also for vectors of no dimension
    if kind == "sphere":
        direction = _ratio(x, torch.linalg.vector_norm(x, dim=-1, keepdim=True))
        return torch.cat([one, direction], -1)
    if kind == "taylor":
        products = (x[..., :, None] * x[..., None, :]).flatten(-2) / math.sqrt(2)
        return torch.cat([one, x, products], -1)
    if kind == "cosformer":
        n = x.shape[-2]
        angle = torch.pi / 2 * torch.arange(n, device=x.device, dtype=x.dtype)[:, None] / n
        return torch.cat([x.relu() * angle.cos(), x.relu() * angle.sin()], -1)
    return x


def _feature_chunks(x: Tensor, kind: FeatureMap) -> Iterable[Tensor]:
    """Return the features of each chunk, made when it is its turn, so that they stay in the cache.

    Only those that depend on the position are made all at once.
    """
    if kind == "cosformer":
        return _feature_map(x, kind).split(_CHUNK, _LENGTH)
    return (_feature_map(part, kind) for part in x.split(_CHUNK, _LENGTH))


def _with_one(v: Tensor, normalize: bool) -> Tensor:
    """Append a value of 1, which comes out as the sum of the weights."""
    return torch.nn.functional.pad(v, (0, 1), value=1) if normalize else v


def _normalized(out: Tensor, normalize: bool) -> Tensor:
    return _ratio(out[..., :-1], out[..., -1:]) if normalize else out


def _chunks(parts: Iterable[tuple[Tensor, ...]]) -> Iterator[Tensor]:
    """Yield the outputs of each chunk of queries, keys and values."""
    state = None
    for Q, K, V in parts:
        state = _empty_state(K, V) if state is None else state
        yield (Q @ K.mT).tril() @ V + Q @ state.to(V.dtype)
        state = state + K.mT @ V


def _decaying_chunks(
    parts: Iterable[tuple[Tensor, ...]], log_decays: Iterable[Tensor]
) -> Iterator[Tensor]:
    """Yield the outputs of each chunk of queries, keys and values, and logarithms of decays."""
    state = None
    for (Q, K, V), log in zip(parts, log_decays, strict=True):
        state = _empty_state(K, V) if state is None else state
        # D with the state as one more key, in front: row and column 0 stand for it.
        decay = segsum(torch.nn.functional.pad(log, (1, 0))).exp().to(V.dtype)
        of_keys, of_state = decay[..., 1:, 1:], decay[..., 1:, :1]
        yield (of_keys * (Q @ K.mT)) @ V + (of_state * Q) @ state.to(V.dtype)
        until_end = decay[..., -1:, :].mT
        state = until_end[..., :1, :] * state + (until_end[..., 1:, :] * K).mT @ V


def _delta_chunks(parts: Iterable[tuple[Tensor, ...]]) -> Iterator[Tensor]:
    """Yield the outputs of each chunk of queries, keys, values and step sizes, in float32 at least.

    There is no triangular solver for less.
    """
    state = None
    for part in parts:
        state = _empty_state(*part[1:3]) if state is None else state
        Q, K, V, beta = (x.to(state.dtype) for x in part)
        # Told so, the solver takes the diagonal for ones and does not look above it.
        written = torch.linalg.solve_triangular(
            beta * K @ K.mT, beta * (V - K @ state), upper=False, unitriangular=True
        )
        yield (Q @ K.mT).tril() @ written + Q @ state
        state = state + K.mT @ written


def _joined(outputs: Iterator[Tensor], v: Tensor) -> Tensor:
    """Return the outputs of all chunks as one tensor like v, needing memory for little else."""
    first = next(outputs)
    if first.requires_grad:
        return torch.cat([first, *outputs], _LENGTH).to(v.dtype)
    out = torch.empty_like(v)
    blocks = out.split(first.shape[_LENGTH], _LENGTH)
    for block, output in zip(blocks, itertools.chain([first], outputs), strict=True):
        block.copy_(output)
    return out


def _empty_state(k: Tensor, v: Tensor) -> Tensor:
    shape = *k.shape[:2], k.shape[3], v.shape[3]
    return k.new_zeros(shape, dtype=_at_least_float32(k.dtype))


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole, and 0 where that is 0: over infinity, so that the gradient is 0 too."""
    tiny = torch.finfo(whole.dtype).tiny
    return part / torch.nn.functional.threshold(whole, tiny, torch.inf)
