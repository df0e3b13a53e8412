"""Where ae-run may write: every case of --out, and files that are whole or absent."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ae_runtime import Autoencoder, errors, load, outputs

OUTS = ["z.npy", "z.npz", "z.csv"]


@pytest.fixture(scope="module")
def ae(digits_bundle: Path) -> Autoencoder:
    return load(digits_bundle, threads=1)


@pytest.fixture(autouse=True)
def files(in_tmp_path: Path) -> None:
    for name, seed in (("x.npy", 0), ("other.npy", 1)):
        x = np.random.default_rng(seed).integers(0, 17, (10 + seed, 8, 8))
        np.save(name, x.astype(np.uint8))


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def refused(ae: Autoencoder, source: str, out: str, overwrite: bool = False) -> str:
    """The message of OutputExists; nothing in the folder has changed."""
    before = contents()
    with pytest.raises(errors.OutputExists) as error:
        ae.encode_file(source, out, overwrite=overwrite)
    assert contents() == before
    return str(error.value)


def write_by_hand(out: str) -> None:
    rows = np.ones((3, 8), np.float32)
    if out.endswith(".npy"):
        np.save(out, rows)
    elif out.endswith(".npz"):
        np.savez(out, z=rows)
    else:
        Path(out).write_text("a,b\n1,2\n")


@pytest.mark.parametrize("out", OUTS)
def test_absent_is_made_and_nothing_else(ae: Autoencoder, out: str) -> None:
    ae.encode_file("x.npy", out)
    sidecar = set() if out == "z.npz" else {f"{out}.json"}
    assert set(contents()) == {"x.npy", "other.npy", out} | sidecar


@pytest.mark.parametrize("out", OUTS)
def test_ours_and_complete_is_replaced_with_overwrite_only(ae: Autoencoder, out: str) -> None:
    ae.encode_file("other.npy", out)
    message = f"{out} exists already; --overwrite replaces it"
    assert refused(ae, "x.npy", out) == message
    ae.encode_file("x.npy", out, overwrite=True)
    ae.encode_file("x.npy", f"fresh.{out}")
    assert Path(out).read_bytes() == Path(f"fresh.{out}").read_bytes()
    assert outputs.read_stamp(Path(out)) == outputs.read_stamp(Path(f"fresh.{out}"))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("out", OUTS)
def test_what_someone_else_wrote_is_never_replaced(
    ae: Autoencoder, out: str, overwrite: bool
) -> None:
    write_by_hand(out)
    assert refused(ae, "x.npy", out, overwrite) == (
        f"{out} exists and is not an output of ae-run; it is never overwritten, choose another"
    )


@pytest.mark.parametrize("out", OUTS)
def test_ours_is_no_longer_ours_once_someone_changed_it(ae: Autoencoder, out: str) -> None:
    ae.encode_file("x.npy", out)
    write_by_hand(out)
    assert outputs.read_stamp(Path(out)) is None
    assert refused(ae, "x.npy", out, overwrite=True) == (
        f"{out} exists and is not an output of ae-run; it is never overwritten, choose another"
    )


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("make", [os.mkdir, lambda out: os.symlink("nowhere", out)])
def test_a_folder_or_a_dangling_link_is_not_ours(
    ae: Autoencoder, make: Callable[[str], None], overwrite: bool
) -> None:
    for out in OUTS:
        make(out)
        assert refused(ae, "x.npy", out, overwrite) == (
            f"{out} exists and is not an output of ae-run; it is never overwritten, choose another"
        )
        assert os.path.lexists(out)
        assert not Path("nowhere").exists()


def test_a_missing_folder_is_not_made(ae: Autoencoder) -> None:
    assert refused(ae, "x.npy", "a/b/z.npy") == (
        "a/b/z.npy: the folder a/b does not exist; make it first"
    )
    assert not Path("a").exists()


def test_the_input_is_no_output(ae: Autoencoder) -> None:
    # Not stamped: a file like any other that is not ours.
    assert refused(ae, "x.npy", "x.npy", overwrite=True) == (
        "x.npy exists and is not an output of ae-run; it is never overwritten, choose another"
    )
    # Stamped, and so ours.
    for out, source in (
        ("z.npy", str(Path("z.npy").absolute())),
        ("z.npz", "z.npz:z"),
        ("z.csv", "z.csv"),
    ):
        ae.encode_file("x.npy", out)
        before = contents()
        with pytest.raises(errors.DataError) as error:
            ae.decode_file(source, out, overwrite=True)
        assert str(error.value) == f"{out} is the input; choose another output"
        assert contents() == before


def test_a_sidecar_that_someone_else_wrote_is_never_replaced(ae: Autoencoder) -> None:
    Path("z.csv.json").write_text('{"bytes": 3}')
    for overwrite in (False, True):
        assert refused(ae, "x.npy", "z.csv", overwrite) == (
            "z.csv.json exists and is not the stamp of an output; it is never overwritten, "
            "choose another name than z.csv"
        )
    ae.encode_file("x.npy", "z.npz")  # needs no sidecar
    ae.encode_file("x.npy", "z.npy")
    Path("z.npy").unlink()  # its sidecar, left alone, is still ours
    ae.encode_file("x.npy", "z.npy")


def test_a_part_that_someone_else_wrote_is_never_replaced(ae: Autoencoder) -> None:
    for name in ("z.npy.part", "z.npy.part.json"):
        Path(name).write_text("mine")
        assert refused(ae, "x.npy", "z.npy") == f"{name} is in the way and not ours; move it"
        Path(name).unlink()


def test_out_must_be_a_type_that_can_be_written(ae: Autoencoder) -> None:
    for out, found in (("z", "no file extension"), ("z.feather", ".feather")):
        with pytest.raises(errors.DataError) as error:
            ae.encode_file("x.npy", out)
        assert str(error.value) == (
            f"{out}: {found} cannot be written; known types: .npy, .npz, .csv, .parquet"
        )


@pytest.mark.parametrize(
    "stamp",
    [
        *("", "[]", "null", "{}", "[" * 100_000, b"\xff"),
        '{"ae_toolkit": "z", "bytes": 4}',
        '{"ae_toolkit": "z", "model_id": "abc"}',
        '{"ae_toolkit": "z", "model_id": "", "bytes": 4}',
    ],
)
def test_what_is_no_stamp(stamp: str | bytes) -> None:
    Path("z.npy").write_bytes(b"1234")
    Path("z.npy.json").write_bytes(stamp if isinstance(stamp, bytes) else stamp.encode())
    assert outputs.read_stamp(Path("z.npy")) is None
    with pytest.raises(errors.OutputExists):
        outputs.check_sidecar_free(Path("z.npy"))


def test_a_stamp_holds_for_a_file_of_its_size() -> None:
    stamp = {"ae_toolkit": "z", "model_id": "abc", "rows": 1, "bytes": 4}
    Path("z.npy.json").write_text(json.dumps(stamp))
    assert outputs.read_stamp(Path("z.npy")) is None
    Path("z.npy").write_bytes(b"1234")
    assert outputs.read_stamp(Path("z.npy")) == stamp
    Path("z.npy").write_bytes(b"12345")
    assert outputs.read_stamp(Path("z.npy")) is None


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_atomic_write_leaves_the_old_file(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    Path("note").write_bytes(b"old")
    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(OSError, match="No space"):
        outputs.write_atomic(Path("note"), b"new")
    assert {name: raw for name, raw in contents().items() if "note" in name} == {"note": b"old"}


def folder(name: str, text: str) -> Path:
    Path(name).mkdir()
    (Path(name) / "file").write_text(text)
    return Path(name)


def folders() -> dict[str, str]:
    return {str(path.parent): path.read_text() for path in Path().rglob("file")}


def test_a_folder_is_replaced_as_a_whole() -> None:
    outputs.replace_folder(folder("new", "1"), Path("out"))
    folder("out.old", "a backup that someone made")
    outputs.replace_folder(folder("new", "2"), Path("out"))
    assert folders() == {"out": "2", "out.old": "a backup that someone made"}
    assert len([path for path in Path().iterdir() if path.is_dir()]) == 2


def test_a_folder_that_cannot_be_replaced_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    folder("out", "1")
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(OSError, match="Input/output"):
        outputs.replace_folder(folder("new", "2"), Path("out"))
    assert folders() == {"out": "1", "new": "2"}
    assert len([path for path in Path().iterdir() if path.is_dir()]) == 2


def test_an_empty_folder_counts_as_absent() -> None:
    Path("empty").mkdir()
    Path("link").symlink_to("empty")
    folder("full", "")
    found = {
        name
        for name in ("empty", "link", "full", "x.npy", "none")
        if outputs.is_empty_folder(Path(name))
    }
    assert found == {"empty"}


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "the disk quota is used up; free some space"),
        (errno.EFBIG, "the file would be larger than this system allows"),
        (errno.EACCES, "permission denied; choose a folder that you may write to"),
        (errno.EROFS, "the file system is read-only; choose another folder"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_why_the_system_said_no(number: int, reason: str) -> None:
    with pytest.raises(errors.OutputFailed) as error, outputs.said_in_one_line(Path("out/z.npy")):
        raise OSError(number, os.strerror(number), "out/z.npy.part")
    assert str(error.value) == f"out/z.npy could not be written: {reason}"
    assert error.value.exit_code == 1


@pytest.mark.parametrize("name", [".", "/"])
def test_an_output_needs_a_name(name: str) -> None:
    with pytest.raises(errors.OutputExists) as error:
        outputs.part_of(Path(name))
    assert str(error.value) == f"{name} cannot be written anew; choose a name for the output"
