"""How good the second-order expansion is: D1 … D4, slopes fitted in log–log with stated bands."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from grae_lib import geometry, likelihoods, models, objectives
from grae_lib.posteriors import Posterior

EXACT = {"rtol": 1e-11, "atol": 1e-11}


def decoder(latent_dim=2, n=6, hidden=(5,), activation="tanh", output="identity", gain=2.0, seed=3):
    """A float64 decoder, its weights scaled by `gain` so that it curves."""
    built = models.build(
        shape=(n,),
        latent_dim=latent_dim,
        hidden=hidden,
        activation=activation,
        output=output,
        seed=seed,
    ).double()
    with torch.no_grad():
        for p in built.decoder.parameters():
            p.mul_(gain)
    return built.decoder.requires_grad_(False)


def with_posterior(g, mean, covariance, family="full"):
    """What an objective needs of a model, with a posterior that is given instead of learned."""
    q = Posterior(mean, torch.linalg.cholesky(covariance))
    return SimpleNamespace(
        encode=lambda x: q,
        decoder=g,
        latent_dim=mean.shape[-1],
        config={"family": family, "block_size": None},
    )


def expected_distortion(g, x, mean, covariance, likelihood="gaussian", nodes=40):
    """E_q[−log p(x|z)] by Gauss–Hermite quadrature, (B,)."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = torch.from_numpy(weights / weights.sum())
    points, d = torch.from_numpy(points), mean.shape[-1]
    grid = torch.cartesian_prod(*[points] * d).view(-1, d)
    mass = torch.cartesian_prod(*[weights] * d).view(-1, d).prod(-1)
    factor = torch.linalg.cholesky(covariance)
    values = []
    for b in range(len(mean)):
        z = mean[b] + grid @ factor[b].T
        values.append(mass @ likelihoods.distortion(x[b].expand(len(z), -1), g(z), likelihood))
    return torch.stack(values)


def taylor_distortion(g, x, mean, covariance, hessian, likelihood="gaussian"):
    objective = objectives.TaylorVAE(1.0, likelihood=likelihood, hessian=hessian)
    return objective(with_posterior(g, mean, covariance), x)["distortion"]


def slope(betas, errors):
    return float(np.polyfit(np.log(betas), np.log(errors), 1)[0])


# D1 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hessian", ["exact", "gauss_newton"])
def test_D1_the_expansion_is_exact_for_a_linear_decoder(hessian, generator):
    """D1: E_q[distortion] by quadrature equals the Taylor form for any Σ, small or large."""
    g = decoder(hidden=(), activation="identity")
    mean = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    x = torch.rand(4, 6, generator=generator, dtype=torch.float64)
    for scale in (1e-3, 1.0, 30.0):
        a = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64)
        covariance = scale * (a @ a.mT + 0.1 * torch.eye(2))
        truth = expected_distortion(g, x, mean, covariance, nodes=8)
        found = taylor_distortion(g, x, mean, covariance, hessian)
        torch.testing.assert_close(found, truth, rtol=1e-11, atol=0)


def test_D1_the_whole_objective_equals_the_expected_beta_vae_for_a_linear_decoder(generator):
    """D1: β-VAE terms averaged over Gauss–Hermite nodes put in the place of ε."""
    g = decoder(hidden=(), activation="identity")
    mean = torch.randn(1, 2, generator=generator, dtype=torch.float64)
    covariance = torch.tensor([[[0.7, 0.2], [0.2, 0.4]]], dtype=torch.float64)
    model = with_posterior(g, mean, covariance)
    x = torch.rand(1, 6, generator=generator, dtype=torch.float64)
    points, weights = np.polynomial.hermite_e.hermegauss(6)
    grid = torch.cartesian_prod(*[torch.from_numpy(points)] * 2)
    mass = torch.cartesian_prod(*[torch.from_numpy(weights / weights.sum())] * 2).prod(-1)
    sampled = objectives.BetaVAE(0.4)
    total = sum(
        m * sampled.terms(model, x, {"epsilon": e[None]}, {"beta": 0.4})["total"]
        for m, e in zip(mass, grid, strict=True)
    )
    for hessian in ("exact", "gauss_newton"):
        found = objectives.TaylorVAE(0.4, hessian=hessian)(model, x)["total"]
        torch.testing.assert_close(found, total, rtol=1e-12, atol=0)


