"""Equations of the chapters 'Local geometry' and 'The Gaussian case', by their labels.

What the chapters check in the open (their check cells) is repeated here only where a test can be
stricter: derived constants, proofs' intermediate steps, and numbers that the prose quotes.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate
from scipy.stats import norm

from grae_lib import geometry, likelihoods, models, objectives, paths, posteriors, results

BOOK = Path(__file__).resolve().parents[1] / "book"


def network(d=3, n=9, hidden=(7,), seed=3, gain=1.5, activation="tanh"):
    model = models.build(
        shape=(n,),
        latent_dim=d,
        hidden=hidden,
        activation=activation,
        output="identity",
        seed=seed,
    ).double()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(gain)
    return model.decoder.requires_grad_(False)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def nodes(count, d):
    z, w = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(count))
    grid = torch.cartesian_prod(*[z] * d).view(-1, d)
    return grid, torch.cartesian_prod(*[w / w.sum()] * d).view(-1, d).prod(1)


# Local geometry --------------------------------------------------------------------------------


def test_eq_lg_taylor_has_a_third_order_remainder(generator):
    g, x, h, v = network(), normal(generator, 1, 9), normal(generator, 1, 3), normal(generator, 3)
    H = geometry.log_likelihood_hessian(g, x, h)[0]
    f = lambda z: -likelihoods.distortion(x, g(z))  # noqa: E731
    J_f = torch.func.jacrev(lambda z: f(z)[0])(h)[0]
    remainder = [
        (f(h + t * v) - f(h) - t * J_f @ v - 0.5 * t**2 * v @ H @ v).item() for t in (1e-2, 5e-3)
    ]
    assert remainder[0] / remainder[1] == pytest.approx(8, rel=0.1)


def test_eq_lg_fourth_in_three_dimensions(generator):
    """The sum over four indices with its factor 1/8, not only its one-dimensional shadow."""
    g, x, h = network(), normal(generator, 1, 9), normal(generator, 3)

    def f(z):
        return -likelihoods.distortion(x, g(z[None]))[0]

    fourth = torch.func.hessian(torch.func.hessian(f))(h)
    root = normal(generator, 3, 3)
    S = root @ root.T + 0.2 * torch.eye(3)
    H = torch.func.hessian(f)(h)
    grid, w = nodes(14, 3)
    for sigma, tolerance in ((0.02, 0.02), (0.01, 0.005)):
        cov = sigma**2 * S
        z = h + grid @ torch.linalg.cholesky(cov).T
        truth = w @ -likelihoods.distortion(x.expand(len(z), -1), g(z))
        error = truth - f(h) - 0.5 * (H * cov).sum()
        leading = torch.einsum("ijkl,ij,kl->", fourth, cov, cov) / 8
        assert (error / leading).item() == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize("kind", ["uniform", "two points", "gaussian"])
def test_thm_lg_error_quadratics_see_two_moments_only(kind):
    """E f = f(h) + ½tr(HΣ) exactly for quadratic f, and the exercise's factor for uniform q."""
    sigma = 0.3
    fourth_moment = {"uniform": 9 / 5, "two points": 1.0, "gaussian": 3.0}[kind]
    if kind == "gaussian":
        t, w = (a.numpy() for a in nodes(20, 1))
        t = t[:, 0]
    elif kind == "uniform":
        t, w = np.polynomial.legendre.leggauss(20)
        t, w = t * math.sqrt(3), w / 2
    else:
        t, w = np.array([-1.0, 1.0]), np.array([0.5, 0.5])
    z = 0.4 + sigma * t
    assert w @ (2 - z + 3 * z**2) == pytest.approx(2 - 0.4 + 3 * 0.16 + 3 * sigma**2, rel=1e-12)
    quartic = w @ (z - 0.4) ** 4
    assert quartic == pytest.approx(fourth_moment * sigma**4, rel=1e-12)
    if kind == "uniform":
        assert 24 * quartic / 24 / (24 * sigma**4) == pytest.approx(3 / 40)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_eq_lg_chain_term_by_term(likelihood, generator):
    g, x, z = network(), torch.rand(1, 9, dtype=torch.float64), normal(generator, 1, 3)
    output = g(z)
    gradient = torch.func.grad(lambda a: -likelihoods.distortion(x, a, likelihood).sum())(output)
    second = torch.func.hessian(lambda v: g(v[None])[0])(z[0])
    curvature = torch.einsum("k,kij->ij", gradient[0], second)
    exact = geometry.log_likelihood_hessian(g, x, z, likelihood)[0]
    gauss_newton = geometry.gauss_newton_hessian(g, x, z, likelihood)[0]
    torch.testing.assert_close(exact, gauss_newton + curvature, rtol=1e-10, atol=1e-10)
    if likelihood == "gaussian":
        torch.testing.assert_close(gradient, x - output)


