import math
from functools import partial

import pytest
import torch
from scripted import Ask, Scripted, tiny

from hierlab.credit import cutpoint_starts, equal_starts, spo
from hierlab.rollout import ChainCollector, GroupCollector, SamplingParams, TransformersEngine, concatenate, estimate, summary
from hierlab.rollout import states as states_module
from hierlab.rollout.chain import uncut, value_segments
from hierlab.rollout.states import State, go_on, outcomes, state_values


@pytest.fixture(scope="module")
def policy():
    return tiny()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def starts_at(*tokens):
    """A cut before these tokens, in every row that has them."""

    def cut(response_mask):
        start = torch.zeros_like(response_mask)
        start[:, [t for t in tokens if t < start.shape[1]]] = True
        return start & response_mask

    return cut


# degenerate sizes


def test_one_response_of_one_token_continued_once(policy):
    engine = Scripted(policy.tokenizer, [["."], ["a ."]])
    rollouts = ChainCollector(1, SamplingParams(2), continuations=1)(engine, [Ask("x", ("a",))], generator())
    assert rollouts["segment_start"].tolist() == [[True]]
    assert rollouts["segment_value"].tolist() == [[1]]
    assert rollouts["extra_tokens"].tolist() == [2]
    assert estimate(rollouts, spo).tolist() == [[-1]]


def test_without_segments_nothing_is_continued(policy):
    engine = Scripted(policy.tokenizer, [["a .", "b ."]], logp=0.0)  # certain of every token
    rollouts = ChainCollector(2, SamplingParams(4))(engine, [Ask("x", ("a",))], generator())
    assert len(engine.read) == 1
    assert not rollouts["segment_start"].any()
    assert torch.equal(rollouts["loss_mask"], rollouts.response_mask)  # of tokens without advantage, lest the loss divide by nothing
    assert rollouts["extra_tokens"].tolist() == [0, 0]
    assert (estimate(rollouts, spo) == 0).all()


def test_an_uncut_chain_is_a_group_with_a_mask(policy):
    chain = ChainCollector(3, SamplingParams(4), cut=uncut)(TransformersEngine(policy), [Ask("x")], generator(1))
    group = GroupCollector(3, SamplingParams(4))(TransformersEngine(policy), [Ask("x")], generator(1))
    assert torch.equal(chain.response_ids, group.response_ids)
    assert not chain["segment_start"].any()
    assert chain["loss_mask"].any()
    assert summary(chain)["generated_tokens"] == summary(group)["generated_tokens"]


def test_no_states_to_value(policy):
    value, cost = state_values(TransformersEngine(policy), [], SamplingParams(4), generator(), 3)
    assert value.shape == cost.shape == (0,)


# closed form


def test_values_are_the_mean_reward_of_continuations(policy):
    continuations = ["a b .", "c .", "b .", "b d .", "a b .", "a b .", "a ."]
    engine = Scripted(policy.tokenizer, [["a b .", "c ."], [*continuations, "d ."]])
    collector = ChainCollector(2, SamplingParams(8), continuations=2, cut=starts_at(0, 1))
    rollouts = collector(engine, [Ask("x", ("a b",))], generator())
    assert engine.read[1] == ["ask", "ask", "ask a", "ask a", "ask", "ask", "ask c", "ask c"]
    assert engine.limits == [None, [8, 8, 7, 7, 8, 8, 7, 7]]
    assert rollouts.rewards.tolist() == [1, 0]
    assert rollouts["segment_start"].tolist() == [[True, True, False]] * 2
    assert rollouts["segment_value"].tolist() == [[0.5, 0.5, 0], [1, 0, 0]]
    assert rollouts["extra_tokens"].tolist() == [3 + 2 + 2 + 3, 3 + 3 + 2 + 2]
    assert rollouts["success"] == [True, False]
    assert rollouts["response"] == ["a b", "c"]
    assert estimate(rollouts, spo).tolist() == [[0, 0.5, 0.5], [-1, 0, 0]]
    assert summary(rollouts)["generated_tokens"] == 5 + 20


def test_what_did_not_end_earns_nothing(policy):
    engine = Scripted(policy.tokenizer, [["a b", "a b ."], ["a b", "a b .", "a b", "a b ."]])
    collector = ChainCollector(2, SamplingParams(2), continuations=2, cut=starts_at(0))
    rollouts = collector(engine, [Ask("x", ("a b",))], generator())
    assert rollouts.rewards.tolist() == [0, 1]
    assert rollouts["success"] == [False, True]
    assert rollouts["segment_value"][:, 0].tolist() == [0.5, 0.5]


