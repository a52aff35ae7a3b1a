"""How fast and how lean is `derived.linear_attention`, beside PyTorch's softmax attention?

    python benchmarks/bench_linear_attention.py [--rounds 9]

The reference is `scaled_dot_product_attention` with `is_causal=True`, which on a CPU is a fused
kernel that never stores the weights. Four heads of dimension 64, float32, one thread, CPU time;
checks of values are on, as by default. Reading one new token (decode) is measured as attention of
one query over the cached keys and values, as one step of `recurrent` with its checks (state), and
as the three tensor operations in it (bare). Memory is the most that lives at one time in tensors
made by the call, its output included, as the profiler records it.

Writes benchmarks/results/linear_attention.json and what the chapter draws,
chapters/recorded/linear_attention_times.json.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable
from functools import partial

import torch
from _timing import conditions, interleaved, ratio, store
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention
from torch.profiler import ProfilerActivity, profile

from derived.linear_attention import chunked, delta_rule, linear_attention, recurrent

HEADS, DIM = 4, 64
LENGTHS = [64 * 2**i for i in range(9)]  # up to 16,384
STEPS = 50  # of decoding, timed together

# How many times faster than softmax attention the chunked form is to be, at least.
FORWARD = {1024: 2.5, 4096: 8, 16384: 30}
BOTH = {4096: 6}
MEMORY = 1.5  # times the output, at most, at the largest length


def softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k, v, is_causal=True)


def with_decay(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return chunked(q, k, v, log_decay=torch.full_like(k[..., 0], -0.01))


def with_delta(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return delta_rule(q, k, v, torch.full_like(k[..., 0], 0.5))


def with_features(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return linear_attention(q, k, v, causal=True)


FORMS = {
    "sdpa": softmax,
    "chunked": chunked,
    "with decay": with_decay,
    "elu, normalized": with_features,
    "delta rule": with_delta,
}


def inputs(length: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, HEADS, length, DIM, generator=generator)
    return [q, normalize(k, dim=-1), v]


def forward_and_backward(form: Callable, leaves: list[Tensor]) -> Callable[[], object]:
    return lambda: torch.autograd.grad(form(*leaves).sum(), leaves)


def decode(position: int) -> dict[str, Callable[[], object]]:
    """Return the ways to read one token after `position` others, each many times in a row."""
    q, k, v = inputs(position)
    query, key, value = (x[:, :, -1:] for x in (q, k, v))
    state = k.mT @ v

    def bare() -> Tensor:
        return query @ (state + key.mT * value)

    ways = {
        "cache": lambda: scaled_dot_product_attention(query, k, v),
        "state": lambda: recurrent(query, key, value, state=state),
        "bare": bare,
    }
    return {name: lambda way=way: [way() for _ in range(STEPS)] for name, way in ways.items()}


def peak(function: Callable[[], object]) -> int:
    """Return the most bytes that live at one time in tensors made by a function."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        function()
    events = sorted(trace.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    changes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return max(itertools.accumulate(changes, initial=0))


def compare(candidates: dict[str, Callable], rounds: int) -> dict[str, dict]:
    """Return each candidate's median in ms and how many times faster than the first it is."""
    times = interleaved(candidates, rounds=rounds)
    first, results = next(iter(candidates)), {}
    for name, each in times.items():
        faster, low, high = ratio(times[first], each)
        results[name] = {
            "ms": statistics.median(each),
            "times_faster": faster,
            "quartiles": [low, high],
        }
    return results


def say(title: str, results: dict[str, dict], targets: dict[str, float] | None = None) -> None:
    print(title)
    for name, result in results.items():
        low, high = result["quartiles"]
        aim = f"   at least {targets[name]:g} is aimed at" if name in (targets or {}) else ""
        print(
            f"    {name:16} {result['ms']:10.3f} ms   {result['times_faster']:6.2f} times faster "
            f"({low:.2f} to {high:.2f}){aim}"
        )


def aim(targets: dict[int, float], length: int) -> dict[str, float]:
    return {"chunked": targets[length]} if length in targets else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)

    forward, both, steps, memory = {}, {}, {}, {}
    for length in LENGTHS:
        candidates = {name: partial(form, *inputs(length)) for name, form in FORMS.items()}
        forward[length] = compare(candidates, rounds)
        say(f"forward, {length} tokens", forward[length], aim(FORWARD, length))
    for length in (1024, 4096):
        leaves = [x.requires_grad_() for x in inputs(length)]
        candidates = {name: forward_and_backward(form, leaves) for name, form in FORMS.items()}
        both[length] = compare(candidates, rounds)
        say(f"forward and backward, {length} tokens", both[length], aim(BOTH, length))
    for position in LENGTHS:
        steps[position] = compare(decode(position), rounds)
        for result in steps[position].values():
            result["ms"] /= STEPS
        say(f"one token after {position}", steps[position])
    tensors = inputs(LENGTHS[-1])
    for name, form in FORMS.items():
        memory[name] = peak(partial(form, *tensors)) / tensors[2].nbytes
        target = f"   at most {MEMORY} is aimed at" if name == "chunked" else ""
        print(f"memory, {LENGTHS[-1]} tokens: {name:16} {memory[name]:.3f} x the output{target}")

    machine = conditions(rounds)
    results = {"forward": forward, "both": both, "decode": steps, "memory": memory}
    store("benchmarks/results/linear_attention.json", machine | {"results": results})
    drawn = {
        "machine": machine["machine"],
        "torch": torch.__version__,
        "date": machine["date"],
        "forward": [
            {"length": n} | {name: forward[n][name]["ms"] for name in ("sdpa", "chunked")}
            for n in LENGTHS
        ],
        "decode": [
            {"position": n} | {name: steps[n][name]["ms"] for name in ("cache", "state", "bare")}
            for n in LENGTHS
        ],
    }
    store("chapters/recorded/linear_attention_times.json", drawn)


if __name__ == "__main__":
    main()
