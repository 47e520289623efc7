"""Problems of `reasoning-gym` (Apache-2.0), more than a hundred procedural tasks, each with its own verifier.

Some of its verifiers evaluate the answer as code: `eval(answer)`, or sympy's `parse_expr`, which calls `eval`. What a model
wrote must not run in our process, so answers to those tasks reach the verifier only if they are plain literals or plain
arithmetic; any other is scored as no answer. (So is an unevaluated `Integral(...)`, which `intermediate_integration` would accept.)
The guard does not cover the running time of the verifiers themselves.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from hierlab.files import digest

EVALUATE_LITERALS = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
"""Tasks whose verifier calls `eval` on the answer."""
EVALUATE_ARITHMETIC = frozenset(
    {"coin_flip", "countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24", "simple_integration"}
)
"""Tasks whose verifier gives the answer to sympy's `parse_expr`, or (coin_flip) to `Fraction`, which a short exponent can exhaust."""
REFUSED = frozenset({"codeio"})
"""Tasks that run programs from a data file to make their problems."""

LONGEST_LITERAL = 5000
LONGEST_EXPRESSION = 500
LARGEST_EXPONENT = 20
LARGEST_NUMBER = 1e100
GROWING = frozenset({"cosh", "exp", "sinh"})
FUNCTIONS = frozenset({"Abs", "acos", "asin", "atan", "cos", "log", "sin", "sqrt", "tan", "tanh"}) | GROWING


@dataclass(frozen=True)
class ReasoningProblem:
    """One problem of a reasoning-gym task; implements `Problem`.

    Attributes:
        id: task, settings, seed and place in the data set, hashed.
        task: name of the task.
        prompt: the question.
        answer: a right answer; some tasks accept others too, and a few state none.
    """

    id: str
    task: str
    prompt: str
    answer: str | None
    _entry: dict[str, Any] = field(repr=False, compare=False)
    _score: Callable[[str, dict[str, Any]], float] = field(repr=False, compare=False)

    def verify(self, response: str) -> float:
        """The task's own score in [0, 1], which may give partial credit. An answer that its verifier fails to read scores 0."""
        answer = response.strip()
        try:
            return float(self._score(answer if _is_harmless(answer, self.task) else "", self._entry))
        except Exception:  # some verifiers raise on text of another shape than they expect
            return 0.0


def reasoning_problems(task: str, number: int, *, seed: int = 0, **settings: Any) -> list[ReasoningProblem]:
    """Problems of one task; the same arguments give the same problems.

    Args:
        task: name of a task, such as `chain_sum`, `gsm_symbolic` or `countdown`.
        number: how many problems, at least one.
        seed: draws other problems.
        **settings: the task's own settings, such as `min_terms=2` for `chain_sum`.

    Raises:
        ValueError: if there is no such task or setting, or the task refuses a value; the message says what is accepted.
    """
    from reasoning_gym.factory import DATASETS, create_dataset

    if task in REFUSED:
        raise ValueError(f"reasoning-gym's {task} runs programs from a data file to make its problems; hierlab does not start it")
    if task not in DATASETS:
        close = get_close_matches(task, DATASETS, n=3, cutoff=0.5)
        raise ValueError(
            f"reasoning-gym has no task {task!r}; {'close: ' + ', '.join(close) if close else 'it has ' + ', '.join(sorted(DATASETS))}"
        )
    accepted = sorted(f.name for f in fields(DATASETS[task][1]) if f.name not in ("seed", "size"))
    if unknown := sorted(set(settings) - set(accepted)):
        raise ValueError(f"reasoning-gym's {task} has no setting {', '.join(unknown)}; it has {', '.join(accepted)}")
    if number < 1:
        raise ValueError(f"number must be at least 1, got {number}")
    try:
        data = create_dataset(task, seed=seed, size=number, **settings)
        entries = [data[i] for i in range(number)]
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(f"reasoning-gym's {task} refuses these settings: {error}") from error
    key = digest([task, seed, sorted((name, repr(value)) for name, value in settings.items())])[:12]
    return [ReasoningProblem(f"{task}/{key}/{i}", task, e["question"], e["answer"], e, data.score_answer) for i, e in enumerate(entries)]


def _is_harmless(answer: str, task: str) -> bool:
    """Whether this task's verifier may see the answer."""
    if task in EVALUATE_LITERALS:
        return re.fullmatch(r"[\w\s]*", answer) is not None or _is_literal(answer)
    return task not in EVALUATE_ARITHMETIC or _is_arithmetic(answer)


def _is_literal(text: str) -> bool:
    """Whether the text is a Python literal: numbers, strings, and lists of them."""
    if len(text) > LONGEST_LITERAL:
        return False
    try:
        ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _is_arithmetic(text: str) -> bool:
    """Whether the text is a short expression of numbers, names, the four operations, small powers and known functions."""
    if len(text) > LONGEST_EXPRESSION:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return all(_is_allowed(node) for node in ast.walk(tree.body))


def _is_allowed(node: ast.AST) -> bool:
    """Whether a part of an expression is harmless and cheap, given that its own parts are."""
    match node:
        case ast.Constant(value=value):
            return type(value) in (int, float) and abs(value) < LARGEST_NUMBER
        case ast.BinOp(op=ast.Pow(), left=base, right=exponent):
            return _is_small(exponent) and not any(isinstance(part, ast.Pow) for part in ast.walk(base))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            nested = {part.func.id for part in ast.walk(argument) if isinstance(part, ast.Call) and isinstance(part.func, ast.Name)}
            return name in FUNCTIONS and not (name in GROWING and nested & GROWING)
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()) | ast.UnaryOp(op=ast.UAdd() | ast.USub()):
            return True
        case ast.Name() | ast.operator() | ast.unaryop() | ast.expr_context():
            return True
    return False


def _is_small(exponent: ast.AST) -> bool:
    """Whether an exponent is a name, a small number, a quotient of two, or the negative of one."""
    match exponent:
        case ast.Name():
            return True
        case ast.Constant(value=value):
            return type(value) in (int, float) and abs(value) <= LARGEST_EXPONENT
        case ast.UnaryOp(operand=operand):
            return _is_small(operand)
        case ast.BinOp(op=ast.Div(), left=ast.Constant() as left, right=ast.Constant() as right):
            return _is_small(left) and _is_small(right)
    return False
