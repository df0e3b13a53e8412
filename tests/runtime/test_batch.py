"""Files hold what encode, decode and reconstruct give, are stamped, and what is odd is said."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ae_runtime import Autoencoder, load
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.errors import AeError, DataError, LatentMismatch
from ae_runtime.files.readers.formats import read_array, read_table
from ae_runtime.model.model import Model
from ae_runtime.outputs import read_stamp

NAMES = ["far", "tiny", "gaps", "constant", "empty", "count"]


@pytest.fixture(scope="module")
def ae(table_bundle: Path) -> Autoencoder:
    return load(table_bundle, threads=1)


pytestmark = pytest.mark.usefixtures("in_tmp_path")


def rows(n: int = 50, seed: int = 0) -> NDArray[np.float64]:
    """(n, 6): what the table bundle was trained on looks like."""
    u, v = np.random.default_rng(seed).standard_normal((2, n))
    x = np.stack([1e6 + u, u * u * 1e-6, u + v, u * 0 + 5.5, u * np.nan, np.rint(v * 10)], 1)
    x[::7, 2] = np.nan
    return x


def write_csv(name: str, columns: dict[str, NDArray[Any]]) -> None:
    lines = [",".join(columns)]
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        lines.append(",".join(map(repr, row)))
    Path(name).write_text("\n".join(lines) + "\n")


def refused(error: type[AeError], ae: Autoencoder, verb: str, source: str, out: str) -> str:
    """The message; the folder holds what it held before."""
    before = sorted(Path().iterdir())
    with pytest.raises(error) as found:
        getattr(ae, f"{verb}_file")(source, out)
    assert sorted(Path().iterdir()) == before
    return str(found.value)


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_files_hold_what_the_methods_give(
    ae: Autoencoder, suffix: str, rows_in: Callable[..., Any]
) -> None:
    x = rows()
    np.save("x.npy", x)
    done = ae.encode_file("x.npy", f"z.{suffix}")
    assert (done.rows, done.resumed_rows, done.notes) == (50, 0, [])
    z = rows_in(f"z.{suffix}")
    np.testing.assert_array_equal(z.astype(np.float32), ae.encode(x))  # a CSV is read as float64
    ae.decode_file(f"z.{suffix}", "x_hat.npy")
    np.testing.assert_array_equal(np.load("x_hat.npy"), ae.reconstruct(x))
    ae.reconstruct_file("x.npy", "direct.npy")
    assert Path("direct.npy").read_bytes() == Path("x_hat.npy").read_bytes()


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_bytes_depend_on_neither_blocks_nor_tile_nor_threads(
    ae: Autoencoder, table_bundle: Path, suffix: str
) -> None:
    np.save("x.npy", rows(100))
    ae.reconstruct_file("x.npy", f"a.{suffix}")
    other = Autoencoder(Model(open_bundle(table_bundle), threads=2, tile=3, block_rows=7))
    other.reconstruct_file("x.npy", f"b.{suffix}")
    assert Path(f"a.{suffix}").read_bytes() == Path(f"b.{suffix}").read_bytes()


@pytest.mark.parametrize(("n", "size"), [(32, 5), (33, 32), (1000, 333), (100_000, 4097)])
def test_files_of_any_size_in_odd_blocks(table_bundle: Path, n: int, size: int) -> None:
    other = Autoencoder(Model(open_bundle(table_bundle), threads=3, block_rows=size))
    x = rows(n)
    np.save("x.npy", x)
    assert other.encode_file("x.npy", "z.npy").rows == n
    z = np.load("z.npy")
    np.testing.assert_array_equal(z, other.encode(x))
    assert other.decode_file("z.npy", "x_hat.npz").rows == n
    assert other.reconstruct_file(Path("x.npy"), Path("direct.npz")).rows == n
    assert Path("x_hat.npz").read_bytes() == Path("direct.npz").read_bytes()
    with np.load("direct.npz") as found:
        np.testing.assert_array_equal(found["x_hat"], other.decode(z))


def test_csv_columns_are_found_by_name(ae: Autoencoder) -> None:
    x = rows()
    columns = dict(zip(NAMES, x.T, strict=True))
    shuffled = {"id": np.arange(50), **{name: columns[name] for name in reversed(NAMES)}}
    write_csv("x.csv", shuffled | {"more": np.ones(50)})
    done = ae.encode_file("x.csv", "z.npy")
    np.testing.assert_array_equal(np.load("z.npy"), ae.encode(x))
    assert done.notes == [
        "x.csv: separator ',', with a header",
        "columns not in the model are left out: id, more",
    ]


def test_a_reconstructed_csv_has_the_columns_of_the_table(ae: Autoencoder) -> None:
    x = rows()
    np.save("x.npy", x)
    ae.reconstruct_file("x.npy", "x_hat.csv")
    table = read_table("x_hat.csv")
    assert list(table.columns) == NAMES
    assert table.integer == {"count"}
    found = np.stack(list(table.columns.values()), axis=1)
    x_hat = ae.reconstruct(x)
    np.testing.assert_array_equal(found[:, :5], x_hat[:, :5])
    np.testing.assert_array_equal(found[:, 5], np.rint(x_hat[:, 5]))


def test_columns_that_are_missing_are_named(ae: Autoencoder) -> None:
    write_csv("x.csv", {"far": np.ones(2), "count": np.ones(2)})
    assert refused(DataError, ae, "encode", "x.csv", "z.npy") == (
        "x.csv lacks 4 of the model's columns: tiny, gaps, constant, empty"
    )


def test_files_of_another_shape_are_named(ae: Autoencoder) -> None:
    np.save("x.npy", np.ones((4, 3)))
    assert refused(DataError, ae, "encode", "x.npy", "z.npy") == (
        "x.npy: x has shape (4, 3), the bundle wants (B, 6)"
    )
    assert refused(DataError, ae, "decode", "x.npy", "y.npy") == (
        "x.npy: z has shape (4, 3), the bundle wants (B, 2)"
    )


def test_images_do_not_go_into_a_csv(digits_bundle: Path) -> None:
    np.save("x.npy", np.ones((4, 8, 8), np.uint8))
    assert refused(DataError, load(digits_bundle), "reconstruct", "x.npy", "x_hat.csv") == (
        "x_hat.csv: a .csv holds (N, D), not (N, 8, 8); write .npy or .npz"
    )


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_no_rows_in_no_rows_out(ae: Autoencoder, suffix: str) -> None:
    np.save("x.npy", np.empty((0, 6)))
    assert ae.encode_file("x.npy", f"z.{suffix}").rows == 0
    if suffix == "csv":
        assert Path("z.csv").read_text() == "z0,z1\n"
    else:
        assert read_array(f"z.{suffix}").shape == (0, 2)


def test_progress_counts_every_block(ae: Autoencoder) -> None:
    ae = Autoencoder(Model(ae.bundle, block_rows=20))
    np.save("x.npy", rows(50))
    seen: list[tuple[int, int]] = []
    ae.encode_file("x.npy", "z.npy", progress=lambda *at: seen.append(at))
    assert seen == [(20, 50), (40, 50), (50, 50)]


@pytest.mark.parametrize(("verb", "what"), [("encode", "z"), ("reconstruct", "x_hat")])
@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_every_output_is_stamped(ae: Autoencoder, verb: Any, what: str, suffix: str) -> None:
    np.save("x.npy", rows())
    out = Path(f"out.{suffix}")
    getattr(ae, f"{verb}_file")("x.npy", out)
    stamp = {"ae_toolkit": what, "model_id": ae.model_id}
    if suffix != "npz":
        stamp |= {"rows": 50, "bytes": out.stat().st_size}  # type: ignore[dict-item]
        beside = json.loads(Path(f"out.{suffix}.json").read_text())
        assert beside == stamp | {"job": beside["job"]}
        assert re.fullmatch("[0-9a-f]{32}", beside["job"])  # no path, nothing of the input
        stamp = beside
    assert read_stamp(out) == stamp


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_latents_of_another_model_are_refused(
    ae: Autoencoder, golden_bundle: Path, table_bundle: Path, suffix: str
) -> None:
    np.save("x.npy", rows())
    ae.encode_file("x.npy", f"z.{suffix}")
    other = load(golden_bundle)  # they all have two latents
    if golden_bundle == table_bundle:
        assert other.decode_file(f"z.{suffix}", "x_hat.npy").rows == 50
        return
    assert refused(LatentMismatch, other, "decode", f"z.{suffix}", "x_hat.npy") == (
        f"z.{suffix} holds latents of model {ae.model_id[:12]}, this bundle is "
        f"{other.model_id[:12]}; decode with the bundle that encoded them"
    )


def test_a_stamp_travels_inside_an_npz_and_beside_an_npy(ae: Autoencoder) -> None:
    np.save("x.npy", rows())
    for name in ("z.npy", "z.npz"):
        ae.encode_file("x.npy", name)
    Path("elsewhere").mkdir()
    shutil.move("z.npz", "elsewhere/a.npz")
    shutil.move("z.npy", "elsewhere/b.npy")
    assert ae.decode_file("elsewhere/a.npz", "x_hat.npy").notes == []
    assert ae.decode_file("elsewhere/b.npy", "x_hat.npz").notes == [
        "b.npy is unstamped: taken as latents of this model"
    ]
    shutil.move("z.npy.json", "elsewhere/b.npy.json")
    assert ae.decode_file("elsewhere/b.npy", "b_hat.npy").notes == []


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_a_changed_file_is_unstamped(ae: Autoencoder, suffix: str) -> None:
    np.save("x.npy", rows())
    ae.encode_file("x.npy", f"z.{suffix}")
    changed = ae.encode(rows(40))
    if suffix == "csv":
        write_csv("z.csv", {"z0": changed[:, 0], "z1": changed[:, 1]})
    elif suffix == "npy":
        np.save("z.npy", changed)
    else:
        np.savez("z.npz", z=changed)
    found = ae.decode_file(f"z.{suffix}", "x_hat.npy").notes
    read = ["z.csv: separator ',', with a header"] if suffix == "csv" else []
    assert found == [*read, f"z.{suffix} is unstamped: taken as latents of this model"]
    np.testing.assert_array_equal(np.load("x_hat.npy"), ae.decode(changed))


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_an_infinity_is_named(ae: Autoencoder, bad: float) -> None:
    ae = Autoencoder(Model(ae.bundle, block_rows=20))  # so that it is in the second block
    x = rows()
    x[30, 2] = x[31, 0] = bad
    columns = dict(zip(NAMES, x.T, strict=True))
    write_csv("x.csv", {name: columns[name] for name in reversed(NAMES)})
    advice = "correct it, or write NaN for a missing value"
    for out in ("z.npy", "z.npz", "z.csv"):
        assert refused(DataError, ae, "encode", "x.csv", out) == (
            f"x.csv: row 31, column 'gaps' is infinite; {advice}"
        )
    np.save("z_in.npy", np.array([[1, 2], [3, bad]], np.float32))
    assert refused(DataError, ae, "decode", "z_in.npy", "x_hat.npy") == (
        f"z_in.npy: row 2, column 2 is infinite; {advice}"
    )


@pytest.mark.parametrize("golden_bundle", ["float32"], indirect=True)
def test_an_infinity_in_an_array_without_names(golden_bundle: Path) -> None:
    x = np.ones((5, 3), np.float32)
    x[4, 1] = np.inf
    np.save("x.npy", x)
    assert refused(DataError, load(golden_bundle), "reconstruct", "x.npy", "x_hat.npy") == (
        "x.npy: row 5, column 2 is infinite; correct it, or write NaN for a missing value"
    )
