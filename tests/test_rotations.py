"""Rotations of the latent space: C4, C5, C6, equivariance, and the toy fitted without sampling."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import integrate

from grae_lib import data, geometry, models, objectives, posteriors
from grae_lib import rotations as rot
from grae_lib.experiments import toy_uniqueness
from grae_lib.experiments.toy_uniqueness import rotation

ANGLES = [0, 15, 30, 45, 60, 75, 90]
SIGMA = 0.05
#: Oracle C5: column norms 2 and .5, noise .05.
BUMP = [0, 0.313, 0.642, 0.750, 0.642, 0.313, 0]


@pytest.fixture(scope="module")
def linear():
    """200 points of the linear toy and its W."""
    toy, truth = data.toy_model("linear", (2.0, 0.5), n=200, noise_std=SIGMA)
    return toy.x.double(), truth.W


def test_the_closed_form_gives_the_toy_numbers():
    found = rot.mean_field_gap(torch.tensor(ANGLES), 4 / SIGMA**2, 0.25 / SIGMA**2)
    assert found.tolist() == pytest.approx(BUMP, abs=5e-4)


@pytest.mark.parametrize("beta", [0.01, 0.4, 3.0])
@pytest.mark.parametrize(("a", "b"), [(4.0, 0.25), (1.0, 0.0), (2.5, 2.5)])
def test_the_closed_form_is_the_difference_of_two_objectives(a, b, beta):
    turned = torch.stack(
        [
            rot.turned_metric(
                torch.diag(torch.tensor([a, b], dtype=torch.float64)), rot.plane_rotation(t)
            )
            for t in ANGLES
        ]
    )
    closed = rot.mean_field_gap(torch.tensor(ANGLES), a, b, beta)
    excess = objectives.column_regularizer(turned, beta) - objectives.log_det_regularizer(
        turned, beta
    )
    torch.testing.assert_close(closed, excess, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        closed, rot.family_gap(turned, beta, "diagonal"), rtol=1e-9, atol=1e-12
    )
    assert rot.mean_field_gap(45.0, a, b, beta) == pytest.approx(float(closed[3]), abs=1e-12)


def test_a_family_falls_short_by_its_divergence_from_the_best_full_covariance(generator):
    J = torch.randn(5, 9, 4, generator=generator, dtype=torch.float64)
    metric, beta = geometry.pullback_metric(J), 0.3
    mean = torch.zeros(5, 4, dtype=torch.float64)
    full = geometry.optimal_covariance(metric, beta)
    for family, size in (("diagonal", None), ("block", 2), ("full", None)):
        own = geometry.optimal_covariance(metric, beta, family, size)
        divergence = posteriors.kl_between(mean, own, mean, full)
        torch.testing.assert_close(rot.family_gap(metric, beta, family, size), beta * divergence)


def test_a_rotation_inside_a_block_costs_the_block_family_nothing():
    metric = torch.diag(torch.tensor([9.0, 1.0, 4.0, 0.2], dtype=torch.float64))
    for i, j, free in ((0, 1, True), (2, 3, True), (1, 2, False), (0, 3, False)):
        turned = rot.turned_metric(metric, rot.plane_rotation(30, 4, i, j))[None]
        loss = float(rot.family_gap(turned, 0.5, "block", 2))
        assert (abs(loss) < 1e-12) == free


@pytest.mark.parametrize("nu", ["linear", "tanh", "softplus"])
def test_the_objective_does_not_change_when_model_and_posterior_turn(nu, generator):
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    A, C = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((3, 2), (2, 3)))
    zero = torch.zeros(2, dtype=torch.float64)
    sigma = torch.tensor([[0.3, 0.1], [0.1, 0.2]], dtype=torch.float64)
    fit = rot.ToyFit(A, torch.ones(3, dtype=torch.float64), C, zero, sigma, 0.0)

    def value(f):
        factor = torch.linalg.cholesky(f.covariance)
        return rot.toy_negative_elbo(x, f.A, f.b, x @ f.C.T + f.c, factor, nu, 0.4)

    torch.testing.assert_close(value(fit), value(rot.turn(fit, rot.plane_rotation(37))))


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
def test_the_objective_is_a_constant_less_a_divergence(beta):
    """F = β(log Z − KL(q‖p_β)) with p_β ∝ p(z) p(x|z)^{1/β}, on a grid, for a curved decoder."""
    z = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
    step = float(z[1] - z[0])

    def log_normal(value, mean, std):
        return -0.5 * ((value - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))

    log_prior, log_q = log_normal(z, 0.0, 1.0), log_normal(z, 0.4, 0.5)
    log_likelihood = log_normal(0.7, torch.tanh(2 * z), 0.4)
    weight = log_q.exp() * step
    F = (weight * log_likelihood).sum() - beta * (weight * (log_q - log_prior)).sum()
    log_joint = log_prior + log_likelihood / beta
    log_Z = torch.logsumexp(log_joint, 0) + math.log(step)
    divergence = (weight * (log_q - log_joint + log_Z)).sum()
    assert float(divergence) > 0.01
    assert float(F) == pytest.approx(float(beta * (log_Z - divergence)), rel=1e-9)


@pytest.mark.parametrize("nu", toy_uniqueness.NONLINEARITIES)
def test_the_objective_without_sampling_agrees_with_sampling(nu, generator):
    x = torch.randn(1, 3, generator=generator, dtype=torch.float64)
    A = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    b, mean = torch.zeros(3, dtype=torch.float64), torch.tensor([[0.4, -0.2]], dtype=torch.float64)
    factor = torch.tensor([[0.5, 0.0], [0.3, 0.4]], dtype=torch.float64)
    found = float(rot.toy_negative_elbo(x, A, b, mean, factor, nu, 0.5))
    z = mean + torch.randn(200_000, 2, generator=generator, dtype=torch.float64) @ factor.T
    costs = 0.5 * (x - data.NONLINEARITIES[nu](z @ A.T)).square().sum(-1) / 0.25
    rate = float(posteriors.kl_to_standard_normal(mean, (factor @ factor.T)[None]))
    error = float(costs.std()) / math.sqrt(len(costs))
    assert abs(found - rate - float(costs.mean())) < 4.5 * error


def test_the_kink_of_the_leaky_relu_is_integrated_in_closed_form():
    """E ν(y) and E ν(y)² against adaptive integration, on both sides of the kink and far away."""
    nu = data.NONLINEARITIES["leaky_relu"]
    mean = torch.tensor([-3.0, -0.2, 0.0, 0.1, 2.0], dtype=torch.float64)
    std = torch.tensor([0.5, 0.3, 1.0, 0.02, 1.5], dtype=torch.float64)
    found = rot._leaky_relu_moments(mean, std)
    for i, (m, s) in enumerate(zip(mean.tolist(), std.tolist(), strict=True)):
        for power, value in enumerate(found, 1):

            def integrand(t, m=m, s=s, power=power):
                y = float(nu(torch.tensor(m + s * t, dtype=torch.float64)))
                return y**power * math.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)

            # The kink is at t = -m/s: integrate on either side of it.
            cuts = sorted({-12.0, min(max(-m / s, -12.0), 12.0), 12.0})
            parts = [integrate.quad(integrand, *ends)[0] for ends in itertools.pairwise(cuts)]
            assert float(value[i]) == pytest.approx(sum(parts), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("nu", ["linear", "tanh", "softplus"])
def test_sixteen_nodes_suffice_for_smooth_nonlinearities(nu):
    """At a fit of the toy, 16 nodes and 128 give the same −ELBO to 1e-9 nats."""
    points, _ = data.toy_model(nu, (2.0, 0.5), n=60, noise_std=SIGMA)
    fit = rot.fit_toy(points.x, nu, SIGMA, "shared_diagonal", iterations=150)
    x, factor = points.x.double(), torch.linalg.cholesky(fit.covariance)
    arguments = x, fit.A, fit.b, x @ fit.C.T + fit.c, factor, nu, SIGMA
    few, many = (rot.toy_negative_elbo(*arguments, nodes=k).mean() for k in (16, 128))
    assert float(few) == pytest.approx(float(many), abs=1e-9)


def test_refitted_encoders_follow_the_closed_form(linear):
    x, W = linear
    decoder = (W, torch.zeros(3, dtype=torch.float64))
    full = rot.best_along_rotation(x, decoder, "linear", SIGMA, [0, 30], "shared")
    field = rot.best_along_rotation(x, decoder, "linear", SIGMA, ANGLES, "shared_diagonal")
    best = full[0].negative_elbo
    assert full[1].negative_elbo == pytest.approx(best, abs=1e-3)
    assert [f.negative_elbo - best for f in field] == pytest.approx(BUMP, abs=2e-3)


@pytest.mark.parametrize("nu", ["linear", "tanh"])
def test_full_fits_turned_until_diagonal_are_the_mean_field_fits(nu):
    toy, truth = data.toy_model(nu, (2.0, 0.5), n=200, noise_std=0.1)
    field = rot.fit_toy(toy.x, nu, 0.1, "shared_diagonal", seed=1)
    full = rot.fit_toy(toy.x, nu, 0.1, "shared", seed=0)
    A, covariance = rot.align(full.A, full.covariance)
    assert covariance[0, 1] == 0
    assert full.negative_elbo == pytest.approx(field.negative_elbo, abs=1e-3)
    angles = torch.tensor([rotation(field.A, truth.W), rotation(A, truth.W)])
    assert rot.circular_spread(angles)[1] < 0.3
    # (d) of the theorem: linear ν, so that the Hessian is AᵀA/σ².
    if nu == "linear":
        precision = torch.eye(2, dtype=torch.float64) + full.A.T @ full.A / 0.01
        torch.testing.assert_close(
            torch.linalg.inv(full.covariance), precision, rtol=1e-3, atol=0.1
        )


@pytest.mark.parametrize(("law", "kurtosis"), [("uniform", -1.2), ("laplace", 3), ("gaussian", 0)])
def test_the_moment_of_darmois_and_skitovich(law, kurtosis, generator):
    N = 300_000
    if law == "uniform":
        z = (torch.rand(N, 2, generator=generator) - 0.5) * math.sqrt(12)
    elif law == "laplace":
        u = torch.rand(N, 2, 2, generator=generator).clamp_min(1e-30).log()
        z = (u[..., 0] - u[..., 1]) / math.sqrt(2)
    else:
        z = torch.randn(N, 2, generator=generator)
    m = rot.independence_moments(z.double() @ rot.plane_rotation(45).T)
    assert abs(m.squares - kurtosis / 2) < 4.5 * m.squares_error
    assert abs(m.covariance) < 4.5 * m.covariance_error


def test_the_swirl_keeps_lengths_and_is_no_rotation(generator):
    z = torch.randn(50, 2, generator=generator, dtype=torch.float64)
    moved = rot.swirl(z)
    torch.testing.assert_close(moved.norm(dim=-1), z.norm(dim=-1))
    assert float((moved - z @ torch.linalg.lstsq(z, moved).solution).abs().max()) > 0.1


def test_angles_are_averaged_on_a_circle_of_ninety_degrees():
    assert rot.circular_mean(torch.tensor([89.0, 1.0, 91.0, 179.0])) % 90 == pytest.approx(
        0, abs=1e-9
    ) or rot.circular_mean(torch.tensor([89.0, 1.0, 91.0, 179.0])) == pytest.approx(90, abs=1e-9)
    length, spread = rot.circular_spread(torch.tensor([10.0, 100.0, 190.0]))
    assert length == pytest.approx(1)
    assert spread == pytest.approx(0, abs=1e-5)
    length, _ = rot.circular_spread(torch.tensor([0.0, 22.5, 45.0, 67.5]))
    assert length == pytest.approx(0, abs=1e-12)
    small = torch.tensor([-2.0, 2.0, -2.0, 2.0])
    assert rot.circular_spread(small)[1] == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rot.plane_rotation(10, 2, 1, 1), "two different ones"),
        (lambda: rot.plane_rotation(10, 2, 0, 2), "two different ones"),
        (lambda: rot.mean_field_gap(10.0, -1.0, 1.0), "finite and ≥ 0"),
        (lambda: rot.mean_field_gap(10.0, 1.0, 1.0, 0.0), "must be a finite number > 0"),
        (lambda: rot.independence_moments(torch.zeros(4, 3)), r"expected \(N, 2\)"),
        (lambda: rot.fit_toy(torch.zeros(4, 3), "tanh", 0.1, "full"), "choose one of shared"),
        (lambda: rot.fit_toy(torch.zeros(4, 3), "tanh", 0.0, "shared"), "expected a number > 0"),
        (lambda: rot.fit_toy(torch.ones(4, 3), "sin", 0.1, "shared"), "is unknown"),
    ],
)
def test_bad_input_is_refused_with_advice(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("nu", toy_uniqueness.NONLINEARITIES)
def test_the_toy_s_decoder_can_be_the_function_that_made_the_data(nu):
    """With A = W and b = 0 the decoder that is trained gives ν(Wz): same ν, same slopes."""
    job = next(job for job in toy_uniqueness.jobs("cpu") if job.labels["nu"] == nu)
    made, truth = data.toy_model(nu, job.data["column_norms"], n=50, noise_std=0.0)
    decoder = models.build(**job.model).decoder.double()
    decoder.weight.data.copy_(truth.W)
    decoder.bias.data.zero_()
    assert bool((truth.z @ truth.W.T < 0).any())
    torch.testing.assert_close(decoder(truth.z).detach().float(), made.x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("nu", ["identity", "softplus"])
def test_a_turned_model_is_the_same_model_with_other_axes(nu):
    """Same decoded pictures, posteriors turned; any loss that sees no axes is equal."""
    model = models.build("toy", shape=[3], latent_dim=2, hidden=[], output=nu, family="shared")
    model = model.double()
    with torch.no_grad():
        model.encoder.shared_raw.copy_(torch.tensor([-1.0, 0.3, 0.7], dtype=torch.float64))
    R = rot.plane_rotation(33.0)
    turned = rot.turn_model(model, R)
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before, after = model.encode(x), turned.encode(x)
    torch.testing.assert_close(after.mean, before.mean @ R.T, rtol=0, atol=1e-12)
    expected = R @ before.covariance @ R.T
    torch.testing.assert_close(after.covariance, expected, rtol=0, atol=1e-12)
    shown = model.decoder(before.mean), turned.decoder(after.mean)
    torch.testing.assert_close(*shown, rtol=0, atol=1e-12)
    losses = [
        objectives.TaylorVAE(0.3, family="shared")(m, x, torch.Generator())["total"]
        for m in (model, turned)
    ]
    torch.testing.assert_close(*losses, rtol=0, atol=1e-12)


def test_a_model_that_cannot_be_turned_is_refused():
    model = models.build("toy", shape=[3], latent_dim=2, hidden=[], family="shared_diagonal")
    with pytest.raises(ValueError, match="'shared_diagonal'} was given; only the toy with family"):
        rot.turn_model(model, rot.plane_rotation(10.0))
