import math

import pytest
import torch
from scripted import Ask, Scripted, tiny

from hierlab.credit import spo_tree
from hierlab.rollout import GroupCollector, SamplingParams, TransformersEngine, TreeCollector, estimate, success_rate, summary, token_logp
from hierlab.rollout.tree import first_leaves


@pytest.fixture(scope="module")
def policy():
    return tiny()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def grown(policy, branches=(2, 2), segment_tokens=2, tokens=6, tasks=None, seed=0, **options):
    """A tree by a real engine."""
    collector = TreeCollector(branches, segment_tokens, SamplingParams(tokens), **options)
    return collector(TransformersEngine(policy), tasks or [Ask("x", ("a", "b", "")), Ask("y", ("c", "d", ""))], generator(seed))


def ids_of(rollouts, row):
    """What was read and what was written in a row."""
    return rollouts.prompt_ids[row][rollouts.prompt_mask[row]].tolist(), rollouts.response_ids[row][rollouts.response_mask[row]].tolist()


# degenerate sizes


def test_one_segment(policy):
    rollouts = TreeCollector((1,), 1, SamplingParams(4))(Scripted(policy.tokenizer, [["a ."]]), [Ask("x", ("a",))], generator())
    assert rollouts["node"] == [(0, 0)]
    assert rollouts["parent"] == [None]
    assert rollouts.rewards.tolist() == [1]
    assert estimate(rollouts, spo_tree).tolist() == [0]
    assert rollouts["loss_mask"].all()  # nothing but ties: the loss looks at everything, and learns nothing


def test_one_level_is_a_group(policy):
    tasks, params = [Ask("x"), Ask("y")], SamplingParams(6)
    group = GroupCollector(3, params)(TransformersEngine(policy), tasks, generator(2))
    tree = TreeCollector((3,), 1, params)(TransformersEngine(policy), tasks, generator(2))
    assert torch.equal(group.response_ids, tree.response_ids)
    assert torch.equal(group.old_logp, tree.old_logp)
    assert group["response"] == tree["response"]


def test_a_tree_that_ends_on_its_first_level(policy):
    rollouts = TreeCollector((2, 3), 4, SamplingParams(4))(Scripted(policy.tokenizer, [["a .", "b ."]]), [Ask("x", ("a",))], generator())
    assert rollouts["node"] == [(0, 0), (0, 1)]
    assert estimate(rollouts, spo_tree).tolist() == [0.5, -0.5]


# closed form


SCRIPT = [
    ["a b", "c .", "a b", "d d"],  # two segments for x, two for y; the second of x ends
    ["c .", "d", "b .", "a a .", "c", "c ."],  # behind (0, 0), (1, 0) and (1, 1)
]


@pytest.fixture
def by_hand(policy):
    engine = Scripted(policy.tokenizer, [list(line) for line in SCRIPT])
    tasks = [Ask("x", ("a b c", "c")), Ask("y", ("a b b", "d d c"))]
    return engine, TreeCollector((2, 2), 2, SamplingParams(8))(engine, tasks, generator())


def test_a_tree_by_hand(by_hand):
    engine, rollouts = by_hand
    assert engine.read == [["ask"] * 4, ["ask a b", "ask a b", "ask a b", "ask a b", "ask d d", "ask d d"]]
    assert engine.limits == [[2] * 4, [6] * 6]
    x, y = ["x"] * 4, ["y"] * 6
    assert list(rollouts.task) == x + y
    assert rollouts["node"] == [(0, 0), (0, 0, 0), (0, 0, 1), (0, 1), (1, 0), (1, 0, 0), (1, 0, 1), (1, 1), (1, 1, 0), (1, 1, 1)]
    assert rollouts["parent"] == [None, (0, 0), (0, 0), None, None, (1, 0), (1, 0), None, (1, 1), (1, 1)]
    assert rollouts["response"] == ["a b", "c", "d", "c", "a b", "b", "a a", "d d", "c", "c"]
    assert rollouts.turn.tolist() == [0, 1, 1, 0, 0, 1, 1, 0, 1, 1]
    # the last `c` of y has no end mark: the response `d d c` is right, but unfinished
    assert rollouts.rewards.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 0, 1]
    assert estimate(rollouts, spo_tree).tolist() == [-0.25, 0.5, -0.5, 0.25, 0, 0.5, -0.5, 0, -0.5, 0.5]


