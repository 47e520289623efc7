import math
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.envs.digit_sum import CHARACTERS, digit_sums
from hierlab.envs.house import WORDS, GameSettings, draw_house
from hierlab.envs.house_graph import predict
from hierlab.envs.text_games import Rules, brief
from hierlab.envs.textworld import TextWorldTask
from hierlab.models import TinySize, load
from hierlab.rollout import EpisodeCollector, GroupCollector, Samples, SamplingParams, TransformersEngine, success_rate
from hierlab.rollout.prompts import encode_response
from hierlab.rollout.sampling import pad_left
from hierlab.seeds import derive_seed
from hierlab.train.imitation import ImitationSettings, _schedule, imitate, imitation_loss, warm_start
from hierlab.train.novice import NoviceSettings, novice, wander, watch

SMALL = TinySize(hidden=16, layers=1, heads=2, inner=32, context=128)
EASY = GameSettings(rooms=2, objects=3, quest_length=3)
QUICK = ImitationSettings(steps=3, batch=4, rate=1e-2)
PAIRS = [([1, 4, 5], [6, 2]), ([1, 5], [4, 4, 2]), ([1, 4, 4, 5], [2])]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HIERLAB_CACHE", str(tmp_path))
    torch.set_num_threads(1)
    return tmp_path


def policy(seed: int = 0, size: TinySize = SMALL):
    return load("tiny", vocabulary=CHARACTERS, size=size, seed=seed)


def weights(policy) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in policy.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


# degenerate sizes


def test_no_steps_change_nothing():
    model = policy()
    before = weights(model)
    assert imitate(model, PAIRS, replace(QUICK, steps=0)) == []
    assert same(before, weights(model))


def test_one_step_of_one_demonstration():
    model = policy()
    (loss,) = imitate(model, PAIRS[:1], ImitationSettings(steps=1, batch=1))
    assert loss == pytest.approx(imitation_loss(policy().model, PAIRS[:1]).item())


# closed-form answers


def test_loss_of_a_uniform_model_is_the_logarithm_of_the_vocabulary():
    model = policy().model
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()  # tied to the output
    assert imitation_loss(model, PAIRS).item() == pytest.approx(math.log(model.config.vocab_size), rel=1e-6)


def test_loss_is_the_mean_over_response_tokens_whatever_the_padding():
    model = policy().model
    total, tokens = 0.0, 0
    for prompt, response in PAIRS:
        logp = torch.log_softmax(model(torch.tensor([prompt + response])).logits[0], dim=-1)
        total -= sum(logp[len(prompt) + t - 1, token].item() for t, token in enumerate(response))
        tokens += len(response)
    assert imitation_loss(model, PAIRS).item() == pytest.approx(total / tokens, rel=1e-5)


def test_a_model_learns_digit_sums_by_heart():
    problems = digit_sums(3, 8, generator=torch.Generator().manual_seed(0))
    collector = GroupCollector(4, SamplingParams(6))
    model = load("tiny", vocabulary=CHARACTERS, size=replace(SMALL, hidden=32, layers=2))
    pairs = [collector.demonstrate(model.tokenizer, problem, problem.answer) for problem in problems]
    losses = imitate(model, pairs, ImitationSettings(steps=120, batch=8, rate=1e-2))
    assert losses[-1] < 0.1 < losses[0]
    rollouts = collector(TransformersEngine(model), problems, torch.Generator().manual_seed(1))
    assert rollouts.rewards.mean() > 0.8


