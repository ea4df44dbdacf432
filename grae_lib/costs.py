"""What a regulariser costs, counted and not timed: operations, and memory kept for the gradient.

With E and D the operations of one pass of encoder and decoder, a β-VAE's step takes about 3(E + D):
a forward pass, and a backward pass that costs two. Each tangent pass adds 3D, forward and backward,
and the metric of all columns JᵀJ adds 6Bnd². `expected_operations` is that formula without 'about'.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .models import AutoEncoder
from .objectives import GRAE, BetaVAE, Objective
from .posteriors import n_parameters


def operations(objective: Objective, model: AutoEncoder, x: Tensor) -> int:
    """Operations of all matrix products and convolutions in one loss and its gradient, as PyTorch
    counts them: a multiplication and an addition are two.
    """
    with FlopCounterMode(display=False) as counter:
        objective(model, x, torch.Generator().manual_seed(0))["total"].mean().backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def kept_bytes(objective: Objective, model: AutoEncoder, x: Tensor) -> int:
    """Bytes that one loss of an MLP keeps for its gradient, parameters and data not counted.

    Tensors that share memory are counted once. It is the part of the peak memory that grows with
    the batch: about n + 2Σhidden numbers an example and tangent pass.
    """
    _only_mlp(model)
    known = {p.untyped_storage().data_ptr() for p in (*model.parameters(), x)}
    kept: dict[int, int] = {}
    # Holding the tensors keeps their addresses from being used again.
    held: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        objective(model, x, torch.Generator().manual_seed(0))["total"].mean()
    return sum(kept.values())


def _products(sizes: list[int]) -> list[int]:
    return [2 * a * b for a, b in itertools.pairwise(sizes)]


def expected_operations(objective: Objective, model: AutoEncoder, batch: int) -> int:
    """`operations` of an MLP under BetaVAE or GRAE by formula.

        batch·[3E − E₁ + 3D + k(3D − D₁) + extra]

    with k tangent passes: none for the β-VAE, one for one column, d otherwise. E₁ and D₁ are the
    first layers' shares: no gradient goes back to the data, nor to the directions that are pushed
    forward. extra: 4d² to draw z for the β-VAE, 6nd² for JᵀJ. The Cholesky of the log-det is not
    counted, its gradient (2d³) is.
    """
    _only_mlp(model)
    config = model.config
    n, d, hidden = math.prod(config["shape"]), config["latent_dim"], config["hidden"]
    raw = n_parameters(d, config["family"], config["block_size"])
    encoder, decoder = _products([n, *hidden, d + raw]), _products([d, *hidden[::-1], n])
    if isinstance(objective, BetaVAE):
        tangents, extra = 0, 4 * d * d
    elif isinstance(objective, GRAE) and objective.regularizer == "one_column":
        tangents, extra = 1, 0
    elif isinstance(objective, GRAE) and objective.regularizer in ("columns", "log_det"):
        cholesky = 2 * d**3 if objective.regularizer == "log_det" else 0
        tangents, extra = d, 6 * n * d * d + cholesky
    else:
        raise ValueError(
            f"{objective!r} was given; there is a formula for BetaVAE and for GRAE with "
            "'one_column', 'columns' or 'log_det'."
        )
    value = 3 * sum(encoder) - encoder[0] + 3 * sum(decoder)
    return batch * (value + tangents * (3 * sum(decoder) - decoder[0]) + extra)


def _only_mlp(model: AutoEncoder) -> None:
    if model.config["architecture"] != "mlp":
        raise ValueError(
            f"architecture {model.config['architecture']!r} was given; this is for 'mlp'."
        )
