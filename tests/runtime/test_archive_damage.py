"""Archives cut, changed and begun: what is whole is given, what is not is named.

100 of the 10,000 mutants are in the plain run, half of them with their CRCs made right again.
"""

from __future__ import annotations

import io
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import ae_runtime
from ae_archive import Archive, Bad, compress, frames
from ae_archive.header import MAX_VALUES
from ae_runtime.errors import ArchiveCorrupt, ArchiveError

GOLDEN = Path(__file__).parent.parent / "golden" / "archives"
CHUNK, BOUND = 100, 0.05
# docs/archive.md: a chunk of the most values there can be, as float64 and in the making.
MOST_BYTES = 10 * 8 * MAX_VALUES
MOST_READINGS = 500  # of the slowest archive as it was, that a mutant may take


def rows(seed: int = 0) -> np.ndarray:
    x = np.cumsum(np.random.default_rng(seed).standard_normal((700, 3)), axis=0)
    x += x[:, :1]
    x[150:160] = np.nan
    x[650:] = np.random.default_rng(seed).integers(0, 2**63, (50, 3)).view(np.float64)
    return x


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    compress(rows(), tmp_path / "x.aez", max_error=BOUND, chunk_rows=CHUNK)
    return tmp_path / "x.aez"


def places(raw: bytes) -> list[frames.Frame]:
    return list(frames.scan(io.BytesIO(raw), frames.START, len(raw)))


def kept(path: Path) -> tuple[np.ndarray, list[Bad]]:
    """All rows that can be given, NaN where none can; and the list of the others."""
    bad: list[Bad] = []
    with Archive(path) as opened:
        x = np.full(opened.shape, np.nan)
        for first, block in opened.blocks("skip", bad):
            x[first : first + len(block)] = block
    return x, bad


def test_rows_after_a_lost_footer(archive: Path) -> None:
    whole = kept(archive)[0]
    raw = archive.read_bytes()
    for end in (len(raw) - 1, places(raw)[-1].at + 3, places(raw)[-2].end):
        archive.write_bytes(raw[:end])
        with Archive(archive) as opened:
            assert opened.notes == ["the index is lost; chunks were found by looking for them"]
            np.testing.assert_array_equal(opened[:], whole)
    archive.write_bytes(raw[: places(raw)[-2].end - 1])  # of the last chunk, too
    with Archive(archive) as opened:
        np.testing.assert_array_equal(opened[:], whole[:600])


def test_any_changed_byte_is_found_and_costs_one_chunk(archive: Path) -> None:
    whole = kept(archive)[0]
    raw = archive.read_bytes()
    chunks = [frame for frame in places(raw) if frame.marker == frames.CHUNK]
    for at in range(frames.START, len(raw), 37):
        changed = bytearray(raw)
        changed[at] ^= 1 << at % 8
        archive.write_bytes(changed)
        hit = [f for f in chunks if f.at - frames.FRAME_BYTES <= at < f.end]
        if at < chunks[0].at - frames.FRAME_BYTES:
            with pytest.raises(ArchiveCorrupt):
                Archive(archive)
            continue
        x, bad = kept(archive)
        assert [(b.first, b.rows) for b in bad] == [(f.first, f.rows) for f in hit]
        for frame in hit:
            assert f"rows {frame.first + 1:,} to {frame.first + frame.rows:,}" in bad[0].why
            with Archive(archive) as opened, pytest.raises(ArchiveCorrupt, match=r"fetch|lost"):
                list(opened.blocks())
            x[frame.first : frame.first + frame.rows] = whole[frame.first :][: frame.rows]
        np.testing.assert_array_equal(x, whole)


def mutant(raw: bytes, seed: int) -> tuple[bytes, bool]:
    """(changed archive, whether its CRCs are right again)."""
    rng = random.Random(seed)
    if seed % 2:
        changed = bytearray(raw)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        if rng.random() < 0.3:
            low = rng.randrange(len(changed))
            del changed[low : low + rng.randint(1, 400)]
        return bytes(changed), False
    out = frames.start()
    found = places(raw)
    hit = rng.randrange(len(found))
    for at, frame in enumerate(found):
        payload = bytearray(raw[frame.at : frame.end])
        fields = {name: getattr(frame, name) for name in ("mode", "number", "rows", "first")}
        if payload and (at == hit or rng.random() < 0.1):
            for _ in range(rng.randint(1, 6)):
                # Mostly near the front, where lengths, kinds and counts are.
                low = min(int(rng.expovariate(1 / 20)), len(payload) - 1)
                payload[low] = rng.choice([0, 1, 255, payload[low] ^ 1, rng.randrange(256)])
            if rng.random() < 0.3:
                del payload[rng.randrange(len(payload)) :]
            if rng.random() < 0.3:
                name = rng.choice(list(fields))
                most = {"mode": 255, "number": 2**32 - 1, "rows": 2**32 - 1, "first": 2**64 - 1}
                fields[name] = rng.choice([0, 1, most[name], rng.randint(0, most[name])])
        if frame.marker == frames.INDEX:
            place = len(out)
        out += frames.framed(frame.marker, bytes(payload), **fields)
    return out + frames.footer(place), True


