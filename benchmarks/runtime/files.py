"""File to file by ae-run, against memory, against the disk and pyarrow alone, and its memory.

python benchmarks/runtime/files.py [--gigabytes G] [--rounds N]
"""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import models
import numpy as np
from report import columns, load, target
from turns import Contender, Done, anonymous_mb, median_ratio

SHARE, PEAK_MB = 0.85, 300.0
MAX_MEMORY_MB = 100, 200  # asked for in a run of its own: the first that is not refused
BLOCK, BLOCKS = 20_000, 3  # rows in a block and in a row group (63 MB of float32), and how many
FREE_SHARE = 0.3  # of the disk's free room that one file takes at most
# What is done alone prints its own seconds: the start of Python is no part of the disk's speed.
READ = """
import sys, time
file, buffer = open(sys.argv[1], "rb", 0), bytearray(1 << 22)
started = time.perf_counter()
while file.readinto(buffer):
    pass
print(time.perf_counter() - started)
"""
ARROW = """
import sys, time
import pyarrow.parquet as pq
started = time.perf_counter()
file = pq.ParquetFile(sys.argv[1])
for group in range(file.num_row_groups):
    file.read_row_group(group)
print(time.perf_counter() - started)
"""
WRITE = """
import os, sys, time
block, left = bytes(1 << 22), int(sys.argv[2])
started = time.perf_counter()
with open(sys.argv[1], "wb", 0) as file:
    while left > 0:
        left -= file.write(block[:left])
    os.fsync(file.fileno())
print(time.perf_counter() - started)
os.remove(sys.argv[1])
"""
IMPORTS = """
import onnxruntime, ae_runtime.cli, ae_runtime.files.jobs.job, {}
print("ready", flush=True)
input()
"""
AE_RUN = Path(sys.executable).with_name("ae-run")


def write_npy(file: Path, model: str, rows: int) -> None:
    blocks = [models.rows_of(model, BLOCK, 10 + at) for at in range(BLOCKS)]
    with file.open("wb") as out:
        header = {"descr": blocks[0].dtype.str, "fortran_order": False}
        shape = (rows, *blocks[0].shape[1:])
        np.lib.format.write_array_header_1_0(out, {**header, "shape": shape})
        for at, start in enumerate(range(0, rows, BLOCK)):
            blocks[at % BLOCKS][: rows - start].tofile(out)
        os.fsync(out.fileno())


