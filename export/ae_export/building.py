"""Build a bundle of modules: trace, verify, choose the precision, describe, write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import torch

from ae_export.export_source import ExportSource, Facts, Graphs, examples_of
from ae_export.golden import GoldenRows, golden_of_int8
from ae_export.golden import golden as golden_of
from ae_export.graph import trace
from ae_export.precision import Precision, Weighed, check_calibration, choose
from ae_export.sampling import golden_samples, sampler_graph
from ae_export.scoring import golden_scores, scorer_graph
from ae_export.verify import Agreement, verify
from ae_export.writing import CARD, write
from ae_runtime import extras
from ae_runtime.bundle import manifest as manifests
from ae_runtime.bundle.manifest import Golden, Manifest
from ae_runtime.bundle.opening import MANIFEST, file_entry
from ae_train.run.folder import to_npz


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
    source: ExportSource,
    out: Path,
    *,
    precision: Precision,
    budget: float,
    zip: bool,
    golden: GoldenRows,
    say: Callable[[str], None],
    recipe: bytes,
    card: Callable[[Manifest], str],
    facts: Facts,
) -> Exported:
    """Write the bundle of an encoder and a decoder. Raises VerificationFailed, OutputFailed."""
    check_calibration(source, precision)
    say("tracing encoder and decoder (some seconds, mostly imports) ...")
    graphs = trace_both(source)
    say(f"verifying against the model in float64 on {len(source.held_out[0]):,} held-out rows ...")
    agreement = verify(source, graphs)
    model_id, weighed = facts.model_id or _model_id(graphs), None
    if precision != "fp32":
        graphs, weighed = choose(source, graphs, precision, budget, say)
    chosen: Literal["fp32", "int8"] = "int8" if weighed and weighed.taken else "fp32"
    arrays, tolerance = (
        golden_of(source, golden) if chosen == "fp32" else golden_of_int8(source, graphs, golden)
    )
    manifest = Manifest(
        format=manifests.FORMAT,
        latent=source.latent,
        inputs=source.inputs,
        outputs=source.outputs,
        golden=Golden(rows=len(arrays["z"]), tolerance=tolerance),
        files={},
        precision=chosen,
        **vars(facts) | {"model_id": model_id},
    )
    files = {"encoder.onnx": graphs.encoder, "decoder.onnx": graphs.decoder}
    if source.scorer is not None:
        files[manifests.SCORER] = scorer_graph(source.scorer, source, graphs, manifest)
        arrays |= golden_scores(source.scorer, manifest, arrays)
    if source.sampler is not None:
        described = manifests.Sampler(source.sampler.noise_dim, len(source.sampler.means))
        manifest = msgspec.structs.replace(manifest, sampler=described)
        files[manifests.SAMPLER] = sampler_graph(source.sampler, source.seed, manifest)
        arrays |= golden_samples(source.sampler, source.seed)
    files |= {"golden.npz": to_npz(arrays), "recipe.toml": recipe}
    entries = {name: file_entry(raw) for name, raw in files.items()}
    manifest = msgspec.structs.replace(manifest, files=entries)
    # Through JSON and back, so that the manifest is checked as a reader will see it.
    manifest = msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    files[CARD] = card(manifest).encode()
    files[MANIFEST] = manifests.dump(manifest)
    size = write(out, files, zip)
    return Exported(out, manifest.model_id, agreement, size, chosen, weighed)


def trace_both(source: ExportSource) -> Graphs:
    """The graphs of encoder and decoder. Raises VerificationFailed."""
    z, latents = [source.latent.port], (torch.zeros(2, source.latent.dim),)
    return Graphs(
        trace("encoder.onnx", source.encoder, examples_of(source), source.inputs, z),
        trace("decoder.onnx", source.decoder, latents, z, source.outputs),
    )


def _model_id(graphs: Graphs) -> str:
    """SHA-256 of the graphs, without the version of the program that wrote them."""
    onnx = extras.need("onnx", "export")
    digest = hashlib.sha256()
    for raw in graphs:
        graph = onnx.load_from_string(raw).graph
        digest.update(graph.SerializeToString(deterministic=True))
    return digest.hexdigest()
