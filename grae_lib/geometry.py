"""Local geometry of a decoder g: Jacobian, pullback metric, curvature, optimal covariances.

Everything here is forward mode: the latent space is small (d ≤ 100) and the image large, so d
directional derivatives cost d decoder passes, whereas reverse mode would need one for each of the
n entries of the image. A decoder is any callable (B, d) → (B, n) that treats examples separately.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from . import likelihoods
from .models import MLPDecoder
from .posteriors import structure_mask

Decoder = Callable[[Tensor], Tensor]

# The first forward-mode call loads PyTorch's own rules through torch.jit.script, which newer
# versions of PyTorch deprecate aloud. Done here once, so that no reader meets that warning.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    jvp(torch.neg, (torch.zeros(1),), (torch.zeros(1),))


def check_beta(beta: float | Tensor) -> None:
    """Raise ValueError unless β is a finite positive number.

    Tensors pass unread: they carry the β of each member of a sweep, checked where it was given.
    """
    if isinstance(beta, Tensor):
        return
    valid = isinstance(beta, (int, float)) and not isinstance(beta, bool)
    if not valid or not math.isfinite(beta) or beta <= 0:
        raise ValueError(
            f"beta={beta!r} was given; β multiplies the KL term and must be a finite number > 0 "
            "(the sources use .02 to 1). For no regularisation at all use objectives.AE."
        )


def _check_latent(z: Tensor) -> None:
    if z.ndim != 2:
        raise ValueError(f"z has shape {tuple(z.shape)}; expected (B, d).")


def jacobian(decoder: Decoder, z: Tensor) -> tuple[Tensor, Tensor]:
    """Value and Jacobian of the decoder at each z.

    z: (B, d). Returns x_hat (B, n) and J (B, n, d) with J[b, :, i] = ∂g(z_b)/∂z_i. One value pass
    and d tangent passes, batched over the tangents.
    """
    _check_latent(z)
    d = z.shape[-1]
    basis = torch.eye(d, device=z.device, dtype=z.dtype).unsqueeze(1).expand(d, *z.shape)
    if isinstance(decoder, MLPDecoder):
        x_hat, columns = decoder.push_forward(z, basis)
        return x_hat, columns.movedim(0, -1)
    # The value does not depend on the direction: vmap computes it once and returns d views of it.
    values, J = vmap(lambda v: jvp(decoder, (z,), (v,)), out_dims=(0, -1))(basis)
    return values[0], J


def jacobian_column(decoder: Decoder, z: Tensor, index: int | Tensor) -> tuple[Tensor, Tensor]:
    """Value and one column of the Jacobian at each z, by a single forward-mode pass.

    z: (B, d); index: an int, the same column for all, or an integer tensor (B,), one column each;
    an entry out of range gives NaN. Returns x_hat (B, n) and the column ∂g/∂z_index (B, n).
    """
    _check_latent(z)
    if isinstance(index, int):
        if not 0 <= index < z.shape[-1]:
            raise ValueError(f"index={index} was given; latent indices run 0…{z.shape[-1] - 1}.")
        direction = torch.zeros_like(z)
        direction[:, index] = 1
    else:
        if index.shape != z.shape[:1] or index.is_floating_point():
            raise ValueError(
                f"index has shape {tuple(index.shape)} and type {index.dtype}; expected an int or "
                f"an integer tensor of shape ({z.shape[0]},)."
            )
        axes = torch.arange(z.shape[-1], device=z.device)
        chosen = index.unsqueeze(-1) == axes
        # An index that is none of the axes must not pass for a column of zeros; NaN also works
        # inside a sweep, where nothing can be raised.
        direction = chosen.to(z.dtype).masked_fill(~chosen.any(-1, keepdim=True), torch.nan)
    return directional(decoder, z, direction)


def directional(decoder: Decoder, z: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Value x̂ (B, n) and J·v (B, n) for a direction v (B, d) at each z (B, d): one tangent pass."""
    if isinstance(decoder, MLPDecoder):
        return decoder.push_forward(z, direction)
    return jvp(decoder, (z,), (direction,))


def pullback_metric(J: Tensor, precision: Tensor | None = None) -> Tensor:
    """The metric G = JᵀJ that the decoder pulls back to the latent space, (B, d, d).

    J: (B, n, d). precision: the diagonal of −H_p, (B, n), for likelihoods other than the unit
    Gaussian; then G = Jᵀ diag(precision) J, the Gauss–Newton form of −∇²_z log p(x|z).
    """
    if precision is None:
        return J.mT @ J
    if precision.shape != J.shape[:-1]:
        raise ValueError(
            f"precision has shape {tuple(precision.shape)} and J {tuple(J.shape)}; expected the "
            "diagonal of −H_p with shape (B, n)."
        )
    return J.mT @ (precision.unsqueeze(-1) * J)


