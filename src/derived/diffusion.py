r"""Diffusion: schedules, predictions, samplers, and a mixture of Gaussians of which all is known.

A noisy state is $x_t=\alpha_tx_0+\sigma_t\varepsilon$, $\varepsilon\sim\mathcal N(0,I)$; a `Schedule` says what
$\alpha_t$ and $\sigma_t$ are. Labels in parentheses are those of the equations in the chapter, without
its name in front.

- A time `t` runs from 0, the data, to `schedule.end`, the noise. For a chain of `T` steps, `t` is an
  integer and `end` is `T`: step `t` is the papers' step `t`, and 0 is before the first, with
  $\alpha_0=1$. (Libraries that count steps from 0 call our step `t` their `t - 1`.) For rectified flow
  `t` is a fraction of 1, for EDM it is $\sigma$ itself.
- A `t` beside an `x` of shape `(batch, ...)` is one number or one a sample, `(batch,)`.
- Coefficients are computed in float64 from closed forms that lose no digits near `t = 0`, and so are
  the sums with them: with float32 or float16 in and out, only the last rounding is theirs.
- A `denoiser(x, t)` returns the prediction of $x_0$, of x's shape. It gets x in the dtype that the
  sampler was given, and t as `(batch,)`: integers for a chain, floats of at least 32 bits otherwise.
"""

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Real
from torch import Tensor

from derived._validation import (
    checks_values,
    count,
    finite_number,
    one_of,
    real_tensor,
    validated,
)

__all__ = ["GaussianMixture", "Schedule", "add_noise", "convert", "ddim_step", "guide"]
__all__ += ["karras_sigmas", "loss_weight", "sample"]
__all__ += ["energy_distance", "frechet_distance", "log_likelihood"]

Prediction = Literal["x0", "eps", "v", "score", "velocity"]
Solver = Literal["ddim", "heun", "dpmpp_2m"]
Weighted = Literal["x0", "eps", "v", "velocity"]
Denoiser = Callable[[Tensor, Tensor], Tensor]
Time = numbers.Real | Real[Tensor, ""] | Real[Tensor, "batch"]


def _floats(name: str, value: Any) -> None:
    """Refuse what is not a tensor of floats."""
    real_tensor(name, value)
    if not value.is_floating_point():
        raise ValueError(f"{name}: expected floats, got {value.dtype}")


def _batch(name: str, value: Any) -> None:
    """Refuse what is not a batch of float samples."""
    _floats(name, value)
    if value.ndim == 0:
        raise ValueError(f"{name}: expected shape (batch, ...), got ()")


def _same_shape(first: str, second: str) -> Callable[[dict[str, Any]], None]:
    """Return a check that two tensors have one shape; broadcasting would hide a mistake."""

    def check(arguments: dict[str, Any]) -> None:
        shapes = [tuple(arguments[name].shape) for name in (first, second)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{first} and {second}: expected one shape, got {shapes[0]} and {shapes[1]}"
            )

    return check


def _between(least: numbers.Real, most: numbers.Real) -> Callable[[str, Any], None]:
    """Return a check that a number is finite and in a closed range."""

    def check(name: str, value: Any) -> None:
        finite_number(name, value)
        if not least <= value <= most:
            raise ValueError(f"{name}: expected a number from {least:g} to {most:g}, got {value!r}")

    return check


def _positive(name: str, value: Any) -> None:
    """Refuse what is not a finite number above 0."""
    finite_number(name, value)
    if value <= 0:
        raise ValueError(f"{name}: expected a number above 0, got {value!r}")


# The oracle --------------------------------------------------------------------------------------


def _level(name: str, value: Any) -> None:
    """Refuse what is not a level of signal or noise: finite and at least 0."""
    if not isinstance(value, Tensor):
        finite_number(name, value)
    if not isinstance(value, Tensor) or checks_values():
        value = torch.as_tensor(value)
        if not ((value >= 0) & value.isfinite()).all():
            raise ValueError(f"{name}: expected finite numbers of at least 0, got {value.tolist()}")


def _points(arguments: dict[str, Any]) -> None:
    """Refuse points of another dimension than the mixture's, and levels for another number."""
    x, dim = arguments["x"], arguments["self"].means.shape[1]
    if x.ndim != 2 or x.shape[1] != dim:
        raise ValueError(f"x: expected shape (batch, {dim}), got {tuple(x.shape)}")
    for name in ("alpha", "sigma"):
        shape = torch.as_tensor(arguments[name]).shape
        if shape not in ((), (len(x),)):
            raise ValueError(f"{name}: expected a number or shape ({len(x)},), got {tuple(shape)}")


_at_points = validated(_points, x=_floats, alpha=_level, sigma=_level)


def _finite_tensor(name: str, value: Any) -> None:
    """Refuse what is not a tensor of finite numbers."""
    real_tensor(name, value)
    if not value.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, got {value.tolist()}")


def _components(arguments: dict[str, Any]) -> None:
    """Refuse what doesn't describe the components of a mixture."""
    weights, means, stds = (arguments[name] for name in ("weights", "means", "stds"))
    k = weights.shape if weights.ndim == 1 and len(weights) else None
    if means.ndim != 2 or not k == means.shape[:1] == stds.shape:
        raise ValueError(
            "weights, means and stds: expected shapes (k,), (k, dim) and (k,), got "
            f"{tuple(weights.shape)}, {tuple(means.shape)} and {tuple(stds.shape)}"
        )
    if not (weights > 0).all() or abs(weights.sum() - 1) > 1e-6:
        raise ValueError(f"weights: expected positive numbers of sum 1, got {weights.tolist()}")
    if (stds < 0).any():
        raise ValueError(f"stds: expected numbers of at least 0, got {stds.tolist()}")


