"""Decoder derivatives and optimal covariances: every one against a dense float64 oracle.

Closed forms by name: B1 (order of the bounds), B3 (singular values), C1 … C6 (families).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grae_lib import geometry, likelihoods, models, objectives, posteriors

ACTIVATIONS = sorted(models.ACTIVATIONS)
CONV = {"architecture": "conv", "shape": (2, 8, 8), "hidden": (4, 3)}
MLP = {"architecture": "mlp", "shape": (7,), "hidden": (6, 5)}
EXACT = {"rtol": 1e-11, "atol": 1e-11}
FAST = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def decoder(activation="tanh", output="sigmoid", latent_dim=4, seed=1, **architecture):
    model = models.build(
        latent_dim=latent_dim,
        activation=activation,
        output=output,
        seed=seed,
        **(architecture or MLP),
    ).double()
    return model.decoder.requires_grad_(False)


def latents(generator, batch=3, d=4):
    return torch.randn(batch, d, generator=generator, dtype=torch.float64)


def dense_jacobian(g, z):
    rows = [torch.autograd.functional.jacobian(lambda v: g(v[None])[0], v) for v in z]
    return torch.stack(rows)


def random_jacobian(generator, batch=3, n=9, d=6, scale=1.0):
    return scale * torch.randn(batch, n, d, generator=generator, dtype=torch.float64)


def loss_of_covariance(G, sigma, beta):
    """What Σ pays: ½tr(GΣ) + β·KL(N(0, Σ) ‖ N(0, I)), (B,)."""
    zero = torch.zeros(sigma.shape[:-1], dtype=sigma.dtype)
    trace = (G * sigma).sum((-2, -1))
    return 0.5 * trace + beta * posteriors.kl_to_standard_normal(zero, sigma)


def block_mask(d, size):
    return torch.block_diag(*[torch.ones(size, size, dtype=torch.float64)] * (d // size))


def rotation(theta):
    c, s = math.cos(theta), math.sin(theta)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


# Derivatives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output", models.OUTPUTS)
def test_jacobian_of_an_mlp_equals_reverse_mode(activation, output, generator):
    g, z = decoder(activation, output), latents(generator)
    x_hat, J = geometry.jacobian(g, z)
    assert J.shape == (3, 7, 4)
    torch.testing.assert_close(x_hat, g(z), **EXACT)
    torch.testing.assert_close(J, dense_jacobian(g, z), **EXACT)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jacobian_of_a_convolutional_decoder_equals_reverse_mode(activation, generator):
    g, z = decoder(activation, **CONV), latents(generator)
    x_hat, J = geometry.jacobian(g, z)
    assert J.shape == (3, 128, 4)
    torch.testing.assert_close(x_hat, g(z), **EXACT)
    torch.testing.assert_close(J, dense_jacobian(g, z), **EXACT)


@pytest.mark.parametrize("architecture", [MLP, CONV], ids=["mlp", "conv"])
def test_one_column_equals_that_column_of_the_jacobian(architecture, generator):
    g, z = decoder(**architecture), latents(generator)
    x_hat, J = geometry.jacobian(g, z)
    for i in range(4):
        value, column = geometry.jacobian_column(g, z, i)
        torch.testing.assert_close(value, x_hat, **EXACT)
        torch.testing.assert_close(column, J[:, :, i], **EXACT)
    for index in itertools.product(range(4), repeat=3):
        _, column = geometry.jacobian_column(g, z, torch.tensor(index))
        torch.testing.assert_close(
            column, torch.stack([J[b, :, i] for b, i in enumerate(index)]), **EXACT
        )


def test_the_jacobian_can_be_differentiated_with_respect_to_the_parameters(generator):
    """Training needs ∂J/∂θ: reverse over θ of forward over z, against finite differences."""
    model = models.build(latent_dim=3, shape=(4,), hidden=(3,), output="identity").double()
    z = latents(generator, 2, 3)
    weight = model.decoder[0].weight

    def value(w):
        previous = weight.detach().clone()
        with torch.no_grad():
            weight.copy_(w)
        _, J = geometry.jacobian(model.decoder, z)
        result = objectives.log_det_regularizer(geometry.pullback_metric(J), 0.3).sum()
        with torch.no_grad():
            weight.copy_(previous)
        return result

    _, J = geometry.jacobian(model.decoder, z)
    total = objectives.log_det_regularizer(geometry.pullback_metric(J), 0.3).sum()
    (gradient,) = torch.autograd.grad(total, weight)
    base, step = weight.detach().clone(), 1e-6
    for i, j in itertools.product(*map(range, base.shape)):
        moved = base.clone()
        moved[i, j] += step
        back = base.clone()
        back[i, j] -= step
        numeric = (value(moved) - value(back)) / (2 * step)
        assert float(gradient[i, j]) == pytest.approx(float(numeric.detach()), rel=1e-6, abs=1e-8)


def test_the_pullback_metric_is_the_transposed_jacobian_times_the_jacobian(generator):
    J = random_jacobian(generator, n=9, d=4)
    precision = torch.rand(3, 9, generator=generator, dtype=torch.float64)
    G, weighted = geometry.pullback_metric(J), geometry.pullback_metric(J, precision)
    for b in range(3):
        torch.testing.assert_close(G[b], J[b].T @ J[b], **EXACT)
        torch.testing.assert_close(weighted[b], J[b].T @ torch.diag(precision[b]) @ J[b], **EXACT)


def test_the_metric_gives_the_squared_length_of_a_small_step(generator):
    g, z = decoder(), latents(generator)
    step = 1e-5 * latents(generator)
    _, J = geometry.jacobian(g, z)
    moved = (g(z + step) - g(z - step)).square().sum(-1) / 4
    predicted = (step[:, None, :] @ geometry.pullback_metric(J) @ step[:, :, None]).flatten()
    torch.testing.assert_close(moved, predicted, rtol=1e-7, atol=0)


@pytest.mark.parametrize("likelihood", likelihoods.LIKELIHOODS)
@pytest.mark.parametrize("architecture", [MLP, CONV], ids=["mlp", "conv"])
def test_the_log_likelihood_hessian_equals_torch_func_hessian(likelihood, architecture, generator):
    output = "sigmoid" if likelihood == "bernoulli_probability" else "identity"
    g, z = decoder(output=output, **architecture), latents(generator)
    x = torch.rand(3, g(z).shape[1], generator=generator, dtype=torch.float64)
    found = geometry.log_likelihood_hessian(g, x, z, likelihood)
    assert found.shape == (3, 4, 4)
    for b in range(3):

        def log_p(v, b=b):
            return -likelihoods.distortion(x[b : b + 1], g(v[None]), likelihood)[0]

        torch.testing.assert_close(found[b], torch.func.hessian(log_p)(z[b]), **EXACT)


@pytest.mark.parametrize("likelihood", likelihoods.LIKELIHOODS)
def test_the_precision_is_the_curvature_of_the_distortion_in_the_output(likelihood, generator):
    x = torch.rand(2, 5, generator=generator, dtype=torch.float64)
    output = 0.1 + 0.8 * torch.rand(2, 5, generator=generator, dtype=torch.float64)
    found = likelihoods.precision(x, output, likelihood)
    for b in range(2):
        curvature = torch.func.hessian(
            lambda o, b=b: likelihoods.distortion(x[b : b + 1], o[None], likelihood)[0]
        )(output[b])
        expected = torch.ones(5).double() if found is None else found[b]
        torch.testing.assert_close(torch.diag(expected), curvature, **EXACT)


def test_distortion_is_half_the_squared_error_summed_over_entries():
    """The convention on which the meaning of β rests: summed, with the ½."""
    x = torch.tensor([[[1.0, 0.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    output = torch.tensor([[0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0]])
    assert likelihoods.distortion(x, output).tolist() == [0.5 * (1 + 4 + 0.25), 4.5]


def test_bernoulli_distortions_equal_torch_distributions(generator):
    logits = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    x = (torch.rand(3, 5, generator=generator) < 0.5).double()
    expected = -torch.distributions.Bernoulli(logits=logits).log_prob(x).sum(-1)
    p = likelihoods.mean(logits, "bernoulli")
    torch.testing.assert_close(likelihoods.distortion(x, logits, "bernoulli"), expected, **EXACT)
    torch.testing.assert_close(
        likelihoods.distortion(x, p, "bernoulli_probability"), expected, **EXACT
    )


def test_column_norms_and_cosines(generator):
    J = random_jacobian(generator, d=3)
    cosines = geometry.column_cosines(geometry.pullback_metric(J))
    for i, j in itertools.product(range(3), repeat=2):
        expected = torch.cosine_similarity(J[:, :, i], J[:, :, j], dim=1).abs()
        torch.testing.assert_close(cosines[:, i, j], expected, **EXACT)
    torch.testing.assert_close(geometry.column_norms(J), J.norm(dim=1), **EXACT)


# B. The bounds -------------------------------------------------------------------------------


@FAST
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 12),
    blocks=st.sampled_from([(4, 2), (6, 2), (6, 3), (8, 4), (5, 1), (5, 5)]),
    log_beta=st.floats(-7, 4),
    log_scale=st.floats(-4, 4),
)
def test_B1_log_det_block_columns_frobenius_are_ordered(seed, n, blocks, log_beta, log_scale):
    """B1: log|P| ≤ Σ log|P_BB| ≤ Σ log P_ii ≤ d·log(1 + ‖J‖²_F/(dβ)), for any J and β."""
    (d, size), beta = blocks, math.exp(log_beta)
    generator = torch.Generator().manual_seed(seed)
    J = random_jacobian(generator, 2, n, d, math.exp(log_scale))
    G = geometry.pullback_metric(J)
    full = objectives.log_det_regularizer_from_jacobian(J, beta)
    block = objectives.block_regularizer(G, beta, size)
    columns = objectives.column_regularizer(G, beta)
    frobenius = 0.5 * beta * d * torch.log1p(J.square().sum((1, 2)) / (d * beta))
    slack = 1e-9 * frobenius
    assert bool((full <= block + slack).all())
    assert bool((block <= columns + slack).all())
    assert bool((columns <= frobenius + slack).all())
    assert bool((full >= 0).all())


def test_B1_each_bound_is_the_log_determinant_it_is_named_after(generator):
    """B1 with numpy's determinants, not the library's Cholesky."""
    J, beta = random_jacobian(generator), 0.4
    G = geometry.pullback_metric(J)
    P = np.eye(6) + G.numpy() / beta
    full = 0.5 * beta * np.linalg.slogdet(P)[1]
    np.testing.assert_allclose(objectives.log_det_regularizer(G, beta), full, rtol=1e-12)
    for size in (1, 2, 3, 6):
        blocks = [P[:, i : i + size, i : i + size] for i in range(0, 6, size)]
        value = 0.5 * beta * sum(np.linalg.slogdet(b)[1] for b in blocks)
        np.testing.assert_allclose(objectives.block_regularizer(G, beta, size), value, rtol=1e-12)
    columns = 0.5 * beta * np.log(np.diagonal(P, axis1=1, axis2=2)).sum(1)
    np.testing.assert_allclose(objectives.column_regularizer(G, beta), columns, rtol=1e-12)


def test_B1_the_hadamard_gap_vanishes_iff_the_columns_are_orthogonal(generator):
    J, beta = random_jacobian(generator), 0.4
    q, _ = torch.linalg.qr(J)
    norms = 0.1 + torch.rand(3, 1, 6, generator=generator, dtype=torch.float64)
    G = geometry.pullback_metric(q * norms)
    gap = objectives.column_regularizer(G, beta) - objectives.log_det_regularizer(G, beta)
    assert float(gap.abs().max()) < 1e-13
    tilted = q * norms
    tilted[:, :, 0] += 1e-3 * tilted[:, :, 1]
    G = geometry.pullback_metric(tilted)
    gap = objectives.column_regularizer(G, beta) - objectives.log_det_regularizer(G, beta)
    assert bool((gap > 1e-10).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_B3_singular_values_stay_accurate_where_a_determinant_fails(dtype):
    """B3: log|I + G/β| = Σ log1p(s²/β), with columns from 1e+4 down to 1e-12 and β = 1e-6."""
    beta = 1e-6
    s = torch.tensor([1e4, 1.0, 1e-3, 1e-6, 1e-9, 1e-12], dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    u, _ = torch.linalg.qr(torch.randn(40, 6, generator=generator, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    J = ((u * s) @ v.T)[None]
    expected = 0.5 * beta * torch.log1p(s.square() / beta).sum()
    value = objectives.log_det_regularizer_from_jacobian(J.to(dtype), beta)
    assert bool(torch.isfinite(value).all())
    tolerance = 1e-9 if dtype == torch.float64 else 0.05
    assert float(value) == pytest.approx(float(expected), rel=tolerance)
    G = geometry.pullback_metric(J.to(dtype))
    assert float(torch.linalg.det(G)) <= 1e-20 or not math.isfinite(float(torch.linalg.det(G)))


def test_B3_where_the_cholesky_cannot_be_computed_it_says_nan_and_svd_a_number():
    """B3: an indefinite P by rounding gives NaN, never a wrong number; singular values give all."""
    generator = torch.Generator().manual_seed(0)
    J = 1e4 * torch.randn(64, 20, 1, generator=generator).expand(-1, -1, 8)
    J = J * (1 + 1e-4 * torch.randn(64, 20, 8, generator=generator))
    G, beta = geometry.pullback_metric(J), 1e-3
    by_cholesky = objectives.log_det_regularizer(G, beta)
    by_svd = objectives.log_det_regularizer_from_jacobian(J, beta)
    truth = objectives.log_det_regularizer_from_jacobian(J.double(), beta)
    assert bool(by_cholesky.isnan().any())
    assert bool(torch.isfinite(by_svd).all())
    torch.testing.assert_close(by_svd.double(), truth, rtol=0.02, atol=0)


def test_B3_tiny_singular_values_are_not_lost_to_the_one(generator):
    """B3: s²/β ≈ 1e-18 vanishes beside 1 in I + G/β; log1p keeps it."""
    J = random_jacobian(generator, scale=1e-9)
    expected = 0.5 * J.square().sum((1, 2))
    value = objectives.log_det_regularizer_from_jacobian(J, 1.0)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    columns = objectives.column_regularizer(geometry.pullback_metric(J), 1.0)
    torch.testing.assert_close(columns, expected, rtol=1e-12, atol=0)


# C. Posterior families -----------------------------------------------------------------------

FAMILIES = [("full", None, 6), ("block", 2, 2), ("block", 3, 3), ("diagonal", None, 1)]


@pytest.mark.parametrize(("family", "block_size", "size"), FAMILIES)
def test_C1_the_optimal_covariance_and_its_value(family, block_size, size, generator):
    """C1: Σ_B = (I + J_BᵀJ_B/β)⁻¹ block by block; what it pays is (β/2) Σ_B log|P_BB|."""
    J, beta = random_jacobian(generator), 0.3
    G = geometry.pullback_metric(J)
    sigma = geometry.optimal_covariance(G, beta, family, block_size)
    expected = torch.zeros_like(sigma)
    value = torch.zeros(3, dtype=torch.float64)
    for start in range(0, 6, size):
        part = slice(start, start + size)
        P = torch.eye(size).double() + J[:, :, part].mT @ J[:, :, part] / beta
        expected[:, part, part] = torch.linalg.inv(P)
        value += 0.5 * beta * torch.logdet(P)
    torch.testing.assert_close(sigma, expected, **EXACT)
    torch.testing.assert_close(loss_of_covariance(G, sigma, beta), value, **EXACT)


@pytest.mark.parametrize(("family", "block_size", "size"), FAMILIES)
def test_C1_no_covariance_of_the_family_pays_less(family, block_size, size, generator):
    """C1: the gradient within the family is zero and every perturbation of Σ costs."""
    J, beta = random_jacobian(generator), 0.3
    G = geometry.pullback_metric(J)
    mask = block_mask(6, size)
    sigma = geometry.optimal_covariance(G, beta, family, block_size).requires_grad_()
    best = loss_of_covariance(G, sigma, beta)
    # The Cholesky in the loss reads one triangle: symmetrise its gradient.
    (gradient,) = torch.autograd.grad(best.sum(), sigma)
    gradient = (gradient + gradient.mT) * mask
    assert float(gradient.abs().max()) < 1e-12
    for _ in range(20):
        change = torch.randn(3, 6, 6, generator=generator, dtype=torch.float64)
        smallest = torch.linalg.eigvalsh(sigma.detach())[:, :1, None]
        step = 0.01 * smallest / 6 * mask * (change @ change.mT - 3 * torch.eye(6))
        moved = sigma.detach() + step
        assert bool((loss_of_covariance(G, moved, beta) > best.detach()).all())


@pytest.mark.parametrize(("family", "block_size", "size"), FAMILIES[1:])
def test_C1_the_blocks_of_the_full_inverse_are_the_wrong_answer(
    family, block_size, size, generator
):
    """C1: cutting blocks out of P⁻¹ pays strictly more than the inverses of the blocks of P."""
    J, beta = random_jacobian(generator), 0.3
    G = geometry.pullback_metric(J)
    right = geometry.optimal_covariance(G, beta, family, block_size)
    wrong = geometry.optimal_covariance(G, beta, "full") * block_mask(6, size)
    excess = loss_of_covariance(G, wrong, beta) - loss_of_covariance(G, right, beta)
    assert bool((excess > 1e-3).all())


def test_C1_the_excess_over_full_is_beta_times_the_kl_to_the_full_posterior(generator):
    """C1: loss(Σ) − loss(Σ_full) = β·KL(q ‖ q_full) for every Σ, optimal or not."""
    J, beta = random_jacobian(generator), 0.3
    G = geometry.pullback_metric(J)
    full = geometry.optimal_covariance(G, beta)
    zero = torch.zeros(3, 6, dtype=torch.float64)
    a = torch.randn(3, 6, 6, generator=generator, dtype=torch.float64)
    candidates = [
        geometry.optimal_covariance(G, beta, "diagonal"),
        geometry.optimal_covariance(G, beta, "block", 3),
        full * block_mask(6, 2),
        a @ a.mT + torch.eye(6),
        full,
    ]
    for sigma in candidates:
        excess = loss_of_covariance(G, sigma, beta) - loss_of_covariance(G, full, beta)
        kl = posteriors.kl_between(zero, sigma, zero, full)
        torch.testing.assert_close(excess, beta * kl, rtol=1e-10, atol=1e-11)


def test_C2_the_block_objective_ignores_rotations_inside_a_block(generator):
    """C2: right-multiplying J by a block-diagonal rotation changes the diagonal form only."""
    J, beta = random_jacobian(generator), 0.3
    parts = [torch.linalg.qr(torch.randn(3, 3, generator=generator).double())[0] for _ in "ab"]
    turned = J @ torch.block_diag(*parts)
    across, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator).double())
    G, H = geometry.pullback_metric(J), geometry.pullback_metric(turned)
    K = geometry.pullback_metric(J @ across)

    def values(metric):
        return (
            objectives.log_det_regularizer(metric, beta),
            objectives.block_regularizer(metric, beta, 3),
            objectives.column_regularizer(metric, beta),
        )

    (full, block, columns), inside, outside = values(G), values(H), values(K)
    torch.testing.assert_close(inside[0], full, **EXACT)
    torch.testing.assert_close(inside[1], block, **EXACT)
    assert bool(((inside[2] - columns).abs() > 1e-3).all())
    torch.testing.assert_close(outside[0], full, **EXACT)
    assert bool(((outside[1] - block).abs() > 1e-3).all())


@pytest.mark.parametrize("family", ["shared", "shared_diagonal"])
def test_C3_one_covariance_for_all_x_uses_the_mean_metric(family, generator):
    """C3: Σ = (I + E[JᵀJ]/β)⁻¹ minimises the average loss, and log|E P| ≥ E log|P|."""
    J, beta = random_jacobian(generator, batch=8), 0.3
    G = geometry.pullback_metric(J)
    sigma = geometry.optimal_covariance(G, beta, family)
    mean_G = G.mean(0)
    if family == "shared_diagonal":
        mean_G = torch.diag(mean_G.diagonal())
    expected = torch.linalg.inv(torch.eye(6) + mean_G / beta)
    torch.testing.assert_close(sigma, expected.expand(8, 6, 6), **EXACT)
    own = geometry.optimal_covariance(G, beta, "full" if family == "shared" else "diagonal")
    best = loss_of_covariance(G, sigma, beta).mean()
    for scale in (0.97, 1.03):
        assert float(loss_of_covariance(G, scale * sigma, beta).mean()) > float(best)
    assert float(best) > float(loss_of_covariance(G, own, beta).mean())
    P = torch.eye(6) + G / beta
    assert float(torch.logdet(P.mean(0))) > float(torch.logdet(P).mean())


@pytest.mark.parametrize(("a", "b", "beta"), [(4.0, 0.25, 0.0025), (3.0, 1.0, 0.5), (2.0, 2.0, 1)])
def test_C4_the_rotation_curve(a, b, beta):
    """C4: gap(θ) = (β/2) log[1 + (A−B)² sin²2θ / (4(1+A)(1+B))]; the full family is flat."""
    J = torch.zeros(1, 5, 2, dtype=torch.float64)
    J[0, 1, 0], J[0, 3, 1] = math.sqrt(a), math.sqrt(b)
    A, B = a / beta, b / beta
    full = objectives.log_det_regularizer(geometry.pullback_metric(J), beta)
    for degrees in range(0, 181, 5):
        theta = math.radians(degrees)
        G = geometry.pullback_metric(J @ rotation(theta))
        gap = objectives.column_regularizer(G, beta) - objectives.log_det_regularizer(G, beta)
        ratio = (A - B) ** 2 * math.sin(2 * theta) ** 2 / (4 * (1 + A) * (1 + B))
        assert float(gap) == pytest.approx(0.5 * beta * math.log1p(ratio), rel=1e-9, abs=1e-12)
        torch.testing.assert_close(objectives.log_det_regularizer(G, beta), full, **EXACT)
        if a == b or degrees % 90 == 0:
            assert abs(float(gap)) < 1e-12
        else:
            assert float(gap) > 1e-6


def test_C5_the_toy_check_with_the_encoder_refitted_at_each_angle():
    """C5: 0, .313, .642, .750, .642, .313, 0: the whole negative ELBO of a linear toy, x in 3-D.

    At each angle the encoder's mean (ridge regression) and its diagonal covariance are refitted;
    only Σ's share moves, since the prior and the ridge fit do not see rotations.
    """
    noise = 0.05**2
    columns = torch.tensor([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(5)
    basis, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    x = torch.randn(50, 3, generator=generator, dtype=torch.float64)

    def negative_elbo(theta):
        W = basis @ columns @ rotation(theta)
        h = x @ W @ torch.linalg.inv(W.T @ W + noise * torch.eye(2, dtype=torch.float64))
        G = (W.T @ W / noise).expand(50, 2, 2)
        sigma = geometry.optimal_covariance(G, 1.0, "diagonal")
        fit = (x - h @ W.T).square().sum(1) / (2 * noise)
        return (
            fit + 0.5 * (G * sigma).sum((1, 2)) + posteriors.kl_to_standard_normal(h, sigma)
        ).mean()

    curve = [float(negative_elbo(math.radians(15 * k)) - negative_elbo(0.0)) for k in range(7)]
    np.testing.assert_allclose(curve, [0, 0.313, 0.642, 0.750, 0.642, 0.313, 0], atol=5e-4)


def quadrature(name):
    """Nodes and weights that integrate polynomials up to degree 8 exactly; unit variance."""
    if name == "uniform":
        nodes, weights = np.polynomial.legendre.leggauss(10)
        return nodes * math.sqrt(3), weights / 2
    if name == "gaussian":
        nodes, weights = np.polynomial.hermite_e.hermegauss(10)
        return nodes, weights / weights.sum()
    nodes, weights = np.polynomial.laguerre.laggauss(10)
    return np.concatenate([-nodes, nodes]) / math.sqrt(2), np.concatenate([weights, weights]) / 2


@pytest.mark.parametrize(
    ("name", "expected"), [("uniform", -0.6), ("laplace", 1.5), ("gaussian", 0)]
)
def test_C6_darmois_skitovich_in_moments(name, expected):
    """C6: latents rotated by 45° have cov(y₁², y₂²) = κ/2: only Gaussians stay independent."""
    nodes, weights = quadrature(name)
    z = np.stack(np.meshgrid(nodes, nodes, indexing="ij"))
    w = np.outer(weights, weights)
    assert (w * z[0] ** 2).sum() == pytest.approx(1, abs=1e-12)
    kurtosis = (w * z[0] ** 4).sum() - 3
    y = np.tensordot(rotation(math.pi / 4).numpy(), z, 1)
    covariance = (w * y[0] ** 2 * y[1] ** 2).sum() - (w * y[0] ** 2).sum() * (w * y[1] ** 2).sum()
    assert covariance == pytest.approx(kurtosis / 2, abs=1e-10)
    assert covariance == pytest.approx(expected, abs=1e-10)
    assert (w * y[0] * y[1]).sum() == pytest.approx(0, abs=1e-12)
