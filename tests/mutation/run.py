"""Deliberate one-line faults, and the test that catches each.

    python tests/mutation/run.py [--jobs 2] [--only WORDS]

Each fault is put into a temporary copy of grae_lib, never into the library itself; the relevant
tests run on the copy and stop at the first failure. Prints the table fault → first test that caught
it. Exits 1 if a fault survives, 2 if the tests fail without any or a fault no longer fits a line.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

#: The tests of closed forms, without those that train.
FORMS = (
    *(f"tests/test_{name}.py" for name in ("posteriors", "geometry", "objectives", "taylor")),
    "tests/test_linear_case.py",
    "-k",
    "not training",
)


def only(module: str, words: str) -> tuple[str, ...]:
    return (f"tests/test_{module}.py", "-k", words)


class Fault(NamedTuple):
    """What is wrong, where, the line as it is and as it becomes, and the tests that must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = FORMS


FAULTS = [
    # objectives
    Fault(
        "one column without the factor d",
        "objectives.py",
        "return x_hat, z.shape[-1] * 0.5 * beta * torch.log1p(",
        "return x_hat, 0.5 * beta * torch.log1p(",
    ),
    Fault(
        "β outside the logarithm only",
        "objectives.py",
        "torch.log1p(squared_norms / beta)",
        "torch.log1p(squared_norms)",
    ),
    Fault(
        "log-det without the ½",
        "objectives.py",
        "return 0.5 * beta * _log_det(geometry.posterior_precision(metric, beta))",
        "return beta * _log_det(geometry.posterior_precision(metric, beta))",
    ),
    Fault(
        "block form takes the whole determinant",
        "objectives.py",
        'posterior_precision(metric, beta, "block", block_size)',
        'posterior_precision(metric, beta, "full")',
    ),
    Fault(
        "prior of GRAE without β",
        "objectives.py",
        'prior=0.5 * weights["beta"] * z.square().sum(-1)',
        "prior=0.5 * z.square().sum(-1)",
    ),
    Fault(
        "β multiplies only Σ's share of the KL",
        "objectives.py",
        "prior=beta * prior,",
        "prior=prior,",
    ),
    Fault(
        "trace term of the Taylor form subtracted",
        "objectives.py",
        "self.likelihood) + 0.5 * trace",
        "self.likelihood) - 0.5 * trace",
    ),
    Fault(
        "sign of the exact Hessian",
        "objectives.py",
        "trace = -(H * (factor @ factor.mT))",
        "trace = (H * (factor @ factor.mT))",
    ),
    Fault(
        "gradient penalty of the summed columns",
        "objectives.py",
        '0.5 * weights["weight"] * J.square().sum((-2, -1))',
        '0.5 * weights["weight"] * J.sum(-2).square().sum(-1)',
    ),
    Fault(
        "contractive penalty of the summed inputs",
        "objectives.py",
        "rows.flatten(2).square().sum((0, 2))",
        "rows.flatten(2).sum(2).square().sum(0)",
    ),
    Fault(
        "one index for the whole batch",
        "objectives.py",
        "torch.randint(latent_dim, (batch,), generator=generator, device=device)",
        "torch.randint(latent_dim, (1,), generator=generator, device=device).expand(batch)",
    ),
    Fault(
        "last column never drawn",
        "objectives.py",
        "torch.randint(latent_dim, (batch,)",
        "torch.randint(latent_dim - 1, (batch,)",
    ),
    Fault(
        "singular values not squared",
        "objectives.py",
        "torch.linalg.svdvals(J).square() / beta",
        "torch.linalg.svdvals(J) / beta",
    ),
    # geometry
    Fault(
        "blocks of the full inverse",
        "geometry.py",
        "return torch.cholesky_inverse(factor)",
        "return torch.linalg.inv(posterior_precision(metric, beta)) * (precision != 0)",
    ),
    Fault("J for Jᵀ", "geometry.py", "        return J.mT @ J\n", "        return J @ J.mT\n"),
    Fault(
        "β multiplies G instead of dividing it",
        "geometry.py",
        "mask * metric / beta",
        "mask * metric * beta",
    ),
    Fault(
        "shared Σ from the first example's metric",
        "geometry.py",
        "metric.mean(-3, keepdim=True)",
        "metric[..., :1, :, :]",
    ),
    Fault(
        "sign of the log-likelihood's Hessian",
        "geometry.py",
        "return -likelihoods.distortion(x, decoder(z), likelihood).sum()",
        "return likelihoods.distortion(x, decoder(z), likelihood).sum()",
    ),
    Fault(
        "sign of the Gauss–Newton Hessian",
        "geometry.py",
        "return -pullback_metric(J, ",
        "return pullback_metric(J, ",
    ),
    Fault(
        "precision applied twice",
        "geometry.py",
        "J.mT @ (precision.unsqueeze(-1) * J)",
        "J.mT @ (precision.unsqueeze(-1) ** 2 * J)",
    ),
    Fault(
        "always the same column",
        "geometry.py",
        "chosen = index.unsqueeze(-1) == axes",
        "chosen = 0 * index.unsqueeze(-1) == axes",
    ),
    # likelihoods
    Fault(
        "mean over pixels",
        "likelihoods.py",
        "0.5 * (x - output).square().sum(-1)",
        "0.5 * (x - output).square().mean(-1)",
    ),
    Fault(
        "distortion without the ½",
        "likelihoods.py",
        "0.5 * (x - output).square().sum(-1)",
        "(x - output).square().sum(-1)",
    ),
    Fault("Bernoulli precision p", "likelihoods.py", "return p * (1 - p)\n", "return p\n"),
    # posteriors
    Fault(
        "KL without −d",
        "posteriors.py",
        "sum((-2, -1)) - self.mean.shape[-1] - log_det",
        "sum((-2, -1)) - log_det",
    ),
    Fault(
        "log-determinant of the factor, not of Σ",
        "posteriors.py",
        "log_det = 2 * torch.diagonal",
        "log_det = torch.diagonal",
    ),
    Fault(
        "samples through the transposed factor",
        "posteriors.py",
        "(self.factor @ noise.unsqueeze(-1))",
        "(self.factor.mT @ noise.unsqueeze(-1))",
    ),
    Fault(
        "Σ = LᵀL",
        "posteriors.py",
        "return self.factor @ self.factor.mT",
        "return self.factor.mT @ self.factor",
    ),
    Fault(
        "KL with the arguments exchanged",
        "posteriors.py",
        "solve_triangular(factor_p, factor, upper=False)",
        "solve_triangular(factor, factor_p, upper=False)",
    ),
    Fault(
        "blocks not separated",
        "posteriors.py",
        "index[:, None] // size == index[None, :] // size",
        "index[:, None] // size >= index[None, :] // size",
    ),
    # models
    Fault(
        "decoder without its output function",
        "models.py",
        "super().__init__(*layers, ACTIVATIONS[output]())",
        "super().__init__(*layers, nn.Identity())",
        only("models", "output or config"),
    ),
    Fault(
        "tangents shifted by the bias",
        "models.py",
        "z, tangents = layer(z), tangents @ layer.weight.mT",
        "z, tangents = layer(z), layer(tangents)",
    ),
    Fault(
        "slope of the activation left out",
        "models.py",
        "tangents = slope * tangents",
        "tangents = 0 * slope + tangents",
    ),
    Fault(
        "slope taken after the activation",
        "models.py",
        "z, slope = jvp(layer, (z,), (torch.ones_like(z),))",
        "z, slope = jvp(layer, (layer(z),), (torch.ones_like(z),))",
    ),
    # training
    Fault(
        "loss summed over the batch",
        "training.py",
        "{name: value.mean() for name, value in terms.items()}",
        "{name: value.sum() for name, value in terms.items()}",
        only("training", "one_step"),
    ),
    Fault(
        "every member has the first one's β",
        "training.py",
        "[o.weights[name] for o in objectives]",
        "[objectives[0].weights[name] for o in objectives]",
        only("training", "member_of_a_sweep"),
    ),
    Fault(
        "the same order in every epoch",
        "training.py",
        "stream(s, _ORDER, epoch)",
        "stream(s, _ORDER, 0)",
        only("training", "visited"),
    ),
    Fault(
        "cosine over twice the steps",
        "training.py",
        "math.cos(math.pi * step / steps)",
        "math.cos(math.pi * step / (2 * steps))",
        only("training", "cosine_schedule"),
    ),
    Fault(
        "resuming with fresh parameters",
        "training.py",
        'value.copy_(tensors[f"parameter/{name}"])',
        'value.copy_(value + 0 * tensors[f"parameter/{name}"])',
        only("training", "resumes or continued"),
    ),
]