@dataclass(frozen=True, eq=False, init=False)
class GaussianMixture:
    r"""A mixture of isotropic Gaussians, $\sum_k\pi_k\,\mathcal N(\mu_k,s_k^2I)$, as data.

    With noise it stays one (oracle-density), so its score, its denoiser and what the samplers
    should arrive at are known exactly. Every method computes in float64 and answers in the dtype
    of `x`; `alpha` and `sigma` are numbers or tensors of shape `()` or `(batch,)`. On the CPU.

    Args:
        weights: $\pi_k$, positive, of sum 1, shape `(components,)`.
        means: $\mu_k$, shape `(components, dim)`.
        stds: $s_k$, at least 0, shape `(components,)`; 0 is a point.

    Raises:
        ValueError: for shapes that don't belong together, NaN, infinity, weights that aren't
            positive or don't sum to 1, negative `stds`; from the methods, for an `x` of another
            shape, and where a point without noise (`sigma = 0`) has no density.
    """

    weights: Float[Tensor, "k"]
    means: Float[Tensor, "k d"]
    stds: Float[Tensor, "k"]

    @validated(_components, weights=_finite_tensor, means=_finite_tensor, stds=_finite_tensor)
    def __init__(
        self, weights: Real[Tensor, "k"], means: Real[Tensor, "k d"], stds: Real[Tensor, "k"]
    ):
        for name, value in (("weights", weights), ("means", means), ("stds", stds)):
            object.__setattr__(self, name, value.detach().double().clone())

    @validated(n=count)
    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Float[Tensor, "n d"]:
        """Return `n` independent samples, `(n, dim)`."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        return (self.means[k] + self.stds[k, None] * noise).to(dtype)

    @validated(alpha=_level, sigma=_level)
    def noised(self, alpha: numbers.Real, sigma: numbers.Real) -> "GaussianMixture":
        r"""Return the mixture of $\alpha x_0+\sigma\varepsilon$ (oracle-density)."""
        stds = (alpha**2 * self.stds**2 + sigma**2).sqrt()
        return GaussianMixture(self.weights, alpha * self.means, stds)

    @_at_points
    def log_prob(
        self, x: Float[Tensor, "n d"], alpha: Time = 1.0, sigma: Time = 0.0
    ) -> Float[Tensor, "n"]:
        r"""Return $\log p(x)$ of $x=\alpha x_0+\sigma\varepsilon$ (oracle-density), `(n,)`."""
        return self._at(x, alpha, sigma).log_joint.logsumexp(1).to(x.dtype)

    @_at_points
    def score(
        self, x: Float[Tensor, "n d"], alpha: Time = 1.0, sigma: Time = 0.0
    ) -> Float[Tensor, "n d"]:
        r"""Return $\nabla\log p(x)=-\sum_kw_k(x)\,(x-\alpha\mu_k)/(\alpha^2s_k^2+\sigma^2)$."""
        at = self._at(x, alpha, sigma)
        return at.mean(at.component_score).to(x.dtype)

    @_at_points
    def denoise(self, x: Float[Tensor, "n d"], alpha: Time, sigma: Time) -> Float[Tensor, "n d"]:
        r"""Return the posterior mean $\mathbb E[x_0\mid x]$ (oracle)."""
        at = self._at(x, alpha, sigma)
        return at.mean(at.component_denoised).to(x.dtype)

    @_at_points
    def covariance(
        self, x: Float[Tensor, "n d"], alpha: Time, sigma: Time
    ) -> Float[Tensor, "n d d"]:
        r"""Return $\operatorname{Cov}[x_0\mid x]$: within the components and between them."""
        at = self._at(x, alpha, sigma)
        within = at.mean((at.sigma**2 * self.stds**2 / at.variance)[..., None])
        apart = at.component_denoised - at.mean(at.component_denoised)[:, None]
        between = torch.einsum("nk,nki,nkj->nij", at.responsibility, apart, apart)
        return (torch.diag_embed(within.expand_as(x)) + between).to(x.dtype)

    @_at_points
    def jacobian(self, x: Float[Tensor, "n d"], alpha: Time, sigma: Time) -> Float[Tensor, "n d d"]:
        r"""Return the derivative of `denoise`, $J_{ij}=\partial_j\,\mathbb E[x_0\mid x]_i$.

        The derivative of a responsibility is $w_k$ times how much the component's score is above
        the mean score.
        """
        at = self._at(x, alpha, sigma)
        slope = at.mean(at.gain[..., None])
        above = at.component_score - at.mean(at.component_score)[:, None]
        shift = torch.einsum("nk,nki,nkj->nij", at.responsibility, at.component_denoised, above)
        return (torch.diag_embed(slope.expand_as(x)) + shift).to(x.dtype)

    def denoiser(self, schedule: "Schedule") -> Denoiser:
        r"""Return the denoiser $(x,t)\mapsto\mathbb E[x_0\mid x_t=x]$ that `sample` takes."""
        return lambda x, t: self.denoise(x, schedule.alpha(t), schedule.sigma(t))

    def _at(self, x: Tensor, alpha: Time, sigma: Time) -> "_Posterior":
        alpha, sigma = (
            torch.as_tensor(c, dtype=torch.float64).reshape(-1, 1) for c in (alpha, sigma)
        )
        posterior = _Posterior(self, x.double(), alpha, sigma)
        if checks_values() and not (posterior.variance > 0).all():
            raise ValueError("sigma is 0 where a component is a point: expected noise or a width")
        return posterior


class _Posterior:
    """What the components make of noisy points: `(n, k)`, and with a dimension `(n, k, d)`."""

    def __init__(self, mixture: GaussianMixture, x: Tensor, alpha: Tensor, sigma: Tensor):
        self.sigma = sigma
        self.variance = alpha**2 * mixture.stds**2 + sigma**2
        offset = x[:, None] - alpha[..., None] * mixture.means
        distance = offset.square().sum(-1) / self.variance
        normal = -(distance + x.shape[1] * (2 * torch.pi * self.variance).log()) / 2
        self.log_joint = mixture.weights.log() + normal
        self.responsibility = self.log_joint.softmax(1)
        self.gain = alpha * mixture.stds**2 / self.variance
        self.component_denoised = mixture.means + self.gain[..., None] * offset
        self.component_score = -offset / self.variance[..., None]

    def mean(self, of: Tensor) -> Tensor:
        """Return the mean over the components, by responsibility: `(n, k, d)` to `(n, d)`."""
        return (self.responsibility[..., None] * of).sum(1)


# Schedules ---------------------------------------------------------------------------------------

_NORM = {  # what stays constant along a schedule, as a function of alpha and sigma
    "vp": torch.hypot,
    "flow": torch.add,
    "ve": lambda alpha, sigma: alpha,
}


def _own_time(arguments: dict[str, Any]) -> None:
    """Refuse what isn't a time of the schedule whose method is called."""
    arguments["self"]._check("t", arguments["t"])


