"""Mutual information: densities, estimators on a Gaussian case in closed form, bounds, identities.

The case is x ~ N(0, I), q(z|x) = N(x, s²I): every quantity is known, the bias of each estimator to
first order included.
"""

import math

import pytest
import torch

from grae_lib import information
from grae_lib.information import gaussian_case, gaussian_posterior, mutual_information
from grae_lib.posteriors import Posterior

CASES = [(1, 0.5), (2, 0.7), (4, 1.0)]


def correlated(n, d, seed=0):
    """Posteriors with full covariances of different sizes, float64."""
    draw = torch.Generator().manual_seed(seed)
    below = 0.3 * torch.randn(n, d, d, generator=draw, dtype=torch.float64).tril(-1)
    scale = 0.2 + torch.rand(n, d, generator=draw, dtype=torch.float64)
    mean = torch.randn(n, d, generator=draw, dtype=torch.float64)
    return Posterior(mean, below + torch.diag_embed(scale))


def repeats(estimator, d, noise, n, times, **settings):
    """(times,) estimates, each on n fresh examples."""
    return torch.tensor(
        [
            mutual_information(
                gaussian_posterior(n, d, noise, seed), estimator=estimator, seed=seed, **settings
            )["mutual_information"]
            for seed in range(times)
        ],
        dtype=torch.float64,
    )


def z_score(values, expected):
    return float((values.mean() - expected) / (values.std() / math.sqrt(len(values))))