def test_every_leaf_is_a_trajectory(by_hand):
    _, rollouts = by_hand
    leaves = [(0, 0, 0), (0, 0, 0), (0, 0, 1), (0, 1), (1, 0, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 0), (1, 1, 1)]
    assert rollouts.trajectory == leaves
    assert rollouts["success"] == [True, True, False, True, True, True, False, False, False, True]
    assert success_rate(rollouts) == summary(rollouts)["return"] == 4 / 7
    assert summary(rollouts)["trajectories"] == 7
    assert summary(rollouts)["generated_tokens"] == sum(len(text.split()) for line in SCRIPT for text in line)


def test_ties_are_out_of_the_loss_but_stay_among_the_rows(by_hand, policy):
    _, rollouts = by_hand
    assert rollouts["loss_mask"].any(1).tolist() == [True, True, True, True, False, True, True, False, True, True]
    engine = Scripted(policy.tokenizer, [list(line) for line in SCRIPT])
    everything = TreeCollector((2, 2), 2, SamplingParams(8), skip_ties=False)(engine, [Ask("x"), Ask("y")], generator())
    assert torch.equal(everything["loss_mask"], everything.response_mask)
    engine = Scripted(policy.tokenizer, [list(line) for line in SCRIPT])
    plain = TreeCollector((2, 2), 2, SamplingParams(8), threshold=None, skip_ties=False)(engine, [Ask("x"), Ask("y")], generator())
    assert "loss_mask" not in plain


def test_ties_are_found_in_spite_of_rounding(policy):
    thirds = ["a .", "b .", "b ."]
    engine = Scripted(policy.tokenizer, [["c", "c", "c"], thirds * 3])
    rollouts = TreeCollector((3, 3), 1, SamplingParams(8))(engine, [Ask("x", ("c a",))], generator())
    assert not rollouts["loss_mask"][[0, 4, 8]].any()


def test_confident_tokens_are_out_of_the_loss(policy):
    everything = grown(policy, (4, 2), skip_ties=False, threshold=1.0)
    assert torch.equal(everything["loss_mask"], everything.response_mask)
    half = float(everything.old_logp[everything.response_mask].exp().median())
    rollouts = grown(policy, (4, 2), skip_ties=False, threshold=half)
    assert torch.equal(rollouts["loss_mask"], rollouts.response_mask & (rollouts.old_logp < math.log(half)))
    assert not torch.equal(rollouts["loss_mask"], rollouts.response_mask)


def test_segments_without_tokens_are_left_out(policy):
    engine = Scripted(policy.tokenizer, [["a", "", "b"], ["", "c .", "", ""]])
    rollouts = TreeCollector((3, 2), 1, SamplingParams(8))(engine, [Ask("x", ("a c",))], generator())
    assert rollouts["node"] == [(0, 0), (0, 0, 1), (0, 2)]
    assert rollouts.rewards.tolist() == [0, 1, 0]  # (0, 2) was left without children, unfinished
    assert estimate(rollouts, spo_tree).tolist() == [0.5, 0, -0.5]


def test_a_response_that_is_as_long_as_it_may_be_is_not_continued(policy):
    engine = Scripted(policy.tokenizer, [["a a", "a ."], ["a"]])
    rollouts = TreeCollector((2, 1), 2, SamplingParams(2))(engine, [Ask("x", ("a", "a a"))], generator())
    assert len(engine.read) == 1
    assert rollouts.rewards.tolist() == [0, 1]


def test_a_problem_given_twice_has_two_trees_in_one_group(policy):
    engine = Scripted(policy.tokenizer, [["a .", "b .", "a .", "a ."]])
    rollouts = TreeCollector((2,), 1, SamplingParams(2))(engine, [Ask("x", ("a",))] * 2, generator())
    assert rollouts["node"] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert estimate(rollouts, spo_tree).tolist() == [0.25, -0.75, 0.25, 0.25]


def test_first_leaves():
    names = [(0, 0), (0, 0, 0), (0, 0, 1), (0, 0, 1, 0), (0, 1), (3, 2), (3, 2, 5)]
    leaf = first_leaves(names[::-1])
    assert [leaf[name] for name in names] == [(0, 0, 0), (0, 0, 0), (0, 0, 1, 0), (0, 0, 1, 0), (0, 1), (3, 2, 5), (3, 2, 5)]


# with a real engine


def test_a_segment_is_read_behind_its_parents(policy):
    rollouts = grown(policy, (3, 2, 2), tokens=8)
    row_of = {name: row for row, name in enumerate(rollouts["node"])}
    assert max(map(len, row_of)) == 4
    for row, parent in enumerate(rollouts["parent"]):
        read, _ = ids_of(rollouts, row)
        if parent is None:
            assert read == policy.tokenizer.encode("ask")
        else:
            before, behind = ids_of(rollouts, row_of[parent])
            assert read == before + behind


