from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from estimator_inputs import NoDefaultDevice
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hierlab.trace import Tape
from hierlab.train.surrogate import Aggregation, KLEstimator, Ratio, aggregate, kl, loss_weight, policy_loss, value_loss

NAN, INF = float("nan"), float("inf")
AGGREGATIONS, RATIOS, ESTIMATORS = get_args(Aggregation), get_args(Ratio), get_args(KLEstimator)


def batch(seed: int = 0, rows: int = 5, tokens: int = 7) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """logp (with gradient), old_logp, advantage [N], mask; some rows may have no token."""
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(rows, tokens, generator=generator, dtype=torch.float64) * 3
    logp = old + 0.5 * torch.randn(rows, tokens, generator=generator, dtype=torch.float64)
    advantage = torch.randn(rows, generator=generator, dtype=torch.float64)
    mask = torch.arange(tokens) < torch.randint(0, tokens + 1, (rows, 1), generator=generator)
    return logp.requires_grad_(), old, advantage, mask


def one(log_ratio: float, advantage: float, **switches) -> float:
    """The loss of a single token."""
    old = torch.zeros(1, 1, dtype=torch.float64)
    return policy_loss(old + log_ratio, old, torch.tensor([advantage], dtype=torch.float64), torch.ones(1, 1), **switches)[0].item()


# degenerate sizes


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("rows", "tokens"), [(0, 0), (0, 3), (3, 0), (3, 4)])
def test_nothing_to_train_on_is_a_loss_of_zero_with_a_zero_gradient(aggregation, rows, tokens):
    logp, old, advantage, mask = batch(rows=rows, tokens=tokens)
    nothing = torch.zeros_like(mask)
    for ratio in RATIOS:
        loss, diagnostics = policy_loss(logp, old, advantage, nothing, ratio=ratio, aggregation=aggregation)
        assert loss.item() == 0
        assert all(value == 0 for value in diagnostics.values())
        assert (torch.autograd.grad(loss, logp)[0] == 0).all()
    assert value_loss(logp, old, old, nothing, aggregation=aggregation)[0].item() == 0


# closed form


def test_the_clip_acts_on_the_pessimistic_side_only():
    assert one(math.log(1.1), 1) == pytest.approx(-1.1)
    assert one(math.log(1.5), 1) == pytest.approx(-1.2)  # no further gain above 1 + eps
    assert one(math.log(0.5), 1) == pytest.approx(-0.5)  # but no shelter below
    assert one(math.log(0.5), -1) == pytest.approx(0.8)
    assert one(math.log(1.5), -1) == pytest.approx(1.5)
    assert one(math.log(1.5), 1, clip_high=0.28) == pytest.approx(-1.28)
    assert one(math.log(0.5), -1, clip_low=0.4) == pytest.approx(0.6)


def test_dual_clip_bounds_negative_advantages_only():
    assert one(math.log(50), -2) == pytest.approx(2 * 3)
    assert one(math.log(50), -2, dual_clip=10.0) == pytest.approx(2 * 10)
    assert one(math.log(50), -2, dual_clip=None) == pytest.approx(2 * 50)
    assert one(math.log(0.01), 2, dual_clip=1.5) == pytest.approx(-2 * 0.01)


def test_the_exponent_is_held():
    assert one(500, -1, dual_clip=None) == pytest.approx(math.exp(20))
    assert one(500, -1, dual_clip=None, ratio="sequence") == pytest.approx(math.exp(10))
    assert one(-INF, -1) == pytest.approx(0.8)


def test_on_policy_the_gradient_is_that_of_reinforce():
    logp, _, advantage, mask = batch(1)
    for ratio in RATIOS:
        loss, diagnostics = policy_loss(logp, logp.detach(), advantage, mask, ratio=ratio)
        (gradient,) = torch.autograd.grad(loss, logp)
        share = mask / mask.sum()
        weight = 1 if ratio == "token" else 1 / mask.sum(1, keepdim=True).clamp(min=1) * mask.sum(1, keepdim=True)
        torch.testing.assert_close(gradient, -advantage[:, None] * share * weight)
        assert diagnostics == {"clip_fraction": 0, "clip_fraction_lower": 0, "approx_kl": 0}


