"""A smoke sweep that is killed, loses a worker or fills its disk: what is stored at the end.

    python tests/test_sweep_robustness.py --kills 10 [--seed 0]

kills a sweep at ten random moments, resumes each, and compares every file with the uninterrupted
run's. The suite does the same with three kills of one sweep.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from grae_lib import experiments, results, storage

EXPERIMENT = "mnist-objectives"


def environment() -> dict[str, str]:
    """One thread, the CPU, and a commit that does not change while somebody works in the tree."""
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONWARNINGS": "ignore",
        "PYTHONUNBUFFERED": "1",
        "GIT_DIR": os.devnull,
    }


def command(root: Path, *options: str) -> list[str]:
    start = [sys.executable, "-m", "grae_lib", "run", EXPERIMENT, "--scale", "smoke"]
    return [*start, "--device", "cpu", "--root", str(root), *options]


def run_whole(root: Path, *options: str) -> float:
    """Run to the end; seconds from the first line of output, which is when training starts."""
    started = start(root, *options)
    before = time.perf_counter()
    _, errors = started.communicate(timeout=300)
    assert started.returncode == 0, errors
    return time.perf_counter() - before


def start(root: Path, *options: str) -> subprocess.Popen:
    """A sweep in a process of its own that has just begun to work."""
    process = subprocess.Popen(
        command(root, *options),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "scale smoke" in process.stdout.readline()
    return process


def run_and_kill(root: Path, records: int, after: float) -> bool:
    """Kill a run, with no chance to clean up, `after` seconds after it stored `records` records.

    Counted in records as well as seconds, since a busy machine is slower than it was when timed.
    Returns False if the run ended first.
    """
    process = start(root)
    while process.poll() is None and len(list(root.rglob("runs/[!.]*.json"))) < records:
        time.sleep(0.005)
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return process.returncode == -signal.SIGKILL


def contents(root: Path, *also: str) -> dict[str, bytes]:
    """Bytes of every file by name; the wall time, and fields named in `also`, are blanked.

    Of the manifest the hashes of records are blanked, which depend on the wall time.
    """
    found = {}
    for path in sorted(p for p in Path(root).rglob("*") if p.is_file()):
        content, name = path.read_bytes(), path.relative_to(root).as_posix()
        if path.suffix == ".json":
            for field in ("seconds", *also):
                content = re.sub(rb'("%s":) ?[\d.e+-]+' % field.encode(), rb"\1 0", content)
        if name == "manifest.json":
            content = re.sub(rb'(\.json":) "\w{64}"', rb"\1 0", content)
        found[name] = content
    return found


def differences(a: dict[str, bytes], b: dict[str, bytes]) -> list[str]:
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The store of an uninterrupted run and how long it worked."""
    root = tmp_path_factory.mktemp("whole")
    seconds = run_whole(root)
    assert len(contents(root)) == 10 + 4 + 1
    return root, seconds


def test_killed_three_times_and_resumed(whole, tmp_path):
    reference, seconds = whole
    choose = random.Random(1)
    # A sweep of this scale writes two records at once, so after the sixth two sweeps remain.
    for records in (0, 3, 6):
        run_and_kill(tmp_path, records, choose.uniform(0, 0.05) * seconds)
        assert len(list(tmp_path.rglob("runs/*.json"))) < 10, "the run ended before the kill"
    run_whole(tmp_path)
    assert differences(contents(tmp_path), contents(reference)) == []
    assert results.verify(tmp_path) == []


# A cluster ---------------------------------------------------------------------------------------