def test_levels(policy):
    rollouts = grown(policy, (3, 2, 2), tokens=8)
    last = rollouts.turn == 2
    length = rollouts["response_length"]
    assert (length[~last] <= 2).all()
    assert length[last].max() > 2
    children = {name: rollouts["parent"].count(name) for name in rollouts["node"]}
    end = policy.tokenizer.eos_token_id
    for row, name in enumerate(rollouts["node"]):
        whole = ids_of(rollouts, row)[1][-1] == end
        assert children[name] == (0 if whole or rollouts.turn[row] == 2 else 2)


def test_old_log_probabilities_are_those_of_the_policy(policy):
    rollouts = grown(policy, (3, 2, 2), tokens=8)
    with torch.no_grad():
        logp = token_logp(policy.model, rollouts.prompt_ids, rollouts.prompt_mask, rollouts.response_ids, rollouts.response_mask)
    torch.testing.assert_close(logp, rollouts.old_logp, atol=1e-4, rtol=0)


def test_siblings_add_up_to_nothing(policy):
    rollouts = grown(policy, (4, 3), seed=3)
    advantage = estimate(rollouts, spo_tree)
    families = {}
    for task, parent, value in zip(rollouts.task, rollouts["parent"], advantage.tolist(), strict=True):
        families[task, parent] = families.get((task, parent), 0.0) + value
    assert max(map(abs, families.values())) < 1e-6
    assert advantage.abs().max() > 0.1


def test_the_root_is_worth_what_the_policy_is_worth(policy):
    """The mean over a tree's first level, over many trees, is the success of independent responses."""
    task = [Ask("x", ("", "a", "b", "c", "d", "a a", "b b"))] * 400
    trees = grown(policy, (2, 2), 1, tasks=task, seed=1)
    names, rewards = trees["node"], dict(zip(trees["node"], trees.rewards.tolist(), strict=True))
    values = []
    for place in range(len(task)):
        first = [name for name in names if name[0] == place and len(name) == 2]
        inside = {name: [rewards[other] for other in names if other[:-1] == name] for name in first}
        values.append(sum(sum(inside[name]) / len(inside[name]) if inside[name] else rewards[name] for name in first) / 2)
    group = GroupCollector(8, SamplingParams(6))(TransformersEngine(policy), task, generator(7))
    rate = success_rate(group)
    assert 0.05 < rate < 0.95
    error = math.sqrt(rate * (1 - rate) * (1 / 3200 + 1 / 800))
    assert sum(values) / len(values) == pytest.approx(rate, abs=4 * error)


def test_same_seed_same_tree(policy):
    one, same, other = (grown(policy, seed=seed) for seed in (1, 1, 2))
    assert one["node"] == same["node"]
    assert torch.equal(one.response_ids, same.response_ids)
    assert one["response"] != other["response"]


# wrong usage


@pytest.mark.parametrize(
    ("branches", "segment_tokens", "message"),
    [((), 2, "branches"), ((2, 0), 2, r"branches must hold .* got \(2, 0\)"), ((2,), 0, "segment_tokens must be at least 1, got 0")],
)
def test_bad_numbers_are_refused(branches, segment_tokens, message):
    with pytest.raises(ValueError, match=message):
        TreeCollector(branches, segment_tokens, SamplingParams(4))


def test_no_tasks_are_refused(policy):
    with pytest.raises(ValueError, match="no tasks"):
        TreeCollector((2,), 2, SamplingParams(4))(TransformersEngine(policy), [], generator())


def test_a_reward_that_is_no_number_is_refused_by_row(policy):
    engine = Scripted(policy.tokenizer, [["b .", "a ."]])
    with pytest.raises(ValueError, match="rewards must be finite, got nan in row 1, a response to problem 'y'"):
        TreeCollector((1,), 2, SamplingParams(4))(engine, [Ask("x"), Ask("y", ("a",), math.nan)], generator())


def test_a_prompt_that_does_not_fit_is_refused(policy):
    with pytest.raises(ValueError, match="exceed the model's context of 64"):
        TreeCollector((2,), 2, SamplingParams(70))(TransformersEngine(policy), [Ask("x")], generator())


def test_a_tree_that_lost_a_segment_is_refused(policy):
    rollouts = grown(policy, (3, 2), tokens=8)
    lost = next(row for row, name in enumerate(rollouts["node"]) if name in rollouts["parent"])
    with pytest.raises(ValueError, match="as its parent, but there is no such node"):
        estimate(rollouts.select([row for row in range(len(rollouts)) if row != lost]), spo_tree)
