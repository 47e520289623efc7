"""The solver that labs train: made once, trained on equal terms, stopped and gone on with."""

from dataclasses import dataclass, replace

import pytest
import torch

from hierlab.credit import grpo
from hierlab.envs.chain_sum import ChainSum
from hierlab.envs.reasoning import reasoning_problems
from hierlab.models import TinySize, load
from hierlab.rollout import GroupCollector, SamplingParams, TransformersEngine
from hierlab.train.imitation import ImitationSettings
from hierlab.train.policy import PolicySettings
from hierlab.train.solver import POINTS, ChainSumSettings, Solver, Stated, chain_sum_solver, held_out_scores, hub_solver, train_solver

SMALL = TinySize(hidden=32, layers=1, heads=2, inner=64, context=48)
UPDATE = PolicySettings(learning_rate=1e-2, tasks=4)
SETTINGS = ChainSumSettings(
    terms=2, number=20, held_out=5, demonstrations=30, size=SMALL, imitation=ImitationSettings(steps=60, batch=16, rate=1e-2)
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HIERLAB_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Echo:
    """Right if the answer begins with the letter that was said."""

    id: str

    @property
    def prompt(self):
        return f"say {self.id}"

    def verify(self, response):
        return float(response.startswith(self.id))


def solver() -> Solver:
    policy = load("tiny", vocabulary=[*"abcd", "say"], size=SMALL)
    problems = [Echo(letter) for letter in "abcd"]
    return Solver(policy, TransformersEngine(policy), problems, problems[:3], SamplingParams(2))


def test_nothing_is_trained():
    result = train_solver(solver(), grpo, UPDATE, iterations=0)
    assert result["generated_tokens"] == result["iterations"] == 0
    assert result["success"] == [result["auc"]] * POINTS


def test_it_learns():
    result = train_solver(solver(), grpo, UPDATE, iterations=30, evaluate_every=5, evaluate_k=(1, 4, 8))
    assert result["final"] > result["success"][0] + 0.3
    assert result["final"] <= result["pass_at_4"] <= result["pass_at_8"]
    assert 0 < result["overhead"] < 1
    assert all(len(value) == POINTS for value in result.values() if isinstance(value, list))
    assert {"length", "entropy", "live_share", "gradient_norm"} < set(result)
    assert result["updates"] == pytest.approx([1.5 * i for i in range(POINTS)])
    assert result["tokens"][-1] == result["generated_tokens"]
    assert 0 <= min(result["live_share"]) <= max(result["live_share"]) <= 1
    assert result["entropy"][0] > result["entropy"][-1]


def test_a_budget_of_tokens_is_kept():
    spent = train_solver(solver(), grpo, UPDATE, iterations=6)["generated_tokens"]
    result = train_solver(solver(), grpo, UPDATE, iterations=99, tokens=spent // 2)
    assert spent // 2 <= result["generated_tokens"] < spent
    assert result["tokens"] == pytest.approx([spent // 2 / (POINTS - 1) * i for i in range(POINTS)])


def test_tokens_beside_the_response_are_paid_for():
    plain = GroupCollector(8, SamplingParams(2))

    def wasteful(policy, tasks, generator):
        rollouts = plain(policy, tasks, generator)
        return rollouts.with_columns(extra_tokens=torch.full((len(rollouts),), 3))

    paid = [train_solver(solver(), grpo, UPDATE, iterations=1, collector=c)["generated_tokens"] for c in (plain, wasteful)]
    assert paid[1] - paid[0] == 3 * 8 * 4


def test_a_lab_may_measure_more():
    result = train_solver(solver(), grpo, UPDATE, iterations=2, measure=lambda rollouts: {"rows_seen": float(len(rollouts))})
    assert result["rows_seen"] == [32.0] * POINTS


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    once = train_solver(solver(), grpo, UPDATE, iterations=12)
    train_solver(solver(), grpo, UPDATE, iterations=10, folder=tmp_path)
    again = train_solver(solver(), grpo, UPDATE, iterations=12, folder=tmp_path)
    assert again["length"] == once["length"]
    assert again["final"] == once["final"]


def test_held_out_scores_come_from_all_attempts():
    one = solver()
    scores = held_out_scores(one, 4, torch.Generator().manual_seed(0), (1, 2, 4))
    rollouts = GroupCollector(4, one.params)(one.engine, one.held_out, torch.Generator().manual_seed(0))
    assert scores[1] == pytest.approx(sum(rollouts["success"]) / 12)
    assert scores[4] == pytest.approx(len({task for task, right in zip(rollouts.task, rollouts["success"], strict=True) if right}) / 3)
    assert scores[1] <= scores[2] <= scores[4]


def test_a_chain_sum_solver_is_made_once_and_solves():
    losses = []
    made = chain_sum_solver(SETTINGS, report=lambda step, loss: losses.append(loss))
    assert len(losses) == 60
    assert losses[-1] < losses[0]
    again = chain_sum_solver(SETTINGS, report=lambda step, loss: losses.append(loss))
    assert len(losses) == 60
    weights = (tuple(s.policy.model.parameters()) for s in (made, again))
    assert all(torch.equal(x, y) for x, y in zip(*weights, strict=True))
    assert not {p.id for p in made.tasks} & {p.id for p in made.held_out}
    rollouts = GroupCollector(4, made.params)(made.engine, made.tasks, torch.Generator().manual_seed(0))
    assert all(r.endswith("$") for r, ok in zip(rollouts["response"], rollouts["success"], strict=True) if ok)
    assert max(r.count("$") for r in rollouts["response"]) <= 1  # it stops there
    chain_sum_solver(replace(SETTINGS, terms=3), report=lambda step, loss: losses.append(loss))
    assert len(losses) == 120


def test_an_answer_stands_behind_a_mark():
    stated = Stated(ChainSum((3, 4)))
    assert stated.id == "3+4"
    assert stated.prompt.startswith("3 4 =\n")
    assert "####" in stated.prompt
    assert stated.verify("first #### 1#1$ no, #### 7#7$ ") == 1.0
    assert stated.verify("7#7$") == stated.verify("#### 7#7$ ####") == 0.0
    (problem,) = reasoning_problems("gsm_symbolic", 1)
    assert Stated(problem).verify(f"So it is\n#### {problem.answer}") == 1.0


def test_an_unknown_task_is_refused_before_a_model_is_loaded():
    with pytest.raises(ValueError, match="close: chain_sum"):
        hub_solver("no/such-model", task="chain_sun")


def test_wrong_settings():
    with pytest.raises(ValueError, match="held_out must be at least 1"):
        replace(SETTINGS, held_out=0)
    with pytest.raises(ValueError, match="10\\^terms are different"):
        chain_sum_solver(replace(SETTINGS, number=200))
