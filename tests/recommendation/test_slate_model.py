"""The joint density, the mean-field posterior, and the fitted recommender."""

import math

import pytest
import torch
from estimator_inputs import NoDefaultDevice

from hierlab.recommendation import recommendation_metrics as metrics
from hierlab.recommendation.item_prior import flat_log_prior, hierarchical_log_prior, normal_log_density
from hierlab.recommendation.slate_joint import CLICKS, Priors, latent_shapes, log_joint
from hierlab.recommendation.slate_model import SlateModel
from hierlab.recommendation.slate_posterior import MeanField, elbo, normal_entropy, to_free
from hierlab.recommendation.slates import item_clicks, padded_log
from hierlab.recommendation.trivial_slates import epsilon_greedy, most_popular
from hierlab.seeds import generator

GROUPS = torch.tensor([0, 0, 0, 0, 0, 1, 1])
QUICK = {"dim": 2, "steps": 6, "rate": 0.05, "particles": 1, "likelihood_temperature": 1.0, "max_scale": 1.0}


def small_log():
    return padded_log([[([3, 5], 3), ([4, 6], None), ([3, 4], 4)], [([5, 6], 6), ([3, 6], 6)]])


def latents_for(user, items, seed=0):
    shapes = latent_shapes(user, items, ids=7, groups=2, dim=2, longest=3) | {"start": (2, 2)}
    return {name: torch.randn(shape, generator=generator("latents", seed), dtype=torch.float64) for name, shape in shapes.items()}


def test_a_normal_density_by_hand():
    assert normal_log_density(torch.tensor(1.0), 0.0, 2.0).item() == pytest.approx(-0.125 - math.log(2) - 0.5 * math.log(2 * math.pi))
    with pytest.raises(ValueError, match="scale must be above 0, got 0"):
        normal_log_density(torch.tensor(1.0), 0.0, 0.0)


def test_priors_are_those_of_torch():
    x = torch.randn(7, 2, generator=generator("x"), dtype=torch.float64)
    means, scales = x[:2] + 1, x[2:4]
    terms = hierarchical_log_prior(x, means, scales, GROUPS, vector_scale=2.0, scale_scale=3.0)
    expected = torch.distributions.Normal(means[GROUPS], scales.abs()[GROUPS]).log_prob(x).sum()
    torch.testing.assert_close(terms["item_vectors"], expected)
    torch.testing.assert_close(terms["group_scales"], torch.distributions.Normal(0.0, 3.0).log_prob(scales).sum())
    torch.testing.assert_close(flat_log_prior(x, scale=2.0)["item_vectors"], torch.distributions.Normal(0.0, 2.0).log_prob(x).sum())


def test_the_deviation_of_a_group_is_never_below_its_floor():
    x = torch.zeros(7, 2)
    terms = hierarchical_log_prior(x, x[:2], x[:2], GROUPS)
    assert terms["item_vectors"].item() == pytest.approx(14 * (-math.log(0.001) - 0.5 * math.log(2 * math.pi)), rel=1e-5)


@pytest.mark.parametrize("user", ["gru", "linear", "lin-gru", "markov"])
@pytest.mark.parametrize("items", ["hierarchical", "one group", "flat"])
def test_temperatures_and_samples_scale_their_own_terms(user, items):
    log, latents = small_log(), latents_for(user, items)
    plain = log_joint(log, latents, item_group=GROUPS, user=user, items=items)
    warm = log_joint(log, latents, item_group=GROUPS, user=user, items=items, likelihood_temperature=4.0, prior_temperature=2.0)
    sample = log_joint(log, latents, item_group=GROUPS, user=user, items=items, num_users=6)
    for name, value in plain.terms.items():
        torch.testing.assert_close(warm.terms[name], value / (4 if name == CLICKS else 2))
        torch.testing.assert_close(sample.terms[name], value * (3 if name in (CLICKS, "start") else 1))
    assert plain.log_likelihood.sum().item() == pytest.approx(plain.terms[CLICKS].item())
    assert plain.positions.shape == (2, 4, 2)
    assert plain.log_likelihood[1, 2] == 0


