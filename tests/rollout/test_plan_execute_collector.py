"""Plan-then-act episodes: what is asked, what acts, which subgoal is followed, and which tokens are whose."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import hiper
from hierlab.credit.plan_execute import Plan, parse_plans, write_plan
from hierlab.envs.environment import Observation, Step
from hierlab.models import TinySize, load
from hierlab.models.tiny import word_tokenizer
from hierlab.models.value_heads import value_model
from hierlab.rollout import Samples, SamplingParams, TransformersEngine, estimate
from hierlab.rollout.plan_execute import FORMAT_WORDS, PlanExecuteCollector, followed, response_pieces, with_instructions, with_subgoal
from hierlab.rollout.prompts import encode_response
from hierlab.rollout.sampling import pad_left, pad_right
from hierlab.train.critic import Critic, CriticSettings
from hierlab.train.imitation import ImitationSettings, imitate
from hierlab.train.policy import PolicySettings, PolicyTrainer
from hierlab.train.readouts import PlanValues

WORDS = [*FORMAT_WORDS, "hall", "kitchen", "go", "east", "west", "reach", "find", "cup"]
TOKENIZER = word_tokenizer(WORDS)
GO = write_plan(Plan(True, "reach kitchen", "go east"))
KEEP = write_plan(Plan(False, "reach kitchen", "go east"))
COLLECT = PlanExecuteCollector(1, SamplingParams(20), history=1)


class Corridor:
    """Three times east."""

    id = "corridor"

    def environment(self):
        return _Walk()


class _Walk:
    def reset(self):
        self.place = self.turn = 0
        return Observation("hall")

    def step(self, action):
        self.turn += 1
        self.place += action == "go east"
        done = self.place == 3 or self.turn == 6
        return Step(Observation("kitchen"), float(self.place == 3), done, action in ("go east", "go west"), self.place == 3)


class Scripted:
    """An engine that gives prepared responses, and keeps what it was asked."""

    def __init__(self, *responses, tokenizer=TOKENIZER):
        self.tokenizer, self.responses, self.asked = tokenizer, iter(responses), []

    def generate(self, prompts, params, generator):
        self.asked += self.tokenizer.batch_decode(prompts, skip_special_tokens=True)
        ids, mask = pad_right([encode_response(self.tokenizer, next(self.responses)) for _ in prompts], 0)
        prompt_ids, prompt_mask = pad_left(prompts, 0)
        return Samples(ids, mask, torch.zeros(ids.shape), prompt_ids, prompt_mask)


def play(*responses, collector=COLLECT):
    engine = Scripted(*responses)
    return engine, collector(engine, [Corridor()], torch.Generator())


def text(rollouts, mask, row):
    return TOKENIZER.decode(rollouts.response_ids[row][rollouts[mask][row]])


# what is asked, and what acts


def test_one_turn():
    engine, rollouts = play(GO, collector=replace(COLLECT, max_turns=1))
    assert engine.asked == ["subgoal : none . hall >"]
    assert rollouts["subgoal"] == ["reach kitchen"]
    assert rollouts["done"] == [False]


def test_the_subgoal_is_read_and_the_action_acts():
    engine, rollouts = play(GO, KEEP, write_plan(Plan(True, "find cup", "go east")))
    assert engine.asked == [
        "subgoal : none . hall >",
        "subgoal : reach kitchen . hall > go east kitchen >",
        "subgoal : reach kitchen . kitchen > go east kitchen >",
    ]
    assert rollouts["switch"].tolist() == [True, False, True]
    assert rollouts["subgoal"] == ["reach kitchen", "reach kitchen", "find cup"]
    assert rollouts["valid"] == [True, True, True]
    assert rollouts["done"] == [False, False, True]
    assert rollouts["success"] == [True, True, True]


def test_instructions_say_the_format():
    asked = with_instructions("hall >", "")
    assert "present subgoal: none" in asked
    assert Plan(True, "the subgoal you follow now", "your command") == _read_last_line(asked)
    assert with_subgoal("hall >", "a") == "subgoal: a. hall >"


def _read_last_line(asked):
    from hierlab.credit.plan_execute import read_plan

    return read_plan(asked.splitlines()[-1])


@pytest.mark.parametrize(
    ("response", "action_valid", "switch", "subgoal"),
    [
        ("go east", True, False, "reach kitchen"),  # no field at all: the whole response acts, and the subgoal stays
        ("<switch>SWITCH</switch><action>go east</action>", True, True, "reach kitchen"),  # nothing named to switch to
        ("<switch>SWITCH</switch><subgoal>find cup<action>go east</action>", True, True, "reach kitchen"),  # not closed
        ("<switch>KEEP</switch><subgoal>find cup</subgoal><action>go east</action>", True, False, "reach kitchen"),
        ("<subgoal>find cup</subgoal><action>go east</action>", True, False, "reach kitchen"),  # a missing switch keeps
        ("<switch>SWITCH</switch><subgoal>find cup</subgoal>go east", False, True, "find cup"),  # no action: all of it acts
    ],
)
def test_missing_fields(response, action_valid, switch, subgoal):
    _, rollouts = play(GO, response, collector=replace(COLLECT, max_turns=2))
    assert rollouts["valid"][1] == action_valid
    assert rollouts["switch"].tolist()[1] == switch
    assert rollouts["subgoal"][1] == subgoal


def test_keeping_what_one_does_not_have_starts_it():
    assert followed("", Plan(False, "find cup", "")) == "find cup"
    assert followed("", Plan(False, "", "")) == ""
    _, rollouts = play(KEEP, KEEP, KEEP)
    assert rollouts["subgoal"] == ["reach kitchen"] * 3


# which tokens are whose


def test_masks_cover_the_fields():
    _, rollouts = play(GO, KEEP, KEEP)
    assert text(rollouts, "switch_mask", 0) == "<switch> SWITCH </switch>"
    assert text(rollouts, "subgoal_mask", 0) == "<subgoal> reach kitchen </subgoal>"
    assert text(rollouts, "action_mask", 0) == "<action> go east </action>"
    behind = rollouts.response_ids[0, rollouts["plan_end"][0]]
    assert TOKENIZER.convert_ids_to_tokens([int(behind)]) == ["<action>"]
    # the end mark is no decision, and a subgoal that is only repeated is none either
    assert text(rollouts, "loss_mask", 0) == TOKENIZER.decode(rollouts.response_ids[0][:-1])
    assert text(rollouts, "loss_mask", 1) == "<switch> KEEP </switch> <action> go east </action>"


def test_the_whole_response_can_be_trained():
    _, rollouts = play(GO, KEEP, KEEP, collector=replace(COLLECT, decisions_only=False))
    assert "loss_mask" not in rollouts


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_pieces_of_a_word_tokenizer_are_the_words(words):
    ids, mask = pad_right([encode_response(TOKENIZER, " ".join(words))], 0)
    (pieces,) = response_pieces(TOKENIZER, ids, mask)
    assert [piece.strip() for piece in pieces] == [*words, ""]
    tight = "".join(pieces)
    for tag in FORMAT_WORDS[:6]:
        assert f" {tag}" not in tight
        assert f"{tag} " not in tight


def test_pieces_are_the_response_without_blanks_at_tags():
    ids, mask = pad_right([encode_response(TOKENIZER, GO)], 0)
    (pieces,) = response_pieces(TOKENIZER, ids, mask)
    assert "".join(pieces) == GO
    plans = parse_plans([pieces], mask, include_tags=False)
    assert TOKENIZER.decode(ids[0][plans.subgoal_mask[0]]) == "reach kitchen"
    assert TOKENIZER.decode(ids[0][plans.switch_mask[0]]) == "SWITCH"


@pytest.mark.slow
def test_tags_straddle_the_tokens_of_a_byte_level_tokenizer():
    tokenizer = load("smollm2-135m").tokenizer
    written = GO.replace("reach kitchen", "réach the ☃ kitchen")
    ids, mask = pad_right([encode_response(tokenizer, written)], 0)
    (pieces,) = response_pieces(tokenizer, ids, mask)
    assert len(pieces) == int(mask.sum())
    assert pieces[-1] == ""
    assert not any("<switch>" in piece for piece in pieces)
    plans = parse_plans([pieces], mask)
    assert tokenizer.decode(ids[0][plans.switch_mask[0]]) == "<switch>SWITCH</switch><"  # the token `><` is part of two tags
    assert tokenizer.decode(ids[0][plans.action_mask[0]]) == "><action>go east</action>"


# demonstrations


def test_demonstrations_are_what_the_policy_would_read_and_write():
    engine, _ = play(GO, KEEP, KEEP)
    pairs = COLLECT.demonstrate(TOKENIZER, Corridor(), [GO, KEEP, KEEP])
    assert [TOKENIZER.decode(prompt, skip_special_tokens=True) for prompt, _ in pairs] == engine.asked
    assert [response for _, response in pairs] == [encode_response(TOKENIZER, said) for said in (GO, KEEP, KEEP)]


def test_wrong_demonstrations_are_refused():
    with pytest.raises(ValueError, match="is not valid in turn 0"):
        COLLECT.demonstrate(TOKENIZER, Corridor(), [write_plan(Plan(True, "find cup", "find cup"))])
    with pytest.raises(ValueError, match="ends before the command"):
        COLLECT.demonstrate(TOKENIZER, Corridor(), [GO, KEEP, KEEP, KEEP])


# a tiny model plays and learns


def test_a_tiny_model_plays_and_learns_with_three_heads():
    torch.set_num_threads(1)
    policy = load("tiny", vocabulary=WORDS, size=TinySize(hidden=32, layers=2, heads=2, inner=64, context=128))
    west = write_plan(Plan(True, "find cup", "go west"))
    pairs = [pair for said in (GO, west) for pair in COLLECT.demonstrate(policy.tokenizer, Corridor(), [said] * 3)]
    imitate(policy, pairs, ImitationSettings(steps=60, batch=8, rate=1e-2))
    readout = PlanValues()
    critic = Critic(value_model(policy, readout.heads), readout, CriticSettings(learning_rate=3e-3, epochs=2))
    collector = replace(COLLECT, group_size=8)
    trainer = PolicyTrainer(policy, [Corridor()], collector, partial(hiper, gamma=0.95), PolicySettings(1e-3, tasks=2), critic=critic)
    history = trainer.fit(13)
    assert sum(r["success"] for r in history[-3:]) > sum(r["success"] for r in history[:3])
    assert all(abs(r[f"{head}_error"]) < 1 for r in history for head in readout.heads)
    rollouts = collector(TransformersEngine(policy), [Corridor()], torch.Generator().manual_seed(0))
    with_values = rollouts.with_columns(**critic.values(rollouts))
    advantage = estimate(with_values, hiper)
    assert not advantage[~rollouts["loss_mask"]].any()
