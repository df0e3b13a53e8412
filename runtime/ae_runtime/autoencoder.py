"""The object that an application holds: encode, decode and reconstruct rows with a bundle."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from math import prod
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.bundle.manifest import Manifest, Port
from ae_runtime.bundle.opening import Bundle, open_bundle
from ae_runtime.errors import DataWarning, ShapeMismatch
from ae_runtime.model.arrays import checked, conversion, is_table
from ae_runtime.model.devices import provider_of, resolve
from ae_runtime.model.engine import Engine, Feed
from ae_runtime.model.plan import block_rows, make_plan, memory_of
from ae_runtime.model.prefix import prefix, whole

# Where they are used: an application that only encodes needs neither files nor scores.
if TYPE_CHECKING:
    from ae_runtime.files.jobs.job import Done
    from ae_runtime.model.scoring import Part, Scored

Verb = Literal["encode", "decode", "reconstruct", "score", "sample"]
_OWN = ("ae_runtime", "ae_archive")  # packages whose calls no warning points at


def load(
    location: str | PathLike[str] | bytes,
    *,
    device: str = "auto",
    threads: int | None = None,
    tile: int | None = None,
    max_memory: int | None = None,
) -> Autoencoder:
    """The autoencoder of the bundle `location`, every check of loading passed.

    location: the bundle's folder, a .zip that holds its files at the root, or the bytes of one.
    device: "auto" (CUDA where it loads, else the CPU; Autoencoder.device says which), "cpu",
    "cuda", or the name of a provider of onnxruntime.
    threads: rows are spread over so many threads; None: the processors this process may use.
    tile: rows in one call of onnxruntime; None: as many as fit a core's cache, at most 256.
    Results depend on neither.
    max_memory: bytes that this object may add to the process, beside what importing onnxruntime
    takes and the arrays that are given and returned; fewer rows at once and fewer threads keep
    it. It also allows a graph that needs more than 256 MB for one row, and so much only.
    Raises BundleNotFound, BundleCorrupt, BundleTooNew, BundleRefused, DeviceUnavailable,
    TooLittleMemory, or MissingExtra where onnxruntime is not installed (when rows are first
    computed).
    """
    options = {"threads": threads, "tile": tile, "max_memory": max_memory}
    for name, value in options.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    return Autoencoder(open_bundle(location, max_memory), device=device, **options)


class Autoencoder:
    """A loaded bundle. Safe to call from many threads; pickles; survives fork and spawn.

    Its file was read once: the folder may change or vanish afterwards. As a context manager it
    gives threads and memory back at the end.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        threads: int | None = None,
        tile: int | None = None,
        max_memory: int | None = None,
    ) -> None:
        self.bundle = bundle
        self._options: dict[str, Any] = {
            "device": device,
            "threads": threads,
            "tile": tile,
            "max_memory": max_memory,
        }
        graphs = {name: bundle.files[f"{name}.onnx"] for name in bundle.needs}
        plan_for = partial(
            make_plan,
            bundle.needs.values(),
            sum(map(len, graphs.values())),
            threads=threads,
            tile=tile,
            max_memory=max_memory,
        )
        self._engine = Engine(graphs, plan_for, resolve(device))
        self._inputs, self._outputs = bundle.manifest.inputs, bundle.manifest.outputs
        self._z = bundle.manifest.latent.port
        # Of the one input, for the check that a single row goes through.
        self._row = self._inputs[0].row_shape
        self._latent_dim = bundle.manifest.latent.dim
        self._dtype = None if bundle.manifest.is_mixed else np.dtype(self._inputs[0].dtype)
        self._said: set[str] = set()

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.bundle.manifest

    @property
    def model_id(self) -> str:
        """SHA-256 of the trained weights and the schema."""
        return self.manifest.model_id

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch axis; of a mixed table, its numbers."""
        return self._inputs[0].row_shape

    @property
    def latent_dim(self) -> int:
        """K, the numbers that stand for one sample."""
        return self.manifest.latent.dim

    @property
    def threads(self) -> int:
        """Threads that rows are spread over."""
        return self._engine.plan.threads

    @property
    def tile(self) -> int:
        """Rows in one call of onnxruntime."""
        return self._engine.plan.tile

    @property
    def device(self) -> str:
        """The provider of onnxruntime that runs the graphs; opens the encoder to know it."""
        return provider_of(self._engine.session("encoder"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give threads and memory back. A later call takes them again.

        May be called at any time: what other threads are computing comes to its end.
        """
        self._engine.close()

    def encode(self, x: Any, *, keep: int | None = None) -> NDArray[np.float32]:
        """Latents z of a batch, (B, latent_dim).

        x: (B, *input_shape) in data units, since scaling is inside the graph; any real dtype that
        converts to the graph's (float64 to float32 rounds). NaN counts as missing and is filled
        with the training median; an infinity is taken as a value 1e6 deviations away. B may be 0.
        Of a table also its columns by name, in any order: a dict of 1-d columns, or a frame of
        pandas, polars or pyarrow (anything with the Arrow C stream). They give what a file with
        these columns gives: dates and words become numbers and codes. A mixed table is always
        given so. A column that the model does not know is left out, and a word that it does not
        know counts as missing, or as "other" where it has that word; the first time a DataWarning
        says so.
        keep: of ordered latents, only the first so many, (B, keep): a shorter code of the same
        rows, which decode takes as well.
        Deterministic: n rows at once give the same bits as n calls with one row.
        Raises ShapeMismatch, DtypeMismatch or DataError.
        """
        if keep is not None:
            return prefix(self.manifest.latent, self.encode(x), keep)
        # One row, or few: what is left of the checks where each microsecond counts.
        if (
            type(x) is np.ndarray
            and self._dtype is not None
            and x.shape[1:] == self._row
            and 0 < len(x) <= self._engine.plan.tile
        ):
            if x.dtype != self._dtype or not (x.flags.c_contiguous and x.flags.aligned):
                x = conversion(x.dtype, self._dtype).both(x, "x")
            shape = (len(x), self._latent_dim)
            z: NDArray[np.float32] = self._engine.once("encoder", {"x": x}, "z", shape)
            return z
        return self.encode_arrays(*self._arrays_of(x))

    def encode_iter(
        self, blocks: Iterable[Any], *, keep: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """The latents of each block of rows, as `encode` gives them, when they are asked for.

        blocks: anything that gives arrays (B, *input_shape), or tables; B may differ. No block is
        asked for before the latents of the last one were taken: a live source works, and memory
        is that of one block.
        """
        for block in blocks:
            yield self.encode(block, keep=keep)

    def decode(self, z: ArrayLike) -> Any:
        """Reconstructions x_hat of latents, (B, *input_shape), in the dtype and units of x.

        z: (B, latent_dim), converted to float32; of ordered latents the first k as well, (B, k).
        Integers come back rounded, and clipped to
        their dtype's range. Mixed tables come back as a dict of columns: float64 numbers, and
        words as objects. Raises ShapeMismatch or DtypeMismatch.
        """
        return self._rows_of(self.decode_arrays(z))

    def reconstruct(self, x: Any, *, keep: int | None = None) -> Any:
        """decode(encode(x, keep)): what the model keeps of x, in x's shape, dtype and units."""
        return self.decode(self.encode(x, keep=keep))

    def score(self, x: Any, name: str | None = None) -> NDArray[np.float32]:
        """How strange each row is, (B,): higher is stranger, in deviations of a column.

        x: as encode takes it. name: one of the manifest's scores; None for its default. Raises
        ScoreUnknown, and what encode raises.
        """
        from ae_runtime.model import scoring

        return scoring.score(self, self.arrays_of(x), name)

    def is_anomaly(
        self,
        x: Any,
        *,
        name: str | None = None,
        threshold: float | None = None,
        false_alarm_rate: float | None = None,
    ) -> NDArray[np.bool_]:
        """Which rows score higher than a threshold, (B,).

        threshold: None for the one that at most the share false_alarm_rate of rows like the
        held-out ones exceeds, which is the manifest's where it is None too. Raises ScoreUnknown.
        """
        from ae_runtime.model import scoring

        if threshold is None:
            threshold = scoring.threshold_of(self.manifest, name, false_alarm_rate)
        elif false_alarm_rate is not None:
            raise ValueError("threshold and false_alarm_rate say the same; give one of them")
        return np.asarray(self.score(x, name) > threshold)

    def tail_probability(
        self, scores: ArrayLike, name: str | None = None, *, steps: bool = False
    ) -> NDArray[np.float64]:
        """The share of rows like the held-out ones that score as high or higher, for each score.

        name: whose scores these are. steps: they are of the time steps of a series, as score_file
        and Stream's settled give them, and not of windows. Raises ScoreUnknown.
        """
        from ae_runtime.model import scoring, tails

        return tails.tail_probability(scoring.score_of(self.manifest, name, steps), scores)

    def explain(self, x: Any, top: int = 3) -> list[list[Part]]:
        """Of each row the columns, pixels or time steps that are most off, at most `top`.

        Each with the value that was given and the one that the model gives back; a word that the
        model does not know comes first; see scoring.Part. Raises ScoreUnknown, and what encode
        raises.
        """
        from ae_runtime.model import scoring

        if not is_table(x):
            return scoring.explain(self, self.arrays_of(x), top)
        from ae_runtime.tables.columns import arrays_of, table_of, unknown_words

        table = table_of(x, self.manifest)  # once, for both
        arrays = self._checked(arrays_of(table, self.manifest, self.say))
        return scoring.explain(self, arrays, top, unknown_words(table, self.manifest))

    def sample(self, n: int, seed: int | None = None) -> Any:
        """New rows like those of training, (n, *input_shape), in the dtype and units of x.

        Of tables valid ones: words of the columns, whole numbers, within the columns' ranges.
        seed: for the same one the same rows, on every machine to 1e-5 of a deviation; None for
        others at each call. Mixed tables come as decode gives them. Raises DataError for a bundle
        without a sampler.
        """
        from ae_runtime.model import sampling

        arrays = self.decode_arrays(sampling.draw(self, n, seed))
        return self._rows_of(sampling.within_range(self.manifest, arrays))

    def interpolate(self, a: Any, b: Any, steps: int) -> Any:
        """Rows on the way from one to another, (steps, *input_shape): what the model gives back.

        a, b: one row each, (*input_shape), or a table of one row. The latents between are on a
        straight line; the first and the last row are reconstructions of a and b.
        """
        from ae_runtime.model import sampling

        ends = [
            self.encode(end if self._dtype is None or is_table(end) else np.asarray(end)[None])
            for end in (a, b)
        ]
        if any(len(end) != 1 for end in ends):
            raise ShapeMismatch(
                "interpolate goes from one row to one row; give a table of one each"
            )
        return self.decode(sampling.between(self.manifest, [end[0] for end in ends], steps))

    def latents_of(self, noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """The latents that the sampler makes of uniform noise in [0, 1), (B, latent_dim).

        noise: (B, manifest.sampler.noise_dim) float32.
        """
        (port,) = self.manifest.sampler_feeds
        rows = checked(noise, port, port.name)
        z = np.empty((len(rows), self.latent_dim), np.float32)
        self._engine.run("sampler", [_feed(rows, port)], {"z": z})
        return z

    def score_arrays(self, *arrays: ArrayLike, alone: bool = False) -> Scored:
        """All that the scorer says of rows, for the arrays that the encoder's graph takes.

        alone: in the calling thread only. Raises ScoreUnknown, ShapeMismatch or DtypeMismatch.
        """
        from ae_runtime.model import scoring

        scoring.place_of(self.manifest, None)
        rows = self._checked(arrays)
        z = self.encode_arrays(*rows, alone=alone)
        x_hat = self.decode_arrays(z, alone=alone)
        return scoring.Scored(**self.score_rows([*rows, z, *x_hat], alone=alone), x_hat=x_hat)

    def score_rows(
        self, arrays: Sequence[NDArray[Any]], *, alone: bool = False
    ) -> dict[str, NDArray[Any]]:
        """What the scorer's graph gives, by name, for what goes into and comes out of the others.

        arrays: those of manifest.scorer_feeds, in their order.
        """
        pairs = zip(arrays, self.manifest.scorer_feeds, strict=True)
        feeds = [_feed(rows, port) for rows, port in pairs]
        outs = {
            port.name: np.empty((len(arrays[0]), *port.row_shape), port.dtype)
            for port in self.manifest.scorer_fetches
        }
        self._engine.run("scorer", feeds, outs, alone=alone)
        return outs

    def encode_file(
        self, source: str | PathLike[str], out: str | PathLike[str], **options: Any
    ) -> Done:
        """Write the latents of every row of a file to the file `out`; see job.process_file.

        Rows are streamed, in bounded memory; `out` appears when it is complete, and a call that
        was killed goes on where it was. options: overwrite, on_error, id_column, stride, keep,
        progress.
        """
        return self._process("encode", source, out, **options)

    def decode_file(
        self, source: str | PathLike[str], out: str | PathLike[str], **options: Any
    ) -> Done:
        """Like encode_file, from latents to rows."""
        return self._process("decode", source, out, **options)

    def reconstruct_file(
        self, source: str | PathLike[str], out: str | PathLike[str], **options: Any
    ) -> Done:
        """Like encode_file, from rows to what the model keeps of them."""
        return self._process("reconstruct", source, out, **options)

    def score_file(
        self,
        source: str | PathLike[str],
        out: str | PathLike[str],
        *,
        name: str | None = None,
        threshold: float | None = None,
        false_alarm_rate: float | None = None,
        parts: bool = False,
        **options: Any,
    ) -> Done:
        """Like encode_file, from rows to columns score, probability and anomaly (0 or 1).

        Of a series a row is a time step, scored by the mean of the windows that cover it, and
        judged by what time steps score. name, threshold, false_alarm_rate: as in is_anomaly.
        parts: a column for each part, too.
        """
        from ae_runtime.files.jobs.score_summary import Asked, Judge

        asked = Asked(name, threshold, false_alarm_rate, parts)
        judge = Judge(self.manifest, asked)
        return self._process("score", source, out, judge=judge, **options)

    def _process(self, verb: Verb, source: Any, out: Any, **options: Any) -> Done:
        # files: not for applications with arrays
        from ae_runtime.files.jobs.job import process_file

        return process_file(self, verb, fspath(source), fspath(out), **options)

    def encode_arrays(self, *arrays: ArrayLike, alone: bool = False) -> NDArray[np.float32]:
        """Like encode, for the arrays that the graph takes.

        arrays: x; of a mixed table x_num (B, P) float64, NaN where missing, and x_cat (B, Q)
        int32, the place of a word in its column's levels and -1 where missing. alone: in the
        calling thread only, for callers with threads of their own.
        Raises ShapeMismatch or DtypeMismatch.
        """
        rows = self._checked(arrays)
        feeds = [_feed(each, port) for each, port in zip(rows, self._inputs, strict=True)]
        count = len(feeds[0].rows)
        if any(len(feed.rows) != count for feed in feeds):
            lengths = " and ".join(f"{len(feed.rows)} of {feed.name}" for feed in feeds)
            raise ShapeMismatch(f"the arrays must have as many rows as each other, found {lengths}")
        z = np.empty((count, self.latent_dim), np.float32)
        self._engine.run("encoder", feeds, {"z": z}, alone=alone)
        return z

    def decode_arrays(self, z: ArrayLike, *, alone: bool = False) -> tuple[NDArray[Any], ...]:
        """Like decode, as the arrays that the graph gives.

        z: (B, K), or a prefix of ordered latents. (x_hat,); of a mixed table (x_hat_num (B, P)
        float64, x_hat_cat (B, Q) int32, x_hat_prob (B, all levels) float32: the probability of
        each word, column after column).
        Raises ShapeMismatch or DtypeMismatch.
        """
        if is_table(z):
            from ae_runtime.tables.columns import rows_by_number

            z = rows_by_number(z, "z")
        z = checked(whole(self.manifest.latent, z), self._z, "z")
        outs = {
            port.name: np.empty((len(z), *port.row_shape), port.dtype) for port in self._outputs
        }
        self._engine.run("decoder", [_feed(z, self._z)], outs, alone=alone)
        return tuple(outs.values())

    def block_rows(self, verb: Verb) -> int:
        """Rows of a block of a file that is worked on at once: of more than a tile, whole ones."""
        return block_rows(self._row_bytes(verb), self._engine.plan, self._options["max_memory"])

    def _row_bytes(self, verb: Verb) -> int:
        sizes = {"x": _row_bytes(self._inputs), "z": 4 * self.latent_dim}
        sizes["x_hat"] = _row_bytes(self._outputs)
        sizes["parts"] = 4 * prod(self.manifest.part_shape)
        ends = {
            "encode": ("x", "z"),
            "decode": ("z", "x_hat"),
            "sample": ("z", "x_hat"),
            "reconstruct": ("x", "z", "x_hat"),
            "score": ("x", "z", "x_hat", "parts"),
        }
        return sum(sizes[end] for end in ends[verb])

    def spare_memory(self, verb: Verb) -> int | None:
        """Bytes that max_memory leaves for reading a file, beside the model and blocks of rows."""
        most, plan = self._options["max_memory"], self._engine.plan
        if most is None:
            return None
        graph_bytes = sum(map(len, self._engine.graphs.values()))
        blocks = (self.threads + 4) * self.block_rows(verb) * self._row_bytes(verb)
        return int(most - memory_of(plan, self.bundle.needs.values(), graph_bytes) - blocks)

    def _arrays_of(self, x: Any) -> tuple[Any, ...]:
        if not self.manifest.is_mixed and not is_table(x):
            return (x,)
        # words and dates: not for arrays of numbers
        from ae_runtime.tables.columns import arrays_of

        return arrays_of(x, self.manifest, self.say)

    def say(self, topic: str, line: str) -> None:
        """Warn of a line about rows, the first time that its topic comes up."""
        if topic not in self._said:
            self._said.add(topic)
            warnings.warn(line, DataWarning, stacklevel=_depth_of_caller())

    def arrays_of(self, x: Any) -> list[NDArray[Any]]:
        """Rows x, as `encode` takes them, as the arrays that the encoder's graph takes.

        [x]; of a mixed table [x_num (B, P), x_cat (B, Q)]. Raises what encode raises.
        """
        return self._checked(self._arrays_of(x))

    def _checked(self, arrays: Sequence[ArrayLike]) -> list[NDArray[Any]]:
        """The arrays, if they are rows that the encoder's graph takes."""
        pairs = zip(arrays, self._inputs, strict=True)
        return [checked(array, port, port.name) for array, port in pairs]

    def _rows_of(self, arrays: tuple[NDArray[Any], ...]) -> Any:
        if not self.manifest.is_mixed:
            return arrays[0]
        from ae_runtime.tables.table import from_blocks

        return from_blocks(arrays[0], arrays[1], self.manifest.columns or ())

    def __repr__(self) -> str:
        return f"<Autoencoder {self.input_shape} -> {self.latent_dim}, {self.model_id[:12]}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The files travel, the sessions are opened again where the pickle is loaded.
        return _revive, (self.bundle, self._options)


def _feed(rows: NDArray[Any], port: Port) -> Feed:
    return Feed(port.name, rows, conversion(rows.dtype, np.dtype(port.dtype)).convert)


def _depth_of_caller() -> int:
    """The stacklevel, for the function that asks, of the first call from outside this package."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_OWN):
        depth, frame = depth + 1, frame.f_back
    return depth


def _row_bytes(ports: Sequence[Port]) -> int:
    return sum(np.dtype(port.dtype).itemsize * prod(port.row_shape) for port in ports)


def _revive(bundle: Bundle, options: dict[str, Any]) -> Autoencoder:
    return Autoencoder(bundle, **options)
