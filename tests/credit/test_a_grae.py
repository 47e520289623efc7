from __future__ import annotations

from itertools import chain
from math import sqrt

import pytest
import torch
from estimator_inputs import agent_batch, call
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import a_grae, dr_grpo, grpo
from hierlab.credit.a_grae import task_weight
from hierlab.trace import Tape


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


groups = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=8), min_size=1, max_size=5)


def attempts(outcomes: list[list[float]]) -> tuple[torch.Tensor, list[int]]:
    return f64(*chain(*outcomes)), [task for task, rewards in enumerate(outcomes) for _ in rewards]


def plain_a_grae(outcomes, *, alpha, variant, scale) -> list[float]:
    """The paper's pseudo-code and the released branch, attempt by attempt."""
    flat, eps = list(chain(*outcomes)), 1e-6
    means = [sum(rewards) / len(rewards) for rewards in outcomes]
    omega = sum(flat) / len(flat) if variant == "paper" else sum(means) / len(means)
    result = []
    for rewards, p in zip(outcomes, means, strict=True):
        n = len(rewards)
        std = sqrt(sum((r - p) ** 2 for r in rewards) / (n - 1)) if n > 1 else 1.0
        for r in rewards:
            a = (r - p) / (std + eps) if scale == "std" else r - p
            if p in (0, 1):
                a = 0.0
            elif variant == "paper":
                a = 0.5 * omega * a / sqrt(p) + 0.5 * (1 - omega) * a / sqrt(1 - p)
            else:
                a = omega * 0.5 * a / (sqrt(p) + eps) + (1 - omega) * 0.5 * a / (1 - sqrt(p) + eps)
            result.append(a * min(1, omega / alpha) if a > 0 else a)
    return result


# degenerate sizes


def test_groups_that_agree_teach_exactly_nothing():
    rewards = f64(0, 0, 1, 1, 1)
    for variant in ("paper", "code"):
        assert (a_grae(rewards, [0, 0, 1, 1, 2], variant=variant) == 0).all()


def test_a_lone_attempt_is_dead_unless_it_is_raw():
    assert a_grae(f64(1, 0, 1), [0, 1, 1]).tolist()[0] == 0
    blown_up = a_grae(f64(1, 0, 1), [0, 1, 1], variant="code", singleton="raw", scale="none")
    assert blown_up[0].item() == pytest.approx(0.25 * (0.25 * 0.5 / 1e-6 + 0.75 * 0.5), rel=1e-5)  # a lone group counts as 0 in omega


# closed form


def test_three_of_four_by_hand():
    rewards, task = f64(1, 1, 1, 0, 0, 0, 0, 1), [0] * 4 + [1] * 4
    paper = a_grae(rewards, task, scale="none")
    easy_to_hard = [0.25 / sqrt(p) + 0.25 / sqrt(1 - p) for p in (0.75, 0.25)]  # omega is 1/2
    assert paper[0].item() == pytest.approx(0.5 * 0.25 * easy_to_hard[0])
    assert paper[3].item() == pytest.approx(-0.75 * easy_to_hard[0])
    assert paper[7].item() == pytest.approx(0.5 * 0.75 * easy_to_hard[1])
    code = a_grae(rewards, task, scale="none", variant="code", eps=0.0)
    assert code[4].item() == pytest.approx(-0.25 * (0.25 / 0.5 + 0.25 / (1 - 0.5)))


def test_omega_of_unequal_groups():
    rewards, task = f64(1, 1, 1, 1, 0, 0), [0] * 5 + [1]
    for variant, omega in (("paper", 4 / 6), ("code", 0.4)):
        with Tape() as tape:
            a_grae(rewards, task, variant=variant)
        assert tape["training state"].tolist() == pytest.approx([omega] * 6)
        assert tape["success rate"].tolist() == pytest.approx([0.8] * 5 + [0])


@given(groups)
def test_total_weight_of_a_group(outcomes):
    """Theorem 2 and its shifted forms: 2 G sqrt(p (1 - p)), and at the ends of training G sqrt(p) (easy) and G sqrt(1 - p) (hard)."""
    rewards, task = attempts(outcomes)
    switches = {"unbiased": False, "eps": 1e-15, "positive_weight": 1.0}
    for i, group in enumerate(outcomes):
        n, p = len(group), sum(group) / len(group)
        if p in (0, 1):
            continue
        rows = torch.tensor([t == i for t in task])
        total = {name: a_grae(rewards, task, attention=name, **switches)[rows].abs().sum().item() for name in ("none", "easy", "hard")}
        assert total == pytest.approx({"none": 2 * n * sqrt(p * (1 - p)), "easy": n * sqrt(p), "hard": n * sqrt(1 - p)})


@given(groups, st.sampled_from(["shift", "easy", "hard", "none"]))
def test_the_shift_keeps_groups_at_zero_and_the_damping_makes_them_negative(outcomes, attention):
    rewards, task = attempts(outcomes)
    index = torch.tensor(task)
    undamped = a_grae(rewards, task, attention=attention, positive_weight=1.0)
    total = torch.zeros(len(outcomes), dtype=torch.float64).index_add_(0, index, undamped)
    assert total.tolist() == pytest.approx([0] * len(outcomes), abs=1e-9)
    damped = torch.zeros_like(total).index_add_(0, index, a_grae(rewards, task, attention=attention))
    assert (damped <= 1e-9).all()


