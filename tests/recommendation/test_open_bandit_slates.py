"""The Open Bandit logs, read from the installed package."""

import pytest
import torch

from hierlab.recommendation import open_bandit
from hierlab.recommendation.open_bandit import Impressions, read_open_bandit


def test_the_random_policy_is_random():
    seen = read_open_bandit("random", "all")
    assert len(seen.item) == 10_000
    assert seen.item.unique().tolist() == list(range(80))
    assert seen.propensity.unique().tolist() == [1 / 80]
    assert int(seen.click.sum()) == 38
    log = seen.log()
    assert log.slate.shape == (10_000, 1, 2)
    assert (log.click[:, 0] >= 3).sum() == 38
    assert seen.value()[0] == pytest.approx(38 / 10_000)


def test_a_value_by_hand():
    seen = Impressions(torch.tensor([0, 1]), torch.tensor([1, 1]), torch.tensor([True, False]), torch.tensor([0.5, 0.25]))
    assert seen.value(torch.tensor([1.0, 0.0]))[0] == 1
    rate, error = seen.value(torch.tensor([0.5, 0.5]))
    assert rate == pytest.approx(1 / 3)
    assert error == pytest.approx((1 / 9 * 4 / 9 + 4 / 9 * 1 / 9) ** 0.5)
    with pytest.raises(ValueError, match="for each of 2 rows"):
        seen.value(torch.tensor([0.0, 0.0]))


def test_what_is_missing_or_changed_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(open_bandit, "PACKAGE", "no-such-package-here")
    with pytest.raises(FileNotFoundError, match=r"which is not installed; run: pip install --no-deps no-such-package-here==0.4.1"):
        read_open_bandit()
    (tmp_path / "random" / "all").mkdir(parents=True)
    (tmp_path / "random" / "all" / "all.csv").write_text("item_id\n1\n")
    monkeypatch.setattr(open_bandit, "_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match="is not the file of"):
        read_open_bandit()
    with pytest.raises(ValueError, match="page must be one of 'all', 'men', 'women', got 'kids'"):
        read_open_bandit("random", "kids")
