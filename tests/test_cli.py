"""The command line: what it prints, its exit codes, and errors without a traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

from grae_lib import __main__ as cli
from grae_lib import experiments, results, storage
from grae_lib.experiments import toy_uniqueness


def all_commands():
    """Every command's words, from the program itself, so that a new one is tested too."""

    def below(group, words):
        yield words
        for name, command in getattr(group, "commands", {}).items():
            yield from below(command, (*words, name))

    return list(below(typer.main.get_command(cli.app), ()))


@pytest.fixture
def call(monkeypatch, capsys):
    """call(words…) → exit code, standard output, standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["grae_lib", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        code = stop.value.code
        return 0 if code is None else code, captured.out, captured.err

    return run


def short_jobs(scale):
    """The toy experiment's smoke jobs, cut to a few steps."""
    jobs = toy_uniqueness.jobs("smoke")
    for job in jobs:
        job.training["steps"] = 4
        job.data["n"] = 600
    return jobs


@pytest.fixture
def toy(monkeypatch):
    name = "toy-uniqueness"
    experiment = experiments.Experiment(
        name, "a claim of the sources", short_jobs, toy_uniqueness.measure
    )
    monkeypatch.setitem(experiments.REGISTRY, name, experiment)
    monkeypatch.setattr(results, "_commit", lambda: "none")
    return name


# Help --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_help_everywhere(call, words):
    code, out, _ = call(*words, "--help")
    assert code == 0
    assert "Usage:" in out
    assert len(re.sub(r"\W", "", out)) > 60


def test_every_command_of_the_design_is_there():
    assert {words[0] for words in all_commands() if words} >= {"run", "results", "data", "bench"}
    assert {("results", "verify"), ("results", "show"), ("data", "verify")} <= set(all_commands())