# Densities ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 3, 10])
def test_log_densities_against_torch_distributions(d):
    posterior = correlated(40, d)
    z = torch.randn(17, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
    reference = torch.distributions.MultivariateNormal(
        posterior.mean, scale_tril=posterior.factor
    ).log_prob(z[:, None])
    found = information.log_densities(z, posterior)
    assert found.shape == (17, 40)
    torch.testing.assert_close(found, reference, rtol=1e-10, atol=1e-10)


def test_log_densities_in_parts_are_the_same(monkeypatch):
    posterior, z = correlated(40, 3), torch.randn(23, 3, dtype=torch.float64)
    whole = information.log_densities(z, posterior)
    monkeypatch.setattr(information, "_PAIRS", 130)
    torch.testing.assert_close(information.log_densities(z, posterior), whole)


@pytest.mark.parametrize("estimator", information.ESTIMATORS)
def test_estimates_do_not_depend_on_the_parts(estimator, monkeypatch):
    posterior = correlated(60, 3)
    whole = mutual_information(posterior, estimator=estimator, batch_size=20)
    monkeypatch.setattr(information, "_PAIRS", 200)
    assert mutual_information(posterior, estimator=estimator, batch_size=20) == pytest.approx(
        whole, rel=1e-12
    )


def test_densities_far_out_stay_finite():
    """At posteriors of width 1e-4 the densities of strangers underflow; their logarithms do not."""
    posterior = gaussian_posterior(50, 5, 1e-4)
    found = mutual_information(posterior)
    assert found["mutual_information"] == pytest.approx(math.log(50), abs=1e-12)
    assert math.isfinite(
        mutual_information(posterior, estimator="leave_one_out", batch_size=10)[
            "mutual_information"
        ]
    )


# The known case ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "noise"), CASES)
def test_the_closed_forms_of_the_known_case(d, noise):
    """Against torch's own KL divergences, and χ² by integration in one dimension."""
    truth = gaussian_case(d, noise)
    normal = torch.distributions.Normal
    spread = torch.tensor(math.sqrt(1 + noise**2), dtype=torch.float64)
    marginal = torch.distributions.kl_divergence(normal(0.0 * spread, spread), normal(0.0, 1.0))
    assert truth["marginal_kl"] == pytest.approx(d * float(marginal), rel=1e-12)
    assert truth["rate"] == pytest.approx(truth["mutual_information"] + truth["marginal_kl"])
    entropy = normal(0.0 * spread, spread).entropy() - normal(0.0 * spread, noise).entropy()
    assert truth["mutual_information"] == pytest.approx(d * float(entropy), rel=1e-6)
    # E_x q(z|x)² = N(z; x, s²/2)/(2s√π) averaged over x, divided by q(z) and integrated over z.
    z = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    squared = normal(0.0 * spread, math.sqrt(1 + noise**2 / 2)).log_prob(z).exp()
    squared = squared / (2 * noise * math.sqrt(math.pi))
    ratio = squared / normal(0.0 * spread, spread).log_prob(z).exp()
    integral = float(torch.trapezoid(ratio[1000:-1000], z[1000:-1000]))
    assert (truth["chi_square"] + 1) ** (1 / d) == pytest.approx(integral, rel=1e-6)


@pytest.mark.parametrize(("d", "noise"), CASES)
@pytest.mark.parametrize("estimator", information.ESTIMATORS)
def test_bias_is_the_predicted_one(estimator, d, noise):
    """150 data sets: the mean estimate is I ∓ χ²/2K within 4.5 standard errors and second order.

    The truth itself lies outside that interval on the predicted side: the test sees the bias.
    """
    truth = gaussian_case(d, noise)
    k = 64
    n = k if estimator == "full" else 400
    values = repeats(estimator, d, noise, n=n, times=150, batch_size=k)
    first = {
        "full": -truth["chi_square"] / (2 * k),
        "minibatch": -truth["chi_square"] / (2 * k),
        "leave_one_out": truth["chi_square"] / (2 * (k - 1)),
    }[estimator]
    error = float(values.std()) / math.sqrt(len(values))
    found = float(values.mean()) - truth["mutual_information"]
    second = 3 * first**2  # the next order, of size (χ²/K)²
    assert abs(found - first) < 4.5 * error + second, (found, first, error)
    if abs(first) > 4.5 * error + second:
        assert found * first > 0


@pytest.mark.parametrize(("d", "noise"), CASES)
def test_full_aggregate_converges_to_the_truth(d, noise):
    """At N = 4,096 the bias is a hundredth of a nat at most: the estimate must be the truth."""
    truth = gaussian_case(d, noise)
    values = repeats("full", d, noise, n=4096, times=12, points=512)
    bias = truth["chi_square"] / (2 * 4096)
    error = float(values.std()) / math.sqrt(len(values))
    assert bias < 0.01
    assert abs(float(values.mean()) - truth["mutual_information"]) < 4.5 * error + 2 * bias
    assert error < 0.03


def test_full_aggregate_is_unbiased_for_the_information_of_its_own_examples():
    """In one dimension I_q of 40 given examples is an integral: compare with 60 draws each."""
    posterior = gaussian_posterior(40, 1, 0.6)
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    log_q = information.log_densities(z[:, None], posterior)
    log_aggregate = log_q.logsumexp(-1) - math.log(40)
    gain = (log_q.exp() * (log_q - log_aggregate[:, None])).mean(-1)
    exact = float(torch.trapezoid(gain, z))
    draws = torch.tensor(
        [mutual_information(posterior, seed=s)["mutual_information"] for s in range(60)]
    )
    assert abs(z_score(draws.double(), exact)) < 4.5
    assert exact < math.log(40)


def test_bounds_bracket_the_information_of_a_finite_set():
    """minibatch ≤ I_q ≤ leave_one_out in expectation, far apart for batches of four."""
    posterior = gaussian_posterior(300, 2, 0.5)
    settings = {"batch_size": 4, "samples": 20}
    low = mutual_information(posterior, estimator="minibatch", **settings)
    high = mutual_information(posterior, estimator="leave_one_out", **settings)
    exact = mutual_information(posterior, samples=40)
    assert low["mutual_information"] + 4.5 * low["standard_error"] < exact["mutual_information"]
    assert high["mutual_information"] - 4.5 * high["standard_error"] > exact["mutual_information"]


def test_standard_error_is_the_spread_of_repeats():
    """The stated error of one estimate against the spread of 200 on the same examples."""
    posterior = gaussian_posterior(400, 2, 0.7)
    found = [mutual_information(posterior, points=100, seed=s) for s in range(200)]
    spread = torch.tensor([f["mutual_information"] for f in found]).std()
    stated = sum(f["standard_error"] for f in found) / len(found)
    # The stated one also counts the spread between examples, which repeats hold fixed.
    assert 0.7 * float(spread) < stated < 2.5 * float(spread)


# Bounds and identities ---------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [1e-3, 0.05, 0.5, 3.0])
def test_logarithmic_bounds_hold_at_every_point(noise):
    """log N and log B bound each single value, not only the mean."""
    posterior = gaussian_posterior(200, 3, noise)
    z = posterior.sample(torch.randn(200, 3, dtype=torch.float64))
    each = information._against_all(z, posterior)
    assert float(each.max()) <= math.log(200) + 1e-12
    draw = torch.Generator().manual_seed(0)
    each = information._against_batches(z, posterior, "minibatch", 16, draw)
    assert float(each.max()) <= math.log(16) + 1e-12
    found = mutual_information(posterior)
    assert found["bound"] == math.log(200)
    found = mutual_information(posterior, estimator="minibatch", batch_size=16)
    assert found["bound"] == math.log(16)
    assert mutual_information(posterior, estimator="leave_one_out")["bound"] == math.inf
    if noise == 1e-3:  # posteriors apart: the bound is attained
        assert found["mutual_information"] == pytest.approx(math.log(16), abs=1e-9)


def test_two_equal_posteriors_share_one_bit_of_two():
    """Four examples, two of them alike and the pairs far apart: I_q = log 2 exactly."""
    mean = torch.tensor([[-50.0], [-50.0], [50.0], [50.0]], dtype=torch.float64)
    found = mutual_information(Posterior(mean, torch.ones(4, 1, 1, dtype=torch.float64)))
    assert found["mutual_information"] == pytest.approx(math.log(2), abs=1e-12)


def test_a_collapsed_encoder_carries_nothing():
    same = Posterior(torch.zeros(30, 2), torch.eye(2).expand(30, 2, 2))
    for estimator in information.ESTIMATORS:
        found = mutual_information(same, estimator=estimator, batch_size=8)
        assert found["mutual_information"] == pytest.approx(0, abs=1e-12)
        assert found["rate"] == pytest.approx(0, abs=1e-12)


def test_F3_the_rate_splits_into_information_and_marginal_kl():
    """Rate in closed form = I_q + KL(q(z)‖p), the latter by its own 20,000 draws from q(z)."""
    posterior = correlated(250, 4)
    found = [mutual_information(posterior, samples=3, seed=s) for s in range(15)]
    values = torch.tensor([f["mutual_information"] for f in found], dtype=torch.float64)
    draw = torch.Generator().manual_seed(9)
    which = torch.randint(250, (20_000,), generator=draw)
    noise = torch.randn(20_000, 4, generator=draw, dtype=torch.float64)
    z = Posterior(posterior.mean[which], posterior.factor[which]).sample(noise)
    log_q = information.log_densities(z, posterior).logsumexp(-1) - math.log(250)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    gap = log_q - log_p
    error = math.hypot(float(values.std()) / math.sqrt(15), float(gap.std()) / math.sqrt(len(gap)))
    rate = found[0]["rate"]
    assert abs(float(values.mean() + gap.mean()) - rate) < 4.5 * error
    assert error < 0.03
    assert rate == pytest.approx(float(posterior.kl().mean()), rel=1e-12)
    assert found[0]["marginal_kl"] == rate - found[0]["mutual_information"]


def test_F3_in_the_known_case():
    truth = gaussian_case(3, 0.8)
    found = mutual_information(gaussian_posterior(4096, 3, 0.8), points=2048, samples=4)
    for name in ("mutual_information", "marginal_kl", "rate"):
        assert found[name] == pytest.approx(truth[name], abs=0.1), name


def test_invertible_maps_of_the_latents_change_no_information():
    """z → Az moves means and factors, the rate changes, the information does not."""
    posterior = correlated(120, 3)
    a = torch.tensor([[2.0, 0, 0], [0.7, 0.5, 0], [-1, 0.2, 3]], dtype=torch.float64)
    moved = Posterior(posterior.mean @ a.T, a @ posterior.factor)
    before, after = mutual_information(posterior), mutual_information(moved)
    assert after["mutual_information"] == pytest.approx(before["mutual_information"], rel=1e-10)
    assert abs(after["rate"] - before["rate"]) > 0.5


# The memorising decoder --------------------------------------------------------------------------


def test_F4_no_perturbation_of_the_memorising_decoder_is_better():
    """A Monte Carlo distortion over fixed draws; derivative zero at the optimum, larger off it."""
    posterior = gaussian_posterior(12, 1, 0.4)
    x = torch.rand(12, 1, 3, dtype=torch.float64)
    z = torch.linspace(-6, 6, 4001, dtype=torch.float64)[:, None]
    density = information.log_densities(z, posterior).exp()
    best = information.memorising_decoder(z, posterior, x)

    def distortion(g):
        error = 0.5 * (x.flatten(1)[None] - g.flatten(1)[:, None]).square().sum(-1)
        return float(torch.trapezoid((density * error).mean(-1), z[:, 0]))

    draw = torch.Generator().manual_seed(3)
    for size in (0.01, 0.1):
        change = size * torch.randn(best.shape, generator=draw, dtype=torch.float64)
        assert distortion(best + change) > distortion(best)
    assert best.shape == (4001, 1, 3)


def test_F4_limits():
    """Narrow posteriors: the training example itself. Wide ones: the mean of all."""
    x = torch.rand(20, 2, 2, dtype=torch.float64)
    narrow, wide = gaussian_posterior(20, 4, 1e-3), gaussian_posterior(20, 4, 1e4)
    torch.testing.assert_close(information.memorising_decoder(narrow.mean, narrow, x), x)
    mean = x.mean(0).expand_as(x)
    found = information.memorising_decoder(wide.mean, wide, x)
    torch.testing.assert_close(found, mean, rtol=1e-6, atol=1e-6)


# Refusals ----------------------------------------------------------------------------------------

GOOD = gaussian_posterior(20, 2, 0.5)
BROKEN = Posterior(GOOD.mean.clone().index_fill_(0, torch.tensor([3]), math.nan), GOOD.factor)
REFUSED = [
    (lambda: information.log_densities(torch.zeros(5, 3), GOOD), r"\(5, 3\); expected \(S, 2\)"),
    (lambda: information.log_densities(torch.zeros(2), GOOD), r"\(2,\); expected \(S, 2\)"),
    (lambda: mutual_information(GOOD, estimator="mine"), "'mine' is unknown; choose one of full"),
    (
        lambda: mutual_information(Posterior(GOOD.mean[:1], GOOD.factor[:1])),
        "1 examples were given",
    ),
    (lambda: mutual_information(GOOD, points=21), "points=21 was given; expected 1 to 20"),
    (lambda: mutual_information(GOOD, points=0), "points=0 was given; expected 1 to 20"),
    (lambda: mutual_information(GOOD, samples=0), "samples=0 was given; expected a whole number"),
    (
        lambda: mutual_information(GOOD, estimator="minibatch"),
        "batch_size=64 was given; expected 2",
    ),
    (
        lambda: mutual_information(GOOD, estimator="leave_one_out", batch_size=1),
        "batch_size=1 was given; expected 2 to 20",
    ),
    (lambda: mutual_information(BROKEN), "2 of 40 entries of the posterior's means are NaN"),
    (
        lambda: mutual_information(Posterior(GOOD.mean, -GOOD.factor)),
        "-0.5 on its diagonal; standard deviations must be above 0",
    ),
    (lambda: gaussian_case(0, 1.0), "latent_dim=0 was given; expected a whole number"),
    (lambda: gaussian_case(2, 0.0), "noise=0.0 was given; expected a standard deviation above 0"),
    (
        lambda: information.memorising_decoder(GOOD.mean, GOOD, torch.zeros(3, 4)),
        "3 examples and 20 posteriors were given",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[m[:40] for _, m in REFUSED])
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
