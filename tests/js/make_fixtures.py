"""Write what the page's JavaScript must reproduce, computed by the library in float64.

python tests/js/make_fixtures.py DIRECTORY

Two safetensors files an activation with 50 random decoders, points, β and families
(engine.test.mjs): weights in float32 and, as the store holds them, in float16. Besides, losses and
gradients of three objectives (training.test.mjs). Nothing is committed: the tests make the files
anew, so that the page is compared with the library as it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from grae_lib import geometry, models, objectives

CASES = 50
N_ENCODER_HIDDEN = 7


def linear_layers(module: torch.nn.Module) -> list[torch.nn.Module]:
    """Layers with weights, from the input outwards."""
    return [layer for layer in module.modules() if hasattr(layer, "weight")]


def engine_cases(
    activation: str, architecture: str = "mlp", dtype: torch.dtype = torch.float32
) -> tuple[dict, dict]:
    """Tensors `<case>/…` and the metadata of one file; the library uses the very same weights."""
    conv = architecture == "conv"
    d, shape = 4, ((1, 8, 8) if conv else (1, 3, 3))
    hidden = (4, 3) if conv else (8, 6)
    families = [("full", None), ("block", 2), ("diagonal", None)]
    generator = torch.Generator().manual_seed(len(activation) + conv)
    tensors, settings = {}, []
    for case in range(CASES):
        output = "identity" if case % 2 else "sigmoid"
        model = models.build(
            architecture, shape=shape, latent_dim=d, hidden=hidden, activation=activation,
            output=output, seed=case,
        )  # fmt: skip
        for i, layer in enumerate(linear_layers(model.decoder)):
            # PyTorch's own first weights give nearly flat decoders: larger ones test more.
            for name in ("weight", "bias"):
                value = (1.5 * getattr(layer, name).detach()).to(dtype)
                getattr(layer, name).data = value.double()
                tensors[f"{case}/{i}.{name}"] = value.clone()
        z = torch.randn(1, d, generator=generator)
        x = torch.rand(1, *shape, generator=generator)
        beta = float(torch.exp(3 * torch.rand((), generator=generator) - 2.5))
        family, block_size = families[case % 3]
        x_hat, J = geometry.jacobian(model.decoder, z.double())
        G = geometry.pullback_metric(J)
        covariance = geometry.optimal_covariance(G, beta, family, block_size)
        tensors |= {
            f"{case}/z": z[0], f"{case}/x": x[0].flatten(), f"{case}/x_hat": x_hat[0],
            f"{case}/J": J[0], f"{case}/G": G[0], f"{case}/covariance": covariance[0],
        }  # fmt: skip
        half = 2 / beta
        distortion = 0.5 * (x.double().flatten(1) - x_hat).square().sum()
        settings.append({
            "output": output, "beta": beta, "family": family, "block_size": block_size or 1,
            "log_det": half * objectives.log_det_regularizer(G, beta).item(),
            "column_bound": half * objectives.column_regularizer(G, beta).item(),
            "block_bound": half * objectives.block_regularizer(G, beta, 2).item(),
            "eigenvalues": torch.linalg.eigvalsh(G[0]).flip(0).tolist(),
            "distortion": distortion.item(),
        })  # fmt: skip
    tensors = {
        k: v.detach().double().contiguous() if k.split("/")[1] in ("x_hat", "J", "G", "covariance")
        else v.detach().contiguous()
        for k, v in tensors.items()
    }  # fmt: skip
    meta = {"activation": activation, "latent_dim": d, "shape": shape, "cases": settings}
    return tensors, {k: v if isinstance(v, str) else json.dumps(v) for k, v in meta.items()}


def training_cases(activation: str, output: str) -> tuple[dict, dict]:
    """Loss terms and gradients of a small autoencoder under each objective."""
    d, n, batch, beta = 2, 5, 6, 0.3
    generator = torch.Generator().manual_seed(5)
    model = models.build(
        shape=(n,), latent_dim=d, hidden=(N_ENCODER_HIDDEN,), activation=activation,
        output=output, seed=3,
    ).double()  # fmt: skip
    x = torch.rand(batch, n, generator=generator).double()
    noise = torch.randn(batch, d, generator=generator).double()
    tensors = {"x": x.flatten(), "noise": noise.flatten()}
    layers = linear_layers(model.encoder) + linear_layers(model.decoder)
    for i, layer in enumerate(layers):
        layer.weight.data *= 2
        tensors |= {f"W{i}": layer.weight.flatten(), f"b{i}": layer.bias}
    losses = {}
    for name, objective in {
        "ae": objectives.AE(),
        "beta_vae": objectives.BetaVAE(beta),
        "grae_log_det": objectives.GRAE(beta, "log_det"),
    }.items():
        terms = objective.terms(model, x, {"epsilon": noise}, objective.weights)
        means = {k: v.mean() for k, v in terms.items()}
        losses[name] = {k: v.item() for k, v in means.items()}
        parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
        grads = torch.autograd.grad(means["total"], parameters, allow_unused=True)
        for i in range(len(layers)):
            for kind, g, p in zip("Wb", grads[2 * i :], parameters[2 * i :], strict=False):
                g = torch.zeros_like(p) if g is None else g
                tensors[f"{name}/g{kind}{i}"] = g.flatten()
    meta = {
        "activation": activation, "output": output, "d": d, "n": n, "beta": beta,
        "hidden": [N_ENCODER_HIDDEN], "losses": losses,
    }  # fmt: skip
    tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    return tensors, {k: v if isinstance(v, str) else json.dumps(v) for k, v in meta.items()}


def main(directory: str) -> None:
    """Write all fixtures below `directory`."""
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    decoders = {name: (name, "mlp") for name in models.ACTIVATIONS} | {"conv": ("tanh", "conv")}
    for name, (activation, architecture) in decoders.items():
        for dtype in (torch.float32, torch.float16):
            tensors, meta = engine_cases(activation, architecture, dtype)
            bits = torch.finfo(dtype).bits
            save_file(tensors, root / f"engine{bits}_{name}.safetensors", meta)
    for activation, output in [("tanh", "identity"), ("softplus", "sigmoid"), ("gelu", "tanh")]:
        tensors, meta = training_cases(activation, output)
        save_file(tensors, root / f"training_{activation}.safetensors", meta)


if __name__ == "__main__":
    main(sys.argv[1])
