"""One shard of a data set to one output, as often as an engine likes: done once, by one worker."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from ae_runtime.autoencoder import Autoencoder, load
from ae_runtime.errors import DataError, OutputExists
from ae_runtime.files.jobs.job import Done, process_file
from ae_runtime.files.jobs.output import Progress
from ae_runtime.files.jobs.score_summary import Judge
from ae_runtime.files.jobs.steps import OnError
from ae_runtime.files.readers.columns import Verb
from ae_runtime.files.readers.image_folder import SUFFIXES as IMAGE_SUFFIXES
from ae_runtime.files.readers.opening import TYPES

MANIFEST = "manifest.json"
ENDINGS = tuple(TYPES)
LOADED_MAX = 2  # bundles that a process keeps


class ShardOptions(TypedDict, total=False):
    """device, threads, tile, max_memory: of load. The rest: of job.process_file.

    A pool of workers on one machine wants threads=1 in each.
    """

    device: str
    threads: int | None
    tile: int | None
    max_memory: int | None
    overwrite: bool
    on_error: OnError
    id_column: str | None
    stride: int | None
    progress: Progress | None
    judge: Judge | None
    keep: int | None


Bundle = str | os.PathLike[str] | Autoencoder


def encode_shard(
    bundle: Bundle, src: str | Path, dst: str | Path, **options: Unpack[ShardOptions]
) -> Done:
    """Write the latents of the rows in the file `src` to the file `dst`.

    May be called again and again, by several workers at once: where dst is complete and was made
    from the same src by the same model under the same options, nothing is done (Done.was_done);
    where another worker is at it, that one is waited for; where one died, it is gone on with.
    bundle: its path, or an Autoencoder. A path is loaded once in a process, and again when it
    changes. Raises OutputExists where dst is complete and was made from something else, unless
    overwrite is set; else as job.process_file.
    """
    return _shard("encode", bundle, src, dst, options)


def decode_shard(
    bundle: Bundle, src: str | Path, dst: str | Path, **options: Unpack[ShardOptions]
) -> Done:
    """Like encode_shard, from latents to rows."""
    return _shard("decode", bundle, src, dst, options)


def reconstruct_shard(
    bundle: Bundle, src: str | Path, dst: str | Path, **options: Unpack[ShardOptions]
) -> Done:
    """Like encode_shard, from rows to what the model keeps of them."""
    return _shard("reconstruct", bundle, src, dst, options)


def score_shard(
    bundle: Bundle, src: str | Path, dst: str | Path, **options: Unpack[ShardOptions]
) -> Done:
    """Like encode_shard, from rows to how strange they are."""
    return _shard("score", bundle, src, dst, options)


def _shard(
    verb: Verb, bundle: Bundle, src: str | Path, dst: str | Path, options: ShardOptions
) -> Done:
    ae = bundle if isinstance(bundle, Autoencoder) else _loaded(bundle, options)
    return process_file(
        ae.model,
        verb,
        src,
        dst,
        overwrite=options.get("overwrite", False),
        on_error=options.get("on_error", "stop"),
        id_column=options.get("id_column"),
        stride=options.get("stride"),
        progress=options.get("progress"),
        judge=options.get("judge"),
        keep=options.get("keep"),
        once=True,
    )


SHARD_VERBS = {
    "encode": encode_shard,
    "decode": decode_shard,
    "reconstruct": reconstruct_shard,
    "score": score_shard,
}


def data_files(folder: Path, kind: str) -> list[Path]:
    """The data files that lie in a folder, by name; those that begin with a dot do not count.

    kind: of the bundle. None in a folder that holds images for an image bundle: there a table is
    about the images.
    """
    if kind == "image" and any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*")):
        return []
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.name.lower().endswith(ENDINGS) and path.is_file())


def place_shards(
    sources: Sequence[str | Path], folder: Path, suffix: str
) -> list[tuple[str | Path, Path]]:
    """(source, output in the folder) of each. Raises DataError for two of one name."""
    if folder.exists() and not folder.is_dir():
        raise OutputExists(f"{folder} is no folder; several inputs need one")
    placed: dict[Path, str | Path] = {}
    for source in sources:
        out = folder / (_stem(Path(source).name) + suffix)
        if out in placed:
            raise DataError(f"{placed[out]} and {source} would both be {out}; rename one")
        placed[out] = source
    if any(Path(source).resolve().parent == folder.resolve() for source in sources):
        raise DataError(f"{folder} is the folder of the input; choose another for the output")
    return [(source, out) for out, source in placed.items()]


def _stem(name: str) -> str:
    """The name of a data file without the end that says its type."""
    ending = max((end for end in ENDINGS if name.lower().endswith(end)), key=len, default="")
    return name[: len(name) - len(ending)] if ending else Path(name).stem


_cache: OrderedDict[tuple[object, ...], Autoencoder] = OrderedDict()
_cache_lock = threading.Lock()


def _loaded(bundle: str | os.PathLike[str], options: ShardOptions) -> Autoencoder:
    """The bundle at this path, from the few that this process loaded last."""
    path = os.path.abspath(bundle)
    file = os.path.join(path, MANIFEST) if os.path.isdir(path) else path
    try:
        status = os.stat(file)
        version = (status.st_mtime_ns, status.st_size, status.st_ino)
    except OSError:
        return load(bundle)  # which says what is wrong
    device = options.get("device", "auto")
    numbers = [options.get(name) for name in ("threads", "tile", "max_memory")]
    key = (path, version, device, *numbers)
    with _cache_lock:
        ae = _cache.pop(key, None)
        if ae is None:
            ae = load(
                bundle,
                device=device,
                threads=options.get("threads"),
                tile=options.get("tile"),
                max_memory=options.get("max_memory"),
            )
        _cache[key] = ae
        while len(_cache) > LOADED_MAX:
            _cache.popitem(last=False)
    return ae