def _betas(name: str, value: Any) -> None:
    """Refuse what isn't a list of numbers strictly between 0 and 1."""
    _floats(name, value)
    if value.ndim != 1 or len(value) == 0:
        raise ValueError(f"{name}: expected shape (steps,), got {tuple(value.shape)}")
    wrong = ~((value > 0) & (value < 1))
    if wrong.any():
        i = wrong.nonzero()[0].item()
        raise ValueError(
            f"{name}[{i}] = {value[i].item():g}: expected numbers strictly between 0 and 1 (a "
            "schedule made for many steps and rescaled to few can leave that range)"
        )


@dataclass(frozen=True, eq=False)
class Schedule:
    r"""How much signal and noise there is at a time: $x_t=\alpha_tx_0+\sigma_t\varepsilon$.

    Make one with `linear`, `cosine`, `from_betas` (chains of integer steps, $\alpha^2+\sigma^2=1$),
    `rectified_flow` ($\alpha+\sigma=1$) or `edm` ($\alpha=1$). A schedule never changes:
    `with_zero_terminal_snr` and `shifted` return another.

    Attributes:
        name: how it was made.
        end: the time of the most noise; times run from 0 to it.
        discrete: whether times are integers.
        norm: what is constant: `vp`, `flow` or `ve` for the three above.
    """

    name: str
    end: float
    discrete: bool
    norm: Literal["vp", "flow", "ve"]
    _levels: Callable[[Tensor], tuple[Tensor, Tensor]] = field(repr=False)

    @classmethod
    @validated(steps=count)
    def linear(
        cls, steps: int = 1000, *, beta_min: numbers.Real = 1e-4, beta_max: numbers.Real = 0.02
    ) -> "Schedule":
        r"""Return the chain whose $\beta_t$ grow linearly from `beta_min` to `beta_max`.

        The defaults belong to 1,000 steps: with fewer, much of the signal is left at the end.

        Raises:
            ValueError: for betas outside (0, 1).

        Source: Ho et al. (2020), section 4.
        """
        betas = torch.linspace(beta_min, beta_max, steps, dtype=torch.float64)
        return cls.from_betas(betas, name=f"linear({steps})")

    @classmethod
    @validated(steps=count, offset=_between(0, 1), beta_max=_positive)
    def cosine(
        cls, steps: int = 1000, *, offset: numbers.Real = 0.008, beta_max: numbers.Real = 0.999
    ) -> "Schedule":
        r"""Return the chain with $\alpha_t\propto\cos\big(\frac\pi2\frac{t/T+o}{1+o}\big)$, $o$ the offset.

        Its last $\beta_t$ is cut off at `beta_max`: without, there would be no signal at the end.
        Source: Nichol and Dhariwal (2021), equation 17.
        """
        angle = torch.arange(steps + 1, dtype=torch.float64) / steps
        angle = torch.pi / 2 * (angle + offset) / (1 + offset)
        before, after = angle[:-1], angle[1:]
        # 1 - cos²(after)/cos²(before), without the difference of two numbers close to 1
        betas = (after - before).sin() * (after + before).sin() / before.cos() ** 2
        return cls.from_betas(betas.clamp(max=beta_max), name=f"cosine({steps})")

    @classmethod
    @validated(betas=_betas)
    def from_betas(cls, betas: Float[Tensor, "steps"], *, name: str = "from_betas") -> "Schedule":
        r"""Return the chain $\alpha_t=\prod_{i\le t}\sqrt{1-\beta_i}$, $\sigma_t^2=1-\alpha_t^2$ (forward).

        Raises:
            ValueError: for betas that aren't a list of numbers strictly between 0 and 1.
        """
        log_square = torch.nn.functional.pad((-betas.double()).log1p().cumsum(0), (1, 0))
        return cls._chain((log_square / 2).exp(), log_square.expm1().abs().sqrt(), name)

    @classmethod
    @validated(sigma_max=_positive)
    def edm(cls, sigma_max: numbers.Real = 80.0) -> "Schedule":
        r"""Return $\alpha=1,\ \sigma_t=t$ for $0\le t\le$ `sigma_max`: the time is the noise.

        Source: Karras et al. (2022), table 1.
        """
        return cls("edm", float(sigma_max), False, "ve", lambda t: (torch.ones_like(t), t))

    @classmethod
    def rectified_flow(cls) -> "Schedule":
        r"""Return $\alpha_t=1-t,\ \sigma_t=t$ for $0\le t\le1$.

        Source: Liu et al. (2023), with time the other way round: here 0 is the data.
        """
        return cls("rectified_flow", 1.0, False, "flow", lambda t: (1 - t, t))

    @classmethod
    def _chain(cls, alpha: Tensor, sigma: Tensor, name: str) -> "Schedule":
        def levels(t: Tensor) -> tuple[Tensor, Tensor]:
            index = t.long()
            return alpha.to(t.device)[index], sigma.to(t.device)[index]

        return cls(name, float(len(alpha) - 1), True, "vp", levels)

    @validated(_own_time)
    def alpha(self, t: Real[Tensor, "*shape"] | numbers.Real) -> Float[Tensor, "*shape"]:
        r"""Return $\alpha_t$, in t's dtype (float64 for integers), for any shape of `t`.

        Raises:
            ValueError: for times outside [0, `end`], NaN, or a fraction of a chain's step.
        """
        return self._levels_at(t)[0].to(_answer(t))

    @validated(_own_time)
    def sigma(self, t: Real[Tensor, "*shape"] | numbers.Real) -> Float[Tensor, "*shape"]:
        r"""Return $\sigma_t$; dtype, shape and errors as for `alpha`."""
        return self._levels_at(t)[1].to(_answer(t))

    @validated(_own_time)
    def snr(self, t: Real[Tensor, "*shape"] | numbers.Real) -> Float[Tensor, "*shape"]:
        r"""Return $\alpha_t^2/\sigma_t^2$, infinite without noise; as for `alpha`."""
        alpha, sigma = self._levels_at(t)
        return ((alpha / sigma) ** 2).to(_answer(t))

    @validated(_own_time)
    def log_snr(self, t: Real[Tensor, "*shape"] | numbers.Real) -> Float[Tensor, "*shape"]:
        r"""Return $\log\mathrm{SNR}=2\log(\alpha_t/\sigma_t)=2\lambda_t$, from -inf to inf; as for `alpha`."""
        alpha, sigma = self._levels_at(t)
        return (2 * (alpha.log() - sigma.log())).to(_answer(t))

    @validated(steps=count)
    def times(self, steps: int) -> Real[Tensor, "{steps}+1"]:
        """Return `steps + 1` evenly spaced times from `end` to 0, integers for a chain.

        Raises:
            ValueError: for more steps than a chain has.
        """
        times = torch.linspace(self.end, 0, steps + 1, dtype=torch.float64)
        if not self.discrete:
            return times
        if steps > self.end:
            raise ValueError(f"steps: expected at most the chain's {self.end:g}, got {steps}")
        return times.round().long()

    def with_zero_terminal_snr(self) -> "Schedule":
        r"""Return the chain whose last step is pure noise (zero-snr).

        An affine map of $\alpha_t$ that keeps $\alpha_1$ and takes $\alpha_T$ to 0. Predicting the noise is
        impossible there: at $\alpha=0$ the state is the noise, and says nothing of $x_0$.

        Raises:
            ValueError: for a schedule that isn't a chain of at least 2 steps, or one that loses no
                signal after its first step.

        Source: Lin et al. (2024), algorithm 1.
        """
        if not self.discrete or self.end < 2:
            raise ValueError(f"with_zero_terminal_snr: expected a chain of 2 steps or more: {self}")
        alpha = self.alpha(torch.arange(int(self.end) + 1))
        first, last = alpha[1], alpha[-1]
        if last == first:
            raise ValueError(f"with_zero_terminal_snr: expected a chain that loses signal: {self}")
        alpha[1:] = (alpha[1:] - last) * (first / (first - last))
        sigma = ((1 - alpha) * (1 + alpha)).sqrt()
        return self._chain(alpha, sigma, f"{self.name}.with_zero_terminal_snr()")

    @validated(factor=_positive)
    def shifted(self, factor: numbers.Real) -> "Schedule":
        r"""Return the schedule with `factor` times the noise per signal, $\mathrm{SNR}/k^2$ (shift).

        For rectified flow it's the time change $t'=kt/(1+(k-1)t)$. What is constant stays so.
        Source: Esser et al. (2024), section 5.3.2.
        """

        def levels(t: Tensor) -> tuple[Tensor, Tensor]:
            alpha, sigma = self._levels(t)
            noise = factor * sigma
            size = _NORM[self.norm](alpha, noise)
            return alpha / size, noise / size

        name = f"{self.name}.shifted({factor:g})"
        return Schedule(name, self.end, self.discrete, self.norm, levels)

    def _levels_at(self, t: Tensor | numbers.Real) -> tuple[Tensor, Tensor]:
        return self._levels(torch.as_tensor(t, dtype=torch.float64))

    def _check(self, name: str, t: Any) -> None:
        """Refuse what isn't a time of this schedule."""
        if not isinstance(t, numbers.Real) or isinstance(t, bool):
            real_tensor(name, t)
        if not checks_values():
            return
        times = torch.as_tensor(t, dtype=torch.float64)
        # In t's dtype, in which what is left of the end may be a little more.
        end = torch.tensor(self.end, dtype=torch.float64 if self.discrete else _answer(t))
        wrong = ~((times >= 0) & (times <= end.double()))
        if self.discrete:
            wrong |= times != times.round()
        if wrong.any():
            got = times[wrong].flatten()[0].item()
            kind = "integer steps" if self.discrete else "times"
            raise ValueError(
                f"{name}: expected {kind} from 0 (data) to {self.end:g} (noise) of the schedule "
                f"{self.name}, got {got:g}"
            )


