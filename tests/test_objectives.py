"""Objectives: their terms, their estimators' means and variances (B2), and what they penalise."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import jvp

from grae_lib import geometry, likelihoods, models, objectives, posteriors

EXACT = {"rtol": 1e-11, "atol": 1e-11}
BETA = 0.3


def build(seed=2, latent_dim=4, family="full", output="identity", **settings):
    defaults = {"shape": (7,), "hidden": (6, 5), "activation": "tanh"}
    return models.build(
        latent_dim=latent_dim, family=family, output=output, seed=seed, **(defaults | settings)
    ).double()


def images(generator, batch=5, n=7):
    return torch.rand(batch, n, generator=generator, dtype=torch.float64)


def at_the_mean(model, x):
    z = model.encode(x).mean
    x_hat, J = geometry.jacobian(model.decoder, z)
    return z, x_hat, J, geometry.pullback_metric(J)


EVERY = {
    "beta_vae": objectives.BetaVAE(BETA),
    "beta_vae_bernoulli": objectives.BetaVAE(BETA, likelihood="bernoulli"),
    "taylor": objectives.TaylorVAE(BETA),
    "taylor_exact": objectives.TaylorVAE(BETA, hessian="exact"),
    "taylor_exact_bernoulli": objectives.TaylorVAE(BETA, likelihood="bernoulli", hessian="exact"),
    "grae_log_det": objectives.GRAE(BETA),
    "grae_block": objectives.GRAE(BETA, "block", block_size=2),
    "grae_columns": objectives.GRAE(BETA, "columns"),
    "grae_one_column": objectives.GRAE(BETA, "one_column"),
    "grae_bernoulli": objectives.GRAE(BETA, "log_det", likelihood="bernoulli"),
    "ae": objectives.AE(),
    "rae_l2": objectives.RAE_L2(BETA, 0.2),
    "rae_gp": objectives.RAE_GP(BETA, 0.2),
    "contractive": objectives.ContractiveAE(0.2),
    "spectral": objectives.SpectralAE(BETA, 0.2),
    "spectral_layers": objectives.SpectralAE(BETA, 0.2, "layers"),
    "isometric": objectives.IsometricAE(BETA, 0.2),
}


@pytest.mark.parametrize("name", EVERY)
def test_total_is_distortion_plus_prior_plus_regularizer(name, generator):
    objective, model, x = EVERY[name], build(), images(generator)
    terms = objective(model, x, generator)
    assert tuple(terms) == objective.names
    assert all(
        value.shape == (5,) and bool(torch.isfinite(value).all()) for value in terms.values()
    )
    total = terms["distortion"] + terms["prior"] + terms["regularizer"]
    assert torch.equal(terms["total"], total)


@pytest.mark.parametrize("name", EVERY)
def test_the_terms_of_an_example_do_not_depend_on_the_batch_it_is_in(name, generator):
    """Sums over entries, never means over pixels or over the batch."""
    objective, model, x = EVERY[name], build(), images(generator)
    noise = objective.noise(5, 4, torch.Generator().manual_seed(1))
    noise = {k: v.double() if v.is_floating_point() else v for k, v in noise.items()}
    together = objective.terms(model, x, noise, objective.weights)
    for b in range(5):
        own = {k: v[b : b + 1] for k, v in noise.items()}
        alone = objective.terms(model, x[b : b + 1], own, objective.weights)
        for key, value in together.items():
            torch.testing.assert_close(alone[key], value[b : b + 1], **EXACT)


@pytest.mark.parametrize("name", EVERY)
def test_the_same_generator_gives_the_same_terms_and_the_global_one_is_untouched(name, generator):
    objective, model, x = EVERY[name], build(), images(generator)
    before = torch.get_rng_state()
    first = objective(model, x, torch.Generator().manual_seed(4))
    second = objective(model, x, torch.Generator().manual_seed(4))
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_terms_of_grae_by_hand(generator):
    """½‖x − g(h)‖² summed, (β/2)‖h‖², and (β/2)·log|I + JᵀJ/β| from the determinant itself."""
    model, x = build(), images(generator)
    z, x_hat, J, G = at_the_mean(model, x)
    P = torch.eye(4) + G / BETA
    blocks = torch.logdet(P[:, :2, :2]) + torch.logdet(P[:, 2:, 2:])
    by_hand = {
        "log_det": torch.logdet(P),
        "block": blocks,
        "columns": torch.log1p(J.square().sum(1) / BETA).sum(1),
    }
    for regularizer, value in by_hand.items():
        size = 2 if regularizer == "block" else None
        terms = objectives.GRAE(BETA, regularizer, size)(model, x)
        torch.testing.assert_close(terms["distortion"], 0.5 * (x - x_hat).square().sum(1), **EXACT)
        torch.testing.assert_close(terms["prior"], 0.5 * BETA * z.square().sum(1), **EXACT)
        torch.testing.assert_close(terms["regularizer"], 0.5 * BETA * value, **EXACT)


def test_grae_with_bernoulli_logits_uses_the_curvature_of_the_likelihood(generator):
    """Jᵀ diag(p(1 − p)) J takes the place of JᵀJ, in all four regularisers."""
    model, x = build(), images(generator)
    _, x_hat, J, _ = at_the_mean(model, x)
    p = torch.sigmoid(x_hat)
    root = (p * (1 - p)).sqrt().unsqueeze(-1) * J
    P = torch.eye(4) + root.mT @ root / BETA
    noise = {"index": torch.tensor([0, 1, 2, 3, 0])}
    t = torch.log(torch.diagonal(P, dim1=1, dim2=2))
    by_hand = {
        "log_det": torch.logdet(P),
        "columns": t.sum(1),
        "one_column": 4 * t[torch.arange(5), noise["index"]],
    }
    for regularizer, value in by_hand.items():
        objective = objectives.GRAE(BETA, regularizer, likelihood="bernoulli")
        terms = objective.terms(model, x, noise, objective.weights)
        torch.testing.assert_close(terms["regularizer"], 0.5 * BETA * value, **EXACT)
        torch.testing.assert_close(
            terms["distortion"], likelihoods.distortion(x, x_hat, "bernoulli"), **EXACT
        )


def test_the_terms_of_the_beta_vae_by_hand(generator):
    """β multiplies the whole KL; `rate` is the KL itself; z = mean + Lε."""
    model, x = build(), images(generator)
    objective = objectives.BetaVAE(BETA, "full")
    noise = {"epsilon": torch.randn(5, 4, generator=generator, dtype=torch.float64)}
    terms = objective.terms(model, x, noise, objective.weights)
    mean, factor = model.encode(x)
    covariance = factor @ factor.mT
    z = mean + torch.einsum("bij,bj->bi", factor, noise["epsilon"])
    kl = posteriors.kl_to_standard_normal(mean, covariance)
    torch.testing.assert_close(
        terms["distortion"], 0.5 * (x - model.decoder(z)).square().sum(1), **EXACT
    )
    torch.testing.assert_close(terms["rate"], kl, **EXACT)
    torch.testing.assert_close(terms["prior"] + terms["regularizer"], BETA * kl, **EXACT)
    torch.testing.assert_close(terms["prior"], 0.5 * BETA * mean.square().sum(1), **EXACT)


@pytest.mark.parametrize("hessian", ["exact", "gauss_newton"])
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_terms_of_the_taylor_form_by_hand(hessian, likelihood, generator):
    """−log p(x|h) − ½tr(HΣ), with H from torch.func.hessian or from JᵀH_pJ."""
    model, x = build(), images(generator)
    terms = objectives.TaylorVAE(BETA, likelihood=likelihood, hessian=hessian)(model, x)
    mean, factor = model.encode(x)
    for b in range(5):

        def log_p(v, b=b):
            return -likelihoods.distortion(x[b : b + 1], model.decoder(v[None]), likelihood)[0]

        H = torch.func.hessian(log_p)(mean[b])
        if hessian == "gauss_newton":
            output, J = geometry.jacobian(model.decoder, mean[b : b + 1])
            p = torch.sigmoid(output[0])
            weight = torch.ones_like(p) if likelihood == "gaussian" else p * (1 - p)
            H = -J[0].T @ torch.diag(weight) @ J[0]
        expected = -log_p(mean[b]) - 0.5 * torch.trace(H @ factor[b] @ factor[b].T)
        torch.testing.assert_close(terms["distortion"][b], expected, **EXACT)
    torch.testing.assert_close(terms["total"] - terms["distortion"], BETA * terms["rate"], **EXACT)


# B2. The one-column estimator ----------------------------------------------------------------

N = 20_000


def one_example(generator):
    """One example whose Jacobian's columns have very different lengths, and t_i = log P_ii."""
    model = build()
    with torch.no_grad():
        model.decoder[0].weight.mul_(torch.tensor([6.0, 2.0, 0.7, 0.1]))
    x = images(generator, 1)
    _, _, J, _ = at_the_mean(model, x)
    t = torch.log1p(J.square().sum(1) / BETA)[0].detach()
    assert float(t.max() / t.min()) > 20
    return model, x, t


