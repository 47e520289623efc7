"""`benchmarks/credit_share.py`: no estimator is left out, and what it measures is there."""

import sys
from pathlib import Path

import pytest

from hierlab.credit import ESTIMATORS

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import credit_share


def test_every_registered_estimator_has_work():
    assert set(credit_share.WORKS) == set(ESTIMATORS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo", "gae"])
def test_the_share_is_that_of_a_whole_step(name):
    row = credit_share.measure(name, steps=1)
    assert row["rows"] == 16 * credit_share.GROUP
    assert row["tokens"] > row["rows"]
    assert 0 < row["estimate"] < row["step"]
    assert row["share"] == pytest.approx(row["estimate"] / row["step"])
