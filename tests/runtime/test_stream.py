"""A stream of samples: in any blocks it gives what the whole series gives, in constant memory."""

from __future__ import annotations

import gc
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ae_runtime
from ae_runtime import Autoencoder, Stream, load
from ae_runtime.errors import DataError, ScoreUnknown, ShapeMismatch
from ae_runtime.model.scoring import score_arrays

WINDOW, CHANNELS = 12, 2
Series = NDArray[np.float32]


@pytest.fixture(scope="module")
def ae(table_bundle: Path) -> Autoencoder:
    return load(table_bundle.parent / "scored_series", threads=1)


def series(steps: int, seed: int = 0) -> Series:
    x = np.random.default_rng(seed).standard_normal((steps, CHANNELS)).astype(np.float32)
    x[::17, 1] = np.nan
    return x


def pushed(stream: Stream, x: Series, sizes: list[int]) -> tuple[Series, Series, Series]:
    """(latest, parts, settled) of samples that come in blocks of these sizes, to the end."""
    latest, parts, settled, at = [], [], [], 0
    for size in sizes:
        found = stream.push(x[at : at + size])
        at += size
        latest.append(found.latest)
        parts.append(found.parts)
        assert found.first == sum(map(len, settled)) or not len(found.settled)
        assert len(found.latest) == size
        settled.append(found.settled)
    last = stream.finish()
    assert last.first == sum(map(len, settled))
    return tuple(np.concatenate(each) for each in (latest, parts, [*settled, last.settled]))


def test_settled_scores_are_those_of_the_file(ae: Autoencoder, tmp_path: Path) -> None:
    x = series(1500)
    np.save(tmp_path / "x.npy", x)
    ae.score_file(tmp_path / "x.npy", tmp_path / "s.npy")
    _, _, settled = pushed(Stream(ae), x, [700, 1, 0, 12, 787])
    np.testing.assert_allclose(settled, np.load(tmp_path / "s.npy")[:, 0], rtol=1e-6)


@pytest.mark.parametrize("steps", [0, 1, 11, 12, 13, 20, 23, 24, 60])
def test_any_blocks_of_any_series(ae: Autoencoder, steps: int) -> None:
    x = series(steps)
    windows = [x[at : at + WINDOW] for at in range(steps - WINDOW + 1)]
    scored = score_arrays(ae.model, np.stack(windows)) if windows else None
    expected = np.full(steps, np.nan)
    for step in range(steps if scored else 0):
        cover = range(max(step - WINDOW + 1, 0), min(step, len(windows) - 1) + 1)
        expected[step] = scored.score[list(cover)].astype(np.float64).mean()
    for sizes in ([1] * steps or [0], [steps], [min(5, steps), 0, max(steps - 5, 0)]):
        latest, parts, settled = pushed(Stream(ae), x, sizes)
        np.testing.assert_allclose(settled, expected, rtol=1e-6)
        assert np.isnan(latest[: WINDOW - 1]).all()
        assert np.isnan(parts[: WINDOW - 1]).all()
        if scored:
            np.testing.assert_array_equal(latest[WINDOW - 1 :], scored.score)
            np.testing.assert_array_equal(parts[WINDOW - 1 :], scored.parts[:, -1])


def test_a_score_is_settled_after_the_delay(ae: Autoencoder) -> None:
    stream, x = Stream(ae), series(50)
    assert (stream.delay, stream.window, stream.channels) == (WINDOW - 1, WINDOW, CHANNELS)
    for at in range(50):
        found = stream.push(x[at])
        assert len(found.settled) == (at >= stream.delay)
        if len(found.settled):
            assert found.first == at - stream.delay


def test_the_end_begins_another_series(ae: Autoencoder) -> None:
    stream, x = Stream(ae), series(40)
    first = pushed(stream, x, [40])
    second = pushed(stream, x, [13, 27])
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    stream.push(x)
    stream.reset()
    assert np.isnan(stream.push(x[:5]).latest).all()


def test_other_scores_and_the_threshold(ae: Autoencoder, table_bundle: Path) -> None:
    x = series(WINDOW)
    for name in ("nearest", "combined"):
        stream = Stream(table_bundle.parent / "scored_series", name)
        assert stream.push(x).latest[-1] == ae.score(x[None], name)[0]
    assert ae.manifest.threshold is not None
    assert Stream(ae).threshold == ae.manifest.threshold.value


def test_samples_are_converted(ae: Autoencoder) -> None:
    whole = np.arange(2 * WINDOW).reshape(WINDOW, 2)
    found = [
        Stream(ae).push(block).latest for block in (whole, whole.astype(float), whole.tolist())
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 2), ()])
def test_another_number_of_channels(ae: Autoencoder, shape: tuple[int, ...]) -> None:
    stream = Stream(ae)
    before = stream.push(series(20)).latest
    with pytest.raises(ShapeMismatch) as caught:
        stream.push(np.zeros(shape))
    assert str(caught.value) == (
        f"samples have shape {shape}, the bundle wants 2 channels: (2,) or (n, 2)"
    )
    assert stream.samples == len(before)


def test_what_no_stream_is_made_of(table_bundle: Path, ae: Autoencoder) -> None:
    with pytest.raises(DataError) as caught:
        Stream(table_bundle.parent / "scored")
    assert str(caught.value) == (
        "a stream needs a bundle of series, this one is of kind table; score its rows with ae.score"
    )
    with pytest.raises(ScoreUnknown, match="no scores"):
        Stream(table_bundle.parent / "gru")
    with pytest.raises(ScoreUnknown, match="no score 'x'"):
        Stream(ae, "x")


def grown(ae: Autoencoder, samples: int) -> int:
    """Bytes that Python holds more after so many samples in blocks of 100."""
    stream, block = Stream(ae), series(100)
    for _ in range(20):
        stream.push(block)
    tracemalloc.start()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(samples // len(block)):
        stream.push(block)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert stream.samples == samples + 2000
    return after - before


def test_memory_is_constant(ae: Autoencoder) -> None:
    assert grown(ae, 20_000) < 60_000  # of which the samples alone would be 160,000


@pytest.mark.soak
def test_memory_is_constant_over_ten_million_samples(ae: Autoencoder) -> None:
    stream, block = Stream(ae), series(1000)
    stream.push(block)
    before = own_bytes()
    started = time.perf_counter()
    for _ in range(10_000):
        stream.push(block)
    print(f"{1e7 / (time.perf_counter() - started):,.0f} samples/s")
    assert stream.samples == 10_001_000
    assert own_bytes() - before < 2_000_000


def own_bytes() -> int:
    """RssAnon of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def test_it_is_a_public_name() -> None:
    assert ae_runtime.Stream is Stream