# D2 ------------------------------------------------------------------------------------------

BETAS = np.geomspace(1e-4, 1e-2, 7)


def smooth_errors(hessian, residual, likelihood="gaussian"):
    """|E_q − Taylor| at the optimal Σ, mean over four points, for each β."""
    generator = torch.Generator().manual_seed(11)
    g = decoder(activation="tanh")
    mean = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    x, J = geometry.jacobian(g, mean)
    if likelihood == "bernoulli":
        J = J * likelihoods.precision(x, x, "bernoulli").sqrt().unsqueeze(-1)
        x = torch.sigmoid(x)
    x = x + residual * torch.randn(4, 6, generator=generator, dtype=torch.float64)
    G = geometry.pullback_metric(J)
    errors = []
    for beta in BETAS:
        sigma = geometry.optimal_covariance(G, float(beta))
        truth = expected_distortion(g, x, mean, sigma, likelihood)
        found = taylor_distortion(g, x, mean, sigma, hessian, likelihood)
        errors.append(float((found - truth).abs().mean()))
    return errors


SLOPES = [
    ("exact", 0.5, "gaussian", (1.9, 2.1)),
    ("exact", 0.0, "gaussian", (1.9, 2.1)),
    ("gauss_newton", 0.0, "gaussian", (1.9, 2.1)),
    ("gauss_newton", 0.5, "gaussian", (0.9, 1.1)),
    ("exact", 0.0, "bernoulli", (1.8, 2.1)),
]


@pytest.mark.parametrize(("hessian", "residual", "likelihood", "band"), SLOPES)
def test_D2_order_of_the_error_for_a_smooth_decoder(hessian, residual, likelihood, band):
    """D2: exact Hessian O(β²); Gauss–Newton O(β) with residuals, O(β²) without."""
    found = slope(BETAS, smooth_errors(hessian, residual, likelihood))
    assert band[0] < found < band[1]


def test_D2_the_quadrature_has_converged():
    """D2 compares with the truth only if more nodes change nothing."""
    g = decoder(activation="tanh")
    mean = torch.tensor([[0.3, -0.8]], dtype=torch.float64)
    x, J = geometry.jacobian(g, mean)
    sigma = geometry.optimal_covariance(geometry.pullback_metric(J), float(BETAS[-1]))
    few, many = (expected_distortion(g, x, mean, sigma, nodes=n) for n in (40, 60))
    assert float((few - many).abs()) < 1e-10 * float(many)


# D3 ------------------------------------------------------------------------------------------


def relu_decoder():
    g = decoder(latent_dim=1, n=5, hidden=(6,), activation="relu", gain=1.0, seed=5)
    with torch.no_grad():
        # Kinks spread over (−1.5, 1.5), slopes of order one on every piece.
        g[0].weight.copy_(torch.tensor([[1.0], [-1.2], [0.8], [-0.9], [1.1], [-1.0]]))
        g[0].bias.copy_(-g[0].weight[:, 0] * torch.tensor([-1.4, -0.8, -0.3, 0.2, 0.75, 1.3]))
        g[2].weight.mul_(2.5)
    return g