def draws(model, x, generator):
    """N independent draws of the estimator at one x: N copies of it, an index each."""
    with torch.no_grad():
        copies = x.expand(N, -1)
        return objectives.GRAE(BETA, "one_column")(model, copies, generator)["regularizer"]


def test_B2_the_one_column_estimator_is_unbiased_for_the_column_sum(generator):
    """B2: z-score of the mean below 4; without the factor d it would be far beyond 50."""
    model, x, t = one_example(generator)
    values = draws(model, x, generator)
    target = 0.5 * BETA * t.sum()
    deviation = 0.5 * BETA * (4 * t.square().sum() - t.sum() ** 2).sqrt()

    def score(mean, d_left_out=1):
        return float((mean - target) / (deviation / d_left_out / math.sqrt(N)))

    assert abs(score(values.mean())) < 4
    assert abs(score(values.mean() / 4, 4)) > 50


def test_B2_the_one_column_estimator_s_variance(generator):
    """B2: variance d·Σt² − (Σt)², times (β/2)²; z-score from the exact fourth moment."""
    model, x, t = one_example(generator)
    values = draws(model, x, generator)
    variance = (0.5 * BETA) ** 2 * (4 * t.square().sum() - t.sum() ** 2)
    support = 4 * 0.5 * BETA * t
    fourth = (support - support.mean()).pow(4).mean()
    error = ((fourth - variance**2) / N).sqrt()
    centred = (values - support.mean()).square().mean()
    assert abs(float((centred - variance) / error)) < 4
    assert abs(float((centred / 16 - variance) / error)) > 50