def write_parquet(file: Path, model: str, rows: int) -> None:
    """A column for each number, row groups of BLOCK rows, no dictionary: all values differ."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def table(at: int) -> Any:
        x = models.rows_of(model, BLOCK, 10 + at)
        return pa.table({f"x{column}": values for column, values in enumerate(x.T.copy())})

    tables = [table(at) for at in range(BLOCKS)]
    with pq.ParquetWriter(file, tables[0].schema, use_dictionary=False) as out:
        for at, start in enumerate(range(0, rows, BLOCK)):
            out.write_table(tables[at % BLOCKS].slice(0, rows - start))
    with file.open("rb") as written:
        os.fsync(written.fileno())


class Failed(click.ClickException):
    """A command that was measured did not end well."""


def run(*words: object) -> tuple[Done, str]:
    """What a command in a fresh process took, and its output."""
    before, peak = resource.getrusage(resource.RUSAGE_CHILDREN), 0.0
    started = time.perf_counter()
    pipe = subprocess.PIPE
    with subprocess.Popen([*map(str, words)], stdout=pipe, stderr=pipe, text=True) as process:
        while process.poll() is None:
            peak = max(peak, anonymous_mb(process.pid))
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        said, wrong = process.communicate()
    if process.returncode:
        raise Failed(f"{Path(str(words[0])).name} ended with {process.returncode}: {wrong[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Done(seconds, cpu_s, peak), said


def alone(script: str, *words: object) -> Done:
    """What a script does that prints its seconds."""
    done, said = run(sys.executable, "-c", script, *words)
    return replace(done, seconds=float(said))


def imported_mb(also: str) -> float:
    """RssAnon of a process that has imported what ae-run imports, and does nothing."""
    words = sys.executable, "-c", IMPORTS.format(also)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        if process.stdout.readline() != b"ready\n":
            raise Failed("what ae-run imports cannot be imported here")
        found = anonymous_mb(process.pid)
        process.kill()
    return found


def drop(file: Path) -> None:
    """Forget the cached pages of a file."""
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def encode(model: str, file: Path, *options: object) -> Done:
    """What ae-run takes over a file; its output is left beside it."""
    out = output_of(file)
    words = AE_RUN, "encode", models.FOLDER / model, file, "--out", out
    done, said = run(*words, "--overwrite", "--quiet", "--json", *options)
    assert np.load(out, mmap_mode="r").shape[0] == json.loads(said.splitlines()[-1])["rows"]
    return done


def output_of(file: Path) -> Path:
    return file.with_suffix(".z.npy")


@dataclass(frozen=True)
class Job:
    """One file to measure with: its model and rows, and the process that encodes in memory.

    one: the same with a single row, which shows what a start takes.
    """

    model: str
    file: Path
    one: Path
    rows: int
    memory: Contender

    @property
    def name(self) -> str:
        return f"{self.model} {self.file.suffix}"

    def ways(self) -> dict[str, Callable[[], Done]]:
        """What is measured in turn, by name; memory stands for as many rows as the file has."""
        found = {
            "memory": self.in_memory,
            "read alone": functools.partial(alone, READ, self.file),
            "pyarrow alone": functools.partial(alone, ARROW, self.file),
            "ae-run": functools.partial(encode, self.model, self.file),
        }
        if self.file.suffix != ".parquet":
            del found["pyarrow alone"]
        return found

    def in_memory(self) -> Done:
        done = self.memory.encode()
        times = self.rows / models.ROWS
        return Done(done.seconds * times, done.cpu_s * times)


def measure(job: Job, rounds: int) -> None:
    """Every way over one file, in turn, with a warm cache and with a cold one."""
    start = statistics.median(encode(job.model, job.one).seconds for _ in range(rounds))
    alone(READ, job.file)  # into the cache, as far as it goes
    found: dict[str, dict[str, list[Done]]] = {}
    for cache in ("warm", "cold"):
        turns = found[cache] = {way: [] for way in job.ways()}
        for _ in range(rounds):
            for way, do in job.ways().items():
                if cache == "cold":
                    drop(job.file)
                turns[way].append(do())
    size, written = job.file.stat().st_size, output_of(job.file).stat().st_size
    write = [alone(WRITE, job.file.with_suffix(".w"), written).seconds for _ in range(rounds)]
    print(
        f"  {job.name}: {size / 1e9:.2f} GB, {job.rows:,} rows; a start of ae-run takes "
        f"{start:.2f} s, writing its output with fsync alone {statistics.median(write):.2f} s"
    )
    columns(("", "rows/s", "MB/s", "CPU us/row", "ae-run / it"))
    for cache, turns in found.items():
        show(job, cache, turns, size, start)
    peak = max(done.peak_mb for turns in found.values() for done in turns["ae-run"])
    target(f"{job.name}, peak of RssAnon", peak, PEAK_MB, most=True, unit=" MiB")
    limited(job)


def limited(job: Job) -> None:
    """A run that may add only so much memory; refusing what it cannot keep is right, too."""
    imported = imported_mb("pyarrow.parquet" if job.file.suffix == ".parquet" else "ae_runtime")
    for asked in MAX_MEMORY_MB:
        try:
            done = encode(job.model, job.file, "--max-memory", f"{asked}MB")
        except Failed as error:
            print(f"  refused {job.name}, --max-memory {asked}MB: {error}")
            continue
        added = done.peak_mb - imported
        what = f"{job.name}, added with --max-memory {asked}MB"
        target(what, added, asked * 1e6 / 2**20, most=True, unit=" MiB")
        print(f"          at {job.rows / done.seconds:,.0f} rows/s", flush=True)
        return


def show(job: Job, cache: str, turns: dict[str, list[Done]], size: int, start: float) -> None:
    """The lines of one cache; shares are medians of those of each round."""
    ours = [done.seconds for done in turns["ae-run"]]
    for way, dones in turns.items():
        seconds = statistics.median(done.seconds for done in dones)
        cpu_us = statistics.median(done.cpu_s for done in dones) / job.rows * 1e6
        share = statistics.median(done.seconds / own for done, own in zip(dones, ours, strict=True))
        rates = f"{job.rows / seconds:,.0f}", f"{size / seconds / 1e6:,.0f}"
        columns((f"{cache}, {way}", *rates, f"{cpu_us:.2f}", f"{share:.2f}"))
    limits = {"memory or disk, the slower": ("memory", "read alone")}
    if "pyarrow alone" in turns:
        limits["these or pyarrow alone"] = ("memory", "read alone", "pyarrow alone")
    for title, ways in limits.items():
        slower = [
            max(done.seconds for done in each)
            for each in zip(*(turns[way] for way in ways), strict=True)
        ]
        target(f"{job.name}, {cache}, share of {title}", median_ratio(slower, ours), SHARE)
        if start < min(ours) / 2:
            without = median_ratio(slower, [seconds - start for seconds in ours])
            print(f"          without its start {without:.2f}")


WRITERS: list[tuple[str, str, Callable[[Path, str, int], None]]] = [
    ("dense", "x.npy", write_npy),
    ("conv", "x.npy", write_npy),
    ("dense", "x.parquet", write_parquet),
]


@click.command()
@click.option("--gigabytes", default=4.0, show_default=True, help="Size of a file's rows.")
@click.option("--rounds", default=3, show_default=True, help="Runs of each way, in turn.")
@click.option("--only", type=click.Choice(["npy", "parquet"]))
def main(gigabytes: float, rounds: int, only: str | None) -> None:
    """Two .npy files and one Parquet file, made, measured and removed one after the other."""
    room = shutil.disk_usage(models.FOLDER).free / 1e9
    if gigabytes > FREE_SHARE * room:
        print(f"\n  LESS THAN ASKED: {FREE_SHARE * room:.1f} GB, for {room:.0f} GB are free")
        gigabytes = FREE_SHARE * room
    print(f"\n3. File to file, ae-run in a fresh process, medians of {rounds} in turn; {load()}")
    for model, name, write in WRITERS:
        if only and not name.endswith(only):
            continue
        with (
            tempfile.TemporaryDirectory(dir=models.FOLDER) as folder,
            Contender("ours", model) as memory,
        ):
            file, one = Path(folder) / name, Path(folder) / f"one-{name}"
            row = models.rows_of(model, 1, 0).nbytes
            write(file, model, rows := int(gigabytes * 1e9) // row)
            write(one, model, 1)
            measure(Job(model, file, one, rows, memory), rounds)


if __name__ == "__main__":
    main()
