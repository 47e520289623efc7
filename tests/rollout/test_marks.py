from __future__ import annotations

from math import exp, log

import pytest
import torch

from hierlab.credit import hicra, planning_mask
from hierlab.envs.digit_questions import PHRASES, WORDS, digit_questions
from hierlab.models import TinySize, load
from hierlab.rollout import GroupCollector, Rollouts, SamplingParams, TransformersEngine, estimate
from hierlab.rollout.marks import MarkedCollector, response_pieces, successes, token_classes
from hierlab.seeds import generator

ADD = ("let", "us", "add")
GRAMS = frozenset({ADD, ("we", "go", "on")})


@pytest.fixture(scope="module")
def policy():
    return load("tiny", vocabulary=WORDS, size=TinySize(hidden=32, layers=1, heads=2, inner=32, context=64))


@pytest.fixture(scope="module")
def tasks():
    return digit_questions(2)[:3]


def ids_of(policy, *texts: str) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [policy.tokenizer.encode(text, add_special_tokens=False) for text in texts]
    width = max(map(len, rows))
    mask = torch.arange(width) < torch.tensor([[len(row)] for row in rows])
    return torch.tensor([row + [0] * (width - len(row)) for row in rows]), mask


# pieces


def test_pieces_are_the_response_with_its_blanks(policy):
    ids, mask = ids_of(policy, "let us add one 3 7", "so we go on")
    pieces = response_pieces(policy.tokenizer, ids, mask)
    assert ["".join(row) for row in pieces] == ["let us add one 3 7", "so we go on"]
    assert pieces[0][:3] == ["let", " us", " add"]
    assert planning_mask(pieces, mask, GRAMS).tolist() == [[True, True, True, False, False, False], [False, True, True, True, False, False]]


def test_no_responses(policy):
    assert response_pieces(policy.tokenizer, torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.bool)) == [[]]


def test_a_gap_in_the_mask_is_left_out(policy):
    ids, mask = ids_of(policy, "let us us add")
    mask[0, 1] = False
    assert response_pieces(policy.tokenizer, ids, mask) == [["let", " us", " add"]]


# the collector


def test_marks_are_added_and_nothing_else_changes(policy, tasks):
    inner = GroupCollector(4, SamplingParams(12))
    grams = frozenset({(a, b, c) for a, b, c in zip(*(" ".join(PHRASES).split()[i:] for i in range(3)), strict=False)})
    marked, entropies = (MarkedCollector(inner, grams, entropy_of=model) for model in (None, policy))
    engine = TransformersEngine(policy)
    plain, bare, full = (collect(engine, tasks, generator("marks", "rollouts")) for collect in (inner, marked, entropies))
    assert torch.equal(plain.response_ids, full.response_ids)
    assert "entropy" not in bare
    assert torch.equal(bare["planning_mask"], full["planning_mask"])
    assert not full["planning_mask"][~full.response_mask].any()
    assert (full["entropy"][~full.response_mask] == 0).all()
    assert (full["entropy"][full.response_mask] > 0).all()
    assert full["entropy"].max() <= log(len(policy.tokenizer)) + 1e-5
    for highlight in ("planning", "uncertain", "port"):
        assert estimate(full, hicra, highlight=highlight).shape == full.response_mask.shape


def test_successes(policy, tasks):
    def collect(engine, tasks, generator):
        rollouts = GroupCollector(2, SamplingParams(12))(engine, tasks, generator)
        return rollouts.with_columns(response=["a", "b", "c", "d", "e", "f"], success=[True, False, False, True, True, False])

    assert successes(TransformersEngine(policy), tasks, collect, generator("marks", "successes")) == ["a", "d", "e"]


# the classes of tokens


def described(**columns) -> Rollouts:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    standard = {
        "prompt_ids": torch.ones(2, 1, dtype=torch.int64),
        "prompt_mask": torch.ones(2, 1, dtype=torch.bool),
        "response_ids": torch.ones(2, 4, dtype=torch.int64),
        "response_mask": mask,
        "old_logp": torch.tensor([[-1.0, -2, -3, -4], [-5, -6, 0, 0]]),
        "rewards": torch.ones(2),
        "task": [0, 0],
        "trajectory": [0, 1],
        "turn": torch.zeros(2, dtype=torch.int64),
        "state": ["", ""],
    }
    further = {
        "planning_mask": torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0]]).bool(),
        "entropy": torch.tensor([[0.9, 0.1, 0.8, 0.2], [0.3, 0.7, 0, 0]]),
        "response": ["let us add", "we go on let us add"],
    }
    return Rollouts(**standard, columns=further | columns)


def test_classes_in_closed_form():
    found = token_classes(described(), GRAMS, top=0.5)
    assert found == pytest.approx(
        {
            "planning_share": 3 / 6,
            "planning_perplexity": exp(3),
            "execution_perplexity": exp(4),
            "planning_entropy": 1.7 / 3,
            "execution_entropy": 1.3 / 3,
            "token_entropy": 3 / 6,
            "semantic_entropy": -(2 / 3 * log(2 / 3) + 1 / 3 * log(1 / 3)),
            "planning_uncertain": 2 / 3,
            "uncertain_planning": 2 / 3,
        }
    )


def test_a_batch_without_planning():
    found = token_classes(described(planning_mask=torch.zeros(2, 4, dtype=torch.bool), response=["", ""]), GRAMS)
    assert (found["planning_share"], found["planning_perplexity"], found["planning_entropy"]) == (0, 1, 0)
    assert (found["planning_uncertain"], found["uncertain_planning"], found["semantic_entropy"]) == (0, 0, 0)
