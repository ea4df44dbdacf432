"""How good samples of digits are, measured in the features of a small classifier.

The classifier travels with the package (`assets/mnist_classifier.safetensors`, with a record of how
it was made). It was trained on all 60,000 MNIST digits by

    python -m grae_lib.samples --train ROOT

and knows nothing of any generative model. Distances in its features are named after it: they are
not comparable with FID, whose features are Inception's.

    [1] M. Heusel et al. GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
        Equilibrium. NeurIPS 2017. (The Fréchet distance between Gaussians fitted to features.)
    [2] T. Kynkäänniemi et al. Improved Precision and Recall Metric for Assessing Generative Models.
        NeurIPS 2019.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import data, results, storage
from .evaluation import frechet_distance
from .intervals import interval
from .training import stream

WEIGHTS = data.ASSETS / "mnist_classifier.safetensors"
RECORD = data.ASSETS / "mnist_classifier.json"

#: Entries of the classifier's last hidden layer.
FEATURES = 48

#: Stream of random numbers for latents of samples; training and evaluation use 0 to 3.
_LATENTS = 4


class DigitClassifier(nn.Module):
    """x (B, 1, 28, 28) → logits (B, 10): three convolutions, a hidden layer of `FEATURES`."""

    def __init__(self):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(32 * 3 * 3, FEATURES)
        self.out = nn.Linear(FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer after its ReLU, (B, FEATURES)."""
        return self.hidden(self.convolutions(x)).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


def train_classifier(root: str | Path, epochs: int = 5, out: Path = data.ASSETS) -> dict:
    """Train the classifier on MNIST under `root`, write weights and record; returns the record.

    Adam, batches of 128, one cosine from 3e-3 to 0, pictures shifted by up to two pixels. The
    accuracies recorded are those of the float16 weights as written.
    """
    train = data.load("mnist", "train", "torchvision", root=root)
    test = data.load("mnist", "test", "torchvision", root=root)
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = DigitClassifier()
    batch, step, steps = 128, 0, epochs * (len(train) // 128)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(epochs):
        generator = stream(0, 0, epoch)
        order = torch.randperm(len(train), generator=generator)
        for rows in order.split(batch)[: len(train) // batch]:
            optimizer.param_groups[0]["lr"] = 1.5e-3 * (1 + math.cos(math.pi * step / steps))
            shift = torch.randint(-2, 3, (2,), generator=generator).tolist()
            x = train.x[rows].roll(shift, (-2, -1))
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(x), train.labels[rows]).backward()
            optimizer.step()
            step += 1
    seconds = time.perf_counter() - started
    weights = {name: value.detach().half() for name, value in model.state_dict().items()}
    path = Path(out) / WEIGHTS.name
    storage.write_safetensors(path, weights, {"architecture": "DigitClassifier"})
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    model.requires_grad_(False)
    origin = {"name": train.name, "source": train.source, "sha256": train.sha256}
    record = {
        "title": "A classifier of MNIST digits, whose features measure samples",
        "made_by": "python -m grae_lib.samples --train ROOT",
        "license": "CC BY-SA 3.0, as the digits it was trained on",
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": storage.sha256(path),
        "epochs": epochs,
        "test_digits": len(test),
        "test_accuracy": accuracy(model, test),
        "embedded_test_accuracy": accuracy(model, data.load("mnist", "test", "embedded")),
        "provenance": results.provenance("cpu", seconds, origin),
    }
    storage.write_json(Path(out) / RECORD.name, record)
    return record


def accuracy(model: DigitClassifier, digits: data.Dataset) -> float:
    """The share of digits whose largest logit is their label's."""
    parts = [model(part).argmax(-1) for part in digits.x.split(1000)]
    return float((torch.cat(parts) == digits.labels).double().mean())


def load_classifier() -> DigitClassifier:
    """The package's classifier, frozen, in float32.

    Raises DamagedFile if the weights are not those that the record beside them describes.
    """
    known = storage.read_json(RECORD)["sha256"]
    if storage.sha256(WEIGHTS) != known:
        raise storage.DamagedFile(
            f"{WEIGHTS} is not the file that {RECORD.name} describes; install grae_lib again, or "
            "make both anew: python -m grae_lib.samples --train ROOT"
        )
    weights, _ = storage.read_safetensors(WEIGHTS)
    model = DigitClassifier()
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model.requires_grad_(False)


def features(model: DigitClassifier, images: Tensor) -> Tensor:
    """Features (N, FEATURES) of pictures (N, 784) or (N, 1, 28, 28), clipped to [0, 1] first.

    Clipping is what a screen does; a decoder without an output function leaves [0, 1] a little.
    """
    pictures = images.detach().float().cpu().reshape(-1, 1, 28, 28).clamp(0, 1)
    return torch.cat([model.features(part) for part in pictures.split(1000)])


# Distances ---------------------------------------------------------------------------------------


def _check_sets(a: Tensor, b: Tensor, least: int) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"the sets have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected (N, k), (M, k)."
        )
    if min(len(a), len(b)) < least:
        raise ValueError(
            f"{len(a)} and {len(b)} examples were given; expected at least {least} in each set."
        )