def test_as_a_module_without_a_command():
    """In a process of its own: what a reader types first shows help and is no success."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "grae_lib"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 2
    assert "Usage:" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


# Running -----------------------------------------------------------------------------------------


def test_list_names_every_experiment_and_what_it_needs(call):
    code, out, _ = call("list")
    assert code == 0
    for name, experiment in experiments.REGISTRY.items():
        assert f"{name}\n    {experiment.claim}\n    needs {experiment.needs}" in out


def test_dry_run_prints_jobs_time_and_disk_and_writes_nothing(call, toy, tmp_path):
    code, out, _ = call("run", toy, "--dry-run", "--root", tmp_path, "--jobs", 2)
    assert code == 0
    pattern = (
        r"toy-uniqueness, scale smoke: 4 runs, 4 to do in 4 sweeps; about \d+ seconds on one "
        r"worker \(\d+ seconds on 2\), \d\.\d\d MB on disk\."
    )
    assert re.search(pattern, out)
    assert not list(tmp_path.iterdir())


def test_run_verify_and_show(call, toy, tmp_path):
    code, out, err = call("run", toy, "--root", tmp_path)
    assert code == 0
    assert "toy-uniqueness, scale smoke, on cpu: 4 runs in 4 sweeps" in out
    assert f"4 new records in {tmp_path}/toy-uniqueness/smoke" in out
    assert "4/4" in err, "progress over the sweep"

    code, out, _ = call("run", toy, "--root", tmp_path)
    assert code == 0
    assert "0 runs in 0 sweeps" in out
    assert "0 new records" in out

    code, out, _ = call("results", "verify", "--root", tmp_path)
    assert code == 0
    assert "4 files and 0 decoders verified in" in out

    code, out, _ = call(
        "results", "show", toy, "angle", "--by", "W,family", "--scale", "smoke", "--root", tmp_path
    )
    assert code == 0
    assert "toy-uniqueness, scale smoke: angle" in out
    rows = out.strip().splitlines()[1:]
    assert len(rows) == 4
    records = results.runs(toy, "smoke", tmp_path)
    (value,) = (
        r["metrics"]["angle"]
        for r in records
        if (r["job"]["labels"]["W"], r["job"]["labels"]["family"]) == ("anisotropic", "shared")
    )
    assert rows[0].split() == ["anisotropic", "shared", f"{value:.4f}", "(1)"]
    assert "nan" not in out

    path = next(tmp_path.rglob("runs/*.json"))
    path.write_bytes(path.read_bytes().replace(b'"status":"fin', b'"status":"Fin'))
    code, out, _ = call("results", "verify", "--root", tmp_path)
    assert code == 1
    assert f"{path.name} has changed: its SHA-256 is not the manifest's; restore it." in out
    assert "1 faults in" in out


def test_data_verify_without_root_checks_the_embedded_digits(call):
    code, out, _ = call("data", "verify", "mnist")
    assert code == 0
    assert "mnist_subset.npz: as recorded" in out


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "mnist"), "experiment 'mnist' is unknown; choose one of toy-uniqueness,"),
        (("run", "TOY", "--scale", "big"), "scale 'big' is unknown; choose one of smoke, cpu"),
        (("run", "TOY", "--scale", "big", "--dry-run"), "scale 'big' is unknown"),
        (("run", "TOY", "--backend", "slurm"), "backend 'slurm' is unknown; choose one of loky"),
        (("run", "TOY", "--device", "tpu"), "device 'tpu' is unknown; choose auto, cpu"),
        (("run", "TOY", "--jobs", "0"), "--jobs 0 was given; expected an integer ≥ 1"),
        (("run", "TOY", "--jobs", "0", "--dry-run"), "--jobs 0 was given"),
        (("results", "show", "TOY", "angle"), "produce them with: python -m grae_lib run toy-uniq"),
        (("results", "show", "mnist", "angle"), "experiment 'mnist' is unknown"),
        (("data", "verify", "cifar"), "'cifar'"),
        (("data", "verify", "celeba", "--root", "/nowhere"), "celeba"),
        (("data", "fetch", "toy"), "'toy' is not a set that can be fetched; choose one of mnist"),
    ],
)
def test_errors_are_one_message_and_exit_code_2(call, toy, tmp_path, words, message):
    words = tuple(toy if word == "TOY" else word for word in words)
    root = () if words[0] == "data" else ("--root", tmp_path)
    code, _, err = call(*words, *root)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [("run",), ("runs",), ("run", "x", "--scales", "cpu"), ("results", "show")]
)
def test_wrong_usage_is_exit_code_2(call, words):
    code, out, err = call(*words)
    assert code == 2
    assert "Usage" in out + err
    assert "Traceback" not in err


def test_show_says_which_labels_and_metrics_there_are(call, toy, tmp_path):
    call("run", toy, "--root", tmp_path)
    for words in ((toy, "loss"), (toy, "angle", "--by", "colour")):
        code, _, err = call("results", "show", *words, "--by", "W", "--root", tmp_path)[:3]
        if words[1] == "loss":
            assert code == 2
            assert "labels are W, family, nu, seed; metrics are A, angle" in err


def test_damage_found_while_running_is_a_message(call, toy, tmp_path):
    call("run", toy, "--root", tmp_path)
    path = next(tmp_path.rglob("runs/*.json"))
    path.write_text("{")
    for words in (("run", toy), ("results", "show", toy, "angle", "--by", "W")):
        code, _, err = call(*words, "--root", tmp_path)
        assert code == 2
        assert f"error: {path} is not valid JSON" in err
    (tmp_path / "manifest.json").write_text("[1, 2]")
    code, out, _ = call("results", "verify", "--root", tmp_path)
    assert code == 1
    assert "not a manifest as this library writes it; restore it" in out


def test_a_foreign_checkpoint_is_a_message(call, toy, tmp_path, monkeypatch):
    def stop(*arguments):
        raise OSError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(results, "write_run", stop)
        assert call("run", toy, "--root", tmp_path)[0] == 2
    (path,) = tmp_path.rglob("checkpoints/*.safetensors")
    storage.write_safetensors(path, {"weight": torch.ones(2)}, {})
    code, _, err = call("run", toy, "--root", tmp_path)
    assert code == 2
    assert "is not a readable checkpoint" in err
    assert "delete it to start again" in err