def test_flat_items_are_scored_by_their_tanh():
    log, latents = small_log(), latents_for("markov", "flat")
    squashed = latents | {
        "item_vectors": latents["item_vectors"].tanh(),
        "group_vectors": torch.zeros(1, 2),
        "group_scales": torch.ones(1, 2),
    }
    flat = log_joint(log, latents, item_group=GROUPS, user="markov", items="flat")
    torch.testing.assert_close(flat.scores, log_joint(log, squashed, item_group=GROUPS, user="markov", items="one group").scores)


def test_steps_held_out_do_not_count():
    log, latents = small_log(), latents_for("linear", "flat")
    train = torch.tensor([[True, True, False], [False, True, False]])
    every = log_joint(log, latents, item_group=GROUPS, user="linear", items="flat").log_likelihood
    held = log_joint(log.masked(train), latents, item_group=GROUPS, user="linear", items="flat").log_likelihood
    torch.testing.assert_close(held, every * train)


def test_the_mean_field_posterior():
    means = {"a": torch.tensor([0.25, -1.0]), "b": torch.tensor(0.5)}
    field = MeanField(means, {"a": 0.1, "b": 0.2}, max_scale=1.0, bounds={"b": (0.0, 1.0)})
    for name, value in field.means().items():
        torch.testing.assert_close(value, means[name])
    draws = torch.stack([field.draw(generator("draw", i))["a"] for i in range(2000)]).detach()
    torch.testing.assert_close(draws.mean(0), means["a"], atol=0.01, rtol=0)
    torch.testing.assert_close(draws.std(0), torch.tensor([0.1, 0.1]), atol=0.01, rtol=0)
    expected = torch.distributions.Normal(0.0, torch.tensor([0.1, 0.1, 0.2])).entropy().sum()
    torch.testing.assert_close(field.entropy().detach(), expected)
    assert not field.draw(generator("frozen"), frozen=["a"])["a"].requires_grad
    assert len(field.parameters(frozen=["a"])) == 2
    with pytest.raises(ValueError, match=r"mean of b must start inside \(0, 1\), got 2 to 2"):
        MeanField({"b": torch.tensor(2.0)}, {"b": 0.1}, max_scale=1.0, bounds={"b": (0.0, 1.0)})
    with pytest.raises(ValueError, match="deviation of a must start inside"):
        MeanField({"a": torch.tensor(2.0)}, {"a": 1.0}, max_scale=1.0)
    assert to_free(torch.zeros(0), 0, 1).shape == (0,)


def test_the_elbo_of_the_exact_posterior_is_the_evidence():
    """x ~ N(0, 1), y | x ~ N(x, 1): with the exact posterior N(y/2, 1/2) every draw gives log p(y)."""
    y, scale = torch.tensor(0.7), torch.tensor([0.5]).sqrt()
    noise = torch.randn(4000, generator=generator("elbo"))
    draws = [{"x": normal_log_density(x, 0.0, 1.0), "y": normal_log_density(y, x, 1.0)} for x in y / 2 + scale * noise]
    bound = elbo(draws, normal_entropy(scale))
    assert bound.item() == pytest.approx(normal_log_density(y, 0.0, math.sqrt(2)).item(), abs=0.03)


@pytest.mark.parametrize("user", ["gru", "linear", "lin-gru", "markov"])
@pytest.mark.parametrize("likelihood", ["slate", "uniform"])
def test_every_model_fits_and_recommends(user, likelihood):
    model = SlateModel(user=user, likelihood=likelihood, **QUICK).fit(small_log(), GROUPS)
    assert len(model.history_) == 6
    assert all(math.isfinite(h["elbo"]) for h in model.history_)
    for how in ("greedy", "thompson", "in-slate"):
        slates = model.recommend(small_log(), 3, how, generator("recommend"))
        assert slates.shape == (2, 3)
        assert slates.min() >= 3
    assert model.log_likelihood(small_log(), torch.ones(2, 3, dtype=torch.bool)) < 0