def _covered(points: Tensor, by: Tensor, k: int) -> float:
    """The share of `points` in a ball around one of `by` that reaches its k-th neighbour."""
    # The smallest distance is a point's own, zero: the k-th neighbour is number k + 1.
    radius = torch.cdist(by, by).kthvalue(k + 1, dim=1).values
    return float((torch.cdist(points, by) <= radius).any(1).double().mean())


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision and recall of samples [2], from features (N, m), (M, m); each in [0, 1].

    The manifold of a set is the union of balls around its points, each as large as the distance to
    the point's k-th nearest neighbour in the set. Precision is the share of fake points inside the
    manifold of the real ones (are samples plausible?), recall the share of real points inside the
    manifold of the fake ones (is everything covered?). Both depend on the sizes of the sets.
    """
    _check_sets(real, fake, k + 1)
    if k < 1:
        raise ValueError(f"k={k} was given; expected a number of neighbours ≥ 1.")
    real, fake = real.double(), fake.double()
    return _covered(fake, real, k), _covered(real, fake, k)


def nearest(points: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to and index of each point's nearest candidate, both (N,).

    points (N, n), candidates (M, n); Euclidean distance in the units of the entries.
    """
    _check_sets(points, candidates, 1)
    found = [torch.cdist(part, candidates).min(1) for part in points.split(500)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


class Ruler:
    """Measures sets of pictures against real digits; the real digits' side is computed once.

    real: training digits. The Fréchet distance uses all of them, precision and recall the first
    `paired`, nearest digits all of them.
    """

    def __init__(self, real: data.Dataset, paired: int = 2000):
        self.classifier = load_classifier()
        self.pixels = real.x.flatten(1)
        self.features = features(self.classifier, self.pixels)
        self.paired = paired

    def measure(self, images: Tensor, k: int = 3, near: int = 500) -> dict[str, float]:
        """Numbers about pictures (N, 784) or (N, 1, 28, 28).

        frechet    Fréchet distance in classifier features to the real digits, smaller is closer
        precision, recall   with `k` neighbours
        nearest    mean Euclidean distance in pixels from the first `near` pictures to the nearest
                   real digit
        confidence mean of the classifier's largest probability
        """
        own = features(self.classifier, images)
        precision, recall = precision_recall(self.features[: self.paired], own, k)
        pixels = images.detach().float().cpu().flatten(1).clamp(0, 1)
        return {
            "frechet": frechet_distance(self.features, own),
            "precision": precision,
            "recall": recall,
            "nearest": float(nearest(pixels[:near], self.pixels)[0].mean()),
            "confidence": float(self.classifier.out(own).softmax(-1).amax(-1).mean()),
        }


def draw_latents(n: int, latent_dim: int, draw: int) -> Tensor:
    """The n latents of draw number `draw` from N(0, I), (n, d): the same for every decoder."""
    return torch.randn(n, latent_dim, generator=stream(0, _LATENTS, draw))


def repeated(
    ruler: Ruler, decoder: nn.Module, latent_dim: int, draws: int, n: int = 2000
) -> dict[str, list[float]]:
    """Each number of `Ruler.measure` for `draws` independent sets of n samples of one decoder."""
    found: dict[str, list[float]] = {}
    for draw in range(draws):
        z = draw_latents(n, latent_dim, draw)
        with torch.no_grad():
            images = decoder(z.to(next(decoder.parameters())))
        for name, value in ruler.measure(images).items():
            found.setdefault(name, []).append(value)
    return found


# Comparisons ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """A method's samples against the reference's at one β, in one of `Ruler.measure`'s numbers.

    value, reference: means over all seeds and draws. draws: mean difference and half width for seed
    0, over draws of the latents: nothing of training is in it. seeds: the same over seeds, each the
    mean of its draws: training and latents together; None where there is one seed only.
    """

    beta: float
    value: float
    reference: float
    draws: tuple[float, float]
    seeds: tuple[float, float] | None
    count: int


def compare(
    records: Sequence[Mapping[str, Any]],
    metric: str,
    method: str,
    reference: str,
    level: float = 0.95,
) -> list[Comparison]:
    """Paired comparisons at every β, from records of the experiment `mnist-samples`.

    Pairs share the latents of a draw, and the order of the data and first weights of a seed.
    """
    values = {
        tuple(r["job"]["labels"][k] for k in ("method", "beta", "seed")): torch.tensor(
            r["metrics"][metric], dtype=torch.float64
        )
        for r in records
        if metric in r["metrics"]
    }
    found = []
    for beta in sorted({b for m, b, _ in values if m == method}):
        pairs = {
            s: (values[method, beta, s], values[reference, beta, s])
            for m, b, s in sorted(values)
            if (m, b) == (method, beta) and (reference, beta, s) in values
        }
        if 0 not in pairs:
            continue
        by_seed = [float((own - other).mean()) for own, other in pairs.values()]
        found.append(
            Comparison(
                beta,
                float(torch.stack([own for own, _ in pairs.values()]).mean()),
                float(torch.stack([other for _, other in pairs.values()]).mean()),
                interval((pairs[0][0] - pairs[0][1]).tolist(), level),
                interval(by_seed, level) if len(by_seed) > 1 else None,
                len(by_seed),
            )
        )
    return found


def _main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m grae_lib.samples", description="Train the classifier that measures samples."
    )
    parser.add_argument("--train", metavar="ROOT", required=True, help="folder of MNIST's files")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=data.ASSETS)
    options = parser.parse_args(arguments)
    try:
        record = train_classifier(options.train, options.epochs, options.out)
    except data.DataError as error:
        parser.exit(1, f"{error}\n")
    print(
        f"wrote {record['file']}, {record['bytes']:,} bytes: {record['test_accuracy']:.2%} of the "
        f"{record['test_digits']:,} test digits, {record['provenance']['seconds']:.0f} s"
    )


if __name__ == "__main__":
    _main()
