"""The linear decoder in closed form: A1 … A6, F1, F2, F4, by algebra and by training.

x has n = 6 entries and sample covariance S with the spectrum (5, 3, 1.5, .6, .3, .1), exactly: the
data are built from orthonormal columns, so no tolerance hides sampling error.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from grae_lib import geometry, linear_case, models, objectives, training
from grae_lib.posteriors import kl_to_standard_normal

SPECTRUM = torch.tensor([5.0, 3.0, 1.5, 0.6, 0.3, 0.1], dtype=torch.float64)
D = 4
EXACT = {"rtol": 1e-11, "atol": 1e-11}


def linear_data(n_examples=64, seed=0):
    """x (N, 6) with mean m and covariance U diag(SPECTRUM) Uᵀ exactly; returns x, m, U."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(n_examples, 7, generator=generator, dtype=torch.float64)
    raw[:, 0] = 1
    q, _ = torch.linalg.qr(raw)
    whitened = q[:, 1:] * math.sqrt(n_examples)
    U, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    m = torch.rand(6, generator=generator, dtype=torch.float64)
    return whitened * SPECTRUM.sqrt() @ U.T + m, m, U


X, M, U = linear_data()
S = U @ torch.diag(SPECTRUM) @ U.T


def closed_form(beta, d=D):
    """F*, D*, R* of A3 and A5."""
    kept = SPECTRUM[:d][SPECTRUM[:d] > beta]
    rest = float(SPECTRUM[len(kept) :].sum())
    total = 0.5 * beta * float((1 + (kept / beta).log()).sum()) + 0.5 * rest
    return total, 0.5 * (len(kept) * beta + rest), 0.5 * float((kept / beta).log().sum())


def optimal_decoder(beta, d=D, rotate=None):
    """W* = U_k(Λ_k − βI)^½ R, padded with zero columns to d."""
    k = int((SPECTRUM[:d] > beta).sum())
    W = torch.zeros(6, d, dtype=torch.float64)
    W[:, :k] = U[:, :k] * (SPECTRUM[:k] - beta).sqrt()
    return W if rotate is None else W @ rotate


def random_rotation(generator, d=D):
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]


def random_decoder(generator, d=D):
    return torch.randn(6, d, generator=generator, dtype=torch.float64)


def optimal_encoder(W, beta):
    """H with h*(x) = H(x − m): (WᵀW + βI)⁻¹Wᵀ (A2)."""
    return torch.linalg.solve(W.T @ W + beta * torch.eye(W.shape[1], dtype=torch.float64), W.T)


def linear_model(W, beta, family="diagonal", block_size=None, H=None, covariance=None):
    """A library model with decoder W z + m, the encoder H(x − m), and one Σ for all x."""
    d = W.shape[1]
    model = models.build(
        shape=(6,),
        latent_dim=d,
        hidden=(),
        activation="identity",
        output="identity",
        family=family,
        block_size=block_size,
    ).double()
    H = optimal_encoder(W, beta) if H is None else H
    layer = model.encoder.trunk[1]
    with torch.no_grad():
        model.decoder[0].weight.copy_(W)
        model.decoder[0].bias.copy_(M)
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[:d] = H
        layer.bias[:d] = -H @ M
        if covariance is not None:
            raw = parameters_of(covariance, family, block_size)
            if family.startswith("shared"):
                model.encoder.shared_raw.copy_(raw)
            else:
                layer.bias[d:] = raw
    return model.requires_grad_(False)


