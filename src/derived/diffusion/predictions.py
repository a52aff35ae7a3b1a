"""What a network may predict, and how one prediction becomes another."""

import numbers
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from derived._validation import (
    checks_values,
    finite_number,
    floats,
    one_of,
    positive_or_infinite,
    same_shape,
    validated,
)
from derived.diffusion._common import Prediction, Time, Weighted, _batch
from derived.diffusion.schedules import Schedule, _levels, _schedule, _timed


def _row(kind: Prediction, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return `(p, q)` of the prediction `p * x0 + q * eps`; the score counts as eps."""
    none, one = torch.zeros_like(alpha), torch.ones_like(alpha)
    return {
        "x0": (one, none),
        "eps": (none, one),
        "score": (none, one),
        "v": (-sigma, alpha),
        "velocity": (-one, one),
    }[kind]


def _determined(arguments: dict[str, Any]) -> None:
    """Refuse to find out what a prediction doesn't determine."""
    if not checks_values():
        return
    source, target = arguments["source"], arguments["target"]
    schedule, t = arguments["schedule"], arguments["t"]
    alpha, sigma = schedule._levels_at(t)
    noise = ("eps", "score")
    if source in noise and target not in noise and (alpha == 0).any():
        raise ValueError(
            f"source: at t = {schedule.end:g} the SNR is 0, where x is the noise itself and "
            f"{source!r} doesn't determine {target!r}; predict 'x0', 'v' or 'velocity' there"
        )
    if (sigma == 0).any() and source != target:
        if target == "score":
            raise ValueError("target: at sigma = 0 there is no noise, and -eps/sigma is no number")
        if source == "x0":
            raise ValueError(
                f"source: at sigma = 0 x is x0 itself, and 'x0' doesn't determine {target!r}"
            )


@validated(
    same_shape("pred", "x"),
    _timed("x", "t"),
    _determined,
    pred=_batch,
    x=_batch,
    source=one_of(get_args(Prediction)),
    target=one_of(get_args(Prediction)),
    schedule=_schedule,
)
def convert(
    pred: Float[Tensor, "batch *size"],
    x: Float[Tensor, "batch *size"],
    t: Time,
    source: Prediction,
    target: Prediction,
    schedule: Schedule,
) -> Float[Tensor, "batch *size"]:
    r"""Return the prediction `target` that says the same as the prediction `source`.

    Each is $p\,x_0+q\,\varepsilon$ (diffusion-predictions): `x0` has $(1,0)$, `eps` $(0,1)$, `v` $(-\sigma,\alpha)$,
    `velocity` $(-1,1)$, and `score` is $-\varepsilon/\sigma$. With $x=\alpha x_0+\sigma\varepsilon$ these are two
    equations for $x_0$ and $\varepsilon$, of determinant $\alpha q-\sigma p$ (diffusion-inverse). `velocity` is the
    derivative of $x_t$ for rectified flow only; as a prediction it serves with every schedule.

    Shapes: `(batch, ...)`, the same for `pred` and `x`; the result has the dtype of `pred`.

    Raises:
        ValueError: for different shapes, a time outside the schedule, an unknown prediction; at
            SNR 0 for `eps` or `score` as the source of another; at sigma 0 for `score` as the
            target and for `x0` as the source of another.
    """
    if source == target:
        return pred
    alpha, sigma = _levels(schedule, t, x)
    (p, q), (p_new, q_new) = (_row(kind, alpha, sigma) for kind in (source, target))
    given = pred.double() * -sigma if source == "score" else pred.double()
    if {source, target} == {"eps", "score"}:
        wanted = given
    else:
        wanted = (p_new * q - q_new * p) * x.double() + (alpha * q_new - sigma * p_new) * given
        wanted = wanted / (alpha * q - sigma * p)
    return (wanted / -sigma if target == "score" else wanted).to(pred.dtype)


@validated(same_shape("x0", "eps"), _timed("x0", "t"), x0=_batch, eps=_batch, schedule=_schedule)
def add_noise(
    x0: Float[Tensor, "batch *size"],
    eps: Float[Tensor, "batch *size"],
    t: Time,
    schedule: Schedule,
) -> Float[Tensor, "batch *size"]:
    r"""Return $x_t=\alpha_tx_0+\sigma_t\varepsilon$ (diffusion-forward), in the dtype of `x0`.

    Raises:
        ValueError: for different shapes, or a time outside the schedule.
    """
    alpha, sigma = _levels(schedule, t, x0)
    return (alpha * x0.double() + sigma * eps.double()).to(x0.dtype)


def _snr(name: str, value: Any) -> None:
    """Refuse what is not a tensor of ratios, from 0 to infinity."""
    floats(name, value)
    if checks_values() and not (value >= 0).all():
        raise ValueError(f"{name}: expected numbers of at least 0, got a negative one or NaN")


@validated(snr=_snr, kind=one_of(get_args(Weighted)), gamma=positive_or_infinite)
def loss_weight(
    kind: Weighted, snr: Float[Tensor, "*shape"], gamma: numbers.Real = 5.0
) -> Float[Tensor, "*shape"]:
    r"""Return the min-SNR weight of the squared error of a prediction (diffusion-min-snr).

    $\min(\mathrm{SNR},\gamma)$ for `x0`, divided by SNR for `eps`, by SNR + 1 for `v` and by
    $(\sqrt{\mathrm{SNR}}+1)^2$ for `velocity`: four names of one loss (see diffusion-loss-ratio), if
    $\alpha^2+\sigma^2=1$ in the case of `v`. With an infinite `gamma` it's the plain loss of the noise.
    SNR 0 and infinity have their limits as weights.

    Raises:
        ValueError: for a negative SNR or NaN, a `gamma` that isn't positive, an unknown `kind`.

    Source: Hang et al. (2023), section 3.4.
    """
    ratio = snr.double()
    weight = torch.where(ratio <= gamma, 1, gamma / ratio)
    if kind == "x0":
        weight = ratio.clamp(max=gamma)
    elif kind == "v":
        weight = weight / (1 + 1 / ratio)
    elif kind == "velocity":
        weight = weight / (1 + 1 / ratio.sqrt()) ** 2
    return weight.to(snr.dtype)


@validated(same_shape("cond", "uncond"), cond=floats, uncond=floats, w=finite_number)
def guide(
    cond: Float[Tensor, "*size"], uncond: Float[Tensor, "*size"], w: numbers.Real
) -> Float[Tensor, "*size"]:
    r"""Return the guided prediction $\hat y_u+w\,(\hat y_c-\hat y_u)$ (diffusion-guidance).

    `w = 0` ignores the condition, `w = 1` follows it, more exaggerates it. (Papers that write
    $1+w$ call our 1 their 0.) The same for all predictions, as their weights sum to 1; but clip
    only afterwards, since clipping is not affine.

    Raises:
        ValueError: for different shapes, or a weight that isn't a finite number.

    Source: Ho and Salimans (2022), equation 6.
    """
    return (uncond.double() + w * (cond.double() - uncond.double())).to(cond.dtype)
