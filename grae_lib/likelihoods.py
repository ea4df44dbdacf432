"""Pixel-wise likelihoods p(x|z) = p(x; g(z)): distortion, and the diagonal of −H_p.

| name | g(z) is | distortion −log p (constants dropped) | −H_p, the curvature in g |
| --- | --- | --- | --- |
| "gaussian" | the mean, unit variance | ½‖x − g‖², dropped: (n/2) log 2π | 1 |
| "bernoulli" | the logits a, p = σ(a) | Σ softplus(a) − x·a | p(1 − p), free of x |
| "bernoulli_probability" | p itself | −Σ x log p + (1 − x) log(1 − p) | x/p² + (1 − x)/(1 − p)² |

The first two are objectives' choices. The third exists to show what changes when a decoder's last
sigmoid counts as part of g (oracle D4): the curvature then depends on x, and Gauss–Newton leaves
out the sigmoid's own curvature.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LIKELIHOODS = ("gaussian", "bernoulli", "bernoulli_probability")


def check_likelihood(likelihood: str) -> None:
    """Raise ValueError unless the likelihood exists."""
    if likelihood not in LIKELIHOODS:
        raise ValueError(
            f"likelihood {likelihood!r} is unknown; choose one of {', '.join(LIKELIHOODS)}."
        )


def distortion(x: Tensor, output: Tensor, likelihood: str = "gaussian") -> Tensor:
    """−log p(x; output) in nats, summed over the n entries; constants dropped (see the table).

    x: (B, *shape) or (B, n); output: (B, n), what the decoder returned. Returns (B,). For unit
    variance the Gaussian distortion is ½‖x − x̂‖²: **summed** over entries, with the ½. Averaging
    over entries instead multiplies the meaning of β by n.
    """
    check_likelihood(likelihood)
    x = x.flatten(1)
    if x.shape != output.shape:
        raise ValueError(
            f"x has {x.shape[-1]} entries an example and the decoder returned shape "
            f"{tuple(output.shape)}; the two must agree."
        )
    if likelihood == "gaussian":
        return 0.5 * (x - output).square().sum(-1)
    if likelihood == "bernoulli":
        return (F.softplus(output) - x * output).sum(-1)
    return -(torch.special.xlogy(x, output) + torch.special.xlogy(1 - x, 1 - output)).sum(-1)


def precision(x: Tensor, output: Tensor, likelihood: str = "gaussian") -> Tensor | None:
    """The diagonal of −H_p = −∇²_g log p(x; g) at g = output, (B, n); None stands for all ones."""
    check_likelihood(likelihood)
    if likelihood == "gaussian":
        return None
    if likelihood == "bernoulli":
        p = torch.sigmoid(output)
        return p * (1 - p)
    x = x.flatten(1)
    return x / output.square() + (1 - x) / (1 - output).square()


def mean(output: Tensor, likelihood: str = "gaussian") -> Tensor:
    """E[x|z], (B, n): what to show as the decoded image."""
    check_likelihood(likelihood)
    return torch.sigmoid(output) if likelihood == "bernoulli" else output