def relu_excess(u, sign):
    """e(m) of eq-lg-relu and the bracket, as functions of u = |m|/σ."""
    e = (u**2 - sign) * norm.cdf(-u) - u * norm.pdf(u)
    return e, norm.pdf(u) - u * norm.cdf(-u)


@pytest.mark.parametrize(("sign", "u"), [(1, 0.4), (1, 1.7), (-1, 0.0), (-1, 0.4), (-1, 1.7)])
def test_eq_lg_relu_by_integration(sign, u):
    sigma, r, m = 0.2, 0.3, sign * u * 0.2
    at = max(m, 0)

    def cost(t):
        return 0.5 * (at + r - max(m + sigma * t, 0)) ** 2 * norm.pdf(t)

    truth = integrate.quad(cost, -12, 12, points=[-m / sigma], epsabs=1e-13)[0]
    form = 0.5 * r**2 + 0.5 * sigma**2 * (m > 0)
    e, bracket = relu_excess(u, sign)
    assert truth - form == pytest.approx(0.5 * sigma**2 * e - r * sigma * bracket, abs=1e-10)


def test_thm_lg_relu_averages():
    """−σ³/(3√2π) and −½rσ²: the integrals of the proof."""
    average = [
        integrate.quad(lambda u, s=sign, k=part: relu_excess(u, s)[k], 0, 40)[0]
        for part in (0, 1)
        for sign in (1, -1)
    ]
    assert 0.5 * (average[0] + average[1]) == pytest.approx(-1 / (3 * math.sqrt(2 * math.pi)))
    assert average[2] + average[3] == pytest.approx(0.5)


def test_thm_lg_likelihoods_table(generator):
    """Each −H_p of the table by automatic differentiation, and D4's two remarks."""
    x = torch.tensor([[0.0, 1.0, 0.5]], dtype=torch.float64)
    a = normal(generator, 1, 3)
    for likelihood, output in (
        ("gaussian", a),
        ("bernoulli", a),
        ("bernoulli_probability", a.sigmoid()),
    ):
        H = torch.func.hessian(lambda g, name=likelihood: likelihoods.distortion(x, g, name).sum())(
            output
        )[0, :, 0]
        stated = likelihoods.precision(x, output, likelihood)
        stated = torch.ones_like(output) if stated is None else stated
        torch.testing.assert_close(H, stated[0].diag())
    half = torch.full((1, 1), 0.5, dtype=torch.float64)
    assert likelihoods.precision(half, half, "bernoulli_probability").item() == 4
    binary, p = x[:, :2], a[:, :2].sigmoid()
    torch.testing.assert_close(
        likelihoods.precision(binary, p, "bernoulli_probability"),
        ((binary - p) / (p * (1 - p))) ** 2,
    )


def test_eq_lg_frobenius_and_the_misprint(generator):
    J, w = normal(generator, 1, 8, 3), torch.rand(1, 8, dtype=torch.float64)
    root = normal(generator, 3, 3)
    Sigma = 0.3 * root @ root.T + 0.05 * torch.eye(3)
    values, vectors = torch.linalg.eigh(Sigma)
    trace = (geometry.pullback_metric(J, w)[0] * Sigma).sum()
    half = vectors * values.sqrt() @ vectors.T
    norms = [(w[0].sqrt()[:, None] * J[0] @ m).square().sum() for m in (half, half.inverse())]
    torch.testing.assert_close(norms[0], trace)
    assert abs(norms[1] / trace - 1) > 0.5


def test_thm_lg_hutchinson_by_enumeration(generator):
    A = normal(generator, 4, 4)
    A = A @ A.T
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)
    values = torch.einsum("bi,ij,bj->b", signs, A, signs)
    off = A - A.diagonal().diag()
    torch.testing.assert_close(values.mean(), A.trace())
    torch.testing.assert_close(values.var(correction=0), 2 * off.square().sum())
    grid, w = nodes(4, 4)
    values = torch.einsum("bi,ij,bj->b", grid, A, grid)
    torch.testing.assert_close(w @ values, A.trace())
    torch.testing.assert_close(w @ (values - A.trace()) ** 2, 2 * A.square().sum())


