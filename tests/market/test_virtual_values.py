"""Virtual values: closed forms, ironing, reserves, inverses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hierlab.market import Exponential, Mixture, Uniform, VirtualValue

TWO_KINDS = Mixture((Uniform(0, 1), Uniform(2, 3)), (0.8, 0.2))


class TestRegular:
    def test_uniform(self):
        phi = VirtualValue(Uniform(0.0, 1.0))
        assert phi([0.0, 0.25, 0.5, 1.0]) == pytest.approx([-1.0, -0.5, 0.0, 1.0])
        assert (phi.reserve, phi.regular) == (0.5, True)
        assert phi.inverse([-2.0, 0.0, 0.4, 1.0, 1.5]) == pytest.approx([0.0, 0.5, 0.7, 1.0, 1.5])

    def test_exponential(self):
        phi = VirtualValue(Exponential(2.0))
        assert phi([0.5, 7.0]) == pytest.approx([-1.5, 5.0])
        assert phi.reserve == pytest.approx(2.0)
        assert phi.inverse(40.0) == pytest.approx(42.0)

    def test_a_support_above_zero(self):
        phi = VirtualValue(Uniform(2.0, 3.0))
        assert phi.lowest == pytest.approx(1.0)
        assert phi.reserve == 2.0
        assert phi(1.9) == -np.inf

    @pytest.mark.parametrize(("ours", "theirs"), [(Uniform(0.5, 2.5), stats.uniform(0.5, 2.0)), (Exponential(0.7), stats.expon(scale=0.7))])
    def test_scipys_distributions_do_as_well(self, ours, theirs):
        inside = np.linspace(0.51, 2.4, 7)
        assert VirtualValue(ours)(inside) == pytest.approx(VirtualValue(theirs)(inside))
        assert VirtualValue(ours).reserve == pytest.approx(VirtualValue(theirs).reserve)

    @settings(max_examples=30, deadline=None)
    @given(st.floats(0.01, 5.0), st.floats(0.01, 5.0))
    def test_inverse_is_the_smallest_value_that_reaches(self, low, width):
        phi = VirtualValue(Uniform(low, low + width), points=101)
        for target in np.linspace(phi.lowest, phi.highest, 9):
            value = float(phi.inverse(target))
            assert phi(value) >= target
            assert value <= low or phi(value - 1e-9 * (1 + value)) < target


class TestIroning:
    def test_two_kinds_of_buyers_in_closed_form(self):
        """R(q) = q(1-q)/0.8 beyond q = 0.2, where it is 0.4: the tangent touches at q = 0.6, the value 0.5."""
        phi = VirtualValue(TWO_KINDS)
        ((low, high, level),) = phi.ironed
        assert (low, high, level) == pytest.approx((0.5, 2.0, -0.25), abs=1e-9)
        assert phi(np.array([0.5, 0.9, 1.5, 1.99])) == pytest.approx([-0.25] * 4)
        assert phi.reserve == pytest.approx(2.0)
        assert not phi.regular

    @pytest.mark.parametrize(
        "distribution", [TWO_KINDS, stats.beta(0.5, 0.5), Mixture((Exponential(0.2), Uniform(1, 2)), (0.5, 0.5)), stats.pareto(1.5)]
    )
    def test_it_never_falls(self, distribution):
        phi = VirtualValue(distribution)
        value = np.asarray(distribution.ppf(np.linspace(0.001, 0.999, 2001)))
        assert (np.diff(phi(value)) >= -1e-6).all()

    @settings(max_examples=5, deadline=None)
    @given(st.floats(0.1, 0.9), st.floats(0.1, 2.0))
    def test_the_expected_virtual_value_is_the_lowest_value(self, share, gap):
        """Selling to everyone earns the lowest value, ironed or not."""
        phi = VirtualValue(Mixture((Uniform(0.5, 1.0), Uniform(1.0 + gap, 2.0 + gap)), (share, 1 - share)))
        quantile = (np.arange(4_000) + 0.5) / 4_000
        assert phi(phi.distribution.ppf(quantile)).mean() == pytest.approx(0.5, abs=5e-3)


class TestDistributions:
    @pytest.mark.parametrize("distribution", [Uniform(1, 3), Exponential(2.0), TWO_KINDS])
    def test_quantiles_undo_the_distribution(self, distribution):
        q = np.array([0.1, 0.5, 0.79, 0.81, 0.95])
        assert distribution.cdf(distribution.ppf(q)) == pytest.approx(q)

    @pytest.mark.parametrize("distribution", [Uniform(1, 3), Exponential(2.0), TWO_KINDS])
    def test_the_density_is_the_slope(self, distribution):
        x, step = np.array([0.3, 1.2, 2.4, 2.9]), 1e-6
        slope = (distribution.cdf(x + step) - distribution.cdf(x - step)) / (2 * step)
        assert slope == pytest.approx(distribution.pdf(x), abs=1e-6)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Uniform(1, 1), "needs 0 <= low < high"),
            (lambda: Uniform(-1, 1), "needs 0 <= low < high"),
            (lambda: Exponential(0), "mean of an exponential distribution must be positive"),
            (lambda: Mixture((Uniform(),), (0.5,)), "adding up to 1"),
            (lambda: Mixture((), ()), "one positive share a kind"),
            (lambda: VirtualValue(3.0), "float lacks"),
            (lambda: VirtualValue(stats.norm(0, 1)), "values per click are not negative"),
            (lambda: VirtualValue(Uniform(), points=2), "points must be a whole number of at least 3"),
            (lambda: VirtualValue(Uniform())(np.nan), "values must be numbers, got NaN"),
        ],
    )
    def test_bad_input_is_refused_by_name(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()
