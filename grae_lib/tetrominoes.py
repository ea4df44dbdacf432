"""Tetrominoes: coloured pictures of one shape with five known continuous factors.

After "Rate-Regularization and Generalization in VAEs" (Bozkurt, Esmaeili et al., AISTATS 2021),
which measures how a VAE generalises to combinations of factors that it has not seen. The shape is
the J tetromino: it equals none of its own rotations or reflections, so that all five factors can
be read from a picture. The grid of 16·8·5·16·16 = 163,840 strata follows the paper; the ranges of
the factors and the rendering are ours.

A picture is a function of its five factors alone, and the factors are a function of a seed, hence
the data set needs no file. Random numbers come straight from the bit generator PCG64, whose stream
numpy guarantees, so that a seed gives the same bytes under every numpy version.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

#: Names of the factors, in the order of the columns of every (N, 5) array here.
FACTORS = ("angle", "hue", "scale", "x", "y")

#: Strata along each factor.
GRID = (16, 8, 5, 16, 16)

#: Number of strata and of pictures: 163,840.
N_IMAGES = math.prod(GRID)

#: Lower and upper end of each factor. angle: radians, clockwise on the screen. hue: the colour
#: circle from red (0) by green (1/3) and blue (2/3) back to red. scale: side of one of the four
#: cells. x, y: centre of the shape's 2×3 bounding box, from the left and from the top. Lengths are
#: fractions of the image's width, so that the same factors serve every image size. The largest
#: shape, at any angle, still fits at the ends of the range of x and y.
RANGES = (
    (0.0, 2 * math.pi),
    (0.0, 1.0),
    (1 / 16, 1 / 8),
    (0.28, 0.72),
    (0.28, 0.72),
)

#: Ways to divide the grid into training and test shapes; see `tetromino_split`.
SPLITS = ("easy", "checkerboard", "thinned", "shrunken")

#: Grey level of hue 0 in the grey variant; hue 1 is white.
_DARKEST = 0.3

# Independent streams of one seed.
_JITTER, _HALVES, _THINNING = range(3)

# Pixels rendered at a time: few enough to stay in a core's cache, enough to hide Python's overhead.
# Two threads were no faster than one.
_CHUNK_PIXELS = 1 << 17


def _raw(seed: int, stream: int, n: int) -> np.ndarray:
    """n uniform 64-bit integers of one stream of a seed."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed={seed!r}; give a whole number, zero or more.")
    return np.random.PCG64(np.random.SeedSequence([int(seed), stream])).random_raw(n)


def _check_indices(indices) -> np.ndarray:
    array = np.asarray(indices)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"indices have shape {array.shape} and type {array.dtype}; give a list of whole "
            f"numbers from 0 to {N_IMAGES - 1}."
        )
    if array.size and (array.min() < 0 or array.max() >= N_IMAGES):
        raise ValueError(
            f"indices run from {array.min()} to {array.max()}; the grid has shapes 0 to "
            f"{N_IMAGES - 1}."
        )
    return array.astype(np.int64)


def _cells(indices=None) -> np.ndarray:
    indices = np.arange(N_IMAGES) if indices is None else _check_indices(indices)
    return np.stack(np.unravel_index(indices, GRID), axis=1)


def _unit_factors(seed: int, indices=None) -> np.ndarray:
    """(N, 5) factors as positions in [0, 1) along their ranges, one point in each stratum."""
    # 53 bits make a double in [0, 1). The jitter of a shape does not depend on which are asked for.
    jitter = (_raw(seed, _JITTER, N_IMAGES * 5) >> np.uint64(11)) * 2.0**-53
    jitter = jitter.reshape(N_IMAGES, 5)
    cells = _cells(indices)
    if indices is not None:
        jitter = jitter[_check_indices(indices)]
    return (cells + jitter) / np.array(GRID)