def run_tests(tests: tuple[str, ...], fault: Fault | None) -> tuple[int, str]:
    """Exit status of pytest on a copy of the library with the fault, and what it printed."""
    with tempfile.TemporaryDirectory(prefix="grae_mutation_") as folder:
        copy = Path(folder)
        python_only = shutil.ignore_patterns("__pycache__", "*.npz", "store", "widgets")
        shutil.copytree(ROOT / "grae_lib", copy / "grae_lib", ignore=python_only)
        (copy / "tests").mkdir()
        for path in (ROOT / "tests").glob("*.py"):
            shutil.copy(path, copy / "tests")
        if fault is not None:
            target = copy / "grae_lib" / fault.file
            target.write_text(target.read_text().replace(fault.old, fault.new))
        environment = os.environ | {
            "PYTHONPATH": folder,
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "--no-header"]
        command += ["-p", "no:cacheprovider", f"--rootdir={folder}", *tests]
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        return result.returncode, result.stdout + result.stderr


def first_failure(output: str) -> str:
    """Name of the first test that failed, without its folder."""
    found = re.search(r"^(?:FAILED|ERROR) tests/(\S+?\.py::[^\[\s]+)", output, re.MULTILINE)
    return found.group(1) if found else "an error before any test"


def misfits(faults: list[Fault]) -> list[str]:
    """Faults whose line is not found exactly once."""
    counts = [(ROOT / "grae_lib" / f.file).read_text().count(f.old) for f in faults]
    return [f"{f.name}: {n} × in {f.file}" for f, n in zip(faults, counts, strict=True) if n != 1]


def main() -> int:
    """Run all faults and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="faults tested at the same time")
    parser.add_argument("--only", default="", help="only faults whose name contains these words")
    settings = parser.parse_args()
    faults = [f for f in FAULTS if settings.only in f.name]
    wrong = misfits(faults)
    if wrong:
        print("these faults no longer fit a line of the library:", *wrong, sep="\n  ")
        return 2
    for tests in dict.fromkeys(f.tests for f in faults):
        status, output = run_tests(tests, None)
        if status:
            print(f"the tests fail without any fault:\n{output}")
            return 2
    print("| fault | in | caught first by |\n| --- | --- | --- |", flush=True)
    survivors = 0
    with ThreadPoolExecutor(settings.jobs) as pool:
        results = pool.map(lambda fault: run_tests(fault.tests, fault), faults)
        for fault, (status, output) in zip(faults, results, strict=True):
            caught = f"`{first_failure(output)}`" if status == 1 else "**nothing: it survives**"
            survivors += status != 1
            print(f"| {fault.name} | {fault.file} | {caught} |", flush=True)
    print(f"\n{len(faults) - survivors} of {len(faults)} faults caught.")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
