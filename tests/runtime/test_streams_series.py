"""Streams of time steps are cut into windows, whatever is read at once and wherever it goes on."""

from __future__ import annotations

import importlib.util
import io
import json
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ae_runtime.bundle.manifest import Golden, Latent, Manifest, Port, Series
from ae_runtime.errors import DataError, ShapeMismatch
from ae_runtime.files.readers.columns import Wanted, latent_columns, row_columns
from ae_runtime.files.readers.opening import Block, SeriesCut, open_stream
from ae_runtime.files.readers.series import WindowStream
from ae_runtime.tables.windows import too_short, window_starts

CHANNELS = ["a", "b", "c"]


pytestmark = pytest.mark.usefixtures("in_tmp_path")


def manifest(
    window: int,
    channels: list[str] | None = CHANNELS,
    time: str | None = None,
    step: float | None = None,
) -> Manifest:
    """Of a bundle that takes windows of three channels."""
    port = Port("x", "float64", [None, window, 3])
    sizes = Latent(2), [port], [port], None, None, Golden(1, 1e-5)
    return Manifest("1.0", "id", "series", *sizes, {}, Series(channels, time=time, step=step))


def write(steps: NDArray[np.float64]) -> None:
    np.save("s.npy", steps)
    lines = [f"{at},{c!r},{a!r},{b!r}" for at, (a, b, c) in enumerate(steps.tolist())]
    Path("s.csv").write_text("\n".join(["t,c,a,b", *lines]))


def starts_of(blocks: list[Block]) -> list[int]:
    return [int(start) for block in blocks for start in block.starts]  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(60))
def test_every_window_comes_once_from_wherever_the_stream_goes_on(seed: int) -> None:
    random = np.random.default_rng(seed)
    window, stride, size = (int(random.integers(1, high)) for high in (9, 12, 9))
    steps = random.standard_normal((int(random.integers(window, 60)), 3))
    write(steps)
    together = int(random.integers(1, 20))
    starts = window_starts(len(steps), window, stride)
    expected = np.stack([steps[start : start + window] for start in starts])

    def read(name: str, first: int = 0, position: int = 0) -> list[Block]:
        ids = "t" if name == "s.csv" else None
        stream = open_stream(row_columns(manifest(window)), name, stride=stride, id_column=ids)
        assert isinstance(stream, WindowStream)
        stream._together = together
        assert stream.rows == (None if ids else len(starts))
        with closing(stream):
            found = list(stream.blocks(size, first, position))
        assert stream.series == SeriesCut(window, stride, len(steps))
        return found

    for name in ("s.npy", "s.csv"):
        blocks = read(name)
        assert starts_of(blocks) == starts.tolist()
        np.testing.assert_array_equal(np.concatenate([b.arrays[0] for b in blocks]), expected)
        if name == "s.csv":
            ids = np.concatenate([block.ids for block in blocks])  # type: ignore[arg-type]
            assert ids.tolist() == [str(start) for start in starts]
        for block in blocks[:-1]:
            first = block.first + size
            rest = read(name, first, block.position)
            assert [b.first for b in rest] == list(range(first, len(starts), size))
            assert starts_of(rest) == starts[first:].tolist()
            found = np.concatenate([b.arrays[0] for b in rest])
            np.testing.assert_array_equal(found, expected[first:])


# The runtime's own environment has no pyarrow: there only the text is read.
FILES = ["s.csv", "s.parquet"] if importlib.util.find_spec("pyarrow") else ["s.csv"]


def write_times(steps: NDArray[np.float64], times: list[str]) -> None:
    lines = [f"{t},{a!r},{b!r},{c!r}" for t, (a, b, c) in zip(times, steps.tolist(), strict=True)]
    Path("s.csv").write_text("\n".join(["when,a,b,c", *lines]))
    if FILES == ["s.csv"]:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: steps[:, at] for at, name in enumerate(CHANNELS)}
    pq.write_table(pa.table({"when": times, **columns}), "s.parquet", row_group_size=7)


def minutes(*numbers: int) -> list[str]:
    begin = datetime(2026, 1, 1)
    return [(begin + timedelta(minutes=int(number))).isoformat() for number in numbers]


