"""Logs of slates: padding, the no-click token, uniform candidates, counts."""

import pytest
import torch

from hierlab.recommendation.slates import SlateLog, item_clicks, item_views, padded_log, uniform_candidates
from hierlab.seeds import generator


def ids(*rows):
    return torch.tensor(rows)


def test_one_user_one_step_without_items():
    log = padded_log([[([], None)]])
    assert log.slate.tolist() == [[[1]]]
    assert log.click.tolist() == [[1]]
    assert log.click_position.tolist() == [[0]]
    assert log.lengths.tolist() == [[1]]
    assert log.observed.all()
    assert len(log) == 1


def test_histories_are_padded_to_one_shape():
    log = padded_log([[([5, 3], 3), ([4], None)], [([6, 7, 8], 6)]])
    assert log.slate.tolist() == [[[1, 5, 3, 0], [1, 4, 0, 0]], [[1, 6, 7, 8], [0, 0, 0, 0]]]
    assert log.click.tolist() == [[3, 1], [6, 0]]
    assert log.click_position.tolist() == [[2, 0], [1, 0]]
    assert log.lengths.tolist() == [[3, 2], [4, 0]]
    assert log.observed.tolist() == [[True, True], [True, False]]


def test_counts_are_of_training_steps_only():
    log = padded_log([[([5, 3], 3), ([5], None)], [([5, 4], 5)]])
    assert item_views(log, 6)[3:].tolist() == [1, 1, 3]
    assert item_clicks(log, 6).tolist() == [0, 0, 0, 1, 0, 1]
    later = log.masked(torch.tensor([[True, False], [False, True]]))
    assert item_views(later, 6)[3:].tolist() == [1, 0, 1]
    assert item_clicks(later, 6).tolist() == [0, 0, 0, 1, 0, 0]


def test_users_and_steps_can_be_chosen_and_joined():
    log = padded_log([[([5, 3], 3), ([4], None)], [([6], 6), ([7, 8], 8)]])
    assert log.users(torch.tensor([1])).click.tolist() == [[6, 8]]
    both = log.then(log)
    assert both.click.tolist() == [[3, 1, 3, 1], [6, 8, 6, 8]]
    with pytest.raises(ValueError, match="logs must have the same users and entries, got 2x2x3 and 1x2x3"):
        log.then(log.users(slice(0, 1)))


def test_uniform_candidates_put_the_click_first():
    log = padded_log([[([5, 3], 3), ([4, 6], None)], [([6], 6)]])
    drawn = uniform_candidates(log, 10, generator("uniform"))
    assert drawn.slate[..., 0].tolist() == [[1, 1], [1, 0]]
    assert drawn.slate[0, 0, 1] == 3
    assert drawn.slate[1, 0, 1] == 6
    assert drawn.click_position.tolist() == [[1, 0], [1, 0]]
    assert drawn.click.equal(log.click)
    assert (drawn.slate[1, 1] == 0).all()
    assert (drawn.slate[0, :, 1:] >= 3).all()


def test_uniform_candidates_are_uniform():
    log = padded_log([[([3, 4, 5], None)] * 400])
    shown = uniform_candidates(log, 8, generator("uniform", 1)).slate[..., 1:].flatten()
    share = torch.bincount(shown, minlength=8)[3:] / len(shown)
    assert share.sub(0.2).abs().max() < 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slate": torch.zeros(1, 1, 2)}, r"slate must be a tensor of int64 with 3 dimensions, got torch.float32 of shape \(1, 1, 2\)"),
        ({"click": ids([5, 5])}, "must agree on users and steps"),
        ({"slate": torch.tensor([[[1, -5]]])}, "ids must not be negative, got -5"),
        ({"slate": torch.tensor([[[5, 1]]])}, r"the id 1 \(no click\) belongs in entry 0 of a slate; user 0, step 0"),
        ({"click_position": ids([2])}, "click_position must be in 0 to 1, got 2 to 2"),
        ({"click": ids([4])}, "user 0, step 0: click 4 is not what stands in entry 1 of the slate, 5"),
        ({"train": torch.ones(1, 1)}, r"train must be bool of shape \(1, 1\), got torch.float32"),
    ],
)
def test_a_log_that_does_not_hold_together_is_refused(change, message):
    good = {"slate": torch.tensor([[[1, 5]]]), "click": ids([5]), "click_position": ids([1])}
    SlateLog(**good)
    with pytest.raises(ValueError, match=message):
        SlateLog(**good | change)


def test_wrong_histories_are_refused():
    with pytest.raises(ValueError, match="at least one user with at least one step"):
        padded_log([[]])
    with pytest.raises(ValueError, match="user 0, step 0: items have ids from 3 on, got 2"):
        padded_log([[([2, 5], None)]])
    with pytest.raises(ValueError, match="user 0, step 1: item 7 was clicked but not shown"):
        padded_log([[([3], None), ([3], 7)]])
    with pytest.raises(ValueError, match=r"num_items must exceed 3 and every id of the log \(largest 5\), got 5"):
        uniform_candidates(padded_log([[([5], 5)]]), 5)