def test_B2_the_exact_mean_over_indices_is_the_column_sum_and_above_log_det(generator):
    """B2 by enumeration: mean over i = columns to rounding; for log|P| it is biased upward."""
    model, x = build(), images(generator)
    objective = objectives.GRAE(BETA, "one_column")
    every = [
        objective.terms(model, x, {"index": torch.full((5,), i)}, objective.weights)["regularizer"]
        for i in range(4)
    ]
    columns = objectives.GRAE(BETA, "columns")(model, x)["regularizer"]
    log_det = objectives.GRAE(BETA, "log_det")(model, x)["regularizer"]
    torch.testing.assert_close(torch.stack(every).mean(0), columns, **EXACT)
    assert bool((columns > log_det + 1e-6).all())


def test_B2_indices_are_uniform_and_drawn_for_each_example(generator):
    index = objectives.GRAE(BETA, "one_column").noise(N, 4, generator)["index"]
    counts = torch.bincount(index, minlength=4)
    scores = (counts - N / 4) / math.sqrt(N * 0.25 * 0.75)
    assert len(counts) == 4
    assert float(scores.abs().max()) < 4
    repeats = int((index[1:] == index[:-1]).sum())
    assert abs(repeats - N / 4) / math.sqrt(N * 0.25 * 0.75) < 4


