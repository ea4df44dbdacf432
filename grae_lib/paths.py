"""Curves on the learned manifold: arc length, energy, volume and shortest paths.

The decoder g carries the latent space into image space, and the metric G(z) = JᵀJ measures there
what a step in z costs: ds² = dzᵀG dz. A path is a tensor (m + 1, d) of latent points, m segments;
lengths are in units of the image, that is of ‖x‖, and no unit of time is fixed: paths run over
t ∈ [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .geometry import Decoder, jacobian, pullback_metric
from .posteriors import structure_mask


class Geodesic(NamedTuple):
    """What `geodesic` found: points (m + 1, d), their energy, and whether the solver had settled.

    energy: ½∫‖dg/dt‖² dt of the points, in squared units of the image. steps: accepted steps.
    """

    points: Tensor
    energy: float
    steps: int
    converged: bool


def _check_path(path: Tensor) -> None:
    if path.ndim != 2 or len(path) < 2 or not path.is_floating_point():
        raise ValueError(
            f"the path has shape {tuple(path.shape)} and type {path.dtype}; expected (m + 1, d) "
            "floating-point latent points with m ≥ 1 segments, as paths.straight makes them."
        )
    if not bool(torch.isfinite(path).all()):
        raise ValueError("the path holds NaN or infinite entries; its points must be finite.")


def straight(start: Tensor, end: Tensor, segments: int = 32) -> Tensor:
    """Equally spaced points on the straight line between two latents (d,), shape (m + 1, d)."""
    if start.ndim != 1 or start.shape != end.shape:
        raise ValueError(
            f"start has shape {tuple(start.shape)} and end {tuple(end.shape)}; expected (d,) twice."
        )
    if not isinstance(segments, int) or isinstance(segments, bool) or segments < 1:
        raise ValueError(f"segments={segments!r} was given; expected an integer ≥ 1.")
    t = torch.linspace(0, 1, segments + 1, dtype=start.dtype, device=start.device)
    # This form returns both ends without rounding.
    return (1 - t[:, None]) * start + t[:, None] * end


def chords(decoder: Decoder, path: Tensor) -> Tensor:
    """Distances ‖g(z_{k+1}) − g(z_k)‖ between consecutive images of a path, (m,).

    Their sum is the arc length from below, with an error of order 1/m² on a smooth path.
    """
    _check_path(path)
    return decoder(path).diff(dim=0).square().sum(-1).sqrt()


def energy(decoder: Decoder, path: Tensor) -> Tensor:
    """½∫‖dg/dt‖² dt with the chords in place of the derivative: (m/2) Σ_k chord_k², a scalar.

    Cauchy–Schwarz: length² ≤ 2·energy, with equality iff all chords are equally long.
    """
    steps = chords(decoder, path)
    return 0.5 * len(steps) * steps.square().sum()


def arc_length(
    decoder: Decoder, path: Tensor, family: str = "full", block_size: int | None = None
) -> Tensor:
    """∫ √(żᵀGż) dt by the midpoint rule, with G cut down to a family's structure, a scalar.

    "full" is the arc length itself. "block" and "diagonal" leave out the entries of G across blocks
    or off the diagonal: what the length would be if those columns of J were orthogonal.
    """
    _check_path(path)
    mask = structure_mask(path.shape[-1], family, block_size, like=path)
    step = path.diff(dim=0)
    _, J = jacobian(decoder, path[:-1] + 0.5 * step)
    G = mask * pullback_metric(J)
    return torch.einsum("ki,kij,kj->k", step, G, step).clamp_min(0).sqrt().sum()


def log_volume(metric: Tensor) -> Tensor:
    """log √|G|, (B,): by how much the decoder stretches a small volume of latents, in nats.

    metric: (B, d, d). −inf where G is singular (a direction that the decoder ignores). Of
    P = I + G/β it is 1/β times the regulariser of GRAE.
    """
    if metric.ndim < 2 or metric.shape[-1] != metric.shape[-2]:
        raise ValueError(f"metric has shape {tuple(metric.shape)}; expected (B, d, d).")
    return 0.5 * torch.linalg.slogdet(metric).logabsdet


def geodesic(
    decoder: Decoder,
    start: Tensor,
    end: Tensor,
    segments: int = 32,
    *,
    path: Tensor | None = None,
    steps: int = 60,
    tolerance: float = 1e-6,
) -> Geodesic:
    """A path of least energy between two latents (d,): locally shortest, and at constant speed.

    Levenberg–Marquardt on the discrete energy, a sum of squares of the differences
    g(z_{k+1}) − g(z_k). Its Gauss–Newton matrix has the blocks T_kl·J_kᵀJ_l, T the (m−1)×(m−1)
    matrix with 2 on the diagonal and −1 beside it, so one product of all Jacobians builds it.
    Energy never rises. It starts from `path` (m + 1, d), or from the straight line: another start
    may lead to another local minimum. Stops when a step lowers the energy by less than
    `tolerance` of it, or after `steps` tries; `converged` says which. Use float64.
    """
    if not isinstance(steps, int) or steps < 1 or not tolerance > 0:
        raise ValueError(
            f"steps={steps!r} and tolerance={tolerance!r} were given; expected an integer ≥ 1 and "
            "a number > 0."
        )
    points = (straight(start, end, segments) if path is None else path).detach().clone()
    _check_path(points)
    if not (torch.equal(points[0], start) and torch.equal(points[-1], end)):
        raise ValueError("the path to start from must begin at `start` and end at `end`.")
    inner, d = len(points) - 2, points.shape[-1]
    value, damping, accepted, settled = float(energy(decoder, points)), 1e-3, 0, inner < 1
    axis = torch.arange(inner, device=points.device)
    apart = (axis[:, None] - axis[None, :]).abs()
    T = (2.0 * (apart == 0) - 1.0 * (apart == 1)).to(points.dtype)
    spread = T.repeat_interleave(d, 0).repeat_interleave(d, 1)
    for _ in range(0 if settled else steps):
        images, J = jacobian(decoder, points)
        pull = 2 * images[1:-1] - images[:-2] - images[2:]
        gradient = torch.einsum("kni,kn->ki", J[1:-1], pull).flatten()
        columns = J[1:-1].permute(1, 0, 2).flatten(1)
        matrix = spread * (columns.T @ columns)
        ridge = matrix.diagonal().mean() * torch.eye(len(matrix)).to(matrix)
        while True:
            move = torch.linalg.solve(matrix + damping * ridge, gradient)
            trial = points.clone()
            trial[1:-1] -= move.view(inner, d)
            found = float(energy(decoder, trial))
            if found <= value or damping > 1e9:
                break
            damping *= 4
        if not found <= value:
            settled = True
            break
        drop, points, value = value - found, trial, found
        accepted, damping = accepted + 1, max(damping / 4, 1e-9)
        if drop <= tolerance * value:
            settled = True
            break
    return Geodesic(points, value, accepted, settled)
