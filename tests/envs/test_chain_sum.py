"""Chain sums: what is right, where a slip is, and how they are demonstrated."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.envs.chain_sum import WORDS, ChainSum, Demonstrator, chain_sums, written
from hierlab.envs.environment import Problem

digits = st.lists(st.integers(0, 9), min_size=2, max_size=8).map(tuple)
PERFECT = Demonstrator(slip=0, recheck=0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# degenerate sizes and closed-form answers


def test_two_terms():
    problem = ChainSum((5, 5))
    assert (problem.id, problem.prompt, problem.answer) == ("5+5", "5 5 =", "0 # 0 $")
    assert chain_sums(2, 0, generator=seeded(0)) == []
    assert len(set(chain_sums(2, 100, generator=seeded(0)))) == 100  # all there are


@pytest.mark.parametrize("right", ["767#7$", "7 6 7 # 7 $", "767?7#7$", "767?1?9#7$", "123#7$", " 7\n67#7$"])
def test_right_answers(right):
    assert ChainSum((3, 4, 9, 1)).verify(right) == 1.0


@pytest.mark.parametrize("wrong", ["", "767", "767#7", "767#6$", "76#7$", "7677#7$", "767?#7$", "767?77#7$", "767#7$$", "767?7$", "٧٦٧#٧$"])
def test_wrong_answers(wrong):
    assert ChainSum((3, 4, 9, 1)).verify(wrong) == 0.0


@pytest.mark.parametrize(
    ("response", "place"), [("767#7$", None), ("767", None), ("867#7$", 0), ("712#7$", 1), ("76", 2), ("", 0), ("7?", 1), ("768?7#7$", 2)]
)
def test_the_first_slip(response, place):
    assert ChainSum((3, 4, 9, 1)).first_slip(response) == place


def test_shares_of_slips_rechecks_and_flips():
    demonstrator = Demonstrator(slip=0.2, recheck=0.5, most_rechecks=2, flip=0.3)
    problem, draw = ChainSum((1, 2, 3)), seeded(0)
    shown = [demonstrator(problem, draw).split() for _ in range(8000)]
    assert sum(words[0] != "3" for words in shown) / 8000 == pytest.approx(0.2, abs=0.02)
    assert sum(words[1] != str((int(words[0]) + 3) % 10) for words in shown) / 8000 == pytest.approx(0.2, abs=0.02)
    checks = [words.count("?") for words in shown]
    assert [checks.count(n) / 8000 for n in range(3)] == pytest.approx([0.5, 0.25, 0.25], abs=0.02)
    checked = [words for words in shown if "?" in words]
    assert sum(words[1] != words[3] for words in checked) / len(checked) == pytest.approx(0.3, abs=0.02)
    mistakes = [words[0] for words in shown if words[0] != "3"]
    assert all(mistakes.count(str(d)) / len(mistakes) == pytest.approx(1 / 9, abs=0.03) for d in (0, 1, 2, 4, 5, 6, 7, 8, 9))


# properties


@given(digits, st.integers(0, 99))
def test_demonstrations_have_the_right_form(terms, seed):
    problem = ChainSum(terms)
    assert isinstance(problem, Problem)
    assert problem.verify(problem.answer) == 1.0
    assert PERFECT(problem, seeded(seed)) == problem.answer
    shown = Demonstrator(slip=0.5, flip=0.5)(problem, seeded(seed))
    assert shown == Demonstrator(slip=0.5, flip=0.5)(problem, seeded(seed))
    assert set(f"{problem.prompt} {shown}".split()) <= set(WORDS)
    answer = shown.split()[-2]
    assert problem.verify(shown) == float(answer == str(problem.running_sums[-1]))
    assert any(ChainSum((*terms[:-1], last)).verify(shown) for last in range(10))  # right for another last term: the form is right


@given(digits, st.integers(0, 99))
def test_a_slip_is_found_where_it_was_made(terms, seed):
    problem, place = ChainSum(terms), seed % (len(terms) - 1)
    sums = list(problem.running_sums)
    off = 1 + seed % 9
    slipped = [*sums[:place], *((s + off) % 10 for s in sums[place:])]  # the chain goes on from the slip
    assert problem.first_slip(written(slipped, (), slipped[-1])) == place
    assert problem.first_slip(problem.answer) is None


def test_problems_are_seeded():
    assert chain_sums(5, 50, generator=seeded(1)) == chain_sums(5, 50, generator=seeded(1))
    assert chain_sums(5, 50, generator=seeded(1)) != chain_sums(5, 50, generator=seeded(2))


# wrong usage


@pytest.mark.parametrize("terms", [(), (1,), (1, 10), (True, 1)])
def test_bad_digits(terms):
    with pytest.raises(ValueError, match="from 0 to 9"):
        ChainSum(terms)


@pytest.mark.parametrize(("terms", "number"), [(1, 5), (2, 101), (3, -1)])
def test_too_many_problems(terms, number):
    with pytest.raises(ValueError, match="at least two terms"):
        chain_sums(terms, number, generator=seeded(0))


@pytest.mark.parametrize("field", ["slip", "recheck", "flip", "most_rechecks"])
def test_bad_demonstrators(field):
    with pytest.raises(ValueError, match=field):
        Demonstrator(**{field: -1})