def test_B2_one_index_for_the_batch_is_unbiased_and_noisier(generator):
    """B2: the batch mean with a shared index has the same expectation and a larger variance."""
    model, x = build(), images(generator, 8)
    _, _, J, _ = at_the_mean(model, x)
    t = torch.log1p(J.square().sum(1) / BETA).detach()
    objective = objectives.GRAE(BETA, "one_column")
    with torch.no_grad():
        shared = torch.stack(
            [
                objective.terms(model, x, {"index": torch.full((8,), i)}, objective.weights)[
                    "regularizer"
                ].mean()
                for i in range(4)
            ]
        )
        many = 2_500
        own = objective(model, x.repeat(many, 1), generator)["regularizer"].view(many, 8).mean(1)
    target = 0.5 * BETA * t.sum(1).mean()
    torch.testing.assert_close(shared.mean(), target, **EXACT)
    picked = shared[torch.randint(4, (many,), generator=generator)]
    variance_shared = (shared - target).square().mean()
    assert abs(float((picked.mean() - target) / (variance_shared / many).sqrt())) < 4
    per_example = 4 * t.square().sum(1) - t.sum(1) ** 2
    variance_own = (0.5 * BETA) ** 2 * per_example.mean() / 8
    batch_t = t.mean(0)
    by_formula = (0.5 * BETA) ** 2 * (4 * batch_t.square().sum() - batch_t.sum() ** 2)
    torch.testing.assert_close(variance_shared, by_formula, **EXACT)
    assert float(variance_shared) > 2 * float(variance_own)
    # A mean of eight independent values is near enough to normal for the usual error of s².
    spread = (own - target).square().mean()
    assert abs(float((spread - variance_own) / (variance_own * math.sqrt(3 / many)))) < 4
    assert abs(float((own.mean() - target) / (variance_own / many).sqrt())) < 4


def test_B2_a_random_unit_direction_estimates_something_else(generator):
    """B2: d·(β/2)·log(1 + ‖Ju‖²/β), u uniform on the sphere, is biased for the column sum.

    For d = 2 and orthogonal columns, A = a/β and B = b/β, the mean over directions is known:
    E log(1 + A cos² + B sin²) = 2·log[(√(1 + A) + √(1 + B))/2], not ½[log(1 + A) + log(1 + B)].
    """
    model = build(latent_dim=2, hidden=(), activation="identity")
    q, _ = torch.linalg.qr(torch.randn(7, 2, generator=generator, dtype=torch.float64))
    with torch.no_grad():
        model.decoder[0].weight.copy_(q * torch.tensor([3.0, 0.4], dtype=torch.float64))
    A, B = 9 / BETA, 0.16 / BETA
    angles = 2 * math.pi * torch.rand(N, generator=generator, dtype=torch.float64)
    u = torch.stack([angles.cos(), angles.sin()], 1)
    with torch.no_grad():
        _, Ju = jvp(model.decoder, (torch.zeros(N, 2).double(),), (u,))
        values = 2 * 0.5 * BETA * torch.log1p(Ju.square().sum(1) / BETA)
        z = torch.zeros(1, 2).double()
        _, J = geometry.jacobian(model.decoder, z)
    columns = objectives.column_regularizer(geometry.pullback_metric(J), BETA)
    assert float(columns) == pytest.approx(0.5 * BETA * (math.log1p(A) + math.log1p(B)), rel=1e-12)
    error = values.std() / math.sqrt(N)
    known = 2 * BETA * math.log((math.sqrt(1 + A) + math.sqrt(1 + B)) / 2)
    assert abs(float((values.mean() - known) / error)) < 4
    assert float((values.mean() - columns) / error) > 50


# Estimator of the β-VAE ----------------------------------------------------------------------


def test_the_sampled_beta_vae_is_unbiased_for_its_closed_form_with_a_linear_decoder(generator):
    """E_q ½‖x − Wz − m‖² = ½‖x − Wh − m‖² + ½tr(WᵀWΣ): z-score below 4."""
    model = build(hidden=(), activation="identity")
    x = images(generator, 1)
    with torch.no_grad():
        closed = objectives.TaylorVAE(BETA)(model, x)["total"]
        sampled = objectives.BetaVAE(BETA)(model, x.expand(N, -1), generator)["total"]
        mean, factor = model.encode(x)
        M = factor[0].T @ model.decoder[0].weight.T @ model.decoder[0].weight @ factor[0]
        r = (x - model.decoder(mean)) @ model.decoder[0].weight @ factor[0]
    # ½‖r − WLε‖²: a quadratic form in ε, whose variance is ½tr(M²) + ‖LᵀWᵀr‖².
    deviation = (0.5 * (M @ M).trace() + r.square().sum()).sqrt()
    error = deviation / math.sqrt(N)
    assert abs(float((sampled.mean() - closed) / error)) < 4
    no_trace = closed - 0.5 * M.trace()
    assert abs(float((sampled.mean() - no_trace) / error)) > 10


