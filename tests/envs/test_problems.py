import inspect
import re
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.envs.digit_sum import CHARACTERS, DigitSum, digit_sums
from hierlab.envs.environment import Problem
from hierlab.envs.reasoning import EVALUATE_ARITHMETIC, EVALUATE_LITERALS, REFUSED, reasoning_problems

digits = st.lists(st.integers(0, 9), min_size=2, max_size=8).map(tuple)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# digit sums: degenerate sizes and closed-form answers


def test_two_terms():
    problem = DigitSum((5, 5))
    assert problem.prompt == "5 + 5 ="
    assert problem.answer == "0 $"
    assert digit_sums(2, 0, generator=seeded(0)) == []


def test_the_cards_example():
    problem = DigitSum((3, 4, 9, 1))
    assert problem.prompt == "3 + 4 + 9 + 1 ="
    assert problem.answer == "7 6 7 $"
    assert problem.verify("767$") == problem.verify("7 6 7 $") == problem.verify(" 7 6  7\n$ ") == 1.0


@pytest.mark.parametrize("wrong", ["", "767", "7 6 7", "767$$", "767$7", "766$", "$767", "7 6 7 $ ;", "seven", "٧٦٧$"])
def test_wrong_answers(wrong):
    assert DigitSum((3, 4, 9, 1)).verify(wrong) == 0.0


# digit sums: properties


@given(digits)
def test_only_the_answer_is_right(terms):
    problem = DigitSum(terms)
    assert isinstance(problem, Problem)
    assert problem.verify(problem.answer) == 1.0
    assert set(f"{problem.prompt} {problem.answer}".split()) <= set(CHARACTERS)
    sums = problem.answer.split()
    assert [int(x) for x in sums[:-1]] == [sum(terms[: i + 2]) % 10 for i in range(len(terms) - 1)]
    for i, x in enumerate(sums[:-1]):
        slip = [*sums[:i], str((int(x) + 1) % 10), *sums[i + 1 :]]
        assert problem.verify(" ".join(slip)) == 0.0


def test_sampling_is_seeded_and_uniform():
    problems = digit_sums((2, 4), 4000, generator=seeded(1))
    assert problems == digit_sums((2, 4), 4000, generator=seeded(1))
    assert problems != digit_sums((2, 4), 4000, generator=seeded(2))
    lengths = [len(problem.digits) for problem in problems]
    assert set(lengths) == {2, 4}
    assert abs(lengths.count(2) - 2000) < 200
    drawn = [digit for problem in problems for digit in problem.digits]
    assert all(abs(drawn.count(digit) / len(drawn) - 0.1) < 0.02 for digit in range(10))


@pytest.mark.parametrize("terms", [(), (1,), (1, 10), (1, -1), (1, 2.0), (True, 1)])
def test_bad_digits(terms):
    with pytest.raises(ValueError, match="from 0 to 9"):
        DigitSum(terms)


@pytest.mark.parametrize(("terms", "number"), [(1, 5), ([2, 1], 5), ([], 5), (3, -1)])
def test_bad_samples(terms, number):
    with pytest.raises(ValueError, match=r"at least (two|2)"):
        digit_sums(terms, number, generator=seeded(0))


# reasoning-gym: its verifiers agree with its answers

STATES_AN_ANSWER = ["basic_arithmetic", "chain_sum", "gsm_symbolic", "leg_counting", "spell_backward", "caesar_cipher", "lcm"]


@pytest.mark.parametrize("task", STATES_AN_ANSWER + sorted((EVALUATE_ARITHMETIC | EVALUATE_LITERALS) - {"intermediate_integration"}))
def test_stated_answers_are_right_and_others_are_not(task):
    for problem in reasoning_problems(task, 5, seed=3):
        assert isinstance(problem, Problem)
        assert problem.verify(problem.answer) == problem.verify(f" {problem.answer}\n") == 1.0
        assert all(problem.verify(wrong) < 1 for wrong in ("", "no idea", "-123456789", "[[", "nan"))


def test_problems_are_seeded():
    one, again, other = (reasoning_problems("chain_sum", 4, seed=seed, min_terms=2, max_terms=3) for seed in (1, 1, 2))
    assert one == again
    assert [problem.prompt for problem in one] != [problem.prompt for problem in other]
    settings = reasoning_problems("chain_sum", 4, seed=1, min_terms=2, max_terms=2)
    assert len({problem.id for problem in (*one, *other, *settings)}) == 12