# The Gaussian case -----------------------------------------------------------------------------


def F(G, Sigma, beta):
    zero = torch.zeros(Sigma.shape[:-1], dtype=Sigma.dtype)
    return 0.5 * (G * Sigma).sum((-2, -1)) + beta * posteriors.kl_to_standard_normal(zero, Sigma)


@pytest.mark.parametrize(("family", "size"), [("full", None), ("block", 2), ("diagonal", None)])
def test_eq_gc_gap_and_its_identity(family, size, generator):
    beta, G = 0.4, geometry.pullback_metric(normal(generator, 5, 9, 6))
    Sigma = geometry.optimal_covariance(G, beta, family, size)
    best, zero = geometry.optimal_covariance(G, beta), torch.zeros(5, 6, dtype=torch.float64)
    log_det = objectives.log_det_regularizer(G, beta)
    gap = beta * posteriors.kl_between(zero, Sigma, zero, best)
    torch.testing.assert_close(F(G, Sigma, beta), log_det + gap)
    P = geometry.posterior_precision(G, beta, family, size)
    torch.testing.assert_close(F(G, Sigma, beta), 0.5 * beta * torch.logdet(P))
    # Zero outside the blocks: the gap closes.
    masked = geometry.posterior_precision(G, beta, family, size) - torch.eye(6)
    closed = geometry.optimal_covariance(beta * masked, beta, family, size)
    torch.testing.assert_close(closed, geometry.optimal_covariance(beta * masked, beta))


def test_eq_gc_mistake_and_eq_gc_diagonal(generator):
    beta, G = 0.7, geometry.pullback_metric(normal(generator, 20, 5, 2))
    P = geometry.posterior_precision(G, beta)
    rho2 = P[:, 0, 1] ** 2 / (P[:, 0, 0] * P[:, 1, 1])
    right = geometry.optimal_covariance(G, beta, "diagonal")
    squared_norms = G.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(right.diagonal(dim1=-2, dim2=-1), 1 / (1 + squared_norms / beta))
    wrong = torch.diag_embed(torch.linalg.inv(P).diagonal(dim1=-2, dim2=-1))
    cost = F(G, wrong, beta) - F(G, right, beta)
    torch.testing.assert_close(cost, beta * (rho2 / (1 - rho2) + torch.log1p(-rho2)))
    assert (wrong - right).diagonal(dim1=-2, dim2=-1).min() > 0


def test_eq_gc_cosines_with_blocks(generator):
    """Second order in the correlations, here with blocks of two that are orthogonal inside."""
    beta, d, n = 0.5, 6, 12
    base = torch.linalg.qr(normal(generator, n, d)).Q * torch.tensor([0.3, 0.5, 1, 1.4, 0.1, 2])
    outside = 1 - posteriors.structure_mask(d, "block", 2).double()
    ratios = []
    for size in (1e-2, 1e-3):
        G = (base.T @ base)[None].clone()
        noise = normal(torch.Generator().manual_seed(3), d, d)
        G += size * outside * (noise + noise.T)
        gap = objectives.block_regularizer(G, beta, 2) - objectives.log_det_regularizer(G, beta)
        A = G[0].diagonal() / beta
        terms = geometry.column_cosines(G)[0] ** 2 * (A / (1 + A)).outer(A / (1 + A))
        ratios.append((gap / (beta / 4 * (outside * terms).sum())).item())
    assert abs(ratios[1] - 1) < 0.02
    assert abs(ratios[1] - 1) < abs(ratios[0] - 1)


def test_block_form_ignores_rotations_inside_blocks_only(generator):
    G, beta = geometry.pullback_metric(normal(generator, 3, 9, 4)), 0.4
    turn = torch.linalg.qr(normal(generator, 2, 2)).Q
    inside = torch.block_diag(turn, turn)
    whole = torch.linalg.qr(normal(generator, 4, 4)).Q
    block = objectives.block_regularizer(G, beta, 2)
    same = objectives.block_regularizer(inside.T @ G @ inside, beta, 2)
    torch.testing.assert_close(same, block)
    assert not torch.allclose(objectives.block_regularizer(whole.T @ G @ whole, beta, 2), block)
    columns = objectives.column_regularizer(G, beta)
    assert not torch.allclose(objectives.column_regularizer(inside.T @ G @ inside, beta), columns)