def parameters_of(covariance, family, block_size):
    factor = torch.linalg.cholesky(covariance)
    d = len(factor)
    size = {"diagonal": 1, "shared_diagonal": 1, "block": block_size}.get(family, d)
    index = torch.arange(d)
    allowed = torch.tril(index[:, None] // size == index[None, :] // size, -1)
    return torch.cat([factor.diagonal().log(), factor[allowed]])


def mean_terms(objective, model, x=X):
    return {k: float(v.mean()) for k, v in objective(model, x).items()}


def test_the_data_have_the_stated_covariance_exactly():
    assert float((X.mean(0) - M).abs().max()) < 1e-14
    torch.testing.assert_close((X - M).T @ (X - M) / len(X), S, **EXACT)


# A1 ------------------------------------------------------------------------------------------

MATCH = [
    ("full", None, "log_det"),
    ("shared", None, "log_det"),
    ("diagonal", None, "columns"),
    ("shared_diagonal", None, "columns"),
    ("block", 2, "block"),
]


@pytest.mark.parametrize(("family", "block_size", "regularizer"), MATCH)
def test_A1_the_negative_elbo_at_the_optimal_covariance_is_grae(
    family, block_size, regularizer, generator
):
    """A1: exactly, example by example, for any W and any encoder mean, with no spare dβ/2."""
    beta, W = 0.7, random_decoder(generator)
    H = torch.randn(D, 6, generator=generator, dtype=torch.float64)
    G = (W.T @ W)[None]
    sigma = geometry.optimal_covariance(G, beta, family, block_size)[0]
    model = linear_model(W, beta, family, block_size, H=H, covariance=sigma)
    torch.testing.assert_close(model.encode(X).covariance, sigma.expand(64, D, D), **EXACT)
    elbo = objectives.TaylorVAE(beta, family, block_size)(model, X)
    grae = objectives.GRAE(beta, regularizer, block_size)(model, X)
    torch.testing.assert_close(elbo["total"], grae["total"], **EXACT)
    # ½tr(GΣ) + (β/2) tr Σ = βd/2 cancels the −d in the KL.
    balance = 0.5 * (G[0] * sigma).sum() + 0.5 * beta * sigma.trace()
    assert float(balance) == pytest.approx(0.5 * beta * D, rel=1e-12)


def test_A1_any_other_covariance_makes_the_elbo_worse(generator):
    """A1: GRAE is the bound with Σ minimised out."""
    beta, W = 0.7, random_decoder(generator)
    sigma = geometry.optimal_covariance((W.T @ W)[None], beta)[0]
    grae = mean_terms(objectives.GRAE(beta), linear_model(W, beta))["total"]
    for factor in (0.5, 0.99, 1.01, 2.0):
        model = linear_model(W, beta, "full", covariance=factor * sigma)
        assert mean_terms(objectives.TaylorVAE(beta), model)["total"] > grae + 1e-6


@pytest.mark.parametrize("sigma2", [0.05**2, 0.3, 2.0])
def test_A1_a_likelihood_variance_moves_into_beta(sigma2, generator):
    """A1: with variance σ², loss(β, σ²) = GRAE(βσ²)/σ²."""
    beta, W = 0.7, random_decoder(generator)
    H = torch.randn(D, 6, generator=generator, dtype=torch.float64)
    h = (X - M) @ H.T
    G = (W.T @ W / sigma2).expand(64, D, D)
    sigma = geometry.optimal_covariance(G, beta)
    by_hand = (
        (X - M - h @ W.T).square().sum(1) / (2 * sigma2)
        + 0.5 * (G * sigma).sum((1, 2))
        + beta * kl_to_standard_normal(h, sigma)
    )
    grae = objectives.GRAE(beta * sigma2)(linear_model(W, beta, H=H), X)["total"] / sigma2
    torch.testing.assert_close(grae, by_hand, **EXACT)


# A2 ------------------------------------------------------------------------------------------


def test_A2_the_optimal_encoder_mean_is_ridge_regression(generator):
    """A2: h* = (WᵀW + βI)⁻¹Wᵀ(x − m): zero gradient, and every change costs."""
    beta, W = 0.7, random_decoder(generator)
    best = mean_terms(objectives.GRAE(beta), linear_model(W, beta))["total"]
    for _ in range(10):
        change = 1e-3 * torch.randn(D, 6, generator=generator, dtype=torch.float64)
        H = optimal_encoder(W, beta) + change
        moved = mean_terms(objectives.GRAE(beta), linear_model(W, beta, H=H))["total"]
        # Second order, exactly: ½ tr(change S changeᵀ (WᵀW + βI)).
        curvature = W.T @ W + beta * torch.eye(D, dtype=torch.float64)
        rise = 0.5 * torch.trace(change @ S @ change.T @ curvature)
        assert moved - best == pytest.approx(float(rise), rel=1e-6)


@pytest.mark.parametrize("beta", [0.05, 0.7, 4.0])
def test_A2_grae_is_the_likelihood_of_probabilistic_pca(beta, generator):
    """A2: F(W) = β·[NLL of PPCA at noise variance β − (n/2) log 2πβ]."""
    W = random_decoder(generator)
    ppca = MultivariateNormal(M, W @ W.T + beta * torch.eye(6, dtype=torch.float64))
    nll = -float(ppca.log_prob(X).mean())
    expected = beta * (nll - 3 * math.log(2 * math.pi * beta))
    found = mean_terms(objectives.GRAE(beta), linear_model(W, beta))["total"]
    assert found == pytest.approx(expected, rel=1e-11)


# A3, A4, A5 ----------------------------------------------------------------------------------


def test_A3_the_value_of_the_optimum():
    """A3: F* = 3.55675765 for the spectrum (5, 3, 1.5, .6, .3, .1), d = 4, β = 1."""
    assert closed_form(1.0)[0] == pytest.approx(3.55675765, abs=5e-9)


@pytest.mark.parametrize("beta", [0.05, 0.2, 1.0, 2.0])
def test_A3_the_optimum_is_attained_at_any_rotation(beta, generator):
    """A3: the log-det form at W* equals F*, whatever R."""
    for rotate in (None, random_rotation(generator), random_rotation(generator)):
        model = linear_model(optimal_decoder(beta, rotate=rotate), beta)
        found = mean_terms(objectives.GRAE(beta), model)["total"]
        assert found == pytest.approx(closed_form(beta)[0], rel=1e-12)


def gradients(objective, beta, W):
    model = linear_model(W, beta).requires_grad_(True)
    objective(model, X)["total"].mean().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("beta", [0.2, 1.0])
def test_A3_the_optimum_is_stationary_and_no_decoder_is_better(beta, generator):
    """A3: zero gradient in every parameter, and 200 other decoders lie above F*."""
    W = optimal_decoder(beta, rotate=random_rotation(generator))
    assert float(gradients(objectives.GRAE(beta), beta, W).abs().max()) < 1e-11
    for scale in np.geomspace(1e-3, 2, 200):
        other = W + float(scale) * random_decoder(generator)
        found = mean_terms(objectives.GRAE(beta), linear_model(other, beta))["total"]
        assert found > closed_form(beta)[0]


def test_A4_the_column_form_has_the_same_minimum_but_only_without_rotation(generator):
    """A4: at R = I (or a signed permutation) columns = F*; rotated, it is strictly above."""
    beta, W = 0.2, optimal_decoder(0.2)
    columns = objectives.GRAE(beta, "columns")
    best = closed_form(beta)[0]
    assert mean_terms(columns, linear_model(W, beta))["total"] == pytest.approx(best, rel=1e-12)
    signs = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    permuted = W @ signs[:, [2, 0, 3, 1]]
    found = mean_terms(columns, linear_model(permuted, beta))["total"]
    assert found == pytest.approx(best, rel=1e-12)
    assert float(gradients(columns, beta, permuted).abs().max()) < 1e-11
    for _ in range(20):
        rotated = linear_model(W @ random_rotation(generator), beta)
        assert mean_terms(columns, rotated)["total"] > best + 1e-3
        log_det = mean_terms(objectives.GRAE(beta), rotated)["total"]
        assert log_det == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("beta", [0.05, 0.2, 1.0])
def test_A5_distortion_and_rate_at_the_optimum_are_reverse_water_filling(beta):
    """A5: D* = ½(kβ + Σ_{i>k}λ_i), R* = ½Σ log(λ_i/β), from the ELBO's own terms."""
    W = optimal_decoder(beta)
    sigma = geometry.optimal_covariance((W.T @ W)[None], beta)[0]
    model = linear_model(W, beta, "full", covariance=sigma)
    terms = mean_terms(objectives.TaylorVAE(beta), model)
    total, distortion, rate = closed_form(beta)
    assert terms["distortion"] == pytest.approx(distortion, rel=1e-12)
    assert terms["rate"] == pytest.approx(rate, rel=1e-12)
    assert distortion + beta * rate == pytest.approx(total, rel=1e-12)


def test_A5_the_stated_numbers():
    """A5: β = .2, d = 4: D* = .6, R* = 4.520221."""
    assert closed_form(0.2)[1] == pytest.approx(0.6, abs=1e-12)
    assert closed_form(0.2)[2] == pytest.approx(4.520221, abs=5e-7)


# The library's own closed forms ---------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 4, 6])
@pytest.mark.parametrize("beta", [0.05, 0.2, 1.0, 6.0])
def test_the_library_states_the_same_optimum(beta, d):
    found = linear_case.optimum(SPECTRUM, beta, d)
    assert found[:3] == pytest.approx(closed_form(beta, d), rel=1e-13, abs=1e-13)
    assert found.kept == int((SPECTRUM[:d] > beta).sum())


@pytest.mark.parametrize("beta", [0.2, 1.0, 2.0])
def test_the_library_s_decoder_encoder_and_data_attain_it(beta, generator):
    x, mean, vectors = linear_case.sample(SPECTRUM, n_examples=20, seed=3)
    covariance = vectors @ torch.diag(SPECTRUM) @ vectors.T
    torch.testing.assert_close((x - mean).T @ (x - mean) / len(x), covariance, **EXACT)
    W = linear_case.best_decoder(vectors, SPECTRUM, beta, D)
    for form, decoder in (
        ("columns", W),
        ("log_det", W),
        ("log_det", W @ random_rotation(generator)),
    ):
        model = linear_case.as_model(decoder, mean, beta)
        found = mean_terms(objectives.GRAE(beta, form), model, x)["total"]
        assert found == pytest.approx(closed_form(beta)[0], rel=1e-11)
    torch.testing.assert_close(linear_case.best_encoder(W, beta), optimal_encoder(W, beta), **EXACT)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: linear_case.optimum((1, 2), 0.5, 1), "not sorted"),
        (lambda: linear_case.optimum((2, -1), 0.5, 1), "expected one or more numbers ≥ 0"),
        (lambda: linear_case.optimum((2, 1), 0.5, 3), "latent_dim=3 was given; expected 1…2"),
        (lambda: linear_case.optimum((2, 1), 0.0, 1), "beta"),
        (lambda: linear_case.sample((2, 1), 2), "more than 2 entries"),
    ],
)
def test_the_library_s_closed_forms_refuse_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# A6 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regularizer", ["log_det", "columns"])
def test_A6_collapse_is_optimal_iff_beta_reaches_the_first_eigenvalue(regularizer, generator):
    """A6: for β ≥ λ₁ = 5, W = 0 is below every other decoder; for β < 5 it is a saddle."""
    zero = torch.zeros(6, D, dtype=torch.float64)
    for beta in (5.0, 5.5, 50.0):
        objective = objectives.GRAE(beta, regularizer)
        collapsed = mean_terms(objective, linear_model(zero, beta))["total"]
        assert collapsed == pytest.approx(0.5 * float(SPECTRUM.sum()), rel=1e-12)
        for scale in np.geomspace(1e-2, 10, 60):
            W = float(scale) * random_decoder(generator)
            assert mean_terms(objective, linear_model(W, beta))["total"] > collapsed
    for beta in (4.9, 1.0, 0.2):
        objective = objectives.GRAE(beta, regularizer)
        collapsed = mean_terms(objective, linear_model(zero, beta))["total"]
        assert float(gradients(objective, beta, zero).abs().max()) < 1e-12
        down, up = zero.clone(), zero.clone()
        down[:, 0], up[:, 0] = 0.05 * U[:, 0], 0.05 * U[:, 5]
        assert mean_terms(objective, linear_model(down, beta))["total"] < collapsed - 1e-9
        if beta > 0.1:
            assert mean_terms(objective, linear_model(up, beta))["total"] > collapsed + 1e-9


