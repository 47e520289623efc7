import itertools

import pytest
import torch

from hierlab.envs.finite import solve, success_probability
from hierlab.envs.token_tree import END, Judgement, parity_tree, student, token_tree

# --- degenerate sizes ---


def test_one_prompt_one_token_one_position():
    world = token_tree(["?"], ["a"], 1, lambda task, response: Judgement(2.0))
    assert world.contexts == (("?",),)
    assert world.over.all()
    assert solve(world, world.uniform()).expected_return == 2.0


# --- every response is there, once ---


def test_prefixes_are_enumerated_shorter_ones_first():
    world = token_tree(["p", "q"], ["a", "b", END], 3, lambda task, response: Judgement(over=response[-1] == END))
    prefixes = [context[1:] for context in world.contexts]
    assert [len(prefix) for prefix in prefixes] == sorted(map(len, prefixes))
    wanted = {(p, *letters) for p in "pq" for n in range(3) for letters in itertools.product("ab", repeat=n)}
    assert set(world.contexts) == wanted
    assert len(world.contexts) == len(wanted)


def test_moves_lead_to_the_longer_prefix():
    world = parity_tree(3, 1, prompts=2).world
    for state, context in enumerate(world.contexts):
        for token, word in enumerate(world.commands):
            if not world.over[state, token]:
                assert world.contexts[int(world.move[state, token])] == (*context, word)


def test_values_agree_with_the_sum_over_all_responses():
    tree = parity_tree(3, 1, prompts=2, partial=0.3)
    world = tree.world
    policy = student(tree, 0.4).softmax(dim=1)

    def worth(state: int) -> float:
        rest = [0.0 if world.over[state, a] else worth(int(world.move[state, a])) for a in range(len(world.commands))]
        return sum(float(policy[state, a]) * (float(world.reward[state, a]) + rest[a]) for a in range(len(world.commands)))

    truth = solve(world, policy)
    for task in range(2):
        assert float(truth.value[0, task]) == pytest.approx(worth(task))


# --- the problem ---


def test_the_expert_writes_the_parities_and_mends_what_is_wrong():
    tree = parity_tree(4, 2, prompts=16)
    place = {context: state for state, context in enumerate(tree.world.contexts)}
    says = {context: tree.world.commands[int(tree.expert[state])] for context, state in place.items()}
    assert says["1 1 0 1 =",] == "0"
    assert says["1 1 0 1 =", "0", "0"] == "1"
    assert says["1 1 0 1 =", "0", "0", "1"] == END
    assert says["1 1 0 1 =", "1"] == "?"
    assert says["1 1 0 1 =", "1", "?"] == "0"


def test_only_the_right_answer_wins_and_slips_may_be_mended():
    world = parity_tree(3, 3, prompts=8).world
    place = {context: state for state, context in enumerate(world.contexts)}

    def reward(*tokens: str) -> float:
        return float(world.reward[place["1 0 1 =", *tokens[:-1]], world.commands.index(tokens[-1])])

    assert reward("1", "0", END) == 1
    assert reward("1", "1", "?", "0", END) == 1
    assert reward("1", "1", END) == 0
    assert reward("1", END) == 0


@pytest.mark.parametrize("partial", [0.0, 0.25, 1.0])
def test_partial_rewards_of_a_right_answer_add_up_to_one(partial):
    tree = parity_tree(4, 2, partial=partial)
    world, state, total = tree.world, 0, 0.0
    while True:
        token = int(tree.expert[state])
        total += float(world.reward[state, token])
        if world.over[state, token]:
            break
        state = int(world.move[state, token])
    assert total == pytest.approx(1)


def test_the_student_has_the_skill_asked_for_and_prefixes_of_different_difficulty():
    tree = parity_tree()
    logits = student(tree, 0.35)
    assert success_probability(tree.world, logits.softmax(dim=1)) == pytest.approx(0.35, abs=1e-9)
    assert torch.equal(logits, student(tree, 0.35))
    assert not torch.equal(logits, student(tree, 0.35, seed=1))
    right = logits.softmax(dim=1).gather(1, tree.expert[:, None])
    assert float(right.std()) > 0.05


# --- wrong usage ---


@pytest.mark.parametrize("wrong", [{"bits": 1}, {"spare": -1}, {"prompts": 0}, {"bits": 2, "prompts": 5}, {"partial": 1.5}])
def test_refuses_impossible_trees(wrong):
    with pytest.raises(ValueError, match=next(iter(set(wrong) - {"bits"}), "bits")):
        parity_tree(**wrong)


def test_refuses_empty_or_ambiguous_trees():
    for prompts, tokens, length in (([], ["a"], 1), (["p"], [], 1), (["p"], ["a"], 0)):
        with pytest.raises(ValueError, match="needs prompts, tokens and a length"):
            token_tree(prompts, tokens, length, lambda task, response: Judgement())
    with pytest.raises(ValueError, match="must all be different"):
        token_tree(["p", "p"], ["a"], 1, lambda task, response: Judgement())


def test_refuses_a_skill_that_no_student_has():
    with pytest.raises(ValueError, match="succeeds with a probability between"):
        student(parity_tree(2, 0), 1.0)
