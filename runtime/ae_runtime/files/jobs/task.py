"""What is done with the rows of a file: a class for each verb of ae-run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from ae_runtime import outputs
from ae_runtime.errors import DataError, LatentMismatch
from ae_runtime.files.jobs.score_summary import (
    DEFAULTS,
    ScoreOptions,
    ScoreSummary,
    layout_of_scores,
)
from ae_runtime.files.readers.blocks import Block, SeriesCut
from ae_runtime.files.readers.columns import Wanted, latent_columns, row_columns
from ae_runtime.files.writers.layout import (
    Chunk,
    Layout,
    Values,
    layout_of_latents,
    layout_of_rows,
)
from ae_runtime.model.model import Model, row_bytes
from ae_runtime.model.prefix import check_keep, prefix
from ae_runtime.model.sampling import within_range
from ae_runtime.model.scoring import score_arrays
from ae_runtime.tables.table import from_blocks

Array = NDArray[Any]


class Task(Protocol):
    """A verb of ae-run: what it takes of a file, computes and writes. By default rows to rows.

    name: the verb. graph: which of the bundle's is opened first. joins_windows: whether windows of
    a series are written as its time steps. row_bytes: of memory that one row takes, from reading to
    writing.
    """

    name: ClassVar[str]
    graph: ClassVar[str] = "encoder"
    joins_windows: ClassVar[bool] = False
    model: Model
    keep: int | None

    def __init__(self, model: Model, keep: int | None = None) -> None:
        """keep: how many of the ordered latents to use; None for all. Raises DataError."""
        if keep is not None:
            check_keep(model.manifest.latent, keep)
        self.model, self.keep = model, keep

    @property
    def row_bytes(self) -> int:
        return row_bytes([*self.model.inputs, self.model.z, *self.model.outputs])

    @property
    def key(self) -> dict[str, Any]:
        """Values that the output depends on, beside verb, model and input; known after `layout`.

        The hash of it names the job: an unfinished output is resumed under the same key only.
        """
        return {} if self.keep is None else {"keep": self.keep}

    def columns(self, path: Path | None) -> tuple[Wanted, list[str]]:
        """(columns to read from a file, notes). path: None for a pipe. Raises LatentMismatch."""
        wanted = row_columns(self.model.manifest)
        return replace(wanted, joins_windows=self.joins_windows), []

    def layout(self, rows: int | None, series: SeriesCut | None) -> Layout:
        """Layout of the output. rows: of the input; None where only its end tells the number."""
        return layout_of_rows(self.model.manifest, rows, series)

    def compute(self, block: Block) -> Values:
        """Values to write for a block's rows; called in many threads at once."""

    def finish(self, chunk: Chunk, first: int) -> Chunk:
        """The chunk to write; called in the order of rows. first: its first row in the output."""
        return chunk

    def encoded(self, block: Block) -> Array:
        """The kept latents of a block's rows."""
        z = self.model.encode(*block.arrays, alone=True)
        return prefix(self.model.manifest.latent, z, self.keep)

    def decoded(self, z: Array) -> tuple[Array, ...]:
        """Outputs of the decoder for latents."""
        return self.model.decode(z, alone=True)

    def written(self, arrays: tuple[Array, ...]) -> Values:
        """Outputs of the decoder, as values to write."""
        manifest = self.model.manifest
        if manifest.is_mixed:
            return from_blocks(arrays[0], arrays[1], manifest.columns or ())
        return arrays[0]


class Encode(Task):
    """Rows to latents."""

    name = "encode"

    @property
    def row_bytes(self) -> int:
        return row_bytes([*self.model.inputs, self.model.z])

    def layout(self, rows: int | None, series: SeriesCut | None) -> Layout:
        return layout_of_latents(self.model.manifest, rows, series, self.keep)

    def compute(self, block: Block) -> Values:
        return self.encoded(block)


class Decode(Task):
    """Latents to rows."""

    name = "decode"
    graph = "decoder"

    @property
    def row_bytes(self) -> int:
        return row_bytes([self.model.z, *self.model.outputs])

    def columns(self, path: Path | None) -> tuple[Wanted, list[str]]:
        manifest, notes = self.model.manifest, []
        in_file = self.keep
        if path is not None:
            stamp = outputs.read_stamp(path)
            if stamp is None:
                notes.append(f"{path.name} is unstamped: taken as latents of this model")
            else:
                in_file = self._latents_in(path, stamp)
        return latent_columns(manifest, in_file), notes

    def _latents_in(self, path: Path, stamp: dict[str, Any]) -> int | None:
        """How many latents of each row a stamped file holds; None for all."""
        manifest = self.model.manifest
        if stamp["model_id"] != manifest.model_id:
            raise LatentMismatch(
                f"{path} holds latents of model {stamp['model_id'][:12]}, this bundle is "
                f"{manifest.model_id[:12]}; decode with the bundle that encoded them"
            )
        in_file = stamp.get(outputs.KEEP)
        if in_file is not None:
            check_keep(manifest.latent, in_file)
            if self.keep is not None and self.keep > in_file:
                raise DataError(
                    f"{path} holds the first {in_file} latents, and keep is {self.keep}"
                )
        return in_file

    def compute(self, block: Block) -> Values:
        z = prefix(self.model.manifest.latent, block.arrays[0], self.keep)
        return self.written(self.decoded(z))


class Reconstruct(Task):
    """Rows to their reconstructions."""

    name = "reconstruct"
    joins_windows = True

    def compute(self, block: Block) -> Values:
        return self.written(self.decoded(self.encoded(block)))


class Score(Task):
    """Rows to anomaly scores, which `summary` counts."""

    name = "score"
    joins_windows = True

    def __init__(self, model: Model, options: ScoreOptions = DEFAULTS, top: int = 0) -> None:
        """top: how many of the most anomalous rows are kept. Raises ScoreUnknown."""
        self.summary = ScoreSummary(model.manifest, options, top)
        super().__init__(model)

    @property
    def row_bytes(self) -> int:
        _, parts, _ = self.model.manifest.scorer_fetches
        return super().row_bytes + row_bytes([parts])

    @property
    def key(self) -> dict[str, Any]:
        return self.summary.key

    def columns(self, path: Path | None) -> tuple[Wanted, list[str]]:
        wanted, notes = super().columns(path)
        # An anomalous time step is sharpest where every window that covers it is scored.
        return replace(wanted, stride=1), notes

    def layout(self, rows: int | None, series: SeriesCut | None) -> Layout:
        self.summary.judge_steps(series is not None)
        return layout_of_scores(self.summary, rows, series)

    def compute(self, block: Block) -> Values:
        scored = score_arrays(self.model, *block.arrays, alone=True)
        return self.summary.columns_of(scored, steps=block.starts is not None)

    def finish(self, chunk: Chunk, first: int) -> Chunk:
        return self.summary.counted(chunk, first)


class Sample(Task):
    """Uniform noise to rows like those of training; see readers.noise."""

    name = "sample"
    graph = "sampler"

    def columns(self, path: Path | None) -> tuple[Wanted, list[str]]:
        (noise,) = self.model.manifest.sampler_feeds
        return Wanted(noise, noise.name, None), []

    def compute(self, block: Block) -> Values:
        x_hat = self.decoded(self.model.latents_of(block.arrays[0], alone=True))
        return self.written(within_range(self.model.manifest, x_hat))
