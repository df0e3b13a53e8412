"""Bundles changed at random: bytes, fields of protobuf and of JSON, and archives."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx_wire import Field, fields, write

Random = np.random.Generator
Files = dict[str, bytes]
GRAPHS = ("encoder.onnx", "decoder.onnx", "scorer.onnx", "sampler.onnx")
NUMBERS = (0, 1, 2, 3, 7, 64, 255, 4096, 65536, 2**24, 2**28, 2**31, 2**32 - 1, 2**62, -1, -2)
OPERATORS = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Gemm", "MatMul", "Conv", "ConvTranspose", "GRU"),
    *("LSTM", "Softmax", "Expand", "Tile", "Pad", "Resize", "ConstantOfShape", "TopK", "Split"),
    *("Gather", "Concat", "Reshape", "Transpose", "ReduceSum", "ArgMax", "Cast", "Where", "Shape"),
    *("AveragePool", "DepthToSpace", "Slice", "Squeeze", "Unsqueeze", "QuantizeLinear", "Loop"),
)
WORDS = ("", "x", "z", "batch", "no\nline", "\x1b[31m", "é" * 3, "../..", "x" * 5000, "null")
ABSURD = (*NUMBERS, *WORDS, None, True, -1.5, 1e308, [], {}, [[]], [1] * 9, "1e999", {"": 0})


def mutant(random: Random, files: Files) -> tuple[Files | bytes, str]:
    """A folder's files or the bytes of a .zip, mutated; and in words what was done."""
    honest = bool(random.random() < 0.5)  # hashes made right again
    graphs = [name for name in GRAPHS if name in files]
    name = str(random.choice([*files, *graphs * 3, "manifest.json"]))
    if not honest and random.random() < 0.3:
        raw, done = of_bytes(random, archive(random, files), files)
        return raw, f"archive {done}"
    changed = dict(files)
    for _ in range(int(random.choice([1, 1, 1, 2, 3]))):
        changed[name], done = CHANGES[_kind(random, name)](random, changed[name], files)
    if honest:
        changed = rehashed(changed, random)
    said = f"{name} {done}{', hashes right' if honest else ''}"
    if random.random() < 0.5:
        return changed, said
    return archive(random, changed), f"{said}, zipped"


def _kind(random: Random, name: str) -> str:
    if name in GRAPHS and random.random() < 0.6:
        return "protobuf"
    return "json" if name == "manifest.json" and random.random() < 0.8 else "bytes"


