"""Learning rates that serve at every width, and how to see that they do."""

import itertools
import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import skip_init
from torch.optim import Adam, Optimizer

from derived._validation import count, network, positive, seed, validated
from derived.initialization.weights import variance_scaling_

Made = tuple[nn.Module, Optimizer, Callable[[nn.Module], Tensor]]


def _plain(name: str, value: Any) -> None:
    """Refuse a model with weights whose role in it is unknown."""
    network(name, value)
    inputs, inner = _layers(value)
    if not inputs or not inner:
        raise ValueError(f"{name}: expected an input layer and a readout, each of its own")
    known = {id(layer.weight) for layer in [*inputs, *inner]}
    if len(known) < len(inputs) + len(inner):
        raise ValueError(f"{name}: expected weights that aren't shared, as each has its own rate")
    for parameter, weight in value.named_parameters():
        if weight.ndim > 1 and id(weight) not in known:
            raise ValueError(
                f"{name}: expected matrices in Linear and Embedding layers alone, got {parameter}"
            )


def _layers(model: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the layers that read the input, and the others, of which the last is the readout."""
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    embeddings = [layer for layer in model.modules() if isinstance(layer, nn.Embedding)]
    inputs, rest = (embeddings, linear) if embeddings else (linear[:1], linear[1:])
    width = _width(inputs[0]) if inputs else 1
    beside = list(itertools.takewhile(lambda layer: layer.in_features % width, rest[:-1]))
    return inputs + beside, rest[len(beside) :]


def _width(layer: nn.Module) -> int:
    return layer.embedding_dim if isinstance(layer, nn.Embedding) else layer.out_features


@validated(model=_plain, base_width=count, lr=positive)
def mup_groups(model: nn.Module, base_width: int, lr: Real) -> list[dict[str, Any]]:
    r"""Return the parameters in groups, with the learning rates that Adam needs at this width.

    With $r$ the width over the base width: $\eta$ for input layers, biases and the gains of norms,
    $\eta/r$ for hidden matrices and for the readout (initialization-mup). Give them to
    `torch.optim.Adam`; AdamW multiplies its decay by each group's rate. The weights themselves are
    left alone: the readout's standard deviation has to fall as one over the width.

    The input layers are the embeddings or, without any, the first `nn.Linear`; the output of the
    first of them is the width. Input layers, too, are the next `nn.Linear`, as long as what they
    read is no multiple of the width. The readout is the last `nn.Linear`. First and last are in the order in which the
    modules were assigned.

    Returns:
        Three groups, "input", "hidden" and "readout" by their key "role". A model without hidden
        matrices has an empty one.

    Raises:
        ValueError: for a model without an input layer and a readout, with matrices elsewhere than
            in linear and embedding layers, or with shared ones; a width or a rate that isn't
            above 0.

    Source: Yang et al. (2022), for Adam.
    """
    inputs, inner = _layers(model)
    r = _width(inputs[0]) / base_width
    hidden, readout = [layer.weight for layer in inner[:-1]], [inner[-1].weight]
    scaled = {id(weight) for weight in hidden + readout}
    others = [weight for weight in model.parameters() if id(weight) not in scaled]
    return [
        {"role": "input", "params": others, "lr": lr},
        {"role": "hidden", "params": hidden, "lr": lr / r},
        {"role": "readout", "params": readout, "lr": lr / r},
    ]


def _widths(name: str, value: Any) -> None:
    if not isinstance(value, Sequence) or len(value) == 0:
        raise ValueError(f"{name}: expected a sequence of widths, got {value!r}")
    for width in value:
        count(name, width)


@validated(widths=_widths, steps=count)
def coord_check(
    make_model: Callable[[int], Made], widths: Sequence[int], steps: int = 5
) -> dict[str, Float[Tensor, "{len(widths)}"]]:
    """Return how far training moves the outputs of each layer, at several widths.

    A parametrization is right if no layer's change grows or vanishes with the width
    (see initialization-mup): look at its slope on logarithmic scales.

    Args:
        make_model: a function of the width that returns a model, its optimizer, and a function of
            the model that computes the loss of one fixed batch. It also sets the seed.
        widths: which to try.
        steps: number of updates.

    Returns:
        For each `nn.Linear` that takes part, by its name: the root mean square change of its
        output on the batch, from before the first update to after the last, for each width.
        Chance, as of dropout, is the same in both, and training's own goes on as without them.

    Raises:
        ValueError: for no widths, a width or number of steps below 1, or a model that has other
            linear layers at one width than at another.
    """
    changes: dict[str, list[Tensor]] = {}
    for done, width in enumerate(widths):
        model, optimizer, loss = make_model(width)
        before = _linear_outputs(model, loss)
        for _ in range(steps):
            optimizer.zero_grad()
            loss(model).backward()
            optimizer.step()
        after = _linear_outputs(model, loss)
        names = list(after)
        if set(before) != set(names) or (done and set(changes) != set(names)):
            others = list(changes) if done else list(before)
            raise ValueError(
                "make_model: expected a model in which the same linear layers take part at every "
                f"width and step, got {names} at width {width} beside {others}"
            )
        for name, output in after.items():
            change = (_wide(output) - _wide(before[name])).square().mean().sqrt()
            changes.setdefault(name, []).append(change)
    return {name: torch.stack(values) for name, values in changes.items()}


def _wide(x: Tensor) -> Tensor:
    """Return x in float32 at least, as a mean square of float16 is soon 0 or infinite."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def _linear_outputs(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> dict[str, Tensor]:
    """Return what each linear layer puts out while the loss is computed."""
    outputs = {}

    def keep(name: str) -> Callable:
        return lambda layer, inputs, output: outputs.update({name: output.clone()})

    linear = [(n, layer) for n, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_hook(keep(name)) for name, layer in linear]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss(model)
    for hook in hooks:
        hook.remove()
    return outputs


def _examples(name: str, value: Any) -> None:
    """Refuse what is not a pair of a table of numbers and a column of classes."""
    pair = value if isinstance(value, tuple | list) and len(value) == 2 else (None, None)
    inputs, classes = pair
    if not (isinstance(inputs, Tensor) and isinstance(classes, Tensor)):
        raise ValueError(f"{name}: expected two tensors, (inputs, classes)")  # noqa: TRY004
    if inputs.ndim != 2 or classes.shape != inputs.shape[:1] or not inputs.numel():
        raise ValueError(
            f"{name}: expected shapes (rows, features) and (rows,), not empty, got "
            f"{tuple(inputs.shape)} and {tuple(classes.shape)}"
        )
    if classes.dtype != torch.int64:
        raise ValueError(f"{name}: expected classes of dtype torch.int64, got {classes.dtype}")


def _rates(name: str, value: Any) -> None:
    if not isinstance(value, Sequence) or len(value) == 0:
        raise ValueError(f"{name}: expected a sequence of learning rates, got {value!r}")
    for rate in value:
        positive(name, rate)


@validated(data=_examples, widths=_widths, rates=_rates, steps=count, batch_size=count, seed=seed)
def width_sweep(
    data: Sequence[Tensor],
    widths: Sequence[int],
    rates: Sequence[Real],
    *,
    steps: int,
    batch_size: int = 256,
    seed: int = 0,
) -> Float[Tensor, "2 {len(widths)} {len(rates)}"]:
    """Return the losses that Adam reaches at several widths and rates, without and with μP.

    A ReLU network features → width → width → classes starts from normal weights of He's variance,
    a readout of gain 1, and biases of 0. With μP (see initialization-mup), whose base is the
    first width, it has the rates of `mup_groups`, and the readout's standard deviation falls as one over
    the width. At the first width both are the same. Everything happens on the device of the data.

    Shapes: inputs `(rows, features)`, of any real dtype, and classes `(rows,)`, of int64; to
    `(2, widths, rates)`, first without μP.

    Args:
        data: inputs and classes.
        widths: which to try; the first is μP's base width.
        rates: which learning rates to try.
        steps: number of updates.
        batch_size: rows in each, drawn with replacement.
        seed: of the weights and the batches; the batches are the same for all.

    Returns:
        The mean loss of the last tenth of the steps, infinity where training diverged.

    Raises:
        ValueError: for data of other shapes or dtypes, no widths or no rates, or such, a number of
            steps or a batch size that isn't above 0, a seed that isn't an integer of at least 0.
    """
    run = {"steps": steps, "batch_size": batch_size, "seed": seed}
    losses = [
        _last_losses(data, width, rate, base_width, **run)
        for base_width, width, rate in itertools.product((None, widths[0]), widths, rates)
    ]
    return (
        torch.stack(losses)
        .nan_to_num(nan=torch.inf, posinf=torch.inf)
        .view(2, len(widths), len(rates))
        .cpu()
    )


def _last_losses(
    data: Sequence[Tensor],
    width: int,
    lr: Real,
    base_width: int | None,
    *,
    steps: int,
    batch_size: int,
    seed: int,
) -> Tensor:
    """Train one network of the sweep, with μP if there is a base width."""
    inputs, classes = data
    device = inputs.device
    generator = torch.Generator(device).manual_seed(seed)

    def layer(fan_in: int, fan_out: int, gain: float) -> nn.Linear:
        linear = skip_init(nn.Linear, fan_in, fan_out, device=device)
        variance_scaling_(linear.weight, gain=gain, generator=generator)
        nn.init.zeros_(linear.bias)
        return linear

    order = torch.randint(len(classes), (steps, batch_size), generator=generator, device=device)
    readout = 1.0 if base_width is None else math.sqrt(base_width / width)
    hidden = [layer(before, width, math.sqrt(2)) for before in (inputs.shape[1], width)]
    relu, last = nn.ReLU(), layer(width, classes.max().item() + 1, readout)
    model = nn.Sequential(hidden[0], relu, hidden[1], relu, last)
    weights = mup_groups(model, base_width, lr) if base_width else model.parameters()
    descent = Adam(weights, lr=lr)
    losses = []
    for rows in order:
        loss = cross_entropy(model(inputs[rows].float()), classes[rows])
        descent.zero_grad()
        loss.backward()
        descent.step()
        losses.append(loss.detach())
    return torch.stack(losses[-max(1, steps // 10) :]).mean()