def test_A6_the_threshold_is_in_units_of_the_summed_half_squared_error():
    """A6: averaged over the n entries, or without the ½, the same β would collapse elsewhere."""
    zero = linear_model(torch.zeros(6, D).double(), 1.0)
    terms = mean_terms(objectives.GRAE(1.0), zero)
    assert terms["distortion"] == pytest.approx(0.5 * float(SPECTRUM.sum()), rel=1e-12)


# F -------------------------------------------------------------------------------------------


def test_F1_the_optimal_loss_is_concave_with_the_rate_as_its_slope():
    """F1: dL/dβ = R, dD/dR = −β; L concave in β (d = 4, so all of λ₁ … λ₄ may be kept)."""
    betas = np.linspace(0.02, 5.5, 400)
    L, _, R = np.array([closed_form(b) for b in betas]).T
    assert (np.diff(L, 2) <= 1e-12).all()
    slopes = np.diff(L) / np.diff(betas)
    assert (slopes <= R[:-1] + 1e-12).all()
    assert (slopes >= R[1:] - 1e-12).all()
    for beta in (0.1, 0.4, 1.0, 2.0):
        step = 1e-5
        low, high = closed_form(beta - step), closed_form(beta + step)
        assert (high[0] - low[0]) / (2 * step) == pytest.approx(closed_form(beta)[2], rel=1e-7)
        assert (high[1] - low[1]) / (high[2] - low[2]) == pytest.approx(-beta, rel=1e-7)


