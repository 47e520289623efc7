import pytest
import torch

from hierlab.envs.key_corridor import KeyCorridor
from hierlab.envs.plans import KEEP, SWITCH, PlanPolicy, plan_success, play_plans, random_policy, solve_plans
from hierlab.envs.search_house import SearchHouse
from hierlab.seeds import generator

WORLDS = {
    "corridor": KeyCorridor(2, cells=4, horizon=9).world(),
    "house": SearchHouse(rooms=2, horizon=6).world(1),  # states that look alike, two tasks, penalties
}
worlds = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


def policy_for(world, seed=0, **settings) -> PlanPolicy:
    return random_policy(world, generator("plans", seed), **settings)


# --- degenerate sizes ---


def test_one_turn_with_one_subgoal():
    world = KeyCorridor(1, cells=3, horizon=1).world()
    policy = policy_for(world, subgoals=1)
    truth, left = solve_plans(world, policy), float(policy.probabilities().action[1, 0, 0])
    assert truth.success == pytest.approx(left)
    assert truth.expected_return == pytest.approx(10 * left)
    assert float(truth.value_high[0, 1]) == pytest.approx(10 * left)
    assert not truth.gradient.switch.any()
    assert not truth.gradient.subgoal.any()
    assert truth.gradient.action[1, 0].tolist() == pytest.approx([10 * left * (1 - left), -10 * left * (1 - left)])


def test_no_episodes():
    world = WORLDS["corridor"]
    assert play_plans(world, policy_for(world), torch.tensor([], dtype=torch.int64), generator(0)).alive.shape == (0, 9)


# --- closed form: finite differences, and every episode counted ---


@worlds
@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_the_gradient_is_that_of_finite_differences(world, gamma):
    policy = policy_for(world)
    exact = solve_plans(world, policy, gamma).gradient
    step = 1e-5
    for name, table in zip(PlanPolicy._fields, policy, strict=True):
        for place in torch.randperm(table.numel(), generator=generator("places", name))[:12].tolist():

            def moved(by, name=name, table=table, place=place):
                nudge = torch.zeros_like(table).flatten().index_fill(0, torch.tensor([place]), by).view_as(table)
                return solve_plans(world, policy._replace(**{name: table + nudge}), gamma).expected_return

            slope = (moved(step) - moved(-step)) / (2 * step)
            assert float(getattr(exact, name).flatten()[place]) == pytest.approx(slope, abs=1e-7), (name, place)


@worlds
def test_the_values_of_the_three_moments_follow_from_each_other(world):
    policy = policy_for(world, 1)
    truth, pi = solve_plans(world, policy, 0.9), policy.probabilities()
    by_state = PlanPolicy(*(table[world.context] for table in pi))
    torch.testing.assert_close(truth.value_high, (by_state.subgoal * truth.value_low).sum(2))
    torch.testing.assert_close(truth.value_low, (by_state.action * truth.action_value).sum(3))
    kept, switched = by_state.switch[..., KEEP] * truth.value_low, by_state.switch[..., SWITCH] * truth.value_high[..., None]
    torch.testing.assert_close(truth.value_switch, kept + switched)
    for advantage, table in zip(truth.advantages, by_state, strict=True):
        assert (advantage * table).sum(-1).abs().max() < 1e-12


@worlds
def test_visits_are_those_of_many_episodes(world):
    policy, episodes = policy_for(world, 2), 20_000
    truth = solve_plans(world, policy)
    task = torch.arange(episodes) % len(world.start)
    seen = play_plans(world, policy, task, generator("many"))
    counts = torch.zeros_like(truth.visits_action)
    turn = torch.arange(world.horizon).expand(episodes, -1)
    counts.index_put_(
        (turn[seen.alive], seen.state[seen.alive], seen.subgoal[seen.alive]), torch.tensor(1 / episodes).double(), accumulate=True
    )
    assert (counts - truth.visits_action).abs().max() < 0.02
    won = (world.won[seen.state, seen.action] & seen.alive).any(1).double().mean()
    assert float(won) == pytest.approx(truth.success, abs=0.02)
    assert plan_success(world, policy) == pytest.approx(truth.success, abs=1e-12)


@worlds
def test_the_state_value_is_the_mean_over_the_subgoals_one_comes_with(world):
    truth = solve_plans(world, policy_for(world, 3))
    reached = truth.visits_switch.sum(2)
    mean = (truth.visits_switch * truth.value_switch).sum(2) / reached
    torch.testing.assert_close(truth.value_state[1:][reached[1:] > 0], mean[1:][reached[1:] > 0])
    assert torch.equal(truth.value_state[0], truth.value_high[0])
    assert truth.value_state.isfinite().all()


def test_without_information_the_subgoal_is_worth_nothing():
    world = WORLDS["corridor"]
    truth = solve_plans(world, policy_for(world).without_information())
    assert all(advantage.abs().max() < 1e-12 for advantage in truth.advantages[:2])
    assert truth.advantages.action.abs().max() > 0.1


# --- playing ---


def test_the_first_turn_names_a_subgoal_and_keeping_repeats_it():
    world = WORLDS["corridor"]
    seen = play_plans(world, policy_for(world), torch.zeros(50, dtype=torch.int64), generator(1))
    assert seen.switch[:, 0].all()
    assert torch.equal(seen.before[:, 1:], seen.subgoal[:, :-1])
    keeps = ~seen.switch
    assert keeps.any()
    assert torch.equal(seen.subgoal[keeps], seen.before[keeps])


def test_equal_seeds_play_equal_episodes_and_a_decision_of_probability_0_is_never_taken():
    world = WORLDS["corridor"]
    policy = policy_for(world)
    policy.subgoal[:, 1] = -1e9
    policy.switch[:, :, SWITCH] = -1e9
    one, other = (play_plans(world, policy, torch.zeros(200, dtype=torch.int64), generator(5)) for _ in range(2))
    assert torch.equal(one.action, other.action)
    assert not (one.subgoal == 1).any()
    assert not one.switch[:, 1:].any()


# --- wrong usage ---


def test_a_policy_that_does_not_fit_is_refused():
    policy = policy_for(WORLDS["corridor"])
    with pytest.raises(ValueError, match="'switch' must have shape"):
        solve_plans(WORLDS["house"], policy)
    with pytest.raises(ValueError, match="'action' must be finite"):
        plan_success(WORLDS["corridor"], policy._replace(action=policy.action * float("nan")))
    with pytest.raises(ValueError, match="gamma"):
        solve_plans(WORLDS["corridor"], policy, 1.1)
    with pytest.raises(ValueError, match="tasks are numbered from 0 to 0"):
        play_plans(WORLDS["corridor"], policy, torch.tensor([1]), generator(0))
