"""Pass@k from a few attempts."""

from itertools import combinations

import pytest

from hierlab.rollout import pass_at_k


def test_one_attempt_at_one_problem():
    assert pass_at_k([0], 1, 1) == 0
    assert pass_at_k([1], 1, 1) == 1


def test_pass_at_1_is_the_share_of_right_attempts():
    assert pass_at_k([0, 1, 4], 4, 1) == pytest.approx(5 / 12)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_it_is_the_mean_over_all_choices_of_attempts(k):
    solved, attempts = [0, 2, 5, 4], 5
    rows = [[i < c for i in range(attempts)] for c in solved]
    chosen = [[any(row[i] for i in choice) for choice in combinations(range(attempts), k)] for row in rows]
    expected = sum(sum(row) / len(row) for row in chosen) / len(rows)
    assert pass_at_k(solved, attempts, k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("solved", "attempts", "k", "message"),
    [([], 4, 1, "at least one problem"), ([1], 4, 0, "from 1 to"), ([1], 4, 5, "from 1 to"), ([1, 5], 4, 1, "problem 1 was solved 5")],
)
def test_wrong_usage(solved, attempts, k, message):
    with pytest.raises(ValueError, match=message):
        pass_at_k(solved, attempts, k)