def test_sequence_ratio_is_the_geometric_mean_shared_by_the_row():
    logp, old, advantage, mask = batch(2)
    with Tape() as tape:
        policy_loss(logp, old, advantage, mask, ratio="sequence")
    mean = torch.stack([(logp - old)[i][mask[i]].mean() if mask[i].any() else torch.tensor(0.0).double() for i in range(len(mask))])
    torch.testing.assert_close(tape["importance ratio"][mask], mean.exp()[:, None].expand_as(mask)[mask].detach())


def test_aggregations_by_hand():
    loss, mask = torch.tensor([[1.0, 2, 3], [10, 99, 99], [99, 99, 99]]), torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    expected = {
        "token-mean": 16 / 4,
        "seq-mean-token-mean": (2 + 10) / 2,
        "seq-mean-token-sum": (6 + 10) / 2,
        "seq-mean-token-sum-norm": 16 / 3,
        "row-mean-token-sum-norm": 16 / 9,
    }
    assert {name: aggregate(loss, mask, aggregation=name).item() for name in AGGREGATIONS} == pytest.approx(expected)
    assert aggregate(loss, mask, aggregation="seq-mean-token-sum-norm", loss_length=8).item() == 2
    assert aggregate(loss, mask, aggregation="row-mean-token-sum-norm", loss_length=8).item() == pytest.approx(2 / 3)


def test_kl_estimators():
    logp, ref = torch.tensor([[-1.0, -3.0]], dtype=torch.float64), torch.tensor([[-2.0, -1.0]], dtype=torch.float64)
    values = {name: kl(logp, ref, estimator=name)[0].tolist() for name in ESTIMATORS}
    assert values["k1"] == [1, -2]
    assert values["abs"] == [1, 2]
    assert values["k2"] == [0.5, 2]
    assert values["k3"] == pytest.approx([math.exp(-1), math.exp(2) - 3])
    far = torch.tensor([[100.0]])
    assert kl(-far, far, estimator="k3").item() == 10


def test_k1_and_k3_have_the_divergence_as_their_mean():
    p, q = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64), torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    divergence = (p * (p / q).log()).sum().item()
    for name in ("k1", "k3"):
        assert (p * kl(p.log()[None], q.log()[None], estimator=name)[0]).sum().item() == pytest.approx(divergence)


def test_value_loss():
    def loss(value: float, **switches) -> float:
        v, old, target = (torch.full((1, 1), x, dtype=torch.float64) for x in (value, 0, 3))
        return value_loss(v, old, target, torch.ones(1, 1), **switches)[0].item()

    assert loss(2) == pytest.approx(0.5 * 2.5**2)  # moved further than 0.5 towards the target: held back
    assert loss(-2) == pytest.approx(0.5 * 25)
    assert loss(2, clip=None, factor=1.0) == pytest.approx(1)


# equal configurations give equal results


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_one_number_per_row_is_that_number_on_every_token(ratio, aggregation):
    logp, old, advantage, mask = batch(3)
    switches = {"ratio": ratio, "aggregation": aggregation, "clip_high": 0.3}
    rows = policy_loss(logp, old, advantage, mask, **switches)
    tokens = policy_loss(logp, old, advantage[:, None].expand_as(logp), mask.double(), **switches)
    assert rows[1] == tokens[1]
    assert rows[0].item() == tokens[0].item()
    assert torch.equal(*(torch.autograd.grad(loss, logp)[0] for loss, _ in (rows, tokens)))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@given(seed=st.integers(0, 2**31), cut=st.integers(1, 4))
