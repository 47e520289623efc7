"""Users who move with clicks, and where they start."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hierlab.recommendation.amortised_state import amortised_state
from hierlab.recommendation.user_state import GRU_WEIGHTS, gru_path, gru_shapes, gru_step, linear_path, markov_path, user_path
from hierlab.seeds import generator
from hierlab.trace import Tape


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def weights(seed=0, dim=2, hidden=3):
    g = generator("gru", seed)
    return {name: torch.randn(*shape, generator=g, dtype=torch.float64) for name, shape in gru_shapes(dim, hidden).items()}


def vectors(items=9, dim=2, seed=0):
    return torch.randn(items, dim, generator=generator("vectors", seed), dtype=torch.float64)


def test_without_steps_there_is_only_the_start():
    none = torch.zeros(2, 0, dtype=torch.long)
    assert linear_path(none, vectors(), f64([1, 2], [3, 4]), 0.5).tolist() == [[[1, 2]], [[3, 4]]]
    assert gru_path(none, vectors(), torch.zeros(2, 3, dtype=torch.float64), weights()).shape == (2, 1, 2)
    assert markov_path(none, vectors()).tolist() == [[[0, 0]], [[0, 0]]]


def test_a_linear_user_by_hand():
    table = torch.zeros(5, 1, dtype=torch.float64)
    table[3], table[4] = 4.0, 8.0
    path = linear_path(torch.tensor([3, 1, 4]), table, f64(0), 0.75)
    assert path.flatten().tolist() == [0, 1, 1, 2.75]


def test_a_markov_user_stands_at_the_last_click():
    table = vectors()
    path = markov_path(torch.tensor([4, 1, 5, 0]), table)
    torch.testing.assert_close(path, torch.stack([torch.zeros_like(table[0]), table[4], table[4], table[5], table[5]]))


def test_the_gru_is_pytorchs_without_biases():
    w, cell = weights(), nn.GRUCell(2, 3, bias=False, dtype=torch.float64)
    with torch.no_grad():  # PyTorch stacks reset, update and new gate in one matrix
        cell.weight_ih.copy_(torch.cat([w["W_ir"], w["W_id"], w["W_in"]]))
        cell.weight_hh.copy_(torch.cat([w["W_hr"], w["W_hd"], w["W_hn"]]))
    item, hidden = vectors(4), torch.randn(4, 3, generator=generator("h"), dtype=torch.float64)
    torch.testing.assert_close(gru_step(item, hidden, w), cell(item, hidden).detach())


@given(seed=st.integers(0, 30))
def test_a_path_is_a_loop_of_steps(seed):
    w, table = weights(seed), vectors(seed=seed)
    click = torch.randint(0, 9, (3, 5), generator=generator("click", seed))
    start = torch.randn(3, 3, generator=generator("start", seed), dtype=torch.float64)
    path = gru_path(click, table, start, w)
    for user in range(3):
        hidden = start[user]
        for t in range(6):
            torch.testing.assert_close(path[user, t], w["W_z"] @ hidden)
            if t < 5 and click[user, t] >= 3:
                hidden = gru_step(table[click[user, t]], hidden, w)


@pytest.mark.parametrize("model", ["gru", "linear", "lin-gru", "markov"])
@pytest.mark.parametrize("nothing", [0, 1, 2])
def test_nobody_moves_without_a_click(model, nothing):
    latents, start = weights(dim=2, hidden=2) | {"gamma": f64(0.3).squeeze()}, f64([0.5, -0.5])
    table = vectors()
    path = user_path(model, torch.tensor([[4, nothing, nothing, 5]]), table, start, latents)[0]
    assert path[1].equal(path[2])
    assert path[2].equal(path[3])
    assert not path[3].equal(path[4])
    changed = table.clone()
    changed[nothing] += 7  # what stands in a special row does not matter
    assert user_path(model, torch.tensor([[4, nothing, nothing, 5]]), changed, start, latents)[0].equal(path)


def test_lin_gru_is_the_mean_of_both():
    latents, start, click = weights(dim=2, hidden=2) | {"gamma": f64(0.3).squeeze()}, f64([0.5, -0.5]), torch.tensor([[4, 5]])
    parts = [user_path(model, click, vectors(), start, latents) for model in ("gru", "linear")]
    torch.testing.assert_close(user_path("lin-gru", click, vectors(), start, latents), (parts[0] + parts[1]) / 2)


def test_the_gates_are_shown():
    with Tape() as tape:
        gru_path(torch.tensor([4, 1, 5]), vectors(), torch.zeros(3, dtype=torch.float64), weights())
    assert tape["reset gate"].shape == (3, 3)
    assert tape["hidden state"].shape == (4, 3)
    assert (tape["update gate"] > 0).all()
    assert (tape["update gate"] < 1).all()


def test_wrong_matrices_and_starts_are_refused():
    w = weights()
    with pytest.raises(ValueError, match="W_hd is missing"):
        gru_step(f64([1, 2]), f64([0, 0, 0]), {k: v for k, v in w.items() if k != "W_hd"})
    with pytest.raises(ValueError, match=r"W_ir must be \[out, in\] of shape \(3, 2\), got \(2, 3\)"):
        gru_step(f64([1, 2]), f64([0, 0, 0]), w | {"W_ir": w["W_ir"].T})
    with pytest.raises(ValueError, match="for the same users"):
        gru_path(torch.tensor([[4]]), vectors(), torch.zeros(2, 3, dtype=torch.float64), w)
    with pytest.raises(ValueError, match="a linear user starts among the items"):
        linear_path(torch.tensor([[4]]), vectors(), torch.zeros(1, 3, dtype=torch.float64), 0.5)
    with pytest.raises(ValueError, match="user model must be one of"):
        user_path("lstm", torch.tensor([[4]]), vectors(), f64([0, 0]), {})
    assert tuple(gru_shapes(2, 3)) == GRU_WEIGHTS


# the amortised start


@pytest.mark.parametrize("variant", ["official", "repaired"])
def test_a_user_without_clicks_starts_at_zero(variant):
    mean, scale = amortised_state(torch.tensor([[1, 0, 2]]), vectors(), variant=variant, factor=0.2)
    assert mean.tolist() == [[0, 0]]
    assert scale[0].tolist() == pytest.approx([0.2e-3, 0.2e-3])


def test_the_first_click_has_nearly_all_the_weight():
    table = vectors()
    mean, _ = amortised_state(torch.tensor([4, 5, 6]), table)
    w = f64(1 / (1 + 1e-5), 1 / (16 + 1e-5), 1 / (81 + 1e-5))
    torch.testing.assert_close(mean, (w / (w.sum() + 1e-5)) @ table[4:7])
    even, _ = amortised_state(torch.tensor([4, 5, 6]), table, decay=0)
    torch.testing.assert_close(even, table[4:7].mean(0), rtol=1e-4, atol=1e-4)


def test_item_3_never_counts_in_the_released_code():
    table = vectors()
    assert amortised_state(torch.tensor([3]), table)[0].tolist() == [0, 0]
    torch.testing.assert_close(amortised_state(torch.tensor([3]), table, variant="repaired")[0], table[3], rtol=1e-4, atol=1e-4)


def test_padding_changes_the_deviation_of_the_released_code_only():
    click, padded = torch.tensor([4, 5]), torch.tensor([4, 5, 0, 0])
    for variant, same in (("official", False), ("repaired", True)):
        (mean, scale), (mean_padded, scale_padded) = (amortised_state(c, vectors(), variant=variant) for c in (click, padded))
        torch.testing.assert_close(mean, mean_padded)
        assert torch.allclose(scale, scale_padded) == same


def test_what_is_held_out_reaches_only_the_released_deviation():
    table, mask = vectors(), torch.tensor([True, False])
    for variant, leaks in (("official", True), ("repaired", False)):
        a, b = (amortised_state(torch.tensor([4, later]), table, mask, variant=variant) for later in (5, 6))
        torch.testing.assert_close(a[0], b[0])
        assert (not torch.allclose(a[1], b[1])) == leaks


def test_wrong_input_to_the_start_is_refused():
    with pytest.raises(ValueError, match="clicks must be ids from 0 to 8, got 4 to 9"):
        amortised_state(torch.tensor([4, 9]), vectors())
    with pytest.raises(ValueError, match=r"mask must have shape \(2,\), got \(1,\)"):
        amortised_state(torch.tensor([4, 5]), vectors(), torch.tensor([True]))
    with pytest.raises(ValueError, match="variant must be one of 'official', 'repaired', got 'paper'"):
        amortised_state(torch.tensor([4]), vectors(), variant="paper")
    with pytest.raises(ValueError, match="decay must be a number"):
        amortised_state(torch.tensor([4]), vectors(), decay=-1)
