"""What the penalties of GRAE's relatives compute, on one model and side by side.

Also the quantity that is sometimes programmed in place of a penalty on the decoder's Jacobian: the
gradient of the *summed* output with respect to the *input*,

    ∂(Σ_j x̂_j)/∂x = (J_g J_h)ᵀ 1.

It sees only the sum of the rows, and only the product of decoder and encoder.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from . import geometry, objectives
from .models import AutoEncoder, MLPDecoder


def summed_output_gradient(model: AutoEncoder, x: Tensor) -> Tensor:
    """‖∂(Σ_j x̂_j)/∂x‖² of each example, (B,): what is *not* a norm of the decoder's Jacobian."""
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    return gradient.flatten(1).square().sum(1)


def penalties(model: AutoEncoder, x: Tensor, beta: float) -> dict[str, float]:
    """Mean over the batch x of what each relative penalises; every one without its weight or ½.

    log_det: log|I + JᵀJ/β| of GRAE. gradient: ‖J_g‖²_F. spectral: σ_max(J_g)². layers:
    Σ_l σ_max(W_l)². isometric: E(‖J_g u‖ − 1)² over 256 directions. l2: the decoder's Σθ².
    contractive: ‖J_h‖²_F of the encoder. summed: `summed_output_gradient`.
    """
    frozen = copy.deepcopy(model).requires_grad_(False)
    twice = {
        "gradient": objectives.RAE_GP(beta, 1.0),
        "spectral": objectives.SpectralAE(beta, 1.0),
        "layers": objectives.SpectralAE(beta, 1.0, "layers"),
        "l2": objectives.RAE_L2(beta, 1.0),
        "contractive": objectives.ContractiveAE(1.0),
    }
    found = {name: 2 * float(o(frozen, x)["regularizer"].mean()) for name, o in twice.items()}
    isometric, generator = objectives.IsometricAE(beta, 1.0), torch.Generator().manual_seed(0)
    draws = [float(isometric(frozen, x, generator)["regularizer"].mean()) for _ in range(256)]
    _, J = geometry.jacobian(frozen.decoder, frozen.encode(x).mean)
    log_det = objectives.log_det_regularizer(geometry.pullback_metric(J), beta)
    return {
        "log_det": 2 / beta * float(log_det.mean()),
        **found,
        "isometric": 2 * sum(draws) / len(draws),
        "summed": float(summed_output_gradient(model, x).mean()),
    }


def _first_and_last(model: AutoEncoder) -> tuple[AutoEncoder, list[nn.Linear], list[nn.Linear]]:
    changed = copy.deepcopy(model)
    if not isinstance(changed.decoder, MLPDecoder) or model.config["output"] != "identity":
        raise ValueError(
            f"a model with architecture={model.config['architecture']!r} and "
            f"output={model.config['output']!r} was given; expected 'mlp' and 'identity'."
        )
    encoder, decoder = (
        [layer for layer in part.modules() if isinstance(layer, nn.Linear)]
        for part in (changed.encoder, changed.decoder)
    )
    return changed, encoder, decoder


def rescaled(model: AutoEncoder, factor: float) -> AutoEncoder:
    """A copy with the encoder's means divided by `factor` and the decoder's input multiplied by it:
    the same reconstructions, and a decoder Jacobian that is `factor` times as large.
    """
    changed, encoder, decoder = _first_and_last(model)
    d = changed.latent_dim
    with torch.no_grad():
        encoder[-1].weight[:d] /= factor
        encoder[-1].bias[:d] /= factor
        decoder[0].weight *= factor
    return changed


def summing_to_zero(model: AutoEncoder) -> AutoEncoder:
    """A copy whose decoder subtracts each picture's mean: columns of its Jacobian sum to zero."""
    changed, _, decoder = _first_and_last(model)
    with torch.no_grad():
        decoder[-1].weight -= decoder[-1].weight.mean(0, keepdim=True)
        decoder[-1].bias -= decoder[-1].bias.mean()
    return changed
