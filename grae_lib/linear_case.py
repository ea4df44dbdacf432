"""The linear decoder g(z) = Wz + m, where everything about GRAE and the β-VAE has a closed form.

S is the covariance of the data, with eigenvalues λ₁ ≥ λ₂ ≥ …, all in float64. Distortion is
½‖x − x̂‖² summed over entries, β multiplies the KL, values are in nats and leave out (n/2)·log 2π.
After Tipping and Bishop (1999) and Lucas et al. (2019); the chapter derives each formula.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import geometry, models


class Optimum(NamedTuple):
    """The best value at one β: loss = distortion + β·rate, and how many latents are in use."""

    loss: float
    distortion: float
    rate: float
    kept: int


def _spectrum(spectrum: Sequence[float] | Tensor, latent_dim: int) -> Tensor:
    values = torch.as_tensor(spectrum, dtype=torch.float64)
    if values.ndim != 1 or len(values) < 1 or not bool((values >= 0).all()):
        raise ValueError(f"spectrum {spectrum!r} was given; expected one or more numbers ≥ 0.")
    if bool((values.diff() > 0).any()):
        raise ValueError(f"spectrum {spectrum!r} is not sorted; give the largest value first.")
    if not 1 <= latent_dim <= len(values):
        raise ValueError(f"latent_dim={latent_dim} was given; expected 1…{len(values)}.")
    return values


def optimum(spectrum: Sequence[float] | Tensor, beta: float, latent_dim: int) -> Optimum:
    """Least value of GRAE, and of the β-VAE with the best Σ, over all linear decoders.

    F* = (β/2) Σ_{i≤k} (1 + log(λ_i/β)) + ½ Σ_{i>k} λ_i, D* = ½(kβ + Σ_{i>k} λ_i) and
    R* = ½ Σ_{i≤k} log(λ_i/β), with k the number of λ_i > β, at most `latent_dim`. spectrum: (n,),
    the λ_i, largest first. Raises ValueError for an unsorted or negative spectrum, β ≤ 0, or
    latent_dim outside 1…n.
    """
    geometry.check_beta(beta)
    values = _spectrum(spectrum, latent_dim)
    kept = int((values[:latent_dim] > beta).sum())
    rest = float(values[kept:].sum())
    rate = 0.5 * float((values[:kept] / beta).log().sum())
    distortion = 0.5 * (kept * beta + rest)
    return Optimum(distortion + beta * rate, distortion, rate, kept)


def sample(
    spectrum: Sequence[float] | Tensor, n_examples: int = 256, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Data whose mean and covariance are exact: x (N, n), the mean (n,), eigenvectors U (n, n).

    The covariance of x is U diag(spectrum) Uᵀ to rounding, so no formula drowns in sampling error.
    Raises ValueError unless N > n.
    """
    values = _spectrum(spectrum, 1)
    n = len(values)
    if n_examples <= n:
        raise ValueError(f"n_examples={n_examples} was given; expected more than {n} entries.")
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(n_examples, n + 1, generator=generator, dtype=torch.float64)
    raw[:, 0] = 1
    whitened = torch.linalg.qr(raw).Q[:, 1:] * math.sqrt(n_examples)
    U = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
    mean = torch.rand(n, generator=generator, dtype=torch.float64)
    return whitened * values.sqrt() @ U.T + mean, mean, U


def best_decoder(
    U: Tensor, spectrum: Sequence[float] | Tensor, beta: float, latent_dim: int
) -> Tensor:
    """W* = U_k (Λ_k − βI)^½, (n, d): orthogonal columns, zero ones for latents not in use.

    Every W*R with a rotation R is as good for the log-determinant; for the column form only W* with
    columns permuted and signs changed is, if the λ_i in use differ.
    """
    kept = optimum(spectrum, beta, latent_dim).kept
    values = _spectrum(spectrum, latent_dim)
    W = torch.zeros(len(U), latent_dim, dtype=torch.float64)
    W[:, :kept] = U[:, :kept] * (values[:kept] - beta).sqrt()
    return W


def best_encoder(W: Tensor, beta: float) -> Tensor:
    """C (d, n) of the best encoder mean h(x) = C(x − m): (WᵀW + βI)⁻¹Wᵀ."""
    geometry.check_beta(beta)
    return torch.linalg.solve(W.T @ W + beta * torch.eye(W.shape[1], dtype=W.dtype), W.T)


def as_model(W: Tensor, mean: Tensor, beta: float) -> models.AutoEncoder:
    """A model of the library, in float64, with decoder Wz + m and the best encoder mean for it.

    Its Σ, which the deterministic objectives do not read, is left as it is built.
    """
    n, d = W.shape
    model = models.build(
        shape=(n,), latent_dim=d, hidden=(), activation="identity", output="identity"
    ).double()
    C = best_encoder(W, beta)
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    encoder, decoder = layers[0], layers[-1]
    with torch.no_grad():
        decoder.weight.copy_(W)
        decoder.bias.copy_(mean)
        encoder.weight[:d] = C
        encoder.bias[:d] = -C @ mean
    return model.requires_grad_(False)
