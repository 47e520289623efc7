from functools import partial

import pytest
import torch

from hierlab.credit import hae, hiper, turn_gae
from hierlab.envs.key_corridor import KeyCorridor
from hierlab.envs.plans import PlanPolicy, random_policy, solve_plans
from hierlab.rollout.rollouts import estimate
from hierlab.seeds import generator
from hierlab.train.tabular_plans import (
    CriticTables,
    collect_plans,
    decision_advantage,
    monte_carlo_values,
    plan_gradient,
    train_plans,
)

CORRIDOR = KeyCorridor(2, cells=4, horizon=8)
WORLD = CORRIDOR.world()
POLICY = random_policy(WORLD, generator("policy"))


def rollouts_of(seed=0, *, groups=2, group_size=10):
    return collect_plans(WORLD, POLICY, groups=groups, group_size=group_size, generator=generator("collect", seed))


# --- degenerate sizes ---


def test_one_episode_of_one_turn():
    corridor = KeyCorridor(1, cells=3, horizon=1)
    run = train_plans(corridor.world(), corridor.novice(), turn_gae, rate=1.0, iterations=1, episodes=1)
    assert len(run.success) == 2
    assert run.switch_rate == (0.0,)
    assert set(run.values()) >= {"auc", "success", "switch_rate", "updates_to_80"}


# --- rollouts ---


def test_decisions_that_were_not_taken_are_marked():
    rollouts = rollouts_of()
    first, keeps = rollouts.turn == 0, ~rollouts["switch"]
    switch, subgoal, action = (rollouts["decision"] < 0).unbind(1)
    assert torch.equal(switch, first)
    assert torch.equal(subgoal, keeps)
    assert not action.any()
    assert torch.equal(rollouts["switch_mask"].any(1), ~first)
    assert (rollouts.old_logp[rollouts["decision"] < 0] == 0).all()
    assert (rollouts.old_logp[rollouts["decision"] >= 0] < 0).all()


def test_log_probabilities_are_those_of_the_decisions():
    rollouts = rollouts_of()
    log = PlanPolicy(*(table.log_softmax(-1) for table in POLICY))
    context, before, subgoal = (rollouts[name] for name in ("context", "before", "subgoal"))
    later = rollouts.turn > 0
    torch.testing.assert_close(rollouts.old_logp[later, 0], log.switch[context, before, rollouts["switch"].long()][later])
    torch.testing.assert_close(rollouts.old_logp[:, 1], log.subgoal[context, subgoal] * rollouts["switch"])
    torch.testing.assert_close(rollouts.old_logp[:, 2], log.action[context, subgoal, rollouts.response_ids[:, 2] - 5])
    assert (rollouts["switch_probability"][~later] == 1).all()
    switched = later & rollouts["switch"]
    torch.testing.assert_close(rollouts["switch_probability"][switched].log(), rollouts.old_logp[switched, 0])


# --- the gradient ---


def test_the_true_advantages_of_many_episodes_give_the_exact_gradient():
    truth = solve_plans(WORLD, POLICY)
    rollouts = rollouts_of(groups=1, group_size=20_000)
    turn, state, before, subgoal = rollouts.turn, rollouts["world_state"], rollouts["before"].clamp(min=0), rollouts["subgoal"]
    switch, naming, acting = truth.advantages
    columns = (
        switch[turn, state, before, rollouts["switch"].long()],
        naming[turn, state, subgoal],
        acting[turn, state, subgoal, rollouts.response_ids[:, 2] - 5],
    )
    gradient = plan_gradient(POLICY, rollouts["decision"], torch.stack(columns, 1))[0] / 20_000
    exact = truth.gradient.flatten()
    assert (gradient - exact).norm() < 0.05 * exact.norm()


def test_the_gradient_of_each_part_is_that_of_autograd():
    rollouts = rollouts_of(3)
    weight = torch.randn(len(rollouts), 3, generator=generator("weights"), dtype=torch.float64)
    part = torch.tensor(rollouts.task)
    for number, gradient in enumerate(plan_gradient(POLICY, rollouts["decision"], weight, part, 2)):
        policy = PlanPolicy(*(table.clone().requires_grad_() for table in POLICY))
        logp = torch.cat([table.log_softmax(-1).flatten() for table in policy])[rollouts["decision"].clamp(min=0)]
        taken = (rollouts["decision"] >= 0) & (part == number)[:, None]
        (logp * weight)[taken].sum().backward()
        torch.testing.assert_close(gradient, torch.cat([table.grad.flatten() for table in policy]))


# --- the critic ---


def test_a_critic_learnt_from_many_episodes_of_one_length_is_exact():
    corridor = KeyCorridor(1, cells=3, horizon=1)  # every state has one turn, so that tables without turns can be right
    world, policy = corridor.world(), corridor.novice(0.8)
    truth, learnt = solve_plans(world, policy), monte_carlo_values(world, policy, 20_000, generator("critic"))
    assert learnt.low[1].tolist() == pytest.approx(truth.value_low[0, 1].tolist(), abs=0.2)
    assert float(learnt.high[1]) == pytest.approx(float(truth.value_high[0, 1]), abs=0.2)
    assert float(learnt.state[1]) == pytest.approx(float(truth.value_high[0, 1]), abs=0.2)
    assert not learnt.switch.any()  # nobody ever had anything to keep


