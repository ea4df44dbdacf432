"""Tetrominoes: pictures against a supersampled reference, divisions, reference statistics."""

import hashlib
import math
import time

import numpy as np
import pytest
import torch

from grae_lib import tetrominoes as tet


def sha256(tensor):
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


@pytest.fixture(scope="module")
def scattered():
    """2,000 indices spread over the whole grid."""
    return np.random.default_rng(0).permutation(tet.N_IMAGES)[:2000]


# Factors -----------------------------------------------------------------------------------------


def test_grid_has_one_shape_in_each_stratum():
    factors, cells = tet.tetromino_factors(), tet.tetromino_cells()
    assert factors.shape == cells.shape == (163_840, 5)
    low, high = torch.tensor(tet.RANGES, dtype=torch.float64).T
    unit = (factors - low) / (high - low)
    grid = torch.tensor(tet.GRID)
    # Undoing the scaling may lose the last bits of a point at a stratum's edge.
    assert bool(((unit * grid - cells) > -1e-9).all())
    assert bool(((unit * grid - cells) < 1 + 1e-9).all())
    assert len(torch.unique(cells, dim=0)) == 163_840


def test_factors_are_uniform_inside_their_strata():
    """163,840 independent jitters: mean 1/2 and variance 1/12 within 4.5 standard errors."""
    factors, cells = tet.tetromino_factors(), tet.tetromino_cells()
    low, high = torch.tensor(tet.RANGES, dtype=torch.float64).T
    jitter = (factors - low) / (high - low) * torch.tensor(tet.GRID) - cells
    n = len(jitter)
    assert bool(((jitter.mean(0) - 0.5).abs() < 4.5 * math.sqrt(1 / 12 / n)).all())
    # The fourth central moment of U(0, 1) is 1/80.
    spread = math.sqrt((1 / 80 - 1 / 144) / n)
    assert bool(((jitter.var(0) - 1 / 12).abs() < 4.5 * spread).all())
    correlation = torch.corrcoef(jitter.T) - torch.eye(5)
    assert float(correlation.abs().max()) < 4.5 / math.sqrt(n)


def test_indices_select_without_changing(scattered):
    assert torch.equal(tet.tetromino_factors(3, scattered), tet.tetromino_factors(3)[scattered])
    assert torch.equal(tet.tetromino_cells(scattered), tet.tetromino_cells()[scattered])


def test_identical_bytes_for_identical_seeds():
    """The recorded hashes hold on every machine: a change of renderer or generator shows here."""
    factors = tet.tetromino_factors()[::16]
    assert sha256(factors) == "ce02fd8b52c423b07c13ce5e8f169414940a481956d43db45b6702ef36434520"
    assert sha256(tet.render(factors)) == (
        "58ba4ae9fd1d1d07239f0c1111b9965b3ac5a063b43b7f8cd03076c416e1a08f"
    )
    assert sha256(tet.render(factors, 16, color=False)) == (
        "7a126bb79b0de64e63ad63296a087c167d5525ff4062820027a5800d61564595"
    )
    assert not torch.equal(tet.tetromino_factors(1)[::16], factors)


# Rendering ---------------------------------------------------------------------------------------


def supersampled(factors, size, samples=64):
    """Share of each pixel that the shape covers, by counting samples² points in it."""
    angle, _, scale, x, y = factors
    cell = scale * size
    points = (np.arange(size * samples) + 0.5) / samples
    dx, dy = (points - x * size)[None, :], (points - y * size)[:, None]
    u = (np.cos(angle) * dx + np.sin(angle) * dy) / cell
    v = (np.cos(angle) * dy - np.sin(angle) * dx) / cell
    bar = (u >= 0) & (u <= 1) & (np.abs(v) <= 1.5)
    foot = (np.abs(u) <= 1) & (v >= 0.5) & (v <= 1.5)
    return (bar | foot).reshape(size, samples, size, samples).mean(axis=(1, 3))


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("size", [16, 32])
def test_coverage_is_exact_at_quarter_turns(quarter, size):
    factors = [quarter * math.pi / 2, 0, 0.11, 0.5, 0.47]
    red = tet.render([factors], size)[0, 0].numpy() / 255
    # 1/64 of a pixel's side is what counting resolves, twice at a corner; half a level is rounding.
    assert np.abs(red - supersampled(factors, size)).max() < 1 / 64 + 1 / 255
    assert red.sum() == pytest.approx(4 * (0.11 * size) ** 2, abs=0.15)


