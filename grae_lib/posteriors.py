"""Gaussian variational families q(z|x) = N(mean, Σ) and their divergence from the prior N(0, I).

A family is a statement about which entries of Σ may differ from zero and about whether Σ may
depend on x. Every family is held as a lower-triangular factor L with Σ = L Lᵀ, so that sampling,
the KL divergence and the covariance are the same three lines for all of them. A block-diagonal Σ
has a block-diagonal Cholesky factor, hence restricting L restricts Σ in exactly the same way.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

#: Families by name. "shared" and "shared_diagonal" have one Σ for all x (the toy encoder).
FAMILIES = ("diagonal", "block", "full", "shared", "shared_diagonal")

#: The structure of Σ behind each name.
_STRUCTURE = {
    "diagonal": "diagonal",
    "shared_diagonal": "diagonal",
    "block": "block",
    "full": "full",
    "shared": "full",
}


def check_family(family: str, latent_dim: int, block_size: int | None = None) -> None:
    """Raise ValueError unless `family` exists and `block_size` fits it.

    `block_size` must divide `latent_dim` for "block" and must be left out otherwise.
    """
    if family not in FAMILIES:
        raise ValueError(f"family {family!r} is unknown; choose one of {', '.join(FAMILIES)}.")
    if family != "block":
        if block_size is not None:
            raise ValueError(
                f"block_size={block_size} was given with family {family!r}; it is only meaningful "
                "for family 'block'. Leave it out or choose family='block'."
            )
        return
    valid = [b for b in range(1, latent_dim + 1) if latent_dim % b == 0]
    if not isinstance(block_size, int) or isinstance(block_size, bool) or block_size not in valid:
        raise ValueError(
            f"block_size={block_size!r} does not divide the latent dimension {latent_dim}; "
            f"choose one of {valid}."
        )


@lru_cache(maxsize=64)
def _mask(latent_dim: int, structure: str, block_size: int | None) -> Tensor:
    index = torch.arange(latent_dim)
    if structure == "full":
        return torch.ones(latent_dim, latent_dim)
    size = 1 if structure == "diagonal" else block_size
    return (index[:, None] // size == index[None, :] // size).float()


def structure_mask(
    latent_dim: int, family: str, block_size: int | None = None, *, like: Tensor | None = None
) -> Tensor:
    """(d, d) matrix of ones where the family lets Σ differ from zero, zeros elsewhere.

    `like` gives device and dtype. Raises ValueError for an unknown family or an unfit block size.
    """
    check_family(family, latent_dim, block_size)
    mask = _mask(latent_dim, _STRUCTURE[family], block_size)
    return mask if like is None else mask.to(device=like.device, dtype=like.dtype)


@lru_cache(maxsize=64)
def _placement(latent_dim: int, structure: str, block_size: int | None) -> Tensor:
    """One-hot rows that put each free entry below the diagonal in its place in a flat matrix."""
    strict = torch.tril(_mask(latent_dim, structure, block_size), diagonal=-1).flatten()
    return torch.eye(latent_dim * latent_dim)[strict.nonzero()[:, 0]]


def n_parameters(latent_dim: int, family: str, block_size: int | None = None) -> int:
    """How many numbers describe one Σ of the family: the free entries of its lower triangle."""
    mask = structure_mask(latent_dim, family, block_size)
    return int(torch.tril(mask).sum())


def factor_from_parameters(
    raw: Tensor, latent_dim: int, family: str, block_size: int | None = None
) -> Tensor:
    """Lower-triangular factor (B, d, d) of Σ from unconstrained numbers (B, p).

    The first d of the p = `n_parameters(...)` columns are logarithms of the factor's diagonal (for
    a diagonal Σ: log standard deviations); the rest fill the allowed entries below it row by row.
    """
    check_family(family, latent_dim, block_size)
    factor = torch.diag_embed(raw[..., :latent_dim].exp())
    placement = _placement(latent_dim, _STRUCTURE[family], block_size)
    if len(placement) == 0:
        return factor
    placement = placement.to(device=raw.device, dtype=raw.dtype)
    below = raw[..., latent_dim:] @ placement
    return factor + below.unflatten(-1, (latent_dim, latent_dim))


class Posterior(NamedTuple):
    """A batch of Gaussians q(z|x) = N(mean, factor · factorᵀ).

    mean: (B, d). factor: (B, d, d), lower triangular with positive diagonal.
    """

    mean: Tensor
    factor: Tensor

    @property
    def covariance(self) -> Tensor:
        """Σ, (B, d, d)."""
        return self.factor @ self.factor.mT

    def sample(self, noise: Tensor) -> Tensor:
        """z = mean + factor·noise, (B, d), for standard normal `noise` of the same shape."""
        return self.mean + (self.factor @ noise.unsqueeze(-1)).squeeze(-1)

    def covariance_cost(self) -> Tensor:
        """½(tr Σ − d − log|Σ|) in nats, (B,): what Σ ≠ I adds to the KL; never negative."""
        log_det = 2 * torch.diagonal(self.factor, dim1=-2, dim2=-1).log().sum(-1)
        return 0.5 * (self.factor.square().sum((-2, -1)) - self.mean.shape[-1] - log_det)

    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, I)) in nats, (B,)."""
        return 0.5 * self.mean.square().sum(-1) + self.covariance_cost()