def rehashed(files: Files, random: Random) -> Files:
    """The files with a manifest that has their hashes, written as docs/bundle.md says."""
    try:
        manifest = json.loads(files["manifest.json"])
        for name, raw in files.items():
            if name in manifest["files"]:
                sha256 = hashlib.sha256(raw).hexdigest()
                manifest["files"][name] = {"bytes": len(raw), "sha256": sha256}
        manifest.pop("manifest_sha256", None)
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        manifest["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return files  # no longer a manifest that could name hashes
    return files | {"manifest.json": json.dumps(manifest).encode()}


def archive(random: Random, files: Files) -> bytes:
    """A .zip of the files, stored or deflated, in any order; some have a member more or less."""
    out = io.BytesIO()
    names = [str(name) for name in random.permutation(list(files))]
    if random.random() < 0.1:
        names.pop()
    with zipfile.ZipFile(out, "w", int(random.choice([0, 8]))) as zipped:
        for name in names:
            zipped.writestr(zipfile.ZipInfo(name), files[name])
        if random.random() < 0.1:
            zipped.writestr(str(random.choice(["a/b", "/abs", "../up", "C:x", "é"])), b"more")
    return out.getvalue()


def of_bytes(random: Random, raw: bytes, files: Files) -> tuple[bytes, str]:
    """Bytes flipped, overwritten, inserted, cut, spliced from another file, or twice."""
    raw = bytearray(raw or b"\0")
    at, size = int(random.integers(len(raw))), int(random.choice([1, 2, 8, 100]))
    other = files[str(random.choice(list(files)))]
    start = int(random.integers(len(other)))
    kind = str(random.choice(["flip", "set", "insert", "cut", "splice", "twice", "end", "move"]))
    if kind == "flip":
        raw[at] ^= 1 << random.integers(8)
    elif kind == "set":
        raw[at] = random.choice([0, 1, 127, 128, 255])
    elif kind == "insert":
        raw[at:at] = random.bytes(size)
    elif kind == "cut":
        del raw[at : at + size]
    elif kind == "splice":
        raw[at : at + size] = other[start : start + size]
    elif kind == "twice":
        raw[at:at] = raw[at : at + size]
    elif kind == "end":
        del raw[at:]
    else:
        part = bytes(raw[at : at + size])
        del raw[at : at + size]
        at = int(random.integers(len(raw) + 1))
        raw[at:at] = part
    return bytes(raw), kind


def of_protobuf(random: Random, raw: bytes, _: Files) -> tuple[bytes, str]:
    """One field of one message, at any depth, all lengths around it right again."""
    try:
        message = fields(raw)
    except (ValueError, IndexError):
        return of_bytes(random, raw, {"": raw})
    depth, path = 0, []
    while True:
        path.append(message)
        inside = [at for at, field in enumerate(message) if _message(field)]
        if not inside or (depth and random.random() < 0.3):
            break
        # Operators and tensors are what there is most of; names and ports are few.
        at = int(random.choice(inside))
        path.append(at)
        message, depth = fields(message[at][2]), depth + 1
    done = _change(random, message)
    while len(path) > 1:
        inner, at, outer = write(path.pop()), path.pop(), path[-1]
        outer[at] = (outer[at][0], 2, inner)
    return write(path[0]), f"protobuf {done}"


def _message(field: Field) -> bool:
    """Whether a field reads as a message; some texts and numbers do, which is as good."""
    if field[1] != 2 or len(field[2]) < 2:
        return False
    try:
        fields(field[2])
    except (ValueError, IndexError):
        return False
    return True


def _change(random: Random, message: list[Field]) -> str:
    if not message:
        message.append((1, 0, 1))
        return "added"
    at, to = (int(random.integers(len(message))) for _ in range(2))
    number, kind, value = message[at]
    kinds = ["value", "value", "value", "swap", "swap", "twice", "drop", "number"]
    done = str(random.choice(kinds))
    if done == "swap":  # values of one kind, such as dims, or names, where there are others
        alike = [at for at, field in enumerate(message) if field[1] == kind]
        to = int(random.choice(alike))
        message[at], message[to] = (number, *message[to][1:]), (message[to][0], kind, value)
    elif done == "twice":
        message.insert(to, message[at])
    elif done == "drop":
        del message[at]
    elif done == "number":
        message[at] = (int(random.integers(1, 22)), kind, value)
    elif kind == 0:
        message[at] = (number, 0, int(random.choice(NUMBERS)))
    elif kind != 2:
        message[at] = (number, kind, random.bytes(len(value)))
    elif value.isalpha() and random.random() < 0.8:
        message[at] = (number, 2, str(random.choice(OPERATORS)).encode())
    elif _message(message[at]) and _message(message[to]):
        message[at] = (number, 2, message[to][2])
    else:
        message[at] = (number, 2, of_bytes(random, value, {"": write(message)})[0])
    return done


def of_json(random: Random, raw: bytes, _: Files) -> tuple[bytes, str]:
    """One value of a manifest replaced, moved, added or dropped."""
    try:
        return _of_tree(random, json.loads(raw))
    except (ValueError, RecursionError):  # changed before: no JSON, empty, or deep
        return of_bytes(random, raw, {"": raw})


def _of_tree(random: Random, tree: Any) -> tuple[bytes, str]:
    places = list(_places(tree))
    inside, key = places[random.integers(len(places))]
    other, other_key = places[random.integers(len(places))]
    done = str(random.choice(["value", "value", "swap", "drop", "add", "deep"]))
    if done == "value":
        inside[key] = ABSURD[random.integers(len(ABSURD))]
    elif done == "swap":
        inside[key] = json.loads(json.dumps(other[other_key]))
    elif done == "drop":
        del inside[key]
    elif done == "add" and isinstance(inside, dict):
        inside["more"] = ABSURD[random.integers(len(ABSURD))]
    elif done == "deep":
        text = json.dumps(tree)
        depth = int(random.choice([20, 900, 5000]))
        return text.replace(json.dumps(inside[key]), "[" * depth + "]" * depth, 1).encode(), done
    else:
        inside.insert(0, inside[key])
    return json.dumps(tree).encode(), f"json {done}"


def _places(tree: Any) -> Any:
    """Every value of a tree of JSON, as what holds it and its key."""
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


CHANGES: dict[str, Callable[[Random, bytes, Files], tuple[bytes, str]]] = {
    "bytes": of_bytes,
    "protobuf": of_protobuf,
    "json": of_json,
}
