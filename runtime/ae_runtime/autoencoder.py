"""The object that an application holds: encode, decode and reconstruct rows with a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ae_runtime.bundle.manifest import Manifest
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.errors import ShapeMismatch
from ae_runtime.model.arrays import conversion, is_table
from ae_runtime.model.model import Model
from ae_runtime.model.prefix import prefix
from ae_runtime.notices import WarnOnce

# Where they are used: an application that only encodes needs neither files nor scores.
if TYPE_CHECKING:
    from ae_runtime.files.jobs.job import JobResult
    from ae_runtime.files.jobs.steps import OnError, Progress
    from ae_runtime.files.jobs.task import Task
    from ae_runtime.model.scoring import Contribution


def load(
    location: str | PathLike[str] | bytes,
    *,
    device: str = "auto",
    threads: int | None = None,
    tile: int | None = None,
    max_memory: int | None = None,
) -> Autoencoder:
    """The autoencoder of the bundle at `location`, loaded and checked.

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
    bundle = open_bundle(location, max_memory)
    return Autoencoder(
        Model(bundle, device=device, threads=threads, tile=tile, max_memory=max_memory)
    )


class Autoencoder:
    """A loaded bundle. Safe to call from many threads; pickles; survives fork and spawn.

    Its file was read once: the folder may change or vanish afterwards. As a context manager it
    gives threads and memory back at the end. bundle: what was read. model: its graphs alone.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.bundle = model, model.bundle
        # Looked up once, for the check that a single row goes through.
        self._engine, self._latent_dim = model.engine, model.latent_dim
        self._row = model.inputs[0].row_shape
        self._is_mixed = model.manifest.is_mixed
        self._dtype = None if self._is_mixed else np.dtype(model.inputs[0].dtype)
        self.say = WarnOnce()

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.model.manifest

    @property
    def model_id(self) -> str:
        """SHA-256 of the trained weights and the schema."""
        return self.manifest.model_id

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch axis; of a mixed table, its numbers."""
        return self._row

    @property
    def latent_dim(self) -> int:
        """K, the numbers that stand for one sample."""
        return self._latent_dim

    @property
    def threads(self) -> int:
        """Threads that rows are spread over."""
        return self.model.plan.threads

    @property
    def tile(self) -> int:
        """Rows in one call of onnxruntime."""
        return self.model.plan.tile

    @property
    def device(self) -> str:
        """The provider of onnxruntime that runs the graphs; opens the encoder to know it."""
        return self.model.provider

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give threads and memory back. A later call takes them again.

        May be called at any time: what other threads are computing comes to its end.
        """
        self.model.close()

    def encode(self, x: Any, *, keep: int | None = None) -> NDArray[np.float32]:
        """Latents z of a batch, (B, latent_dim).

        x: (B, *input_shape) in data units, since scaling is inside the graph; any real dtype that
        converts to the graph's (float64 to float32 rounds). NaN counts as missing and is filled
        with the training median; an infinity is taken as 1e6 standard deviations. B may be 0.
        A table may also come as columns by name, in any order: a dict of 1-d columns, or a frame
        of pandas, polars or pyarrow (anything with the Arrow C stream); a mixed table always does.
        The result is that of a file with these columns. A column that the model does not know is
        left out; a category that it does not know counts as missing, or as "other" where the model
        has that category. The first time a DataWarning says so.
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
        return self.model.encode(*self._arrays_of(x))

    def encode_iter(
        self, blocks: Iterable[Any], *, keep: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the latents of each block of rows, computed when they are asked for.

        blocks: anything that gives arrays (B, *input_shape), or tables; B may differ. No block is
        asked for before the latents of the last one were taken: a live source works, and memory
        is that of one block.
        """
        for block in blocks:
            yield self.encode(block, keep=keep)

    def decode(self, z: ArrayLike) -> Any:
        """Reconstructions x_hat of latents, (B, *input_shape), in the dtype and units of x.

        z: (B, latent_dim), converted to float32; of ordered latents the first k as well, (B, k).
        Integers come back rounded, and clipped to their dtype's range. Mixed tables come back as a
        dict of columns: float64 numbers, and categories as objects. Raises ShapeMismatch or
        DtypeMismatch.
        """
        if is_table(z):
            from ae_runtime.tables.columns import rows_by_number

            z = rows_by_number(z, "z")
        return self._rows_of(self.model.decode(z))

    def reconstruct(self, x: Any, *, keep: int | None = None) -> Any:
        """decode(encode(x, keep)): what the model keeps of x, in x's shape, dtype and units."""
        return self.decode(self.encode(x, keep=keep))

    def score(self, x: Any, name: str | None = None) -> NDArray[np.float32]:
        """Anomaly scores, (B,), in standard deviations of a column; higher is more anomalous.

        x: as encode takes it. name: one of the manifest's scores; None for its default. Raises
        ScoreUnknown, and what encode raises.
        """
        from ae_runtime.model import scoring

        return scoring.score(self.model, self.arrays_of(x), name)

    def is_anomaly(
        self,
        x: Any,
        *,
        name: str | None = None,
        threshold: float | None = None,
        false_alarm_rate: float | None = None,
    ) -> NDArray[np.bool_]:
        """Whether each row scores higher than a threshold, (B,).

        threshold: None for the one that at most the share false_alarm_rate of rows like the
        held-out ones exceeds, which is the manifest's where it is None too. Raises ScoreUnknown.
        """
        from ae_runtime.model import scoring

        limit = scoring.limit_of(self.manifest, name, threshold, false_alarm_rate)
        return np.asarray(self.score(x, name) > limit)

    def tail_probability(
        self, scores: ArrayLike, name: str | None = None, *, steps: bool = False
    ) -> NDArray[np.float64]:
        """Share of ordinary rows that score as high or higher, for each score.

        name: which score they are; None: the default. steps: whether they are of time steps of a
        series, as score_file and Stream's settled give them, not of windows. Raises ScoreUnknown.
        """
        from ae_runtime.model import scoring, tails

        return tails.tail_probability(scoring.score_of(self.manifest, name, steps), scores)

    def explain(self, x: Any, top: int = 3) -> list[list[Contribution]]:
        """The columns, pixels or time steps of each row that are most off, at most `top`.

        Each with the value that was given and the one that the model gives back; a word that the
        model does not know comes first; see Contribution. Raises ScoreUnknown, and what encode
        raises.
        """
        from ae_runtime.model import scoring

        if not is_table(x):
            return scoring.explain(self.model, self.arrays_of(x), top)
        from ae_runtime.tables.columns import arrays_of, table_of, unknown_categories

        table = table_of(x, self.manifest)  # once, for both
        arrays = self.model.rows(arrays_of(table, self.manifest, self.say))
        return scoring.explain(self.model, arrays, top, unknown_categories(table, self.manifest))

    def sample(self, n: int, seed: int | None = None) -> Any:
        """New rows that resemble the training rows, (n, *input_shape), in the dtype and units of x.

        Rows of tables are valid: known words, whole numbers where due, within the columns' ranges.
        seed: for the same one the same rows, on every machine to 1e-5 of a std; None for
        others at each call. Mixed tables come as decode gives them. Raises DataError for a bundle
        without a sampler.
        """
        from ae_runtime.model import sampling

        arrays = self.model.decode(sampling.draw(self.model, n, seed))
        return self._rows_of(sampling.within_range(self.manifest, arrays))

    def interpolate(self, a: Any, b: Any, steps: int) -> Any:
        """Rows on the way from a to b, (steps, *input_shape).

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

    def encode_file(
        self,
        source: str | PathLike[str],
        out: str | PathLike[str],
        *,
        keep: int | None = None,
        overwrite: bool = False,
        on_error: OnError = "stop",
        id_column: str | None = None,
        stride: int | None = None,
        progress: Progress | None = None,
    ) -> JobResult:
        """Write the latents of every row of a file to the file `out`.

        Rows are streamed, in bounded memory; `out` appears when it is complete, and a call that
        was killed goes on where it was. keep: as in encode. The others: see JobOptions.
        Raises what encode raises, OutputExists, OutputFailed, InputFailed.
        """
        from ae_runtime.files.jobs.task import Encode

        task = Encode(self.model, keep)
        return _work(task, source, out, overwrite, on_error, id_column, stride, progress)

    def decode_file(
        self,
        source: str | PathLike[str],
        out: str | PathLike[str],
        *,
        keep: int | None = None,
        overwrite: bool = False,
        on_error: OnError = "stop",
        id_column: str | None = None,
        stride: int | None = None,
        progress: Progress | None = None,
    ) -> JobResult:
        """Like encode_file, from latents to rows. Raises LatentMismatch too."""
        from ae_runtime.files.jobs.task import Decode

        task = Decode(self.model, keep)
        return _work(task, source, out, overwrite, on_error, id_column, stride, progress)

    def reconstruct_file(
        self,
        source: str | PathLike[str],
        out: str | PathLike[str],
        *,
        keep: int | None = None,
        overwrite: bool = False,
        on_error: OnError = "stop",
        id_column: str | None = None,
        stride: int | None = None,
        progress: Progress | None = None,
    ) -> JobResult:
        """Like encode_file, from rows to their reconstructions."""
        from ae_runtime.files.jobs.task import Reconstruct

        task = Reconstruct(self.model, keep)
        return _work(task, source, out, overwrite, on_error, id_column, stride, progress)

    def score_file(
        self,
        source: str | PathLike[str],
        out: str | PathLike[str],
        *,
        name: str | None = None,
        threshold: float | None = None,
        false_alarm_rate: float | None = None,
        parts: bool = False,
        overwrite: bool = False,
        on_error: OnError = "stop",
        id_column: str | None = None,
        stride: int | None = None,
        progress: Progress | None = None,
    ) -> JobResult:
        """Like encode_file, from rows to columns score, probability and anomaly (0 or 1).

        For a series each row is a time step, scored by the mean of the windows that cover it and
        judged by the threshold of time steps. name, threshold, false_alarm_rate: as in is_anomaly.
        parts: a column for each part, too.
        """
        from ae_runtime.files.jobs.score_summary import ScoreOptions
        from ae_runtime.files.jobs.task import Score

        task = Score(self.model, ScoreOptions(name, threshold, false_alarm_rate, parts))
        return _work(task, source, out, overwrite, on_error, id_column, stride, progress)

    def _arrays_of(self, x: Any) -> tuple[Any, ...]:
        if not self._is_mixed and not is_table(x):
            return (x,)
        # words and dates: not for arrays of numbers
        from ae_runtime.tables.columns import arrays_of

        return arrays_of(x, self.manifest, self.say)

    def arrays_of(self, x: Any) -> list[NDArray[Any]]:
        """The arrays that the encoder's graph takes for rows x.

        [x]; of a mixed table [x_num (B, P), x_cat (B, Q)]. Raises what encode raises.
        """
        return self.model.rows(self._arrays_of(x))

    def _rows_of(self, arrays: tuple[NDArray[Any], ...]) -> Any:
        if not self._is_mixed:
            return arrays[0]
        from ae_runtime.tables.table import from_blocks

        return from_blocks(arrays[0], arrays[1], self.manifest.columns or ())

    def __repr__(self) -> str:
        return f"<Autoencoder {self.input_shape} -> {self.latent_dim}, {self.model_id[:12]}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Autoencoder, (self.model,)


def _work(
    task: Task, source: str | PathLike[str], out: str | PathLike[str], *options: Any
) -> JobResult:
    """Do a task on a file. options: the first fields of JobOptions."""
    from ae_runtime.files.jobs.job import JobOptions, process_file

    return process_file(task, fspath(source), fspath(out), JobOptions(*options))
