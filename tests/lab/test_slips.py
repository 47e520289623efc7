from functools import partial

import pytest
import torch

from hierlab.credit import cutpoint_starts, equal_starts
from hierlab.lab.slips import SCORES, everywhere, look_for_slips
from hierlab.lab.slips import _chance as chance
from hierlab.train.imitation import ImitationSettings
from hierlab.train.solver import ChainSumSettings, chain_sum_solver

CUTS = {"one": partial(equal_starts, num_segments=1), "all": everywhere, "int1": partial(cutpoint_starts, interval=1)}


@pytest.fixture(scope="module")
def solver():
    return chain_sum_solver(ChainSumSettings(terms=3, number=40, held_out=2, imitation=ImitationSettings(steps=60, batch=16, rate=6e-3)))


def test_one_response(solver):
    slips = look_for_slips(solver, CUTS, problems=1, truth=2, tokens=1)
    assert list(slips.numbers) == list(CUTS)
    assert all(set(scores) == set(SCORES) for scores in slips.numbers.values())
    assert all(scores["continuations"] == 1 for scores in slips.numbers.values())
    assert all(len(error) == 1 for error in slips.error.values())


def test_finer_cuts_blur_less_and_find_more(solver):
    slips = look_for_slips(solver, CUTS, problems=24, truth=60, tokens=400)
    one, every = slips.numbers["one"], slips.numbers["all"]
    assert one["segments"] == 1
    assert every["segments"] > 4
    assert every["continuations"] < one["continuations"]
    assert every["blur"] == pytest.approx(0, abs=1e-9)
    assert one["blur"] > 0
    assert every["slip_found"] > one["slip_found"]
    assert every["correlation"] > one["correlation"]
    assert len(slips.found["one"]) > 5
    for scores in slips.numbers.values():
        assert scores["tokens"] == pytest.approx(400, rel=0.3)


def test_noise_of_the_truth_is_taken_off(solver):
    """A coarse truth and a fine one give the same error, though the coarse one differs more from every guess."""
    errors = [look_for_slips(solver, {"one": CUTS["one"]}, problems=32, truth=n, tokens=600).numbers["one"]["error"] for n in (6, 100)]
    assert errors[0] == pytest.approx(errors[1], rel=0.2)


def test_the_same_seed_finds_the_same(solver):
    one, same, other = (look_for_slips(solver, CUTS, problems=4, truth=4, tokens=60, seed=seed) for seed in (0, 0, 1))
    assert one.error == same.error
    assert one.error != other.error


def test_the_chance_to_blame_the_slip():
    advantage = torch.tensor([0.0, -1.0, -1.0, 0.5])
    assert [chance(advantage, slip) for slip in range(4)] == [0, 0.5, 0.5, 0]
    assert chance(torch.zeros(4), 2) == 0.25


def test_bad_numbers_are_refused(solver):
    for wrong in ({"problems": 0, "truth": 2}, {"problems": 1, "truth": 1}):
        with pytest.raises(ValueError, match="two continuations at least"):
            look_for_slips(solver, CUTS, **wrong, tokens=10)
    with pytest.raises(ValueError, match="got 0 cuts"):
        look_for_slips(solver, {}, problems=1, truth=2, tokens=10)