@pytest.mark.parametrize("angle", [0.2, 0.6, math.pi / 4, 2.5, 4.0])
def test_coverage_at_any_angle(angle):
    """A pixel turned with the shape differs from an upright one by less than .06 of its area."""
    factors = [angle, 0, 0.1, 0.43, 0.55]
    red = tet.render([factors])[0, 0].numpy() / 255
    assert np.abs(red - supersampled(factors, 32)).max() < 0.06
    assert red.sum() == pytest.approx(4 * 3.2**2, rel=0.02)


def test_shape_is_a_j():
    picture = tet.render([[0, 0, 0.125, 0.5, 0.5]], 16)[0]
    expected = torch.zeros(16, 16, dtype=torch.uint8)
    expected[5:11, 8:10] = 255
    expected[9:11, 6:10] = 255
    assert torch.equal(picture[0], expected)
    assert not picture[1:].any()


def test_shape_equals_none_of_its_turns_and_mirror_images():
    pictures = tet.render([[k * math.pi / 2, 0, 0.125, 0.5, 0.5] for k in range(4)])[:, 0]
    turned = [pictures[0].rot90(-k) for k in range(4)]
    for k in range(4):
        assert torch.equal(pictures[k], turned[k]), "angle turns clockwise"
        assert not torch.equal(pictures[0].flip(1), turned[k])
        assert k == 0 or not torch.equal(pictures[0], turned[k])


def test_hue_circle():
    rgb = tet.hue_to_rgb(np.arange(7) / 6)
    expected = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]]
    np.testing.assert_allclose(rgb, expected, atol=1e-12)


def test_grey_shows_hue_as_brightness():
    factors = [[0, hue, 0.125, 0.5, 0.5] for hue in (0.0, 0.5, 1.0)]
    grey = tet.render(factors, color=False)
    assert grey.shape == (3, 1, 32, 32)
    assert [int(g.max()) for g in grey] == [77, 166, 255]


@pytest.mark.parametrize("size", [16, 32])
def test_largest_shape_stays_inside_at_every_angle(size):
    """Ends of the ranges of x and y, 32 angles: the area in the picture is the whole area."""
    low, high = tet.RANGES[3]
    factors = [
        [angle, 0, tet.RANGES[2][1], x, y]
        for angle in np.linspace(0, 2 * np.pi, 32, endpoint=False)
        for x in (low, high)
        for y in (low, high)
    ]
    area = tet.render(factors, size)[:, 0].double().sum((1, 2)) / 255
    assert float((area / (4 * (size / 8) ** 2) - 1).abs().max()) < 0.02


def test_pictures_do_not_depend_on_their_neighbours(scattered):
    factors = tet.tetromino_factors(0, scattered)[:300]
    together = tet.render(factors)
    assert torch.equal(together[217:218], tet.render(factors[217:218]))
    assert tet.render(factors[:0]).shape == (0, 3, 32, 32)


def test_speed():
    """The aim is 20,000 a second; processor time, so that a busy machine does not decide."""
    factors = tet.tetromino_factors()[::16]
    tet.render(factors[:256])
    start = time.process_time()
    tet.render(factors)
    assert len(factors) / (time.process_time() - start) > 20_000


# Divisions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["easy", "checkerboard"])
def test_halves(kind):
    train, test = tet.tetromino_split(kind)
    assert abs(len(train) / tet.N_IMAGES - 0.5) <= 0.002
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(tet.N_IMAGES))


