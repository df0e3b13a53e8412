"""Graphs with random bytes changed and every hash made right: refused, or loaded and run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

# In a process of its own, so that a crash is a failed test and not the end of the tests.
SCRIPT = """
import collections, hashlib, json, resource, shutil, sys, tempfile
from pathlib import Path
import numpy as np
import ae_runtime
from ae_runtime import errors, manifest

# Little memory, so that a graph that asks for much is seen to.
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
source, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
bundle = Path(tempfile.mkdtemp()) / "bundle"
shutil.copytree(source, bundle)
fields = json.loads((bundle / "manifest.json").read_bytes())
whole = (bundle / name).read_bytes()
x = dict(np.load(source / "golden.npz"))["x"][:3]
found = collections.Counter()

def mutant(seed):
    random = np.random.default_rng(seed)
    raw = bytearray(whole)
    for _ in range(random.integers(1, 5)):
        at, size = int(random.integers(len(raw))), int(random.integers(1, 9))
        kind = random.integers(6)
        if kind == 0:
            raw[at] ^= 1 << random.integers(8)
        elif kind == 1:
            raw[at] = random.integers(256)
        elif kind == 2:
            raw[at:at] = random.bytes(size)
        elif kind == 3:
            del raw[at : at + size]
        elif kind == 4:
            raw[at] = random.choice([0, 1, 127, 128, 255])
        else:
            start = int(random.integers(len(raw)))
            raw[at : at + size] = raw[start : start + size]
    return bytes(raw)

for seed in range(count):
    print(f"mutant {seed}", file=sys.stderr, flush=True)
    raw = mutant(seed)
    (bundle / name).write_bytes(raw)
    fields["files"][name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    fields["manifest_sha256"] = manifest.canonical_sha256(fields)
    (bundle / "manifest.json").write_text(json.dumps(fields))
    step = "admission"
    try:
        ae = ae_runtime.load(bundle, threads=1)
        step = "onnxruntime"
        ae.reconstruct(x)
        step = "runs"
    except errors.AeError as error:
        assert type(error) is errors.BundleRefused, repr(error)
        assert len(str(error).splitlines()) == 1
    found[step] += 1
shutil.rmtree(bundle.parent)
print(json.dumps(found))
"""
GRAPHS = [(bundle, graph) for bundle in ("table", "image") for graph in ("encoder", "decoder")]


def check(python: Callable[..., str], bundle: Path, graph: str, count: int) -> None:
    found = json.loads(python(SCRIPT, bundle, f"{graph}.onnx", count))
    assert sum(found.values()) == count
    # Each line of defence had work, or the mutants prove nothing.
    assert min(found[step] for step in ("admission", "onnxruntime", "runs")) > count / 50


@pytest.mark.parametrize(("bundle", "graph"), GRAPHS)
def test_mutants(python: Callable[..., str], table_bundle: Path, bundle: str, graph: str) -> None:
    check(python, table_bundle.parent / bundle, graph, 100)


@pytest.mark.soak
@pytest.mark.parametrize(("bundle", "graph"), GRAPHS)
def test_all_mutants(
    python: Callable[..., str], table_bundle: Path, bundle: str, graph: str
) -> None:
    check(python, table_bundle.parent / bundle, graph, 4000)
