from __future__ import annotations

import pytest

from hierlab.credit import grpo, hicra
from hierlab.envs.strategies import Strategies
from hierlab.lab.optimism import PARTS, optimism
from hierlab.lab.token_testbed import ResponseTestbed

WORLD = Strategies(classes=2, alike=1, strategies=4, valid=2, steps=1)


def bed(sense: float) -> ResponseTestbed:
    return ResponseTestbed("two classes", WORLD.world(), WORLD.logits(0.9, sense), planning=WORLD.planning)


def test_hicra_is_optimistic_by_alpha_times_the_mean_size():
    found = optimism({"GRPO": grpo, "HICRA": hicra, "none": lambda rewards: 0 * rewards}, [bed(0.2), bed(0.6)], groups=4)
    assert found.success == pytest.approx((bed(0.2).truth.success, bed(0.6).truth.success))
    for plain, raised, none in zip(*found.measured.values(), strict=True):
        assert plain == pytest.approx((0, 0, 0), abs=1e-6)  # but for what is added to the deviation
        assert 0 < raised[1] < raised[0] < raised[2] < 0.2
        assert none == (0, 0, 0)
    assert len(found.plot().data) == 3
    assert PARTS >= 2


def test_nothing_to_measure():
    with pytest.raises(ValueError, match="at least one estimator and one testbed"):
        optimism({}, [bed(0.5)], groups=1)