def test_learning_rate_rises_and_falls():
    rates = [_schedule(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[-1] == pytest.approx(1 / 90)
    assert [_schedule(0, 1), _schedule(0, 2)] == [1.0, 1.0]


# equal runs give equal results


def test_same_seed_same_weights():
    one, other, different = policy(), policy(), policy()
    imitate(one, PAIRS, QUICK, seed=1)
    imitate(other, PAIRS, QUICK, seed=1)
    imitate(different, PAIRS, QUICK, seed=2)
    assert same(weights(one), weights(other))
    assert not same(weights(one), weights(different))


def test_warm_start_trains_once():
    calls = []

    def demonstrate():
        calls.append(1)
        return PAIRS

    first, second = policy(), policy()
    assert warm_start(first, demonstrate, QUICK, recipe="r") is first
    warm_start(second, demonstrate, QUICK, recipe="r")
    assert calls == [1]
    assert same(weights(first), weights(second))
    assert not first.model.training
    assert not second.model.training


@pytest.mark.parametrize(
    "change",
    [
        {"settings": replace(QUICK, rate=2e-2)},
        {"recipe": {"other": 1}},
        {"seed": 1},
        {"policy": lambda: policy(seed=1)},
    ],
)
def test_whatever_matters_makes_another_warm_start(cache, change):
    given_ = {"settings": QUICK, "recipe": {"some": 1}, "seed": 0, "policy": policy} | change
    warm_start(policy(), lambda: PAIRS, QUICK, recipe={"some": 1})
    warm_start(given_["policy"](), lambda: PAIRS, given_["settings"], recipe=given_["recipe"], seed=given_["seed"])
    assert len(list((cache / "warm").glob("*.safetensors"))) == 2


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None])
def test_damaged_warm_start_is_made_again(cache, damage):
    first, second = policy(), policy()
    warm_start(first, lambda: PAIRS, QUICK, recipe="r")
    (path,) = (cache / "warm").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-8] if damage is None else damage)
    warm_start(second, lambda: PAIRS, QUICK, recipe="r")
    assert same(weights(first), weights(second))


def test_failed_imitation_leaves_no_file(cache):
    with pytest.raises(ValueError, match="demonstrations"):
        warm_start(policy(), list, QUICK, recipe="r")
    assert not list((cache / "warm").glob("*.safetensors"))


TRAIN_ELSEWHERE = """
import torch
torch.set_num_threads(1)
from hierlab.models import TinySize, load
from hierlab.train.imitation import ImitationSettings, warm_start
model = load("tiny", vocabulary="a b c".split(), size=TinySize(hidden=16, layers=1, heads=2, inner=32))
trained = []
warm_start(model, lambda: [([1, 4], [5, 2])], ImitationSettings(steps=20), recipe=0, report=lambda step, loss: trained.append(step))
print(len(trained), sum(float(weight.sum()) for weight in model.model.parameters()))
"""


def test_processes_may_ask_for_one_warm_start_at_once(cache):
    environment = {**os.environ, "HIERLAB_CACHE": str(cache)}
    start = partial(subprocess.Popen, [sys.executable, "-c", TRAIN_ELSEWHERE], env=environment, stdout=subprocess.PIPE, text=True)
    results = [process.communicate(timeout=120)[0].split() for process in [start() for _ in range(2)]]
    assert sorted(int(steps) for steps, _ in results) == [0, 20]
    assert results[0][1] == results[1][1]


# novices

COLLECTOR = EpisodeCollector(2, SamplingParams(8), render=brief)


def quick_novice(**changes) -> NoviceSettings:
    return replace(NoviceSettings(games=EASY, houses=4, size=SMALL, imitation=QUICK), **changes)


@given(st.integers(0, 50), st.floats(0, 0.9))
def test_wandering_ends_at_the_goal_or_the_limit(seed, detour):
    graph = predict(draw_house(GameSettings(), seed))
    acts = wander(graph, detour, np.random.default_rng(seed), turns=40)
    state = 0
    for command, expert in acts:
        assert not expert or command in graph.best_commands(state)
        state = graph.moves[state][command]
    assert state in graph.won or len(acts) == 40


def test_an_expert_without_detours_walks_a_shortest_way():
    graph = predict(draw_house(GameSettings(quest_length=7), 1))
    acts = wander(graph, 0.0, np.random.default_rng(0), turns=40)
    assert len(acts) == 7
    assert all(expert for _, expert in acts)


class Reader:
    """An engine that gives the expert's commands, and keeps what it was asked."""

    def __init__(self, tokenizer, commands):
        self.tokenizer, self.commands, self.asked = tokenizer, iter(commands), []

    def generate(self, prompts, params, generator):
        self.asked += prompts
        response = torch.tensor([encode_response(self.tokenizer, next(self.commands))])
        prompt_ids, prompt_mask = pad_left(prompts, 0)
        return Samples(response, torch.ones_like(response, dtype=torch.bool), torch.zeros(response.shape), prompt_ids, prompt_mask)