def test_micro_batches_weighted_by_loss_weight_are_the_whole_batch(aggregation, seed, cut):
    logp, old, advantage, mask = batch(seed)
    mask[0, 0] = True
    whole = policy_loss(logp, old, advantage, mask, aggregation=aggregation)[0]
    parts = sum(
        policy_loss(logp[part], old[part], advantage[part], mask[part], aggregation=aggregation)[0] * loss_weight(mask[part], aggregation)
        for part in (slice(0, cut), slice(cut, None))
    )
    assert (parts / loss_weight(mask, aggregation)).item() == pytest.approx(whole.item(), abs=1e-9)


@given(seed=st.integers(0, 2**31))
def test_rows_may_stand_in_any_order(seed):
    logp, old, advantage, mask = batch(seed)
    order = torch.randperm(len(advantage), generator=torch.Generator().manual_seed(seed))
    for ratio in RATIOS:
        straight = policy_loss(logp, old, advantage, mask, ratio=ratio)
        shuffled = policy_loss(logp[order], old[order], advantage[order], mask[order], ratio=ratio)
        assert shuffled[0].item() == pytest.approx(straight[0].item(), abs=1e-12)
        assert shuffled[1] == pytest.approx(straight[1], abs=1e-12)


# what is masked


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("poison", [NAN, INF, -INF])
def test_what_is_masked_has_no_effect_and_no_gradient(ratio, aggregation, poison):
    logp, old, advantage, mask = batch(4)
    advantage = advantage[:, None].expand_as(logp)
    expected, diagnostics = policy_loss(logp, old, advantage, mask, ratio=ratio, aggregation=aggregation)
    (gradient,) = torch.autograd.grad(expected, logp)
    assert gradient[mask].abs().sum() > 0

    dirty = [torch.where(mask, x.detach(), poison) for x in (logp, old, advantage)]
    dirty[0].requires_grad_()
    with Tape() as tape:
        loss, others = policy_loss(*dirty, mask, ratio=ratio, aggregation=aggregation)
    assert (loss.item(), others) == (expected.item(), diagnostics)
    assert (tape["token loss"][~mask] == 0).all()
    assert torch.equal(torch.autograd.grad(loss, dirty[0])[0], gradient)
    assert (gradient[~mask] == 0).all()


def test_an_advantage_of_a_row_without_tokens_may_be_anything():
    logp, old, advantage, mask = batch(5)
    mask[2] = False
    expected = policy_loss(logp, old, advantage, mask)[0]
    advantage[2] = NAN
    loss = policy_loss(logp, old, advantage, mask)[0]
    assert loss.item() == expected.item()
    assert torch.isfinite(torch.autograd.grad(loss, logp)[0]).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("poison", [NAN, INF])
def test_masked_kl_and_values_have_no_effect_and_no_gradient(estimator, poison):
    logp, ref, _, mask = batch(6)
    logp, ref = torch.where(mask, logp.detach(), poison).requires_grad_(), torch.where(mask, ref, -poison)
    penalty = kl(logp, ref, mask, estimator=estimator)
    assert (penalty[~mask] == 0).all()
    (gradient,) = torch.autograd.grad(aggregate(penalty, mask), logp)
    assert torch.isfinite(gradient).all()
    assert (gradient[~mask] == 0).all()
    loss, _ = value_loss(logp, ref, ref, mask)
    assert (torch.autograd.grad(loss, logp)[0][~mask] == 0).all()


def test_only_the_policy_gets_a_gradient():
    logp, old, advantage, mask = batch(7)
    old.requires_grad_(), advantage.requires_grad_()
    policy_loss(logp, old, advantage, mask)[0].backward()
    kl(logp, old).sum().backward()
    value_loss(logp, old, old, mask)[0].backward()
    assert old.grad is None
    assert advantage.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_is_kept(dtype):
    logp, old, advantage, mask = (x.to(dtype) if x.is_floating_point() else x for x in batch(8))
    assert policy_loss(logp, old, advantage, mask)[0].dtype == dtype
    assert policy_loss(logp, old, advantage, mask, aggregation="seq-mean-token-mean", ratio="sequence")[0].dtype == dtype
    assert value_loss(logp, old, old, mask)[0].dtype == dtype
    assert {kl(logp, old, mask, estimator=name).dtype for name in ESTIMATORS} == {dtype}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_no_tensor_is_made_on_a_default_device(ratio, aggregation):
    logp, old, advantage, mask = batch(9)

    def everything() -> list[float]:
        penalties = [aggregate(kl(logp, old, mask, estimator=name), mask, aggregation=aggregation).item() for name in ESTIMATORS]
        value, _ = value_loss(logp, old, old, mask, aggregation=aggregation)
        policy, _ = policy_loss(logp, old, advantage, mask, ratio=ratio, aggregation=aggregation)
        return [*penalties, value.item(), policy.item(), loss_weight(mask, aggregation).item()]

    expected = everything()
    with NoDefaultDevice(), Tape():
        assert everything() == expected
    with torch.device("meta"):
        assert everything() == expected


