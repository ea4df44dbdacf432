"""Encoders and decoders, and the named architectures that the book trains.

A model is an `AutoEncoder`: `encode(x)` returns a `Posterior`, `decoder(z)` an image flattened to
n entries. All objectives train the same model; the deterministic ones ignore the posterior's
covariance. `build(**config)` makes a model from plain values and `model.config` gives them back,
so that a stored decoder can be rebuilt without a pickle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from . import posteriors
from .data import LEAKY_RELU_SLOPE
from .posteriors import Posterior

#: Elementwise nonlinearities of hidden layers, by name.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(LEAKY_RELU_SLOPE),
    "elu": nn.ELU,
    "gelu": nn.GELU,
}

#: What the decoder's last layer is followed by. Bernoulli likelihoods take logits: "identity".
OUTPUTS = ("identity", "sigmoid", "tanh", "softplus", "relu", "leaky_relu")

ARCHITECTURES = ("mlp", "conv", "toy")


def _choose(kind: str, value: str, valid: Sequence[str]) -> str:
    if value not in valid:
        raise ValueError(f"{kind} {value!r} is unknown; choose one of {', '.join(valid)}.")
    return value


class _Affine(torch.autograd.Function):
    """x Wᵀ + b with its own forward-mode rule.

    PyTorch's rule for `addmm` also multiplies x by the tangent of W, which is zero here, and then
    differentiates through that product: a third of the cost of a tangent pass for nothing. This
    one leaves the term out. Results are equal to nn.Linear's to the last bit.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return nn.functional.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        x, weight, _ = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        if gradient is None:
            return None, None, None
        x, weight = ctx.saved_tensors
        return (
            gradient @ weight if ctx.needs_input_grad[0] else None,
            gradient.mT @ x if ctx.needs_input_grad[1] else None,
            gradient.sum(0) if ctx.needs_input_grad[2] else None,
        )

    @staticmethod
    def jvp(ctx, x_tangent, weight_tangent, bias_tangent):
        x, weight = ctx.saved_tensors
        parts = [] if x_tangent is None else [x_tangent @ weight.mT]
        parts += [] if weight_tangent is None else [x @ weight_tangent.mT]
        parts += [] if bias_tangent is None else [bias_tangent.expand(len(x), -1)]
        return sum(parts[1:], parts[0])


class Linear(nn.Linear):
    """nn.Linear for inputs (B, n_in), with a cheaper forward-mode derivative; used in decoders."""

    def forward(self, x: Tensor) -> Tensor:
        return _affine(x, self.weight, self.bias)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    # The plain product is quicker to dispatch; the rule of _Affine matters only to a tangent.
    carries_tangent = forward_ad.unpack_dual(x).tangent is not None
    return (_Affine.apply if carries_tangent else nn.functional.linear)(x, weight, bias)


