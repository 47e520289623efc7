"""What every registered estimator promises."""

from __future__ import annotations

import pytest
import torch
from estimator_inputs import NoDefaultDevice, agent_batch, call, last_turn, select
from hypothesis import given
from hypothesis import strategies as st

from hierlab.credit import ESTIMATORS, a_grae, dr_grpo, gigpo, grpo, hicra, register, reinforce_plus_plus_baseline, rloo
from hierlab.trace import Tape

TOKEN_LEVEL = {"gae", "reinforce_plus_plus", "hiper", "spo", "hicra"}
GROUP_RELATIVE = (grpo, dr_grpo, rloo, reinforce_plus_plus_baseline, a_grae, hicra)

every = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
batches = st.builds(
    agent_batch,
    st.integers(0, 2**31),
    tasks=st.integers(1, 3),
    group=st.integers(1, 4),
    turns=st.integers(1, 5),
    states=st.integers(1, 4),
    tokens=st.integers(1, 6),
)


# degenerate sizes


@every
def test_an_empty_batch_gives_an_empty_result(estimator):
    result = call(estimator, agent_batch(tasks=0))
    assert result.shape == ((0, 6) if estimator.__name__ in TOKEN_LEVEL else (0,))


@every
def test_degenerate_batches_are_finite(estimator):
    for columns in (agent_batch(tasks=1, group=1, turns=1), agent_batch(tasks=3, group=1, turns=1), agent_batch(tasks=1, group=4, turns=1)):
        for scaled in (0.0, 1.0, 1e6):
            alike = columns | {name: torch.full_like(columns[name], scaled) for name in ("rewards", "token_rewards", "values")}
            assert torch.isfinite(call(estimator, columns)).all()
            assert torch.isfinite(call(estimator, alike)).all()


@pytest.mark.parametrize("estimator", [*GROUP_RELATIVE, gigpo])
def test_a_group_that_agrees_teaches_exactly_nothing(estimator):
    columns = agent_batch(tasks=2, group=4, turns=1)
    columns["rewards"] = torch.full_like(columns["rewards"], 0.1)
    assert (call(estimator, columns) == 0).all()


# properties


@every
@given(columns=batches, random=st.randoms())
def test_rows_may_stand_in_any_order(estimator, columns, random):
    order = list(range(len(columns["task"])))
    random.shuffle(order)
    torch.testing.assert_close(call(estimator, select(columns, order)), call(estimator, columns)[order], rtol=1e-7, atol=1e-9)


@every
@given(columns=batches)
def test_shape_is_rows_or_tokens_and_masked_tokens_are_exactly_zero(estimator, columns):
    result = call(estimator, columns)
    if estimator.__name__ in TOKEN_LEVEL:
        assert result.shape == columns["response_mask"].shape
        assert (result[~columns["response_mask"]] == 0).all()
    else:
        assert result.shape == columns["rewards"].shape


@pytest.mark.parametrize("estimator", [*GROUP_RELATIVE, gigpo])
@given(columns=batches, shift=st.floats(-100, 100))
def test_a_constant_added_to_all_outcomes_of_a_task_changes_nothing(estimator, columns, shift):
    chosen = torch.tensor([task == "task 0" for task in columns["task"]]) & last_turn(columns)
    shifted = columns | {"rewards": columns["rewards"] + shift * chosen}
    switches = {"gamma": 1.0} if estimator is gigpo else {}  # else the constant is discounted by how far away the end is
    torch.testing.assert_close(call(estimator, shifted, **switches), call(estimator, columns, **switches), rtol=1e-6, atol=1e-7)


@given(columns=batches)
def test_rloo_is_dr_grpo_times_n_over_n_minus_one(columns):
    single = columns | {"trajectory": list(range(len(columns["task"])))}
    n = torch.tensor([columns["task"].count(task) for task in columns["task"]], dtype=torch.float64)
    expected = call(dr_grpo, single) * torch.where(n > 1, n / (n - 1).clamp(min=1), 1)
    torch.testing.assert_close(call(rloo, single), expected)


@pytest.mark.parametrize("statistics", ["turns", "trajectories"])
@pytest.mark.parametrize("scale", ["none", "std", "batch"])
@given(columns=batches)
def test_gigpo_without_its_step_term_is_grpo(scale, statistics, columns):
    left = call(gigpo, columns, step_weight=0.0, scale=scale, episode_statistics=statistics)
    torch.testing.assert_close(left, call(grpo, columns, scale=scale, statistics=statistics))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(estimator, dtype):
    assert call(estimator, agent_batch(dtype=dtype)).dtype == dtype


@every
def test_single_precision_agrees_with_double(estimator):
    columns = agent_batch(5)
    single = {name: c.float() if torch.is_tensor(c) and c.is_floating_point() else c for name, c in columns.items()}
    torch.testing.assert_close(call(estimator, single).double(), call(estimator, columns), rtol=1e-4, atol=1e-5)


@every
def test_arguments_are_left_as_they_were(estimator):
    columns, before = agent_batch(3), agent_batch(3)
    call(estimator, columns)
    assert all((columns[name] == before[name]).all() if torch.is_tensor(before[name]) else columns[name] == before[name] for name in before)


# nothing on a default device


