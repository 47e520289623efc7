import math
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch

from hierlab.envs.environment import EpisodicTask, Observation, Problem, Step
from hierlab.models import TinySize, load
from hierlab.rollout import (
    EpisodeCollector,
    GroupCollector,
    SamplingParams,
    TransformersEngine,
    estimate,
    evaluate,
    success_rate,
    summary,
    token_logp,
    transcript,
)
from hierlab.rollout.prompts import encode_prompts, encode_response
from hierlab.rollout.sampling import Samples, pad_left, pad_right

WORDS = ["room", *map(str, range(10)), "left right stay jump", "count"]


@dataclass(frozen=True)
class Corridor:
    """Rooms 0 to `length`; `right` leads on, `left` back; the last room is the goal."""

    id: str
    length: int = 2
    turns: int = 6

    def environment(self):
        return CorridorEnvironment(self.length, self.turns)


@dataclass
class CorridorEnvironment:
    length: int
    turns: int
    room: int = 0
    turn: int = 0

    def _observation(self):
        return Observation(f"room {self.room}", ("right", *(["left"] if self.room else [])))

    def reset(self):
        self.room = self.turn = 0
        return self._observation()

    def step(self, action):
        assert self.turn < self.turns, "stepped after the end"
        valid = action in self._observation().admissible
        if valid:
            self.room += 1 if action == "right" else -1
        self.turn += 1
        success = self.room == self.length
        reward = 10.0 * success - 0.1 * (not valid)
        return Step(self._observation(), reward, success or self.turn == self.turns, valid=valid, success=success)


@dataclass(frozen=True)
class Count:
    """Answered rightly by the word `count`."""

    id: int

    @property
    def prompt(self):
        return f"room {self.id}"

    def verify(self, response):
        return float(response == "count")


@dataclass
class Scripted:
    """An engine that answers from a list and remembers what it was asked."""

    tokenizer: object
    script: list
    asked: list = field(default_factory=list)

    def generate(self, prompts, params, generator):
        self.asked.append([self.tokenizer.decode(p, skip_special_tokens=True) for p in prompts])
        answers = self.script.pop(0)
        assert len(answers) == len(prompts)
        ids, mask = pad_right([encode_response(self.tokenizer, a) for a in answers], 0)
        prompt_ids, prompt_mask = pad_left(prompts, 0)
        return Samples(ids, mask, -0.5 * mask.float(), prompt_ids, prompt_mask)

    def sync(self, model):
        pass


@pytest.fixture(scope="module")
def tiny():
    return load("tiny", vocabulary=WORDS, size=TinySize(hidden=32, layers=2, heads=2, inner=48, context=128))


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_the_fakes_keep_the_protocols():
    assert isinstance(Corridor("a"), EpisodicTask)
    assert isinstance(Count(1), Problem)


# --- groups ----------------------------------------------------------------------------------------------------------------------


def test_groups(tiny, generator):
    engine = Scripted(tiny.tokenizer, [["count", "left", "jump right", "count"]])
    rollouts = GroupCollector(2, SamplingParams(4))(engine, [Count(3), Count(5)], generator)
    assert engine.asked == [["room 3", "room 3", "room 5", "room 5"]]
    assert rollouts.rewards.tolist() == [1, 0, 0, 1]
    assert list(rollouts.task) == [3, 3, 5, 5]
    assert len(set(rollouts.trajectory)) == 4
    assert rollouts.turn.tolist() == [0, 0, 0, 0]
    assert list(rollouts.state) == ["room 3", "room 3", "room 5", "room 5"]
    assert list(rollouts["response"]) == ["count", "left", "jump right", "count"]
    assert rollouts["response_length"].tolist() == [2, 2, 3, 2]


def test_a_problem_given_twice_is_one_group_of_distinct_trajectories(tiny, generator):
    engine = Scripted(tiny.tokenizer, [["count"] * 4])
    rollouts = GroupCollector(2, SamplingParams(4))(engine, [Count(3), Count(3)], generator)
    assert set(rollouts.task) == {3}
    assert len(set(rollouts.trajectory)) == 4


def test_own_prompt(tiny, generator):
    engine = Scripted(tiny.tokenizer, [["count"]])
    rollouts = GroupCollector(1, SamplingParams(4), prompt=lambda problem: f"count {problem.prompt}")(engine, [Count(3)], generator)
    assert engine.asked == [["count room 3"]]
    assert list(rollouts.state) == ["count room 3"]


# --- episodes --------------------------------------------------------------------------------------------------------------------