@pytest.mark.parametrize("seed", range(30))
def test_windows_do_not_cross_gaps_wherever_the_stream_goes_on(seed: int) -> None:
    random = np.random.default_rng(seed)
    window, stride, size = (int(random.integers(1, high)) for high in (9, 12, 9))
    steps = random.standard_normal((70, 3))
    apart = np.where(random.random(69) < 0.08, random.integers(3, 99, 69), 1)
    repeated = random.random(69) < 0.05
    at = np.concatenate([[0], np.cumsum(np.where(repeated, 0, apart))])
    times = [minutes(*at), [str(60 * minute) for minute in at]][seed % 2]
    write_times(steps, times)
    borders = (1 + np.flatnonzero((apart > 1) & ~repeated)).tolist()
    starts = window_starts(70, window, stride, borders)
    short, _ = too_short(70, window, borders)
    expected = np.stack([steps[start : start + window] for start in starts])
    known = manifest(window, time="when", step=60.0)

    def read(name: str, first: int = 0, position: Any = 0) -> tuple[list[Block], list[str]]:
        with closing(open_stream(row_columns(known), name, stride=stride)) as stream:
            assert isinstance(stream, WindowStream)
            assert stream.rows is None
            stream._together = int(random.integers(1, 20))
            return list(stream.blocks(size, first, position)), stream.notes

    for name in FILES:
        blocks, said = read(name)
        assert starts_of(blocks) == starts.tolist()
        np.testing.assert_array_equal(np.concatenate([b.arrays[0] for b in blocks]), expected)
        assert bool(borders) == any("windows do not cross" in line for line in said)
        assert repeated.any() == any("the time of the row before" in line for line in said)
        assert bool(short) == any(f"; {short} row" in line for line in said)
        for block in blocks[:-1]:
            position = json.loads(json.dumps(block.position))  # as a journal keeps it
            rest, said_later = read(name, block.first + size, position)
            assert starts_of(rest) == starts[block.first + size :].tolist()
            found = np.concatenate([b.arrays[0] for b in rest])
            np.testing.assert_array_equal(found, expected[block.first + size :])
            assert said_later == said


@pytest.mark.parametrize("name", FILES)
def test_times_that_are_refused(name: str) -> None:
    known = manifest(4, time="when", step=60.0)

    def refused_times(times: list[str]) -> str:
        write_times(np.ones((len(times), 3)), times)
        return refused(name, of=known)

    assert refused_times(minutes(*range(9), 7)) == (
        f"{name}: row 10, column 'when': time goes back from 2026-01-01T00:08:00 to "
        "2026-01-01T00:07:00; sort the rows by time, or bring each series as a file of its own"
    )
    assert refused_times(minutes(*range(0, 90, 9))) == (
        f"{name}: no window of 4 steps lies between gaps: the longest stretch has 1, and 9 steps "
        "in 'when' are longer than 2.5 times the usual 60"
    )


@pytest.mark.parametrize("name", FILES)
def test_a_time_that_is_none_makes_its_windows_bad(name: str) -> None:
    for times in (minutes(*range(20)), [str(60 * at) for at in range(20)]):
        times[9] = "when"  # a header again
        write_times(np.ones((20, 3)), times)
        known = manifest(4, time="when", step=60.0)
        with closing(open_stream(row_columns(known), name, stride=4)) as stream:
            blocks = list(stream.blocks(9))
            assert starts_of(blocks) == [0, 4, 8, 12, 16]  # and it is no gap
        (why,) = blocks[0].bad.values()
        assert list(blocks[0].bad) == [2]
        assert why.startswith("row 10, column 'when': 'when' is not ")


def test_times_are_followed_only_where_a_file_has_them() -> None:
    steps = np.random.default_rng(0).standard_normal((10, 3))
    write(steps)  # its t is no time to this bundle
    with closing(open_stream(row_columns(manifest(4, time="when", step=60.0)), "s.csv")) as stream:
        assert starts_of(list(stream.blocks(9))) == [0, 4, 6]
        assert "columns not in the model are left out: t" in stream.notes
    write_times(steps, minutes(*range(4), *range(50, 56)))
    with closing(open_stream(row_columns(manifest(4, time="when")), "s.csv")) as stream:
        assert starts_of(list(stream.blocks(9))) == [0, 4, 6]  # steps of training varied: no gaps
        assert stream.notes == ["s.csv: separator ',', with a header"]
    same = manifest(4, time="when", step=60.0)
    with closing(open_stream(row_columns(same), "s.csv", id_column="when")) as stream:
        (block,) = stream.blocks(9)
        assert starts_of([block]) == [0, 4, 6]
        assert block.ids is not None
        assert block.ids.tolist() == minutes(0, 50, 52)


def test_after_the_last_window_there_is_none() -> None:
    write(np.ones((11, 3)))
    for name in ("s.npy", "s.csv"):
        with closing(open_stream(row_columns(manifest(4)), name)) as stream:
            *_, last = stream.blocks(3)
            assert starts_of([last]) == [0, 4, 7]
            assert list(stream.blocks(3, 3, last.position)) == []


def test_windows_are_a_length_apart_unless_it_is_said() -> None:
    write(np.random.default_rng(0).standard_normal((10, 3)))
    with closing(open_stream(row_columns(manifest(4)), "s.csv")) as stream:
        assert stream.series == SeriesCut(4, 4, None)
        assert starts_of(list(stream.blocks(9))) == [0, 4, 6]
        assert stream.series == SeriesCut(4, 4, 10)
        assert stream.notes == [
            "s.csv: separator ',', with a header",
            "columns not in the model are left out: t",
        ]


