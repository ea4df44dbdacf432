"""Arc length, energy, volume and geodesics against manifolds whose geometry is known."""

from __future__ import annotations

import math

import pytest
import torch

from grae_lib import geometry, models, objectives, paths


def sphere(z):
    """The unit sphere in polar angle and longitude: geodesics are great circles."""
    polar, longitude = z.unbind(-1)
    return torch.stack(
        [polar.sin() * longitude.cos(), polar.sin() * longitude.sin(), polar.cos()], -1
    )


def plane(z):
    """The plane in polar coordinates: geodesics are straight in the image, curved in z."""
    radius, angle = z.unbind(-1)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def network(d=4, seed=2):
    model = models.build(shape=(9,), latent_dim=d, hidden=(8, 7), seed=seed).double()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(2)
    return model.decoder.requires_grad_(False)


def test_straight_has_equal_steps_and_exact_ends():
    a, b = vector(0.1, 2, -1), vector(3, 0, 0.7)
    path = paths.straight(a, b, 7)
    assert path.shape == (8, 3)
    assert torch.equal(path[0], a)
    torch.testing.assert_close(path[-1], b)
    torch.testing.assert_close(path.diff(dim=0), ((b - a) / 7).expand(7, 3))


def test_linear_decoder_keeps_lines_straight_and_length_is_that_of_the_chord(generator):
    W = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    a, b = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    found = paths.geodesic(lambda z: z @ W.T, a, b, 8)
    torch.testing.assert_close(found.points, paths.straight(a, b, 8), rtol=1e-9, atol=1e-9)
    length = (W @ (b - a)).norm()
    torch.testing.assert_close(paths.arc_length(lambda z: z @ W.T, found.points), length)
    assert found.energy == pytest.approx(0.5 * length.item() ** 2, rel=1e-12)
    assert found.converged


@pytest.mark.parametrize(
    ("ends", "segments"), [(((0.6, 0.0), (1.0, 2.0)), 48), (((1.2, -0.5), (2.0, 0.9)), 32)]
)
def test_geodesics_of_the_sphere_are_great_circles(ends, segments):
    a, b = (vector(*end) for end in ends)
    angle = torch.arccos((sphere(a[None]) * sphere(b[None])).sum()).item()
    found = paths.geodesic(sphere, a, b, segments, tolerance=1e-12)
    assert found.converged
    assert paths.arc_length(sphere, found.points).item() == pytest.approx(angle, rel=1e-3)
    assert paths.chords(sphere, found.points).sum().item() == pytest.approx(angle, rel=1e-3)
    # Constant speed: at the minimum of the energy all chords are equally long.
    chords = paths.chords(sphere, found.points)
    torch.testing.assert_close(chords, chords.mean().expand_as(chords), rtol=1e-4, atol=0)
    # All points lie in the plane through the ends and the centre.
    normal = torch.linalg.cross(sphere(a[None])[0], sphere(b[None])[0])
    assert (sphere(found.points) @ normal).abs().max() < 1e-5