def _cholesky(covariance: Tensor, name: str) -> Tensor:
    if covariance.ndim < 2 or covariance.shape[-1] != covariance.shape[-2]:
        raise ValueError(f"{name} has shape {tuple(covariance.shape)}; expected (B, d, d).")
    scale = covariance.detach().abs().amax().clamp_min(torch.finfo(covariance.dtype).tiny)
    if bool((covariance - covariance.mT).detach().abs().amax() > 1e-4 * scale):
        raise ValueError(f"{name} is not symmetric; symmetrise it, (Σ + Σᵀ)/2, if that is meant.")
    factor, info = torch.linalg.cholesky_ex(covariance)
    if bool((info != 0).any()) or not bool(torch.isfinite(factor).all()):
        raise ValueError(
            f"{name} is not positive definite in {int((info != 0).sum())} of {info.numel()} cases; "
            "a covariance must be symmetric with positive eigenvalues. Check β and the Jacobian, "
            "or use float64."
        )
    return factor


def kl_to_standard_normal(mean: Tensor, covariance: Tensor) -> Tensor:
    """KL(N(mean, Σ) ‖ N(0, I)) = ½(tr Σ + ‖mean‖² − d − log|Σ|) in nats.

    mean: (B, d); covariance: (B, d, d); returns (B,). Raises ValueError if shapes disagree or Σ is
    not positive definite.

    >>> kl_to_standard_normal(torch.tensor([[1.0, 1.0]]), torch.eye(2)[None])
    tensor([1.])
    """
    if covariance.shape[-2:] != (mean.shape[-1], mean.shape[-1]):
        raise ValueError(
            f"mean has shape {tuple(mean.shape)} and covariance {tuple(covariance.shape)}; "
            "expected (B, d) and (B, d, d)."
        )
    return Posterior(mean, _cholesky(covariance, "covariance")).kl()


def kl_between(mean: Tensor, covariance: Tensor, mean_p: Tensor, covariance_p: Tensor) -> Tensor:
    """KL(N(mean, Σ) ‖ N(mean_p, Σ_p)) in nats, (B,).

    ½[tr(Σ_p⁻¹Σ) + (m_p − m)ᵀΣ_p⁻¹(m_p − m) − d + log|Σ_p| − log|Σ|], computed by moving both
    Gaussians to coordinates in which the second is standard.
    """
    factor, factor_p = _cholesky(covariance, "covariance"), _cholesky(covariance_p, "covariance_p")
    moved = torch.linalg.solve_triangular(factor_p, factor, upper=False)
    shift = torch.linalg.solve_triangular(factor_p, (mean - mean_p).unsqueeze(-1), upper=False)
    return Posterior(shift.squeeze(-1), moved).kl()