def test_isotropic_exercise(generator):
    """s = d/tr P and (βd/2) log(1 + ‖J‖²_F/(dβ)): the last link of the chain."""
    beta, d = 0.3, 5
    G = geometry.pullback_metric(normal(generator, 1, 8, d))
    trace = G[0].trace()
    s = d / geometry.posterior_precision(G, beta)[0].trace()
    value = beta * d / 2 * torch.log1p(trace / (d * beta))
    eye = torch.eye(d, dtype=torch.float64)[None]
    torch.testing.assert_close(F(G, s * eye, beta)[0], value)
    assert F(G, 1.01 * s * eye, beta) > value
    assert F(G, 0.99 * s * eye, beta) > value
    assert objectives.column_regularizer(G, beta)[0] <= value


@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_variance_exercise(sigma, generator):
    """N(g, σ²I) with β: the unit-variance covariance at βσ²."""
    J, beta = normal(generator, 2, 7, 3), 0.8
    weights = torch.full((2, 7), sigma**-2, dtype=torch.float64)
    torch.testing.assert_close(
        geometry.optimal_covariance(geometry.pullback_metric(J, weights), beta),
        geometry.optimal_covariance(geometry.pullback_metric(J), beta * sigma**2),
    )


def test_thm_gc_metric_lengths_add_up_for_orthogonal_blocks(generator):
    """A decoder whose blocks move different pixels: block lengths are lengths, diagonal are not."""
    one, two = network(d=2, n=5, seed=1), network(d=2, n=5, seed=2)
    path = paths.straight(normal(generator, 4), normal(generator, 4), 12)

    def decoder(z):
        return torch.cat([one(z[:, :2]), two(z[:, 2:])], 1)

    whole = paths.arc_length(decoder, path)
    torch.testing.assert_close(paths.arc_length(decoder, path, "block", 2), whole)
    assert not torch.isclose(paths.arc_length(decoder, path, "diagonal"), whole, rtol=1e-3)
    _, J = geometry.jacobian(decoder, path)
    G = geometry.pullback_metric(J)
    parts = paths.log_volume(G[:, :2, :2]) + paths.log_volume(G[:, 2:, 2:])
    torch.testing.assert_close(paths.log_volume(G), parts)


# Numbers in prose ------------------------------------------------------------------------------


def prose(chapter):
    cells = json.loads((BOOK / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    texts = (c["source"] for c in cells if c["cell_type"] == "markdown")
    source = "\n".join(t if isinstance(t, str) else "".join(t) for t in texts)
    return re.sub(r"<!--.*?-->", "", source)  # the marks of numbers that are bound


def test_the_table_of_ratios_states_what_is_stored():
    by = ("beta", "d", "b", "family")
    table = results.table(results.runs("mnist-structure", "cpu"), by, "ratio")
    text, quoted = prose("gaussian_case"), 0
    for (beta, d, b, family), (mean, spread, seeds) in table.items():
        setting = f"({beta:g},{d},{b})".replace("(0.", "(.")
        row = next(line for line in text.splitlines() if setting in line and "± " in line)
        found = re.search(rf"{family} ([\d.]+) ± ([\d.]+)", row)
        assert found, (setting, family)
        assert float(found[1]) == pytest.approx(mean, abs=0.0051)
        assert float(found[2]) == pytest.approx(spread, abs=0.0051)
        assert seeds == 3
        quoted += 1
    assert quoted == 12


@pytest.mark.parametrize("chapter", ["local_geometry", "gaussian_case"])
def test_labels_are_unique_and_references_resolve(chapter):
    text = prose(chapter)
    everything = "\n".join(prose(p.stem) for p in BOOK.glob("*.ipynb")) + "\n".join(
        p.read_text(encoding="utf-8") for p in BOOK.glob("*.md")
    )
    labels = re.findall(r"^\$\$ \(([\w-]+)\)|^:label: ([\w-]+)", text, flags=re.M)
    labels = [a or b for a, b in labels]
    assert len(labels) == len(set(labels))
    for kind, label in re.findall(r"\{(eq|prf:ref)\}`([\w-]+)`", text):
        assert re.search(rf"\({label}\)|:label: {label}\b", everything), (kind, label)
    keys = set(re.findall(r"@\w+\{(\w+),", (BOOK / "references.bib").read_text(encoding="utf-8")))
    for cited in re.findall(r"\{cite(?::t)?\}`([\w,]+)`", text):
        assert set(cited.split(",")) <= keys
