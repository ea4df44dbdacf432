"""What an experiment is, and how its list of jobs is run.

A `Job` is plain values: which data, model, objective and training. Jobs that differ only in seeds
and weights are trained together, several at a time, as one sweep; a sweep is what a worker gets.
The list runs through joblib, so the same command serves two cores, or a cluster through Dask or
Ray. Each finished run is on disk before the next begins, and each sweep leaves checkpoints, so an
interrupted experiment continues where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import joblib
import torch
from tqdm.auto import tqdm

from .. import data, models, objectives, results, storage, training

SCALES = ("smoke", "cpu", "gpu")
BACKENDS = ("loky", "sequential", "dask", "ray")

#: Members of one sweep. On one CPU core six cost 1.25 to 1.45 times less a member than alone, and
#: twelve overflow its cache where the objective needs all columns; on a GPU many fill the card.
MEMBERS = {"cpu": 6, "mps": 8, "cuda": 32}

_ONE_AT_A_TIME = threading.Lock()

#: The same on a CPU for models without hidden layers, whose steps are all calls and no arithmetic.
TINY_MEMBERS = 8


@dataclass(frozen=True)
class Job:
    """One training run, as plain values that JSON holds.

    name: unique in the experiment and fit for a file name. data: arguments of `data.load`, and
    n_train, n_test to keep only the first examples. model: arguments of `models.build`. objective:
    its class name and arguments. training: arguments of `fit_sweep` and the seed. labels: what the
    run is called in tables (method, beta, seed, …). store_decoder: keep the decoder's weights.
    """

    name: str
    data: dict[str, Any]
    model: dict[str, Any]
    objective: dict[str, Any]
    training: dict[str, Any]
    labels: dict[str, Any]
    store_decoder: bool = False

    def make_objective(self) -> objectives.Objective:
        """The objective that the job names."""
        settings = dict(self.objective)
        return getattr(objectives, settings.pop("name"))(**settings)


Measure = Callable[[models.AutoEncoder, data.Dataset, data.Dataset, Job], dict[str, Any]]


@dataclass(frozen=True)
class Experiment:
    """A question, the grid that answers it at each scale, and what is measured on each run.

    jobs: scale → the list of jobs. measure: (model, train, test, job) → metrics, plain values.
    claim: the statement of the sources that the experiment bears on.
    """

    name: str
    claim: str
    jobs: Callable[[str], list[Job]]
    measure: Measure
    needs: str = "nothing but the package"
    scales: dict[str, str] = field(default_factory=dict)


def load_data(job: Job) -> tuple[data.Dataset, data.Dataset]:
    """The job's training and test data."""
    settings = dict(job.data)
    n_train, n_test = settings.pop("n_train", None), settings.pop("n_test", None)
    train = data.load(split="train", verbose=False, **settings)
    test = data.load(split="test", verbose=False, **settings)
    return (
        train if n_train is None else train.subset(n_train),
        test if n_test is None else test.subset(n_test),
    )


def sweeps(jobs: Iterable[Job], device_type: str) -> list[list[Job]]:
    """Jobs in groups that can be trained together, as large as suits the device, in order.

    The grouping is a function of the whole list, so a resumed experiment forms the same groups.
    """
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        objective, settings = job.make_objective(), dict(job.training)
        settings.pop("seed")
        model = {k: v for k, v in job.model.items() if k != "seed"}
        key = json.dumps([job.data, model, objective.config, settings], sort_keys=True)
        groups.setdefault(key, []).append(job)
    found = []
    for group in groups.values():
        members = max(MEMBERS[device_type], 0 if group[0].model["hidden"] else TINY_MEMBERS)
        found += [group[i : i + members] for i in range(0, len(group), members)]
    return found


def _path(experiment: str, scale: str, job: Job, root: Path) -> Path:
    return results.folder(experiment, scale, root) / "runs" / f"{job.name}.json"


def _is_done(experiment: str, scale: str, job: Job, root: Path) -> bool:
    path = _path(experiment, scale, job, root)
    if not path.exists():
        return False
    record = results.read_run(path)
    if record["job"] != results.plain(asdict(job)):
        raise results.DamagedFile(
            f"{path} holds a run with other settings than {experiment} now states at scale "
            f"{scale}; move or delete it, or write to another folder with --root."
        )
    return True


def run_sweep(
    experiment: str, scale: str, jobs: list[Job], device: str, root: Path, threads: int | None
) -> list[Path]:
    """Train, measure and store one sweep: what a worker does. Returns the new records' paths.

    A record that is already there is left as it is. One sweep at a time in a process: PyTorch's
    forward-mode differentiation and its seeding are not safe between threads, and a Dask worker
    may have several.
    """
    with _ONE_AT_A_TIME:
        return _run_sweep(experiment, scale, jobs, device, root, threads)


