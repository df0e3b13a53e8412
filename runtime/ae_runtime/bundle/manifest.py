"""The manifest of a bundle: its fields, and how it is read, checked and written."""

from __future__ import annotations

import hashlib
import json
from math import isfinite
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ae_runtime.errors import BundleCorrupt, BundleTooNew

FORMAT = "1.0"
FORMAT_MAJOR = 1
HASH_FIELD = "manifest_sha256"
SCORER, SAMPLER = "scorer.onnx", "sampler.onnx"

Dtype = Literal["uint8", "float32", "float64"]  # of rows of numbers
MAX_SIZE = 1 << 28  # admission.py has the same limit
Level = Annotated[float, Meta(ge=0, lt=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
Size = Annotated[int, Meta(ge=1, le=MAX_SIZE)]  # of an axis
# Names of the graphs' inputs and outputs: of one array, and of a mixed table.
PORTS = {("x",): ("x_hat",), ("x_num", "x_cat"): ("x_hat_num", "x_hat_cat", "x_hat_prob")}


class Port(msgspec.Struct, frozen=True):
    """One input or output of a graph. shape[0] is the batch axis, null.

    A mixed table without a column of numbers has an x_num of 0 columns.
    """

    name: str
    dtype: Literal["uint8", "float32", "float64", "int32"]
    shape: list[Annotated[int, Meta(ge=0, le=MAX_SIZE)] | None]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row, without the batch axis."""
        return tuple(n for n in self.shape[1:] if n is not None)


class Column(msgspec.Struct, frozen=True):
    """One column of a table.

    name: null where the model was trained on an array. A date is a number: seconds since
    1970-01-01 UTC. min, max: over the training rows; rmse: over the held-out rows; in the column's
    units, null where it held no value or holds categories. levels: the categories, or the two words
    of a boolean; the place of one is its code. whole_days: whether all dates of the training rows
    are days without a time; not there in older bundles.
    """

    name: str | None
    type: Literal["number", "category", "boolean", "date"] = "number"
    integer: bool = False
    min: float | None = None
    max: float | None = None
    rmse: float | None = None
    levels: list[str] | UnsetType = UNSET
    whole_days: bool | UnsetType = UNSET


class Prefix(msgspec.Struct, frozen=True):
    """Errors of the first `keep` ordered latents in scaled space, and of PCA of that size.

    Over the test rows, or over the validation rows where there are none.
    """

    keep: Size
    mse: float
    pca_mse: float


class Latent(msgspec.Struct, frozen=True):
    """The latent code: its size, and the bottleneck that makes it.

    ordered: the first latents of a code are a code. curve: its errors by size; null where the
    latents are not ordered, and in older bundles.
    """

    dim: Size
    bottleneck: str = "plain"
    levels: list[int] | None = None
    ordered: bool = False
    curve: list[Prefix] | None = None

    @property
    def port(self) -> Port:
        """The encoder's output and the decoder's input."""
        return Port("z", "float32", [None, self.dim])


class Gain(msgspec.Struct, frozen=True):
    """What a network saves of the error of PCA of its size, beside what it would save by chance.

    share: of PCA's error, over held-out rows; each is judged at the epoch that all others find
    best. chance: the share that a network no better than PCA exceeds once in a hundred times; null
    for a single block of rows. rows, blocks: of the judgement; folds: parts of the training rows
    that were held out in turn, 0 where validation rows were enough.
    """

    share: float
    chance: float | None
    rows: Size
    blocks: Size
    folds: Annotated[int, Meta(ge=0)] = 0


class Quality(msgspec.Struct, frozen=True):
    """Mean squared errors in scaled space: the model, PCA of the same size, the training mean.

    test_*: null where no test rows were held out. is_pca: whether the saved model is PCA, because
    training found nothing better by more than chance. gain: how that was judged; null where PCA
    cannot stand in for the model. range_error: mean absolute error of numbers over held-out rows,
    as a share of the range of their column or channel over the training rows. accuracy: share of
    categories that come back right. gain and these are null in older bundles.
    """

    validation_mse: float
    pca_mse: float
    mean_mse: float
    test_mse: float | None = None
    test_pca_mse: float | None = None
    test_mean_mse: float | None = None
    is_pca: bool = False
    range_error: float | None = None
    pca_range_error: float | None = None
    accuracy: float | None = None
    pca_accuracy: float | None = None
    gain: Gain | None = None


class Series(msgspec.Struct, frozen=True):
    """What windows were cut from: the names of the channels, and the steps between windows.

    min, max: of each channel over the training rows, null for one without a value; null in older
    bundles. time: the column of times; step: from row to row, dates in seconds, null if it varies.
    """

    channels: list[str] | None = None
    stride: Size | None = None
    min: list[float | None] | None = None
    max: list[float | None] | None = None
    time: str | None = None
    step: Annotated[float, Meta(gt=0)] | None = None


class Golden(msgspec.Struct, frozen=True):
    """How golden.npz is checked: |difference| <= tolerance * deviation + one unit in last place."""

    rows: Size
    tolerance: Annotated[float, Meta(ge=0)]


class Score(msgspec.Struct, frozen=True):
    """A score of scorer.onnx over rows it was not fitted on; its place in the list is its column.

    quantiles: some of the scores, rising. levels: share of rows that score lower than each; above:
    share that score higher, without ties; null in older bundles, where it is all but the level.
    tail_mean: mean of scores past the last quantile, less that quantile: the tail is exponential.
    rows: number of independent rows that the shares are as good as; null in older bundles.
    """

    name: str
    levels: Annotated[list[Level], Meta(min_length=2)]
    quantiles: list[float]
    tail_mean: Annotated[float, Meta(ge=0)]
    above: list[Share] | None = None
    rows: Annotated[float, Meta(ge=1)] | None = None


class Threshold(msgspec.Struct, frozen=True):
    """The value of a score that anomalies exceed.

    method: "held-out": rows that the scorer was not fitted on exceed it with the false_alarm_rate;
    "mad", in older bundles: from the median absolute deviation of too few such scores. low, high:
    95 % confidence interval of the share of ordinary rows above it; null in older bundles.
    """

    score: str
    value: float
    false_alarm_rate: Annotated[float, Meta(gt=0, lt=1)]
    method: Literal["held-out", "mad"] = "held-out"
    low: Annotated[float, Meta(ge=0, le=1)] | None = None
    high: Annotated[float, Meta(ge=0, le=1)] | None = None


class Sampler(msgspec.Struct, frozen=True):
    """What sampler.onnx draws latents from: so many uniform numbers in [0, 1) make one.

    components: of the mixture of normal distributions.
    """

    noise_dim: Size
    components: Size = 1


class Reading(msgspec.Struct, frozen=True):
    """Settings for reading text: signs and missing values that were given for the data.

    decimal, thousands: signs, null where text shows them. missing: numbers and words that stand
    for no value, beside those that always do.
    """

    decimal: Literal[".", ","] | None = None
    thousands: Literal[",", ".", " ", "'"] | None = None
    missing: list[float | str] = []


class FileEntry(msgspec.Struct, frozen=True):
    """The size and hash of one file of the bundle."""

    bytes: Annotated[int, Meta(ge=0)]
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """Everything a host needs to know to run the bundle's graphs.

    resized: whether images of other sizes are brought to that of x. reading: how its data are
    written, null where nothing was said. scores: those of scorer.onnx, null without one. threshold:
    of the default score. step_scores, step_threshold: the same for time steps, each scored by the
    mean of its windows; null but for series. sampler: null without a sampler.onnx.
    """

    format: str
    model_id: str
    kind: Literal["table", "image", "series"]
    latent: Latent
    inputs: list[Port]
    outputs: list[Port]
    columns: list[Column] | None
    quality: Quality | None
    golden: Golden
    files: dict[str, FileEntry]
    series: Series | None = None
    reading: Reading | None = None
    resized: bool = False
    precision: Literal["fp32", "int8"] = "fp32"
    scores: list[Score] | None = None
    threshold: Threshold | None = None
    step_scores: list[Score] | None = None
    step_threshold: Threshold | None = None
    sampler: Sampler | None = None
    manifest_sha256: str = ""

    @property
    def is_mixed(self) -> bool:
        """Whether rows are numbers and categories, in two arrays."""
        return len(self.inputs) == 2

    @property
    def part_shape(self) -> tuple[int, ...]:
        """Shape of a row's contributions to a score: (columns,) of a table, else the row's."""
        return self.inputs[0].row_shape if self.columns is None else (len(self.columns),)

    @property
    def sampler_feeds(self) -> list[Port]:
        """Inputs of sampler.onnx."""
        return [Port("noise", "float32", [None, self.sampler.noise_dim])] if self.sampler else []

    @property
    def scorer_feeds(self) -> list[Port]:
        """Inputs of scorer.onnx: inputs and outputs of the other two graphs."""
        return [*self.inputs, self.latent.port, *self.outputs]

    @property
    def scorer_fetches(self) -> list[Port]:
        """Outputs of scorer.onnx."""
        return [
            Port("score", "float32", [None]),
            Port("parts", "float32", [None, *self.part_shape]),
            Port("scores", "float32", [None, len(self.scores or ())]),
        ]

    @property
    def column_names(self) -> list[str] | None:
        """The names of a table's columns, or None where it was trained on an array."""
        if self.columns is None or any(column.name is None for column in self.columns):
            return None
        return [column.name for column in self.columns if column.name is not None]


def canonical_sha256(fields: dict[str, Any]) -> str:
    """SHA-256 of the fields without their own hash.

    Canonical form: keys sorted, no white space, non-ASCII escaped, numbers as Python prints them.
    """
    body = {key: value for key, value in fields.items() if key != HASH_FIELD}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def dump(manifest: Manifest) -> bytes:
    """The bytes of manifest.json, its hash filled in; readable, in the order of the fields."""
    fields: dict[str, Any] = msgspec.to_builtins(manifest)
    fields[HASH_FIELD] = canonical_sha256(fields)
    return (json.dumps(fields, indent=2, allow_nan=False) + "\n").encode()


def parse(raw: bytes) -> Manifest:
    """The manifest in raw, its version and hash checked.

    A newer minor version loads, unknown fields are left aside. Raises BundleTooNew for a newer
    major version, and for a newer minor one that needs what is not known here; BundleCorrupt for
    anything else that is not a manifest.
    """
    try:
        fields = msgspec.json.decode(raw.decode())  # so that its versions say no text alike
        sha256 = canonical_sha256(fields) if isinstance(fields, dict) else ""
    except RecursionError:  # in words of each Python's own
        raise BundleCorrupt("manifest.json is nested too deeply; export again") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleCorrupt(
            f"manifest.json is not valid JSON ({error!s:.300}); export again"
        ) from None
    version = fields.get("format") if isinstance(fields, dict) else None
    major = _major(version)
    if not major:
        raise BundleCorrupt(f"manifest.json names no format version, found {version!r:.40}")
    if major > FORMAT_MAJOR:
        raise BundleTooNew(
            f"the bundle has format {version}, this version reads up to {FORMAT_MAJOR}.x; "
            "update ae-toolkit"
        )
    if fields.get(HASH_FIELD) != sha256:
        raise BundleCorrupt("manifest.json does not match its own hash; fetch or export it again")
    try:
        manifest = msgspec.convert(fields, Manifest)
    except msgspec.ValidationError as error:
        if version != FORMAT:  # a newer minor version may use words that this one does not have
            raise BundleTooNew(
                f"the bundle has format {version} and needs a newer version: {error!s:.300}; "
                "update ae-toolkit"
            ) from None
        raise BundleCorrupt(f"manifest.json: {error!s:.300}") from None
    _check_ports(manifest)
    _check_scores(manifest)
    return manifest


def _check_ports(manifest: Manifest) -> None:
    """Raise BundleCorrupt unless the ports are those of one array or of a mixed table."""
    ports = [*manifest.inputs, *manifest.outputs]
    names = [tuple(port.name for port in side) for side in (manifest.inputs, manifest.outputs)]
    shaped = all(port.shape[:1] == [None] and port.shape.count(None) == 1 for port in ports)
    if not shaped or PORTS.get(names[0]) != names[1]:
        raise BundleCorrupt(
            "manifest.json: inputs and outputs must be x and x_hat, or x_num and x_cat and "
            "x_hat_num, x_hat_cat and x_hat_prob, each with a shape of null and sizes; "
            "update ae-toolkit or export again"
        )
    wanted: list[tuple[str, list[int | None]]] = []  # of no port, where nothing fits
    if not manifest.is_mixed:
        fit = ports[0].dtype != "int32" and 0 not in ports[0].shape
        wanted = [(ports[0].dtype, ports[0].shape)] * 2 if fit else []
    elif manifest.columns:
        levels = [len(column.levels) for column in manifest.columns if column.levels]
        numbers = len(manifest.columns) - len(levels)
        sizes = [numbers, len(levels), numbers, len(levels), sum(levels)]
        dtypes = ["float64", "int32", "float64", "int32", "float32"]
        wanted = [(dtype, [None, size]) for dtype, size in zip(dtypes, sizes, strict=True)]
    if [(port.dtype, port.shape) for port in ports] != wanted:
        raise BundleCorrupt(
            "manifest.json: the shapes and dtypes of inputs and outputs do not go together; "
            "export again"
        )


def _check_scores(manifest: Manifest) -> None:
    """Raise BundleCorrupt unless scores are complete, with a threshold for one of them."""
    names = [score.name for score in manifest.scores or ()]
    step_names = [score.name for score in manifest.step_scores or ()]
    fit = _go_together(manifest.scores, manifest.threshold)
    fit &= _go_together(manifest.step_scores, manifest.step_threshold)
    if not fit or (step_names and step_names != names):
        raise BundleCorrupt("manifest.json: scores and threshold do not go together; export again")


def _go_together(scores: list[Score] | None, threshold: Threshold | None) -> bool:
    names = [score.name for score in scores or ()]
    wrong = (threshold.score not in names) if threshold is not None else bool(names)
    for score in scores or ():
        numbers = [*score.levels, *score.quantiles, *(score.above or ()), score.tail_mean]
        wrong |= len(score.levels) != len(score.quantiles) or names.count(score.name) > 1
        wrong |= sorted(score.levels) != score.levels or sorted(score.quantiles) != score.quantiles
        wrong |= not all(map(isfinite, numbers))
        if score.above is not None:
            wrong |= len(score.above) != len(score.levels)
            wrong |= sorted(score.above, reverse=True) != score.above
    return not wrong


def _major(version: object) -> int:
    """The major number of a format version such as "1.0"; 0 for what is none."""
    major = version.partition(".")[0] if isinstance(version, str) else ""
    return int(major) if major.isascii() and major.isdecimal() and len(major) < 20 else 0
