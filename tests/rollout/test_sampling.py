import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.rollout.sampling import Samples, SamplingParams, choose, pad_left, pad_right

LOGITS = torch.tensor([0.5, 0.2, 0.2, 0.1, 0.0]).log()  # the last token is impossible


def params(**options):
    return SamplingParams(1, **options)


def histogram(number=20_000, **options):
    """Shares of the tokens when the uniform numbers are spread evenly."""
    uniform = (torch.arange(number) + 0.5) / number
    ids, _ = choose(LOGITS.expand(number, -1), uniform, params(**options))
    return torch.bincount(ids, minlength=5) / number


def test_one_token_vocabulary():
    ids, logp = choose(torch.zeros(2, 1), torch.tensor([0.0, 0.99]), params())
    assert ids.tolist() == [0, 0]
    assert logp.tolist() == [0.0, 0.0]


def test_shares_are_the_probabilities():
    torch.testing.assert_close(histogram(), LOGITS.exp(), atol=1e-4, rtol=0)


def test_temperature_shapes_the_shares():
    torch.testing.assert_close(histogram(temperature=0.5), torch.softmax(LOGITS / 0.5, 0), atol=1e-4, rtol=0)


def test_temperature_zero_takes_the_likeliest():
    assert histogram(temperature=0).tolist() == [1, 0, 0, 0, 0]
    _, logp = choose(LOGITS[None], torch.zeros(1), params(temperature=0))
    assert logp.item() == pytest.approx(math.log(0.5))


@pytest.mark.parametrize(
    ("top_p", "expected"), [(0.4, [1, 0, 0, 0, 0]), (0.6, [5 / 7, 2 / 7, 0, 0, 0]), (0.85, [5 / 9, 2 / 9, 2 / 9, 0, 0])]
)
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p, expected):
    torch.testing.assert_close(histogram(top_p=top_p), torch.tensor(expected, dtype=torch.float32), atol=1e-4, rtol=0)


def test_top_p_leaves_the_log_probabilities_alone():
    uniform = torch.linspace(0, 0.999, 50)
    ids, logp = choose(LOGITS.expand(50, -1), uniform, params(top_p=0.6))
    torch.testing.assert_close(logp, LOGITS[ids])


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=40),
    st.floats(0, 1, exclude_max=True, width=32),
    st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    st.sampled_from([0.01, 0.5, 0.999, 1.0]),
)
def test_never_an_impossible_token(logits, uniform, temperature, top_p):
    row = torch.tensor([[*logits, -math.inf]])
    ids, logp = choose(row, torch.tensor([uniform]), params(temperature=temperature, top_p=top_p))
    assert 0 <= ids.item() < len(logits)
    assert logp.isfinite().all()


def test_largest_uniform_number_stays_inside():
    largest = torch.tensor([1 - 2**-24])
    for size in (2, 7, 1000, 50_000):
        logits = torch.randn(1, size, generator=torch.Generator().manual_seed(size))
        logits[0, -1] = -math.inf
        for top_p in (0.9, 1.0):
            assert choose(logits, largest, params(top_p=top_p))[0].item() < size - 1


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
    ],
)
def test_wrong_parameters_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        SamplingParams(**{"max_new_tokens": 4} | wrong)


def test_padding():
    ids, mask = pad_left([[5], [1, 2, 3]], 9)
    assert ids.tolist() == [[9, 9, 5], [1, 2, 3]]
    assert mask.tolist() == [[False, False, True], [True, True, True]]
    values, mask = pad_right([[0.5], [1.0, 2.0]], 0.0)
    assert values.tolist() == [[0.5, 0.0], [1.0, 2.0]]
    assert mask.tolist() == [[True, False], [True, True]]
    assert values.dtype == torch.float32
    assert pad_right([[1]], 0)[0].dtype == torch.int64


def test_responses_are_without_padding():
    ids, mask = pad_right([[5], [1, 2, 3]], 0)
    samples = Samples(ids, mask, torch.zeros(2, 3), ids, mask)
    assert samples.responses() == [[5], [1, 2, 3]]
    assert len(samples) == 2