def tetromino_cells(indices=None) -> Tensor:
    """(N, 5) int64: the stratum of each shape along angle, hue, scale, x and y.

    Shape i lies in stratum `unravel_index(i, GRID)`: y changes fastest. `indices` selects shapes;
    by default all 163,840. Raises ValueError for an index outside the grid.
    """
    return torch.from_numpy(_cells(indices))


def tetromino_factors(seed: int = 0, indices=None) -> Tensor:
    """(N, 5) float64: angle, hue, scale, x, y of each shape (units: see `RANGES`).

    One shape lies in each stratum of the grid, at a point drawn uniformly inside it. `indices`
    selects shapes without changing them. Raises ValueError for an index outside the grid.
    """
    low, high = np.array(RANGES).T
    return torch.from_numpy(low + (high - low) * _unit_factors(seed, indices))


def hue_to_rgb(hue: np.ndarray) -> np.ndarray:
    """(N, 3) red, green and blue in [0, 1] of fully saturated, fully bright hues (N,)."""
    offset = np.array([0.0, 4.0, 2.0])
    return np.clip(np.abs((hue[:, None] * 6 + offset) % 6 - 3) - 1, 0, 1)


def _render_chunk(factors: np.ndarray, tint: np.ndarray, size: int, out: np.ndarray) -> None:
    """Fill out (n, channels, size, size), uint8, with the shapes of `factors`, colours of `tint`.

    In cells, about the centre of its bounding box and with v downward, the shape is the union of a
    bar, u in [0, 1] and v in [-1.5, 1.5], and a foot, u in [-1, 1] and v in [.5, 1.5].
    """
    angle, _, scale, x, y = factors.T
    cell = (scale * size)[:, None, None]
    centre = np.arange(size) + 0.5
    column = (centre - x[:, None] * size)[:, None, :]
    row = (centre - y[:, None] * size)[:, :, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    # u = u_column + u_row and v likewise: the rotation costs one addition for each pixel.
    u_column, u_row, v_column, v_row = cos * column, sin * row, -sin * column, cos * row

    def overlap(along_column, along_row, middle, half):
        """Length that an interval of ±half cells about `middle` shares with a pixel of length 1.

        Holds for intervals of at least one pixel, which `render` makes sure of.
        """
        length = np.add(
            (along_column - middle * cell).astype(np.float32), along_row.astype(np.float32)
        )
        np.abs(length, out=length)
        np.subtract((0.5 + half * cell).astype(np.float32), length, out=length)
        return np.clip(length, 0, 1, out=length)

    bar_u, bar_v = overlap(u_column, u_row, 0.5, 0.5), overlap(v_column, v_row, 0.0, 1.5)
    foot_u, foot_v = overlap(u_column, u_row, 0.0, 1.0), overlap(v_column, v_row, 1.0, 0.5)
    # Bar and foot share the corner cell, whose area is bar_u · foot_v: add both, take it off once.
    np.subtract(foot_u, bar_u, out=foot_u)
    np.multiply(foot_u, foot_v, out=foot_u)
    np.multiply(bar_u, bar_v, out=bar_u)
    np.add(bar_u, foot_u, out=bar_u)
    level = np.multiply(bar_u[:, None], (255 * tint).astype(np.float32)[:, :, None, None])
    np.add(level, np.float32(0.5), out=level)
    np.copyto(out, level, casting="unsafe")


def render(factors, size: int = 32, color: bool = True) -> Tensor:
    """Pictures of J tetrominoes: uint8, (N, 3, size, size), or (N, 1, size, size) if not `color`.

    factors: (N, 5), columns as in `FACTORS`, units as in `RANGES`; values outside these ranges are
    drawn too (a part of the shape may then lie outside the picture). The background is black.

    A pixel's value is the area that the shape covers of a unit square which is centred on the pixel
    and turned with the shape: exact, in closed form, differentiable almost everywhere and with
    edges one pixel wide at every angle. In the grey variant hue sets the brightness, from .3 to 1:
    dropping it would make shapes that differ only in hue equal, and a split by hue empty of sense.

    Raises ValueError for factors of another shape, factors that are not finite, a size below 8 or
    cells smaller than a pixel.
    """
    array = np.asarray(factors, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(FACTORS):
        raise ValueError(
            f"factors have shape {array.shape}; expected (N, 5) with columns {', '.join(FACTORS)}."
        )
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise ValueError(f"{bad} of {array.size} factors are NaN or infinite; all must be finite.")
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 8:
        raise ValueError(f"size={size!r}; give a whole number of pixels, at least 8.")
    # At 16 pixels the smallest cells are one pixel wide, up to rounding.
    if len(array) and array[:, 2].min() * size < 1 - 1e-9:
        raise ValueError(
            f"the smallest scale {array[:, 2].min():.4g} makes a cell of "
            f"{array[:, 2].min() * size:.3g} pixels at size={size}; a cell needs at least one "
            f"pixel: scale >= {1 / size:.4g}, or a larger size."
        )
    hue = array[:, 1]
    tint = hue_to_rgb(hue) if color else _DARKEST + (1 - _DARKEST) * hue[:, None]
    images = np.empty((len(array), tint.shape[1], size, size), dtype=np.uint8)
    step = max(1, _CHUNK_PIXELS // size**2)
    for start in range(0, len(array), step):
        part = slice(start, start + step)
        _render_chunk(array[part], tint[part], size, images[part])
    return torch.from_numpy(images)


def tetromino_split(
    kind: str = "easy", *, fraction: float = 1.0, base: str = "easy", seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Indices (train, test), int64 and sorted, of a division of the 163,840 shapes.

    kind:
      "easy"          a random half, 81,920 shapes, is for training; the other half is the test.
      "checkerboard"  the sum of a shape's five stratum numbers is even for training, odd for the
                      test: each test shape lies between training shapes in every direction, and no
                      training shape shares its stratum. Angle and hue close into circles of an even
                      number of strata, so the pattern has no seam.
      "thinned"       the division `base` with only `fraction` of its training shapes, spread over
                      the whole volume; the test is untouched. A smaller fraction's shapes are among
                      a larger one's.
      "shrunken"      the division `base` inside a box of `fraction` of the volume: every factor
                      keeps the middle fraction^(1/5) of its range. The density of training shapes
                      stays, their number falls; the test shrinks with them.

    `fraction` is in (0, 1] and 1 for the first two kinds; `base` is "easy" or "checkerboard".
    Raises ValueError otherwise.

    >>> train, test = tetromino_split("thinned", base="checkerboard", fraction=0.0125)
    >>> len(train), len(test)
    (1024, 81920)
    """
    if kind not in SPLITS:
        raise ValueError(f"split kind {kind!r} is unknown; choose one of {', '.join(SPLITS)}.")
    plain = SPLITS[:2]
    if base not in plain:
        raise ValueError(f"base={base!r}; choose one of {', '.join(plain)}.")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction!r}; give a number above 0 and at most 1.")
    if kind in plain and fraction != 1:
        raise ValueError(
            f"fraction={fraction!r} was given with kind {kind!r}, which keeps all shapes; choose "
            f"kind='thinned' or kind='shrunken' with base={kind!r}."
        )
    base = kind if kind in plain else base
    if base == "easy":
        # A stable sort of distinct random keys is a uniform permutation, the same everywhere.
        order = np.argsort(_raw(seed, _HALVES, N_IMAGES), kind="stable")
        in_train = np.zeros(N_IMAGES, dtype=bool)
        in_train[order[: N_IMAGES // 2]] = True
    else:
        in_train = _cells().sum(axis=1) % 2 == 0
    train, test = np.flatnonzero(in_train), np.flatnonzero(~in_train)
    if kind == "thinned":
        keep = max(1, round(fraction * len(train)))
        keys = _raw(seed, _THINNING, N_IMAGES)[train]
        train = np.sort(train[np.argsort(keys, kind="stable")[:keep]])
    elif kind == "shrunken":
        half = 0.5 * fraction ** (1 / len(GRID))
        inside = (np.abs(_unit_factors(seed) - 0.5) <= half).all(axis=1)
        train, test = train[inside[train]], test[inside[test]]
        if not len(train) or not len(test):
            raise ValueError(
                f"fraction={fraction!r} leaves {len(train)} training and {len(test)} test shapes; "
                "give a larger fraction."
            )
    return torch.from_numpy(train), torch.from_numpy(test)


def _check_pixels(x: Tensor) -> Tensor:
    """x as (N, n) with N > 0, either uint8 or floating point in [0, 1]."""
    if not isinstance(x, Tensor) or x.ndim < 2 or len(x) == 0:
        raise ValueError(f"expected pictures (N, *shape), N > 0, but got {_describe(x)}.")
    if x.dtype == torch.uint8:
        return x.flatten(1)
    if not x.is_floating_point() or not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(
            f"got {_describe(x)}; expected uint8, or floating point with every entry in [0, 1]."
        )
    return x.flatten(1)


def _describe(x) -> str:
    if isinstance(x, Tensor):
        return f"a {str(x.dtype).removeprefix('torch.')} tensor of shape {tuple(x.shape)}"
    return type(x).__name__


def _bernoulli_entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p) + torch.special.entr(1 - p)


def entropy_floor(x: Tensor) -> float:
    """Mean over pictures of Σ_entries h(x), h(p) = −p log p − (1−p) log(1−p), in nats.

    The Bernoulli cross-entropy of pixels x in [0, 1] under probabilities p is at least h(x), with
    equality at p = x. So soft pixels keep a VAE's Bernoulli distortion from reaching zero: this is
    the least value that any model can have on x (N, *shape). x is uint8 (level / 255) or floating
    point; float64 inside. Raises ValueError for entries outside [0, 1].
    """
    pixels = _check_pixels(x)
    if pixels.dtype == torch.uint8:
        # 256 levels: count them, and weigh each level's entropy once. Black and full pixels have
        # none, and most are of these.
        counts = torch.zeros(256, dtype=torch.int64)
        for part in pixels.split(512):
            soft = part[(part > 0) & (part < 255)]
            counts += torch.bincount(soft.long(), minlength=256).cpu()
        levels = torch.arange(256, dtype=torch.float64) / 255
        return float((counts * _bernoulli_entropy(levels)).sum()) / len(pixels)
    total = sum(float(_bernoulli_entropy(part.double()).sum()) for part in pixels.split(512))
    return total / len(pixels)


def best_constant_image(x: Tensor, likelihood: str = "bernoulli") -> tuple[Tensor, float]:
    """The constant picture that describes x best, (*shape) float64, and its distortion in nats.

    For both likelihoods it is the mean picture m. Distortion, summed over entries and averaged over
    pictures (N, *shape): "bernoulli" Σ_entries h(m), with h as in `entropy_floor`, because the
    cross-entropy is linear in x; "gaussian" ½ Σ_entries var(x). A model with a worse distortion has
    learnt nothing about individual pictures. Raises ValueError for an unknown likelihood or entries
    outside [0, 1].
    """
    if likelihood not in ("bernoulli", "gaussian"):
        raise ValueError(f"likelihood {likelihood!r} is unknown; choose 'bernoulli' or 'gaussian'.")
    pixels = _check_pixels(x)
    unit = 255.0 if pixels.dtype == torch.uint8 else 1.0
    first = torch.zeros(pixels.shape[1], dtype=torch.float64, device=pixels.device)
    second = torch.zeros_like(first)
    for part in pixels.split(512):
        part = part.double()
        first += part.sum(0)
        second += part.square().sum(0)
    mean = first / (len(pixels) * unit)
    if likelihood == "bernoulli":
        distortion = float(_bernoulli_entropy(mean).sum())
    else:
        distortion = 0.5 * float((second / (len(pixels) * unit**2) - mean.square()).sum())
    return mean.unflatten(0, x.shape[1:]), distortion
