"""One shard of a data set to one output: done once, by one worker, however often it is called."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from ae_runtime.autoencoder import Autoencoder, load
from ae_runtime.errors import DataError, OutputExists
from ae_runtime.files.jobs.job import JobOptions, JobResult, process_file
from ae_runtime.files.jobs.score_summary import ScoreOptions
from ae_runtime.files.jobs.steps import OnError, Progress
from ae_runtime.files.jobs.task import Decode, Encode, Reconstruct, Score, Task
from ae_runtime.files.readers.formats import FORMATS
from ae_runtime.files.readers.image_folder import SUFFIXES as IMAGE_SUFFIXES
from ae_runtime.model.model import Model

MANIFEST = "manifest.json"
ENDINGS = tuple(FORMATS)
LOADED_MAX = 2  # bundles that a process keeps


class LoadOptions(TypedDict, total=False):
    """Options of autoencoder.load. In a pool of workers on one machine, each wants threads=1."""

    device: str
    threads: int | None
    tile: int | None
    max_memory: int | None


OF_LOAD = tuple(LoadOptions.__annotations__)


class ShardOptions(LoadOptions, total=False):
    """Options of load, and those of JobOptions."""

    overwrite: bool
    on_error: OnError
    id_column: str | None
    stride: int | None
    progress: Progress | None


Bundle = str | os.PathLike[str] | Autoencoder


def encode_shard(
    bundle: Bundle,
    src: str | Path,
    dst: str | Path,
    *,
    keep: int | None = None,
    **options: Unpack[ShardOptions],
) -> JobResult:
    """Write the latents of the rows in the file `src` to the file `dst`.

    May be called again and again, by several workers at once: where dst is complete and was made
    from the same src by the same model under the same options, nothing is done (was_done of the
    result); where another worker is at it, that one is waited for; where one died, it is gone on
    with. bundle: its path, or an Autoencoder. A path is loaded once in a process, and again when it
    changes. Raises OutputExists where dst is complete and was made from something else, unless
    overwrite is set; else as Autoencoder.encode_file.
    """
    return _shard(Encode(_model_of(bundle, options), keep), src, dst, options)


def decode_shard(
    bundle: Bundle,
    src: str | Path,
    dst: str | Path,
    *,
    keep: int | None = None,
    **options: Unpack[ShardOptions],
) -> JobResult:
    """Like encode_shard, from latents to rows."""
    return _shard(Decode(_model_of(bundle, options), keep), src, dst, options)


def reconstruct_shard(
    bundle: Bundle,
    src: str | Path,
    dst: str | Path,
    *,
    keep: int | None = None,
    **options: Unpack[ShardOptions],
) -> JobResult:
    """Like encode_shard, from rows to what the model keeps of them."""
    return _shard(Reconstruct(_model_of(bundle, options), keep), src, dst, options)


def score_shard(
    bundle: Bundle,
    src: str | Path,
    dst: str | Path,
    *,
    name: str | None = None,
    threshold: float | None = None,
    false_alarm_rate: float | None = None,
    parts: bool = False,
    **options: Unpack[ShardOptions],
) -> JobResult:
    """Like encode_shard, from rows to anomaly scores; see Autoencoder.score_file."""
    scores = ScoreOptions(name, threshold, false_alarm_rate, parts)
    return _shard(Score(_model_of(bundle, options), scores), src, dst, options)


def _shard(task: Task, src: str | Path, dst: str | Path, options: ShardOptions) -> JobResult:
    of_job: Any = {name: value for name, value in options.items() if name not in OF_LOAD}
    return process_file(task, src, dst, JobOptions(once=True, **of_job))


def _model_of(bundle: Bundle, options: ShardOptions) -> Model:
    ae = bundle if isinstance(bundle, Autoencoder) else _loaded(bundle, options)
    return ae.model


def data_files(folder: Path, kind: str) -> list[Path]:
    """The data files that lie in a folder, by name; those that begin with a dot do not count.

    kind: the bundle's. The list is empty for an image bundle where the folder holds images: there a
    table is about the images.
    """
    if kind == "image" and any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.rglob("*")):
        return []
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.name.lower().endswith(ENDINGS) and path.is_file())


def place_shards(
    sources: Sequence[str | Path], folder: Path, suffix: str
) -> list[tuple[str | Path, Path]]:
    """(source, output in the folder) of each source. Raises DataError for two of one name."""
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
    of_load: Any = {name: value for name, value in options.items() if name in OF_LOAD}
    key = (path, version, *sorted(of_load.items()))
    with _cache_lock:
        ae = _cache.pop(key, None)
        if ae is None:
            ae = load(bundle, **of_load)
        _cache[key] = ae
        while len(_cache) > LOADED_MAX:
            _cache.popitem(last=False)
    return ae