def reading_s(path: Path, model: ae_runtime.Autoencoder | None) -> float:
    """Seconds of the processor that the rows of an archive take, as those of mutants do."""
    tracemalloc.start()
    begun = time.process_time()
    with Archive(path, model) as opened:
        opened[:]
    tracemalloc.stop()
    return time.process_time() - begun


@pytest.mark.parametrize(
    ("first", "count"), [(0, 100), pytest.param(100, 9_900, marks=pytest.mark.soak)]
)
def test_mutants(tmp_path: Path, first: int, count: int) -> None:
    """Of the golden archives one after another: all ways of storing rows, and models."""
    pytest.importorskip("pcodec", reason="environment has no pcodec")
    path = tmp_path / "x.aez"
    files = sorted(GOLDEN.glob("*.aez"))
    raws = [file.read_bytes() for file in files]
    refer = {"model": "gru", "model_mean": "gru", "model_image": "image"}
    models = {
        name: ae_runtime.load(GOLDEN.parent / "v1" / bundle) for name, bundle in refer.items()
    }
    wholes = [np.load(file.with_suffix(".npy")) for file in files]
    most_s = MOST_READINGS * max(map(reading_s, files, (models.get(file.stem) for file in files)))
    refused, skipped = 0, 0
    for seed in range(first, first + count):
        which = seed // 2 % len(files)
        raw, whole = raws[which], wholes[which]
        changed, mended = mutant(raw, seed)
        path.write_bytes(changed)
        tracemalloc.start()
        begun = time.process_time()
        try:
            bad: list[Bad] = []
            with Archive(path, models.get(files[which].stem)) as opened:
                for low, block in opened.blocks("skip", bad):
                    assert block.shape[1:] == opened.shape[1:], seed
                    assert block.dtype == opened.dtype, seed
                    assert low + len(block) <= len(opened), seed
                    if not mended:  # of bytes that are as they were
                        np.testing.assert_array_equal(block, whole[low : low + len(block)])
            skipped += bool(bad or opened.notes)
            assert mended or bad or opened.notes or changed == raw, f"{seed} was not found"
        except ArchiveError as error:
            refused += 1
            lines = str(error).splitlines()
        else:
            lines = [""]
        assert len(lines) == 1, seed
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES, seed
        tracemalloc.stop()
        assert time.process_time() - begun < most_s, seed
    assert refused > count / 50  # each way out is taken
    assert skipped > count / 3


@pytest.mark.parametrize("columns", [1, pytest.param(8, marks=pytest.mark.soak), 432])
def test_the_fullest_chunk_takes_no_more_than_the_page_says(tmp_path: Path, columns: int) -> None:
    rows = MAX_VALUES // columns
    x = np.cumsum(np.random.default_rng(0).standard_normal((rows, columns)), axis=0)
    x += x[:, :1]
    x[::7] = np.nan
    compress(x, tmp_path / "x.aez", max_error=0.5, chunk_rows=rows)
    with Archive(tmp_path / "x.aez") as opened:
        tracemalloc.start()
        opened.chunk(0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert x.nbytes < peak < MOST_BYTES


def test_other_files_and_other_versions(archive: Path) -> None:
    raw = archive.read_bytes()
    head = places(raw)[0]
    newer = b"\1\0\7\0" + frames.framed(frames.HEAD, raw[head.at : head.end], number=7)
    for changed, line in (
        (b"", f"{archive} is no archive: it does not begin as one; choose a .aez file"),
        (raw[:9], f"{archive} ends before its version; write it again"),
        (raw[:8] + b"\2\0\7\0" + raw[12:],
         f"{archive} has format 2.7, this version reads 1.x; update ae-toolkit"),
        (raw[:8] + newer + raw[head.end :], None),  # a newer minor version
        (raw[:8] + b"\1\0\7\0" + raw[12:], f"{archive} has no whole header; fetch it again"),
        (raw[:40], f"{archive} has no whole header; fetch it again"),
    ):  # fmt: skip
        archive.write_bytes(changed)
        if line is None:
            Archive(archive).close()
            continue
        with pytest.raises(ArchiveError) as error:
            Archive(archive)
        assert str(error.value) == line


KILLED = """
import sys, numpy as np
from ae_archive import compress
x = np.cumsum(np.random.default_rng(0).standard_normal((20_000, 3)), axis=0)
def blocks():
    yield x
    print("ready", flush=True)  # the archive is begun, and never done
    while True:
        yield x
compress(blocks(), sys.argv[1], max_error=.01, overwrite=True, chunk_rows=20_000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.soak)])
def test_a_kill_leaves_the_archive_that_was_there(archive: Path, kills: int) -> None:
    before = archive.read_bytes()
    part = archive.with_name("x.aez.part")
    for delay_s in np.random.default_rng(kills).random(kills) / 4:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, archive], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert part.exists()
        assert archive.read_bytes() == before
    compress(rows(), archive, max_error=BOUND, overwrite=True)
    assert not part.exists()