def test_F2_global_optima_bracket_beta():
    """F2: β₁ ≤ −ΔD/ΔR ≤ β₂; R does not rise and D does not fall with β."""
    betas = np.geomspace(0.02, 5.5, 60)
    _, D_, R = np.array([closed_form(b) for b in betas]).T
    assert (np.diff(R) <= 0).all()
    assert (np.diff(D_) >= 0).all()
    for i in range(len(betas)):
        for j in range(i + 1, len(betas)):
            if R[i] > R[j]:
                slope = -(D_[j] - D_[i]) / (R[j] - R[i])
                assert betas[i] - 1e-9 <= slope <= betas[j] + 1e-9


def test_F4_the_best_decoder_of_a_fixed_encoder_memorises():
    """F4: g(z) = Σ_n w_n(z) x_n, w_n ∝ q(z|x_n), is stationary for the average distortion.

    The expectation is over a grid of z, on which the decoder's values are free parameters.
    """
    beta, W = 1.0, optimal_decoder(1.0)[:, :1]
    sigma = geometry.optimal_covariance((W.T @ W)[None], beta)[0]
    q = linear_model(W, beta, "full", covariance=sigma).encode(X)
    grid = torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None]
    density = MultivariateNormal(q.mean, q.covariance).log_prob(grid[:, None, :]).exp()
    g = (density / density.sum(1, keepdim=True)) @ X

    def distortion(g):
        return (density * 0.5 * (X - g[:, None, :]).square().sum(-1)).mean()

    best = distortion(g)
    (gradient,) = torch.autograd.grad(distortion(g.requires_grad_()), g)
    assert float(gradient.abs().max()) < 1e-14
    assert float(distortion(grid @ W.T + M)) > float(best)


