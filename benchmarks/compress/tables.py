"""Bytes of archives and of SZ3, zfp, pcodec and zlib under the same error bound, on sets of DATA.

python benchmarks/compress/tables.py DATA [--only NAME]

The first 70 % of a set's rows train a model, by the commands ae-train and ae-export; the others are
archived. Bounds are shares of each column's range over the rows of training.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pca
from sets import SETS, Set

import ae_runtime
from ae_archive import Archive, Written, compress

Array = np.ndarray[Any, Any]
BIN = Path(sys.executable).parent
PEERS = Path("build/compress-peers/bin/python")
MAX_ERRORS, RMSES = (0.05, 0.01, 0.001), (0.05, 0.02)
SHARE = 0.7  # of the rows, for training
NAMES = ("SZ3", "zfp", "pcodec", "zlib")


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--only", multiple=True, type=click.Choice(list(SETS)))
def main(data: Path, only: tuple[str, ...]) -> None:
    head = ["alone", "chunks", "model", "chunks", "its bytes", "inside", "pays from"]
    head += [*NAMES, "PCA", "raw"]
    with tempfile.TemporaryDirectory() as name:
        for set_name in only or SETS:
            chosen = SETS[set_name]
            x = chosen.load(data)
            if x is None:
                print(f"{set_name}: not found in {data}")
                continue
            print(f"\n{set_name}: {chosen.text}")
            print(f"{'':12}" + "".join(f"{word:>10}" for word in head), flush=True)
            table(chosen, x, Path(name) / set_name)


def table(chosen: Set, x: Array, work: Path) -> None:
    """Print a line for each error bound of the set."""
    work.mkdir()
    cut = int(SHARE * len(x))
    train, rest = x[:cut], x[cut:]
    axes = tuple(range(x.ndim - 1)) if chosen.one_range is None else None
    ranges = np.broadcast_to(
        np.nanmax(train, axis=axes).astype(float) - np.nanmin(train, axis=axes), x.shape[1:]
    )
    means = RMSES if chosen.rmse else ()
    asked = [("max_error", share) for share in MAX_ERRORS if chosen.max_error]
    asked += [("rmse", share) for share in means]
    others = peers(rest, chosen.height, ranges, asked, work)
    models: dict[tuple[str, ...], ae_runtime.Autoencoder] = {}
    for (kind, share), beside in zip(asked, others, strict=True):
        words = chosen.train(kind, share)
        if words is not None and words not in models:
            models[words] = trained(train, words, work)
        model = None if words is None else models[words]
        line = row(rest, {kind: share * ranges}, model, work)
        line += [f"{beside[name]['bytes']:,}" for name in NAMES]
        fewest = None if kind != "rmse" else pca.fewest(train, rest, ranges, share, chosen)
        line += ["" if fewest is None else f"{fewest:,}", f"{rest.nbytes:,}"]
        label = f"{'max' if kind == 'max_error' else 'rmse'} {100 * share:g} %"
        print(f"{label:12}" + "".join(f"{word:>10}" for word in line), flush=True)
        broken = [n for n in NAMES if kind == "max_error" and beside[n]["error"] > 1]
        if broken:
            worst = max(beside[n]["error"] for n in broken) - 1
            print(f"{'':12}past the bound, by at most {worst:.1g} of it: {', '.join(broken)}")


def row(
    rest: Array, bound: dict[str, Array], model: ae_runtime.Autoencoder | None, work: Path
) -> list[str]:
    """Bytes without a model, with one outside, of the model, with it inside, and where it pays.

    Of the first two those of the chunks beside those of the file, which also says what it holds.
    """
    alone = checked(rest, bound, None, False, work)
    with Archive(work / "alone.aez") as archive:
        chunks = sum(chunk.bytes for chunk in archive.chunks)
    if model is None:
        return [f"{alone.bytes:,}", f"{chunks:,}", *[""] * 5]
    outside = checked(rest, bound, model, False, work)
    inside = checked(rest, bound, model, True, work)
    # The archive says what it is of, once; the rest grows with the rows.
    with Archive(work / "outside.aez", model) as archive:
        by_model = sum(chunk.bytes for chunk in archive.chunks)
    saved = chunks - by_model
    fixed = inside.model_bytes + outside.bytes - alone.bytes + saved
    pays = f"{fixed / saved * rest.nbytes / 1e6:,.0f} MB" if saved > 0 else "never"
    return [
        f"{alone.bytes:,}",
        f"{chunks:,}",
        f"{outside.bytes:,}",
        f"{by_model:,}",
        f"{inside.model_bytes:,}",
        f"{inside.bytes:,}",
        pays,
    ]


def checked(
    x: Array,
    bound: dict[str, Array],
    model: ae_runtime.Autoencoder | None,
    inside: bool,
    work: Path,
) -> Written:
    """What the archive has become, once it is read again and held against its error bound."""
    path = work / ("alone.aez" if model is None else "inside.aez" if inside else "outside.aez")
    written = compress(x, path, model=model, include_model=inside, overwrite=True, **bound)
    ((kind, each),) = bound.items()
    with Archive(path, None if inside else model) as archive:
        found = archive[:]
    known = np.isfinite(x)
    assert (np.isfinite(found) == known).all()
    with np.errstate(invalid="ignore"):
        off = (found.astype(np.float64) - x.astype(np.float64)) / np.where(each > 0, each, 1)
    off = np.where(known, off, 0)
    if kind == "max_error":
        assert (np.abs(off) <= 1).all(), f"the bound is broken: {np.abs(off).max()}"
    else:
        free = known & (each > 0)
        assert np.sqrt(np.mean(off[free] ** 2)) <= 1 + 1e-9
    return written


def trained(train: Array, words: tuple[str, ...], work: Path) -> ae_runtime.Autoencoder:
    """The bundle of ae-train with these words."""
    np.save(work / "train.npy", train)
    run, bundle = work / "run", work / "bundle"
    commands = (
        ["ae-train", str(work / "train.npy"), "--out", str(run), *words],
        ["ae-export", str(run), "--out", str(bundle)],
    )
    for command in commands:
        line = [str(BIN / command[0]), *command[1:], "--overwrite", "--quiet"]
        subprocess.run(line, check=True, capture_output=True)
    print(f"{'':12}ae-train {' '.join(words)}", flush=True)
    return ae_runtime.load(bundle)


def peers(
    rest: Array,
    height: int | None,
    ranges: Array,
    asked: list[tuple[str, float]],
    work: Path,
) -> list[dict[str, Any]]:
    """Bytes and errors of the peers for each error bound, in their own environment."""
    flat = rest.reshape(len(rest), -1)
    each = np.where(ranges > 0, ranges, 1).reshape(-1).astype(float)
    bounds = {
        kind: np.array([share * each for name, share in asked if name == kind]).reshape(
            -1, flat.shape[1]
        )
        for kind in ("max_error", "rmse")
    }
    np.savez(work / "job.npz", x=flat, height=height or 0, **bounds)
    script = Path(__file__).parent / "peers.py"
    command = [str(PEERS), str(script), str(work / "job.npz"), str(work / "peers.json")]
    subprocess.run(command, check=True)
    found = json.loads((work / "peers.json").read_text())
    return [*found["max_error"], *found["rmse"]]


if __name__ == "__main__":
    main()
