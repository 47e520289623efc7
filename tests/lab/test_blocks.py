import numpy as np
import pytest
import torch

from hierlab.lab.blocks import MOST, Blocks, interval


def test_two_batches_are_two_blocks():
    blocks = Blocks(2, 100, 0)
    assert blocks.count == 2
    assert blocks.sizes.tolist() == [1, 1]
    assert blocks.weights.shape == (101, 2)
    assert blocks.weights[0].tolist() == [1, 1]
    assert (blocks.weights.sum(axis=1) == 2).all()


def test_many_batches_are_gathered_in_equal_blocks():
    blocks = Blocks(1050, 100, 0)
    assert blocks.count == MOST
    assert set(blocks.sizes.tolist()) == {10, 11}
    assert blocks.sizes.sum() == 1050


def test_sums_and_means():
    blocks = Blocks(3, 100, 0)
    x = torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64)
    assert torch.equal(blocks.sums(x), x)
    assert torch.equal(blocks.sums(x[[0, 0, 2]], torch.tensor([1, 1, 0])), torch.tensor([[6.0], [2.0], [0.0]], dtype=torch.float64))
    assert blocks.means(x)[0, 0] == 3
    by_hand = [(w @ np.array([1, 2, 6])) / 3 for w in blocks.weights]
    assert blocks.means(x)[:, 0].tolist() == pytest.approx(by_hand)


def test_the_product_of_means_by_hand():
    blocks = Blocks(3, 100, 0)
    x = torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64)
    y = torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)
    assert blocks.product_of_means(x)[0] == pytest.approx((1 * 2 + 1 * 6 + 2 * 6) / 3)
    assert blocks.product_of_means(x, y)[0] == pytest.approx((1 * 0 + 1 * 1 + 2 * 1 + 2 * 1 + 6 * 1 + 6 * 0) / 6)


def test_the_product_of_means_is_right_on_average_where_the_square_is_not():
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([0.3, -0.1, 0.0])
    products, squares = [], []
    for _ in range(400):
        x = truth + torch.randn(20, 3, generator=generator)
        blocks = Blocks(20, 100, 0)
        products.append(blocks.product_of_means(blocks.sums(x.double()))[0])
        squares.append(float(x.mean(dim=0).square().sum()))
    exact = float(truth.square().sum())
    assert np.mean(products) == pytest.approx(exact, abs=4 * np.std(products) / 20)
    assert np.mean(squares) > exact + 4 * np.std(squares) / 20


def test_intervals_cover_the_truth():
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for trial in range(200):
        blocks = Blocks(80, 300, trial)
        found = interval(blocks.means(blocks.sums(torch.randn(80, 1, generator=generator).double()))[:, 0])
        covered += found.low <= 0 <= found.high
    assert 175 <= covered <= 200  # 190 expected, standard deviation 3


def test_an_undefined_number_has_no_interval():
    assert interval(np.array([np.nan, 1.0, 2.0])) is None
    assert interval(np.array([np.inf, 1.0, 2.0])) is None
    assert interval(np.array([1.0, 1.0, np.nan])) == (1, 1, 1)


def test_an_interval_reads_as_text():
    assert str(interval(np.array([0.12345, 0.1, 0.1]))) == "0.123 (0.1 to 0.1)"


def test_the_bootstrap_is_seeded():
    assert np.array_equal(Blocks(50, 100, 3).weights, Blocks(50, 100, 3).weights)
    assert not np.array_equal(Blocks(50, 100, 3).weights, Blocks(50, 100, 4).weights)


@pytest.mark.parametrize(("batches", "resamples"), [(1, 100), (10, 99)])
def test_refuses_too_few(batches, resamples):
    with pytest.raises(ValueError, match="at least 2 batches and 100 resamples"):
        Blocks(batches, resamples, 0)
