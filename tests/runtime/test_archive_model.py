"""Archives whose chunks may be a model's latents: within their bound, here and elsewhere."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import ae_runtime
from ae_archive import Archive, compress, frames, header, modes
from ae_archive.error_bound import EXACT_LIMIT
from ae_archive.model.decoder import Decoder, digest
from ae_archive.modes.latents import Residuals
from ae_runtime.errors import ArchiveCorrupt, ArchiveError, DataError

RNG = np.random.default_rng
GOLDEN = Path(__file__).parent.parent / "golden" / "v1"


def rows_of(ae: ae_runtime.Autoencoder, count: int, seed: int = 0) -> np.ndarray:
    """Rows that the model tells well: what it gives for latents that vary, and a little noise."""
    z = RNG(seed).standard_normal((count, ae.latent_dim)).astype(np.float32)
    x = ae.decode(z)
    noise = RNG(seed + 1).standard_normal(x.shape) * 0.01 * np.nan_to_num(x).std(axis=0)
    if x.dtype == np.uint8:
        return np.clip(np.rint(x + 2 * np.sign(noise)), 0, 255).astype(np.uint8)
    return (x + noise).astype(x.dtype)


def series(ae: ae_runtime.Autoencoder, count: int) -> np.ndarray:
    x = rows_of(ae, count)
    return x.reshape(-1, x.shape[-1])


@pytest.fixture(scope="module")
def gru() -> ae_runtime.Autoencoder:
    """Windows (12, 2) float32 -> 3."""
    return ae_runtime.load(GOLDEN / "gru")


def within(found: np.ndarray, x: np.ndarray, bound: Any) -> bool:
    return bool((abs(found.astype(float) - x.astype(float)) <= bound).all())


def errors(found: np.ndarray, x: np.ndarray, rmse: Any) -> float:
    known = np.isfinite(x)
    off = np.where(known, found, 0).astype(float) - np.where(known, x, 0)
    return float(np.sqrt(np.mean(((off / rmse)[known]) ** 2)))


@pytest.mark.parametrize("name", ["gru", "float32", "table", "image", "scored_series"])
@pytest.mark.parametrize("inside", [True, False])
def test_every_value_is_within_the_bound(tmp_path: Path, name: str, inside: bool) -> None:
    ae = ae_runtime.load(GOLDEN / name)
    x = rows_of(ae, 600)
    deviation = np.nan_to_num(x.astype(float)).std(axis=0)
    bound = np.where(deviation > 0, 0.1 * deviation, 0.1) if x.dtype != np.uint8 else 8.0
    written = compress(
        x, tmp_path / "x.aez", max_error=bound, model=ae, include_model=inside, chunk_rows=250
    )
    assert (written.model_bytes > 0) == inside
    with Archive(tmp_path / "x.aez", model=None if inside else ae) as archive:
        assert archive.model_id == ae.model_id
        assert archive.has_model == inside
        found = archive[:]
        np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
        assert within(np.nan_to_num(found), np.nan_to_num(x), np.broadcast_to(bound, x.shape))
        np.testing.assert_array_equal(archive[249:252], archive[:][249:252])
    if name in ("gru", "scored_series", "image"):
        assert written.modes == {"model": 3}  # for which these rows were made


@pytest.mark.parametrize("rows", [1, 11, 12, 13, 250])
def test_rows_of_a_series_are_time_steps(
    tmp_path: Path, gru: ae_runtime.Autoencoder, rows: int
) -> None:
    x = series(gru, 30)[:rows]
    x[rows // 2, 0] = np.nan
    wide = np.concatenate([x.astype(np.float64)] * 3)
    for given in (x, wide):
        compress(given, tmp_path / "x.aez", max_error=0.05, model=gru, overwrite=True)
        with Archive(tmp_path / "x.aez", gru) as archive:
            found = archive[:]
            assert found.dtype == given.dtype
            np.testing.assert_array_equal(np.isnan(found), np.isnan(given))
            assert within(np.nan_to_num(found), np.nan_to_num(given), 0.05)


@pytest.mark.parametrize("kind", ["max_error", "rmse"])
def test_a_sample_of_many_rows_shows_whether_the_model_pays(
    tmp_path: Path, gru: ae_runtime.Autoencoder, kind: str
) -> None:
    knows = series(gru, 12_000)  # 288,000 values: more than all ways are made of
    other = np.cumsum(RNG(0).standard_normal(knows.shape), axis=0).astype(np.float32)
    for x, pays in ((knows, True), (other, False)):
        bound = 0.1 * x.std(axis=0)
        written = compress(x, tmp_path / "x.aez", model=gru, overwrite=True, **{kind: bound})
        assert (written.modes == {"model": 1}) == pays
        with Archive(tmp_path / "x.aez", gru) as archive:
            found = archive[:]
        assert within(found, x, bound) if kind == "max_error" else errors(found, x, bound) <= 1


def test_windows_fill_chunks(tmp_path: Path, gru: ae_runtime.Autoencoder) -> None:
    compress(series(gru, 10), tmp_path / "x.aez", max_error=0.1, model=gru)
    with Archive(tmp_path / "x.aez", gru) as archive:
        assert archive._header.chunk_rows % 12 == 0


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_a_mean_error_is_kept_in_each_chunk(
    tmp_path: Path, gru: ae_runtime.Autoencoder, share: float
) -> None:
    x = series(gru, 300)
    x[100:110, 1] = np.nan
    x[5, 0] = np.inf
    rmse = share * np.nanstd(np.where(np.isfinite(x), x, np.nan), axis=0)
    for model in (gru, None):
        path = tmp_path / "x.aez"
        written = compress(x, path, rmse=rmse, model=model, chunk_rows=1200, overwrite=True)
        if model is not None and share == 0.1:
            assert "model" in written.modes
        with Archive(path, model) as archive:
            assert archive.max_error is None
            np.testing.assert_array_equal(archive.rmse, rmse)
            for first, found in archive.blocks():
                true = x[first : first + len(found)]
                np.testing.assert_array_equal(np.isfinite(found), np.isfinite(true))
                assert errors(found, true, rmse) <= 1
                # Of which nothing is given away, where values are many.
                assert errors(found, true, rmse) > 0.9


def test_integers_and_wide_rows_with_a_mean_error(tmp_path: Path) -> None:
    rng = RNG(0)
    smooth = rng.standard_normal((400, 5)) @ rng.standard_normal((5, 60)) * 40
    for x, rmse in ((smooth, 2.0), (smooth.astype(np.int32), 3), (smooth.astype(np.int16), 0.2)):
        compress(x, tmp_path / "x.aez", rmse=rmse, overwrite=True)
        with Archive(tmp_path / "x.aez") as archive:
            assert archive[:].dtype == x.dtype
            assert errors(archive[:], x, rmse) <= 1
            if rmse > 1:
                assert {chunk.mode for chunk in archive.chunks} == {"pca"}


def test_wide_rows_that_vary_in_few_directions(tmp_path: Path) -> None:
    rng = RNG(0)
    x = (rng.standard_normal((3000, 4)) @ rng.standard_normal((4, 80))).astype(np.float32)
    x[7, 9] = np.nan
    written = compress(x, tmp_path / "x.aez", max_error=0.01)
    assert written.modes == {"pca": 1}
    with Archive(tmp_path / "x.aez") as archive:
        assert within(np.nan_to_num(archive[:]), np.nan_to_num(x), 0.01)


@pytest.mark.parametrize("kind", ["max_error", "rmse"])
def test_categories_come_back_whatever_the_bound(tmp_path: Path, kind: str) -> None:
    rng = RNG(0)
    x = np.stack([np.cumsum(rng.standard_normal(900)), rng.integers(0, 900, 900)], axis=1)
    x[::7, 1] = np.nan
    levels = [None, [f"word {n}" for n in range(900)]]
    compress(x, tmp_path / "x.aez", levels=levels, names=["a", "b"], **{kind: 5.0})
    with Archive(tmp_path / "x.aez") as archive:
        assert archive.levels == levels
        np.testing.assert_array_equal(archive[:][:, 1], x[:, 1])
        assert (archive[:][:, 0] != x[:, 0]).all()


@pytest.mark.parametrize("kind", ["max_error", "rmse"])
def test_columns_with_a_bound_of_0_come_back_as_they_were(
    tmp_path: Path, gru: ae_runtime.Autoencoder, kind: str
) -> None:
    x = series(gru, 100)
    x[:, 1] = np.round(x[:, 1] * 50)
    x[::9, 1] += 0.25
    x[3, 1] = -0.0
    for model in (gru, None):
        bounds = {kind: [0.05, 0.0]}
        compress(x, tmp_path / "x.aez", model=model, overwrite=True, **bounds)
        with Archive(tmp_path / "x.aez", model) as archive:
            np.testing.assert_array_equal(archive[:][:, 1].view("u4"), x[:, 1].view("u4"))
            assert (archive[:][:, 0] != x[:, 0]).any()
            # The mean is over the columns that may change.
            assert errors(archive[:][:, 0], x[:, 0], 0.05) <= 1
    compress(x, tmp_path / "y.aez", **{kind: 0.0})
    with Archive(tmp_path / "y.aez") as archive:
        np.testing.assert_array_equal(archive[:].view("u4"), x.view("u4"))


def test_integers_come_back_to_the_last_bit() -> None:
    codes = np.arange(1 << 16, dtype=np.float64)
    np.testing.assert_array_equal(codes * (EXACT_LIMIT * (2 - 2.0**-9)), codes)


def test_archives_that_refer_to_a_model_say_so(tmp_path: Path, gru: ae_runtime.Autoencoder) -> None:
    x = series(gru, 100)
    compress(x, tmp_path / "x.aez", max_error=0.05, model=gru)
    with (
        Archive(tmp_path / "x.aez") as archive,
        pytest.raises(
            ArchiveError,
            match=f"rows 1 to 1,200: they are latents of the model {gru.model_id[:12]}; give its",
        ),
    ):
        archive[:]
    other = ae_runtime.load(GOLDEN / "scored_series")
    with (
        Archive(tmp_path / "x.aez", other) as archive,
        pytest.raises(ArchiveError, match="the decoder is not the one that the archive was"),
    ):
        list(archive.blocks("skip"))


def parts_of(path: Path) -> list[tuple[frames.Frame, bytes]]:
    raw = path.read_bytes()
    size = len(raw)
    file, at, found = io.BytesIO(raw), frames.START, []
    while (frame := frames.read_frame(file, at, size)) is not None:
        found.append((frame, frames.read_payload(file, frame)))
        at = frame.end
    return found


def changed(path: Path, marker: bytes, edit: Any) -> None:
    """Write the archive again with the payload of one frame edited, its CRC right."""
    out = frames.start()
    for frame, payload in parts_of(path):
        new = edit(payload) if frame.marker == marker else payload
        out += frames.framed(frame.marker, new, frame.mode, frame.number, frame.rows, frame.first)
    path.write_bytes(out)


def test_a_reader_whose_arithmetic_is_off_is_told(
    tmp_path: Path, gru: ae_runtime.Autoencoder
) -> None:
    path = tmp_path / "x.aez"
    compress(series(gru, 100), path, max_error=0.05, model=gru, include_model=True)

    def off(payload: bytes) -> bytes:
        head = header.parse(payload)
        model = head.model
        assert model is not None
        moved = [value + 3 * max(model.decoder_error) for value in model.probe.x_hat]
        probe = msgspec.structs.replace(model.probe, x_hat=moved)
        model = msgspec.structs.replace(model, probe=probe)
        return header.dump(msgspec.structs.replace(head, model=model))

    changed(path, frames.HEAD, off)
    with (
        Archive(path) as archive,
        pytest.raises(ArchiveError, match="this machine's arithmetic is off by"),
    ):
        archive[:5]


@pytest.mark.parametrize("name", ["gru", "scored_series", "image"])
def test_a_decoder_off_by_its_error_keeps_the_bound(tmp_path: Path, name: str) -> None:
    """As on another machine: each value of x_hat anywhere within the decoder error."""
    ae = ae_runtime.load(GOLDEN / name)
    x = rows_of(ae, 400)
    x = x.reshape(len(x), -1)
    bound = 0.05 if name != "image" else 6.0
    compress(x.reshape(-1, *ae.input_shape), tmp_path / "x.aez", max_error=bound, model=ae)
    with Archive(tmp_path / "x.aez", ae) as archive:
        error, error_bound = archive.decoder_error, archive._bound
        archive[0]
        decoder = archive._decoder
    assert error is not None
    assert decoder is not None
    exact, rng = decoder.decode, RNG(0)

    def rough(z: np.ndarray) -> np.ndarray:
        x_hat = exact(z)
        by = rng.choice([-1, 0, 1], x_hat.shape) * np.broadcast_to(error, x_hat.shape[1:])
        if x_hat.dtype == np.uint8:
            return np.clip(x_hat + by, 0, 255).astype(np.uint8)
        return (x_hat + by).astype(x_hat.dtype)

    with Archive(tmp_path / "x.aez", ae) as archive:
        archive[0]
        assert archive._decoder is not None
        archive._decoder.decode = rough  # type: ignore[method-assign]
        assert within(archive[:].reshape(x.shape), x, bound)
    assert Residuals(decoder, error_bound).trusted.all()


def test_a_damaged_model_costs_its_chunks_alone(
    tmp_path: Path, gru: ae_runtime.Autoencoder
) -> None:
    path = tmp_path / "x.aez"
    x = series(gru, 50)
    noise = RNG(0).standard_normal(x.shape).astype(np.float32) * 1e6
    both = np.concatenate([x, noise])  # of which no model knows anything
    blocks, rows = iter([x, noise]), len(x)
    written = compress(blocks, path, max_error=0.05, model=gru, include_model=True, chunk_rows=rows)
    assert written.modes["model"] == 1
    raw = bytearray(path.read_bytes())
    (place,) = [frame.at for frame, _ in parts_of(path) if frame.marker == frames.MODEL]
    raw[place + 50] ^= 1
    path.write_bytes(raw)
    bad: list[Any] = []
    with Archive(path) as archive:
        found = dict(archive.blocks("skip", bad))
        assert [(lost.first, lost.rows) for lost in bad] == [(0, len(x))]
        assert within(found[len(x)], noise, 0.05)
        with pytest.raises(ArchiveCorrupt):
            archive[0]
    with Archive(path, gru) as archive:  # the bundle stands in
        assert within(archive[:], both, 0.05)
    raw[place - 8] ^= 1  # in its frame
    path.write_bytes(raw)
    with Archive(path) as archive:
        assert archive.notes == ["the model inside is lost; give its bundle"]
        with pytest.raises(ArchiveCorrupt, match="the model inside is lost"):
            archive[0]


def test_a_model_inside_that_is_none(tmp_path: Path, gru: ae_runtime.Autoencoder) -> None:
    compress(series(gru, 50), tmp_path / "x.aez", max_error=0.05, model=gru, include_model=True)
    whole = (tmp_path / "x.aez").read_bytes()
    for edit, line in (
        (lambda raw: raw[:-9], "the model inside is cut"),
        (lambda raw: b"no zlib", "the model inside cannot be read"),
        (lambda raw: zlib.compress(b"another"), "the decoder is not the one"),
    ):
        (tmp_path / "y.aez").write_bytes(whole)
        changed(tmp_path / "y.aez", frames.MODEL, edit)
        with Archive(tmp_path / "y.aez") as archive, pytest.raises(ArchiveError, match=line):
            archive[0]


def test_models_that_an_archive_cannot_use(tmp_path: Path, gru: ae_runtime.Autoencoder) -> None:
    for name, x, line in (
        ("mixed", np.ones((9, 2)), "its rows hold categories"),
        ("int8", np.ones((9, 2), np.float32), "its int8 arithmetic jumps between machines"),
        ("gru", np.ones((9, 3), np.float32), r"the rows have shape \(3,\), the bundle's model"),
    ):
        with pytest.raises(DataError, match=line):
            compress(x, tmp_path / "x.aez", max_error=0.1, model=ae_runtime.load(GOLDEN / name))
    for words, line in (
        ({}, "a model needs a max_error or an rmse"),
        ({"max_error": 1, "rmse": 1}, "max_error and rmse are two error bounds; give one of them"),
    ):
        with pytest.raises(DataError, match=line):
            compress(np.ones((24, 2), np.float32), tmp_path / "x.aez", model=gru, **words)
    with pytest.raises(DataError, match="the first block has no rows"):
        compress(np.ones((0, 2), np.float32), tmp_path / "x.aez", max_error=1, model=gru)
    assert not list(tmp_path.iterdir())


def test_one_archive_from_blocks_or_one_array(tmp_path: Path, gru: ae_runtime.Autoencoder) -> None:
    x = series(gru, 200)
    compress(x, tmp_path / "a.aez", max_error=0.05, model=gru, chunk_rows=600)
    blocks = iter([x[:1200], x[1200:1207], x[1207:]])
    compress(blocks, tmp_path / "b.aez", max_error=0.05, model=gru, chunk_rows=600)
    with Archive(tmp_path / "a.aez", gru) as a, Archive(tmp_path / "b.aez", gru) as b:
        assert a.shape == b.shape
        assert within(b[:], x, 0.05)
        assert {chunk.mode for chunk in b.chunks} == {modes.NAMES[modes.LATENTS]}


def test_a_decoder_is_checked_as_graphs_are(gru: ae_runtime.Autoencoder) -> None:
    graph = b"no graph"
    model = header.Model(
        id="x",
        sha256=digest(graph),
        dtype="float32",
        steps=[0],
        middle=[0],
        decoder_error=[1.0],
        probe=header.Probe(1, [], 1.0),
    )
    with pytest.raises(ArchiveError, match="the archive's model cannot be used"):
        Decoder(model, graph, (2,))
