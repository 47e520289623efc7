from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hierlab.adaptation.quadratic_surrogate import (
    FitError,
    QuadraticSurrogate,
    back_through,
    coefficient_count,
    quadratic,
    quadratic_terms,
    through,
)

links = st.sampled_from(["identity", "sigmoid", "softplus"])


def plain_quadratic(c, p) -> float:
    """Term by term, in the order of the released code."""
    n, total, at = len(c), 0.0, 0
    for i in range(n):
        total += p[at] * c[i] ** 2
        at += 1
    for i in range(n):
        for j in range(i + 1, n):
            total += p[at] * c[i] * c[j]
            at += 1
    for i in range(n):
        total += p[at] * c[i]
        at += 1
    return total + p[at]


# degenerate sizes


def test_one_scale_has_three_coefficients():
    assert coefficient_count(1) == 3
    assert quadratic_terms([[2.0]]).tolist() == [[4, 2, 1]]
    assert quadratic(np.zeros((0, 1)), [1, 1, 1]).shape == (0,)


def test_as_many_points_as_coefficients_are_met_exactly():
    c = np.random.default_rng(0).uniform(0, 1, (6, 2))
    y = np.random.default_rng(1).uniform(0.2, 0.8, 6)
    fitted = QuadraticSurrogate().fit(c, y)
    assert fitted.predict(c) == pytest.approx(y, abs=1e-6)
    assert fitted.squared_error_ == pytest.approx(0, abs=1e-10)


# closed form


@given(st.integers(1, 5), st.integers(0, 2**31))
def test_polynomial_is_that_of_the_released_code(n, seed):
    random = np.random.default_rng(seed)
    c, p = random.uniform(-2, 2, (3, n)), random.normal(size=coefficient_count(n))
    assert quadratic(c, p) == pytest.approx([plain_quadratic(row, p) for row in c])


def test_links_do_not_overflow():
    assert through(np.array([-1e9, 0.0, 1e9]), "sigmoid") == pytest.approx([0, 0.5, 1])
    assert through(np.array([-1e9, 0.0, 1e9]), "softplus") == pytest.approx([0, np.log(2), 1e9])


@given(links, st.floats(-4, 4))
def test_link_and_back(link, x):
    assert back_through(through(np.array([x]), link), link)[0] == pytest.approx(x, abs=1e-6)


@pytest.mark.parametrize("link", ["identity", "sigmoid", "softplus"])
@pytest.mark.parametrize("start", ["linearised", "ones"])
def test_a_quadratic_is_recovered(link, start):
    random = np.random.default_rng(3)
    c, p = random.uniform(0, 1, (40, 3)), random.normal(0, 0.7, 10)
    fitted = QuadraticSurrogate(link, start=start).fit(c, quadratic(c, p, link))
    assert fitted.coefficients_ == pytest.approx(p, abs=1e-4)
    assert fitted.score(c, quadratic(c, p, link)) == pytest.approx(1)


def test_bounds_are_respected():
    random = np.random.default_rng(4)
    c = random.uniform(0, 1, (30, 2))
    y = 20 + 60 * quadratic(c, random.normal(0, 1, 6), "sigmoid")
    fitted = QuadraticSurrogate(low=20, high=80).fit(c, y)
    far = fitted.predict(random.uniform(-50, 50, (200, 2)))
    assert fitted.predict(c) == pytest.approx(y, abs=1e-4)
    assert far.min() >= 20
    assert far.max() <= 80
    loss = QuadraticSurrogate("softplus", low=1.0).fit(c, 1 + y)
    assert loss.predict(random.uniform(-50, 50, (200, 2))).min() >= 1


def test_from_ones_a_sigmoid_of_many_terms_is_stuck_and_linearised_is_not():
    """A peak in the middle of [0, 1]^4: at coefficients 1 the sigmoid of 15 terms is near 1 almost everywhere."""
    random = np.random.default_rng(0)
    c, far = random.uniform(0, 1, (30, 4)), random.uniform(0, 1, (500, 4))

    def metric(x):
        return 1 / (1 + np.exp(-(3 - 8 * np.square(x - 0.4).sum(1))))

    scores = {start: QuadraticSurrogate(start=start).fit(c, metric(c)).score(far, metric(far)) for start in ("ones", "linearised")}
    assert scores["linearised"] > 0.999
    assert scores["ones"] < scores["linearised"]


def test_metrics_at_the_ends_of_the_range_are_accepted():
    c = np.random.default_rng(5).uniform(0, 1, (12, 2))
    y = np.linspace(0, 1, 12)
    assert np.isfinite(QuadraticSurrogate().fit(c, y).predict(c)).all()


# wrong usage


def test_wrong_data_is_refused():
    c = np.random.default_rng(0).uniform(0, 1, (8, 2))
    with pytest.raises(ValueError, match="6 coefficients want at least as many scale vectors, got 5"):
        QuadraticSurrogate().fit(c[:5], np.full(5, 0.5))
    with pytest.raises(ValueError, match=r"metric must be finite and in \[0, 1\] with link='sigmoid', got 80"):
        QuadraticSurrogate().fit(c, np.full(8, 80.0))
    with pytest.raises(ValueError, match="one number a scale vector"):
        QuadraticSurrogate().fit(c, np.full(7, 0.5))
    with pytest.raises(ValueError, match="scales must be a finite matrix"):
        QuadraticSurrogate().fit(c[0], np.full(2, 0.5))
    with pytest.raises(ValueError, match="2 scales want 6 coefficients"):
        quadratic(c, [1, 2, 3])
    with pytest.raises(ValueError, match="link must be one of"):
        QuadraticSurrogate("probit").fit(c, np.full(8, 0.5))
    with pytest.raises(ValueError, match="start must be one of"):
        QuadraticSurrogate(start="zeros").fit(c, np.full(8, 0.5))
    with pytest.raises(ValueError, match="low must be below high"):
        QuadraticSurrogate(low=1).fit(c, np.full(8, 1.0))
    with pytest.raises(ValueError, match="low belongs to a metric with a bound"):
        QuadraticSurrogate("identity", low=1).fit(c, np.full(8, 1.0))
    with pytest.raises(ValueError, match="not fitted"):
        QuadraticSurrogate().predict(c)
    with pytest.raises(ValueError, match="no variance to predict"):
        QuadraticSurrogate().fit(c, np.linspace(0.2, 0.8, 8)).score(c, np.ones(8))


def test_a_fit_that_does_not_converge_raises():
    random = np.random.default_rng(0)
    with pytest.raises(FitError, match="did not converge"):
        QuadraticSurrogate(start="ones", max_evaluations=3).fit(random.uniform(0, 1, (20, 3)), random.uniform(0, 1, 20))