def test_recorded_halves():
    train, _ = tet.tetromino_split("easy")
    assert sha256(train) == "c29991c76f030289288d2c655e2f51a28a91f8d264f48156e63d333c92ae6c35"
    again, _ = tet.tetromino_split("easy", seed=1)
    # Two independent halves share a quarter of all: hypergeometric, standard deviation n/(4√(n−1)).
    shared = len(np.intersect1d(train, again))
    assert abs(shared - tet.N_IMAGES / 4) < 4.5 * math.sqrt(tet.N_IMAGES) / 4


def test_checkerboard_neighbours_are_on_the_other_side():
    train, test = tet.tetromino_split("checkerboard")
    side = torch.zeros(tet.N_IMAGES, dtype=torch.bool)
    side[train] = True
    side = side.reshape(tet.GRID)
    for axis, n in enumerate(tet.GRID):
        assert bool((side.narrow(axis, 0, n - 1) != side.narrow(axis, 1, n - 1)).all())
    # Angle and hue are circles: their last and first strata touch.
    for axis in (0, 1):
        assert bool((side.select(axis, 0) != side.select(axis, tet.GRID[axis] - 1)).all())
    assert bool(side.flatten()[0])
    assert not side.flatten()[test].any()


@pytest.mark.parametrize("base", ["easy", "checkerboard"])
def test_thinned(base):
    train, test = tet.tetromino_split(base)
    before = set(train.tolist())
    for fraction, size in ((0.5, 40_960), (0.05, 4_096), (0.001, 82)):
        thin, same = tet.tetromino_split("thinned", fraction=fraction, base=base)
        assert len(thin) == size
        assert torch.equal(same, test)
        assert set(thin.tolist()) < before
        before = set(thin.tolist())


@pytest.mark.parametrize("base", ["easy", "checkerboard"])
def test_shrunken(base):
    train, test = tet.tetromino_split(base)
    low, high = torch.tensor(tet.RANGES, dtype=torch.float64).T
    unit = (tet.tetromino_factors() - low) / (high - low)
    for fraction in (0.5, 0.1):
        small, small_test = tet.tetromino_split("shrunken", fraction=fraction, base=base)
        half = 0.5 * fraction**0.2
        inside = ((unit - 0.5).abs() <= half).all(1)
        assert torch.equal(small, train[inside[train]])
        assert torch.equal(small_test, test[inside[test]])
        # Constant density; stratified points stray less than independent ones would.
        for part in (small, small_test):
            expected = fraction * tet.N_IMAGES / 2
            assert abs(len(part) - expected) < 4.5 * math.sqrt(expected)


# Statistics --------------------------------------------------------------------------------------


def test_entropy_floor_of_known_pictures():
    log2 = math.log(2)
    assert tet.entropy_floor(torch.full((3, 1, 2, 2), 0.5)) == pytest.approx(4 * log2, abs=1e-12)
    assert tet.entropy_floor(torch.tensor([[0, 255]], dtype=torch.uint8)) == 0.0
    quarter = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    levels = torch.tensor([[51, 0], [204, 255]], dtype=torch.uint8)
    assert tet.entropy_floor(levels) == pytest.approx(quarter, abs=1e-12)


def test_entropy_floor_is_the_least_cross_entropy(scattered):
    pixels = tet.render(tet.tetromino_factors(0, scattered[:200]))
    x = pixels.double() / 255
    floor = tet.entropy_floor(pixels)
    assert tet.entropy_floor(x) == pytest.approx(floor, rel=1e-12)
    for strength in (0.0, 0.01, 0.1):
        guess = (x + strength * (0.5 - x)).clamp(1e-300, 1 - 1e-16)
        cross = -(torch.xlogy(x, guess) + torch.xlogy(1 - x, 1 - guess)).sum((1, 2, 3)).mean()
        assert float(cross) >= floor - 1e-9
        if strength == 0:
            assert float(cross) == pytest.approx(floor, abs=1e-9)


