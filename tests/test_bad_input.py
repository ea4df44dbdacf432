"""Bad input: one table of cases, each with the parts that its message must have.

A message says what was given, what is accepted, and where it helps what to do. Run this file to
print the table of case and message:  python tests/test_bad_input.py
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from grae_lib import geometry, models, objectives, posteriors, storage, training

SHAPE, D = (1, 4, 4), 4


def build(**settings):
    defaults = {"shape": SHAPE, "latent_dim": D, "hidden": (5,)}
    return models.build(**(defaults | settings))


def images(n=8, shape=SHAPE):
    return torch.full((n, *shape), 0.5)


def metric(batch=2, d=D):
    return torch.eye(d).repeat(batch, 1, 1)


def fit(data=None, objective=None, model=None, **settings):
    data = images() if data is None else data
    model = build() if model is None else model
    objective = objectives.GRAE(0.1) if objective is None else objective
    defaults = {"steps": 1, "batch_size": 4, "device": "cpu", "progress": False}
    return training.fit(model, data, objective, **(defaults | settings))


def sweep(members, goals, seeds=None):
    return training.fit_sweep(
        members, images(), goals, seeds=seeds, steps=1, batch_size=4, device="cpu", progress=False
    )


def spoiled(value):
    x = images()
    x[1, 0, 2, 3] = value
    return x


def damaged_checkpoint():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.safetensors"
        fit(checkpoint=path)
        path.write_bytes(path.read_bytes()[:-9])
        fit(checkpoint=path, steps=2)


def foreign_checkpoint():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.safetensors"
        fit(checkpoint=path)
        fit(checkpoint=path, steps=2, seed=1)


def damaged_json():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.json"
        storage.write_json(path, {"beta": 0.1, "total": 3.5})
        path.write_bytes(path.read_bytes()[:12])
        storage.read_json(path)


def damaged_safetensors():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decoder.safetensors"
        storage.write_safetensors(path, {"weight": torch.ones(3)}, {})
        path.write_bytes(path.read_bytes()[:-1])
        storage.read_safetensors(path)


def unwritable():
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "taken"
        target.mkdir()
        storage.write_bytes(target, b"bytes")


class Case(NamedTuple):
    """A name, what to call, the error, and parts of its message: given, accepted, to do."""

    name: str
    call: Callable[[], object]
    error: type[Exception]
    parts: tuple[str, ...]


NOT_POSITIVE = ("must be a finite number > 0", "objectives.AE")
CASES = [
    Case("β = 0", lambda: objectives.GRAE(0.0), ValueError, ("beta=0.0", *NOT_POSITIVE)),
    Case("β < 0", lambda: objectives.BetaVAE(-0.1), ValueError, ("beta=-0.1", *NOT_POSITIVE)),
    Case("β NaN", lambda: objectives.TaylorVAE(math.nan), ValueError, ("beta=nan", *NOT_POSITIVE)),
    Case("β infinite", lambda: objectives.RAE_GP(math.inf), ValueError, ("inf", *NOT_POSITIVE)),
    Case("β a string", lambda: objectives.GRAE("0.1"), ValueError, ("beta='0.1'", *NOT_POSITIVE)),
    Case("β True", lambda: objectives.GRAE(True), ValueError, ("beta=True", *NOT_POSITIVE)),
    Case(
        "β of a function",
        lambda: geometry.optimal_covariance(metric(), -1.0),
        ValueError,
        ("beta=-1.0", *NOT_POSITIVE),
    ),
    Case(
        "β of a regulariser",
        lambda: objectives.column_regularizer(metric(), 0),
        ValueError,
        ("beta=0", *NOT_POSITIVE),
    ),
    Case(
        "penalty weight < 0",
        lambda: objectives.ContractiveAE(-1.0),
        ValueError,
        ("weight=-1.0", "a finite number ≥ 0"),
    ),
    Case(
        "penalty weight NaN",
        lambda: objectives.RAE_L2(0.1, math.nan),
        ValueError,
        ("weight=nan", "a finite number ≥ 0"),
    ),
    Case(
        "unknown regulariser",
        lambda: objectives.GRAE(0.1, "logdet"),
        ValueError,
        ("'logdet'", "log_det, block, columns, one_column"),
    ),
    Case(
        "regulariser 'block' without a size",
        lambda: objectives.GRAE(0.1, "block"),
        ValueError,
        ("block_size=None", "needs a block_size that divides d"),
    ),
    Case(
        "a size without regulariser 'block'",
        lambda: objectives.GRAE(0.1, "columns", block_size=2),
        ValueError,
        ("'columns' with block_size=2", "the others take none"),
    ),
    Case(
        "block size that does not divide d",
        lambda: objectives.block_regularizer(metric(), 0.1, 3),
        ValueError,
        ("block_size=3", "latent dimension 4", "[1, 2, 4]"),
    ),
    Case(
        "block size of a model",
        lambda: build(family="block", block_size=3),
        ValueError,
        ("block_size=3", "latent dimension 4", "[1, 2, 4]"),
    ),
    Case(
        "block size 0",
        lambda: posteriors.check_family("block", 4, 0),
        ValueError,
        ("block_size=0", "[1, 2, 4]"),
    ),
    Case(
        "block size for another family",
        lambda: build(family="full", block_size=2),
        ValueError,
        ("block_size=2", "'full'", "family='block'"),
    ),
    Case(
        "unknown family",
        lambda: build(family="diag"),
        ValueError,
        ("'diag'", "diagonal, block, full, shared, shared_diagonal"),
    ),
    Case(
        "unknown likelihood",
        lambda: objectives.GRAE(0.1, likelihood="poisson"),
        ValueError,
        ("'poisson'", "gaussian, bernoulli"),
    ),
    Case(
        "unknown Hessian",
        lambda: objectives.TaylorVAE(0.1, hessian="newton"),
        ValueError,
        ("'newton'", "'exact' or 'gauss_newton'"),
    ),
    Case(
        "family of objective and model differ",
        lambda: objectives.BetaVAE(0.1, "full")(build(), images()),
        ValueError,
        ("family='full'", "family='diagonal'", "build it with"),
    ),
    Case(
        "unknown activation",
        lambda: build(activation="swish"),
        ValueError,
        ("'swish'", "tanh", "relu"),
    ),
    Case(
        "unknown output",
        lambda: build(output="softmax"),
        ValueError,
        ("'softmax'", "identity, sigmoid"),
    ),
    Case(
        "unknown architecture",
        lambda: build(architecture="resnet"),
        ValueError,
        ("'resnet'", "mlp, conv"),
    ),
    Case(
        "latent dimension 0",
        lambda: build(latent_dim=0),
        ValueError,
        ("latent_dim=(0,)", "positive integers"),
    ),
    Case(
        "hidden size negative",
        lambda: build(hidden=(5, -1)),
        ValueError,
        ("hidden=(5, -1)", "positive integers"),
    ),
    Case(
        "hidden size a float",
        lambda: build(hidden=(5.5,)),
        ValueError,
        ("hidden=(5.5,)", "positive integers"),
    ),
    Case(
        "conv with an odd picture",
        lambda: build(architecture="conv", shape=(1, 6, 4), hidden=(2, 2)),
        ValueError,
        ("6×4", "not divisible by 4", "use fewer stages"),
    ),
    Case(
        "conv without a picture",
        lambda: build(architecture="conv", shape=(16,)),
        ValueError,
        ("shape=(16,)", "(channels, height, width)"),
    ),
    Case(
        "x of another shape",
        lambda: build()(images(shape=(1, 5, 5))),
        ValueError,
        ("(8, 1, 5, 5)", "(B, 1, 4, 4)"),
    ),
    Case(
        "z of another rank",
        lambda: geometry.jacobian(build().decoder, torch.zeros(D)),
        ValueError,
        ("(4,)", "expected (B, d)"),
    ),
    Case(
        "column index too large",
        lambda: geometry.jacobian_column(build().decoder, torch.zeros(2, D), 4),
        ValueError,
        ("index=4", "0…3"),
    ),
    Case(
        "column index negative",
        lambda: geometry.jacobian_column(build().decoder, torch.zeros(2, D), -1),
        ValueError,
        ("index=-1", "0…3"),
    ),
    Case(
        "column indices of another batch",
        lambda: geometry.jacobian_column(build().decoder, torch.zeros(2, D), torch.zeros(3).long()),
        ValueError,
        ("(3,)", "an integer tensor of shape (2,)"),
    ),
    Case(
        "metric not square",
        lambda: objectives.log_det_regularizer(torch.zeros(2, 3, 4), 0.1),
        ValueError,
        ("(2, 3, 4)", "expected (B, d, d)"),
    ),
    Case(
        "metric with NaN",
        lambda: geometry.optimal_covariance(metric() * math.nan, 0.1),
        ValueError,
        ("not positive definite or not finite", "Check J", "float64"),
    ),
    Case(
        "precision of another shape",
        lambda: geometry.pullback_metric(torch.zeros(2, 5, 3), torch.zeros(2, 3)),
        ValueError,
        ("(2, 3)", "(2, 5, 3)", "(B, n)"),
    ),
    Case(
        "covariance indefinite",
        lambda: posteriors.kl_to_standard_normal(torch.zeros(2, D), -metric()),
        ValueError,
        ("not positive definite in 2 of 2", "positive eigenvalues"),
    ),
    Case(
        "mean and covariance of different size",
        lambda: posteriors.kl_to_standard_normal(torch.zeros(2, 3), metric()),
        ValueError,
        ("(2, 3)", "(2, 4, 4)", "(B, d, d)"),
    ),
    Case(
        "data with NaN",
        lambda: fit(spoiled(math.nan)),
        ValueError,
        ("1 NaN or infinite entries of 128", "remove or replace"),
    ),
    Case(
        "data with infinity",
        lambda: fit(spoiled(math.inf)),
        ValueError,
        ("1 NaN or infinite entries of 128", "remove or replace"),
    ),
    Case(
        "data of integers",
        lambda: fit(torch.zeros(8, *SHAPE, dtype=torch.uint8)),
        ValueError,
        ("torch.uint8", "expected floating point"),
    ),
    Case(
        "data of another shape",
        lambda: fit(images(shape=(1, 5, 5))),
        ValueError,
        ("(1, 5, 5)", "(1, 4, 4)", "shape=data.shape"),
    ),
    Case(
        "batch larger than the data",
        lambda: fit(batch_size=9),
        ValueError,
        ("batch_size=9", "8 examples", "at most that"),
    ),
    Case("no steps", lambda: fit(steps=0), ValueError, ("steps=0", "an integer ≥ 1")),
    Case("steps a float", lambda: fit(steps=1e3), ValueError, ("steps=1000.0", "an integer ≥ 1")),
    Case("rate 0", lambda: fit(lr=0.0), ValueError, ("lr=0.0", "a finite number > 0")),
    Case("rate NaN", lambda: fit(lr=math.nan), ValueError, ("lr=nan", "a finite number > 0")),
    Case("seed negative", lambda: fit(seed=-1), ValueError, ("seed=-1", "an integer ≥ 0")),
    Case(
        "unknown schedule",
        lambda: fit(schedule="linear"),
        ValueError,
        ("'linear'", "constant, cosine"),
    ),
    Case(
        "unknown device",
        lambda: fit(device="tpu"),
        ValueError,
        ("'tpu'", "choose auto, cpu, cuda or mps"),
    ),
    Case(
        "sweep of unequal lengths",
        lambda: sweep([build(), build()], [objectives.AE()]),
        ValueError,
        ("2 models, 1 objectives and 2 seeds", "the same number"),
    ),
    Case(
        "sweep of no model",
        lambda: sweep([], []),
        ValueError,
        ("0 models", "at least one"),
    ),
    Case(
        "sweep of two architectures",
        lambda: sweep([build(), build(hidden=(6,))], [objectives.AE()] * 2),
        ValueError,
        ("the models of a sweep", "differ in hidden", "separate sweeps"),
    ),
    Case(
        "sweep of two objectives",
        lambda: sweep([build(), build()], [objectives.AE(), objectives.GRAE(0.1)]),
        ValueError,
        ("the objectives of a sweep", "objective", "separate sweeps"),
    ),
    Case(
        "damaged checkpoint",
        damaged_checkpoint,
        training.CheckpointError,
        ("run.safetensors", "not a readable checkpoint", "delete it to start again"),
    ),
    Case(
        "checkpoint of another run",
        foreign_checkpoint,
        training.CheckpointError,
        ("run.safetensors", "another architecture, objective, seed", "name another file"),
    ),
    Case(
        "damaged JSON",
        damaged_json,
        storage.DamagedFile,
        ("metrics.json", "not valid JSON"),
    ),
    Case(
        "damaged safetensors",
        damaged_safetensors,
        storage.DamagedFile,
        ("decoder.safetensors", "not a whole safetensors file"),
    ),
    Case(
        "destination cannot be written",
        unwritable,
        OSError,
        ("could not write", "taken", "untouched", "choose another folder"),
    ),
    Case(
        "loss not finite",
        lambda: fit(lr=1e25, steps=20),
        training.TrainingDiverged,
        ("diverged at step", "Lower the learning rate (now 1e+25)", "float64"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_the_message_says_what_was_given_and_what_is_accepted(case):
    with pytest.raises(case.error) as error:
        case.call()
    message = str(error.value)
    missing = [part for part in case.parts if part not in message]
    assert not missing, f"{missing} not in: {message}"


def test_there_are_no_two_cases_of_one_name():
    assert len({c.name for c in CASES}) == len(CASES) >= 15


def main() -> None:
    """Print the table of case and message as Markdown."""
    print("| case | error | message |")
    print("| --- | --- | --- |")
    for case in CASES:
        try:
            case.call()
            kind, message = "none", "was accepted"
        except Exception as error:
            kind, message = type(error).__name__, str(error)
        message = message.replace(tempfile.gettempdir(), "…").replace("|", "\\|")
        print(f"| {case.name} | {kind} | {message} |")


if __name__ == "__main__":
    main()