def _check_metric(metric: Tensor) -> None:
    if metric.ndim < 2 or metric.shape[-1] != metric.shape[-2]:
        raise ValueError(f"metric has shape {tuple(metric.shape)}; expected (B, d, d).")


def posterior_precision(
    metric: Tensor, beta: float | Tensor, family: str = "full", block_size: int | None = None
) -> Tensor:
    """P = I + G/β with the entries outside the family's structure set to zero, (B, d, d).

    Its inverse is the optimal Σ of the family and (β/2) log|P| the regulariser that goes with it.
    For the shared families G is first averaged over the batch (oracle C3).
    """
    _check_metric(metric)
    check_beta(beta)
    d = metric.shape[-1]
    mask = structure_mask(d, family, block_size, like=metric)
    if family.startswith("shared"):
        metric = metric.mean(-3, keepdim=True).expand_as(metric)
    return torch.eye(d, device=metric.device, dtype=metric.dtype) + mask * metric / beta


def optimal_covariance(
    metric: Tensor, beta: float | Tensor, family: str = "full", block_size: int | None = None
) -> Tensor:
    """The Σ of a family that minimises ½tr(GΣ) + β·KL, (B, d, d).

    Setting the derivative on the family's free entries to zero gives (Σ⁻¹ − I − G/β) = 0 there,
    hence Σ = (I + G/β)⁻¹ for the full family (slide 'Gaussian p(z) and q(z|x)'), the inverse of
    each diagonal **block of P** for "block", and 1/P_ii for "diagonal" (oracle C1). The blocks of
    the full inverse are a different, worse matrix.

    metric: (B, d, d), from `pullback_metric`. Raises ValueError if P is not positive definite.

    >>> metric = torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])
    >>> optimal_covariance(metric, 1.0, "diagonal")[0].diagonal()  # 1/P_ii
    tensor([0.3333, 0.3333])
    >>> optimal_covariance(metric, 1.0)[0]  # P⁻¹, with larger variances
    tensor([[ 0.3750, -0.1250],
            [-0.1250,  0.3750]])
    """
    precision = posterior_precision(metric, beta, family, block_size)
    factor, info = torch.linalg.cholesky_ex(precision)
    if bool((info != 0).any()) or not bool(torch.isfinite(precision).all()):
        raise ValueError(
            "I + G/β is not positive definite or not finite: the metric holds NaN or infinite "
            "entries, is not JᵀJ, or is too ill-conditioned for this precision. Check J, or use "
            "float64."
        )
    return torch.cholesky_inverse(factor)


def log_likelihood_hessian(
    decoder: Decoder, x: Tensor, z: Tensor, likelihood: str = "gaussian"
) -> Tensor:
    """The exact Hessian H_f = ∇²_z log p(x|z) of the log-likelihood in the latents, (B, d, d).

    Forward over reverse: d directional derivatives of the gradient. It includes the decoder's own
    second derivatives, weighted by the residuals, which `gauss_newton_hessian` leaves out.
    """
    _check_latent(z)

    def log_likelihood(z: Tensor) -> Tensor:
        return -likelihoods.distortion(x, decoder(z), likelihood).sum()

    basis = torch.eye(z.shape[-1], device=z.device, dtype=z.dtype)
    gradient = grad(log_likelihood)
    return vmap(lambda v: jvp(gradient, (z,), (v.expand_as(z),))[1], out_dims=-1)(basis)


def gauss_newton_hessian(
    decoder: Decoder, x: Tensor, z: Tensor, likelihood: str = "gaussian"
) -> Tensor:
    """Jᵀ H_p J, (B, d, d): the Hessian with the decoder's second derivatives left out.

    Equal to the exact Hessian wherever g is affine, so almost everywhere for ReLU decoders (the
    slides' 'exact for relu'), and wherever the residual vanishes.
    """
    x_hat, J = jacobian(decoder, z)
    return -pullback_metric(J, likelihoods.precision(x, x_hat, likelihood))


def column_norms(J: Tensor) -> Tensor:
    """‖∂g/∂z_i‖ for each latent i, (B, d): how far the image moves for a unit step in z_i."""
    return J.square().sum(-2).sqrt()


def column_cosines(metric: Tensor) -> Tensor:
    """|cos| of the angle between each two columns of J, from the metric, (B, d, d); ones on the
    diagonal. A column of length zero has no direction: its row and column are NaN.
    """
    _check_metric(metric)
    norms = torch.diagonal(metric, dim1=-2, dim2=-1).clamp_min(0).sqrt()
    return metric.abs() / (norms.unsqueeze(-1) * norms.unsqueeze(-2))