@every
def test_no_tensor_is_made_on_a_default_device(estimator):
    columns = agent_batch()
    for similarity in (None, 0.9):
        switches = {"similarity": similarity} if estimator is gigpo else {}
        expected = call(estimator, columns, **switches)
        with NoDefaultDevice(), Tape():
            result = call(estimator, columns, **switches)
        with torch.device("meta"):  # a tensor made on the default device would have no numbers
            again = call(estimator, columns, **switches)
        assert torch.equal(result, expected)
        assert torch.equal(again, expected)


VARIANTS = [
    ("hgpo", {"history": 4, "weights": "paper", "absent": "zero", "episode_level": True, "episode_statistics": "trajectories"}),
    ("hiper", {"switch_advantage": "paper", "bootstrap_truncated": True, "plan_tokens": "both"}),
    ("spo", {"whiten": True, "threshold": 0.5}),
    ("spo_tree", {"scale": "batch"}),
    ("a_grae", {"variant": "code", "singleton": "raw", "statistics": "trajectories"}),
    ("a_grae", {"attention": "hard", "positive_weight": 10.0}),
    ("hicra", {"highlight": "uncertain", "entropy": torch.rand(42, 6, generator=torch.Generator().manual_seed(0))}),
    ("hicra", {"highlight": "port", "entropy": torch.rand(42, 6, generator=torch.Generator().manual_seed(0))}),
]


@pytest.mark.parametrize(("name", "switches"), VARIANTS)
def test_no_variant_makes_a_tensor_on_a_default_device(name, switches):
    columns = agent_batch()
    expected = call(ESTIMATORS[name], columns, **switches)
    with NoDefaultDevice(), Tape():
        assert torch.equal(call(ESTIMATORS[name], columns, **switches), expected)
    with torch.device("meta"):
        assert torch.equal(call(ESTIMATORS[name], columns, **switches), expected)


def test_the_guard_sees_a_factory_call():
    with pytest.raises(AssertionError, match=r"torch.zeros was called without a device"), NoDefaultDevice():
        torch.zeros(2)


# narration


@every
def test_the_last_step_shown_is_the_result(estimator):
    columns = agent_batch()
    with Tape() as tape:
        result = call(estimator, columns)
    assert torch.equal(tape.steps[-1].value, result)
    assert all(step.formula for step in tape.steps)
    assert torch.equal(call(estimator, columns), result)


# wrong usage


@every
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_reward_that_is_not_finite_is_refused_by_row(estimator, value):
    columns = agent_batch()
    columns["rewards"][4] = value
    columns["token_rewards"][4, 0] = value
    with pytest.raises(ValueError, match=r"rewards must be finite, got -?(nan|inf) in row 4"):
        call(estimator, columns)


@every
def test_columns_of_different_lengths_are_refused(estimator):
    columns = agent_batch()
    short = columns | {"task": columns["task"][1:], "values": columns["values"][1:], "response_mask": columns["response_mask"][1:]}
    with pytest.raises(ValueError, match=r"must have (one entry per row|one shape|shape)"):
        call(estimator, short)


@every
def test_rewards_that_are_no_floating_point_column_are_refused(estimator):
    columns = agent_batch()
    for wrong in (columns["rewards"].long(), columns["rewards"][:, None, None], columns["rewards"].tolist()):
        with pytest.raises(ValueError, match=r"rewards must be a floating-point tensor of shape \[N(, T)?\], got"):
            call(estimator, columns | {"rewards": wrong, "token_rewards": wrong})


@pytest.mark.parametrize("name", ["gigpo", "gae", "turn_gae", "reinforce_plus_plus", "hgpo", "hiper"])
@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan"), "high", None])
def test_gamma_outside_the_unit_interval_is_refused(name, gamma):
    with pytest.raises(ValueError, match=r"gamma must be a number in \[0, 1\]"):
        call(ESTIMATORS[name], agent_batch(), gamma=gamma)


@pytest.mark.parametrize(
    ("name", "switch"),
    [
        ("grpo", "scale"),
        ("grpo", "statistics"),
        ("grpo", "singleton"),
        ("dr_grpo", "statistics"),
        ("rloo", "statistics"),
        ("rloo", "singleton"),
        ("reinforce_plus_plus_baseline", "statistics"),
        ("gigpo", "scale"),
        ("gigpo", "episode_statistics"),
        ("gigpo", "singleton"),
        ("gae", "gaps"),
        ("hgpo", "weights"),
        ("hgpo", "absent"),
        ("hiper", "switch_advantage"),
        ("hiper", "plan_tokens"),
        ("spo_tree", "scale"),
        ("a_grae", "variant"),
        ("a_grae", "attention"),
        ("hicra", "highlight"),
    ],
)
def test_an_unknown_switch_is_refused_with_those_accepted(name, switch):
    with pytest.raises(ValueError, match=rf"{switch} must be one of '\w+', '\w+'.*, got 'sideways'"):
        call(ESTIMATORS[name], agent_batch(), **{switch: "sideways"})


def test_two_estimators_of_one_name_are_refused():
    def grpo():
        """Another one."""

    with pytest.raises(ValueError, match="two estimators are called 'grpo'"):
        register(*ESTIMATORS.values(), grpo)