def test_a_novice_learns_from_the_very_prompts_it_will_be_asked():
    model = load("tiny", vocabulary=WORDS, size=SMALL)
    pairs = watch(quick_novice(detour=0.0, houses=1), COLLECTOR, model, seed=3)
    house = draw_house(EASY, derive_seed("novice", 3, 0))
    commands = model.tokenizer.batch_decode([response for _, response in pairs], skip_special_tokens=True)
    reader = Reader(model.tokenizer, commands)
    rollouts = replace(COLLECTOR, group_size=1)(reader, [TextWorldTask(house, predict(house), None, Rules())], torch.Generator())
    assert reader.asked == [prompt for prompt, _ in pairs]
    assert success_rate(rollouts) == 1.0
    assert not any(model.tokenizer.unk_token_id in ids for pair in pairs for ids in pair)


def test_detours_are_acted_out_but_not_learnt_unless_it_strays():
    model = load("tiny", vocabulary=WORDS, size=SMALL)
    settings = quick_novice(games=GameSettings(), houses=20, detour=0.5)
    pairs = watch(settings, COLLECTOR, model, seed=0)
    rng = np.random.default_rng(derive_seed("novice", 0))
    graphs = [predict(draw_house(settings.games, derive_seed("novice", 0, i))) for i in range(settings.houses)]
    acts = [act for graph in graphs for act in wander(graph, 0.5, rng, turns=4 * settings.games.quest_length)]
    learnt = model.tokenizer.batch_decode([response for _, response in pairs], skip_special_tokens=True)
    assert learnt == [command for command, expert in acts if expert]
    assert 0.3 < len(learnt) / len(acts) < 0.7
    strayed = [response for _, response in watch(replace(settings, strays=True), COLLECTOR, model, seed=0)]
    assert model.tokenizer.batch_decode(strayed, skip_special_tokens=True) == [command for command, _ in acts]


def test_novice_is_cached_with_all_it_depends_on(cache):
    steps = []
    one = novice(quick_novice(), COLLECTOR, report=lambda step, loss: steps.append(step))
    assert steps == [0, 1, 2]
    again = novice(quick_novice(), COLLECTOR, report=lambda step, loss: steps.append(step))
    assert steps == [0, 1, 2]
    assert same(weights(one), weights(again))
    for changed in (quick_novice(detour=0.1), quick_novice(houses=5), quick_novice(games=GameSettings())):
        novice(changed, COLLECTOR)
    novice(quick_novice(), replace(COLLECTOR, history=1))
    novice(quick_novice(), EpisodeCollector(2, SamplingParams(8)))
    novice(quick_novice(), COLLECTOR, seed=1)
    novice(quick_novice(), replace(COLLECTOR, group_size=5, params=SamplingParams(3)))  # does not matter to imitation
    assert len(list((cache / "warm").glob("*.safetensors"))) == 7


@pytest.mark.slow
def test_a_novice_wins_some_games_it_has_never_seen():
    settings = NoviceSettings(games=EASY, houses=600, imitation=ImitationSettings(steps=600, batch=32, rate=6e-3))
    houses = [draw_house(EASY, seed) for seed in range(16)]
    tasks = [TextWorldTask(house, predict(house), None, Rules(turns=8)) for house in houses]
    model = novice(settings, COLLECTOR)
    rate = success_rate(COLLECTOR(TransformersEngine(model), tasks, torch.Generator().manual_seed(0)))
    assert 0.05 < rate < 0.95


# wrong usage


@pytest.mark.parametrize("pairs", [[], [([], [2])], [([1], [])]])
def test_demonstrations_are_checked(pairs):
    with pytest.raises(ValueError, match="at least one token"):
        imitate(policy(), pairs, QUICK)


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"batch": 0}, {"rate": -1.0}, {"rate": math.nan}, {"max_grad_norm": -1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ImitationSettings(**wrong)


@pytest.mark.parametrize("wrong", [{"houses": 0}, {"detour": 1.0}, {"detour": -0.1}])
def test_novice_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NoviceSettings(**wrong)


def test_divergence_is_said():
    model = policy()
    with torch.no_grad():
        model.model.get_input_embeddings().weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        imitate(model, PAIRS, QUICK)


def test_render_must_have_code():
    with pytest.raises(ValueError, match="plain function"):
        novice(quick_novice(), replace(COLLECTOR, render=partial(brief)))