def _run_sweep(
    experiment: str, scale: str, jobs: list[Job], device: str, root: Path, threads: int | None
) -> list[Path]:
    from . import get

    if threads is not None:
        torch.set_num_threads(threads)
    measure = get(experiment).measure
    train, test = load_data(jobs[0])
    members = [models.build(**job.model) for job in jobs]
    settings = dict(jobs[0].training)
    settings.pop("seed")
    where = results.folder(experiment, scale, root)
    digest = hashlib.sha256("\n".join(job.name for job in jobs).encode()).hexdigest()[:16]
    checkpoint = where / "checkpoints" / f"{digest}.safetensors"
    histories = training.fit_sweep(
        members,
        train,
        [job.make_objective() for job in jobs],
        seeds=[job.training["seed"] for job in jobs],
        device=device,
        checkpoint=checkpoint,
        progress=False,
        **settings,
    )
    paths = []
    for job, model, history in zip(jobs, members, histories, strict=True):
        if _path(experiment, scale, job, root).exists():
            continue
        started = time.perf_counter()
        finished = history.status == "finished"
        record = {
            "format": results.FORMAT,
            "experiment": experiment,
            "scale": scale,
            "run": job.name,
            "job": asdict(job),
            "status": history.status,
            "metrics": measure(model, train, test, job) if finished else {},
            "history": {"steps": history.steps, "terms": history.terms},
        }
        if job.store_decoder and finished:
            record["decoder"] = _store_decoder(where, job, model, test)
        origin = {"name": train.name, "source": train.source, "sha256": train.sha256}
        seconds = history.seconds / len(jobs) + time.perf_counter() - started
        record["provenance"] = results.provenance(history.device, seconds, origin)
        paths.append(results.write_run(record, root))
    checkpoint.unlink(missing_ok=True)
    return paths


def _store_decoder(where: Path, job: Job, model: models.AutoEncoder, test: data.Dataset) -> dict:
    """Write the decoder with the means of the first two test images of each class."""
    chosen = [int(i) for c in range(10) for i in (test.labels == c).nonzero()[:2, 0]]
    # Other data have other labels: the first examples do.
    chosen = chosen or list(range(min(20, len(test))))
    file = _decoder(job)
    about = {k: str(v) for k, v in job.labels.items()}
    numbers = results.write_decoder(
        where / file, model.cpu(), test.x[chosen].cpu(), test.labels[chosen].cpu(), about
    )
    return {"file": file, "sha256": storage.sha256(where / file), "recheck": numbers}


def plan(experiment: Experiment, scale: str, device: str, root: Path) -> dict[str, Any]:
    """What a run would do: jobs in all and still to do, sweeps, expected seconds and bytes.

    Seconds: from a few timed steps of one sweep of each kind and one timed measurement.
    """
    _check_scale(scale)
    jobs = experiment.jobs(scale)
    todo = [job for job in jobs if not _is_done(experiment.name, scale, job, root)]
    kind = training.choose_device(device).type
    groups = sweeps(todo, kind)
    seconds: dict[str, float] = {}
    for group in groups:
        key = _kind(group[0])
        if key not in seconds:
            seconds[key] = _time_of(experiment, group, device)
    expected = sum(seconds[_kind(group[0])] * len(group) for group in groups)
    decoder_bytes = sum(
        2 * sum(p.numel() for p in models.build(**job.model).decoder.parameters()) + 20_000
        for job in todo
        if job.store_decoder
    )
    return {
        "jobs": len(jobs),
        "todo": len(todo),
        "sweeps": len(groups),
        "seconds": expected,
        "bytes": decoder_bytes + 4_000 * len(todo),
    }


def _check_scale(scale: str) -> None:
    if scale not in SCALES:
        raise ValueError(f"scale {scale!r} is unknown; choose one of {', '.join(SCALES)}.")


def _kind(job: Job) -> str:
    return json.dumps([job.make_objective().config, job.model["hidden"], job.training["steps"]])