@pytest.mark.parametrize("user", ["gru", "linear", "lin-gru", "markov"])
def test_no_tensor_is_made_on_a_default_device(user):
    log, draws, held = small_log(), generator("device"), torch.ones(2, 3, dtype=torch.bool)
    with NoDefaultDevice():
        model = SlateModel(user=user, likelihood="uniform", **QUICK).fit(log, GROUPS)
        for how in ("greedy", "in-slate"):
            lists = model.recommend(log, 3, how, draws)
        assert model.log_likelihood(log, held) < 0
        metrics.ndcg_at_k(lists, log.click)
        metrics.coverage(lists, 7)
        metrics.popularity_percentile(lists, item_clicks(log, 7))
        epsilon_greedy(most_popular(log, 7, 2), 7, 0.5, draws)


def test_equal_seeds_give_equal_fits_and_others_do_not():
    fits = [SlateModel(random_state=seed, **QUICK).fit(small_log(), GROUPS).latents()["item_vectors"] for seed in (1, 1, 2)]
    assert fits[0].equal(fits[1])
    assert not fits[0].equal(fits[2])


def test_the_second_phase_leaves_the_items_alone():
    model = SlateModel(user="gru", **QUICK).fit(small_log(), GROUPS)
    items, matrix = model.latents()["item_vectors"], model.latents()["W_z"]
    model._optimise(small_log(), "gru", 3, frozen=("group_vectors", "group_scales", "item_vectors"))
    assert model.latents()["item_vectors"].equal(items)
    assert not model.latents()["W_z"].equal(matrix)


def test_what_is_held_out_changes_nothing():
    train = torch.tensor([[True, True, False], [True, True, False]])
    one, other = small_log(), padded_log([[([3, 5], 3), ([4, 6], None), ([3, 4], 3)], [([5, 6], 6), ([3, 6], 6)]])
    settings = QUICK | {"start_variant": "repaired"}
    a, b = (SlateModel(user="linear", **settings).fit(log.masked(train), GROUPS) for log in (one, other))
    assert a.latents()["item_vectors"].equal(b.latents()["item_vectors"])


def test_a_fit_raises_the_bound_and_batches_agree_with_it():
    log = padded_log([[([3, 5], 3), ([4, 6], 4), ([3, 6], 3)]] * 20)
    for batch_users in (None, 5):
        model = SlateModel(user="linear", batch_users=batch_users, **QUICK | {"steps": 60}).fit(log, GROUPS)
        first, last = (sum(h["elbo"] for h in part) for part in (model.history_[:10], model.history_[-10:]))
        assert last > first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user": "lstm"}, "user must be one of"),
        ({"items": "tree"}, "items must be one of"),
        ({"likelihood": "pairs"}, "likelihood must be one of"),
        ({"dim": 0}, "dim must be a whole number of at least 1, got 0"),
        ({"phases": 3}, "phases must be 1 or 2, got 3"),
        ({"rate": 0}, "rate must be a number in"),
        ({"batch_users": 0}, "batch_users must be at least 1"),
    ],
)
def test_wrong_settings_are_refused_when_fitting(change, message):
    model = SlateModel(**QUICK | change)
    with pytest.raises(ValueError, match=message):
        model.fit(small_log(), GROUPS)


def test_wrong_usage_is_refused():
    with pytest.raises(ValueError, match="not fitted yet"):
        SlateModel().recommend(small_log(), 2)
    with pytest.raises(ValueError, match="item_group needs an entry for each id up to 6, got 5"):
        SlateModel(**QUICK).fit(small_log(), GROUPS[:5])
    with pytest.raises(ValueError, match="no step of the log may be learned from"):
        SlateModel(**QUICK).fit(small_log().masked(torch.zeros(2, 3, dtype=torch.bool)), GROUPS)
    model = SlateModel(**QUICK).fit(small_log(), GROUPS)
    with pytest.raises(ValueError, match="draws from the posterior: give it a generator"):
        model.recommend(small_log(), 2, "thompson")
    with pytest.raises(ValueError, match="how must be one of"):
        model.recommend(small_log(), 2, "softmax")
    with pytest.raises(ValueError, match="at must be a step from 0 to 3"):
        model.recommend(small_log(), 2, at=4)
    with pytest.raises(ValueError, match="missing: W_hd"):
        log_joint(small_log(), {k: v for k, v in latents_for("gru", "flat").items() if k != "W_hd"}, item_group=GROUPS, items="flat")
    with pytest.raises(ValueError, match="start must be a number in"):
        Priors(start=0)