def test_best_constant_image(scattered):
    pixels = tet.render(tet.tetromino_factors(0, scattered))
    x = pixels.double() / 255
    mean, bernoulli = tet.best_constant_image(pixels)
    assert torch.allclose(mean, x.mean(0), atol=1e-12)
    cross = -(torch.xlogy(x, mean) + torch.xlogy(1 - x, 1 - mean)).sum((1, 2, 3)).mean()
    assert bernoulli == pytest.approx(float(cross), rel=1e-10)
    _, gaussian = tet.best_constant_image(pixels, "gaussian")
    assert gaussian == pytest.approx(0.5 * float((x - mean).square().sum((1, 2, 3)).mean()), 1e-10)
    assert tet.best_constant_image(x.float())[1] == pytest.approx(bernoulli, rel=1e-6)


@pytest.mark.slow
def test_reference_statistics_of_the_whole_set():
    """All 163,840 pictures of seed 0 in colour at 32×32."""
    pixels = tet.render(tet.tetromino_factors())
    mean, bernoulli = tet.best_constant_image(pixels)
    assert tet.entropy_floor(pixels) == pytest.approx(38.454124091716, abs=1e-9)
    assert bernoulli == pytest.approx(222.151482850067, abs=1e-9)
    assert tet.best_constant_image(pixels, "gaussian")[1] == pytest.approx(
        19.997573483078, abs=1e-9
    )
    # Mean area of the shape: 4·size²·E[scale²] pixels; on average half of each colour is lit.
    low, high = tet.RANGES[2]
    area = 4 * 32**2 * (low**2 + low * high + high**2) / 3
    assert float(mean.sum()) == pytest.approx(1.5 * area, rel=0.005)


# Refusals ----------------------------------------------------------------------------------------

GOOD = [[0.0, 0.0, 0.1, 0.5, 0.5]]
REFUSED = [
    (lambda: tet.render([[0.0, 0.0, 0.1, 0.5]]), r"factors have shape \(1, 4\); expected \(N, 5\)"),
    (lambda: tet.render([[math.nan, 0, 0.1, math.inf, 0.5]]), "2 of 5 factors are NaN or infinite"),
    (lambda: tet.render(GOOD, 4), "size=4; give a whole number of pixels, at least 8"),
    (lambda: tet.render(GOOD, 32.0), "size=32.0; give a whole number"),
    (lambda: tet.render([[0, 0, 0.05, 0.5, 0.5]], 16), r"0\.8 pixels at size=16.*scale >= 0\.0625"),
    (lambda: tet.tetromino_factors(-1), "seed=-1; give a whole number, zero or more"),
    (lambda: tet.tetromino_factors(0, [163_840]), "from 163840 to 163840; the grid has shapes 0"),
    (lambda: tet.tetromino_factors(0, [0.5]), "type float64; give a list of whole numbers"),
    (lambda: tet.tetromino_split("hard"), "'hard' is unknown; choose one of easy, checkerboard"),
    (lambda: tet.tetromino_split("thinned", fraction=0), "fraction=0; give a number above 0"),
    (lambda: tet.tetromino_split("thinned", base="odd"), "base='odd'; choose one of easy, check"),
    (lambda: tet.tetromino_split("easy", fraction=0.5), "keeps all shapes; choose kind='thinned'"),
    (lambda: tet.tetromino_split("shrunken", fraction=1e-9), "0 training and 0 test shapes"),
    (lambda: tet.entropy_floor(torch.full((2, 3), 1.5)), r"every entry in \[0, 1\]"),
    (lambda: tet.entropy_floor(torch.full((2, 3), math.nan)), r"every entry in \[0, 1\]"),
    (lambda: tet.entropy_floor(torch.zeros(0, 3)), "expected pictures"),
    (lambda: tet.best_constant_image(torch.zeros(2, 3), "poisson"), "choose 'bernoulli' or"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[m[:40] for _, m in REFUSED])
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
