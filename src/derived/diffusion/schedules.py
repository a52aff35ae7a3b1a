"""How much signal and noise there is at a time."""

import numbers
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Real
from torch import Tensor

from derived._validation import (
    checks_values,
    count,
    finite_number,
    floats,
    is_number,
    positive,
    real_tensor,
    share,
    validated,
)
from derived.diffusion._common import Time

_NORM = {  # what stays constant along a schedule, as a function of alpha and sigma
    "vp": torch.hypot,
    "flow": torch.add,
    "ve": lambda alpha, sigma: alpha,
}


# Functions of the module, as others could not be pickled, which a schedule must be for a process
# that loads data.


def _edm_levels(t: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones_like(t), t


def _flow_levels(t: Tensor) -> tuple[Tensor, Tensor]:
    return 1 - t, t


def _chain_levels(alpha: Tensor, sigma: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    index = t.long()
    return alpha.to(t.device).take(index), sigma.to(t.device).take(index)


def _shifted_levels(
    levels: Callable[[Tensor], tuple[Tensor, Tensor]], norm: str, factor: numbers.Real, t: Tensor
) -> tuple[Tensor, Tensor]:
    alpha, sigma = levels(t)
    noise = factor * sigma
    size = _NORM[norm](alpha, noise)
    return alpha / size, noise / size


def _own_time(arguments: dict[str, Any]) -> None:
    """Refuse what isn't a time of the schedule whose method is called."""
    arguments["self"]._check("t", arguments["t"])


def _betas(name: str, value: Any) -> None:
    """Refuse what isn't a list of numbers strictly between 0 and 1."""
    floats(name, value)
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
    @validated(steps=count, beta_min=finite_number, beta_max=finite_number)
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
    @validated(steps=count, offset=share, beta_max=positive)
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
        r"""Return the chain $\alpha_t=\prod_{i\le t}\sqrt{1-\beta_i}$, $\sigma_t^2=1-\alpha_t^2$ (diffusion-forward).

        Raises:
            ValueError: for betas that aren't a list of numbers strictly between 0 and 1.
        """
        log_square = torch.nn.functional.pad((-betas.double()).log1p().cumsum(0), (1, 0))
        return cls._chain((log_square / 2).exp(), log_square.expm1().abs().sqrt(), name)

    @classmethod
    @validated(sigma_max=positive)
    def edm(cls, sigma_max: numbers.Real = 80.0) -> "Schedule":
        r"""Return $\alpha=1,\ \sigma_t=t$ for $0\le t\le$ `sigma_max`: the time is the noise.

        Source: Karras et al. (2022), table 1.
        """
        return cls("edm", float(sigma_max), False, "ve", _edm_levels)

    @classmethod
    def rectified_flow(cls) -> "Schedule":
        r"""Return $\alpha_t=1-t,\ \sigma_t=t$ for $0\le t\le1$.

        Source: Liu et al. (2023), with time the other way round: here 0 is the data.
        """
        return cls("rectified_flow", 1.0, False, "flow", _flow_levels)

    @classmethod
    def _chain(cls, alpha: Tensor, sigma: Tensor, name: str) -> "Schedule":
        return cls(name, float(len(alpha) - 1), True, "vp", partial(_chain_levels, alpha, sigma))

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
        r"""Return the chain whose last step is pure noise (diffusion-zero-snr).

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

    @validated(factor=positive)
    def shifted(self, factor: numbers.Real) -> "Schedule":
        r"""Return the schedule with `factor` times the noise per signal, $\mathrm{SNR}/k^2$ (diffusion-shift).

        For rectified flow it's the time change $t'=kt/(1+(k-1)t)$. What is constant stays so.
        Source: Esser et al. (2024), section 5.3.2.
        """
        name = f"{self.name}.shifted({factor:g})"
        levels = partial(_shifted_levels, self._levels, self.norm, factor)
        return Schedule(name, self.end, self.discrete, self.norm, levels)

    def _levels_at(self, t: Tensor | numbers.Real) -> tuple[Tensor, Tensor]:
        return self._levels(torch.as_tensor(t, dtype=torch.float64))

    def _check(self, name: str, t: Any) -> None:
        """Refuse what isn't a time of this schedule."""
        if not is_number(t):
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
    if isinstance(t, Tensor):
        t = t.to(x.device, torch.float64)
    else:  # as a number that torch.compile need not know
        t = torch.full((), t, dtype=torch.float64, device=x.device)
    return tuple(c.reshape(-1, *[1] * (x.ndim - 1)) for c in schedule._levels(t))