def test_episodes_in_lockstep(tiny, generator):
    script = [
        ["right", "right", "stay", "left right"],  # the episodes a0, a1, b0, b1
        ["right", "left", "right", "right"],  # a0 wins
        ["right", "right", "left"],  # b0 wins
        ["right", "right"],  # a1 wins
        ["right"],  # b1 wins
    ]
    engine = Scripted(tiny.tokenizer, script)
    rollouts = EpisodeCollector(2, SamplingParams(4))(engine, [Corridor("a"), Corridor("b")], generator)

    assert [len(asked) for asked in engine.asked] == [4, 4, 3, 2, 1]
    assert list(rollouts.task) == ["a"] * 6 + ["b"] * 8
    assert rollouts.turn.tolist() == [0, 1, 0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 4]
    assert list(rollouts.trajectory) == sorted(rollouts.trajectory)
    assert len(set(rollouts.trajectory)) == 4
    states = [int(state.split()[1]) for state in rollouts.state]
    assert states == [0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 1]
    assert list(rollouts["response"])[6:9] == ["stay", "right", "right"]
    torch.testing.assert_close(rollouts.rewards, torch.tensor([0, 10, 0, 0, 0, 10, -0.1, 0, 10, -0.1, 0, 0, 0, 10]))
    assert list(rollouts["valid"]) == [True] * 6 + [False, True, True, False, True, True, True, True]
    assert list(rollouts["success"]) == [True] * 14
    assert rollouts["admissible"][0] == ("right",)
    assert rollouts["admissible"][1] == ("right", "left")


def test_the_prompt_holds_the_last_turns_only(tiny, generator):
    script = [["right"], ["left"], ["stay"], ["right"], ["right"]]
    engine = Scripted(tiny.tokenizer, script)
    EpisodeCollector(1, SamplingParams(4), history=2)(engine, [Corridor("a")], generator)
    assert [asked[0] for asked in engine.asked] == [
        "room 0 >",
        "room 0 > right room 1 >",
        "room 0 > right room 1 > left room 0 >",
        "room 1 > left room 0 > stay room 0 >",
        "room 0 > stay room 0 > right room 1 >",
    ]


def test_no_history(tiny, generator):
    engine = Scripted(tiny.tokenizer, [["right"], ["right"]])
    EpisodeCollector(1, SamplingParams(4), history=0)(engine, [Corridor("a")], generator)
    assert engine.asked == [["room 0 >"], ["room 1 >"]]


def test_own_rendering(tiny, generator):
    engine = Scripted(tiny.tokenizer, [["right"], ["right"]])

    def render(turns, now):
        return " ".join(now.admissible) + f" {len(turns)}"

    EpisodeCollector(1, SamplingParams(4), render=render)(engine, [Corridor("a")], generator)
    assert engine.asked == [["right 0"], ["right left 1"]]


def test_episodes_end_at_the_turn_limit(tiny, generator):
    engine = Scripted(tiny.tokenizer, [["stay", "right"], ["stay", "left"], ["stay", "right"]])
    rollouts = EpisodeCollector(2, SamplingParams(4), max_turns=3)(engine, [Corridor("a", turns=50)], generator)
    assert rollouts.turn.tolist() == [0, 1, 2, 0, 1, 2]
    assert not any(rollouts["success"])


def test_success_belongs_to_the_whole_trajectory(tiny, generator):
    engine = Scripted(tiny.tokenizer, [["right", "stay"], ["right", "stay"], ["stay"]])
    rollouts = EpisodeCollector(2, SamplingParams(4))(engine, [Corridor("a", turns=3)], generator)
    assert list(rollouts["success"]) == [True, True, False, False, False]
    assert success_rate(rollouts) == 0.5
    assert summary(rollouts) == pytest.approx(
        {"return": (10 - 0.3) / 2, "trajectories": 2, "rows": 5, "generated_tokens": 10, "success": 0.5, "valid": 2 / 5}
    )


def test_success_rate_needs_its_column(tiny, generator):
    rollouts = GroupCollector(1, SamplingParams(4))(Scripted(tiny.tokenizer, [["count"]]), [Count(1)], generator)
    assert success_rate(rollouts) == 1
    bare = replace(rollouts, columns={})
    with pytest.raises(KeyError, match="success"):
        success_rate(bare)
    assert summary(bare)["return"] == 1


# --- with a real engine ----------------------------------------------------------------------------------------------------------


def test_old_log_probabilities_are_those_of_the_policy(tiny, generator):
    collector = EpisodeCollector(4, SamplingParams(3), max_turns=4)
    rollouts = collector(TransformersEngine(tiny), [Corridor("a"), Corridor("b", length=1)], generator)
    with torch.no_grad():
        logp = token_logp(tiny.model, rollouts.prompt_ids, rollouts.prompt_mask, rollouts.response_ids, rollouts.response_mask)
    torch.testing.assert_close(logp, rollouts.old_logp, atol=1e-4, rtol=0)
    assert (rollouts.old_logp[~rollouts.response_mask] == 0).all()
    assert rollouts.prompt_mask[:, -1].all()


def test_same_seed_same_rollouts(tiny):
    def collect(seed):
        collector = EpisodeCollector(4, SamplingParams(3))
        return collector(TransformersEngine(tiny), [Corridor("a"), Corridor("b")], torch.Generator().manual_seed(seed))

    one, same, other = collect(1), collect(1), collect(2)
    assert torch.equal(one.response_ids, same.response_ids)
    assert torch.equal(one.old_logp, same.old_logp)
    assert one.trajectory == same.trajectory
    assert list(one["response"]) != list(other["response"])