def _time_of(experiment: Experiment, group: list[Job], device: str) -> float:
    """Expected seconds a run of the group's kind."""
    # Steps of tiny models take a millisecond and drown in the start-up if there are few of them.
    steps = 20 if group[0].model["hidden"] else 200
    train, test = load_data(group[0])
    settings = dict(group[0].training)
    settings.pop("seed")
    total = settings.pop("steps")

    def timed(n: int) -> float:
        members = [models.build(**job.model) for job in group]
        started = time.perf_counter()
        training.fit_sweep(
            members,
            train,
            [job.make_objective() for job in group],
            seeds=[job.training["seed"] for job in group],
            steps=n,
            device=device,
            progress=False,
            **settings,
        )
        return time.perf_counter() - started

    timed(2)
    start = timed(2)
    per_step = max(timed(2 + steps) - start, 0.0) / steps
    started = time.perf_counter()
    experiment.measure(models.build(**group[0].model), train, test, group[0])
    measuring = time.perf_counter() - started
    return (start + per_step * total) / len(group) + measuring


def run(
    experiment: Experiment,
    scale: str,
    *,
    device: str = "auto",
    backend: str = "loky",
    workers: int = 1,
    root: Path = results.STORE,
    progress: bool = True,
) -> list[Path]:
    """Run what is still to do of an experiment and update the manifest; returns all new records.

    backend: "sequential" runs in this process; "loky" on `workers` processes of this machine;
    "dask" on the cluster of the current client, or of the scheduler that the environment variable
    DASK_SCHEDULER_ADDRESS names; "ray" on the cluster that Ray finds. On a cluster `root` and the
    data are folders that all machines share, and `workers` > 1 means one thread a sweep. Interrupt
    at any time: finished runs are kept and sweeps resume from checkpoints.
    """
    _check_scale(scale)
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; choose one of {', '.join(BACKENDS)}.")
    if workers < 1:
        raise ValueError(f"{workers} workers were asked for; expected an integer ≥ 1.")
    # A worker may start in another folder.
    root = Path(root).absolute()
    kind = training.choose_device(device).type
    groups = sweeps(experiment.jobs(scale), kind)
    todo = [g for g in groups if not all(_is_done(experiment.name, scale, j, root) for j in g)]
    stored = [_path(experiment.name, scale, job, root) for group in groups for job in group]
    results.check_against_manifest([path for path in stored if path.exists()], root)
    if progress:
        members = sum(len(g) for g in todo)
        print(f"{experiment.name}, scale {scale}, on {kind}: {members} runs in {len(todo)} sweeps")
    if kind == "cuda" and workers > 1:
        raise ValueError("one GPU takes one worker: its sweeps are already batched. Use --jobs 1.")
    _client = _connect(backend)  # held: Dask itself keeps only a weak reference
    _clear(experiment.name, scale, todo, root)
    threads = 1 if workers > 1 else None
    calls = (
        joblib.delayed(run_sweep)(experiment.name, scale, group, device, root, threads)
        for group in todo
    )
    paths: list[Path] = []
    with joblib.parallel_config(backend=backend, n_jobs=workers):
        finished = joblib.Parallel(return_as="generator_unordered", batch_size=1)(calls)
        for written in tqdm(finished, total=len(todo), unit="sweep", disable=not progress):
            paths += written
    # A worker that was killed may have left half a file, and all of them are done by now.
    storage.remove_leftovers(results.folder(experiment.name, scale, root))
    results.write_manifest(root)
    return sorted(paths)


def _clear(experiment: str, scale: str, todo: list[list[Job]], root: Path) -> None:
    """Remove what killed writers left, and let the manifest forget what is to be made again."""
    where = results.folder(experiment, scale, root)
    storage.remove_leftovers(where)
    for job in (job for group in todo for job in group):
        if job.store_decoder and not _path(experiment, scale, job, root).exists():
            (where / _decoder(job)).unlink(missing_ok=True)
    if results.read_manifest(root):
        results.write_manifest(root)


def _decoder(job: Job) -> str:
    return f"decoders/{job.name}.safetensors"


def _connect(backend: str) -> object:
    """Make joblib's Dask or Ray backend usable; returns the Dask client.

    Raises ValueError that says what is missing.
    """
    if backend == "dask":
        try:
            import distributed
        except ImportError as error:
            raise ValueError(
                "backend 'dask' needs the packages dask and distributed: "
                "pip install 'grae-lib[cluster]'."
            ) from error
        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        try:
            return distributed.get_client()
        except ValueError as error:
            if not address:
                raise ValueError(
                    "backend 'dask' found no cluster; create a distributed.Client first, or set "
                    "DASK_SCHEDULER_ADDRESS to the scheduler's address, such as "
                    "tcp://127.0.0.1:8786."
                ) from error
            return distributed.Client(address)
    if backend == "ray":
        try:
            from ray.util.joblib import register_ray  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ValueError("backend 'ray' needs the package ray: pip install ray.") from error
        register_ray()
    return None
