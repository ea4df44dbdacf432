"""One training loop: `fit_sweep` trains several models of one architecture as one batched job, and
`fit` is a sweep of one.

The members' parameters are stacked, the loss is mapped over them with `vmap`, and one Adam steps
them all; members never mix, so each gives what it would have given alone, up to the rounding of a
batched matrix product. The data stay on the device and batches are gathered by index.

Randomness has no state. The order of epoch e and the noise of a block of steps are functions of
(seed, stream, e or block), so a run that is resumed at any checkpoint continues bit for bit on the
CPU, and the global generators of PyTorch are neither read nor written.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from tqdm.auto import tqdm

from . import storage
from .models import AutoEncoder
from .objectives import Objective

#: Steps whose noise is drawn at once: few calls of the generator, little memory.
NOISE_BLOCK = 64

#: Streams of random numbers that belong to one seed.
_ORDER, _NOISE = 0, 1

SCHEDULES = ("constant", "cosine")


class TrainingDiverged(RuntimeError):
    """A loss stopped being finite; `history` holds what was recorded until then."""

    def __init__(self, message: str, history: History):
        super().__init__(message)
        self.history = history


class CheckpointError(RuntimeError):
    """A checkpoint is damaged or belongs to another run."""


@dataclass
class History:
    """What one member's training recorded.

    steps: the step numbers recorded, counted from 1. terms: for each named term of the objective
    its mean over the batch at those steps, in nats. status: "finished", or "diverged at step k".
    seconds: wall time of the whole sweep that the member was part of, resumed parts added up and
    the writing of checkpoints left out.
    """

    objective: str
    seed: int
    device: str
    dtype: str
    status: str = "finished"
    seconds: float = 0.0
    sweep_size: int = 1
    steps: list[int] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)

    def to_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return asdict(self)


def choose_device(device: str = "auto") -> torch.device:
    """Device "auto" is CUDA where there is one and the CPU otherwise; "cpu", "cuda", "mps" insist.

    MPS must be asked for: not every forward-mode derivative exists there.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    kind = str(device).split(":")[0]
    if not available.get(kind, False):
        usable = ", ".join(k for k, v in available.items() if v)
        raise ValueError(
            f"device {device!r} is not available here; usable: auto, {usable}."
            if kind in available
            else f"device {device!r} is unknown; choose auto, cpu, cuda or mps."
        )
    return torch.device(device)