def test_geodesics_of_a_flat_manifold_are_straight_in_the_image():
    a, b = vector(1.0, 0.0), vector(2.0, 1.3)
    found = paths.geodesic(plane, a, b, 40, tolerance=1e-12)
    torch.testing.assert_close(
        plane(found.points),
        paths.straight(plane(a[None])[0], plane(b[None])[0], 40),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("segments", [1, 2, 20])
def test_energy_never_rises_and_bounds_the_length(segments, generator):
    g = network()
    a, b = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    line = paths.straight(a, b, segments)
    found = paths.geodesic(g, a, b, segments)
    assert found.energy <= paths.energy(g, line).item() * (1 + 1e-12)
    assert torch.equal(found.points[0], a)
    assert torch.equal(found.points[-1], b)
    for path in (line, found.points):
        length = paths.chords(g, path).sum().item()
        assert length**2 <= 2 * paths.energy(g, path).item() * (1 + 1e-12)
        assert length >= torch.dist(g(a[None]), g(b[None])).item() * (1 - 1e-12)


def test_the_gradient_of_the_energy_vanishes_at_a_geodesic(generator):
    g = network()
    a, b = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    points = paths.geodesic(g, a, b, 12, tolerance=1e-13).points.requires_grad_()
    gradient = torch.autograd.grad(paths.energy(g, points), points)[0][1:-1]
    line = paths.straight(a, b, 12).requires_grad_()
    before = torch.autograd.grad(paths.energy(g, line), line)[0][1:-1]
    assert gradient.norm() < 1e-4 * before.norm()


def test_a_path_refined_from_another_ends_at_the_same_length(generator):
    g = network()
    a, b = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    first = paths.geodesic(g, a, b, 16, tolerance=1e-10)
    bent = paths.straight(a, b, 16)
    bent[1:-1] += 0.05 * torch.randn(15, 4, generator=generator, dtype=torch.float64)
    second = paths.geodesic(g, a, b, path=bent, tolerance=1e-10)
    assert second.energy == pytest.approx(first.energy, rel=1e-6)


def test_midpoint_length_and_chords_agree_to_second_order(generator):
    g = network()
    a, b = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    gaps = []
    for m in (16, 32, 64):
        path = paths.straight(a, b, m)
        gaps.append((paths.arc_length(g, path) - paths.chords(g, path).sum()).abs().item())
    assert 3.5 < gaps[0] / gaps[1] < 4.5
    assert 3.5 < gaps[1] / gaps[2] < 4.5


def test_cut_down_lengths(generator):
    """Full and block of size d agree; with orthogonal columns so does the diagonal."""
    a, b = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    g, path = network(), paths.straight(a, b, 6)
    full = paths.arc_length(g, path)
    torch.testing.assert_close(paths.arc_length(g, path, "block", 4), full)
    assert not torch.isclose(paths.arc_length(g, path, "diagonal"), full, rtol=1e-3)
    Q = torch.linalg.qr(torch.randn(7, 4, generator=generator, dtype=torch.float64)).Q
    lengths = [paths.arc_length(lambda z: z @ Q.T, path, family) for family in ("full", "diagonal")]
    torch.testing.assert_close(lengths[0], lengths[1])


def test_log_volume_of_the_sphere_and_its_tie_to_the_regulariser(generator):
    z = torch.tensor([[0.3, 1.0], [1.4, -2.0]], dtype=torch.float64)
    _, J = geometry.jacobian(sphere, z)
    volume = paths.log_volume(geometry.pullback_metric(J))
    torch.testing.assert_close(volume, z[:, 0].sin().log())
    _, J = geometry.jacobian(network(), torch.randn(3, 4, generator=generator, dtype=torch.float64))
    G, beta = geometry.pullback_metric(J), 0.3
    regularizer = objectives.log_det_regularizer(G, beta)
    P = geometry.posterior_precision(G, beta)
    torch.testing.assert_close(beta * paths.log_volume(P), regularizer)
    # The same P is the metric of the graph z ↦ (z, g(z)/√β).
    graph = torch.cat([torch.eye(4, dtype=torch.float64).expand(3, 4, 4), J / math.sqrt(beta)], 1)
    torch.testing.assert_close(geometry.pullback_metric(graph), P)
    assert paths.log_volume(torch.zeros(1, 2, 2, dtype=torch.float64)).item() == -math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paths.straight(vector(1), vector(1, 2)), "expected"),
        (lambda: paths.straight(vector(1), vector(2), 0), "segments=0"),
        (lambda: paths.chords(plane, vector(1, 2)), "shape"),
        (lambda: paths.arc_length(plane, vector(1, math.nan)[None].repeat(3, 1)), "NaN"),
        (lambda: paths.log_volume(torch.zeros(3, 2)), "metric"),
        (lambda: paths.geodesic(plane, vector(1, 0), vector(2, 1), steps=0), "steps=0"),
        (lambda: paths.geodesic(plane, vector(1, 0), vector(2, 1), tolerance=0), "tolerance=0"),
        (
            lambda: paths.geodesic(
                plane,
                vector(1, 0),
                vector(2, 1),
                path=paths.straight(vector(1, 0), vector(2, 2), 4),
            ),
            "begin at",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
