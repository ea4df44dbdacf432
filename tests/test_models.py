"""Encoders and decoders: configurations, seeds, shapes, and the decoder's own derivative rule."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import functional_call, hessian, jacfwd, jacrev, jvp, vjp, vmap

from grae_lib import models

CONFIGS = [
    {},
    {"shape": (5,), "hidden": (), "activation": "identity", "output": "identity"},
    {"architecture": "toy", "shape": (3,), "hidden": (), "output": "tanh", "family": "shared"},
    {"shape": (6,), "hidden": (9,), "output": "sigmoid", "family": "shared_diagonal"},
    {"hidden": (16,), "latent_dim": 6, "family": "block", "block_size": 3, "activation": "gelu"},
    {"architecture": "conv", "shape": (3, 16, 8), "hidden": (4, 8), "family": "full"},
    {"architecture": "conv", "hidden": (4, 6), "output": "softplus", "activation": "elu"},
]


def small(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("settings", CONFIGS, ids=str)
def test_a_config_survives_json_and_rebuilds_the_model(settings, generator):
    model = models.build(**settings, seed=4)
    again = models.build(**json.loads(json.dumps(model.config)), seed=4)
    assert again.config == model.config
    for (name, a), (other, b) in zip(
        model.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(a, b)
    x = torch.rand(2, *model.shape, generator=generator)
    assert torch.equal(model(x), again(x))


@pytest.mark.parametrize("settings", CONFIGS, ids=str)
def test_shapes_from_end_to_end(settings, generator):
    model = models.build(**settings)
    n = torch.Size(model.shape).numel()
    x = torch.rand(3, *model.shape, generator=generator)
    mean, factor = model.encode(x)
    d = model.latent_dim
    assert mean.shape == (3, d)
    assert factor.shape == (3, d, d)
    assert model.decoder(mean).shape == (3, n)
    assert torch.equal(model(x), model.decoder(mean))


@pytest.mark.parametrize("settings", CONFIGS, ids=str)
def test_examples_of_a_batch_are_treated_separately(settings, generator):
    model = models.build(**settings).double()
    x = torch.rand(3, *model.shape, generator=generator, dtype=torch.float64)
    together = model(x)
    for b in range(3):
        torch.testing.assert_close(model(x[b : b + 1])[0], together[b], rtol=1e-12, atol=1e-12)


def test_a_seed_fixes_the_weights_and_another_changes_them():
    a, b, c = (models.build(hidden=(4,), seed=s) for s in (7, 7, 8))
    pairs = list(zip(a.parameters(), b.parameters(), c.parameters(), strict=True))
    assert all(torch.equal(p, q) for p, q, _ in pairs)
    assert not any(torch.equal(p, r) for p, _, r in pairs)


def test_building_leaves_the_global_generator_where_it_was():
    before = torch.get_rng_state()
    models.build(hidden=(4,), seed=7)
    models.build("conv", hidden=(2, 2), seed=7)
    assert torch.equal(torch.get_rng_state(), before)


def test_building_seeds_no_other_device(monkeypatch):
    """A GPU's global stream is as much the caller's as the CPU's."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    models.build(hidden=(4,), seed=7)
    assert seeded == []


def test_the_global_generator_does_not_reach_the_weights():
    state = torch.get_rng_state()
    a = models.build(hidden=(4,), seed=7)
    torch.rand(3)
    b = models.build(hidden=(4,), seed=7)
    torch.set_rng_state(state)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_decoder_mirrors_the_encoder():
    def sizes(module):
        return [m.out_features for m in module.modules() if isinstance(m, torch.nn.Linear)]

    model = models.build(shape=(9,), hidden=(7, 5), latent_dim=3)
    assert sizes(model.encoder) == [7, 5, 6]
    assert sizes(model.decoder) == [5, 7, 9]


@pytest.mark.parametrize("output", models.OUTPUTS)
def test_the_output_function_is_the_last_thing_a_decoder_does(output, generator):
    z = small(generator, 4, 8)
    plain = models.build(output="identity", hidden=(4,), seed=1).double()
    model = models.build(output=output, hidden=(4,), seed=1).double()
    expected = models.ACTIVATIONS[output]()(plain.decoder(z))
    assert torch.equal(model.decoder(z), expected)


# The linear layer with its own forward-mode rule ---------------------------------------------


def inputs(generator, grad=True):
    """x (5, 3), W (4, 3), b (4)."""
    tensors = [small(generator, 5, 3), small(generator, 4, 3), small(generator, 4)]
    return [t.requires_grad_(grad) for t in tensors]


affine, linear = models._Affine.apply, torch.nn.functional.linear


def test_the_toy_decoder_adds_its_bias_outside_the_nonlinearity(generator):
    g = models.build("toy", shape=(3,), latent_dim=2, hidden=(), output="tanh").decoder.double()
    with torch.no_grad():
        g.bias.copy_(torch.tensor([1.0, -2.0, 3.0]))
    z = small(generator, 4, 2)
    expected = torch.tanh(z @ g.weight.T) + g.bias
    torch.testing.assert_close(g(z), expected, rtol=1e-14, atol=1e-14)
    _, J = jvp(g, (z,), (torch.tensor([[1.0, 0.0]]).double().expand(4, 2),))
    slope = 1 - torch.tanh(z @ g.weight.T).square()
    torch.testing.assert_close(J, slope * g.weight[:, 0], rtol=1e-13, atol=1e-13)


