"""The objectives of the book, one small class each, on one footing.

Every objective splits its loss, for each example of a batch and in nats, into

    total = distortion + prior + regularizer

    distortion   −log p(x|z), summed over the entries of x, constants dropped (`likelihoods`)
    prior        (β/2)‖h(x)‖², the share of the prior that acts on the encoder's mean
    regularizer  what is left: for a β-VAE the cost of Σ, for GRAE the decoder's Jacobian

β multiplies the KL term. It has this meaning only while the distortion is **summed** over entries
and, for the Gaussian likelihood, carries the ½ of a unit variance. With likelihood variance σ² the
loss is the same after β → βσ², divided by σ² (oracle A1).

    [1] A. Kumar, B. Poole. On Implicit Regularization in β-VAEs. ICML 2020.
    [2] P. Ghosh et al. From Variational to Deterministic Autoencoders. ICLR 2020.
    [3] S. Rifai et al. Contractive Auto-Encoders. ICML 2011.
    [4] Y. Yoshida, T. Miyato. Spectral Norm Regularization for Improving the Generalizability of
        Deep Learning. 2017. arXiv:1705.10941.
    [5] A. Gropp, M. Atzmon, Y. Lipman. Isometric Autoencoders. 2020. arXiv:2006.09289.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import geometry, likelihoods
from .geometry import check_beta
from .likelihoods import check_likelihood
from .models import AutoEncoder
from .posteriors import check_family

Terms = dict[str, Tensor]


def _log_det(precision: Tensor) -> Tensor:
    """log|P| by Cholesky; NaN, never a wrong number, where P is not positive definite."""
    factor, info = torch.linalg.cholesky_ex(precision)
    value = 2 * torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
    return torch.where(info == 0, value, torch.full_like(value, torch.nan))


def log_det_regularizer(metric: Tensor, beta: float | Tensor) -> Tensor:
    """(β/2) log|I + G/β|, the regulariser of GRAE [1, slide 'GRAE'].

    metric: (B, d, d), G = JᵀJ; returns (B,), nats. A Cholesky of P = I + G/β; where rounding of a
    very ill-conditioned float32 metric makes P indefinite, the value is NaN: then use
    `log_det_regularizer_from_jacobian`.

    >>> metric = torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])
    >>> log_det_regularizer(metric, 1.0)  # ½ log(3·3 − 1)
    tensor([1.0397])
    >>> column_regularizer(metric, 1.0)  # ½ (log 3 + log 3), never less
    tensor([1.0986])
    """
    return 0.5 * beta * _log_det(geometry.posterior_precision(metric, beta))


def log_det_regularizer_from_jacobian(J: Tensor, beta: float | Tensor) -> Tensor:
    """(β/2) Σ log(1 + s_i²/β) over the singular values s of J: the same quantity, (B,), nats.

    Stays finite and accurate where forming JᵀJ has already lost the small singular values (oracle
    B3); slower than the Cholesky. J: (B, n, d).
    """
    check_beta(beta)
    return 0.5 * beta * torch.log1p(torch.linalg.svdvals(J).square() / beta).sum(-1)


def column_regularizer(metric: Tensor, beta: float | Tensor) -> Tensor:
    """(β/2) Σ_i log(1 + ‖J_i‖²/β) over the columns of J: Hadamard's upper bound of the log-det
    form [1, slide 'GRAE ≈'], with equality iff the columns are orthogonal (oracle B1).

    metric: (B, d, d); returns (B,), nats. It is also exactly what a mean-field posterior with the
    optimal diagonal covariance pays (oracle A1).
    """
    geometry._check_metric(metric)
    check_beta(beta)
    squared_norms = torch.diagonal(metric, dim1=-2, dim2=-1)
    return 0.5 * beta * torch.log1p(squared_norms / beta).sum(-1)


def block_regularizer(metric: Tensor, beta: float | Tensor, block_size: int) -> Tensor:
    """(β/2) Σ_B log|I + J_BᵀJ_B/β| over blocks of columns: Fischer's bound, between the two others.

    metric: (B, d, d); block_size divides d; returns (B,), nats. What a posterior with the optimal
    block-diagonal covariance pays (oracle C1).
    """
    return 0.5 * beta * _log_det(geometry.posterior_precision(metric, beta, "block", block_size))


class Objective:
    """What a trainer needs of an objective: named terms of each example, and the noise they use.

    Calling it, `objective(model, x, generator=None)`, draws the noise and returns the terms, each
    (B,). A sweep calls `terms` instead, with noise and `weights` (β and the like) that differ from
    member to member; everything else about an objective is part of its `config`.
    """

    #: Names of the terms, in the order in which they are recorded.
    names: tuple[str, ...] = ("distortion", "prior", "regularizer", "total")

    def __init__(self, likelihood: str = "gaussian", **weights: float):
        check_likelihood(likelihood)
        self.likelihood = likelihood
        self.weights = {name: float(value) for name, value in weights.items()}

    @property
    def config(self) -> dict:
        """What two objectives must share to be trained in one sweep."""
        settings = {k: v for k, v in vars(self).items() if k != "weights"}
        return {"objective": type(self).__name__, **settings}

    def __repr__(self) -> str:
        settings = {k: v for k, v in vars(self).items() if k != "weights" and v is not None}
        inside = ", ".join(f"{k}={v!r}" for k, v in (self.weights | settings).items())
        return f"{type(self).__name__}({inside})"

    def check(self, model: AutoEncoder, x: Tensor) -> None:
        """Raise ValueError where model or data do not suit the objective; trainers call it once."""
        if self.likelihood != "bernoulli":
            return
        if model.config.get("output", "identity") != "identity":
            raise ValueError(
                f"likelihood 'bernoulli' takes logits, but the model ends in "
                f"output={model.config['output']!r}; build it with output='identity'."
            )
        if float(x.min()) < 0 or float(x.max()) > 1:
            raise ValueError(
                f"likelihood 'bernoulli' takes data in [0, 1]; these run from {float(x.min()):.3g} "
                f"to {float(x.max()):.3g}. Rescale them or choose likelihood='gaussian'."
            )

    def noise(self, batch: int, latent_dim: int, generator: torch.Generator | None) -> Terms:
        """The random numbers that `terms` needs for `batch` examples; none by default."""
        return {}

    def terms(self, model: AutoEncoder, x: Tensor, noise: Terms, weights: dict) -> Terms:
        """The named terms of each example, (B,), given the noise and the weights."""
        raise TypeError(f"{type(self).__name__} defines no terms; choose one of its subclasses.")

    def __call__(
        self, model: AutoEncoder, x: Tensor, generator: torch.Generator | None = None
    ) -> Terms:
        """Terms of each example of x (B, *shape) in nats, with noise from `generator`.

        Without a generator the noise comes from PyTorch's default one. Seeded generators live on
        the CPU or on x's device.
        """
        self.check(model, x)
        noise = self.noise(len(x), model.latent_dim, generator)
        noise = {
            name: value.to(device=x.device, dtype=x.dtype if value.is_floating_point() else None)
            for name, value in noise.items()
        }
        return self.terms(model, x, noise, self.weights)


def _normal(batch: int, latent_dim: int, generator: torch.Generator | None) -> Terms:
    device = "cpu" if generator is None else generator.device
    return {"epsilon": torch.randn(batch, latent_dim, generator=generator, device=device)}


def _with_total(**terms: Tensor) -> Terms:
    return {**terms, "total": terms["distortion"] + terms["prior"] + terms["regularizer"]}


class BetaVAE(Objective):
    """β-VAE: E_q[−log p(x|z)] + β·KL(q(z|x) ‖ N(0, I)), one sample z = mean + Lε an example.

    [1, slide 'β-VAE'], as a minimisation. β multiplies the whole KL; the distortion is summed over
    entries. `family` and `block_size` state the posterior that the model must have; leave family
    None to take the model's. Terms: distortion (sampled), prior (β/2)‖mean‖², regularizer
    (β/2)(tr Σ − d − log|Σ|), total, and rate, the KL itself in nats, not multiplied by β.
    """

    names = ("distortion", "prior", "regularizer", "total", "rate")

    def __init__(
        self,
        beta: float,
        family: str | None = None,
        block_size: int | None = None,
        likelihood: str = "gaussian",
    ):
        check_beta(beta)
        super().__init__(likelihood, beta=beta)
        self.family, self.block_size = family, block_size

    def check(self, model: AutoEncoder, x: Tensor) -> None:
        super().check(model, x)
        if self.family is None:
            return
        check_family(self.family, model.latent_dim, self.block_size)
        has = (model.config["family"], model.config["block_size"])
        if has != (self.family, self.block_size):
            raise ValueError(
                f"the objective asks for family={self.family!r}, block_size={self.block_size}, but "
                f"the model was built with family={has[0]!r}, block_size={has[1]}; build it with "
                "the family of the objective."
            )

    def noise(self, batch: int, latent_dim: int, generator: torch.Generator | None) -> Terms:
        return _normal(batch, latent_dim, generator)

    def _distortion(self, model: AutoEncoder, x: Tensor, posterior, noise: Terms) -> Tensor:
        z = posterior.sample(noise["epsilon"])
        return likelihoods.distortion(x, model.decoder(z), self.likelihood)

    def terms(self, model: AutoEncoder, x: Tensor, noise: Terms, weights: dict) -> Terms:
        beta, posterior = weights["beta"], model.encode(x)
        prior = 0.5 * posterior.mean.square().sum(-1)
        covariance_cost = posterior.covariance_cost()
        terms = _with_total(
            distortion=self._distortion(model, x, posterior, noise),
            prior=beta * prior,
            regularizer=beta * covariance_cost,
        )
        return {**terms, "rate": prior + covariance_cost}


class TaylorVAE(BetaVAE):
    """The β-VAE with E_q[−log p(x|z)] replaced by its second-order Taylor form, no sampling.

    −log p(x|h) − ½tr(H Σ) + β·KL, with h and Σ the encoder's mean and covariance. `hessian` is
    "exact", H = ∇²_z log p(x|z) [1, slide 'Taylor approximation of β-VAE'], or "gauss_newton",
    H = JᵀH_pJ [1, slide 'in terms of the Jacobian of the decoder']. Both are exact for a linear
    decoder with the Gaussian likelihood.
    The distortion returned includes the trace term, so it estimates the β-VAE's distortion.
    """

    def __init__(
        self,
        beta: float,
        family: str | None = None,
        block_size: int | None = None,
        likelihood: str = "gaussian",
        hessian: str = "gauss_newton",
    ):
        super().__init__(beta, family, block_size, likelihood)
        if hessian not in ("exact", "gauss_newton"):
            raise ValueError(f"hessian {hessian!r} is unknown; choose 'exact' or 'gauss_newton'.")
        self.hessian = hessian

    def noise(self, batch: int, latent_dim: int, generator: torch.Generator | None) -> Terms:
        return {}

    def _distortion(self, model: AutoEncoder, x: Tensor, posterior, noise: Terms) -> Tensor:
        mean, factor = posterior
        if self.hessian == "exact":
            x_hat = model.decoder(mean)
            H = geometry.log_likelihood_hessian(model.decoder, x, mean, self.likelihood)
            trace = -(H * (factor @ factor.mT)).sum((-2, -1))
        else:
            x_hat, J = geometry.jacobian(model.decoder, mean)
            precision = likelihoods.precision(x, x_hat, self.likelihood)
            G = geometry.pullback_metric(J, precision)
            trace = (G * (factor @ factor.mT)).sum((-2, -1))
        return likelihoods.distortion(x, x_hat, self.likelihood) + 0.5 * trace


class Deterministic(Objective):
    """−log p(x|h(x)) + (β/2)‖h(x)‖² + a regulariser of the decoder; no posterior is sampled."""

    def __init__(self, beta: float, likelihood: str = "gaussian", **weights: float):
        check_beta(beta)
        super().__init__(likelihood, beta=beta, **weights)

    def _decode(
        self, model: AutoEncoder, x: Tensor, z: Tensor, noise: Terms, weights: dict
    ) -> tuple[Tensor, Tensor]:
        """x_hat (B, n) and the regulariser (B,); subclasses say which."""
        raise TypeError(f"{type(self).__name__} defines no regulariser; choose a subclass.")

    def terms(self, model: AutoEncoder, x: Tensor, noise: Terms, weights: dict) -> Terms:
        z = model.encode(x).mean
        x_hat, regularizer = self._decode(model, x, z, noise, weights)
        return _with_total(
            distortion=likelihoods.distortion(x, x_hat, self.likelihood),
            prior=0.5 * weights["beta"] * z.square().sum(-1),
            regularizer=regularizer,
        )


class GRAE(Deterministic):
    """GRAE [1, slide 'GRAE']: ½‖x − g(h)‖² + (β/2)‖h‖² + (β/2) log|I + JᵀJ/β|, J = ∂g/∂z at h(x).

    regularizer:
      "log_det"     the objective itself; d tangent passes
      "block"       Fischer's bound for blocks of `block_size` columns; ours, not in the sources
      "columns"     Hadamard's bound (β/2) Σ_i log(1 + ‖J_i‖²/β); d tangent passes
      "one_column"  [1, slide 'GRAE ≈']: d·(β/2) log(1 + ‖J_i‖²/β) with i uniform on the d columns,
                    drawn for each example; one tangent pass. Unbiased for "columns": the mean over
                    i is (1/d) Σ_i, and the factor d undoes it (oracle B2).
    With likelihood="bernoulli" (logits) JᵀJ becomes Jᵀ diag(p(1 − p)) J.
    """

    REGULARIZERS = ("log_det", "block", "columns", "one_column")

    def __init__(
        self,
        beta: float,
        regularizer: str = "log_det",
        block_size: int | None = None,
        likelihood: str = "gaussian",
    ):
        super().__init__(beta, likelihood)
        if regularizer not in self.REGULARIZERS:
            raise ValueError(
                f"regularizer {regularizer!r} is unknown; choose one of "
                f"{', '.join(self.REGULARIZERS)}."
            )
        if (regularizer == "block") != (block_size is not None):
            raise ValueError(
                f"regularizer={regularizer!r} with block_size={block_size}: regularizer 'block' "
                "needs a block_size that divides d, the others take none."
            )
        self.regularizer, self.block_size = regularizer, block_size

    def noise(self, batch: int, latent_dim: int, generator: torch.Generator | None) -> Terms:
        if self.regularizer != "one_column":
            return {}
        device = "cpu" if generator is None else generator.device
        index = torch.randint(latent_dim, (batch,), generator=generator, device=device)
        return {"index": index}

    def _decode(
        self, model: AutoEncoder, x: Tensor, z: Tensor, noise: Terms, weights: dict
    ) -> tuple[Tensor, Tensor]:
        beta = weights["beta"]
        if self.regularizer == "one_column":
            x_hat, column = geometry.jacobian_column(model.decoder, z, noise["index"])
            weight = likelihoods.precision(x, x_hat, self.likelihood)
            squares = column.square() if weight is None else weight * column.square()
            return x_hat, z.shape[-1] * 0.5 * beta * torch.log1p(squares.sum(-1) / beta)
        x_hat, J = geometry.jacobian(model.decoder, z)
        G = geometry.pullback_metric(J, likelihoods.precision(x, x_hat, self.likelihood))
        if self.regularizer == "log_det":
            return x_hat, log_det_regularizer(G, beta)
        if self.regularizer == "block":
            return x_hat, block_regularizer(G, beta, self.block_size)
        return x_hat, column_regularizer(G, beta)


class AE(Objective):
    """Plain autoencoder: the distortion alone. Prior and regularizer are zero."""

    def __init__(self, likelihood: str = "gaussian"):
        super().__init__(likelihood)

    def terms(self, model: AutoEncoder, x: Tensor, noise: Terms, weights: dict) -> Terms:
        distortion = likelihoods.distortion(x, model(x), self.likelihood)
        zero = torch.zeros_like(distortion)
        return _with_total(distortion=distortion, prior=zero, regularizer=zero)


def _check_weight(weight: float) -> None:
    if not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
        raise ValueError(f"weight={weight!r} was given; a penalty's weight is a finite number ≥ 0.")


class RAE_L2(Deterministic):
    """L2-RAE [2]: distortion + (β/2)‖h‖² + (weight/2) Σ θ² over all parameters of the decoder."""

    def __init__(self, beta: float, weight: float = 1e-3, likelihood: str = "gaussian"):
        _check_weight(weight)
        super().__init__(beta, likelihood, weight=weight)

    def _decode(self, model, x, z, noise, weights):
        decay = sum(p.square().sum() for p in model.decoder.parameters())
        x_hat = model.decoder(z)
        return x_hat, 0.5 * weights["weight"] * decay * torch.ones_like(x_hat[:, 0])


class RAE_GP(Deterministic):
    """Gradient-penalty RAE [2]: distortion + (β/2)‖h‖² + (weight/2)‖J_g(h)‖²_F.

    The penalty is on the decoder's Jacobian, all its columns; the gradient of the *sum* of the
    outputs with respect to the *input*, sometimes used in its place, is another quantity.
    """

    def __init__(self, beta: float, weight: float = 1e-2, likelihood: str = "gaussian"):
        _check_weight(weight)
        super().__init__(beta, likelihood, weight=weight)

    def _decode(self, model, x, z, noise, weights):
        x_hat, J = geometry.jacobian(model.decoder, z)
        return x_hat, 0.5 * weights["weight"] * J.square().sum((-2, -1))


class SpectralAE(Deterministic):
    """Distortion + (β/2)‖h‖² + (weight/2) times a squared spectral norm of the decoder.

    penalty:
      "jacobian"  σ_max(J_g(h))², the longest that a unit step of the latents becomes; d tangent
                  passes. Ours: the pointwise counterpart of the next.
      "layers"    Σ_l σ_max(W_l)² over the decoder's matrices [4], kernels flattened to matrices
                  (out or in channels × the rest); no tangent pass. For activations with slopes in
                  [−1, 1] the product of σ_max(W_l) bounds σ_max(J_g) of an MLP at every code.
    """

    PENALTIES = ("jacobian", "layers")

    def __init__(
        self,
        beta: float,
        weight: float = 1e-2,
        penalty: str = "jacobian",
        likelihood: str = "gaussian",
    ):
        _check_weight(weight)
        if penalty not in self.PENALTIES:
            raise ValueError(
                f"penalty {penalty!r} is unknown; choose one of {', '.join(self.PENALTIES)}."
            )
        super().__init__(beta, likelihood, weight=weight)
        self.penalty = penalty

    def _decode(self, model, x, z, noise, weights):
        if self.penalty == "jacobian":
            x_hat, J = geometry.jacobian(model.decoder, z)
            squared = torch.linalg.eigvalsh(geometry.pullback_metric(J))[..., -1]
            return x_hat, 0.5 * weights["weight"] * squared
        x_hat = model.decoder(z)
        matrices = [p.flatten(1) for p in model.decoder.parameters() if p.ndim > 1]
        squared = sum(torch.linalg.svdvals(W)[..., 0].square() for W in matrices)
        return x_hat, 0.5 * weights["weight"] * squared * torch.ones_like(x_hat[:, 0])


class IsometricAE(Deterministic):
    """Distortion + (β/2)‖h‖² + (weight/2)·(‖J_g(h) u‖ − 1)² with u uniform on the unit sphere [5].

    Zero in the mean over u iff JᵀJ = I: the decoder keeps lengths. One tangent pass. Of [5] this is
    the decoder's term, taken at the codes of the data; their encoder term is left out.
    """

    def __init__(self, beta: float, weight: float = 1.0, likelihood: str = "gaussian"):
        _check_weight(weight)
        super().__init__(beta, likelihood, weight=weight)

    def noise(self, batch: int, latent_dim: int, generator: torch.Generator | None) -> Terms:
        u = _normal(batch, latent_dim, generator)["epsilon"]
        return {"direction": u / u.norm(dim=-1, keepdim=True)}

    def _decode(self, model, x, z, noise, weights):
        x_hat, pushed = geometry.directional(model.decoder, z, noise["direction"])
        # The length of a zero vector has no gradient; the smallest number that a square holds does.
        tiny = torch.finfo(pushed.dtype).tiny
        length = (pushed.square().sum(-1) + tiny).sqrt()
        return x_hat, 0.5 * weights["weight"] * (length - 1).square()


class ContractiveAE(Objective):
    """Contractive autoencoder [3]: distortion + (weight/2)‖J_h(x)‖²_F, the **encoder's** Jacobian.

    d reverse-mode passes: the encoder maps many entries to few latents. Prior is zero.
    """

    def __init__(self, weight: float = 1e-2, likelihood: str = "gaussian"):
        _check_weight(weight)
        super().__init__(likelihood, weight=weight)

    def terms(self, model: AutoEncoder, x: Tensor, noise: Terms, weights: dict) -> Terms:
        z, pullback = torch.func.vjp(lambda x: model.encode(x).mean, x)
        basis = torch.eye(z.shape[-1], device=z.device, dtype=z.dtype)
        rows = torch.func.vmap(lambda v: pullback(v.expand_as(z))[0])(basis)
        squares = rows.flatten(2).square().sum((0, 2))
        distortion = likelihoods.distortion(x, model.decoder(z), self.likelihood)
        return _with_total(
            distortion=distortion,
            prior=torch.zeros_like(distortion),
            regularizer=0.5 * weights["weight"] * squares,
        )