def test_stop_tokens_end_a_response_too(policy):
    stop = policy.tokenizer.convert_tokens_to_ids("b")
    engine = Scripted(policy.tokenizer, [["a b"], ["a b", "a"]])
    collector = ChainCollector(1, SamplingParams(2, stop_ids=(stop,)), continuations=2, cut=starts_at(0))
    rollouts = collector(engine, [Ask("x", ("a b", "a"))], generator())
    assert rollouts.rewards.tolist() == [1]
    assert rollouts["segment_value"].tolist() == [[0.5, 0]]


def test_the_probability_mask(policy):
    engine = Scripted(policy.tokenizer, [["a ."], ["."] * 2], logp=math.log(0.8))
    masked = ChainCollector(1, SamplingParams(4), continuations=1, cut=partial(cutpoint_starts, interval=1))(
        engine, [Ask("x")], generator()
    )
    assert masked["loss_mask"].tolist() == [[True, True]]
    engine = Scripted(policy.tokenizer, [["a ."], ["."]], logp=math.log(0.8))
    plain = ChainCollector(1, SamplingParams(4), continuations=1, threshold=None)(engine, [Ask("x")], generator())
    assert "loss_mask" not in plain


def test_equal_responses_are_verified_once(policy):
    asked = []

    class Watched(Ask):
        def verify(self, response):
            asked.append(response)
            return 1.0

    ids = policy.tokenizer.convert_tokens_to_ids(["a"])
    states = [State(Watched("x"), [1], ids), State(Watched("x"), [1], ids), State(Watched("y"), [1], ids), State(Watched("x"), [1], [])]
    engine = Scripted(policy.tokenizer, [])
    assert outcomes(engine, states, [True, True, True, False]) == [1, 1, 1, 0]
    assert asked == ["a", "a"]


# with a real engine


def test_the_steps_of_a_row_add_up(policy):
    collector = ChainCollector(4, SamplingParams(6), continuations=3, cut=partial(equal_starts, num_segments=3))
    tasks = [Ask("x", ("a", "b", "c", "")), Ask("y", ("d", "a a"))]
    rollouts = collector(TransformersEngine(policy), tasks, generator())
    advantage = estimate(rollouts, spo, threshold=None)
    steps = torch.where(rollouts["segment_start"], advantage, 0).sum(1)
    torch.testing.assert_close(steps, rollouts.rewards - rollouts["segment_value"][:, 0])


def test_responses_are_those_of_the_group_collector(policy):
    tasks, params = [Ask("x"), Ask("y")], SamplingParams(6, temperature=0.7)
    group = GroupCollector(3, params)(TransformersEngine(policy), tasks, generator(2))
    chain = ChainCollector(3, params, continuations=2)(TransformersEngine(policy), tasks, generator(2))
    for name in ("prompt_ids", "response_ids", "response_mask", "old_logp", "task", "trajectory", "turn", "state", "response"):
        assert list(map(str, group[name])) == list(map(str, chain[name]))


def test_segments_start_at_unsure_tokens(policy):
    rollouts = ChainCollector(8, SamplingParams(6), continuations=1, cut=partial(cutpoint_starts, interval=1))(
        TransformersEngine(policy), [Ask("x")], generator()
    )
    unsure = rollouts.response_mask & (rollouts.old_logp < math.log(0.9))
    assert torch.equal(rollouts["segment_start"], unsure)
    assert torch.equal(rollouts["loss_mask"], unsure)


def test_values_are_those_of_the_policy(policy):
    """With one token left, the value of a state is the probability of the tokens that end it rightly, which a forward pass tells."""
    engine, params = TransformersEngine(policy), SamplingParams(3)
    a = policy.tokenizer.convert_tokens_to_ids("a")
    state = State(Ask("x", ("a a",)), policy.tokenizer.encode("ask"), [a, a])
    value, cost = state_values(engine, [state, state], params, generator(), 4000)
    with torch.no_grad():
        logits = policy.model(torch.tensor([[*state.prompt, *state.written]])).logits[0, -1]
    exact = logits.softmax(-1)[policy.tokenizer.eos_token_id].item()
    assert 0.01 < exact < 0.99
    for found in value.tolist():
        assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))
    assert cost.tolist() == [4000, 4000]


