"""One token after the other, or in chunks: sums with decay, and the delta rule."""

import itertools
from collections.abc import Iterable, Iterator
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from derived._validation import count, finite_floats, finite_number, optional, validated
from derived.linear_attention._checks import (
    _LENGTH,
    _fitting_state,
    _log_decays,
    _one_a_token,
    _sequences,
    _side_by_side,
    _stable,
)
from derived.linear_attention._precision import _at_least_float32, _wide


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
    return _segsum(_wide(log_decay)).to(log_decay.dtype)


def _segsum(log_decay: Tensor) -> Tensor:
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
    beta=optional(finite_floats),
    state=optional(finite_floats),
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
    well (linear_attention-chunked-decay). The products are in float32 at least.

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
    beta=finite_floats,
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


def _chunks(parts: Iterable[tuple[Tensor, ...]]) -> Iterator[Tensor]:
    """Yield the outputs of each chunk of queries, keys and values, in float32 at least."""
    state = None
    for part in parts:
        state = _empty_state(*part[1:]) if state is None else state
        Q, K, V = (x.to(state.dtype) for x in part)
        yield (Q @ K.mT).tril() @ V + Q @ state
        state = state + K.mT @ V


def _decaying_chunks(
    parts: Iterable[tuple[Tensor, ...]], log_decays: Iterable[Tensor]
) -> Iterator[Tensor]:
    """Yield the outputs of each chunk as `_chunks` does, given logarithms of decays, too."""
    state = None
    for part, log in zip(parts, log_decays, strict=True):
        state = _empty_state(*part[1:]) if state is None else state
        Q, K, V = (x.to(state.dtype) for x in part)
        # D with the state as one more key, in front: row and column 0 stand for it.
        decay = _segsum(_wide(torch.nn.functional.pad(log, (1, 0)))).exp().to(V.dtype)
        of_keys, of_state = decay[..., 1:, 1:], decay[..., 1:, :1]
        yield (of_keys * (Q @ K.mT)) @ V + (of_state * Q) @ state
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
    # Like the first output, which torch.vmap may have made of one v for many queries.
    shape = *first.shape[:-2], v.shape[_LENGTH], first.shape[-1]
    out = first.new_empty(shape, dtype=v.dtype)
    blocks = out.split(first.shape[_LENGTH], _LENGTH)
    for block, output in zip(blocks, itertools.chain([first], outputs), strict=True):
        block.copy_(output)
    return out


def _empty_state(k: Tensor, v: Tensor) -> Tensor:
    shape = *k.shape[:2], k.shape[3], v.shape[3]
    return k.new_zeros(shape, dtype=_at_least_float32(k.dtype))
