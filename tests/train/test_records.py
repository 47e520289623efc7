"""A trainer's records in a few numbers and curves."""

import pytest

from hierlab.train.records import cumulative, estimator_share, resampled

RECORDS = [
    {"iteration": 0, "held_out": 0.5},
    {"iteration": 1, "rows": 4, "x": 1.0, "seconds_collect": 1.0, "seconds_estimate": 1.0, "seconds_update": 2.0},
    {"iteration": 2, "rows": 6, "x": 3.0, "seconds_collect": 0.0, "seconds_estimate": 1.0, "seconds_update": 3.0},
]


def test_nothing_recorded():
    assert cumulative([], "rows") == []
    assert estimator_share([]) == estimator_share(RECORDS[:1]) == 0


def test_sums_and_shares():
    assert cumulative(RECORDS, "rows") == [0, 4, 10]
    assert estimator_share(RECORDS) == pytest.approx(2 / 8)


def test_curves_are_read_off_where_they_are_wanted():
    assert resampled(RECORDS, "x", [0, 1, 2], [0, 1, 1.5, 2, 9]) == [1, 1, 2, 3, 3]
    assert resampled(RECORDS, "held_out", [0, 1, 2], [0, 2]) == [0.5, 0.5]
    with pytest.raises(ValueError, match="no record has 'y'"):
        resampled(RECORDS, "y", [0, 1, 2], [0])