def test_values_are_read_from_their_places():
    rollouts = rollouts_of()
    low, high, switch, state = (
        torch.rand(shape, generator=generator("tables", i), dtype=torch.float64) for i, shape in enumerate([(8, 3), (8,), (8, 3), (8,)])
    )
    read, aware = (CriticTables(low, high, switch, state).read(rollouts, sight=sight) for sight in ("state", "subgoal"))
    context, before, subgoal, first = read["context"], read["before"], read["subgoal"], read.turn == 0
    assert torch.equal(read["value_low"], low[context, subgoal])
    assert torch.equal(read["value_high"], high[context])
    assert torch.equal(read["values"], state[context])
    assert torch.equal(read["value_switch"][~first], switch[context, before][~first])
    assert torch.equal(read["value_kept"][~first], low[context, before][~first])
    assert torch.equal(read["value_switch"][first], high[context][first])
    assert torch.equal(aware["values"], read["value_switch"])


def test_learning_moves_what_was_met_and_nothing_else():
    rollouts = rollouts_of()
    nothing = CriticTables.zeros(8, 3)
    targets = estimate(nothing.read(rollouts), hae)
    seven = torch.full_like(targets.action, 7.0)
    learnt = nothing.learn(rollouts, CriticTables(seven, seven, seven, seven), 0.5)
    met = torch.zeros(8, 3, dtype=torch.bool)
    met[rollouts["context"], rollouts["subgoal"]] = True
    assert torch.equal(learnt.low, 3.5 * met)
    named = torch.zeros(8, dtype=torch.bool).index_fill(0, rollouts["context"][rollouts["switch"]], True)
    assert torch.equal(learnt.high, 3.5 * named)


# --- training ---


@pytest.mark.parametrize("estimator", [turn_gae, hiper, partial(hiper, switch_advantage="paper")])
def test_training_improves_and_repeats_itself(estimator):
    corridor = KeyCorridor(2, cells=5, horizon=16)
    runs = [train_plans(corridor.world(), corridor.novice(), estimator, rate=1.0, iterations=6, episodes=32, seed=4) for _ in range(2)]
    assert runs[0].success[-1] > runs[0].success[0] + 0.2
    assert runs[0].success == runs[1].success
    assert runs[0].switch_rate == runs[1].switch_rate


def test_the_length_of_another_estimators_update_is_taken():
    corridor = KeyCorridor(2, cells=5, horizon=16)
    shared = {"rate": 1.0, "iterations": 1, "episodes": 16, "seed": 1}
    flat, planned = (train_plans(corridor.world(), corridor.novice(), e, **shared) for e in (turn_gae, hiper))
    matched = train_plans(corridor.world(), corridor.novice(), turn_gae, length_of=hiper, **shared)
    assert matched.update_norm == pytest.approx(planned.update_norm)
    assert matched.update_norm != pytest.approx(flat.update_norm)


def test_an_exact_critic_leaves_a_step_ahead_without_noise_of_what_follows():
    corridor = KeyCorridor(2, cells=5, horizon=16)
    shared = {"rate": 1.0, "iterations": 2, "episodes": 8, "sight": "subgoal"}
    one_step = partial(turn_gae, lam=0.0)
    runs = [train_plans(corridor.world(), corridor.novice(), one_step, critic=critic, **shared) for critic in ("exact", "learnt")]
    assert runs[0].success[-1] > runs[1].success[-1]


def test_a_head_start_is_counted_and_leaves_the_episodes_as_they_were():
    corridor = KeyCorridor(2, cells=5, horizon=16)
    shared = {"rate": 0.0, "iterations": 2, "episodes": 8}
    plain, ahead = (train_plans(corridor.world(), corridor.novice(), hiper, head_start=n, **shared) for n in (0, 50))
    assert ahead.switch_rate == plain.switch_rate
    assert ahead.turns[0] > plain.turns[0] + 50
    assert ahead.turns[1] == plain.turns[1]
    assert ahead.update_norm[0] != plain.update_norm[0]


def test_paying_for_keeping_makes_it_rare():
    corridor = KeyCorridor(1, cells=5, horizon=6)
    shared = {"rate": 1.0, "iterations": 10, "episodes": 32}
    free, paid = (train_plans(corridor.world(), corridor.novice(), hiper, keep_penalty=c, **shared) for c in (0.0, 20.0))
    assert paid.switch_rate[-1] > 0.9 > free.switch_rate[-1]


def test_curves_are_thinned_and_numbers_kept():
    run = train_plans(WORLD, POLICY, turn_gae, rate=0.1, iterations=9, episodes=4)
    values = run.values(points=3)
    assert values["updates"] == [0, 3, 6, 9]
    assert values["success"][-1] == run.success[-1] == values["final"]
    assert values["auc"] == pytest.approx(sum(run.success[1:]) / 9)
    assert run.updates_to(1.1) == 10
    assert run.updates_to(0.0) == 0


# --- wrong usage ---


def test_estimators_that_return_anything_else_are_refused():
    rollouts = CriticTables.zeros(8, 3).read(rollouts_of())
    with pytest.raises(ValueError, match="one or three numbers"):
        decision_advantage(rollouts, lambda rewards: rewards[:, None].expand(-1, 2))
    with pytest.raises(ValueError, match="finite numbers, got nan"):
        decision_advantage(rollouts, lambda rewards: rewards * float("nan"))


def test_settings_out_of_range_are_refused():
    for wrong in ({"rate": -1.0}, {"rate": 1.0, "iterations": 0}, {"rate": 1.0, "critic_rate": 2.0}, {"rate": 1.0, "head_start": -1}):
        with pytest.raises(ValueError, match=list(wrong)[-1]):
            train_plans(WORLD, POLICY, turn_gae, **wrong)
    with pytest.raises(ValueError, match="group_size"):
        collect_plans(WORLD, POLICY, groups=1, group_size=0, generator=generator(0))
    with pytest.raises(ValueError, match="sight"):
        CriticTables.zeros(8, 3).read(rollouts_of(), sight="everything")
    with pytest.raises(ValueError, match="critic must be one of"):
        train_plans(WORLD, POLICY, turn_gae, rate=1.0, critic="perfect")
