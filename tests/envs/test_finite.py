import math

import pytest
import torch

from hierlab.envs.finite import FiniteWorld, play, solve, success_probability
from hierlab.envs.search_house import SearchHouse


def random_policy(world, seed, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(world.uniform().shape, generator=generator, dtype=torch.float64)


def bandit(rewards, horizon=1):
    """One state; every action ends the episode, the last one solves it."""
    actions = len(rewards)
    over = torch.ones(1, actions, dtype=torch.bool)
    won = torch.zeros(1, actions, dtype=torch.bool)
    won[0, -1] = True
    zero = torch.zeros(1, dtype=torch.int64)
    reward = torch.tensor([rewards], dtype=torch.float64)
    move = torch.zeros(1, actions, dtype=torch.int64)
    return FiniteWorld(tuple(f"arm {i}" for i in range(actions)), (("here",),), zero, zero, move, reward, over, won, over, horizon)


# --- closed-form answers ---


def test_a_bandit():
    truth = solve(bandit([0.0, 1.0, 5.0]), torch.tensor([[0.5, 0.25, 0.25]]))
    assert truth.expected_return == 1.5
    assert truth.success == 0.25
    assert truth.advantage[0, 0].tolist() == [-1.5, -0.5, 3.5]
    assert truth.gradient[0].tolist() == [-0.75, -0.125, 0.875]


def test_an_episode_that_is_over_goes_no_further():
    one, five = solve(bandit([2.0, 3.0]), torch.tensor([[0.5, 0.5]])), solve(bandit([2.0, 3.0], horizon=5), torch.tensor([[0.5, 0.5]]))
    assert one.expected_return == five.expected_return == 2.5
    assert five.visits[:, 0].tolist() == [1, 0, 0, 0, 0]


def test_one_room_and_one_turn():
    world = SearchHouse(rooms=1, horizon=1).world()
    truth = solve(world, world.uniform())
    assert truth.q[0, 0].tolist() == pytest.approx([0, -0.1, -0.1, -0.1])  # go; take, back and deliver are impossible in the hall
    assert truth.expected_return == pytest.approx(-0.075)
    assert truth.gradient[world.context[0]].tolist() == pytest.approx([0.25 * 0.075, *[-0.25 * 0.025] * 3])
    assert truth.success == 0


def test_one_room_and_two_turns():
    world = SearchHouse(rooms=1, horizon=2).world()
    truth = solve(world, world.uniform())
    in_room = -0.05  # take and back are possible, going again and delivering are not
    in_hall = -0.075
    assert truth.q[0, 0].tolist() == pytest.approx([in_room, *[-0.1 + in_hall] * 3])
    assert truth.expected_return == pytest.approx((in_room + 3 * (-0.1 + in_hall)) / 4)


def test_one_room_and_just_enough_turns():
    world = SearchHouse(rooms=1, horizon=4).world()
    truth = solve(world, world.uniform())
    assert truth.success == 4**-4
    walk = {name: i for i, name in enumerate(world.commands)}
    state, need = 0, 3
    for t, name in enumerate(("go to room1", "take", "back", "deliver")):
        assert truth.visits[t, state] == pytest.approx(4.0**-t)
        won = solve(SearchHouse(rooms=1, horizon=4, penalty=0).world(), world.uniform()).q[t, state, walk[name]]
        assert float(won) == pytest.approx(10 * 4.0**-need)
        state, need = int(world.move[state, walk[name]]), need - 1


def test_memory_tells_apart_what_looks_alike():
    world = SearchHouse(rooms=2, horizon=8).world(history=1)
    lying = next(i for i, context in enumerate(world.contexts) if context == ("hall|empty", "room1|obj"))
    carried = next(i for i, context in enumerate(world.contexts) if context == ("room1|obj", "room1|obj"))
    assert lying != carried


# --- the truth against the definition ---


@pytest.mark.parametrize("seed", range(3))
def test_values_satisfy_their_equations(seed):
    world = SearchHouse(rooms=3, horizon=7).world(history=1)
    pi = random_policy(world, seed).softmax(dim=1)
    truth = solve(world, pi)
    assert torch.allclose((truth.q * pi[world.context]).sum(dim=2), truth.value)
    assert torch.allclose((truth.advantage * pi[world.context]).sum(dim=2), torch.zeros_like(truth.value), atol=1e-12)
    assert truth.expected_return == pytest.approx(float(truth.value[0, world.start].mean()))
    assert truth.visits[0].sum() == pytest.approx(1)
    assert (truth.visits.sum(dim=1).diff() <= 1e-12).all()
    assert truth.success == pytest.approx(success_probability(world, pi))
    assert torch.allclose(truth.gradient.sum(dim=1), torch.zeros(len(pi), dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("house", [SearchHouse(rooms=2, horizon=6), SearchHouse()])
def test_the_gradient_equals_finite_differences(house):
    world = house.world()
    logits = random_policy(world, 0)
    truth = solve(world, logits.softmax(dim=1))
    strongest = truth.gradient.abs().flatten().topk(12).indices
    others = torch.randint(logits.numel(), (12,), generator=torch.Generator().manual_seed(1))
    step = 1e-4
    for place in torch.cat([strongest, others]).tolist():
        shift = torch.zeros_like(logits).flatten()
        shift[place] = step
        shift = shift.view_as(logits)
        up, down = (solve(world, (logits + sign * shift).softmax(dim=1)).expected_return for sign in (1, -1))
        assert float(truth.gradient.flatten()[place]) == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-9)


def test_simulation_agrees_within_its_error():
    house = SearchHouse(rooms=2, horizon=8, reward=0.5)  # a rare large reward would make the sample deviation too small
    world = house.world()
    pi = random_policy(world, 3, spread=0.7).softmax(dim=1)
    truth = solve(world, pi)
    episodes = 40_000
    generator = torch.Generator().manual_seed(0)
    played = play(world, pi, torch.randint(2, (episodes,), generator=generator), generator)
    rewards = world.reward[played.state, played.action] * played.alive
    to_go = rewards.flip(1).cumsum(1).flip(1)

    def within(sample, exact):
        return abs(float(sample.mean()) - exact) <= 4.5 * float(sample.std()) / math.sqrt(len(sample)) + 1e-9

    assert within(to_go[:, 0], truth.expected_return)
    assert within((world.won[played.state, played.action] & played.alive).any(dim=1).double(), truth.success)
    size = len(world.context), len(world.commands)
    checked = 0
    for t in range(world.horizon):
        alive = played.alive[:, t]
        visits = torch.bincount(played.state[alive, t], minlength=size[0]) / episodes
        error = (truth.visits[t] * (1 - truth.visits[t]) / episodes).sqrt()
        assert ((visits - truth.visits[t]).abs() <= 5 * error + 1e-9).all()
        choice = played.state[:, t] * size[1] + played.action[:, t]
        for place in choice[alive].unique().tolist():
            sample = to_go[alive & (choice == place), t]
            if len(sample) >= 400:
                exact = float(truth.q[t].flatten()[place])
                assert abs(float(sample.mean()) - exact) <= 5 * float(sample.std()) / math.sqrt(len(sample)) + 1e-9
                checked += 1
    assert checked > 100


# --- playing ---


def test_never_does_what_has_no_probability():
    world = SearchHouse().world()
    pi = world.uniform().clone()
    pi[:, [0, -1]] = 0
    pi /= pi.sum(dim=1, keepdim=True)
    played = play(world, pi, torch.zeros(500, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert set(played.action.unique().tolist()) == set(range(1, 6))


def test_policies_that_agree_act_alike():
    world = SearchHouse().world()
    task = torch.arange(200) % 4
    pi = world.uniform().clone()
    one = play(world, pi, task, torch.Generator().manual_seed(5))
    hall = world.contexts.index(("hall|empty",))
    pi[hall] = torch.tensor([1.0, *[0.0] * 6], dtype=torch.float64)
    other = play(world, pi, task, torch.Generator().manual_seed(5))
    first_alike = one.action[:, 0] == 0
    assert (other.action[:, 0] == 0).all()
    assert torch.equal(one.action[first_alike], other.action[first_alike])


def test_equal_generators_play_equal_episodes():
    world = SearchHouse().world()
    one, two = (play(world, world.uniform(), torch.arange(4), torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one.state, two.state)
    assert torch.equal(one.action, two.action)


# --- wrong usage ---


@pytest.mark.parametrize("wrong", [lambda pi: pi[:-1], lambda pi: pi * 2, lambda pi: pi - 0.5, lambda pi: pi * math.nan])
def test_refuses_what_is_no_policy(wrong):
    world = SearchHouse(rooms=1, horizon=2).world()
    for use in (
        lambda pi: solve(world, pi),
        lambda pi: success_probability(world, pi),
        lambda pi: play(world, pi, torch.zeros(1, dtype=torch.int64), torch.Generator()),
    ):
        with pytest.raises(ValueError, match="policy"):
            use(wrong(world.uniform()))


def test_refuses_tasks_that_do_not_exist():
    world = SearchHouse(rooms=1, horizon=2).world()
    with pytest.raises(ValueError, match="from 0 to 0"):
        play(world, world.uniform(), torch.tensor([1]), torch.Generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"move": torch.zeros(1, 3, dtype=torch.int64)}, "move must have shape"),
        ({"move": torch.tensor([[0, 7]])}, "move must hold numbers from 0 to 0"),
        ({"start": torch.tensor([], dtype=torch.int64)}, "start must hold"),
        ({"context": torch.tensor([1])}, "context must hold"),
        ({"reward": torch.tensor([[0.0, math.nan]])}, "finite"),
        ({"over": torch.zeros(1, 2, dtype=torch.bool)}, "must end the episode"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_refuses_tables_that_do_not_fit(change, message):
    good = vars(bandit([0.0, 1.0]))
    fields = ("commands", "contexts", "start", "context", "move", "reward", "over", "won", "valid", "horizon")
    with pytest.raises(ValueError, match=message):
        FiniteWorld(**{name: good[name] for name in fields} | change)