def _answer(t: Tensor | numbers.Real) -> torch.dtype:
    return t.dtype if isinstance(t, Tensor) and t.is_floating_point() else torch.float64


def _schedule(name: str, value: Any) -> None:
    """Refuse what isn't a schedule."""
    if not isinstance(value, Schedule):
        raise ValueError(f"{name}: expected a Schedule, got {type(value).__name__}")  # noqa: TRY004


def _timed(x: str, *times: str) -> Callable[[dict[str, Any]], None]:
    """Return a check that times are the schedule's: one number, or one for each sample of `x`."""

    def check(arguments: dict[str, Any]) -> None:
        batch = len(arguments[x])
        for name in times:
            t = arguments[name]
            arguments["schedule"]._check(name, t)
            if isinstance(t, Tensor) and t.shape not in ((), (batch,)):
                raise ValueError(
                    f"{name}: expected a number or shape ({batch},), got {tuple(t.shape)}"
                )

    return check


def _levels(schedule: Schedule, t: Time, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha and sigma in float64, in a shape that broadcasts with `x`."""
    t = torch.as_tensor(t, dtype=torch.float64, device=x.device)
    return tuple(c.reshape(-1, *[1] * (x.ndim - 1)) for c in schedule._levels(t))


# Predictions -------------------------------------------------------------------------------------


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
    _same_shape("pred", "x"),
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

    Each is $p\,x_0+q\,\varepsilon$ (predictions): `x0` has $(1,0)$, `eps` $(0,1)$, `v` $(-\sigma,\alpha)$,
    `velocity` $(-1,1)$, and `score` is $-\varepsilon/\sigma$. With $x=\alpha x_0+\sigma\varepsilon$ these are two
    equations for $x_0$ and $\varepsilon$, of determinant $\alpha q-\sigma p$ (inverse). `velocity` is the
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
    if p.equal(p_new) and q.equal(q_new):
        wanted = given
    else:
        wanted = (p_new * q - q_new * p) * x.double() + (alpha * q_new - sigma * p_new) * given
        wanted = wanted / (alpha * q - sigma * p)
    return (wanted / -sigma if target == "score" else wanted).to(pred.dtype)


@validated(_same_shape("x0", "eps"), _timed("x0", "t"), x0=_batch, eps=_batch, schedule=_schedule)
def add_noise(
    x0: Float[Tensor, "batch *size"],
    eps: Float[Tensor, "batch *size"],
    t: Time,
    schedule: Schedule,
) -> Float[Tensor, "batch *size"]:
    r"""Return $x_t=\alpha_tx_0+\sigma_t\varepsilon$ (forward), in the dtype of `x0`.

    Raises:
        ValueError: for different shapes, or a time outside the schedule.
    """
    alpha, sigma = _levels(schedule, t, x0)
    return (alpha * x0.double() + sigma * eps.double()).to(x0.dtype)


def _snr(name: str, value: Any) -> None:
    """Refuse what is not a tensor of ratios, from 0 to infinity."""
    _floats(name, value)
    if checks_values() and not (value >= 0).all():
        raise ValueError(f"{name}: expected numbers of at least 0, got a negative one or NaN")


def _gamma(name: str, value: Any) -> None:
    """Refuse what is not a number above 0; infinity is one."""
    if not isinstance(value, numbers.Real) or not value > 0:
        raise ValueError(f"{name}: expected a number above 0, got {value!r}")


@validated(snr=_snr, kind=one_of(get_args(Weighted)), gamma=_gamma)
def loss_weight(
    kind: Weighted, snr: Float[Tensor, "*shape"], gamma: numbers.Real = 5.0
) -> Float[Tensor, "*shape"]:
    r"""Return the min-SNR weight of the squared error of a prediction (min-snr).

    $\min(\mathrm{SNR},\gamma)$ for `x0`, divided by SNR for `eps`, by SNR + 1 for `v` and by
    $(\sqrt{\mathrm{SNR}}+1)^2$ for `velocity`: four names of one loss (loss-ratio), if
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


@validated(_same_shape("cond", "uncond"), cond=_floats, uncond=_floats, w=finite_number)
def guide(
    cond: Float[Tensor, "*size"], uncond: Float[Tensor, "*size"], w: numbers.Real
) -> Float[Tensor, "*size"]:
    r"""Return the guided prediction $\hat y_u+w\,(\hat y_c-\hat y_u)$ (guidance).

    `w = 0` ignores the condition, `w = 1` follows it, more exaggerates it. (Papers that write
    $1+w$ call our 1 their 0.) The same for all predictions, as their weights sum to 1; but clip
    only afterwards, since clipping is not affine.

    Raises:
        ValueError: for different shapes, or a weight that isn't a finite number.

    Source: Ho and Salimans (2022), equation 6.
    """
    return (uncond.double() + w * (cond.double() - uncond.double())).to(cond.dtype)


# Sampling ----------------------------------------------------------------------------------------


def _falling(first: str, second: str) -> Callable[[dict[str, Any]], None]:
    """Return a check that one time is before another, for every sample."""

    def check(arguments: dict[str, Any]) -> None:
        if checks_values():
            t, s = (torch.as_tensor(arguments[name]) for name in (first, second))
            if not (t > s.to(t.device)).all():
                raise ValueError(f"{second}: expected less noise than at {first} = {t}, got {s}")

    return check


def _signal_left(arguments: dict[str, Any]) -> None:
    """Refuse to find x0 from the noise where there is nothing of it."""
    if checks_values() and (arguments["schedule"]._levels_at(arguments["t"])[0] == 0).any():
        raise ValueError(
            "eps: at SNR 0 x is the noise itself, and a prediction of the noise says nothing of "
            "x0, which the step needs; use sample(), with a denoiser that predicts x0"
        )


@validated(
    _same_shape("x", "eps"),
    _timed("x", "t", "s"),
    _falling("t", "s"),
    _signal_left,
    x=_batch,
    eps=_batch,
    schedule=_schedule,
    eta=_between(0, 1),
)
def ddim_step(
    x: Float[Tensor, "batch *size"],
    eps: Float[Tensor, "batch *size"],
    t: Time,
    s: Time,
    schedule: Schedule,
    *,
    eta: numbers.Real = 0.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch *size"]:
    r"""Return $x_s=\alpha_s\hat x_0+\sqrt{\sigma_s^2-\varsigma^2}\,\hat\varepsilon+\varsigma z$ for $s<t$ (ddim).

    $\varsigma$ is `eta` times the standard deviation of the posterior of the step from `t` to `s`,
    however long it is (eta): 0 is the deterministic DDIM, 1 ancestral sampling.

    Shapes: `(batch, ...)`, the same for `x` and `eps`; the result has the dtype of `x`.

    Raises:
        ValueError: for different shapes, a time outside the schedule, `s` not before `t`, SNR 0 at
            `t`, an `eta` outside [0, 1].

    Source: Song et al. (2021), equations 12 and 16.
    """
    now, then = _levels(schedule, t, x), _levels(schedule, s, x)
    x0 = (x.double() - now[1] * eps.double()) / now[0]
    draw = _noise(x, generator)
    return _ddim(x0, eps.double(), now, then, eta, draw).to(x.dtype)


def _noise(x: Tensor, generator: torch.Generator | None) -> Callable[[], Tensor]:
    """Return what draws noise for `x` in its dtype, so that one seed gives what other code draws."""
    return lambda: torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _ddim(
    x0: Tensor,
    eps: Tensor,
    now: tuple[Tensor, Tensor],
    then: tuple[Tensor, Tensor],
    eta: float,
    draw: Callable[[], Tensor],
) -> Tensor:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = now, then
    if eta == 0:
        return alpha_s * x0 + sigma_s * eps
    # The posterior's share of the variance is 1 - rho²; as products, neither root can fail.
    rho = alpha_t * sigma_s / (alpha_s * sigma_t)
    noise = eta * sigma_s * ((1 - rho) * (1 + rho)).sqrt()
    rest = sigma_s * (1 - eta**2 + (eta * rho) ** 2).sqrt()
    return alpha_s * x0 + rest * eps + noise * draw()


def _grid(arguments: dict[str, Any]) -> None:
    """Refuse times that don't lead from noise to data."""
    given, schedule = arguments["times"], arguments["schedule"]
    times = torch.as_tensor(given, dtype=torch.float64)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times: expected at least 2 in a list, got shape {tuple(times.shape)}")
    schedule._check("times", given if isinstance(given, Tensor) else times)
    wrong = ~(times[1:] < times[:-1])
    if wrong.any():
        i = wrong.nonzero()[0].item()
        a, b = times[i].item(), times[i + 1].item()
        what = "the same time twice" if a == b else "noise is added"
        raise ValueError(
            f"times[{i}], times[{i + 1}] = {a:g}, {b:g}: {what}; expected times that fall, from "
            "noise to data"
        )


def _options(arguments: dict[str, Any]) -> None:
    """Refuse options that don't go together."""
    if (arguments["unconditional"] is None) != (arguments["guidance"] is None):
        raise ValueError("guidance and unconditional: expected both or neither")
    if arguments["eta"] != 0 and arguments["solver"] != "ddim":
        raise ValueError(f"eta: expected 0 for {arguments['solver']}, a solver of the ODE")


def _optional(check: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    """Return a check that lets None pass."""
    return lambda name, value: None if value is None else check(name, value)


@validated(
    _grid,
    _options,
    x=_batch,
    schedule=_schedule,
    solver=one_of(get_args(Solver)),
    guidance=_optional(finite_number),
    clip=_optional(_positive),
    eta=_between(0, 1),
)
def sample(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *size"],
    times: Real[Tensor, "n"] | Sequence[numbers.Real],
    schedule: Schedule,
    solver: Solver = "ddim",
    *,
    guidance: numbers.Real | None = None,
    unconditional: Denoiser | None = None,
    clip: numbers.Real | None = None,
    eta: numbers.Real = 0.0,
    generator: torch.Generator | None = None,
    observe: Callable[[Tensor], Any] | None = None,
) -> Float[Tensor, "batch *size"]:
    r"""Follow the probability-flow ODE from the state `x` at `times[0]` to `times[-1]`.

    - `ddim`: order 1, one call of the denoiser a step (ddim); with `eta` the stochastic family.
    - `heun`: order 2, two calls a step (heun), in $x/\alpha$ against $\sigma/\alpha$.
    - `dpmpp_2m`: order 2, one call a step (dpmpp), from this denoised state and the one before.

    Where a second-order step has no formula, it's the first order's: with Heun the step to
    $\sigma=0$ and the one from SNR 0; with DPM++ the first, the one to $\sigma=0$, and the two after
    SNR 0.

    Args:
        denoiser: see the top of this module.
        x: the start, `(batch, ...)`, of standard deviation $\sigma$ if it's pure noise.
        times: falling, at least 2, as of `schedule.times` or `karras_sigmas`.
        guidance: the weight of `guide`, if any, with `unconditional`, the denoiser without the
            condition.
        clip: if given, what is denoised (and guided) is clipped to [-clip, clip].
        eta: see `ddim_step`; only for `ddim`.
        generator: of the noise of `eta`.
        observe: called with each state, the first and the last included, in x's dtype.

    Raises:
        ValueError: for times that don't fall (duplicates included) or are outside the schedule,
            fewer than 2 of them, guidance without an unconditional denoiser or the reverse, `eta`
            with a solver of the ODE, a denoiser that returns another shape.

    Source: Song et al. (2021), equation 12; Karras et al. (2022), algorithm 1; Lu et al. (2022b),
    algorithm 2.
    """
    times = torch.as_tensor(times, dtype=torch.float64)
    levels = [_levels(schedule, t, x) for t in times]
    kind = torch.int64 if schedule.discrete else torch.promote_types(x.dtype, torch.float32)

    def denoised(state: Tensor, i: int) -> Tensor:
        state, t = state.to(x.dtype), times[i].to(x.device, kind).expand(len(x))
        result = denoiser(state, t)
        if result.shape != x.shape:
            raise ValueError(
                f"denoiser: expected the shape of x, {tuple(x.shape)}, got {tuple(result.shape)}"
            )
        if unconditional is not None:
            result = guide(result.double(), unconditional(state, t).double(), guidance)
        return result.double() if clip is None else result.double().clamp(-clip, clip)

    step = {
        "ddim": partial(_ddim_solver, eta=eta, draw=_noise(x, generator)),
        "heun": _heun_solver,
        "dpmpp_2m": _dpmpp_solver,
    }[solver]
    state, memory = x.double(), None
    if observe is not None:
        observe(x)
    for i in range(len(times) - 1):
        state, memory = step(denoised, state, i, levels, memory)
        if observe is not None:
            observe(state.to(x.dtype))
    return state.to(x.dtype)


Levels = list[tuple[Tensor, Tensor]]


def _ddim_solver(
    denoised: Callable[[Tensor, int], Tensor],
    x: Tensor,
    i: int,
    levels: Levels,
    memory: Tensor | None,
    eta: float,
    draw: Callable[[], Tensor],
) -> tuple[Tensor, None]:
    alpha, sigma = levels[i]
    x0 = denoised(x, i)
    return _ddim(x0, (x - alpha * x0) / sigma, levels[i], levels[i + 1], eta, draw), None


def _heun_solver(
    denoised: Callable[[Tensor, int], Tensor],
    x: Tensor,
    i: int,
    levels: Levels,
    memory: Tensor | None,
) -> tuple[Tensor, None]:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = levels[i : i + 2]
    x0 = denoised(x, i)
    eps = (x - alpha_t * x0) / sigma_t
    euler = alpha_s * x0 + sigma_s * eps
    if sigma_s == 0 or alpha_t == 0:
        return euler, None
    eps_s = (euler - alpha_s * denoised(euler, i + 1)) / sigma_s
    change = (sigma_s / alpha_s - sigma_t / alpha_t) * (eps + eps_s) / 2
    return alpha_s * (x / alpha_t + change), None


def _dpmpp_solver(
    denoised: Callable[[Tensor, int], Tensor],
    x: Tensor,
    i: int,
    levels: Levels,
    memory: Tensor | None,
) -> tuple[Tensor, Tensor]:
    (alpha_s, sigma_s), (_, sigma_t) = levels[i + 1], levels[i]
    lambdas = [alpha.log() - sigma.log() for alpha, sigma in levels[max(0, i - 1) : i + 2]]
    h = lambdas[-1] - lambdas[-2]
    x0 = denoised(x, i)
    target = x0
    if memory is not None and sigma_s > 0:
        half = h / (2 * (lambdas[-2] - lambdas[-3]))  # 1/2r
        target = (1 + half) * x0 - half * memory
    return sigma_s / sigma_t * x - alpha_s * (-h).expm1() * target, x0


@validated(
    n=count,
    sigma_min=_positive,
    sigma_max=_positive,
    rho=_positive,
)
def karras_sigmas(
    n: int,
    sigma_min: numbers.Real = 0.002,
    sigma_max: numbers.Real = 80.0,
    rho: numbers.Real = 7.0,
) -> Float[Tensor, "{n}+1"]:
    r"""Return `n` noise levels from `sigma_max` to `sigma_min`, and 0, evenly spaced in $\sigma^{1/\rho}$.

    The times of `n` steps for `Schedule.edm`; for `n = 1` they are `sigma_max` and 0.

    Raises:
        ValueError: for no steps, numbers that aren't positive, `sigma_min` not below `sigma_max`.

    Source: Karras et al. (2022), equation 5.
    """
    if sigma_min >= sigma_max:
        raise ValueError(f"sigma_min: expected less than sigma_max = {sigma_max}, got {sigma_min}")
    ends = [sigma ** (1 / rho) for sigma in (sigma_max, sigma_min)]
    sigmas = torch.linspace(*ends, n, dtype=torch.float64) ** rho
    sigmas[0] = sigma_max
    return torch.nn.functional.pad(sigmas, (0, 1))


# Evaluation --------------------------------------------------------------------------------------

_EXACT = 64  # the largest dimension whose trace is taken exactly
_ROWS = 1024  # how many points' distances are computed at a time


def _noise_left(arguments: dict[str, Any]) -> None:
    """Refuse a last time without noise, where the ODE has a singular end."""
    last = torch.as_tensor(arguments["times"], dtype=torch.float64)[-1]
    if arguments["schedule"].sigma(last) == 0:
        raise ValueError(
            "times[-1]: expected some noise; without any, x says all of x0 and the denoiser nothing "
            "of the density. End at a small sigma, and the density is that of data so noised"
        )


@validated(_grid, _noise_left, x=_batch, schedule=_schedule, probes=_optional(count))
def log_likelihood(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *size"],
    times: Real[Tensor, "n"] | Sequence[numbers.Real],
    schedule: Schedule,
    *,
    probes: int | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch"]:
    r"""Return the log density of the states `x` at `times[-1]`, in nats, by the ODE (likelihood).

    The ODE of `sample` is followed backward to `times[0]`, where the density is taken for that of
    the noise, $\mathcal N(0,\sigma^2I)$; how volumes change on the way is the integral of a trace. It's
    followed by Heun's method, of order 2, as $x/r$ with $r=\sqrt{\alpha^2+\sigma^2}$ against the angle
    $\varphi=\arctan(\sigma/\alpha)$, with a derivative $v/r$ that is finite at SNR 0, too.

    Args:
        denoiser: as for `sample`; torch must be able to differentiate it, sample by sample.
        x: noised data, `(batch, ...)`.
        times: falling, as for `sample`, but with noise left at the last one.
        probes: how many random signs a sample estimate the trace (Hutchinson), without bias. By
            default the trace is exact for up to 64 dimensions, and has one probe above.
        generator: of the probes.

    Shapes: `(batch, ...)` to `(batch,)`, in the dtype of `x`.

    Raises:
        ValueError: for times as in `sample`, or without noise at the end; a denoiser that returns
            another shape, or what can't be differentiated.

    Source: Song, Sohl-Dickstein et al. (2021), section 4.3; angle: Salimans and Ho (2022).
    """
    times = torch.as_tensor(times, dtype=torch.float64)
    levels = [_levels(schedule, t, x) for t in times]
    kind = torch.int64 if schedule.discrete else torch.promote_types(x.dtype, torch.float32)
    dim = math.prod(x.shape[1:])
    if probes is None and dim <= _EXACT:
        axes = torch.eye(dim, dtype=x.dtype, device=x.device).view(dim, 1, *x.shape[1:])
        directions, weight = axes.expand(dim, *x.shape), 1
    else:
        signs = torch.randint(2, (probes or 1, *x.shape), generator=generator, device=x.device)
        directions, weight = (2 * signs - 1).to(x.dtype), 1 / (probes or 1)

    def slope(z: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """Return the derivative of z = x/r by the angle, and the trace of its derivative by z."""
        alpha, sigma = levels[i]
        r, t = torch.hypot(alpha, sigma), times[i].to(x.device, kind).expand(len(x))
        with torch.enable_grad():
            state = (r * z).to(x.dtype).requires_grad_()
            x0 = denoiser(state, t)
            trace = weight * _trace(x0, state, directions)
        x0 = x0.detach().double()
        v = alpha * (r * z - alpha * x0) / sigma - sigma * x0
        return v / r, (dim * alpha / sigma).flatten() - (r**2 / sigma).flatten() * trace

    size = [torch.hypot(*level) for level in levels]
    angle = [torch.atan2(sigma, alpha) for alpha, sigma in levels]
    z, change = x.detach().double() / size[-1], 0
    for i in range(len(times) - 1, 0, -1):
        h = angle[i - 1] - angle[i]
        now, trace = slope(z, i)
        then, trace_then = slope(z + h * now, i - 1)
        z = z + h * (now + then) / 2
        change = change + h.flatten() * (trace + trace_then) / 2
    sigma = levels[0][1]
    noise = -((size[0] * z / sigma) ** 2)[..., None].flatten(1).sum(1) / 2
    noise = noise - dim * (sigma * math.sqrt(2 * math.pi)).log().flatten()
    scale = dim * (size[0] / size[-1]).log().flatten()
    return (noise + scale + change).to(x.dtype)


def _trace(y: Tensor, x: Tensor, directions: Tensor) -> Tensor:
    """Return the sum of u·(dy/dx)u over some directions u, for each sample."""
    if y.shape != x.shape or not y.requires_grad:
        got = tuple(y.shape) if y.requires_grad else "a result without gradient"
        raise ValueError(
            f"denoiser: expected the shape of x, {tuple(x.shape)}, differentiable, got {got}"
        )
    pulled = [torch.autograd.grad(y, x, u, retain_graph=True)[0] for u in directions]
    products = (g.double() * u for g, u in zip(pulled, directions, strict=True))
    return sum(product[..., None].flatten(1).sum(1) for product in products)


def _sample_of_two(name: str, value: Any) -> None:
    """Refuse what isn't a sample of at least two finite points."""
    _batch(name, value)
    if len(value) < 2:
        raise ValueError(f"{name}: expected at least 2 samples, got {len(value)}")
    if checks_values() and not value.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")


def _same_size(arguments: dict[str, Any]) -> None:
    """Refuse samples of different spaces."""
    a, b = (tuple(arguments[name].shape[1:]) for name in ("a", "b"))
    if a != b:
        raise ValueError(f"a and b: expected samples of one shape, got {a} and {b}")


@validated(_same_size, a=_sample_of_two, b=_sample_of_two)
def energy_distance(a: Float[Tensor, "n *size"], b: Float[Tensor, "m *size"]) -> Float[Tensor, ""]:
    r"""Return how far apart two distributions are, from a sample of each (energy-distance).

    $2\,\mathbb E|X-Y|-\mathbb E|X-X'|-\mathbb E|Y-Y'|$ is 0 for equal distributions and positive for
    others. Pairs of different samples alone count as $X,X'$, so the estimate has no bias, and lies
    on either side of 0 if the distributions are equal. It's below 0 for a sample beside itself, as
    there the first mean does count pairs of equals. Unit: that of the samples.

    Shapes: `(n, ...)` and `(m, ...)` to `()`, in their dtype; computed in float64.

    Raises:
        ValueError: for fewer than 2 samples, samples of different shapes, NaN or infinity.

    Source: Székely and Rizzo (2013).
    """
    center = b.double().mean(0)
    x, y = ((some.double() - center)[..., None].flatten(1) for some in (a, b))
    n, m = len(x), len(y)
    within = _distances(x, x) / (n * (n - 1)) + _distances(y, y) / (m * (m - 1))
    return (2 * _distances(x, y) / (n * m) - within).to(a.dtype)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum of the distances between each of one sample and each of another."""
    return sum(torch.cdist(rows, y).sum() for rows in x.split(_ROWS))


def _mean(name: str, value: Any) -> None:
    """Refuse what isn't a finite vector."""
    _floats(name, value)
    if value.ndim != 1 or not value.isfinite().all():
        raise ValueError(f"{name}: expected a finite vector, got shape {tuple(value.shape)}")


def _covariance(name: str, value: Any) -> None:
    """Refuse what isn't a symmetric positive semidefinite matrix, up to rounding."""
    _floats(name, value)
    if value.ndim != 2 or value.shape[0] != value.shape[1] or not value.isfinite().all():
        raise ValueError(f"{name}: expected a finite square matrix, got {tuple(value.shape)}")
    rounding = 100 * torch.finfo(value.dtype).eps * value.abs().sum()
    if (value - value.T).abs().max() > rounding:
        raise ValueError(f"{name}: expected a symmetric matrix")
    least = torch.linalg.eigvalsh(value.double())[0]
    if least < -rounding:
        raise ValueError(f"{name}: expected no negative eigenvalue, got {least:.3g}")


def _one_dimension(arguments: dict[str, Any]) -> None:
    """Refuse means and covariances of different dimensions."""
    sizes = [len(arguments[name]) for name in ("mean_a", "cov_a", "mean_b", "cov_b")]
    if len(set(sizes)) > 1:
        raise ValueError(f"mean_a, cov_a, mean_b, cov_b: expected one dimension, got {sizes}")


@validated(_one_dimension, mean_a=_mean, cov_a=_covariance, mean_b=_mean, cov_b=_covariance)
def frechet_distance(
    mean_a: Float[Tensor, "d"],
    cov_a: Float[Tensor, "d d"],
    mean_b: Float[Tensor, "d"],
    cov_b: Float[Tensor, "d d"],
) -> Float[Tensor, ""]:
    r"""Return the squared Fréchet (2-Wasserstein) distance of two Gaussians (frechet).

    The roots of the eigenvalues of $\Sigma_1^{1/2}\Sigma_2\Sigma_1^{1/2}$ are the singular values of
    $L_1^\top L_2$ for any $L_iL_i^\top=\Sigma_i$, which are real and keep their digits where a
    covariance is singular, as it is for fewer samples than dimensions; an eigenvalue of the size of
    a rounding error counts as 0. (FID is this distance for features of images. From samples it's
    biased, by an amount that depends on the distribution.)

    Shapes: `(d,)` and `(d, d)` to `()`, in the dtype of `mean_a`. Unit: the square of the means'.

    Raises:
        ValueError: for shapes that don't belong together, NaN, infinity, a covariance that isn't
            symmetric or has a negative eigenvalue.

    Source: Dowson and Landau (1982); Heusel et al. (2017) for features of images.
    """
    roots = []
    for cov in (cov_a, cov_b):
        values, vectors = torch.linalg.eigh(cov.double())
        rounding = len(values) * torch.finfo(torch.float64).eps * values.max()
        roots.append(vectors * torch.where(values > rounding, values, 0).sqrt())
    shared = torch.linalg.svdvals(roots[0].T @ roots[1]).sum()
    apart = (mean_a.double() - mean_b.double()).square().sum()
    distance = apart + cov_a.double().trace() + cov_b.double().trace() - 2 * shared
    return distance.clamp(min=0).to(mean_a.dtype)
