from functools import partial

import pytest
import torch

from hierlab.credit import cutpoint_starts, equal_starts, rloo, spo, spo_tree
from hierlab.lab.equal_cost import at_equal_cost, chain_worth, groups_worth, tokens_of_group
from hierlab.lab.token_testbed import BranchingTestbed, ChainTestbed, tree_testbed
from hierlab.rollout import estimate, summary
from hierlab.seeds import generator

SMALL = {"bits": 3, "spare": 1}
WHOLE = partial(spo, threshold=None)


def every_token(rollouts):
    return rollouts.response_mask


def in_two(rollouts):
    return estimate(rollouts, equal_starts, num_segments=2)


def spent(testbed, groups, size):
    """Tokens a group costs, by another sample than the pilot's."""
    rollouts = testbed.collect(2000, size, generator("test", "spent"))
    return groups * summary(rollouts)["generated_tokens"] / 2000


def test_a_group_of_one():
    bed = tree_testbed(0.4, **SMALL)
    assert tokens_of_group(bed, 1) == pytest.approx(spent(bed, 1, 1), rel=0.05)
    assert groups_worth(bed, 0.1) == (1.0, 2)


@pytest.mark.parametrize("tokens", [30, 60, 240])
def test_budgets_are_kept(tokens):
    for bed in (tree_testbed(0.4, **SMALL), chain_worth(15, in_two, 0.4, **SMALL)):
        groups, size = groups_worth(bed, tokens)
        assert groups == 1
        if size > 2:
            assert spent(bed, groups, size) == pytest.approx(tokens, rel=0.25)
    tree = tree_testbed(0.4, BranchingTestbed, branches=(2, 2), segment=1, **SMALL)
    groups, size = groups_worth(tree, tokens)
    assert size == 4
    assert spent(tree, groups, size) == pytest.approx(tokens, rel=0.05)


def test_a_chain_buys_as_many_continuations_as_it_can():
    for cut in (every_token, in_two):
        for tokens in (20, 60):
            bed = chain_worth(tokens, cut, 0.4, **SMALL)
            assert isinstance(bed, ChainTestbed)
            assert spent(bed, 1, 1) == pytest.approx(tokens, rel=0.25)
    assert chain_worth(1, every_token, 0.4, **SMALL).continuations == 1
    assert chain_worth(60, in_two, 0.4, **SMALL).continuations > chain_worth(60, every_token, 0.4, **SMALL).continuations


def test_all_arms_are_seen_in_one_place():
    arms = {"RLOO": (rloo, tree_testbed(0.4, **SMALL)), "SPO": (WHOLE, chain_worth(15, every_token, 0.4, **SMALL))}
    seen = at_equal_cost(arms, 60, batches=20, tasks=2, resamples=100)
    assert list(seen.measured) == ["RLOO", "SPO"]
    assert seen.settings["tokens"] == 60
    assert seen.difference("correlation", "SPO", "RLOO").value == pytest.approx(
        seen["SPO"]["correlation"].value - seen["RLOO"]["correlation"].value
    )
    assert len(seen.table()["rows"]) == 2


def test_segments_give_better_credit_to_tokens_at_equal_cost():
    cut = partial(estimate, estimator=cutpoint_starts, interval=1)
    arms = {"RLOO": (rloo, tree_testbed(0.4, **SMALL)), "SPO": (WHOLE, chain_worth(20, cut, 0.4, **SMALL))}
    seen = at_equal_cost(arms, 60, batches=100, resamples=200)
    assert seen.difference("relative_error", "SPO", "RLOO").high < 0


def test_a_tree_follows_the_gradient_if_its_paths_are_weighed():
    """As one sample each, early segments weigh too little: the expected gradient points elsewhere, however many batches there are."""
    tree = tree_testbed(0.4, BranchingTestbed, branches=(3, 3), segment=1, **SMALL)
    arms = {"segments": (spo_tree, tree), "paths": (partial(spo_tree, weight="path"), tree)}
    seen = at_equal_cost(arms, tokens_of_group(tree, 9), batches=400, resamples=200)
    assert seen["paths"]["mean_cosine"].value > 0.99
    assert seen["segments"]["mean_cosine"].high < 0.97
    assert seen["paths"]["squared_error"].value > 0


def test_no_arms_are_refused():
    with pytest.raises(ValueError, match="at least one arm"):
        at_equal_cost({}, 60)
    with pytest.raises(ValueError, match="one number for each"):
        at_equal_cost({"bad": (lambda rewards: torch.zeros(3), tree_testbed(0.4, **SMALL))}, 60, batches=2)
