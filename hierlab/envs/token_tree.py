r"""Token trees: every response a policy could write, enumerated in full.

A tree is a `FiniteWorld` whose states are prefixes and whose actions are tokens. The policy has one row of logits for each prefix, so
the value of every prefix, the advantage of every token and the gradient of the expected return are known exactly.

`token_tree` enumerates the tree of any rule. `parity_tree` is the one that estimators are tried on: a verifiable problem in small, with
answers of different lengths, errors that can be mended, and a token that plans. The prompt is a row of bits, the answer its running
parities and an end mark; `?` takes back the last digit.

    1 1 0 =  ->  0 0 $    or    0 1 ? 0 $
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import xor
from typing import NamedTuple

import torch
from torch import Tensor

from hierlab.checks import check_range
from hierlab.envs.finite import FiniteWorld, success_probability
from hierlab.seeds import generator

RECONSIDER, END = "?", "$"
TOKENS = ("0", "1", RECONSIDER, END)


class Judgement(NamedTuple):
    """What the rule of a tree says of a token behind a prefix.

    Attributes:
        reward: of this token.
        over: whether it ends the response. The last token of the longest response ends it in any case.
        won: whether the response is right; it must also be over.
    """

    reward: float = 0.0
    over: bool = False
    won: bool = False


def token_tree(
    prompts: Sequence[str], tokens: Sequence[str], length: int, judge: Callable[[int, tuple[str, ...]], Judgement]
) -> FiniteWorld:
    """Enumerate every response to every prompt.

    Args:
        prompts: Z texts, one for each task.
        tokens: A words.
        length: the longest response, in tokens; longer ones are cut off there.
        judge: `(task, response)`: what to say of the response's last token; the task is the prompt's number.

    Returns:
        A world with one state, which is also a context, for each task and each prefix that can be continued; shorter prefixes first.

    Raises:
        ValueError: if there are no prompts or tokens, one occurs twice, or `length` is less than 1; or as `FiniteWorld`.
    """
    if not prompts or not tokens or length < 1:
        raise ValueError(f"a token tree needs prompts, tokens and a length of at least 1, got {len(prompts)}, {len(tokens)} and {length}")
    if len(set(prompts)) < len(prompts) or len(set(tokens)) < len(tokens):
        raise ValueError(f"prompts and tokens must all be different, got {list(prompts)} and {list(tokens)}")
    states: list[tuple[int, tuple[str, ...]]] = [(task, ()) for task in range(len(prompts))]
    move, judged = [], []
    for state, (task, prefix) in enumerate(states):  # grows while it is walked along
        responses = [(*prefix, token) for token in tokens]
        found = [judge(task, response) for response in responses]
        judged.append([j._replace(over=j.over or len(prefix) + 1 == length) for j in found])
        move.append([])
        for response, judgement in zip(responses, judged[-1], strict=True):
            move[-1].append(state if judgement.over else len(states))
            if not judgement.over:
                states.append((task, response))
    return FiniteWorld(
        commands=tuple(tokens),
        contexts=tuple((prompts[task], *prefix) for task, prefix in states),
        start=torch.arange(len(prompts)),
        context=torch.arange(len(states)),
        move=torch.tensor(move),
        reward=torch.tensor([[j.reward for j in row] for row in judged], dtype=torch.float64),
        over=torch.tensor([[j.over for j in row] for row in judged]),
        won=torch.tensor([[j.won for j in row] for row in judged]),
        valid=torch.ones(len(states), len(tokens), dtype=torch.bool),
        horizon=length,
    )


@dataclass(frozen=True, eq=False)
class ParityTree:
    """A tree of running parities, and what a good student would write.

    Attributes:
        world: the tree; its tokens are `0`, `1`, `?` and `$`.
        expert: [S] int64, the token that leads on from each prefix: the next right digit, `?` behind a wrong one, `$` at the end.
    """

    world: FiniteWorld
    expert: Tensor


def parity_tree(bits: int = 4, spare: int = 2, *, prompts: int = 4, partial: float = 0.0, seed: int = 0) -> ParityTree:
    r"""Running parities of some bits, with second thoughts.

    Args:
        bits: in the prompt; the answer has one digit less, and an end mark.
        spare: how many tokens a response may have beyond these; mending a slip takes two.
        prompts: how many tasks, all different.
        partial: the share of the reward that is given along the way, $r_t=(1-\rho)\,[\text{right}]+\rho\,(\Phi_{t}-\Phi_{t-1})$ where
            $\Phi$ is the share of the answer's digits that stand right before the first wrong one. 0: all of it at the end.
        seed: draws the prompts.

    Raises:
        ValueError: if a number is out of range, or there are not as many different prompts.
    """
    check_range("partial", partial, 0, 1)
    if bits < 2 or spare < 0 or not 1 <= prompts <= 2**bits:
        raise ValueError(f"need bits >= 2, spare >= 0 and 1 to 2**bits prompts, got bits={bits}, spare={spare}, prompts={prompts}")
    drawn = torch.randperm(2**bits, generator=generator("parity tree", seed))[:prompts].tolist()
    problems = [f"{number:0{bits}b}" for number in drawn]
    answers = [[str(parity) for parity in accumulate(map(int, problem), xor)][1:] for problem in problems]

    def judge(task: int, response: tuple[str, ...]) -> Judgement:
        answer, digits = answers[task], _standing(response)
        over = response[-1] == END
        won = over and digits == answer
        progress = (_right(digits, answer) - _right(_standing(response[:-1]), answer)) / len(answer)
        return Judgement((1 - partial) * won + partial * progress, over, won)

    texts = [f"{' '.join(problem)} =" for problem in problems]
    world = token_tree(texts, TOKENS, bits + spare, judge)
    answer_of = dict(zip(texts, answers, strict=True))
    expert = [_next(_standing(prefix), answer_of[prompt]) for prompt, *prefix in world.contexts]
    return ParityTree(world, torch.tensor([TOKENS.index(token) for token in expert]))


def student(tree: ParityTree, success: float, *, unevenness: float = 1.0, seed: int = 0) -> Tensor:
    r"""A policy of given skill: logits $\kappa\,[a\text{ is the expert's}]+\xi_{s,a}$ with $\kappa$ such that it succeeds so often.

    Args:
        tree: what it answers.
        success: its probability of success.
        unevenness: standard deviation of the noise $\xi$, which makes some prefixes easier than others.
        seed: of the noise.

    Returns:
        [S, A] logits, float64.

    Raises:
        ValueError: if no such policy exists: `success` is not strictly between that of the noise alone and 1.
    """
    world = tree.world
    noise = torch.randn(world.reward.shape, generator=generator("student", seed), dtype=torch.float64) * unevenness
    right = torch.nn.functional.one_hot(tree.expert, len(world.commands)).to(noise)

    def at(skill: float) -> float:
        return success_probability(world, (noise + skill * right).softmax(dim=1))

    low, high = 0.0, 40.0
    if not at(low) < success < at(high):
        raise ValueError(f"a student of this tree succeeds with a probability between {at(low):.3g} and {at(high):.3g}, not {success}")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle) >= success else (middle, high)
    return noise + high * right


def _standing(response: Sequence[str]) -> list[str]:
    """The digits that stand, after what was taken back."""
    digits: list[str] = []
    for token in response:
        if token == RECONSIDER:
            digits = digits[:-1]
        elif token != END:
            digits.append(token)
    return digits


def _right(digits: Sequence[str], answer: Sequence[str]) -> int:
    """How many digits are right before the first wrong one."""
    agree = [digit == wanted for digit, wanted in zip(digits, answer, strict=False)]
    return agree.index(False) if False in agree else len(agree)


def _next(digits: Sequence[str], answer: Sequence[str]) -> str:
    """What leads on from these digits."""
    if list(digits) != list(answer[: len(digits)]):
        return RECONSIDER
    return answer[len(digits)] if len(digits) < len(answer) else END
