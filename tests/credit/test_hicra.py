from __future__ import annotations

import pytest
import torch
from estimator_inputs import agent_batch, call
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import grpo, hicra, most_uncertain
from hierlab.trace import Tape


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def mask(*rows: str) -> torch.Tensor:
    return torch.tensor([[letter != "." for letter in row] for row in rows])


# Outcomes 1 and 0 have the advantages 1/2 and -1/2; the third row's task was tried once.
PAIR = {"rewards": f64(1, 0, 1), "task": [0, 0, 1], "response_mask": mask("xxxx", "xxx.", "xx..")}
PLANS = mask(".xx.", "x..x", "xx..")


# degenerate sizes


def test_without_planning_it_is_grpo():
    columns = agent_batch()
    columns["planning_mask"] = torch.zeros_like(columns["planning_mask"])
    assert torch.equal(call(hicra, columns), call(grpo, columns)[:, None] * columns["response_mask"])


def test_a_dead_group_stays_dead():
    assert (hicra(f64(1, 1, 1), [0] * 3, PAIR["response_mask"], PLANS, scale="none") == 0).all()


# closed form


def test_more_credit_after_success_and_less_blame_after_failure():
    advantage = hicra(**PAIR, planning_mask=PLANS, scale="none", alpha=0.5)
    assert advantage.tolist() == [[0.5, 0.75, 0.75, 0.5], [-0.25, -0.5, -0.5, 0], [0, 0, 0, 0]]


def test_controls():
    switches = {**PAIR, "planning_mask": PLANS, "scale": "none", "alpha": 0.5}
    assert hicra(**switches, highlight="symmetric").tolist() == [[0.5, 0.75, 0.75, 0.5], [-0.75, -0.5, -0.5, 0], [0] * 4]
    assert hicra(**switches, highlight="placebo").tolist() == [[0.75, 0.5, 0.5, 0.75], [-0.5, -0.25, -0.25, 0], [0] * 4]


def test_the_port_raises_uncertain_tokens_of_long_right_answers():
    entropy = f64(9, 1, 1, 8, 7, 7, 7, 7, 7, 7, 0, 0).reshape(3, 4)
    switches = {**PAIR, "scale": "none", "alpha": 0.5, "highlight": "port", "entropy": entropy}
    nothing = torch.zeros_like(PLANS)
    plain = [[0.5] * 4, [-0.5, -0.5, -0.5, 0], [0] * 4]
    raised = hicra(**switches, planning_mask=nothing, success=[1, 0, 1], top=2 / 9)
    assert raised.tolist() == [[0.75, 0.5, 0.5, 0.75], *plain[1:]]
    assert hicra(**switches, planning_mask=nothing, success=[0, 0, 1], top=2 / 9).tolist() == plain
    assert hicra(**switches, planning_mask=nothing, success=[1, 0, 1], top=0.0).tolist() == plain
    both = hicra(**switches, planning_mask=PLANS, success=[1, 0, 1], top=2 / 9)
    assert both.tolist() == [[0.75] * 4, [-0.25, -0.5, -0.5, 0], [0] * 4]


def test_the_most_uncertain_tokens_may_be_raised_instead():
    entropy = f64(1, 9, 1, 1, 8, 0, 0, 7, 0, 0, 7, 7).reshape(3, 4)
    switches = {**PAIR, "planning_mask": PLANS, "scale": "none", "alpha": 0.5, "highlight": "uncertain", "entropy": entropy}
    assert hicra(**switches, top=2 / 9).tolist() == [[0.5, 0.75, 0.5, 0.5], [-0.25, -0.5, -0.5, 0], [0] * 4]
    assert most_uncertain(entropy, PAIR["response_mask"], 0.0).sum() == 0
    assert torch.equal(most_uncertain(entropy, PAIR["response_mask"], 1.0), PAIR["response_mask"])


def test_ties_in_entropy_are_kept():
    entropy, everything = f64(1, 1, 1, 0).reshape(2, 2), torch.ones(2, 2, dtype=torch.bool)
    assert most_uncertain(entropy, everything, 0.25).tolist() == [[True, True], [True, False]]


def test_what_is_shown():
    with Tape() as tape:
        hicra(**PAIR, planning_mask=PLANS, scale="none", alpha=0.5)
    assert tape["raised tokens"].tolist() == [[False, True, True, False], [True, False, False, False], [True, True, False, False]]
    assert tape["excess of the row"].tolist() == [0.5, 0.25, 0]


# properties


@given(seed=st.integers(0, 2**31), alpha=st.floats(0, 0.99))
def test_no_sign_changes_and_the_sum_does_not_fall(seed, alpha):
    columns = agent_batch(seed)
    plain = call(grpo, columns)[:, None] * columns["response_mask"]
    raised = call(hicra, columns, alpha=alpha)
    assert torch.equal(raised.sign(), plain.sign())
    assert (raised >= plain).all()
    torch.testing.assert_close((raised - plain)[columns["planning_mask"]], alpha * plain.abs()[columns["planning_mask"]])
    assert ((raised == plain) | columns["planning_mask"]).all()


@given(seed=st.integers(0, 2**31))
def test_the_placebo_and_the_paper_share_the_tokens_out(seed):
    columns = agent_batch(seed)
    plain = call(grpo, columns)[:, None] * columns["response_mask"]
    raised = [call(hicra, columns, highlight=name) - plain for name in ("planning", "placebo")]
    torch.testing.assert_close(sum(raised), 0.2 * plain.abs())


# wrong usage


def test_masks_must_fit():
    with pytest.raises(ValueError, match=r"planning_mask must have shape \(3, 4\), got \(3, 3\)"):
        hicra(**PAIR, planning_mask=PLANS[:, :3])
    with pytest.raises(ValueError, match="planning_mask: 2"):
        hicra(**PAIR, planning_mask=PLANS[:2])
    with pytest.raises(ValueError, match="planning_mask must hold only 0 and 1"):
        hicra(**PAIR, planning_mask=PLANS.double() / 2)


def test_the_port_needs_its_columns():
    with pytest.raises(ValueError, match='highlight="port" needs the column success and entropy'):
        hicra(**PAIR, planning_mask=PLANS, highlight="port")
    with pytest.raises(ValueError, match='highlight="uncertain" needs the column entropy'):
        hicra(**PAIR, planning_mask=PLANS, highlight="uncertain")
    bad = torch.full((3, 4), torch.nan, dtype=torch.float64)
    with pytest.raises(ValueError, match="entropy must be finite, got nan in row 0, token 0"):
        hicra(**PAIR, planning_mask=PLANS, highlight="port", success=[1, 0, 1], entropy=bad)


@pytest.mark.parametrize(("name", "value"), [("alpha", -0.1), ("alpha", float("nan")), ("top", 1.5), ("top", 30)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a number in"):
        hicra(**PAIR, planning_mask=PLANS, **{name: value})
