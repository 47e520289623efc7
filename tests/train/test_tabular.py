import math
from functools import partial

import pytest
import torch

from hierlab.credit import gigpo, grpo, rloo
from hierlab.envs.finite import solve, success_probability
from hierlab.envs.search_house import SearchHouse
from hierlab.ops import group_ids
from hierlab.seeds import generator
from hierlab.train.tabular import ascend, collect, policy_gradient, row_advantage, train_tabular

WORLD = SearchHouse().world(history=2)
SMALL = SearchHouse(rooms=2, horizon=6).world(history=1)


def uniform_logits(world):
    return torch.zeros_like(world.uniform())


def rollouts_of(world=WORLD, groups=3, group_size=4, seed=0):
    return collect(world, uniform_logits(world), groups=groups, group_size=group_size, generator=generator(seed))


# --- degenerate sizes ---


def test_one_trajectory_is_a_batch():
    run = train_tabular(SMALL, gigpo, rate=1.0, iterations=1, tasks=1, group_size=1)
    assert len(run.success) == 2
    assert all(math.isfinite(x) for x in run.success + run.entropy + run.gradient_norm)
    assert torch.equal(train_tabular(SMALL, grpo, rate=1.0, iterations=3, tasks=2, group_size=1).logits, uniform_logits(SMALL))


def test_rate_zero_changes_nothing():
    run = train_tabular(SMALL, gigpo, rate=0.0, iterations=3)
    assert torch.equal(run.logits, uniform_logits(SMALL))
    assert len(set(run.success)) == 1
    assert min(run.gradient_norm) > 0


# --- rollouts ---