def _mlp(sizes: Sequence[int], activation: str, linear: type[nn.Linear]) -> list[nn.Module]:
    """Linear layers of the given sizes with the activation between them, none after the last."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        layers += [ACTIVATIONS[activation]()] if i else []
        layers.append(linear(n_in, n_out))
    return layers


class MLPDecoder(nn.Sequential):
    """z (B, d) → x̂ (B, n): linear layers with an activation between, then the output function."""

    def __init__(
        self, latent_dim: int, hidden: Sequence[int], n: int, activation: str, output: str
    ):
        layers = _mlp([latent_dim, *hidden, n], activation, Linear)
        super().__init__(*layers, ACTIVATIONS[output]())


class ToyDecoder(nn.Module):
    """z (B, d) → ν(Az) + b, (B, n): the toy decoder of the slide 'Generative model of data'.

    The bias is outside the elementwise ν, unlike in a layer of a network.
    """

    def __init__(self, latent_dim: int, n: int, nonlinearity: str):
        super().__init__()
        self.weight = nn.Linear(latent_dim, n, bias=False).weight
        self.nonlinearity = ACTIVATIONS[nonlinearity]()
        self.bias = nn.Parameter(torch.zeros(n))

    def forward(self, z: Tensor) -> Tensor:
        # No bias inside ν: that would be another model.
        return self.nonlinearity(_affine(z, self.weight, torch.zeros_like(self.bias))) + self.bias


class ConvDecoder(nn.Sequential):
    """z (B, d) → x̂ (B, n): a linear map to a small picture, doubled in size by each stage.

    `hidden` gives the channels from the smallest picture to the largest; height and width must be
    divisible by 2 to the number of stages.
    """

    def __init__(
        self,
        latent_dim: int,
        hidden: Sequence[int],
        shape: tuple[int, int, int],
        activation: str,
        output: str,
    ):
        channels, small = _conv_sizes(hidden, shape)
        stages: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise([*hidden, channels]):
            stages += [ACTIVATIONS[activation](), nn.ConvTranspose2d(n_in, n_out, 4, 2, 1)]
        super().__init__(
            Linear(latent_dim, hidden[0] * math.prod(small)),
            nn.Unflatten(-1, (hidden[0], *small)),
            *stages,
            nn.Flatten(),
            ACTIVATIONS[output](),
        )


def _conv_sizes(hidden: Sequence[int], shape: Sequence[int]) -> tuple[int, tuple[int, int]]:
    if len(shape) != 3 or not hidden:
        raise ValueError(
            f"architecture 'conv' was given shape={tuple(shape)} and hidden={tuple(hidden)}; it "
            "takes a shape (channels, height, width) and at least one number of channels."
        )
    factor = 2 ** len(hidden)
    if shape[1] % factor or shape[2] % factor:
        raise ValueError(
            f"{len(hidden)} convolutional stages halve the image {len(hidden)} times, but "
            f"{shape[1]}×{shape[2]} is not divisible by {factor}; use fewer stages."
        )
    return shape[0], (shape[1] // factor, shape[2] // factor)


class Encoder(nn.Module):
    """x (B, *shape) → Posterior. `trunk` maps x to (B, d) means and what Σ needs besides.

    For the shared families Σ does not depend on x: its numbers are a parameter, `shared_raw`.
    """

    def __init__(self, trunk: nn.Module, latent_dim: int, family: str, block_size: int | None):
        super().__init__()
        self.trunk = trunk
        self.latent_dim, self.family, self.block_size = latent_dim, family, block_size
        self.shared_raw = (
            nn.Parameter(torch.zeros(posteriors.n_parameters(latent_dim, family, block_size)))
            if family.startswith("shared")
            else None
        )

    def forward(self, x: Tensor) -> Posterior:
        out = self.trunk(x)
        mean = out[..., : self.latent_dim]
        if self.shared_raw is None:
            raw = out[..., self.latent_dim :]
        else:
            raw = self.shared_raw.expand(*mean.shape[:-1], -1)
        factor = posteriors.factor_from_parameters(
            raw, self.latent_dim, self.family, self.block_size
        )
        return Posterior(mean, factor)


class AutoEncoder(nn.Module):
    """Encoder and decoder together, with the values that rebuild them in `config`."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, config: dict):
        super().__init__()
        self.encoder, self.decoder, self.config = encoder, decoder, config

    @property
    def latent_dim(self) -> int:
        """d, the number of latents."""
        return self.config["latent_dim"]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.config["shape"])

    def encode(self, x: Tensor) -> Posterior:
        """x (B, *shape) → the posterior q(z|x), mean (B, d) and factor (B, d, d)."""
        if tuple(x.shape[1:]) != self.shape:
            wanted = ", ".join(map(str, self.shape))
            raise ValueError(f"x has shape {tuple(x.shape)}; this model takes (B, {wanted}).")
        return self.encoder(x)

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction g(h(x)), (B, n)."""
        return self.decoder(self.encode(x).mean)


def build(
    architecture: str = "mlp",
    *,
    shape: Sequence[int] = (1, 28, 28),
    latent_dim: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "tanh",
    output: str = "identity",
    family: str = "diagonal",
    block_size: int | None = None,
    seed: int = 0,
) -> AutoEncoder:
    """Make a model of a named architecture, initialised from `seed`; no global seed is touched.

    architecture: "mlp" (hidden layers of the sizes `hidden`, mirrored in the decoder; `hidden=()`
    is the linear model), "conv" (`hidden` are channels, from the image inwards) or "toy" (linear
    encoder, decoder ν(Az) + b with ν named by `output`; takes `hidden=()`).
    Raises ValueError for unknown names, sizes that are not positive, or an unfit block size.
    """
    _choose("architecture", architecture, ARCHITECTURES)
    _choose("activation", activation, tuple(ACTIVATIONS))
    _choose("output", output, OUTPUTS)
    shape, hidden = tuple(shape), tuple(hidden)
    for name, sizes in (("shape", shape), ("hidden", hidden), ("latent_dim", (latent_dim,))):
        if not all(isinstance(s, int) and s > 0 for s in sizes) or (name == "shape" and not sizes):
            raise ValueError(f"{name}={sizes} was given; expected positive integers.")
    if architecture == "toy" and hidden:
        raise ValueError(f"architecture 'toy' was given hidden={hidden}; it takes hidden=().")
    posteriors.check_family(family, latent_dim, block_size)

    n_raw = posteriors.n_parameters(latent_dim, family, block_size)
    if family.startswith("shared"):
        n_raw = 0
    n = math.prod(shape)
    # PyTorch's layers draw their first weights from the global generator only; forking it keeps
    # the caller's stream of random numbers as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if architecture in ("mlp", "toy"):
            trunk = nn.Sequential(
                nn.Flatten(), *_mlp([n, *hidden, latent_dim + n_raw], activation, nn.Linear)
            )
            decoder: nn.Module = (
                MLPDecoder(latent_dim, hidden[::-1], n, activation, output)
                if architecture == "mlp"
                else ToyDecoder(latent_dim, n, output)
            )
        else:
            _, small = _conv_sizes(hidden, shape)
            stages: list[nn.Module] = []
            for n_in, n_out in itertools.pairwise([shape[0], *hidden]):
                stages += [nn.Conv2d(n_in, n_out, 4, 2, 1), ACTIVATIONS[activation]()]
            last = nn.Linear(hidden[-1] * math.prod(small), latent_dim + n_raw)
            trunk = nn.Sequential(*stages, nn.Flatten(), last)
            decoder = ConvDecoder(latent_dim, hidden[::-1], shape, activation, output)
    config = {
        "architecture": architecture,
        "shape": list(shape),
        "latent_dim": latent_dim,
        "hidden": list(hidden),
        "activation": activation,
        "output": output,
        "family": family,
        "block_size": block_size,
    }
    return AutoEncoder(Encoder(trunk, latent_dim, family, block_size), decoder, config)