def stream(seed: int, kind: int, block: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of one block of one stream of a seed. Equal arguments, equal numbers."""
    state = np.random.SeedSequence([seed, kind, block]).generate_state(2, np.uint32)
    generator = torch.Generator(device)
    generator.manual_seed(int(state[0]) << 31 ^ int(state[1]))
    return generator


def _check_number(name: str, value, minimum: float, kind=int) -> None:
    accepted = (int,) if kind is int else (int, float)
    ok = isinstance(value, accepted) and not isinstance(value, bool)
    if not ok or not math.isfinite(value) or value < minimum or (kind is float and value == 0):
        what = f"an integer ≥ {minimum}" if kind is int else "a finite number > 0"
        raise ValueError(f"{name}={value!r} was given; expected {what}.")


def _check_data(data, model: AutoEncoder, batch_size: int) -> Tensor:
    x = data if isinstance(data, Tensor) else data.x
    if tuple(x.shape[1:]) != model.shape:
        raise ValueError(
            f"the data have examples of shape {tuple(x.shape[1:])}, the model takes {model.shape}; "
            "build the model with shape=data.shape."
        )
    if not x.is_floating_point():
        raise ValueError(f"the data are {x.dtype}; expected floating point, images in [0, 1].")
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(
            f"the data hold {bad} NaN or infinite entries of {x.numel()}; remove or replace them "
            "before training."
        )
    if len(x) < batch_size:
        raise ValueError(
            f"batch_size={batch_size} is larger than the {len(x)} examples; choose at most that."
        )
    return x


class _Program(nn.Module):
    """Model and objective as one module, so that `functional_call` can swap all parameters."""

    def __init__(self, model: AutoEncoder, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x: Tensor, noise: dict, weights: dict) -> dict[str, Tensor]:
        terms = self.objective.terms(self.model, x, noise, weights)
        return {name: value.mean() for name, value in terms.items()}


class _Batches:
    """Indices and noise of every step, for all members; functions of the seeds alone."""

    def __init__(
        self, x: Tensor, seeds: Sequence[int], objective: Objective, latent_dim: int, b: int
    ):
        self.n, self.b, self.seeds = len(x), b, seeds
        self.objective, self.latent_dim = objective, latent_dim
        self.device, self.dtype = x.device, x.dtype
        self.per_epoch = self.n // b
        self.epoch = self.block = -1

    def at(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Row indices (K, B) and noise (K, B, …) of a step, counted from 0."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            orders = [
                torch.randperm(self.n, generator=stream(s, _ORDER, epoch)) for s in self.seeds
            ]
            self.order, self.epoch = torch.stack(orders).to(self.device), epoch
        block, within = divmod(step, NOISE_BLOCK)
        if block != self.block:
            self.noise, self.block = self._draw(block), block
        rows = slice(within * self.b, (within + 1) * self.b)
        index = self.order[:, place * self.b : (place + 1) * self.b]
        return index, {name: value[:, rows] for name, value in self.noise.items()}

    def _draw(self, block: int) -> dict[str, Tensor]:
        drawn = [
            self.objective.noise(NOISE_BLOCK * self.b, self.latent_dim, stream(s, _NOISE, block))
            for s in self.seeds
        ]
        return {
            name: torch.stack([d[name] for d in drawn]).to(
                self.device, self.dtype if drawn[0][name].is_floating_point() else None
            )
            for name in drawn[0]
        }


def _fingerprint(settings: dict) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def data_hash(data) -> str:
    """SHA-256 of the examples: a Dataset's own, or of a tensor's bytes."""
    if not isinstance(data, Tensor):
        return data.sha256
    return hashlib.sha256(data.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def parameters_hash(model: nn.Module) -> str:
    """SHA-256 of all parameters of a model, by name."""
    return _content_hash(dict(model.state_dict()), "")


def fit_sweep(
    models: Sequence[AutoEncoder],
    data,
    objectives: Sequence[Objective],
    *,
    steps: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    schedule: str = "constant",
    seeds: Sequence[int] | None = None,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
    log_every: int = 50,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 500,
    progress: bool = True,
) -> list[History]:
    """Train several models of one architecture together; they are updated in place.

    models, objectives, seeds: one of each a member. Models share their `config`; objectives their
    class and settings, while weights (β, a penalty's weight) may differ. A seed sets the member's
    order of the data and its noise; initial parameters are the model's own. data: a `Dataset`, or
    a tensor (N, *shape). Loss: the batch mean of the objective's total, in nats; Adam with rate
    `lr`, constant or annealed to zero on a cosine. A partial last batch of an epoch is left out.

    checkpoint: a file, written atomically every `checkpoint_every` steps and at the end; where it
    exists and belongs to the same run, training resumes from it (bit for bit on the CPU).

    A member whose loss stops being finite is recorded as "diverged at step k"; the others go on.
    Raises ValueError for bad input, CheckpointError for a damaged or foreign checkpoint.
    """
    models, objectives = list(models), list(objectives)
    seeds = list(range(len(models))) if seeds is None else list(seeds)
    if not models or not len(models) == len(objectives) == len(seeds):
        raise ValueError(
            f"{len(models)} models, {len(objectives)} objectives and {len(seeds)} seeds were "
            "given; a sweep needs the same number of each, at least one."
        )
    for kind, configs in (
        ("models", [m.config for m in models]),
        ("objectives", [o.config for o in objectives]),
    ):
        for other in configs[1:]:
            differ = [
                k for k in other.keys() | configs[0].keys() if other.get(k) != configs[0].get(k)
            ]
            if differ:
                raise ValueError(
                    f"the {kind} of a sweep must differ only in weights and seeds; these differ in "
                    f"{', '.join(sorted(differ))}. Train them in separate sweeps."
                )
    for name, value, minimum in (
        ("steps", steps, 1),
        ("batch_size", batch_size, 1),
        ("log_every", log_every, 1),
        ("checkpoint_every", checkpoint_every, 1),
    ):
        _check_number(name, value, minimum)
    _check_number("lr", lr, 0, float)
    for seed in seeds:
        _check_number("seed", seed, 0)
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule {schedule!r} is unknown; choose one of {', '.join(SCHEDULES)}.")
    x = _check_data(data, models[0], batch_size)
    where = choose_device(device)
    for model, objective in zip(models, objectives, strict=True):
        objective.check(model, x)
    if len({id(model) for model in models}) < len(models):
        raise ValueError("a model is named twice in the sweep; give each member its own.")
    frozen = [{k for k, v in m.named_parameters() if not v.requires_grad} for m in models]
    if any(names != frozen[0] for names in frozen):
        raise ValueError("the models of a sweep must have the same frozen parameters.")

    settings = {
        "models": models[0].config,
        "frozen": sorted(frozen[0]),
        "start": [parameters_hash(m) for m in models],
        "objectives": objectives[0].config,
        "weights": [o.weights for o in objectives],
        "seeds": seeds,
        "batch_size": batch_size,
        "lr": lr,
        "schedule": schedule,
        "steps": steps if schedule == "cosine" else "any",
        "dtype": str(dtype),
        "data": data_hash(data),
        "log_every": log_every,
    }
    histories = [
        History(repr(o), s, str(where), str(dtype), sweep_size=len(models))
        for o, s in zip(objectives, seeds, strict=True)
    ]
    if progress:
        members = f"{len(models)} models, " if len(models) > 1 else ""
        print(f"training: {members}{objectives[0]!r}, {steps} steps of {batch_size}, on {where}")

    for model in models:
        model.to(device=where, dtype=dtype)
    x = x.to(device=where, dtype=dtype)
    programs = [_Program(m, o) for m, o in zip(models, objectives, strict=True)]
    program = programs[0]
    stacked, buffers = stack_module_state(programs)
    # A parameter that is frozen in the models stays as it is: decoders can be held fixed.
    trainable = {k for k, v in program.named_parameters() if v.requires_grad}
    parameters = {k: v.detach().requires_grad_(k in trainable) for k, v in stacked.items()}
    weights = {
        name: torch.tensor([o.weights[name] for o in objectives], device=where, dtype=dtype)
        for name in objectives[0].weights
    }
    # On the CPU the plain loop over tensors of Adam is as fast; on a GPU fused means one kernel.
    optimizer = torch.optim.Adam(
        [parameters[k] for k in parameters if k in trainable], lr=lr, fused=where.type == "cuda"
    )
    first_bad = torch.full((len(models),), -1, device=where)

    def member_terms(own, x, noise, weights):
        return functional_call(program, own, (x, noise, weights))

    def one_member(own, x, noise, weights):
        # Mapping over a single member would only cost time, about as much as a small model's step.
        arguments = ({k: v[0] for k, v in values.items()} for values in (own, noise, weights))
        own, noise, weights = arguments
        return {k: v.unsqueeze(0) for k, v in member_terms(own, x[0], noise, weights).items()}

    many = vmap(member_terms) if len(models) > 1 else one_member
    batches = _Batches(x, seeds, objectives[0], models[0].latent_dim, batch_size)
    state = _State(parameters, optimizer, first_bad, histories, _fingerprint(settings))
    checkpoint = None if checkpoint is None else Path(checkpoint)
    done = state.load(checkpoint) if checkpoint is not None and checkpoint.exists() else 0
    if done > steps:
        raise CheckpointError(
            f"{checkpoint} is at step {done}, beyond the {steps} asked for; ask for at least "
            f"{done} steps, or name another file."
        )
    if done and progress:
        print(f"resuming from {checkpoint} at step {done}")

    started, before = time.perf_counter(), histories[0].seconds
    bar = tqdm(range(done, steps), initial=done, total=steps, disable=not progress, leave=False)
    for step in bar:
        if schedule == "cosine":
            optimizer.param_groups[0]["lr"] = 0.5 * lr * (1 + math.cos(math.pi * step / steps))
        index, noise = batches.at(step)
        optimizer.zero_grad(set_to_none=True)
        terms = many({**parameters, **buffers}, x[index], noise, weights)
        # The sum over members only starts the backward pass: each has its own parameters.
        terms["total"].sum().backward()
        optimizer.step()
        bad = ~torch.isfinite(terms["total"].detach())
        first_bad.copy_(torch.where(bad & (first_bad < 0), step + 1, first_bad))
        if (step + 1) % log_every == 0 or step + 1 == steps:
            values = {name: value.tolist() for name, value in terms.items()}
            for k, history in enumerate(histories):
                history.steps.append(step + 1)
                for name, value in values.items():
                    history.terms.setdefault(name, []).append(value[k])
            if bool((first_bad >= 0).all()):
                break
        if checkpoint is not None and ((step + 1) % checkpoint_every == 0 or step + 1 == steps):
            writing = time.perf_counter()
            for history in histories:
                history.seconds = before + writing - started
            state.save(checkpoint, step + 1)
            # Not counted: the time in the file could not include its own writing.
            started += time.perf_counter() - writing

    # The loss of the last step is taken before its update: what the update left counts as well.
    for value in parameters.values():
        bad = ~torch.isfinite(value.detach()).flatten(1).all(1)
        first_bad.copy_(torch.where(bad & (first_bad < 0), steps, first_bad))
    for k, history in enumerate(histories):
        history.seconds = before + time.perf_counter() - started
        if int(first_bad[k]) >= 0:
            history.status = f"diverged at step {int(first_bad[k])}"
    with torch.no_grad():
        for k, member in enumerate(programs):
            for name, target in member.named_parameters():
                target.copy_(parameters[name][k])
    return histories


def fit(
    model: AutoEncoder,
    data,
    objective: Objective,
    *,
    steps: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    device: str = "auto",
    **settings,
) -> History:
    """Train one model in place: a sweep of one; see `fit_sweep` for the arguments.

    Raises TrainingDiverged, naming the step, if the loss stops being finite.
    """
    (history,) = fit_sweep(
        [model],
        data,
        [objective],
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        seeds=[seed],
        device=device,
        **settings,
    )
    if history.status != "finished":
        raise TrainingDiverged(
            f"{history.objective}, seed {seed}: {history.status} of {steps}, the loss is no longer "
            f"finite. Lower the learning rate (now {lr}), raise β, or train in float64.",
            history,
        )
    return history


def _content_hash(tensors: dict[str, Tensor], record: str) -> str:
    """SHA-256 of names, types, shapes and bytes, and of the record: safetensors has no checksum."""
    found = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@dataclass
class _State:
    """Everything that a resumed run needs; one safetensors file."""

    parameters: dict[str, Tensor]
    optimizer: torch.optim.Adam
    first_bad: Tensor
    histories: list[History]
    fingerprint: str

    def save(self, path: Path, step: int) -> None:
        tensors = {f"parameter/{k}": v.detach() for k, v in self.parameters.items()}
        for name, value in self.parameters.items():
            for key, moment in self.optimizer.state[value].items():
                tensors[f"adam/{key}/{name}"] = moment
        tensors["first_bad"] = self.first_bad
        record = {
            "step": step,
            "fingerprint": self.fingerprint,
            "histories": [h.to_dict() for h in self.histories],
        }
        text = json.dumps(record)
        metadata = {"checkpoint": text, "sha256": _content_hash(tensors, text)}
        storage.write_safetensors(path, tensors, metadata)

    def load(self, path: Path) -> int:
        try:
            tensors, metadata = storage.read_safetensors(path)
            record = json.loads(metadata["checkpoint"])
            if metadata["sha256"] != _content_hash(tensors, metadata["checkpoint"]):
                raise storage.DamagedFile("its content does not match the SHA-256 it was given")
        except (storage.DamagedFile, KeyError, json.JSONDecodeError) as error:
            raise CheckpointError(
                f"{path} is not a readable checkpoint ({error}); delete it to start again, or name "
                "another file."
            ) from error
        if record["fingerprint"] != self.fingerprint:
            raise CheckpointError(
                f"{path} was written by a run with another architecture, objective, seed, data or "
                "settings; name another file, or delete it to start again."
            )
        device = self.first_bad.device
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(tensors[f"parameter/{name}"])
                if not value.requires_grad:
                    continue
                self.optimizer.state[value] = {
                    key: tensors[f"adam/{key}/{name}"].to(device if key != "step" else "cpu")
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
            self.first_bad.copy_(tensors["first_bad"])
        self.histories[:] = [History(**h) for h in record["histories"]]
        return record["step"]
