"""What a training step costs, as ratios that a busy or a slow machine leaves alone.

Steps of different objectives are timed in turns within one run and divided pairwise, and the median
of the ratios is taken: whatever slows the machine for a while slows both sides of a pair.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch

from . import models, objectives, training

#: The setting in which steps are compared.
SETTING = {"shape": (1, 28, 28), "latent_dim": 8, "hidden": (256, 256), "output": "identity"}
BATCH, BETA = 128, 0.1

#: Name → objective, and how many times a β-VAE's step it may cost (None: no target).
STEPS: dict[str, tuple[objectives.Objective, float | None]] = {
    "β-VAE": (objectives.BetaVAE(BETA), None),
    "GRAE, one column": (objectives.GRAE(BETA, "one_column"), 1.6),
    "GRAE, columns": (objectives.GRAE(BETA, "columns"), None),
    "GRAE, log-det": (objectives.GRAE(BETA), 5.0),
}

#: Sizes of sweeps whose steps are timed for the line a + bK, in the setting of mnist-objectives.
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24)
MEDIUM = SETTING | {"hidden": (128, 128)}

#: The sweep is of small models: those are what the many runs of a chapter train.
SMALL = SETTING | {"hidden": (64, 64)}
SWEEP_STEPS, SWEEP_BATCH = 40, 64


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def stepper(objective: objectives.Objective, device: torch.device) -> Callable[[int], float]:
    """A function that takes n training steps (loss, gradient, Adam) and returns seconds a step."""
    model = models.build(**SETTING).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=device.type == "cuda")
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, *SETTING["shape"], generator=generator).to(device)

    def take(n: int) -> float:
        started = _clock(device)
        for _ in range(n):
            optimizer.zero_grad(set_to_none=True)
            objective(model, x, generator)["total"].mean().backward()
            optimizer.step()
        return (_clock(device) - started) / n

    return take


def step_times(device: torch.device, rounds: int, steps: int = 8) -> dict[str, list[float]]:
    """Seconds a step of each objective in each round, the objectives taking turns."""
    takes = {name: stepper(objective, device) for name, (objective, _) in STEPS.items()}
    for take in takes.values():
        take(3)
    found: dict[str, list[float]] = {name: [] for name in takes}
    for _ in range(rounds):
        for name, take in takes.items():
            found[name].append(take(steps))
    return found


def sweep_times(
    objective: objectives.Objective, device: torch.device, members: int, steps: int = SWEEP_STEPS
) -> tuple[float, float]:
    """Seconds of `members` trainings one after another, and of the same ones as one sweep."""
    x = torch.rand(4096, *SMALL["shape"], generator=torch.Generator().manual_seed(0)).to(device)
    settings = {
        "steps": steps,
        "batch_size": SWEEP_BATCH,
        "device": str(device),
        "progress": False,
        "log_every": steps,
    }

    def made() -> list[models.AutoEncoder]:
        return [models.build(**SMALL, seed=seed) for seed in range(members)]

    started = _clock(device)
    for seed, model in enumerate(made()):
        training.fit(model, x, objective, seed=seed, **settings)
    middle = _clock(device)
    training.fit_sweep(made(), x, [objective] * members, **settings)
    return middle - started, _clock(device) - middle


def size_times(
    objective: objectives.Objective, device: torch.device, rounds: int = 5, steps: int = 12
) -> dict[int, float]:
    """Seconds a step of sweeps of each of SIZES, median of interleaved rounds."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4096, *MEDIUM["shape"], generator=generator).to(device)

    def timed(members: int, n: int) -> float:
        made = [models.build(**MEDIUM, seed=seed) for seed in range(members)]
        settings = {"batch_size": SWEEP_BATCH, "progress": False, "log_every": n}
        started = _clock(device)
        training.fit_sweep(made, x, [objective] * members, steps=n, device=str(device), **settings)
        return _clock(device) - started

    found: dict[int, list[float]] = {members: [] for members in SIZES}
    for _ in range(rounds):
        for members, times in found.items():
            # What a sweep does once, before its first step, drops out of the difference.
            short = timed(members, 2)
            times.append((timed(members, 2 + steps) - short) / steps)
    return {members: statistics.median(times) for members, times in found.items()}


def line(times: dict[int, float], through: tuple[int, int] = (2, 16)) -> tuple[float, float]:
    """a and b of the line a + b·K through the times of two sizes of sweep, in their unit."""
    low, high = through
    slope = (times[high] - times[low]) / (high - low)
    return times[low] - slope * low, slope


def report(device: str = "auto", rounds: int = 15, members: int = 16) -> Iterator[str]:
    """The lines that the command prints, as they are measured.

    Raises ValueError for fewer than three rounds or fewer than two members.
    """
    for name, value, least in (("rounds", rounds, 3), ("models", members, 2)):
        if value < least:
            raise ValueError(f"--{name} {value} was given; expected an integer ≥ {least}.")
    where = training.choose_device(device)
    what = torch.cuda.get_device_name(where) if where.type == "cuda" else where.type
    shape = "×".join(map(str, SETTING["shape"]))
    yield (
        f"{what}, {torch.get_num_threads()} threads, torch {torch.__version__}; data {shape}, "
        f"d = {SETTING['latent_dim']}, hidden {SETTING['hidden']}, batch {BATCH}, "
        f"median of {rounds} rounds"
    )
    times = step_times(where, rounds)
    base = times["β-VAE"]
    yield f"{'step':<20}{'ms':>8}{'ratio':>8}{'quartiles':>14}  target"
    for name, (_, target) in STEPS.items():
        ratios = [t / b for t, b in zip(times[name], base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        verdict = (
            "" if target is None else f"≤ {target:g}: {'met' if middle <= target else 'missed'}"
        )
        milliseconds = 1000 * statistics.median(times[name])
        yield f"{name:<20}{milliseconds:8.2f}{middle:8.2f}{low:8.2f}–{high:.2f}  {verdict}"
    yield (
        f"sweep of {members} models, hidden {SMALL['hidden']}, batch {SWEEP_BATCH}, "
        f"{SWEEP_STEPS} steps, against as many single trainings, median of 3"
    )
    target = 8.0 if where.type == "cuda" else 1.0
    for name in ("β-VAE", "GRAE, one column"):
        objective = STEPS[name][0]
        sweep_times(objective, where, members, steps=2)
        pairs = [sweep_times(objective, where, members) for _ in range(3)]
        gain = statistics.median(alone / together for alone, together in pairs)
        alone, together = (statistics.median(part) for part in zip(*pairs, strict=True))
        yield (
            f"{name:<20}{alone:8.2f} s alone{together:8.2f} s as a sweep  {gain:.2f} times the "
            f"throughput  ≥ {target:g}: {'met' if gain >= target else 'missed'}"
        )
    yield (
        f"ms a step of a sweep of K models, hidden {MEDIUM['hidden']}, batch {SWEEP_BATCH}, and "
        "the line a + bK through K = 2 and 16"
    )
    for name in ("β-VAE", "GRAE, one column"):
        found = {k: 1000 * t for k, t in size_times(STEPS[name][0], where).items()}
        a, b = line(found)
        yield f"{name}: a = {a:.2f}, b = {b:.2f}"
        yield f"{'K':>6}{'measured':>10}{'line':>8}{'a model':>9}"
        for members, milliseconds in found.items():
            expected = f"{a + b * members:8.1f}" if members > 1 else f"{'–':>8}"
            yield f"{members:6}{milliseconds:10.1f}{expected}{milliseconds / members:9.2f}"
