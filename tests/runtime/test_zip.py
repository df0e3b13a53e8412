"""Bundles in a .zip: the same bits as from the folder, or one line that says what is wrong."""

from __future__ import annotations

import io
import os
import pickle
import random
import stat
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ae_runtime
from ae_runtime.bundle import opening as bundle_module
from ae_runtime.bundle import zipped as zip_side
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.bundle.zipped import zip_bundle
from ae_runtime.errors import (
    AeError,
    BundleCorrupt,
    BundleError,
    BundleNotFound,
    BundleRefused,
    BundleTooNew,
)

FILES = ["encoder.onnx", "decoder.onnx", "golden.npz", "recipe.toml"]
DAMAGED = "B: the archive is cut off or damaged: {}; fetch or pack it again"
LARGER = "is larger than the {} bytes it may have; fetch or export the bundle again"
IS_FOR = "a bundle is a folder or a .zip that ae-export wrote"
Part = dict[str, Any]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def deflated(raw: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(raw) + packer.flush()


def part(name: str, raw: bytes = b"", **lies: Any) -> Part:
    """A deflated member; lies: fields of its directory entry, or its `data`, that are not so."""
    data = lies.get("data", deflated(raw))
    honest = {"flags": 0, "method": 8, "crc": zlib.crc32(raw), "packed": len(data)}
    honest |= {"size": len(raw), "mode": stat.S_IFREG | 0o644, "start": None, "extra": b""}
    return {"name": name.encode(), "local_name": name.encode(), "data": data} | honest | lies


def zipped(*parts: Part, comment: bytes = b"", **lies: Any) -> bytes:
    """A .zip written byte by byte; lies: fields of its end."""
    body, directory = b"", b""
    for p in parts:
        name, start = p["name"], len(body) if p["start"] is None else p["start"]
        kind, sizes = (20, p["flags"], p["method"], 0, 33), (p["crc"], p["packed"], p["size"])
        local = (*kind, *sizes, len(p["local_name"]), 0)
        body += struct.pack("<4s5H3L2H", b"PK\3\4", *local) + p["local_name"] + p["data"]
        entry = (0x314, *kind, *sizes, len(name), len(p["extra"]), 0, 0, 0, p["mode"] << 16, start)
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", *entry) + name + p["extra"]
    end = {"disk": 0, "first": 0, "here": len(parts), "count": len(parts)}
    end |= {"length": len(directory), "start": len(body), "comment_bytes": len(comment)} | lies
    return body + directory + struct.pack("<4s4H2LH", b"PK\5\6", *end.values()) + comment


def said(error: type[AeError], location: bytes | Path) -> str:
    """The message of loading, the location written as B."""
    with pytest.raises(AeError) as caught:
        ae_runtime.load(location)
    assert type(caught.value) is error
    where = "<bytes>" if isinstance(location, bytes) else str(location)
    assert str(caught.value).startswith(where)
    return str(caught.value).replace(where, "B", 1)


@pytest.fixture(scope="session")
def files(table_bundle: Path) -> dict[str, bytes]:
    return files_of(table_bundle)


@pytest.fixture
def with_part(files: dict[str, bytes]) -> Callable[..., bytes]:
    """The bundle with one member of its own or more: part(name, raw, **lies)."""

    def make(name: str, raw: bytes = b"", **lies: Any) -> bytes:
        parts = {name: part(name, raw) for name, raw in files.items()}
        return zipped(*(parts | {name: part(name, raw, **lies)}).values())

    return make


def by_zipfile(method: int, force_zip64: bool = False) -> Callable[[dict[str, bytes]], bytes]:
    def pack(files: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as packed:
            for name, raw in files.items():
                with packed.open(name, "w", force_zip64=force_zip64) as file:
                    file.write(raw)
        return out.getvalue()

    return pack


PACKERS = {
    "zip_bundle": zip_bundle,
    "deflated": by_zipfile(zipfile.ZIP_DEFLATED),
    "stored": by_zipfile(zipfile.ZIP_STORED),
    "local zip64": by_zipfile(zipfile.ZIP_DEFLATED, force_zip64=True),
    "by hand": lambda files: zipped(*(part(*item) for item in files.items()), comment=b"Hello."),
}


def check_same_bits(folder: Path, packed: bytes, path: Path) -> None:
    path.write_bytes(packed)
    with np.load(folder / "golden.npz") as golden:
        x, whole = golden["x"], ae_runtime.load(folder)
    for location in (packed, path, str(path)):
        ae = ae_runtime.load(location)
        np.testing.assert_array_equal(ae.encode(x), whole.encode(x))
        np.testing.assert_array_equal(ae.reconstruct(x), whole.reconstruct(x))


@pytest.mark.parametrize("packer", PACKERS)
def test_the_same_bits_as_the_folder(golden_bundle: Path, packer: str, tmp_path: Path) -> None:
    packed = PACKERS[packer](files_of(golden_bundle))
    check_same_bits(golden_bundle, packed, tmp_path / "bundle.zip")


def test_the_same_bits_for_digits(digits_bundle: Path, tmp_path: Path) -> None:
    packed = zip_bundle(files_of(digits_bundle))
    check_same_bits(digits_bundle, packed, tmp_path / "any name")


def test_a_bundle_says_where_it_is_and_what_it_holds(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    path, packed = tmp_path / "bundle.zip", zip_bundle(files)
    path.write_bytes(packed)
    for location, where in ((path, str(path)), (str(path), str(path)), (packed, "<bytes>")):
        opened = open_bundle(location)
        assert opened.location == where
        assert opened.files == {name: files[name] for name in FILES}


def test_nothing_is_left_open_or_written(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(zip_bundle(files))
    ae = ae_runtime.load(path)
    assert os.listdir(tmp_path) == ["bundle.zip"]
    path.unlink()
    assert ae.encode([[1e6, 0, 0, 5.5, 0, 1]]).shape == (1, 2)


def test_it_pickles(files: dict[str, bytes]) -> None:
    ae, x = ae_runtime.load(zip_bundle(files)), [[1e6, 0, 0, 5.5, 0, 1]]
    copy = pickle.loads(pickle.dumps(ae))
    assert copy.bundle == ae.bundle
    np.testing.assert_array_equal(copy.encode(x), ae.encode(x))


def test_ae_run_takes_it(
    python: Callable[..., str], files: dict[str, bytes], table_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(zip_bundle(files))
    script = "import sys; sys.argv.insert(1, 'info'); from ae_runtime.cli import main; main()"
    assert python(script, path) == python(script, table_bundle)


def test_only_a_zip_brings_what_a_zip_needs(
    python: Callable[..., str], files: dict[str, bytes], table_bundle: Path, tmp_path: Path
) -> None:
    script = (
        "import sys, ae_runtime\n"
        "ae_runtime.load(sys.argv[1])\n"
        "print(*{'ae_runtime.bundle.zipped', 'zipfile'} & set(sys.modules))\n"
    )
    (tmp_path / "bundle.zip").write_bytes(zip_bundle(files))
    assert python(script, table_bundle) == "\n"
    assert python(script, tmp_path / "bundle.zip") == "ae_runtime.bundle.zipped\n"


def test_zip_bundle_gives_the_same_bytes(files: dict[str, bytes]) -> None:
    packed = zip_bundle(files)
    assert packed == zip_bundle(dict(reversed(files.items())))
    with zipfile.ZipFile(io.BytesIO(packed)) as members:
        infos = members.infolist()
        assert {info.filename: members.read(info) for info in infos} == files
    assert [info.filename for info in infos] == [
        "manifest.json",
        *sorted(files.keys() - {"manifest.json"}),
    ]
    for info in infos:
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert (info.create_system, info.external_attr >> 16) == (3, 0o100644)
        assert (info.extra, info.comment, info.flag_bits) == (b"", b"", 0)


def test_members_that_a_bundle_does_not_need(files: dict[str, bytes]) -> None:
    members = [part(name, raw) for name, raw in files.items() if name != "README.md"]
    more = [part("__MACOSX/._manifest.json", b"x"), part("notes/", mode=stat.S_IFDIR | 0o755)]
    more += [part("größe..txt"), part("-") | {"name": b"\xff\xfe"}, part("from DOS", mode=0)]
    more.append(part("dated", extra=b"UT\5\0\3" + bytes(4)))
    ae_runtime.load(zipped(*more, *members))


@pytest.mark.parametrize("raw", [b"", b"PK", b"PK\1\2", b"\x89PNG\r\n", b"/home/ada/bundle"])
def test_bytes_that_are_no_zip(raw: bytes, tmp_path: Path) -> None:
    assert said(BundleNotFound, raw) == f"B are no .zip; {IS_FOR}"
    (tmp_path / "bundle.zip").write_bytes(raw)
    assert said(BundleNotFound, tmp_path / "bundle.zip") == f"B is a file; {IS_FOR}"


def test_another_zip(files: dict[str, bytes], table_bundle: Path) -> None:
    message = "B is not a bundle: it holds no manifest.json"
    assert said(BundleNotFound, zip_bundle({})) == message
    assert said(BundleNotFound, zip_bundle({"a.txt": b"Hello."})) == message
    assert said(BundleNotFound, files["golden.npz"]) == message
    assert said(BundleNotFound, table_bundle / "golden.npz") == message


def test_a_run(tmp_path: Path) -> None:
    (tmp_path / "run.zip").write_bytes(zip_bundle({"schema.json": b"{}"}))
    assert said(BundleNotFound, tmp_path / "run.zip") == (
        "B is not a bundle: it holds no manifest.json, it is a run: ae-export makes a bundle of it"
    )


@pytest.mark.parametrize("folder", ["bundle", "my/bundle"])
def test_a_folder_in_the_archive(files: dict[str, bytes], folder: str) -> None:
    packed = zip_bundle({f"{folder}/{name}": raw for name, raw in files.items()})
    assert said(BundleNotFound, packed) == (
        f"B: the bundle is in the archive's folder '{folder}', it must lie at the root; "
        "pack the files, not their folder"
    )


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(files: dict[str, bytes], name: str) -> None:
    packed = zip_bundle({n: raw for n, raw in files.items() if n != name})
    message = f"B: {name} is missing; fetch or export the bundle again"
    assert said(BundleCorrupt, packed) == message


def test_what_the_manifest_says_is_checked(files: dict[str, bytes]) -> None:
    changed = files | {"encoder.onnx": files["encoder.onnx"][:-1] + b"\0"}
    assert said(BundleCorrupt, zip_bundle(changed)) == (
        "B: encoder.onnx does not match the hash in the manifest; fetch or export the bundle again"
    )
    newer = files["manifest.json"].replace(b'"format": "1.0"', b'"format": "2.0"')
    assert said(BundleTooNew, zip_bundle(files | {"manifest.json": newer})) == (
        "B: the bundle has format 2.0, this version reads up to 1.x; update ae-toolkit"
    )


@pytest.mark.parametrize(
    "name",
    [
        *("", "/x", "//host/x", "..", "../x", "a/../../x", "a/..", "C:/x", "c:x"),
        *("..\\x", "\\x", "a\\b", "x\0.txt"),
    ],
)
def test_names_that_lead_out(with_part: Callable[..., bytes], name: str) -> None:
    assert said(BundleRefused, with_part(name)) == (
        f"B: the archive's {name!a} has a name that leads out of it; pack the bundle's files alone"
    )


def test_a_long_name_with_lines(with_part: Callable[..., bytes]) -> None:
    message = said(BundleRefused, with_part("/\n" + 30_000 * "ä"))
    assert message.startswith("B: the archive's '/\\n\\xe4\\xe4")
    assert len(message) < 170


@pytest.mark.parametrize("name", ["README.md", "encoder.onnx", "new"])
@pytest.mark.parametrize(
    ("lies", "words"),
    [
        ({"mode": stat.S_IFLNK | 0o777}, "is a link or a device; pack the file itself"),
        ({"mode": stat.S_IFCHR | 0o666}, "is a link or a device; pack the file itself"),
        ({"mode": stat.S_IFIFO | 0o666}, "is a link or a device; pack the file itself"),
        ({"flags": 0x1}, "is encrypted; pack it without a password"),
        ({"flags": 0x41}, "is encrypted; pack it without a password"),
        ({"flags": 0x2000}, "is encrypted; pack it without a password"),
        ({"method": 9}, "is packed by method 9; pack it stored or deflated"),
        ({"method": 14}, "is packed by method 14; pack it stored or deflated"),
        ({"method": 0xFFFF}, "is packed by method 65535; pack it stored or deflated"),
    ],
)
def test_members_of_other_kinds(
    with_part: Callable[..., bytes], name: str, lies: Part, words: str
) -> None:
    assert said(BundleRefused, with_part(name, **lies)) == f"B: the archive's '{name}' {words}"


def test_a_member_that_is_there_twice(files: dict[str, bytes]) -> None:
    parts = [part(name, raw) for name, raw in files.items()]
    for twice in parts:
        assert said(BundleRefused, zipped(*parts, twice)) == (
            f"B: the archive's '{twice['name'].decode()}' is there twice; pack it once"
        )


def test_too_many_members(files: dict[str, bytes]) -> None:
    more = {f"{i}.txt": b"" for i in range(64 - len(files))}
    ae_runtime.load(zip_bundle(files | more))
    for count, packed in (
        (65, zip_bundle(files | more | {"x": b""})),
        (20_000, zip_bundle({str(i): b"" for i in range(20_000)})),
    ):
        assert said(BundleRefused, packed) == (
            f"B: the archive holds {count} members, 64 are allowed; pack the bundle's files alone"
        )


def test_more_members_than_are_said_to_be_there(files: dict[str, bytes]) -> None:
    # A reader that goes by the directory's length makes an object of each.
    many = [part(str(i)) for i in range(1000)]
    packed = zipped(*(part(*item) for item in files.items()), *many, here=6, count=6)
    message = DAMAGED.format("its directory is not as long as it says")
    assert said(BundleCorrupt, packed) == message


def test_zip64(files: dict[str, bytes]) -> None:
    packed = zip_bundle(files)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(packed) - 22, 1)
    message = "B: the archive is a zip64 one; pack it again without zip64"
    assert said(BundleRefused, packed[:-22] + locator + packed[-22:]) == message
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as members:
        for i in range(70_000):
            members.writestr(zipfile.ZipInfo(str(i)), b"")
    assert said(BundleRefused, out.getvalue()) == message


def test_an_archive_that_is_too_large(files: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(zip_bundle(files))
    with path.open("r+b") as file:
        file.truncate((4 << 30) + 1)  # of holes: the disk holds a few blocks
    assert said(BundleCorrupt, path) == (
        "B: the archive is larger than the 4294967296 bytes it may have; fetch or pack it again"
    )
    with path.open("r+b") as file:
        file.truncate(4 << 30)
    assert said(BundleCorrupt, path) == DAMAGED.format("it has no end")


@pytest.mark.parametrize("kept", [4, 22, 100, 0.5, 0.95, -22, -21, -1])
def test_a_truncated_archive(files: dict[str, bytes], kept: float) -> None:
    packed = zip_bundle(files)
    cut = packed[: int(kept * len(packed)) if 0 < kept < 1 else int(kept)]
    assert said(BundleCorrupt, cut) == DAMAGED.format("it has no end")


@pytest.mark.parametrize(
    "lies",
    [
        *(
            {"disk": 1},
            {"first": 1},
            {"here": 5},
            {"count": 5},
            {"count": 0xFFFF},
            {"comment_bytes": 1},
        ),
        *({"length": 0}, {"length": 0xFFFFFFFF}, {"start": 0}, {"start": 0xFFFFFFFF}),
    ],
)
def test_a_wrong_end(files: dict[str, bytes], lies: Part) -> None:
    packed = zipped(*(part(*item) for item in files.items()), **lies)
    assert said(BundleCorrupt, packed) == DAMAGED.format("its end is wrong")


def test_bytes_before_and_after(files: dict[str, bytes]) -> None:
    packed = zip_bundle(files)
    assert said(BundleNotFound, b"#!/bin/sh\n" + packed) == f"B are no .zip; {IS_FOR}"
    wrong = DAMAGED.format("its end is wrong")
    assert said(BundleCorrupt, b"PK\3\4" + packed) == wrong
    assert said(BundleCorrupt, packed + b"\n") == wrong
    assert said(BundleCorrupt, packed + 70_000 * b"\n") == DAMAGED.format("it has no end")


def test_a_wrong_directory(files: dict[str, bytes]) -> None:
    packed = zip_bundle(files)
    at = packed.index(b"PK\1\2")
    wrong = DAMAGED.format("its directory is wrong")
    assert said(BundleCorrupt, packed[:at] + b"PK\1\3" + packed[at + 4 :]) == wrong
    for lengths in (28, 30, 32):  # of the name, the extra field and the comment
        long = packed[: at + lengths] + b"\xff\xff" + packed[at + lengths + 2 :]
        assert said(BundleCorrupt, long) == wrong
    parts = [part(name, raw) for name, raw in files.items()]
    assert said(BundleCorrupt, zipped(*parts, here=7, count=7)) == wrong


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
@pytest.mark.parametrize(
    ("lies", "words"),
    [
        ({"start": 0xFFFFFFFF}, "{} is not where it says"),
        ({"start": 1}, "{} is not where it says"),
        ({"local_name": b"other"}, "{} is not where it says"),
        ({"packed": 0xFFFFFFFF}, "its members are longer than itself"),
        ({"packed": 100_000}, "its members are longer than itself"),
        ({"packed": 10}, "{} has not the size and CRC-32 that it says"),
        ({"packed": 0}, "{} has not the size and CRC-32 that it says"),
        ({"size": 0}, "{} has not the size and CRC-32 that it says"),
        ({"size": 0xFFFFFFFF}, "{} has not the size and CRC-32 that it says"),
        ({"crc": 0}, "{} has not the size and CRC-32 that it says"),
        ({"method": 0}, "{} has not the size and CRC-32 that it says"),
        ({"data": b""}, "{} has not the size and CRC-32 that it says"),
        ({"data": b"\xff" * 20}, "{} cannot be inflated"),
    ],
)
def test_a_damaged_member(
    files: dict[str, bytes], with_part: Callable[..., bytes], name: str, lies: Part, words: str
) -> None:
    packed = with_part(name, files[name], **lies)
    assert said(BundleCorrupt, packed) == DAMAGED.format(words.format(name))


def test_members_beyond_the_directory_or_in_each_other(files: dict[str, bytes]) -> None:
    parts = {name: part(name, raw) for name, raw in files.items()}
    parts["recipe.toml"]["packed"] += 50  # the last one: less than the headers take
    message = DAMAGED.format("recipe.toml is not where it says")
    assert said(BundleCorrupt, zipped(*parts.values())) == message
    first, *others = (part(str(i), bytes(100), start=0) for i in range(9))
    others = [other | {"data": b"", "packed": 30} for other in others]
    message = DAMAGED.format("its members are longer than itself")
    assert said(BundleCorrupt, zipped(first | {"packed": 300}, *others)) == message


@pytest.mark.parametrize("name", FILES)
def test_a_longer_file(files: dict[str, bytes], name: str) -> None:
    for pack in PACKERS.values():
        packed = pack(files | {name: files[name] + b"\0"})
        assert said(BundleCorrupt, packed) == f"B: {name} {LARGER.format(len(files[name]))}"


def test_a_huge_manifest_is_not_parsed(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, size = zip_bundle(files), len(files["manifest.json"])
    monkeypatch.setattr(bundle_module, "MAX_MANIFEST_BYTES", size)
    ae_runtime.load(packed)
    monkeypatch.setattr(bundle_module, "MAX_MANIFEST_BYTES", size - 1)
    assert said(BundleCorrupt, packed) == f"B: manifest.json {LARGER.format(size - 1)}"


@pytest.fixture(scope="session")
def bomb() -> bytes:
    """1 MB that inflates to 1 GB of zeros."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = block * 1024 + packer.flush()
    assert len(packed) < 1.1e6
    return packed


@pytest.mark.parametrize("size", [1 << 30, 2172, 0])
@pytest.mark.parametrize(
    ("name", "limit", "peak_mb"), [("encoder.onnx", 2172, 1), ("manifest.json", 64 << 20, 150)]
)
def test_a_bomb(
    with_part: Callable[..., bytes], bomb: bytes, name: str, limit: int, peak_mb: int, size: int
) -> None:
    packed = with_part(name, data=bomb, size=size)
    tracemalloc.start()
    try:
        message = said(BundleCorrupt, packed)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message == f"B: {name} {LARGER.format(limit)}"
    assert peak < peak_mb << 20


def test_a_bomb_that_the_manifest_names(
    rewrite: Callable[..., Path], table_bundle: Path, bomb: bytes
) -> None:
    def edit(fields: dict[str, Any]) -> None:
        fields["files"]["encoder.onnx"]["bytes"] = 1 << 30

    folder = rewrite(table_bundle, edit=edit)
    parts = [part(*item) for item in files_of(folder).items() if item[0] != "encoder.onnx"]
    packed = zipped(*parts, part("encoder.onnx", data=bomb, size=1 << 30))
    tracemalloc.start()
    try:
        message = said(BundleRefused, packed)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message == (
        f"B: the archive's 'encoder.onnx' inflates to more than {100 * len(bomb)} bytes; "
        "pack it stored"
    )
    assert peak < 250 << 20


def test_what_shrinks_much_loads_when_it_is_small(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = files["manifest.json"] + 1_000_000 * b" "  # white space is not hashed
    packed = zip_bundle(files | {"manifest.json": raw})
    ae_runtime.load(packed)
    monkeypatch.setattr(zip_side, "FREE_BYTES", 0)
    assert "'manifest.json' inflates to more than" in said(BundleRefused, packed)
    ae_runtime.load(PACKERS["stored"](files | {"manifest.json": raw}))


def mutant(whole: bytes, seed: int) -> bytes:
    """`whole` with a few bytes changed, half of them in its directory or its headers."""
    draw, raw = random.Random(seed), bytearray(whole)
    marks = [at for at in range(len(raw)) if raw[at : at + 2] == b"PK"]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(raw))
        if draw.random() < 0.5:
            at = min(draw.choice(marks) + draw.randrange(46), len(raw) - 1)
        kind, size = draw.randrange(7), draw.randint(1, 50)
        if kind < 3:
            raw[at] ^= 1 << draw.randrange(8)
        elif kind == 3:
            raw[at] = draw.choice([0, 1, 127, 128, 255])
        elif kind == 4:
            other = draw.randrange(len(raw))
            raw[at : at + draw.choice([0, size])] = raw[other : other + size]
        elif kind == 5:
            del raw[at : at + size]
        elif draw.random() < 0.3:
            del raw[at:]
        if len(raw) < 5:
            break
    return bytes(raw)


def check_mutants(files: dict[str, bytes], packer: str, count: int) -> None:
    whole, lines = PACKERS[packer](files), list[str]()
    for seed in range(count):
        try:
            opened = open_bundle(mutant(whole, seed))
        except BundleError as error:
            lines.append(str(error))
        else:
            assert opened.files == {name: files[name] for name in FILES}, seed
    assert [line for line in lines if len(line.splitlines()) != 1 or len(line) > 250] == []
    assert count / 2 < len(lines) < count  # or the mutants prove nothing


@pytest.mark.parametrize("packer", ["zip_bundle", "stored"])
def test_mutants(files: dict[str, bytes], packer: str) -> None:
    check_mutants(files, packer, 300)


@pytest.mark.soak
@pytest.mark.parametrize("packer", PACKERS)
def test_all_mutants(files: dict[str, bytes], packer: str) -> None:
    check_mutants(files, packer, 10_000)