def test_countdown_accepts_any_right_expression():
    (problem,) = reasoning_problems("countdown", 1, seed=0)
    assert problem.verify(f"({problem.answer})") == 1.0
    assert problem.verify(f"{problem.answer} + 0") < 1  # a number too many
    assert problem.verify(f"-({problem.answer})") < 1


@pytest.mark.parametrize("task", ["prime_factorization", "game_of_life", "boxnet"])
def test_text_that_a_verifier_fails_to_read_scores_nothing(task):
    (problem,) = reasoning_problems(task, 1)
    assert problem.verify('{"a": 1}') == problem.verify("garbage") == 0.0


# reasoning-gym: what a model wrote does not run

ATTACKS = [
    "open({path!r}, 'w').close()",
    "__import__('pathlib').Path({path!r}).touch()",
    "[c for c in open({path!r}, 'w').name]",
    "(lambda: open({path!r}, 'w'))()",
    "exec(\"open({path!r}, 'w')\")",
    "[open({path!r}, 'w')]",
    "sin(open({path!r}, 'w'))",
    "x.__class__.__base__.__subclasses__()",
    "1 if open({path!r}, 'w') else 2",
    "(y := open({path!r}, 'w'))",
    "f'{{open({path!r}, \"w\")}}'",
]


@pytest.mark.parametrize("task", sorted(EVALUATE_ARITHMETIC | EVALUATE_LITERALS))
@pytest.mark.parametrize("attack", ATTACKS)
def test_answers_are_not_executed(task, attack, tmp_path):
    (problem,) = reasoning_problems(task, 1)
    trap = tmp_path / "trap"
    assert problem.verify(attack.format(path=str(trap))) < 1
    assert not trap.exists()


BOMBS = [
    *("9**9**9**9", "((9**20)**20)**20", "9**(20*20*20*20*20*20)", "9**exp(99)", "exp(exp(exp(99.0)))", "1e999999999"),
    *("-" * 20000 + "1", "[" * 9000, "9" * 10**6),
]


@pytest.mark.parametrize("task", sorted(EVALUATE_ARITHMETIC | EVALUATE_LITERALS))
def test_answers_cannot_exhaust_the_machine(task):
    (problem,) = reasoning_problems(task, 1)
    problem.verify("1")  # imports what the verifier needs
    start = time.perf_counter()
    assert all(problem.verify(bomb) < 1 for bomb in BOMBS)
    assert time.perf_counter() - start < 2


def test_every_verifier_that_evaluates_is_guarded():
    """A new release of reasoning-gym may add one: this finds it in the source of the verifiers."""
    from reasoning_gym.factory import DATASETS

    found = set()
    for task, (dataset, _) in DATASETS.items():
        source = inspect.getsource(dataset.score_answer)
        own = re.search(r"(?<!literal_)\b(eval|exec)\(|sympify|Fraction\(|parse_expr\(", source)
        theirs = "parse_expr" not in source or "sympy" in Path(inspect.getsourcefile(dataset)).read_text()
        if own and theirs:
            found.add(task)
    found -= {"number_sorting"}  # evaluates its own answer, not the model's
    assert found == EVALUATE_ARITHMETIC | EVALUATE_LITERALS


# reasoning-gym: wrong usage


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("chain_sun", {}, "no task 'chain_sun'; close: chain_sum"),
        ("qqqq", {}, "it has ab, acre,"),
        ("codeio", {}, "does not start it"),
        ("chain_sum", {"terms": 3}, "no setting terms; it has .*min_terms"),
        ("chain_sum", {"seeds": 3}, "no setting seeds"),
        ("chain_sum", {"min_terms": -1}, "refuses these settings: min_terms must be positive"),
        ("chain_sum", {"min_terms": "two"}, "refuses these settings"),
        ("composite", {}, "refuses these settings"),
    ],
)
def test_wrong_tasks_and_settings(task, settings, message):
    with pytest.raises(ValueError, match=message):
        reasoning_problems(task, 1, **settings)


def test_wrong_number():
    with pytest.raises(ValueError, match="at least 1"):
        reasoning_problems("chain_sum", 0)


def test_refused_tasks_exist():
    assert set(import_module("reasoning_gym.factory").DATASETS) >= REFUSED