# By training ---------------------------------------------------------------------------------

STEPS = 800


def trained(objective, family="diagonal"):
    model = models.build(
        shape=(6,),
        latent_dim=D,
        hidden=(),
        activation="identity",
        output="identity",
        family=family,
        block_size=2 if family == "block" else None,
    )
    training.fit(
        model,
        X,
        objective,
        steps=STEPS,
        batch_size=len(X),
        lr=0.1,
        schedule="cosine",
        dtype=torch.float64,
        device="cpu",
        progress=False,
    )
    return model.requires_grad_(False)


REGULARIZERS = [("log_det", None), ("columns", None), ("one_column", None), ("block", 2)]


def own_loss(model, regularizer, block_size, beta):
    """The loss that the regulariser has in expectation: one column's is the column form's."""
    exact = "columns" if regularizer == "one_column" else regularizer
    return mean_terms(objectives.GRAE(beta, exact, block_size), model)["total"]


@pytest.mark.parametrize(("regularizer", "block_size"), REGULARIZERS)
def test_A3_training_reaches_the_optimum_with_each_regularizer(regularizer, block_size):
    """A3: `training.fit` ends within 0.1 % of F* = 3.55675765 (β = 1, d = 4), not below it.

    A4: where the regulariser is the column form or its estimator, WᵀW ends diagonal.
    """
    beta = 1.0
    model = trained(objectives.GRAE(beta, regularizer, block_size))
    best = closed_form(beta)[0]
    assert best - 1e-9 <= own_loss(model, regularizer, block_size, beta) < 1.001 * best
    G = model.decoder[0].weight.T @ model.decoder[0].weight
    values = torch.linalg.eigvalsh(G).flip(0)
    expected = (SPECTRUM[:D] - beta).clamp_min(0)
    assert float((values - expected).abs().max()) < (0.2 if regularizer == "one_column" else 0.05)
    if regularizer in ("columns", "one_column"):
        assert off_diagonal(G) < (2e-2 if regularizer == "one_column" else 1e-3)
    if regularizer == "log_det":
        assert off_diagonal(G) > 0.05


