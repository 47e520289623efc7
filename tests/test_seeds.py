"""Seeds by name."""

import pytest
import torch

from hierlab.seeds import derive_seed, generator


def test_every_part_and_the_order_matter():
    seeds = [
        derive_seed(),
        derive_seed(0),
        derive_seed("0"),
        derive_seed(0, 1),
        derive_seed(1, 0),
        derive_seed("ab"),
        derive_seed("a", "b"),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_known_value_never_changes():
    assert derive_seed(0, "rollouts", 3) == derive_seed(0, "rollouts", 3) == 1340111525852665690


def test_generators_of_one_name_agree():
    assert torch.equal(torch.rand(5, generator=generator(1, "x")), torch.rand(5, generator=generator(1, "x")))
    assert not torch.equal(torch.rand(5, generator=generator(1, "x")), torch.rand(5, generator=generator(2, "x")))


@pytest.mark.parametrize("part", [1.5, None, True, (1,)])
def test_other_types_are_refused(part):
    with pytest.raises(TypeError, match="integers and strings"):
        derive_seed(0, part)
