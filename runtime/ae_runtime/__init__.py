"""Load a bundle; encode, decode and reconstruct with numpy and onnxruntime, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ae_runtime import errors
from ae_runtime.errors import AeError, DataWarning

if TYPE_CHECKING:
    from ae_runtime.autoencoder import Autoencoder, load
    from ae_runtime.bundle.manifest import Manifest
    from ae_runtime.drift import Drift
    from ae_runtime.files.jobs.job import JobResult
    from ae_runtime.model.scoring import Contribution
    from ae_runtime.shards import decode_shard, encode_shard, reconstruct_shard, score_shard
    from ae_runtime.sklearn import BundleDetector, BundleTransformer
    from ae_runtime.stream import Pushed, Stream

__version__ = "0.1.0"
__all__ = [
    "AeError",
    "Autoencoder",
    "BundleDetector",
    "BundleTransformer",
    "Contribution",
    "DataWarning",
    "Drift",
    "JobResult",
    "Manifest",
    "Pushed",
    "Stream",
    "__version__",
    "decode_shard",
    "encode_shard",
    "errors",
    "load",
    "reconstruct_shard",
    "score_shard",
]
_HOMES = {
    "Autoencoder": "autoencoder",
    "BundleDetector": "sklearn",
    "BundleTransformer": "sklearn",
    "Contribution": "model.scoring",
    "Drift": "drift",
    "JobResult": "files.jobs.job",
    "Manifest": "bundle.manifest",
    "Pushed": "stream",
    "Stream": "stream",
    "decode_shard": "shards",
    "encode_shard": "shards",
    "load": "autoencoder",
    "reconstruct_shard": "shards",
    "score_shard": "shards",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that `import ae_runtime` costs an application nothing until it loads a bundle.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ae_runtime.{_HOMES[name]}"), name)
