"""What an exercise is, and how an answer to it is examined."""

import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Exercise", "Hint", "NotYet", "Verdict", "agree", "examine", "number", "recognize"]

Answer = Callable[..., Any]


class Hint:
    """What to say to a common wrong answer, and the answers it is for: the tests try them all.

    The text may name in braces what `NotYet` is given.
    """

    def __init__(self, text: str, *wrong: Answer):
        self.text, self.wrong = text, wrong


class NotYet(Exception):
    """Raised by a judge: the name of a hint with what its text names, or a text of its own."""

    def __init__(self, hint_or_text: str, **facts: Any):
        super().__init__(hint_or_text)
        self.hint_or_text, self.facts = hint_or_text, facts


@dataclass(frozen=True)
class Exercise:
    """An exercise whose answer is a function.

    Args:
        inputs: the arguments of each call of the reader's function.
        judge: takes what the calls returned and returns what passed, or raises `NotYet`.
        hints: by name, for the answers that are wrong in a known way.
    """

    inputs: Sequence[tuple]
    judge: Callable[[list], str]
    hints: dict[str, Hint]


@dataclass(frozen=True)
class Verdict:
    """What is said to the reader, and which hint it is, if any."""

    text: str
    hint: str | None = None


def examine(exercise: Exercise, answer: Any) -> Verdict:
    """Call a reader's function and judge what it returns.

    Whatever it does, a verdict is returned, so that a notebook goes on; only the reader's own
    interruption (`KeyboardInterrupt`) comes through.
    """
    if not callable(answer):
        return Verdict("not yet. Give check the function itself, by its name without parentheses.")
    name = getattr(answer, "__name__", "your function")
    unanswered = Verdict(f"not attempted yet. Write the body of {name} and run this cell again.")
    results = []
    for arguments in exercise.inputs:
        try:
            results.append(answer(*arguments))
        except NotImplementedError:
            return unanswered
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the reader is told which
            call = f"{name}({', '.join(f'{argument!r}' for argument in arguments)})"
            return Verdict(f"not yet. {call} raised {_explain(error)}")
    if all(result is None or result is ... for result in results):
        return unanswered
    try:
        return Verdict(f"correct. Passed: {exercise.judge(results)}")
    except NotYet as reason:
        hint = exercise.hints.get(reason.hint_or_text)
        if hint is None:
            return Verdict(f"not yet. {reason.hint_or_text}")
        return Verdict(f"not yet. {hint.text.format(**reason.facts)}", reason.hint_or_text)
    except Exception as error:  # noqa: BLE001 - no judge foresees all that may be returned
        return Verdict(f"not yet. What {name} returned can't be judged: {_explain(error)}")


def number(value: Any) -> float | None:
    """Return what a reader means by a finite number (a string is none), or None."""
    try:
        result = None if isinstance(value, str | bytes) else float(value)
    except (ArithmeticError, RuntimeError, TypeError, ValueError):
        return None
    return result if result is not None and abs(result) < float("inf") else None


def agree(
    some: Sequence[float], others: Sequence[float], *, rel: float = 1e-5, absolute: float = 0.0
) -> bool:
    """Say whether numbers are equal one by one, even if they were computed in float32."""
    pairs = zip(some, others, strict=True)
    return all(math.isclose(*pair, rel_tol=rel, abs_tol=absolute) for pair in pairs)


def recognize(
    got: Sequence[float],
    right: Sequence[float],
    inputs: Sequence[tuple],
    hints: dict[str, Hint],
    *,
    absolute: float = 0.0,
) -> None:
    """Raise the hint for numbers that are wrong in a known way, if they are.

    The hint "factor" is for any multiple of the right numbers, "number" for what is none.
    """
    for name, hint in hints.items():
        for formula in hint.wrong if name not in ("factor", "number") else ():
            if agree(got, [float(formula(*x)) for x in inputs], absolute=absolute):
                raise NotYet(name)
    factor = got[-1] / right[-1]
    if "factor" in hints and factor and agree(got, [factor * x for x in right], absolute=absolute):
        raise NotYet("factor", factor=factor)


def _explain(error: BaseException) -> str:
    """Return an exception's type and the first line of its message, also of a broken one."""
    return traceback.format_exception_only(error)[-1].splitlines()[0]
