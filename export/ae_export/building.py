"""From modules to the files of a bundle: trace, verify, choose the precision, describe, write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from ae_export.export_source import Graphs, Subject, examples_of
from ae_export.golden import GoldenRows, golden_of_int8, to_npz
from ae_export.golden import golden as golden_of
from ae_export.graph import trace
from ae_export.precision import Precision, Weighed, check_calibration, choose
from ae_export.sampling import golden_samples, sampler_graph
from ae_export.scoring import golden_scores, scorer_graph
from ae_export.verify import Agreement, verify
from ae_export.writing import CARD, write
from ae_runtime.bundle import manifest as manifests
from ae_runtime.bundle.manifest import Golden, Manifest
from ae_runtime.bundle.opening import MANIFEST, file_entry
from ae_runtime.errors import BundleRefused, VerificationFailed
from ae_runtime.graphs.admission import ANY_BYTES, admit


@dataclass(frozen=True)
class Exported:
    """A bundle that was written, and how well its graphs agree with the model.

    agreement: of the graphs in fp32. weighed: int8 beside fp32, None where it was not asked for or
    is impossible.
    """

    location: Path
    model_id: str
    agreement: Agreement
    bytes: int
    precision: str
    weighed: Weighed | None


def build(
    subject: Subject,
    out: Path,
    *,
    precision: Precision,
    budget: float,
    zip: bool,
    golden: GoldenRows,
    say: Callable[[str], None],
    recipe: bytes,
    card: Callable[[Manifest], str],
    facts: Callable[[Graphs], dict[str, Any]],
) -> Exported:
    """Write the bundle of a subject. facts: fields of the manifest, for its graphs in fp32.

    Raises VerificationFailed, OutputFailed.
    """
    check_calibration(subject, precision)
    say("tracing encoder and decoder (some seconds, mostly imports) ...")
    graphs = trace_both(subject)
    say(f"verifying against the model in float64 on {len(subject.held_out[0]):,} held-out rows ...")
    agreement = verify(subject, graphs)
    told, weighed = facts(graphs), None
    if precision != "fp32":
        graphs, weighed = choose(subject, graphs, precision, budget, say)
    chosen: Literal["fp32", "int8"] = "int8" if weighed and weighed.taken else "fp32"
    arrays, tolerance = (
        golden_of(subject, golden) if chosen == "fp32" else golden_of_int8(subject, graphs, golden)
    )
    manifest = Manifest(
        format=manifests.FORMAT,
        latent=subject.latent,
        inputs=subject.inputs,
        outputs=subject.outputs,
        golden=Golden(rows=len(arrays["z"]), tolerance=tolerance),
        files={},
        precision=chosen,
        **told,
    )
    files = {"encoder.onnx": graphs.encoder, "decoder.onnx": graphs.decoder}
    if subject.scorer is not None:
        files[manifests.SCORER] = scorer_graph(subject, graphs, manifest)
        arrays |= golden_scores(subject, manifest, arrays)
    if subject.sampler is not None:
        described = manifests.Sampler(subject.sampler.noise_dim, len(subject.sampler.means))
        manifest = msgspec.structs.replace(manifest, sampler=described)
        files[manifests.SAMPLER] = sampler_graph(subject, manifest)
        arrays |= golden_samples(subject, manifest)
    files |= {"golden.npz": to_npz(arrays), "recipe.toml": recipe}
    entries = {name: file_entry(raw) for name, raw in files.items()}
    manifest = msgspec.structs.replace(manifest, files=entries)
    # Through JSON and back, so that what is checked is what a reader will see.
    manifest = msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    files[CARD] = card(manifest).encode()
    files[MANIFEST] = manifests.dump(manifest)
    size = write(out, files, zip)
    return Exported(out, manifest.model_id, agreement, size, chosen, weighed)


def trace_both(subject: Subject) -> Graphs:
    """The graphs of a subject, known to be what our own loader takes.

    Raises VerificationFailed.
    """
    z = [subject.latent.port]
    given = (torch.zeros(2, subject.latent.dim),)
    graphs = Graphs(
        trace(subject.encoder, examples_of(subject), subject.inputs, z),
        trace(subject.decoder, given, z, subject.outputs),
    )
    try:
        admit("encoder.onnx", graphs.encoder, subject.inputs, z, ANY_BYTES)
        admit("decoder.onnx", graphs.decoder, z, subject.outputs, ANY_BYTES)
    except BundleRefused as error:  # what our own loader would refuse is not written
        raise VerificationFailed(f"{error}; nothing was written") from None
    return graphs