# Penalties of the relatives ------------------------------------------------------------------


def dense(function, x):
    return torch.stack(
        [torch.autograd.functional.jacobian(lambda v: function(v[None])[0], v) for v in x]
    )


def test_RAE_GP_penalises_the_frobenius_norm_of_the_decoder_s_jacobian(generator):
    model, x = build(), images(generator)
    terms = objectives.RAE_GP(BETA, 0.2)(model, x)
    z = model.encode(x).mean.detach()
    J = dense(model.decoder, z)
    torch.testing.assert_close(terms["regularizer"], 0.1 * J.square().sum((1, 2)), **EXACT)
    torch.testing.assert_close(terms["prior"], 0.5 * BETA * z.square().sum(1), **EXACT)


@pytest.mark.parametrize("shape", [(7,), (1, 2, 3)], ids=str)
def test_ContractiveAE_penalises_the_frobenius_norm_of_the_encoder_s_jacobian(shape, generator):
    model = build(shape=shape)
    x = torch.rand(5, *shape, generator=generator, dtype=torch.float64)
    terms = objectives.ContractiveAE(0.2)(model, x)
    J = dense(lambda v: model.encode(v).mean, x).flatten(2)
    torch.testing.assert_close(terms["regularizer"], 0.1 * J.square().sum((1, 2)), **EXACT)
    assert torch.equal(terms["prior"], torch.zeros(5).double())
    assert bool((terms["distortion"] > 0).all())


def test_RAE_L2_penalises_the_decoder_s_parameters(generator):
    model, x = build(), images(generator)
    terms = objectives.RAE_L2(BETA, 0.2)(model, x)
    squares = sum(float(p.detach().square().sum()) for p in model.decoder.parameters())
    assert terms["regularizer"].tolist() == pytest.approx([0.1 * squares] * 5, rel=1e-12)


def test_the_gradient_of_summed_outputs_by_the_input_is_another_penalty(generator):
    """‖(J_D J_E)ᵀ1‖², sometimes taken for ‖J_D‖²_F, does not see the decoder's scale.

    Decoder × 10 and encoder ÷ 10 leave it unchanged while ‖J_D‖²_F grows a hundredfold; and where
    the decoder's columns sum to zero it is 0. The library's penalty must follow ‖J_D‖²_F.
    """
    model = build(hidden=(), activation="identity")
    x, W, V = images(generator), model.decoder[0].weight, model.encoder.trunk[1].weight

    def substitute():
        inputs = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(inputs).sum(), inputs)
        return gradient.square().sum(1)

    def penalty():
        return objectives.RAE_GP(BETA, 2.0)(model, x)["regularizer"].detach()

    by_hand = (V[:4].T @ W.T @ torch.ones(7).double()).square().sum().detach()
    before, other_before = penalty(), substitute()
    torch.testing.assert_close(other_before, by_hand.expand(5), **EXACT)
    with torch.no_grad():
        W.mul_(10)
        V.div_(10)
    torch.testing.assert_close(substitute(), other_before, **EXACT)
    torch.testing.assert_close(penalty(), 100 * before, rtol=1e-12, atol=0)
    with torch.no_grad():
        W.sub_(W.mean(0))
    assert float(substitute().max()) < 1e-20
    torch.testing.assert_close(penalty(), W.detach().square().sum().expand(5), **EXACT)


def test_AE_is_the_distortion_alone(generator):
    model, x = build(), images(generator)
    terms = objectives.AE()(model, x)
    torch.testing.assert_close(
        terms["total"], 0.5 * (x - model.decoder(model.encode(x).mean)).square().sum(1), **EXACT
    )
    assert not bool(terms["prior"].any())
    assert not bool(terms["regularizer"].any())


def test_configs_tell_apart_what_cannot_share_a_sweep_and_weights_what_can():
    a, b = objectives.GRAE(0.1), objectives.GRAE(0.2)
    assert a.config == b.config
    assert a.weights == {"beta": 0.1}
    configs = [str(sorted(o.config.items(), key=str)) for o in EVERY.values()]
    assert len(set(configs)) == len(configs)
    assert repr(objectives.GRAE(0.1, "block", 2)) == (
        "GRAE(beta=0.1, likelihood='gaussian', regularizer='block', block_size=2)"
    )