def test_an_update_raises_what_was_not_sampled_if_the_sum_is_negative():
    """Theorem 1: one step moves a logit by 1[sampled] A - C pi, with C the sum of the advantages."""
    logits = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    sampled = torch.tensor([0, 1, 2, 3])
    rewards, task = f64(1, 0, 0, 0), [0] * 4
    for advantage, sign in (
        (grpo(rewards, task), 0),
        (a_grae(rewards, task), 1),
        (a_grae(rewards, task, attention="none", positive_weight=10.0), -1),
    ):
        (gradient,) = torch.autograd.grad((torch.log_softmax(logits, 0)[sampled] * advantage).sum(), logits)
        assert gradient[4:].sign().mul(gradient[4:].abs() > 1e-12).tolist() == [sign] * 6
        expected = -advantage.sum() / 10 + torch.nn.functional.pad(advantage, (0, 6))
        torch.testing.assert_close(gradient, expected)


def test_controls():
    rewards, task = f64(1, 0, 0, 1, 0, 0), [0] * 6
    plain = grpo(rewards, task)
    assert torch.equal(a_grae(rewards, task, attention="none", positive_weight=1.0), plain)
    for weight in (10.0, 0.1):
        dominant = a_grae(rewards, task, attention="none", positive_weight=weight)
        torch.testing.assert_close(dominant, torch.where(plain > 0, weight * plain, plain))
    assert torch.equal(a_grae(rewards, task, attention="none", positive_weight=1.0, scale="none"), dr_grpo(rewards, task))


def test_success_may_differ_from_the_reward():
    rewards, task, success = f64(-1, 3, 0.5, -1), [0] * 4, [False, True, True, False]
    with Tape() as tape:
        a_grae(rewards, task, success=success)
    assert tape["success rate"].tolist() == [0.5] * 4
    expected = grpo(rewards, task) * (0.25 / sqrt(0.5) * 2)
    torch.testing.assert_close(a_grae(rewards, task, success=success, positive_weight=1.0), expected)


def test_long_trajectories_weigh_more_only_where_turns_count():
    columns = {"rewards": f64(0, 0, 1, 0), "task": [0] * 4, "trajectory": list("aaab")}
    for statistics, rate in (("turns", 0.75), ("trajectories", 0.5)):
        with Tape() as tape:
            a_grae(**columns, statistics=statistics)
        assert tape["success rate"].tolist() == tape["training state"].tolist() == [rate] * 4


# loop against vectorised


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize("scale", ["std", "none"])
@given(outcomes=groups, alpha=st.floats(0.05, 1))
def test_equals_the_plain_version(variant, scale, outcomes, alpha):
    rewards, task = attempts(outcomes)
    expected = plain_a_grae(outcomes, alpha=alpha, variant=variant, scale=scale)
    assert a_grae(rewards, task, alpha=alpha, variant=variant, scale=scale).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


# wrong usage


def test_outcomes_that_are_no_share_of_success_need_the_column():
    with pytest.raises(ValueError, match=r"without the column `success`, outcomes must be in \[0, 1\], got -1 in row 1"):
        a_grae(f64(1, -1), [0, 0])
    with pytest.raises(ValueError, match="success must hold only 0 and 1"):
        a_grae(f64(1, -1), [0, 0], success=[0.5, 1])
    with pytest.raises(ValueError, match="success: 1"):
        a_grae(f64(1, -1), [0, 0], success=[1])


def test_rows_of_a_trajectory_agree_about_its_success():
    with pytest.raises(ValueError, match="success is that of the whole trajectory, but rows of the trajectory of row 1 disagree"):
        a_grae(f64(0, 0, 1), [0] * 3, list("abb"), [True, False, True])


@pytest.mark.parametrize("name", ["alpha", "positive_weight", "eps"])
@pytest.mark.parametrize("value", [-1, float("nan"), "much"])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a number in"):
        a_grae(f64(1, 0), [0, 0], **{name: value})


@pytest.mark.parametrize("switch", ["variant", "attention", "scale", "statistics", "singleton"])
def test_unknown_switches_are_refused(switch):
    with pytest.raises(ValueError, match=rf"{switch} must be one of .*, got 'sideways'"):
        call(a_grae, agent_batch(), **{switch: "sideways"})


def test_the_weight_of_a_task_by_hand():
    rate, state = f64(0.25, 0.25, 0.0, 1.0), f64(0.0, 1.0, 0.5, 0.5)
    paper = task_weight(rate, state)
    assert paper.tolist() == pytest.approx([0.5 / sqrt(0.75), 1.0, 0, 0])
    assert task_weight(rate, state, variant="code", eps=0.0)[:2].tolist() == pytest.approx([1.0, 1.0])
    assert task_weight(rate, state, attention="hard")[:2].tolist() == pytest.approx([1.0, 1.0])
    assert task_weight(rate, state, attention="easy")[:2].tolist() == pytest.approx([0.5 / sqrt(0.75)] * 2)
    assert task_weight(rate[:, None], state[None, :]).shape == (4, 4)