def piecewise_expected_distortion(g, x, mean, sigma2):
    """E ½‖x − g(z)‖², z ~ N(mean, sigma2) in 1-D, in closed form, piece by piece, (B,).

    Between two kinks g(z) = u + s·z, so ½‖x − g‖² is a quadratic in z, and the moments of a
    Gaussian truncated to the piece are known.
    """
    kinks = np.sort((-g[0].bias / g[0].weight[:, 0]).numpy())
    edges = np.concatenate([[-np.inf], kinks, [np.inf]])
    inside = np.concatenate([[kinks[0] - 1], (kinks[1:] + kinks[:-1]) / 2, [kinks[-1] + 1]])
    value, J = geometry.jacobian(g, torch.from_numpy(inside)[:, None])
    slopes = J[:, :, 0].numpy()
    offsets = value.numpy() - slopes * inside[:, None]
    m, s = mean.numpy(), np.sqrt(sigma2.numpy())
    x, total = x.numpy(), np.zeros(len(mean))
    for j in range(len(inside)):
        a, b = (edges[j] - m) / s, (edges[j + 1] - m) / s
        # Of two equal ways to write the mass, take the one without cancellation in the tails.
        mass = np.where(a > 0, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))
        density = [np.exp(-0.5 * e**2) / math.sqrt(2 * math.pi) for e in (a, b)]
        edge = [np.where(np.isfinite(e), e, 0) * p for e, p in zip((a, b), density, strict=True)]
        first, second = density[0] - density[1], mass + edge[0] - edge[1]
        residual = x - offsets[j] - slopes[j] * m[:, None]
        rr, rs, ss = (residual**2).sum(1), residual @ slopes[j], slopes[j] @ slopes[j]
        total += 0.5 * (rr * mass - 2 * rs * s * first + ss * s**2 * second)
    return total


def relu_errors(betas, average):
    """Mean over h of |E_q − Taylor| at zero residual and optimal Σ, or its value at one h."""
    g = relu_decoder()
    h = torch.linspace(-1.8, 1.8, 20_001, dtype=torch.float64) if average else average_free_point()
    x, J = geometry.jacobian(g, h[:, None])
    G = geometry.pullback_metric(J)
    errors = []
    for beta in betas:
        sigma = geometry.optimal_covariance(G, float(beta))
        truth = piecewise_expected_distortion(g, x, h, sigma[:, 0, 0])
        found = taylor_distortion(g, x, h[:, None], sigma, "gauss_newton").numpy()
        errors.append(np.abs(found - truth).mean())
    return errors


def average_free_point():
    """One latent, .25 from the nearest kinks at −.3 and .2."""
    return torch.tensor([-0.05], dtype=torch.float64)


def test_D3_for_relu_the_pointwise_hessian_is_exact(generator):
    """D3: what 'exact for ReLU' means: g is affine around almost every z, residual or not."""
    g = decoder(hidden=(8, 7), activation="relu")
    z = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    x = torch.rand(6, 6, generator=generator, dtype=torch.float64)
    exact = geometry.log_likelihood_hessian(g, x, z)
    torch.testing.assert_close(exact, geometry.gauss_newton_hessian(g, x, z), **EXACT)
    tanh = decoder(hidden=(8, 7), activation="tanh")
    gap = geometry.log_likelihood_hessian(tanh, x, z) - geometry.gauss_newton_hessian(tanh, x, z)
    assert float(gap.abs().max()) > 1e-2


def test_D3_the_expectation_crosses_kinks_and_errs_by_beta_to_the_three_halves():
    """D3: error O(β^1.5) at zero residual, on average over the latent: a kink is within reach
    (√β) with probability O(√β), and costs O(β) there. Band 1.4 to 1.6.
    """
    betas = np.geomspace(1e-4, 1e-2, 7)
    found = slope(betas, relu_errors(betas, average=True))
    assert 1.4 < found < 1.6


def test_D3_far_from_kinks_the_error_falls_faster_than_any_power():
    """D3: at a fixed h between kinks the error is that of a Gaussian tail."""
    errors = relu_errors([3e-2, 1e-2, 3e-3], average=False)
    assert errors[0] > 30 * errors[1] > 900 * errors[2]