def off_diagonal(G):
    """The largest off-diagonal entry of WᵀW relative to its largest entry."""
    return float((G - torch.diag(G.diagonal())).abs().max() / G.abs().max())


@pytest.mark.parametrize(
    ("family", "off"), [("shared", None), ("shared_diagonal", 1e-2), ("block", None)]
)
def test_A1_training_the_elbo_reaches_the_same_optimum(family, off):
    """A1, A3: the β-VAE in its exact (Taylor) form, each family, ends within 0.1 % of F*."""
    beta = 1.0
    model = trained(objectives.TaylorVAE(beta), family)
    best = closed_form(beta)[0]
    found = mean_terms(objectives.TaylorVAE(beta), model)
    assert best - 1e-9 <= found["total"] < 1.001 * best
    assert found["rate"] == pytest.approx(closed_form(beta)[2], abs=0.02)
    if off is not None:
        G = model.decoder[0].weight.T @ model.decoder[0].weight
        assert off_diagonal(G) < off


def test_A6_training_collapses_above_the_threshold():
    """A6: at β = 5.5 > λ₁ the decoder's columns vanish and the loss is ½ΣΛ."""
    model = trained(objectives.GRAE(5.5, "columns"))
    assert float(model.decoder[0].weight.abs().max()) < 0.02
    found = mean_terms(objectives.GRAE(5.5, "columns"), model)["total"]
    assert found == pytest.approx(0.5 * float(SPECTRUM.sum()), rel=1e-4)


def main() -> None:
    """Print what training reaches with each regulariser beside F*."""
    best = closed_form(1.0)[0]
    print(f"F* = {best:.8f}")
    for regularizer, block_size in REGULARIZERS:
        model = trained(objectives.GRAE(1.0, regularizer, block_size))
        found = own_loss(model, regularizer, block_size, 1.0)
        G = model.decoder[0].weight.T @ model.decoder[0].weight
        print(
            f"{regularizer:10} {found:.8f}  excess {found / best - 1:.2e}  "
            f"largest off-diagonal of WᵀW {off_diagonal(G):.1e}"
        )
    for family in ("shared", "shared_diagonal", "block", "full", "diagonal"):
        model = trained(objectives.TaylorVAE(1.0), family)
        found = mean_terms(objectives.TaylorVAE(1.0), model)["total"]
        print(f"Taylor form, {family:15} {found:.8f}  excess {found / best - 1:.2e}")


if __name__ == "__main__":
    main()