def test_columns_reach_an_estimator(tiny, generator):
    rollouts = EpisodeCollector(2, SamplingParams(3), max_turns=2)(TransformersEngine(tiny), [Corridor("a")], generator)
    assert estimate(rollouts, lambda rewards, success, state: (len(rewards), len(success), len(state))) == (4, 4, 4)


def test_evaluation_fits_the_trainer(tiny, generator):
    held_out = partial(evaluate, tasks=[Corridor("a")], collector=EpisodeCollector(2, SamplingParams(3, temperature=0), max_turns=2))
    result = held_out(TransformersEngine(tiny), generator=generator)
    assert result["trajectories"] == 2
    assert result["rows"] == 4


# --- demonstrations --------------------------------------------------------------------------------------------------------------


def test_a_demonstration_reads_what_the_policy_will_read(tiny, generator):
    collector = EpisodeCollector(1, SamplingParams(4), history=1)
    commands = ["right", "left", "right", "right"]
    pairs = collector.demonstrate(tiny.tokenizer, Corridor("a"), commands)
    rollouts = collector(Scripted(tiny.tokenizer, [[c] for c in commands]), [Corridor("a")], generator)
    for row, (prompt, response) in enumerate(pairs):
        assert rollouts.prompt_ids[row][rollouts.prompt_mask[row]].tolist() == prompt
        assert rollouts.response_ids[row][rollouts.response_mask[row]].tolist() == response
    assert len(pairs) == 4


def test_demonstrating_an_answer(tiny, generator):
    collector = GroupCollector(1, SamplingParams(4))
    prompt, response = collector.demonstrate(tiny.tokenizer, Count(2), "count")
    rollouts = collector(Scripted(tiny.tokenizer, [["count"]]), [Count(2)], generator)
    assert rollouts.prompt_ids[0].tolist() == prompt
    assert rollouts.response_ids[0].tolist() == response


@pytest.mark.parametrize(
    ("commands", "message"),
    [(["right", "jump"], "'jump' is not valid in turn 1"), (["right", "right", "left"], "ends before the command 'left'")],
)
def test_wrong_demonstrations_are_refused(tiny, commands, message):
    with pytest.raises(ValueError, match=message):
        EpisodeCollector(1, SamplingParams(4)).demonstrate(tiny.tokenizer, Corridor("a"), commands)


# --- prompts ---------------------------------------------------------------------------------------------------------------------


def test_transcript():
    turns = [("hall", "go east"), ("kitchen", "take knife")]
    assert transcript([], Observation("hall")) == "hall >"
    assert transcript(turns, Observation("kitchen , no knife")) == "hall > go east kitchen > take knife kitchen , no knife >"


def test_prompts_of_a_model_that_chats_are_chats(tiny):
    chatting = load("tiny", vocabulary=[*WORDS, "user assistant"]).tokenizer
    chatting.chat_template = (
        "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}{% endfor %}{% if add_generation_prompt %}assistant{% endif %}"
    )
    ids = encode_prompts(chatting, ["room 3", "room 4", "room 3"])
    assert [chatting.decode(i, skip_special_tokens=True) for i in ids] == [f"user room {n} assistant" for n in (3, 4, 3)]
    assert encode_prompts(tiny.tokenizer, ["room 3"]) == [tiny.tokenizer("room 3").input_ids]


def test_a_response_ends_with_the_end_token(tiny):
    ids = encode_response(tiny.tokenizer, "left right")
    assert ids[-1] == tiny.tokenizer.eos_token_id
    assert tiny.tokenizer.bos_token_id not in ids
    assert tiny.tokenizer.decode(ids, skip_special_tokens=True) == "left right"


# --- wrong usage -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collector", [GroupCollector(1, SamplingParams(1)), EpisodeCollector(1, SamplingParams(1))])
def test_no_tasks_are_refused(tiny, generator, collector):
    with pytest.raises(ValueError, match="no tasks"):
        collector(TransformersEngine(tiny), [], generator)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: GroupCollector(0, SamplingParams(1)), "group_size"),
        (lambda: EpisodeCollector(0, SamplingParams(1)), "group_size"),
        (lambda: EpisodeCollector(1, SamplingParams(1), history=-1), "history"),
        (lambda: EpisodeCollector(1, SamplingParams(1), max_turns=0), "max_turns"),
    ],
)
def test_impossible_settings_are_refused(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_an_observation_that_does_not_fit_the_context_is_refused(tiny, generator):
    collector = EpisodeCollector(1, SamplingParams(4), render=lambda turns, now: "room " * 200)
    with pytest.raises(ValueError, match="exceed the model's context of 128"):
        collector(TransformersEngine(tiny), [Corridor("a")], generator)


def test_a_policy_that_has_diverged_stops_the_collection(generator):
    broken = load("tiny", vocabulary=WORDS, size=TinySize(hidden=32, layers=1, heads=2, inner=48, context=128))
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="diverged"):
        EpisodeCollector(1, SamplingParams(4))(TransformersEngine(broken), [Corridor("a")], generator)