def test_D3_the_closed_form_of_the_pieces_agrees_with_quadrature():
    g = relu_decoder()
    h, sigma2 = torch.tensor([-0.7, 0.1]).double(), torch.tensor([0.3, 0.05]).double()
    x = torch.rand(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = piecewise_expected_distortion(g, x, h, sigma2)
    e = torch.linspace(-9, 9, 400_001, dtype=torch.float64)
    density = (-0.5 * e**2).exp() / math.sqrt(2 * math.pi)
    for b in range(2):
        z = (h[b] + sigma2[b].sqrt() * e)[:, None]
        values = likelihoods.distortion(x[b].expand(len(z), -1), g(z)) * density
        assert found[b] == pytest.approx(float(torch.trapezoid(values, e)), rel=1e-8)


# D4 ------------------------------------------------------------------------------------------


def test_D4_the_curvature_of_bernoulli_logits_has_no_x_in_it(generator):
    """D4: ∇²_a log p = −diag(p(1 − p)); for ReLU logits H = −J_aᵀ diag(p(1 − p)) J_a."""
    a = decoder(hidden=(8, 7), activation="relu")
    z = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    logits, J = geometry.jacobian(a, z)
    p = torch.sigmoid(logits)
    expected = -J.mT @ ((p * (1 - p)).unsqueeze(-1) * J)
    for x in (torch.zeros_like(p), torch.rand(6, 6, generator=generator).double()):
        torch.testing.assert_close(
            likelihoods.precision(x, logits, "bernoulli"), p * (1 - p), **EXACT
        )
        torch.testing.assert_close(
            geometry.log_likelihood_hessian(a, x, z, "bernoulli"), expected, **EXACT
        )
        torch.testing.assert_close(
            geometry.gauss_newton_hessian(a, x, z, "bernoulli"), expected, **EXACT
        )


def test_D4_probabilities_as_outputs_need_the_curvature_of_the_sigmoid(generator):
    """D4: Gauss–Newton = −Jᵀ diag((x − p)²/(p(1 − p))²) J for binary x; the true Hessian is that
    plus Σ_i (x_i − p_i)/(p_i(1 − p_i)) ∇²p_i, and ∇²p_i = p(1 − p)(1 − 2p) ∇a∇aᵀ for ReLU logits.
    """
    a = decoder(hidden=(8, 7), activation="relu")

    def g(z):
        return torch.sigmoid(a(z))

    z = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    x = (torch.rand(6, 6, generator=generator) < 0.5).double()
    p, J = geometry.jacobian(g, z)
    _, Ja = geometry.jacobian(a, z)
    weight = ((x - p) / (p * (1 - p))).square()
    gauss_newton = -J.mT @ (weight.unsqueeze(-1) * J)
    torch.testing.assert_close(
        geometry.gauss_newton_hessian(g, x, z, "bernoulli_probability"), gauss_newton, **EXACT
    )
    bend = (x - p) * (1 - 2 * p)
    sigmoid = Ja.mT @ (bend.unsqueeze(-1) * Ja)
    exact = geometry.log_likelihood_hessian(g, x, z, "bernoulli_probability")
    torch.testing.assert_close(exact, gauss_newton + sigmoid, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        exact, geometry.log_likelihood_hessian(a, x, z, "bernoulli"), rtol=1e-10, atol=1e-10
    )
    assert float(sigmoid.abs().max()) > 0.1


def test_D4_minus_identity_needs_binary_x_and_p_near_x():
    """D4: the entry of −H_p tends to 1 for x = 1, p → 1, and is 4 at x = p = ½."""

    def entry(x, p):
        value = likelihoods.precision(
            torch.tensor([[x]]).double(), torch.tensor([[p]]).double(), "bernoulli_probability"
        )
        return float(value)

    assert -entry(0.5, 0.5) == -4.0
    assert -entry(1.0, 0.999) == pytest.approx(-1, abs=3e-3)
    assert -entry(0.0, 0.001) == pytest.approx(-1, abs=3e-3)
    assert -entry(1.0, 0.5) == -4.0


def main() -> None:
    """Print the slopes that the tests hold to bands."""
    for hessian, residual, likelihood, band in SLOPES:
        found = slope(BETAS, smooth_errors(hessian, residual, likelihood))
        print(f"D2 {hessian:12} residual {residual} {likelihood:9} slope {found:.3f} band {band}")
    betas = np.geomspace(1e-4, 1e-2, 7)
    found = slope(betas, relu_errors(betas, average=True))
    print(f"D3 relu, residual 0, mean over h: slope {found:.3f} band (1.4, 1.6)")


if __name__ == "__main__":
    main()