def test_channels_without_names_are_taken_by_position() -> None:
    steps = np.random.default_rng(0).standard_normal((8, 3))
    write(steps)
    with closing(open_stream(row_columns(manifest(8, None)), "s.csv", id_column="t")) as stream:
        (block,) = stream.blocks(9)
        np.testing.assert_array_equal(block.arrays[0][0], steps[:, [2, 0, 1]])


def test_a_step_that_is_bad_makes_its_windows_bad() -> None:
    steps = np.ones((20, 3))
    steps[9, 1], steps[10, 0] = np.inf, -np.inf
    write(steps)
    text = Path("s.csv").read_text().replace("\n15,1.0,", "\n15,red,")
    Path("s.csv").write_text(text)
    infinite = "is infinite; correct it, or write NaN for a missing value"
    expected = {at: f"row 10, column 'b' {infinite}" for at in (3, 4)}  # windows from 6 and 8
    expected[5] = f"row 11, column 'a' {infinite}"
    red = (
        "row 16, column 'c': 'red' is not a number; tables of numbers are taken: leave the column "
        "out, or write it as numbers with a point before decimals"
    )
    for name, bad in (("s.npy", expected), ("s.csv", expected | {6: red, 7: red})):
        with closing(open_stream(row_columns(manifest(4)), name, stride=2)) as stream:
            found: dict[int, str] = {}
            for block in stream.blocks(2):
                found |= {block.first + at: why for at, why in block.bad.items()}
                assert np.isfinite(block.arrays[0]).all()
        assert found == bad


def test_windows_that_were_cut_before_are_rows() -> None:
    x = np.random.default_rng(0).standard_normal((7, 4, 3))
    np.save("w.npy", x)
    with closing(
        open_stream(replace(row_columns(manifest(4)), joins_windows=True), "w.npy")
    ) as stream:
        assert (stream.rows, stream.series) == (7, None)
        np.testing.assert_array_equal(np.concatenate([b.arrays[0] for b in stream.blocks(3)]), x)


def test_latents_of_a_series_are_rows() -> None:
    np.save("z.npy", np.ones((5, 2), np.float32))
    with closing(open_stream(latent_columns(manifest(4)), "z.npy")) as stream:
        assert (stream.rows, stream.series) == (5, None)
    assert refused("z.npy", wanted=latent_columns(manifest(4)), stride=2) == (
        "a stride is of windows cut from a series, and this input has none"
    )


def refused(
    source: Any, of: Manifest | None = None, wanted: Wanted | None = None, **more: Any
) -> str:
    with (
        pytest.raises(DataError) as error,
        closing(open_stream(wanted or row_columns(of or manifest(4)), source, **more)) as stream,
    ):
        list(stream.blocks(2))
    return str(error.value)


def test_what_cannot_be_cut() -> None:
    write(np.ones((3, 3)))
    few = "has 3 time steps, fewer than the bundle's window of 4; bring a longer series"
    assert refused("s.npy") == f"s.npy {few}"
    assert refused("s.csv") == f"s.csv {few}"
    assert refused(io.BytesIO(Path("s.csv").read_bytes())) == f"- {few}"
    write(np.ones((9, 3)))
    joining = replace(row_columns(manifest(4)), joins_windows=True)
    assert refused("s.npy", stride=0) == "a stride of 0 goes nowhere; choose 1 or more"
    assert refused("s.npy", wanted=joining, stride=5) == (
        "a stride of 5 leaves out time steps between windows of 4; choose at most 4"
    )
    np.save("w.npy", np.ones((2, 4, 3)))
    assert refused("w.npy", stride=1) == (
        "w.npy holds windows that were cut before; "
        "a stride is for a series of time steps (steps, C)"
    )
    np.save("wide.npy", np.ones((9, 5)))
    with pytest.raises(
        ShapeMismatch, match=r"^wide.npy: x has shape \(9, 5\), the bundle wants \(B, 3\)$"
    ):
        open_stream(row_columns(manifest(4)), "wide.npy")


def test_series_come_from_pipes_too() -> None:
    steps = np.random.default_rng(0).standard_normal((30, 3))
    write(steps)
    for name in ("s.npy", "s.csv"):
        file = io.BytesIO(Path(name).read_bytes())
        with closing(open_stream(row_columns(manifest(4)), file, stride=3)) as stream:
            found = np.concatenate([block.arrays[0] for block in stream.blocks(4)])
        expected = [steps[start : start + 4] for start in window_starts(30, 4, 3)]
        np.testing.assert_array_equal(found, expected)
