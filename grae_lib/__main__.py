"""Command line: python -m grae_lib COMMAND; --help everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import data as data_module
from . import experiments, results, storage
from .training import CheckpointError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run, check and inspect the experiments of the book.",
)
data_app = typer.Typer(no_args_is_help=True, help="Fetch and verify data sets.")
results_app = typer.Typer(no_args_is_help=True, help="Verify and show stored results.")
app.add_typer(data_app, name="data")
app.add_typer(results_app, name="results")
claims_app = typer.Typer(
    no_args_is_help=True, help="The ledger, and the numbers in the text that are bound to it."
)
app.add_typer(claims_app, name="claims")

Root = Annotated[Path, typer.Option(help="Folder of the store.")]


@app.command("run")
def run_command(
    experiment: Annotated[str, typer.Argument(help=", ".join(experiments.REGISTRY))],
    scale: Annotated[str, typer.Option(help="smoke, cpu or gpu.")] = "smoke",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    backend: Annotated[str, typer.Option(help=", ".join(experiments.BACKENDS))] = "loky",
    jobs: Annotated[int, typer.Option(help="Sweeps at a time.")] = 1,
    root: Root = results.STORE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
) -> None:
    """Run what is still to do of an experiment; interrupt and repeat to resume."""
    chosen = experiments.get(experiment)
    if jobs < 1:
        raise ValueError(f"--jobs {jobs} was given; expected an integer ≥ 1.")
    if dry_run:
        found = experiments.plan(chosen, scale, device, root)
        on_more = f" ({_duration(found['seconds'] / jobs)} on {jobs})" if jobs > 1 else ""
        print(
            f"{experiment}, scale {scale}: {found['jobs']} runs, {found['todo']} to do in "
            f"{found['sweeps']} sweeps; about {_duration(found['seconds'])} on one worker"
            f"{on_more}, {found['bytes'] / 1e6:.2f} MB on disk."
        )
        return
    written = experiments.run(
        chosen, scale, device=device, backend=backend, workers=jobs, root=root
    )
    print(f"{len(written)} new records in {results.folder(experiment, scale, root)}")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"


@app.command("list")
def list_command() -> None:
    """The experiments, what each bears on and what it needs."""
    for name, experiment in experiments.REGISTRY.items():
        print(f"{name}\n    {experiment.claim}\n    needs {experiment.needs}")


@results_app.command("verify")
def verify_command(root: Root = results.STORE) -> None:
    """Recompute every hash and every stored decoder's numbers; exit 1 if anything differs."""
    faults = results.verify(root)
    for fault in faults:
        print(fault)
    if faults:
        print(f"{len(faults)} faults in {root}")
        raise typer.Exit(1)
    manifest = storage.read_json(Path(root) / "manifest.json")
    decoders = sum(name.endswith(".safetensors") for name in manifest)
    print(
        f"{len(manifest)} files and {decoders} decoders verified in {root}, "
        f"{results.size(root) / 1e6:.2f} MB"
    )


@results_app.command("show")
def show_command(
    experiment: str,
    metric: str,
    by: Annotated[str, typer.Option(help="Labels, separated by commas.")] = "method,beta",
    scale: Annotated[str | None, typer.Option(help="smoke, cpu or gpu; default: largest.")] = None,
    root: Root = results.STORE,
) -> None:
    """Mean, standard deviation over seeds and count of a metric, as a table."""
    experiments.get(experiment)
    records = results.runs(experiment, scale, root)
    names = tuple(by.split(","))
    labels = set(records[0]["job"]["labels"])
    known = sorted(set().union(*(r["metrics"] for r in records)))
    if not set(names) <= labels or metric not in known:
        raise ValueError(
            f"metric {metric!r} by {by!r}: labels are {', '.join(sorted(labels))}; metrics are "
            f"{', '.join(known)}."
        )
    print(f"{experiment}, scale {records[0]['scale']}: {metric}")
    for key, (mean, spread, count) in results.table(records, names, metric).items():
        deviation = f"± {spread:.4f}" if count > 1 else "         "
        print("  ".join(f"{k!s:>18}" for k in key), f"{mean:12.4f} {deviation}  ({count})")


@claims_app.command("show")
def claims_show_command(
    claim: Annotated[str | None, typer.Argument(help="Its id; all if none is given.")] = None,
    root: Root = results.STORE,
) -> None:
    """Judge one claim, with its observations, or list all verdicts."""
    from .claims import entries, table

    if claim is None:
        found = table.Ledger(root)
        for row in found.rows():
            print(f"{row['claim']:>28}  {row['verdict']:<15} {row['first number']}")
        print(found)
        return
    judged = entries.get(claim).judge(root)
    print(f"{judged.claim.statement}\n{judged.claim.source}\n{judged.verdict}")
    for o in judged.observations:
        mark = {True: "holds", False: "misses", None: "not stored"}[o.holds]
        print(f"  {mark:>10}: {o.what}: {o.text} (bound: {o.bound})")
        if o.missing:
            print(f"              {o.missing}")


@claims_app.command("check")
def claims_check_command(
    project: Annotated[Path | None, typer.Option(help="Checkout that holds book/.")] = None,
    root: Root = results.STORE,
) -> None:
    """Compare every bound number of the book with its computation; exit 1 if one has drifted."""
    from .claims import marks

    reports = marks.check(project or marks.PROJECT, root)
    if not reports:
        raise ValueError(f"{project or marks.PROJECT} holds no book/; give --project CHECKOUT.")
    faults = [fault for report in reports.values() for fault in report.faults]
    for name, report in reports.items():
        print(f"{name}: {report.numbers} numbers, {report.bound} bound, {report.given} given")
    for fault in faults:
        print(fault)
    if faults:
        print(f"{len(faults)} faults")
        raise typer.Exit(1)


@claims_app.command("write")
def claims_write_command(
    project: Annotated[Path | None, typer.Option(help="Checkout that holds book/.")] = None,
    root: Root = results.STORE,
) -> None:
    """Put the computed numbers into every mark of the book."""
    from .claims import marks

    for name in marks.write(project or marks.PROJECT, root):
        print(f"{name}: rewritten")


@data_app.command("fetch")
def fetch_command(
    name: str, root: Annotated[Path | None, typer.Option(help="Folder for the files.")] = None
) -> None:
    """Download a data set through torchvision."""
    print(data_module.fetch(name, root))


@data_app.command("verify")
def data_verify_command(
    name: str, root: Annotated[Path | None, typer.Option(help="Folder of the files.")] = None
) -> None:
    """Check a data set's files against their recorded SHA-256."""
    for path in data_module.verify(name, root):
        print(f"{path}: as recorded")


@app.command("bench")
def bench_command(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; medians are over them.")] = 15,
    models: Annotated[int, typer.Option(help="Members of the timed sweep.")] = 16,
) -> None:
    """Time one training step of each objective, and a sweep against as many single trainings."""
    from . import benchmark

    for line in benchmark.report(device, rounds, models):
        print(line, flush=True)


def main() -> None:
    """Run the command; errors that a user can mend are printed without a traceback."""
    try:
        app()
    except (ValueError, LookupError, OSError, CheckpointError) as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
