"""Encoders and decoders: configurations, seeds, shapes, and the pushing forward of tangents."""

from __future__ import annotations

import json

import pytest
import torch
from torch.func import functional_call, grad, hessian, jvp, stack_module_state, vmap

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


# Pushing tangents forward -----------------------------------------------------------------------


def decoder(activation="tanh", output="identity"):
    model = models.build(
        shape=(5,), latent_dim=3, hidden=(6, 4), activation=activation, output=output, seed=1
    )
    return model.double().decoder


EVERY_PAIR = [(a, o) for a in models.ACTIVATIONS for o in models.OUTPUTS]


@pytest.mark.parametrize(("activation", "output"), EVERY_PAIR)
def test_push_forward_is_forward_mode_differentiation(activation, output, generator):
    """For one tangent an example and for several, against torch's own rules."""
    g, z = decoder(activation, output), small(generator, 7, 3)
    tangents = small(generator, 2, 7, 3)
    value, pushed = g.push_forward(z, tangents)
    assert torch.equal(value, g(z))
    for tangent, got in zip(tangents, pushed, strict=True):
        _, expected = jvp(g, (z,), (tangent,))
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)
        single = g.push_forward(z, tangent)[1]
        torch.testing.assert_close(single, got, rtol=1e-13, atol=1e-14)


def squares(g, z, tangent, push):
    """A function of value and tangent whose derivatives need second derivatives of g."""
    x, t = push(g, z, tangent)
    return (x.square().sum() + 1) * t.square().sum()


def ours(g, z, tangent):
    return g.push_forward(z, tangent)


def theirs(g, z, tangent):
    return jvp(g, (z,), (tangent,))


@pytest.mark.parametrize("activation", ["tanh", "softplus", "gelu", "relu"])
def test_gradients_through_it_equal_those_through_torch_s(activation, generator):
    g, z, v = decoder(activation, "sigmoid"), small(generator, 7, 3), small(generator, 7, 3)
    z.requires_grad_()
    wanted = [z, *g.parameters()]
    found = [
        torch.autograd.grad(squares(g, z, v, push), wanted, allow_unused=True)
        for push in (ours, theirs)
    ]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


TRANSFORMS = {
    "vmap": lambda f, z, v: vmap(lambda z: f(z, v))(torch.stack([z, 2 * z])),
    "grad": lambda f, z, v: grad(lambda z: f(z, v))(z),
    "jvp": lambda f, z, v: jvp(lambda z: f(z, v), (z,), (v,))[1],
    "hessian": lambda f, z, v: hessian(lambda z: f(z, v))(z),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_it_composes_with_the_transforms_of_torch(name, generator):
    g, z, v = decoder(), small(generator, 2, 3), small(generator, 2, 3)
    found = [
        TRANSFORMS[name](lambda z, v, push=push: squares(g, z, v, push), z, v)
        for push in (ours, theirs)
    ]
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-12)


def test_it_composes_with_parameters_stacked_for_a_sweep(generator):
    """vmap over the weights, as `fit_sweep` does: each member as if alone."""
    members = [decoder(), decoder("tanh")]
    with torch.no_grad():
        for value in members[1].parameters():
            value.mul_(1.5)
    z, v = small(generator, 7, 3), small(generator, 7, 3)
    stacked, _ = stack_module_state(members)

    class Pushed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.g = members[0]

        def forward(self, z, v):
            return self.g.push_forward(z, v)[1]

    program = Pushed()
    together = vmap(
        lambda own: functional_call(program, {f"g.{k}": p for k, p in own.items()}, (z, v))
    )(stacked)
    for member, got in zip(members, together, strict=True):
        expected = jvp(member, (z,), (v,))[1]
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)


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