def test_the_decoder_s_linear_layer_equals_torch_s_to_the_last_bit(generator):
    x, W, b = inputs(generator, grad=False)
    assert torch.equal(affine(x, W, b), linear(x, W, b))
    assert torch.equal(
        affine(x.float(), W.float(), b.float()), linear(x.float(), W.float(), b.float())
    )


SUBSETS = [chosen for chosen in itertools.product([True, False], repeat=3) if any(chosen)]


@pytest.mark.parametrize("needed", SUBSETS, ids=str)
def test_reverse_mode_for_every_choice_of_needed_gradients(needed, generator):
    tensors = [t.detach().requires_grad_(n) for t, n in zip(inputs(generator), needed, strict=True)]
    wanted = [t for t, n in zip(tensors, needed, strict=True) if n]
    v = small(generator, 5, 4)
    ours = torch.autograd.grad(affine(*tensors), wanted, v)
    theirs = torch.autograd.grad(linear(*tensors), wanted, v)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)
    assert gradcheck(affine, tensors, check_undefined_grad=False)


def test_forward_mode_double_backward_and_vmap_pass_torch_s_own_checks(generator):
    tensors = inputs(generator)
    assert gradcheck(
        affine,
        tensors,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
        check_undefined_grad=False,
    )
    assert gradgradcheck(affine, tensors, check_undefined_grad=False)


def test_an_undefined_gradient_is_passed_on(generator):
    """Materialising is off, so a branch that the loss does not use arrives as None."""
    assert gradcheck(affine, inputs(generator), check_undefined_grad=True)


@pytest.mark.parametrize("dual", SUBSETS, ids=str)
def test_forward_mode_for_every_choice_of_tangents(dual, generator):
    tensors = inputs(generator, grad=False)
    tangents = [small(generator, *t.shape) for t in tensors]

    def tangent(function):
        with forward_ad.dual_level():
            args = [
                forward_ad.make_dual(t, v) if d else t
                for t, v, d in zip(tensors, tangents, dual, strict=True)
            ]
            return forward_ad.unpack_dual(function(*args)).tangent.clone()

    torch.testing.assert_close(tangent(affine), tangent(linear), rtol=1e-13, atol=1e-13)


TRANSFORMS = {
    "jvp": lambda f, x, v, W, b: jvp(lambda x: f(x, W, b), (x,), (v,))[1],
    "vjp": lambda f, x, v, W, b: vjp(lambda x: f(x, W, b), x)[1](f(x, W, b))[0],
    "vmap of jvp": lambda f, x, v, W, b: vmap(
        lambda t: jvp(lambda x: f(x, W, b), (x,), (t.expand_as(x),))[1]
    )(torch.eye(3).double()),
    "jacfwd in W": lambda f, x, v, W, b: jacfwd(lambda W: f(x, W, b))(W),
    "jacrev in W": lambda f, x, v, W, b: jacrev(lambda W: f(x, W, b))(W),
    "hessian": lambda f, x, v, W, b: hessian(lambda x: f(x, W, b).square().square().sum())(x),
    "hessian in W": lambda f, x, v, W, b: hessian(lambda W: f(x, W, b).pow(3).sum())(W),
    "vmap over weights": lambda f, x, v, W, b: vmap(f)(
        torch.stack([x, v]), torch.stack([W, 2 * W]), torch.stack([b, -b])
    ),
    "vmap over weights, x shared": lambda f, x, v, W, b: vmap(f, in_dims=(None, 0, 0))(
        x, torch.stack([W, 2 * W]), torch.stack([b, -b])
    ),
    "vmap over weights of jvp": lambda f, x, v, W, b: vmap(
        lambda W, b: jvp(lambda x: f(x, W, b), (x,), (v,))[1]
    )(torch.stack([W, 2 * W]), torch.stack([b, -b])),
    "jvp of grad": lambda f, x, v, W, b: jvp(
        torch.func.grad(lambda x: f(x, W, b).pow(3).sum()), (x,), (v,)
    )[1],
    "grad in W of jvp": lambda f, x, v, W, b: torch.func.grad(
        lambda W: jvp(lambda x: f(x, W, b).pow(2), (x,), (v,))[1].sum()
    )(W),
}


@pytest.mark.parametrize("function", [affine, models._affine], ids=["rule", "dispatch"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_of_it_equals_that_of_torch_s(name, function, generator):
    x, W, b = inputs(generator, grad=False)
    v = small(generator, 5, 3)
    ours, theirs = (TRANSFORMS[name](f, x, v, W, b) for f in (function, linear))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_decoder_and_its_second_derivatives_equal_one_of_plain_linear_layers(generator):
    ours = models.build(shape=(5,), latent_dim=3, hidden=(6, 4)).double().decoder
    layers = [
        torch.nn.Linear(m.in_features, m.out_features, dtype=torch.float64)
        if isinstance(m, models.Linear)
        else m
        for m in ours
    ]
    plain = torch.nn.Sequential(*layers)
    plain.load_state_dict(ours.state_dict())
    z = small(generator, 1, 3)
    assert torch.equal(ours(z), plain(z))
    for derivative in (jacfwd, jacrev, hessian):
        torch.testing.assert_close(
            derivative(ours)(z), derivative(plain)(z), rtol=1e-12, atol=1e-12
        )
    parameters = dict(ours.named_parameters())

    def loss(parameters, module):
        _, J = jvp(lambda z: functional_call(module, parameters, (z,)), (z,), (torch.ones_like(z),))
        return J.square().sum()

    gradients = [torch.func.grad(loss)(parameters, module) for module in (ours, plain)]
    for name in parameters:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], rtol=1e-12, atol=1e-12)
