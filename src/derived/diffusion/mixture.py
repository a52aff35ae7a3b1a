"""A mixture of Gaussians, of which score, denoiser and density are known exactly."""

import numbers
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Real
from torch import Tensor

from derived._validation import (
    checks_values,
    count,
    finite_number,
    floats,
    real_tensor,
    validated,
)
from derived.diffusion._common import Denoiser, Time
from derived.diffusion.schedules import Schedule


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


_at_points = validated(_points, x=floats, alpha=_level, sigma=_level)


def _finite_tensor(name: str, value: Any) -> None:
    """Refuse what is not a tensor of finite numbers."""
    real_tensor(name, value)
    if not value.isfinite().all():
        raise ValueError(f"{name}: expected finite numbers, got {value.tolist()}")


def _rounding(weights: Tensor) -> float:
    """Return how far from 1 the sum of weights of a half type may be, each of them rounded."""
    return torch.finfo(weights.dtype).eps if _is_half(weights) else 0.0


def _is_half(weights: Tensor) -> bool:
    return weights.dtype in (torch.float16, torch.bfloat16)


def _components(arguments: dict[str, Any]) -> None:
    """Refuse what doesn't describe the components of a mixture."""
    weights, means, stds = (arguments[name] for name in ("weights", "means", "stds"))
    k = weights.shape if weights.ndim == 1 and len(weights) else None
    if means.ndim != 2 or not k == means.shape[:1] == stds.shape:
        raise ValueError(
            "weights, means and stds: expected shapes (k,), (k, dim) and (k,), got "
            f"{tuple(weights.shape)}, {tuple(means.shape)} and {tuple(stds.shape)}"
        )
    total = weights.double().sum()
    if not (weights > 0).all() or abs(total - 1) > max(1e-6, _rounding(weights)):
        raise ValueError(f"weights: expected positive numbers of sum 1, got {weights.tolist()}")
    if (stds < 0).any():
        raise ValueError(f"stds: expected numbers of at least 0, got {stds.tolist()}")


@dataclass(frozen=True, eq=False, init=False)
class GaussianMixture:
    r"""A mixture of isotropic Gaussians, $\sum_k\pi_k\,\mathcal N(\mu_k,s_k^2I)$, as data.

    With noise it stays one (diffusion-oracle-density), so its score, its denoiser and what the samplers
    should arrive at are known exactly. Every method computes in float64 and answers in the dtype
    of `x`; `alpha` and `sigma` are numbers or tensors of shape `()` or `(batch,)`. On the CPU.

    Args:
        weights: $\pi_k$, positive, of sum 1, shape `(components,)`. Those of a half type, whose
            rounding shows, are divided by their sum.
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
        if _is_half(weights):
            weights = weights.double() / weights.double().sum()
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
        shape, like = (
            (n, self.means.shape[1]),
            {"dtype": torch.float64, "device": self.means.device},
        )
        noise = torch.randn(shape, generator=generator, **like)
        return (self.means[k] + self.stds[k, None] * noise).to(dtype)

    @validated(alpha=_level, sigma=_level)
    def noised(self, alpha: numbers.Real, sigma: numbers.Real) -> "GaussianMixture":
        r"""Return the mixture of $\alpha x_0+\sigma\varepsilon$ (diffusion-oracle-density)."""
        stds = (alpha**2 * self.stds**2 + sigma**2).sqrt()
        return GaussianMixture(self.weights, alpha * self.means, stds)

    @_at_points
    def log_prob(
        self, x: Float[Tensor, "n d"], alpha: Time = 1.0, sigma: Time = 0.0
    ) -> Float[Tensor, "n"]:
        r"""Return $\log p(x)$ of $x=\alpha x_0+\sigma\varepsilon$, `(n,)` (diffusion-oracle-density)."""
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
        r"""Return the posterior mean $\mathbb E[x_0\mid x]$ (diffusion-oracle)."""
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
            torch.as_tensor(c, dtype=torch.float64, device=x.device).reshape(-1, 1)
            for c in (alpha, sigma)
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
