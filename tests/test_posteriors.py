"""Gaussian families: their structure, sampling and divergences, held to torch.distributions.

Sections of the closed forms (A1 … D4) are named where a test proves one.
"""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from grae_lib import posteriors

D = 6
CASES = [
    ("diagonal", None),
    ("block", 1),
    ("block", 2),
    ("block", 3),
    ("block", 6),
    ("full", None),
    ("shared", None),
    ("shared_diagonal", None),
]
EXACT = {"rtol": 0, "atol": 1e-12}


def random_spd(generator, batch=5, d=D):
    a = torch.randn(batch, d, d + 2, generator=generator, dtype=torch.float64)
    return a @ a.mT / d + 0.1 * torch.eye(d, dtype=torch.float64)


def expected_mask(family, block_size):
    if family in ("full", "shared"):
        return torch.ones(D, D)
    size = 1 if block_size is None else block_size
    mask = torch.zeros(D, D)
    for start in range(0, D, size):
        mask[start : start + size, start : start + size] = 1
    return mask


@pytest.mark.parametrize(("family", "block_size"), CASES)
def test_the_factor_is_lower_triangular_and_confined_to_the_family(family, block_size, generator):
    p = posteriors.n_parameters(D, family, block_size)
    raw = torch.randn(4, p, generator=generator, dtype=torch.float64)
    factor = posteriors.factor_from_parameters(raw, D, family, block_size)
    mask = expected_mask(family, block_size)
    assert factor.shape == (4, D, D)
    assert torch.equal(factor, factor.tril())
    torch.testing.assert_close(
        torch.diagonal(factor, dim1=1, dim2=2), raw[:, :D].exp(), rtol=0, atol=0
    )
    covariance = posteriors.Posterior(torch.zeros(4, D).double(), factor).covariance
    assert bool((covariance[:, mask == 0] == 0).all())
    assert bool((covariance[:, mask == 1] != 0).all())
    assert torch.equal(posteriors.structure_mask(D, family, block_size), mask)


@pytest.mark.parametrize(("family", "block_size"), CASES)
def test_the_number_of_parameters_is_the_free_lower_triangle(family, block_size):
    blocks = {"full": D, "shared": D}.get(family, block_size or 1)
    assert posteriors.n_parameters(D, family, block_size) == (D // blocks) * (
        blocks * (blocks + 1) // 2
    )


@pytest.mark.parametrize(("family", "block_size"), CASES)
def test_every_covariance_of_the_family_is_reached_by_its_parameters(family, block_size, generator):
    """The map from numbers to Σ is onto: log-diagonal first, the rest row by row."""
    mask = expected_mask(family, block_size).double()
    target = random_spd(generator, 3)
    target = target * mask
    factor = torch.linalg.cholesky(target)
    rows, columns = torch.tril(mask, -1).nonzero(as_tuple=True)
    raw = torch.cat([torch.diagonal(factor, dim1=1, dim2=2).log(), factor[:, rows, columns]], 1)
    rebuilt = posteriors.factor_from_parameters(raw, D, family, block_size)
    torch.testing.assert_close(rebuilt @ rebuilt.mT, target, rtol=0, atol=1e-12)


def test_kl_to_standard_normal_equals_torch_distributions(generator):
    mean = torch.randn(5, D, generator=generator, dtype=torch.float64)
    covariance = random_spd(generator)
    prior = MultivariateNormal(torch.zeros(D).double(), torch.eye(D).double())
    torch.testing.assert_close(
        posteriors.kl_to_standard_normal(mean, covariance),
        kl_divergence(MultivariateNormal(mean, covariance), prior),
        **EXACT,
    )


def test_kl_between_equals_torch_distributions_in_both_directions(generator):
    m, m_p = torch.randn(2, 5, D, generator=generator, dtype=torch.float64)
    a, b = random_spd(generator), random_spd(generator)
    q, p = MultivariateNormal(m, a), MultivariateNormal(m_p, b)
    torch.testing.assert_close(
        posteriors.kl_between(m, a, m_p, b), kl_divergence(q, p), rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(
        posteriors.kl_between(m_p, b, m, a), kl_divergence(p, q), rtol=1e-12, atol=1e-12
    )


def test_kl_between_with_a_standard_second_argument_is_the_kl_to_the_prior(generator):
    mean = torch.randn(5, D, generator=generator, dtype=torch.float64)
    covariance = random_spd(generator)
    identity = torch.eye(D).double().expand(5, D, D)
    torch.testing.assert_close(
        posteriors.kl_between(mean, covariance, torch.zeros_like(mean), identity),
        posteriors.kl_to_standard_normal(mean, covariance),
        **EXACT,
    )


def test_the_kl_splits_into_the_mean_s_share_and_the_covariance_s(generator):
    mean = torch.randn(5, D, generator=generator, dtype=torch.float64)
    covariance = random_spd(generator)
    q = posteriors.Posterior(mean, torch.linalg.cholesky(covariance))
    trace = torch.diagonal(covariance, dim1=1, dim2=2).sum(-1)
    by_hand = 0.5 * (trace - D - torch.logdet(covariance))
    torch.testing.assert_close(q.covariance_cost(), by_hand, **EXACT)
    torch.testing.assert_close(q.kl() - q.covariance_cost(), 0.5 * mean.square().sum(-1), **EXACT)
    assert bool((q.covariance_cost() > 0).all())


def test_the_standard_normal_costs_nothing():
    q = posteriors.Posterior(torch.zeros(3, D), torch.eye(D).expand(3, D, D))
    assert torch.equal(q.kl(), torch.zeros(3))


def test_samples_are_an_affine_map_of_the_noise(generator):
    """z = mean + Lε exactly, so that quadrature nodes can be put in place of random ε."""
    mean, noise = torch.randn(2, 5, D, generator=generator, dtype=torch.float64)
    factor = torch.linalg.cholesky(random_spd(generator))
    z = posteriors.Posterior(mean, factor).sample(noise)
    by_hand = torch.stack([m + f @ e for m, f, e in zip(mean, factor, noise, strict=True)])
    torch.testing.assert_close(z, by_hand, **EXACT)


def test_samples_have_the_covariance_of_the_family(generator):
    """Second moments over 200,000 draws: each entry within 4.5 of its standard errors."""
    n = 200_000
    factor = torch.linalg.cholesky(random_spd(generator, 1, 3))
    noise = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    q = posteriors.Posterior(torch.zeros(n, 3).double(), factor.expand(n, 3, 3))
    z = q.sample(noise)
    sigma = (factor @ factor.mT)[0]
    variance = sigma.square() + sigma.diagonal()[:, None] * sigma.diagonal()[None, :]
    score = (z.mT @ z / n - sigma) / (variance / n).sqrt()
    assert float(score.abs().max()) < 4.5


@pytest.mark.parametrize("family", ["shared", "shared_diagonal"])
def test_the_shared_families_have_one_covariance_for_all_x(family, generator):
    from grae_lib import models

    model = models.build(shape=(5,), latent_dim=3, hidden=(4,), family=family)
    q = model.encode(torch.rand(7, 5, generator=generator))
    assert bool((q.factor == q.factor[:1]).all())
    assert not bool((q.mean == q.mean[:1]).all())
