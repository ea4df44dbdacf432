"""Estimators of the regulariser: means and variances (B2), what they push, what they cost."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from grae_lib import costs, estimators, geometry, models, objectives, race, relatives

BETA = 0.3


@pytest.fixture
def at(generator):
    model = models.build(shape=(7,), latent_dim=4, hidden=(6, 5), seed=2).double()
    with torch.no_grad():
        model.decoder[0].weight.mul_(torch.tensor([6.0, 2.0, 0.7, 0.1]))
    z = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    decoder = model.decoder.requires_grad_(False)
    _, J = geometry.jacobian(decoder, z)
    return decoder, z, geometry.pullback_metric(J)


def t_of(metric):
    return 0.5 * BETA * torch.log1p(metric.diagonal(dim1=-2, dim2=-1) / BETA)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_B2_mean_and_variance_of_subsets_by_listing_all_of_them(k, at):
    t = t_of(at[2])[0]
    each = torch.stack([4 / k * t[list(c)].sum() for c in itertools.combinations(range(4), k)])
    column_sum = objectives.column_regularizer(at[2], BETA)[0]
    torch.testing.assert_close(each.mean(), column_sum, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        each.var(correction=0), estimators.subset_variance(t, k), rtol=1e-10, atol=1e-14
    )
    if k == 1:
        by_oracle = 4 * t.square().sum() - t.sum() ** 2
        torch.testing.assert_close(estimators.subset_variance(t), by_oracle, rtol=1e-12, atol=0)


def test_the_variance_of_a_batch_depends_on_who_draws(at):
    """Listing the 4³ choices of three examples, and the 4 that they can share."""
    t = 4 * t_of(at[2])
    own = torch.stack(
        [torch.stack([t[b, i] for b, i in enumerate(c)]).mean() for c in
         itertools.product(range(4), repeat=3)]
    )  # fmt: skip
    assert estimators.batch_variance(at[2], BETA, "one_column") == pytest.approx(
        float(own.var(correction=0)), rel=1e-12
    )
    assert estimators.batch_variance(at[2], BETA, "shared_column") == pytest.approx(
        float(t.mean(0).var(correction=0)), rel=1e-12
    )
    with pytest.raises(ValueError, match="no closed form"):
        estimators.batch_variance(at[2], BETA, "sphere")


def test_the_study_finds_the_biases_that_theory_says(at):
    found = {f.name: f for f in estimators.study(at[2], BETA, calls=4000)}
    for name in ("one_column", "shared_column", "two_columns", "four_columns"):
        assert abs(found[name].z_columns) < 4
        exact = math.sqrt(estimators.batch_variance(at[2], BETA, name))
        # The standard deviation of a deviation from 4,000 calls is about 1.1 %.
        assert found[name].deviation == pytest.approx(exact, rel=0.1, abs=1e-12)
    assert found["columns"].deviation == found["log_det"].deviation == 0
    # Directions other than the axes: above the log-det by Jensen, not the column form.
    for name in ("sphere", "signs"):
        assert found[name].z_log_det > 4
        assert abs(found[name].z_columns) > 4
    assert found["one_column"].at_equal_cost == pytest.approx(found["one_column"].deviation / 2)


def test_directions_are_unit_vectors_and_hutchinsons_give_the_trace(at):
    generator = torch.Generator().manual_seed(0)
    for name, estimator in estimators.ESTIMATORS.items():
        if estimator.draw is None:
            continue
        u = estimator.draw(3, 4, generator)
        assert u.shape == (estimator.passes(4), 3, 4), name
        torch.testing.assert_close(u.norm(dim=-1), torch.ones(u.shape[:-1], dtype=u.dtype))
    signs = torch.tensor(list(itertools.product((-0.5, 0.5), repeat=4)), dtype=torch.float64)
    squares = torch.einsum("ki,bij,kj->kb", signs, at[2], signs)
    trace = at[2].diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(4 * squares.mean(0), trace, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="there are 2"):
        estimators.subset(3).draw(1, 2, generator)


@pytest.mark.parametrize("name", estimators.ESTIMATORS)
def test_a_call_on_the_decoder_equals_the_same_call_on_the_metric(name, at):
    decoder, z, metric = at
    value = estimators.estimate(decoder, z, BETA, name, torch.Generator().manual_seed(3))
    draw = estimators.ESTIMATORS[name].draw
    if draw is None:
        form = {"log_det": objectives.log_det_regularizer}.get(name, objectives.column_regularizer)
        expected = form(metric, BETA)
    else:
        directions = draw(3, 4, torch.Generator().manual_seed(3))
        expected = estimators.along(metric, directions, BETA)
    torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-12)


def test_any_decoder_can_be_pushed_through(at):
    decoder, z, _ = at
    u = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for own, general in zip(
        estimators.push(decoder, z, u), estimators.push(lambda z: decoder(z), z, u), strict=True
    ):
        torch.testing.assert_close(own, general, rtol=1e-12, atol=1e-12)


def test_unknown_estimators_are_refused(at):
    with pytest.raises(ValueError, match="choose one of log_det"):
        estimators.estimate(at[0], at[1], BETA, "hutch", torch.Generator())


# Costs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latent_dim", [2, 5])
@pytest.mark.parametrize(
    "objective",
    [objectives.BetaVAE(0.1)]
    + [objectives.GRAE(0.1, form) for form in ("one_column", "columns", "log_det")],
    ids=["beta_vae", "one_column", "columns", "log_det"],
)
def test_operations_are_those_of_the_formula(objective, latent_dim):
    model = models.build(shape=(20,), latent_dim=latent_dim, hidden=(16, 12))
    x = torch.rand(3, 20, generator=torch.Generator().manual_seed(0))
    counted = costs.operations(objective, model, x)
    assert counted == costs.expected_operations(objective, model, 3)


def test_memory_grows_by_the_formula_with_each_tangent():
    x = torch.rand(4, 300, generator=torch.Generator().manual_seed(0))
    model = models.build(shape=(300,), latent_dim=6, hidden=(40, 40))
    one, all_six = (
        costs.kept_bytes(objectives.GRAE(0.1, form), model, x) / (4 * len(x))
        for form in ("one_column", "columns")
    )
    each = (all_six - one) / 5
    assert each == pytest.approx(300 + 2 * 80, rel=0.05)
    conv = models.build("conv", shape=(1, 8, 8), latent_dim=2, hidden=(4,))
    with pytest.raises(ValueError, match="'mlp'"):
        costs.kept_bytes(objectives.GRAE(0.1), conv, torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match="formula for BetaVAE"):
        costs.expected_operations(objectives.AE(), model, 4)


# Relatives ---------------------------------------------------------------------------------------


@pytest.fixture
def linear(generator):
    model = models.build(shape=(5,), latent_dim=3, hidden=(), seed=4).double()
    x = torch.rand(6, 5, generator=generator, dtype=torch.float64)
    W = model.decoder[0].weight.detach()
    A = model.encoder.trunk[-1].weight.detach()[:3]
    return model, x, W, A


def test_penalties_of_a_linear_model_by_hand(linear):
    model, x, W, A = linear
    found = relatives.penalties(model, x, BETA)
    largest = float(torch.linalg.matrix_norm(W, 2) ** 2)
    expected = {
        "log_det": float(torch.logdet(torch.eye(3) + W.T @ W / BETA)),
        "gradient": float(W.square().sum()),
        "spectral": largest,
        "layers": largest,
        "l2": float(W.square().sum() + model.decoder[0].bias.detach().square().sum()),
        "contractive": float(A.square().sum()),
        "summed": float((A.T @ W.T @ torch.ones(5, dtype=torch.float64)).square().sum()),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-10), name


def test_the_summed_gradient_is_blind_to_scale_and_to_columns_that_sum_to_zero(linear):
    model, x, *_ = linear
    before = relatives.penalties(model, x, BETA)
    scaled = relatives.rescaled(model, 10.0)
    torch.testing.assert_close(scaled(x), model(x), rtol=1e-12, atol=1e-12)
    after = relatives.penalties(scaled, x, BETA)
    assert after["summed"] == pytest.approx(before["summed"], rel=1e-10)
    assert after["gradient"] == pytest.approx(100 * before["gradient"], rel=1e-10)
    flat = relatives.penalties(relatives.summing_to_zero(model), x, BETA)
    assert flat["summed"] < 1e-20
    assert flat["gradient"] > 0.1
    with pytest.raises(ValueError, match="'mlp' and 'identity'"):
        relatives.rescaled(models.build(shape=(5,), latent_dim=2, output="sigmoid"), 2.0)


def test_the_isometric_penalty_vanishes_for_an_isometry_and_has_its_mean_over_directions(linear):
    model, x, *_ = linear
    with torch.no_grad():
        model.decoder[0].weight.copy_(torch.linalg.qr(model.decoder[0].weight).Q)
    objective = objectives.IsometricAE(BETA, 2.0)
    terms = objective(model, x, torch.Generator().manual_seed(0))
    # Directions are drawn in float32: their length is 1 to 1e-7.
    assert float(terms["regularizer"].detach().max()) < 1e-12
    with torch.no_grad():
        model.decoder[0].weight.mul_(3)
    terms = objective(model, x, torch.Generator().manual_seed(0))
    expected = torch.full((6,), 4.0, dtype=torch.float64)
    torch.testing.assert_close(terms["regularizer"].detach(), expected, rtol=1e-5, atol=0)
    # A latent that is switched off has length 0 and a finite gradient.
    with torch.no_grad():
        model.decoder[0].weight.zero_()
    objective(model, x, torch.Generator().manual_seed(0))["total"].sum().backward()
    assert bool(torch.isfinite(model.decoder[0].weight.grad).all())


def test_layer_norms_bound_the_jacobian_of_a_contracting_network(generator):
    model = models.build(shape=(7,), latent_dim=3, hidden=(6, 5), seed=1).double()
    x = torch.rand(8, 7, generator=generator, dtype=torch.float64)
    norms = [torch.linalg.matrix_norm(p, 2) for p in model.decoder.parameters() if p.ndim > 1]
    jacobian = objectives.SpectralAE(BETA, 2.0)(model, x)["regularizer"]
    assert float(jacobian.detach().max()) <= float(math.prod(norms).detach()) ** 2
    layers = objectives.SpectralAE(BETA, 2.0, "layers")(model, x)["regularizer"]
    assert float(layers[0].detach()) == pytest.approx(
        float(sum(n**2 for n in norms).detach()), rel=1e-12
    )
    with pytest.raises(ValueError, match="penalty 'weights' is unknown"):
        objectives.SpectralAE(BETA, penalty="weights")


# Races -------------------------------------------------------------------------------------------


def test_laps_do_not_change_the_training():
    from grae_lib import training

    def make():
        return models.build(shape=(5,), latent_dim=2, hidden=(4,), seed=0)

    x = torch.rand(64, 5, generator=torch.Generator().manual_seed(0))
    settings = {"batch_size": 16, "lr": 1e-2, "seed": 0, "device": "cpu"}
    objective = objectives.GRAE(0.1, "one_column")

    def measure(model):
        return float(model(x).detach().double().square().sum())

    laps = race.race(make, {"a": objective}, x, measure, laps=3, every=5, **settings)["a"]
    for lap in laps:
        model = make()
        training.fit(model, x, objective, steps=lap.step, progress=False, **settings)
        assert measure(model) == lap.value
    assert [lap.step for lap in laps] == [5, 10, 15]
    assert laps[0].seconds < laps[1].seconds < laps[2].seconds
    with pytest.raises(ValueError, match="laps=0"):
        race.race(make, {"a": objective}, x, measure, laps=0, every=5)


def test_the_first_time_below_a_target_is_interpolated():
    laps = [race.Lap(10, 1.0, 8.0), race.Lap(20, 3.0, 4.0), race.Lap(30, 5.0, 6.0)]
    assert race.first_below(laps, 5.0) == (17.5, 2.5)
    assert race.first_below(laps, 8.0) == (10.0, 1.0)
    assert race.first_below(laps, 3.0) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda beta: objectives.SpectralAE(beta, 0.1),
        lambda beta: objectives.SpectralAE(beta, 0.1, "layers"),
        lambda beta: objectives.IsometricAE(beta, 0.1),
    ],
    ids=["spectral", "layers", "isometric"],
)
def test_the_new_relatives_train_in_a_sweep_as_they_do_alone(make):
    from grae_lib import training

    x = torch.rand(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    settings = {"steps": 5, "batch_size": 10, "lr": 1e-2, "device": "cpu", "progress": False}
    settings |= {"dtype": torch.float64}

    def built():
        return [models.build(shape=(5,), latent_dim=3, hidden=(4,), seed=s) for s in (0, 1)]

    together = built()
    training.fit_sweep(together, x, [make(0.1), make(0.5)], seeds=[0, 1], **settings)
    for seed, (model, beta) in enumerate(zip(built(), (0.1, 0.5), strict=True)):
        training.fit(model, x, make(beta), seed=seed, **settings)
        for own, other in zip(model.parameters(), together[seed].parameters(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-12)