def test_many_states_are_valued_in_parts(policy, monkeypatch):
    monkeypatch.setattr(states_module, "_AT_ONCE", 5)
    engine = Scripted(policy.tokenizer, [["a .", "b .", "a .", "a ."], ["b .", "b ."]])
    value, cost = state_values(engine, [State(Ask("x", ("a",)), [1])] * 3, SamplingParams(4), generator(), 2)
    assert value.tolist() == [0.5, 1, 0]
    assert cost.tolist() == [4, 4, 4]


def test_nothing_grows_longer_than_a_whole_response(policy):
    states = [State(Ask("x"), [1, 4], [5] * n) for n in range(4)]
    continued = go_on(TransformersEngine(policy), states * 20, SamplingParams(4), generator(), most=2)
    for before, after, ended in zip(states * 20, continued.states, continued.ended, strict=True):
        assert list(after.written[: len(before.written)]) == list(before.written)
        assert 1 <= len(after.written) - len(before.written) <= min(2, 4 - len(before.written))
        assert ended == (after.written[-1] == policy.tokenizer.eos_token_id)


def test_same_seed_same_rollouts(policy):
    one, same, other = (
        ChainCollector(2, SamplingParams(6), continuations=2)(TransformersEngine(policy), [Ask("x", ("a",))], generator(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one["segment_value"], same["segment_value"])
    assert torch.equal(one["extra_tokens"], same["extra_tokens"])
    assert one["response"] == same["response"] != other["response"]


def test_batches_can_be_joined_and_selected(policy):
    parts = [ChainCollector(2, SamplingParams(n), continuations=1)(TransformersEngine(policy), [Ask("x")], generator(n)) for n in (3, 6)]
    joined = concatenate(parts).select([3, 0])
    assert joined["segment_value"].shape == joined["segment_start"].shape == joined["loss_mask"].shape == joined.response_mask.shape
    assert joined["extra_tokens"].tolist() == [parts[1]["extra_tokens"][1], parts[0]["extra_tokens"][0]]


def test_given_responses_can_be_valued_again(policy):
    engine, params, tasks = TransformersEngine(policy), SamplingParams(4), [Ask("x", ("a", "b", "")), Ask("y", ("c",))]
    answers = GroupCollector(2, params)(engine, tasks, generator())
    valued = value_segments(
        engine,
        answers,
        [tasks[0], tasks[0], tasks[1], tasks[1]],
        params,
        generator(1),
        cut=lambda response_mask: response_mask,
        continuations=3,
    )
    assert torch.equal(valued["segment_start"], answers.response_mask)
    assert torch.equal(valued.response_ids, answers.response_ids)
    assert (valued["extra_tokens"] >= 3 * answers["response_length"]).all()
    with pytest.raises(ValueError, match="answers: 4, problems: 2"):
        value_segments(engine, answers, tasks, params, generator())


# wrong usage


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="continuations must be at least 1, got 0"):
        ChainCollector(2, SamplingParams(4), continuations=0)
    with pytest.raises(ValueError, match="group_size must be at least 1"):
        ChainCollector(0, SamplingParams(4))


def test_bad_tasks_and_cuts_are_refused(policy):
    engine = TransformersEngine(policy)
    with pytest.raises(ValueError, match="no tasks"):
        ChainCollector(2, SamplingParams(4))(engine, [], generator())
    everywhere = ChainCollector(2, SamplingParams(4), cut=lambda response_mask: torch.ones_like(response_mask))
    with pytest.raises(ValueError, match="row 1 one starts at token 2, which is masked"):
        everywhere(Scripted(policy.tokenizer, [["a b .", "a ."]]), [Ask("x")], generator())
    with pytest.raises(ValueError, match="continuations must be at least 1"):
        state_values(engine, [State(Ask("x"), [1])], SamplingParams(4), generator(), 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rewards_that_are_no_numbers_are_refused_by_row(policy, bad):
    collector = ChainCollector(1, SamplingParams(4), continuations=1, cut=starts_at(0))
    with pytest.raises(ValueError, match=r"rewards must be finite, got (nan|inf) in row 1"):
        collector(Scripted(policy.tokenizer, [["b .", "a ."]]), [Ask("x"), Ask("y", ("a",), bad)], generator())
    with pytest.raises(ValueError, match=r"rewards must be finite, got (nan|inf) in row 1, a response to problem 'y'"):
        collector(Scripted(policy.tokenizer, [["b .", "b ."], ["a .", "a ."]]), [Ask("x"), Ask("y", ("a",), bad)], generator())
