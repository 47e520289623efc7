from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hierlab.adaptation.sparse_merging import dare, elect, ties, ties_vectors, trim
from hierlab.adaptation.task_vectors import cosines, flatten, merge, relative_norms, task_vectors, unflatten


def f64(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def state(seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    weights = {"w": torch.randn(3, 2, generator=draw), "b": torch.randn(2, generator=draw)}
    return weights | {"steps": torch.tensor(seed)}


vectors_of = st.integers(0, 2**31).map(lambda seed: torch.randn(3, 11, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


# degenerate sizes


def test_merging_nothing_gives_the_base():
    base, vectors = f64(1, 2, 3)[:], torch.ones(2, 3, dtype=torch.float64)
    assert torch.equal(merge(base, vectors, [0.0, 0.0]), base)
    assert merge(base, vectors, torch.zeros(0, 2)).shape == (0, 3)


def test_a_vector_of_zeros_has_no_direction():
    assert cosines(f64([0, 0], [3, 4])).tolist() == [[0, 0], [0, 1]]


def test_trim_keeps_at_least_one_entry():
    assert trim(f64([1, -3, 2]), keep=1e-9).tolist() == [[0, -3, 0]]
    assert torch.equal(trim(f64([1, -3, 2]), keep=1.0), f64([1, -3, 2]))


# closed form


def test_one_hot_scales_give_the_fine_tuned_models_back():
    base, tuned = state(0), [state(1), state(2)]
    vectors = task_vectors(base, tuned)
    for number, model in enumerate(tuned):
        merged = merge(flatten(base), vectors, torch.eye(2)[number])
        assert torch.allclose(merged, flatten(model), atol=1e-6)


def test_state_dictionary_there_and_back():
    model = state(3)
    back = unflatten(flatten(model), model)
    assert all(torch.equal(back[name], model[name]) for name in model)
    several = unflatten(flatten(model).expand(4, -1), model)
    assert several["w"].shape == (4, 3, 2)
    assert several["steps"] is model["steps"]


def test_norms_and_cosines_by_hand():
    assert relative_norms(f64(3, 4), f64([3, 4], [0, 1])).tolist() == [1.0, 0.2]
    assert cosines(f64([1, 0], [1, 1])) == pytest.approx(f64([1, 0.5**0.5], [0.5**0.5, 1]))


def test_ties_by_hand():
    vectors = f64([5, -1, 0.1, 2], [-4, -3, 0.2, 1], [1, 4, 0.3, -2])
    trimmed = trim(vectors, keep=0.5)
    assert trimmed.tolist() == [[5, 0, 0, 2], [-4, -3, 0, 0], [0, 4, 0, -2]]
    assert elect(trimmed).tolist() == [1, 1, 1, 1]  # the last two have no sum, and take the sign of the majority
    assert ties_vectors(vectors, keep=0.5).tolist() == [[5, 0, 0, 2], [0, 0, 0, 0], [0, 4, 0, 0]]
    assert ties(vectors, keep=0.5).tolist() == [5, 4, 0, 2]


def test_ties_of_agreeing_vectors_is_their_mean():
    assert ties(f64([1, 2], [3, 4]), keep=1.0).tolist() == [2, 3]


@given(vectors_of)
def test_dare_drops_or_enlarges(vectors):
    thinned = dare(vectors, 0.75, generator=torch.Generator().manual_seed(0))
    assert ((thinned == 0) | torch.isclose(thinned, 4 * vectors)).all()
    assert torch.equal(dare(vectors, 0.0, generator=torch.Generator()), vectors)


def test_dare_keeps_the_expectation():
    vectors = torch.ones(1, 200_000)
    assert dare(vectors, 0.9, generator=torch.Generator().manual_seed(1)).mean() == pytest.approx(1, abs=0.03)


# one against several


@given(vectors_of)
def test_merging_several_is_merging_each(vectors):
    base, scales = torch.arange(11.0, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    together = merge(base, vectors, scales)
    for row, c in zip(together, scales, strict=True):
        assert torch.allclose(row, base + sum(c[n] * vectors[n] for n in range(3)))


@given(vectors_of)
def test_ties_does_not_depend_on_the_order_of_tasks(vectors):
    assert torch.allclose(ties(vectors), ties(vectors[[2, 0, 1]]))


# wrong usage


def test_wrong_models_are_refused():
    with pytest.raises(ValueError, match="no fine-tuned models"):
        task_vectors(state(0), [])
    with pytest.raises(ValueError, match="differ in b"):
        task_vectors(state(0), [{k: v for k, v in state(1).items() if k != "b"}])
    with pytest.raises(ValueError, match="entry 'b' of model 0 has shape"):
        task_vectors(state(0), [state(1) | {"b": torch.zeros(5)}])
    with pytest.raises(ValueError, match="both be flat"):
        task_vectors(torch.zeros(3), [torch.zeros(4)])
    with pytest.raises(ValueError, match="no floating-point entries"):
        flatten({"n": torch.tensor(1)})
    with pytest.raises(ValueError, match="share dtype"):
        flatten({"a": torch.zeros(1), "b": torch.zeros(1, dtype=torch.float64)})
    with pytest.raises(ValueError, match="9 parameters, the state dictionary 8"):
        unflatten(torch.zeros(9), state(0))


def test_wrong_scales_and_shares_are_refused():
    with pytest.raises(ValueError, match=r"scales must be \[2\] or \[K, 2\]"):
        merge(torch.zeros(3), torch.zeros(2, 3), [1.0])
    with pytest.raises(ValueError, match="scales must be finite"):
        merge(torch.zeros(3), torch.zeros(2, 3), [1.0, float("nan")])
    with pytest.raises(ValueError, match=r"base must be \[d\]"):
        merge(torch.zeros(4), torch.zeros(2, 3), [1.0, 1.0])
    with pytest.raises(ValueError, match="base is all 0"):
        relative_norms(torch.zeros(3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="keep must be above 0"):
        trim(torch.ones(2, 3), keep=0)
    with pytest.raises(ValueError, match="drop must be below 1"):
        dare(torch.ones(2, 3), 1, generator=torch.Generator())
    with pytest.raises(ValueError, match="vectors must be a floating-point matrix"):
        elect(torch.ones(3))