def run_on_dask(root: Path) -> None:
    """Run on two worker processes and kill one that is at work as soon as a checkpoint is there."""
    import distributed

    settings = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with (
        distributed.LocalCluster(host="127.0.0.1", dashboard_address=None, **settings) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = client.run(os.getpid)

        def kill() -> None:
            while True:
                working = [address for address, keys in client.processing().items() if keys]
                if working and list(root.rglob("checkpoints/*.safetensors")):
                    os.kill(pids[working[0]], signal.SIGKILL)
                    print(f"killed worker {pids[working[0]]}", flush=True)
                    return
                time.sleep(0.02)

        threading.Thread(target=kill, daemon=True).start()
        written = experiments.run(
            experiments.get(EXPERIMENT),
            "smoke",
            device="cpu",
            backend="dask",
            workers=2,
            root=root,
            progress=False,
        )
        assert pids != client.run(os.getpid), "no worker was replaced"
        print(f"{len(written)} records", flush=True)


def test_dask_with_a_worker_killed(whole, tmp_path, need):
    try:
        import distributed
    except ImportError:
        distributed = None
    need(distributed, "the package distributed")
    done = subprocess.run(
        [sys.executable, __file__, "--dask", str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "killed worker" in done.stdout
    assert "10 records" in done.stdout
    assert differences(contents(tmp_path), contents(whole[0])) == []
    assert results.verify(tmp_path) == []


# A full disk -------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """A file system of its own that holds no more than `size`; False if it cannot be mounted."""
    mount = shutil.which("mount")
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = (
        mount is not None
        and subprocess.run([mount, *options], capture_output=True, check=False).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill(root: Path) -> None:
    """A small experiment that fits, then one whose checkpoints do not; what is stored stays."""
    settings = {"device": "cpu", "backend": "sequential", "root": root, "progress": False}
    experiments.run(experiments.get("toy-uniqueness"), "smoke", **settings)
    before = contents(root)
    assert results.verify(root) == []
    with pytest.raises(OSError, match=r"could not write .*what was there before is") as error:
        experiments.run(experiments.get(EXPERIMENT), "smoke", **settings)
    assert error.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert "Free some space or choose another folder" in str(error.value)
    assert contents(root) == before, "nothing is lost and nothing half written is left"
    assert results.verify(root) == []


def test_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_commit", lambda: "none")
    with small_disk(tmp_path / "disk", "400k") as mounted:
        if not mounted:
            pytest.skip("no right to mount a tmpfs: a full disk was NOT tested, its limit is below")
        fill(tmp_path / "disk")
        # With more space the run goes on.
        subprocess.run(
            ["mount", "-o", "remount,size=40m", str(tmp_path / "disk")],
            check=True,
            capture_output=True,
        )
        found = experiments.run(
            experiments.get(EXPERIMENT),
            "smoke",
            device="cpu",
            backend="sequential",
            root=tmp_path / "disk",
            progress=False,
        )
        assert len(found) == 10
        assert results.verify(tmp_path / "disk") == []


def test_a_limit_on_the_size_of_files(tmp_path, monkeypatch):
    """The same without the right to mount: the system refuses to write beyond 100 kB a file."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(results, "_commit", lambda: "none")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        fill(tmp_path / "disk")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_old_file_survives_a_write_that_fails(tmp_path, monkeypatch):
    """Whole or absent: the rename is what counts, and it comes after everything is on the disk."""
    path = tmp_path / "a.json"
    storage.write_json(path, {"old": 1})

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(OSError, match=r"could not write .*a\.json \(.*bytes\): No space left"):
        storage.write_json(path, {"new": 2})
    assert storage.read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


# By hand -----------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dask", type=Path, help="run the sweep on Dask into this folder")
    given = parser.parse_args()
    if given.dask is not None:
        run_on_dask(given.dask)
        return 0
    failed, choose = 0, random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        seconds = run_whole(Path(folder) / "whole")
        reference = contents(Path(folder) / "whole")
        print(f"uninterrupted: {len(reference)} files, {seconds:.1f} s of work")
        for kill in range(given.kills):
            root, records = Path(folder) / str(kill), choose.randrange(10)
            after = choose.uniform(0, 0.2) * seconds
            while not run_and_kill(root, records, after):
                # The run ended first: once more, earlier.
                shutil.rmtree(root)
                after *= 0.5
            stored = len(list(root.rglob("runs/*.json")))
            left = len(list(root.rglob(".*.tmp")))
            run_whole(root)
            found, faults = differences(contents(root), reference), results.verify(root)
            failed += bool(found or faults)
            print(
                f"kill {kill + 1:2d}, {after:4.2f} s after {records} records: {stored} records and "
                f"{left} half-written files then; after resuming {len(found)} files differ, "
                f"{len(faults)} faults",
                flush=True,
            )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
