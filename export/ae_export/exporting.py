"""From a run to a bundle: trace, verify, describe, and only then write."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import tomli_w
import torch
from torch import Tensor, nn

from ae_export.card import model_card
from ae_export.golden import ROWS, GoldenRows, golden_npz
from ae_export.graph import trace
from ae_export.verify import TOLERANCE, Agreement, verify
from ae_runtime import manifest as manifests
from ae_runtime import outputs
from ae_runtime.admission import admit
from ae_runtime.bundle import MANIFEST, REQUIRED, file_entry, open_bundle
from ae_runtime.errors import BundleRefused, OutputExists, RunError, VerificationFailed
from ae_runtime.manifest import Golden, Latent, Manifest, Port
from ae_train.model import Model
from ae_train.recipe import to_fields
from ae_train.run import Run

CARD = "README.md"


@dataclass(frozen=True)
class Exported:
    """A bundle that was written, and how well its graphs agree with the model."""

    folder: Path
    model_id: str
    agreement: Agreement
    bytes: int


class _Encoder(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.encode(x)


class _Decoder(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.model.decode(z)


def export(
    run: Run | str | Path,
    out: str | Path,
    *,
    golden: GoldenRows = "synthetic",
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write the bundle of a run to the folder `out`, which appears only when it is complete.

    run: a Run or its folder. golden: rows of golden.npz, "real" puts held-out rows into the
    bundle. say: called with what is being done. The same run gives the same bytes wherever it is
    exported. Raises RunError, OutputExists, OutputFailed, VerificationFailed, MissingExtra.
    """
    out = Path(out)
    _check_out(out, overwrite)
    run = run if isinstance(run, Run) else Run.load(run)
    _check_exportable(run)
    say("tracing encoder and decoder (some seconds, mostly imports) ...")
    x, x_hat, z = _ports(run)
    example = torch.from_numpy(run.probe[0][:1])
    files = {
        "encoder.onnx": trace(_Encoder(run.model), example, x, z),
        "decoder.onnx": trace(_Decoder(run.model), torch.zeros(1, run.schema.latent_dim), z, x_hat),
    }
    for name, feed, fetch in (("encoder.onnx", x, z), ("decoder.onnx", z, x_hat)):
        try:
            admit(name, files[name], feed, fetch)
        except BundleRefused as error:  # what our own loader would refuse is not written
            raise VerificationFailed(f"{error}; nothing was written") from None
    say(f"verifying against the model in float64 on {len(run.probe[0])} held-out rows ...")
    agreement = verify(run, files["encoder.onnx"], files["decoder.onnx"])
    files["golden.npz"] = golden_npz(run, golden)
    files["recipe.toml"] = tomli_w.dumps(to_fields(run.recipe)).encode()
    manifest = _manifest(run, files, len(run.probe[0][:ROWS]) if golden == "real" else ROWS)
    files[CARD] = model_card(run, manifest).encode()
    files[MANIFEST] = manifests.dump(manifest)
    _write(out, files)
    total = sum(len(raw) for raw in files.values())
    return Exported(out, manifest.model_id, agreement, total)


def _check_exportable(run: Run) -> None:
    """Raise RunError for what can be trained and not be exported."""
    arch, bottleneck = run.recipe.arch.name, run.recipe.bottleneck.name
    if run.schema.form.is_mixed:
        raise RunError(
            "this version exports tables of numbers, images and series, and the run is of a table "
            "with categories; train on its numeric columns, with --columns or --drop"
        )
    if arch == "gru" or bottleneck != "plain":
        found = "the network gru" if arch == "gru" else f"the bottleneck {bottleneck}"
        raise RunError(
            "this version exports dense and conv networks with a plain bottleneck, and the run has "
            f"{found}; train with --arch dense or conv, and --bottleneck plain"
        )


def _ports(run: Run) -> tuple[Port, Port, Port]:
    """The graphs' x, x_hat and z."""
    shape: list[int | None] = [None, *run.schema.row_shape]
    dtype = run.schema.dtype
    z = Port("z", "float32", [None, run.schema.latent_dim])
    return Port("x", dtype, shape), Port("x_hat", dtype, shape), z


def _latent(run: Run) -> Latent:
    settings, dim = run.recipe.bottleneck, run.schema.latent_dim
    levels = [settings.levels] * dim if settings.levels is not None else None
    return Latent(dim, settings.name, levels, ordered=settings.name == "ordered")


def _manifest(run: Run, files: dict[str, bytes], golden_rows: int) -> Manifest:
    x, x_hat, _z = _ports(run)
    manifest = Manifest(
        format=manifests.FORMAT,
        model_id=run.model_id,
        kind=run.schema.kind,
        latent=_latent(run),
        inputs=[x],
        outputs=[x_hat],
        columns=run.schema.columns,
        quality=run.schema.quality,
        golden=Golden(rows=golden_rows, tolerance=TOLERANCE),
        files={name: file_entry(raw) for name, raw in files.items()},
    )
    # Through JSON and back, so that what is checked is what a reader will see.
    return msgspec.convert(msgspec.to_builtins(manifest), Manifest)


def _check_out(out: Path, overwrite: bool) -> None:
    if not outputs.is_empty_folder(out):
        outputs.check_free(out, (out / MANIFEST).is_file(), overwrite, "a bundle of ae-export")
    part = outputs.part_of(out)
    # A kill leaves a file half written under its name and ".part".
    names = {p.name.removesuffix(".part") for p in part.iterdir()} if part.is_dir() else set()
    if part.is_file() or names - {*REQUIRED, CARD, MANIFEST}:
        raise OutputExists(f"{part} is in the way and not ours; move it")


def _write(out: Path, files: dict[str, bytes]) -> None:
    """Write the files into OUT.part, load it as any user would, and put it where OUT is."""
    part = outputs.part_of(out)
    try:
        with outputs.said_in_one_line(out):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            for name, raw in files.items():
                outputs.write_atomic(part / name, raw)
            open_bundle(part)
            if outputs.is_empty_folder(out):
                out.rmdir()
            outputs.replace_folder(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
