"""Sample quality: the committed classifier, manifolds on known cases, intervals, paired draws."""

from __future__ import annotations

import pytest
import torch

from grae_lib import data, results, samples, storage


@pytest.fixture(scope="module")
def ruler():
    return samples.Ruler(data.load("mnist", verbose=False).subset(2000), paired=500)


def test_the_committed_classifier_has_the_accuracy_of_its_record():
    record = storage.read_json(samples.RECORD)
    digits = data.load("mnist", "test", "embedded", verbose=False)
    found = samples.accuracy(samples.load_classifier(), digits)
    # One digit of 2,000 may fall on the other side on another processor.
    assert found == pytest.approx(record["embedded_test_accuracy"], abs=1e-3)
    assert record["test_accuracy"] > 0.98
    assert samples.WEIGHTS.stat().st_size == record["bytes"] <= 60_000


def test_a_changed_classifier_is_refused(tmp_path, monkeypatch):
    broken = bytearray(samples.WEIGHTS.read_bytes())
    broken[-1] ^= 1
    (tmp_path / "weights").write_bytes(broken)
    monkeypatch.setattr(samples, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(storage.DamagedFile, match="is not the file"):
        samples.load_classifier()


def test_training_digits_are_nearer_to_themselves_than_noise_is(ruler):
    digits = data.load("mnist", "test", "embedded", verbose=False).x[:500]
    real = ruler.measure(digits)
    noise = torch.rand(digits.shape, generator=torch.Generator().manual_seed(0))
    worse = ruler.measure(noise)
    assert real["frechet"] < 0.1 * worse["frechet"]
    # Noise falls on one spot of the features: it covers nothing. (An outlier's large ball may well
    # cover that spot, so precision alone would not tell: the Fréchet distance does.)
    assert real["precision"] > 0.8
    assert real["recall"] > 0.8 > 0.05 > worse["recall"]
    own = ruler.measure(data.load("mnist", verbose=False).x[:500])
    assert own["nearest"] == pytest.approx(0, abs=1e-2)
    assert own["precision"] == own["recall"] == 1.0


def points(rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_precision_and_recall_of_sets_drawn_by_hand():
    """Points 0, 1, 2, 3 on a line with k = 1: every ball has radius 1."""
    real = points([[0], [1], [2], [3]])
    assert samples.precision_recall(real, real, 1) == (1.0, 1.0)
    # 10 and 11 lie outside every ball of the real set; −.5 and 3.5 inside.
    fake = points([[-0.5], [3.5], [10.0], [11.0]])
    # Fake balls: radius 4, 4, 1, 1 around them: they cover 0, 1, 2, 3 and all of the real points.
    assert samples.precision_recall(real, fake, 1) == (0.5, 1.0)
    # Two tight clusters: samples from one only are precise and recall a half.
    both = points([[0.0], [0.1], [0.2], [9.0], [9.1], [9.2]])
    assert samples.precision_recall(both, both[:3] + 0.01, 1) == (1.0, 0.5)
    far = both + 100
    assert samples.precision_recall(both, far, 1) == (0.0, 0.0)


def test_a_ball_reaches_the_kth_neighbour():
    real = points([[0.0], [1.0], [3.0], [7.0]])
    probe = points([[12.0], [12.0], [12.0], [12.0]])
    # Around 7 the balls have radii 4, 6, 7: twelve is covered from k = 2 on.
    assert [samples.precision_recall(real, probe, k)[0] for k in (1, 2, 3)] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("real", "fake", "k", "message"),
    [
        (torch.zeros(5, 2), torch.zeros(5, 3), 3, "expected"),
        (torch.zeros(3, 2), torch.zeros(5, 2), 3, "at least 4"),
        (torch.zeros(5, 2), torch.zeros(5, 2), 0, "k=0"),
    ],
)
def test_unfit_sets_are_refused(real, fake, k, message):
    with pytest.raises(ValueError, match=message):
        samples.precision_recall(real, fake, k)


def test_nearest_gives_distance_and_index():
    candidates = points([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    distance, index = samples.nearest(points([[3.0, 3.0], [0.0, -5.0]]), candidates)
    assert index.tolist() == [1, 0]
    torch.testing.assert_close(distance, points([1.0, 5.0]), rtol=0, atol=1e-6)


def test_the_same_draw_has_the_same_latents_and_others_differ():
    first, again, other = (samples.draw_latents(100, 8, k) for k in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert samples.draw_latents(4000, 2, 0).var(0).tolist() == pytest.approx([1, 1], abs=0.1)


def test_a_stored_decoder_gives_the_numbers_of_its_record():
    """The runs of mnist-samples are those of mnist-objectives, whose decoders are stored."""
    (record,) = [
        r for r in results.runs("mnist-samples") if r["run"] == "beta_vae_diagonal_beta0.4_seed0"
    ]
    decoder = results.load_decoder("mnist-objectives", record["run"])
    ruler = samples.Ruler(data.load("mnist", "train", "embedded", verbose=False))
    found = samples.repeated(ruler, decoder, 8, draws=1)
    # The stored decoder is in float16.
    assert found["frechet"][0] == pytest.approx(record["metrics"]["frechet"][0], rel=2e-3)
    assert found["precision"][0] == pytest.approx(record["metrics"]["precision"][0], abs=0.01)
    assert found["recall"][0] == pytest.approx(record["metrics"]["recall"][0], abs=0.02)
    assert found["nearest"][0] == pytest.approx(record["metrics"]["nearest"][0], rel=2e-3)