def test_rows_are_the_turns_of_each_episode():
    world, rollouts = WORLD, rollouts_of()
    assert rollouts.task == sorted(rollouts.task)
    assert rollouts.trajectory == sorted(rollouts.trajectory)
    assert [t // 4 for t in rollouts.trajectory] == rollouts.task
    rows = {}
    for row, name in enumerate(rollouts.trajectory):
        rows.setdefault(name, []).append(row)
    assert len(rows) == 12
    for turns in rows.values():
        assert rollouts.turn[turns].tolist() == list(range(len(turns)))
        state, action = rollouts["world_state"][turns], rollouts.response_ids[turns, 0]
        assert torch.equal(world.move[state, action][:-1], state[1:])
        assert torch.equal(rollouts.rewards[turns], world.reward[state, action])
        assert torch.equal(rollouts["valid"][turns], world.valid[state, action])
        solved = bool(world.won[state[-1], action[-1]])
        assert rollouts["success"][turns].tolist() == [solved] * len(turns)
        assert solved or len(turns) == world.horizon
        assert world.start[rollouts["world_task"][turns[0]]] == state[0]
        for t, row in enumerate(turns):
            text = tuple(rollouts.state[r] for r in turns[max(0, t - 2) : t + 1])
            assert world.contexts[rollouts["context"][row]] == text


def test_prompts_spell_the_context():
    rollouts = rollouts_of()
    assert rollouts.prompt_ids.shape[1] == 3
    assert rollouts.prompt_mask.sum(dim=1).tolist() == [min(t, 2) + 1 for t in rollouts.turn.tolist()]
    assert torch.equal(rollouts.prompt_mask, rollouts.prompt_ids > 0)
    assert len(set(zip(rollouts.prompt_ids[:, -1].tolist(), rollouts.state, strict=True))) == len(set(rollouts.state))
    prompts = {tuple(ids) for ids in rollouts.prompt_ids.tolist()}
    assert len(prompts) == len(set(rollouts["context"].tolist()))


def test_log_probabilities_are_those_of_the_chosen_action():
    logits = torch.randn(uniform_logits(WORLD).shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rollouts = collect(WORLD, logits, groups=2, group_size=4, generator=generator(0))
    expected = torch.distributions.Categorical(logits=logits[rollouts["context"]]).log_prob(rollouts.response_ids[:, 0])
    assert torch.allclose(rollouts.old_logp[:, 0], expected)


def test_two_groups_of_one_hidden_room_are_two_tasks():
    rollouts = rollouts_of(groups=20)
    assert len(set(rollouts.task)) == 20
    assert len(set(rollouts["world_task"].tolist())) == 4


# --- the update ---


def test_the_policy_gradient_equals_autograd():
    shape = uniform_logits(WORLD).shape
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    rollouts = collect(WORLD, logits.detach(), groups=3, group_size=4, generator=generator(1))
    weight = torch.randn(len(rollouts), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    context, action = rollouts["context"], rollouts.response_ids[:, 0]
    (logits.log_softmax(dim=1)[context, action] * weight).sum().backward()
    assert torch.allclose(policy_gradient(logits.detach(), context, action, weight), logits.grad, atol=1e-12)


def test_the_returns_gradient_is_unbiased():
    """With whole returns as advantages the expected update is the exact policy gradient."""
    truth = solve(SMALL, SMALL.uniform())
    rollouts = collect(SMALL, uniform_logits(SMALL), groups=20_000, group_size=1, generator=generator(0))
    per_episode = group_ids(rollouts.trajectory)
    returns = torch.zeros(20_000, dtype=torch.float64).index_add(0, per_episode, rollouts.rewards)[per_episode]
    estimate = policy_gradient(uniform_logits(SMALL), rollouts["context"], rollouts.response_ids[:, 0], returns) / 20_000
    assert torch.nn.functional.cosine_similarity(estimate.flatten(), truth.gradient.flatten(), dim=0) > 0.95
    assert float(estimate.norm()) == pytest.approx(float(truth.gradient.norm()), rel=0.1)


def test_one_step_by_hand():
    rollouts = collect(SMALL, uniform_logits(SMALL), groups=8, group_size=8, generator=generator("tabular", 4, 0))
    advantage = row_advantage(rollouts, gigpo)
    gradient = policy_gradient(uniform_logits(SMALL), rollouts["context"], rollouts.response_ids[:, 0], advantage)
    rows = torch.tensor([[max(1, rollouts["context"].tolist().count(c))] for c in range(len(SMALL.contexts))])
    for average, divisor in (("context", rows), ("trajectory", 64)):
        run = train_tabular(SMALL, gigpo, rate=0.7, iterations=1, seed=4, average=average)
        assert torch.allclose(run.logits, 0.7 * gradient / divisor, atol=1e-12)
        assert run.gradient_norm[0] == pytest.approx(float((gradient / divisor).norm()))


def test_an_estimator_may_return_one_column():
    def as_column(rewards, task, trajectory):
        return grpo(rewards, task, trajectory)[:, None]

    one, other = (train_tabular(SMALL, e, rate=1.0, iterations=3) for e in (grpo, as_column))
    assert torch.equal(one.logits, other.logits)


# --- runs ---


def test_equal_arguments_give_equal_bits():
    one, two = (train_tabular(WORLD, gigpo, rate=0.6, iterations=8, seed=3) for _ in range(2))
    for name in ("success", "sampled_success", "entropy", "gradient_norm", "update_norm", "turns", "anchor_sizes"):
        assert getattr(one, name) == getattr(two, name)
    assert torch.equal(one.logits, two.logits)
    assert train_tabular(WORLD, gigpo, rate=0.6, iterations=8, seed=4).success != one.success


def test_seeds_are_paired_over_estimators():
    runs = [train_tabular(WORLD, e, rate=0.6, iterations=2, seed=1) for e in (gigpo, grpo, rloo)]
    assert len({(run.turns[0], run.sampled_success[0], run.anchor_sizes[0]) for run in runs}) == 1


def test_a_longer_run_begins_like_a_shorter_one():
    short, long = (train_tabular(WORLD, gigpo, rate=0.6, iterations=n) for n in (3, 6))
    assert long.success[:4] == short.success


def test_success_is_exact():
    run = train_tabular(WORLD, gigpo, rate=0.6, iterations=10)
    assert run.success[-1] == success_probability(WORLD, run.logits.softmax(dim=1))
    assert run.success[0] == success_probability(WORLD, WORLD.uniform())
    assert run.auc == pytest.approx(sum(run.success[1:]) / 10)


def test_it_learns():
    run = train_tabular(WORLD, partial(gigpo, scale="std"), rate=1.2, iterations=60)
    assert run.success[0] < 0.05
    assert run.success[-1] > 0.6
    assert run.entropy[-1] < run.entropy[0] == pytest.approx(math.log(7))
    assert run.sampled_success[-1] > 0.5


def test_curves_are_consistent():
    run = train_tabular(WORLD, gigpo, rate=0.6, iterations=5, tasks=4, group_size=4)
    assert run.cumulative_turns == (0, *(sum(run.turns[: i + 1]) for i in range(5)))
    assert all(16 * 4 <= turns <= 16 * 14 for turns in run.turns)
    assert all(len(sizes) == 8 for sizes in run.anchor_sizes)
    assert run.singletons == tuple(sizes[0] / sum(sizes) for sizes in run.anchor_sizes)
    assert len(run.estimator_seconds) == len(run.rollout_seconds) == 5


def test_a_run_is_plain_numbers_for_the_bench():
    run = train_tabular(WORLD, gigpo, rate=0.6, iterations=5)
    values = run.values()
    assert len(values["success"]) == len(values["turns"]) == len(values["updates"]) == 6
    assert sum(values["anchor_sizes_end"]) == pytest.approx(1)
    assert values["auc"] == run.auc
    assert values["max_singletons"] == max(run.singletons)
    assert all(math.isfinite(x) for value in values.values() for x in (value if isinstance(value, list) else [value]))


def test_anchor_sizes_count_groups():
    run = train_tabular(SMALL, gigpo, rate=0.0, iterations=1, tasks=3, group_size=2, seed=2)
    rollouts = collect(SMALL, uniform_logits(SMALL), groups=3, group_size=2, generator=generator("tabular", 2, 0))
    members = {}
    for key in zip(rollouts.task, rollouts.state, strict=True):
        members[key] = members.get(key, 0) + 1
    expected = [0] * 4
    for size in members.values():
        expected[min(size, 4) - 1] += 1
    assert run.anchor_sizes == (tuple(expected),)


def test_the_control_takes_the_length_and_keeps_the_direction():
    own = train_tabular(WORLD, grpo, rate=0.6, iterations=1)
    lent = train_tabular(WORLD, gigpo, rate=0.6, iterations=1)
    control = train_tabular(WORLD, grpo, rate=0.6, iterations=1, length_of=gigpo)
    assert control.gradient_norm == own.gradient_norm
    assert control.update_norm == pytest.approx(lent.update_norm)
    assert torch.allclose(control.logits / control.logits.norm(), own.logits / own.logits.norm())
    assert control.update_norm[0] > 1.2 * own.update_norm[0]


def test_the_control_with_itself_is_no_control():
    one = train_tabular(WORLD, gigpo, rate=0.6, iterations=5)
    two = train_tabular(WORLD, gigpo, rate=0.6, iterations=5, length_of=gigpo)
    assert torch.allclose(one.logits, two.logits)


def test_a_run_can_begin_where_another_ended():
    begun = train_tabular(WORLD, gigpo, rate=0.6, iterations=5)
    before = begun.logits.clone()
    further = train_tabular(WORLD, gigpo, rate=0.6, iterations=1, logits=begun.logits)
    assert further.success[0] == begun.success[-1]
    assert torch.equal(begun.logits, before)


def test_progress_is_reported():
    calls = []
    train_tabular(SMALL, gigpo, rate=0.1, iterations=3, report=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


# --- policies of known skill ---


@pytest.mark.parametrize("success", [0.1, 0.5, 0.9])
def test_exact_ascent_reaches_a_given_success(success):
    assert success_probability(WORLD, ascend(WORLD, success).softmax(dim=1)) == pytest.approx(success, abs=1e-6)


def test_the_uniform_policy_is_the_first_on_the_path():
    assert torch.equal(ascend(WORLD, 0.0), uniform_logits(WORLD))


def test_ascent_says_how_far_it_came():
    with pytest.raises(ValueError, match=r"did not reach success 0.9 in 3 steps"):
        ascend(WORLD, 0.9, iterations=3)
    with pytest.raises(ValueError, match="success"):
        ascend(WORLD, 1.5)


# --- wrong usage ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rate": -1.0}, "rate"),
        ({"rate": math.nan}, "rate"),
        ({"iterations": 0}, "iterations"),
        ({"tasks": 0}, "groups"),
        ({"group_size": 0}, "group_size"),
        ({"average": "rows"}, "average"),
        ({"logits": torch.zeros(2, 2)}, "shape"),
    ],
)
def test_refuses_impossible_settings(wrong, message):
    with pytest.raises(ValueError, match=message):
        train_tabular(SMALL, gigpo, **{"rate": 0.6, "iterations": 1} | wrong)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (lambda rewards: rewards[:-1], "one number for each"),
        (lambda rewards: rewards[:, None].expand(-1, 2), "one number for each"),
        (lambda rewards: rewards * math.nan, "finite"),
        (lambda values: values, "values"),
    ],
)
def test_refuses_what_is_no_estimator(estimator, message):
    with pytest.raises(ValueError, match=message):
        train_tabular(SMALL, estimator, rate=0.6, iterations=1)