# wrong usage


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_loss_that_is_not_finite_names_the_token_to_blame(ratio):
    logp, old, advantage, mask = batch(10)
    mask[3, :5] = True
    broken = logp.detach().clone()
    broken[3, 4] = NAN
    with pytest.raises(ValueError, match="the loss is nan: logp is nan in row 3, token 4"):
        policy_loss(broken, old, advantage, mask, ratio=ratio)
    advantage[3] = INF
    with pytest.raises(ValueError, match=r"advantage is inf in row 3, token 0"):
        policy_loss(logp, old, advantage, mask, ratio=ratio)
    with pytest.raises(ValueError, match=r"returns is nan in row 3, token 4"):
        value_loss(logp, old, broken, mask)
    huge = torch.full((1, 1), 1e30)
    with pytest.raises(ValueError, match=r"too large for torch.float32"):
        value_loss(huge, huge, -huge, torch.ones(1, 1))


def test_shapes_that_do_not_fit_are_refused():
    logp, old, advantage, mask = batch(11)
    with pytest.raises(ValueError, match=r"logp: \(5, 7\), old_logp: \(5, 6\)"):
        policy_loss(logp, old[:, :6], advantage, mask)
    with pytest.raises(ValueError, match=r"advantage must have shape \(5,\) or \(5, 7\), got \(5, 1\)"):
        policy_loss(logp, old, advantage[:, None], mask)
    with pytest.raises(ValueError, match=r"mask must have shape \(5, 7\), got \(4, 7\)"):
        policy_loss(logp, old, advantage, mask[1:])
    with pytest.raises(ValueError, match=r"logp must be a floating-point tensor of shape \[N, T\], got torch.float64 of shape \(7,\)"):
        policy_loss(logp[0], old[0], advantage, mask[0])
    with pytest.raises(ValueError, match="mask must hold only 0 and 1"):
        aggregate(old, mask * 0.5 + 0.25)


@pytest.mark.parametrize(
    ("switch", "value", "message"),
    [
        ("ratio", "word", "ratio must be one of 'token', 'sequence', got 'word'"),
        ("aggregation", "mean", "aggregation must be one of 'token-mean', 'seq-mean-token-mean'"),
        ("clip_low", -0.1, r"clip_low must be a number in \[0, 1\], got -0.1"),
        ("clip_low", 1.5, "clip_low"),
        ("clip_high", NAN, "clip_high"),
        ("dual_clip", 0.5, r"dual_clip must be a number in \[1, inf\], got 0.5"),
        ("loss_length", 0, "loss_length"),
    ],
)
def test_bad_switches_are_refused(switch, value, message):
    with pytest.raises(ValueError, match=message):
        policy_loss(*batch(12), **{switch: value})


def test_unknown_kl_estimators_and_aggregations_are_refused():
    logp, old, _, mask = batch(13)
    with pytest.raises(ValueError, match="estimator must be one of 'k1', 'k2', 'k3', 'abs', got 'k4'"):
        kl(logp, old, estimator="k4")
    with pytest.raises(ValueError, match="aggregation must be one of"):
        loss_weight(mask, "mean")
    with pytest.raises(ValueError, match="clip must be a number"):
        value_loss(logp, old, old, mask, clip=-1.0)
