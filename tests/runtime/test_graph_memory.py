"""How much memory a graph asks for: known before it is loaded, and refused where it is too much."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ae_runtime.bundle.manifest import Port
from ae_runtime.bundle.opening import open_bundle
from ae_runtime.errors import BundleRefused
from ae_runtime.graphs import admission, memory
from ae_runtime.graphs.graph import DTYPES, Graph, read_graph
from ae_runtime.graphs.memory import Needs
from ae_runtime.graphs.shape_inference import infer
from ae_runtime.graphs.values import MANY, with_rows
from ae_runtime.model.devices import compute, open_session

Writer = SimpleNamespace
X, Z = Port("x", "float64", [None, 6]), Port("z", "float32", [None, 2])
GIGABYTE = 10**9
ROOT = Path(__file__).parent.parent.parent
BUNDLES = [*sorted((ROOT / "tests/golden/v1").iterdir()), ROOT / "models/digits"]


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def reals(*dims: int) -> np.ndarray:
    return np.ones(dims, np.float32)


def footprint(graph: Graph, rows: int) -> int:
    """Bytes alive at once for so many rows: what Needs says in two numbers."""
    usage = memory._usage(graph, infer(graph, MANY))
    return max(with_rows(total, rows) for total in memory._totals(usage))


def encoder(w: Writer, *nodes: bytes, **tensors: Any) -> bytes:
    """A graph that makes a value b of x32, x as float32, and z of the largest number in b."""
    end = [
        w.node("ReduceMax", "b", "most", w.attribute("keepdims", 0)),
        w.node("MatMul", "x32 w", "y"),
        w.node("Add", "y most", "z"),
    ]
    made = tuple(w.tensor(name, values) for name, values in tensors.items())
    return w.model(w.node("Cast", "x", "x32", w.to_float), *nodes, *end, tensors=made)


def by_row(w: Writer, *nodes: bytes, **tensors: Any) -> bytes:
    """The same of one number r (batch, 1) of each row, and of b by its row."""
    end = [
        w.node("Flatten", "b", "flat"),
        w.node("ReduceMax", "flat one", "most"),
        w.node("MatMul", "x32 w", "y"),
        w.node("Add", "y most", "z"),
    ]
    tensors |= {"zero": numbers(0), "one": numbers(1)}
    made = tuple(w.tensor(name, values) for name, values in tensors.items())
    cast, first = w.node("Cast", "x", "x32", w.to_float), w.node("Slice", "x32 zero one one", "r")
    return w.model(cast, first, *nodes, *end, tensors=made)


def admit(raw: bytes, limit: int = admission.MAX_ROW_BYTES) -> Needs:
    return admission.admit("encoder.onnx", raw, [X], [Z], limit)


# Values by hand.


def test_what_a_dense_network_needs(w: Writer) -> None:
    # x 48 bytes, x32 24, z 8: all are there while z is made.
    assert admit(w.model()) == Needs(0, 48 + 24 + 8)
    assert footprint(read_graph(w.model()), 7) == 7 * 80


def test_what_is_made_of_constants_is_kept(w: Writer) -> None:
    raw = encoder(w, w.node("Add", "p q", "b"), p=reals(100, 1), q=reals(1, 50))
    # b and the largest number in it, each with two copies, as it is computed when a graph is
    # loaded; and for that, where the 100 lines of b are.
    kept, places = 3 * (20_000 + 4), 8 * (100 + 1)
    assert kept < admit(raw).fixed < kept + places
    # Weights are as large as the file says.
    assert admit(encoder(w, w.node("Relu", "p", "b"), p=reals(1))).fixed < 100


def test_what_is_no_longer_taken_is_given_back(w: Writer) -> None:
    names = ["r", *(f"v{at}" for at in range(9)), "b"]
    chain = [w.node("Relu", a, b) for a, b in pairwise(names)]
    raw = by_row(w, *chain)
    longer = by_row(w, *chain[:-1], w.node("Relu", "v8", "v9"), w.node("Relu", "v9", "b"))
    assert admit(raw) == admit(longer)
    wide = by_row(w, w.node("Tile", "r times", "t"), w.node("Relu", "t", "b"), times=numbers(1, 99))
    # The wide value and what is made of it, at the same time; x, x32 and most are small.
    assert admit(wide).per_row == 48 + 24 + 2 * 4 * 99


def test_of_two_ways_the_worse_counts(w: Writer) -> None:
    # Wide values that are all needed at the end, each as soon as it is made or as late as can be.
    nodes, last = [], "r"
    for at in range(8):
        nodes += [
            w.node("Tile", "r times", f"wide{at}"),
            w.node("ReduceMax", f"wide{at} one", f"n{at}"),
            w.node("Add", f"{last} n{at}", f"sum{at}"),
        ]
        last = f"sum{at}"
    found = admit(by_row(w, *nodes, w.node("Relu", last, "b"), times=numbers(1, 1000)))
    assert 4000 <= found.per_row < 8 * 4000


def test_needs_are_those_of_every_number_of_rows(w: Writer) -> None:
    # An image's columns are there once, whatever the rows: for few of them, they are the most.
    image = [w.node("Reshape", "x32 shape", "i"), w.node("Conv", "i k", "b")]
    raw = by_row(w, *image, shape=numbers(-1, 1, 2, 3), k=reals(4, 1, 2, 2))
    found, graph = admit(raw), read_graph(raw)
    assert found.fixed > 0
    assert found.fixed + found.per_row == footprint(graph, 1)
    for rows in (2, 3, 100, 10**6):
        assert found.fixed + rows * found.per_row >= footprint(graph, rows)


def test_a_bundle_knows_its_needs(digits_bundle: Path) -> None:
    bundle = open_bundle(digits_bundle)
    assert sorted(bundle.needs) == ["decoder", "encoder", "sampler", "scorer"]
    for name, found in bundle.needs.items():
        if name in ("scorer", "sampler"):  # constants are turned and squared in them
            assert found.fixed < 4_000_000
            continue
        assert found.fixed == 0  # dense: nothing is there but for rows
        assert 8 * 8 < found.per_row < 100_000
    assert pickle.loads(pickle.dumps(bundle)) == bundle


# Every shape is what onnxruntime gives; random graphs are in test_fuzzed_graphs.py.


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_every_value_of_a_bundle(w: Writer, bundle: Path, graph: str) -> None:
    raw = (bundle / f"{graph}.onnx").read_bytes()
    known = read_graph(raw)
    inside = {name for node in known.nodes for name in node.outputs if name}
    hidden = sorted(inside - {port.name for port in known.outputs})
    # A second graph in a model is joined to the first by every reader.
    raw += w.field(7, b"".join(w.field(12, w.field(1, name)) for name in hidden))
    session = open_session(raw)
    names = [output.name for output in session.get_outputs()]
    assert set(names) == inside
    many = infer(known, MANY).values
    for rows in (1, 2, 7):
        feeds = {
            port.name: np.zeros([size or rows for size in port.dims], DTYPES[port.dtype][0])
            for port in known.inputs
        }
        values = infer(known, rows).values
        for name, array in zip(names, compute(session, names, feeds), strict=True):
            value = values[name]
            assert (value.dims, DTYPES[value.dtype][0]) == (array.shape, array.dtype.name), name
            assert tuple(with_rows(size, rows) for size in many[name].dims) == array.shape, name
            assert value.nbytes == array.nbytes


# Small models that want gigabytes.


def hostile(w: Writer) -> dict[str, bytes]:
    """Graphs of at most 130 kB, each of which asks for more than a gigabyte."""
    column, row = reals(16_000, 1), reals(1, 16_000)
    axis, image = w.attribute("axis", 1), w.node("Reshape", "r image", "i")
    doubled = [w.node("Concat", f"v{at} v{at}", f"v{at + 1}", axis) for at in range(30)]
    v0 = w.node("Identity", "r", "v0")
    shapes = {"image": numbers(-1, 1, 1, 1), "large": numbers(1, 1, 500, 500)}
    wide = w.node("Expand", "i large", "j")
    staircase = [w.node("Pad", f"v{at} more", f"v{at + 1}") for at in range(60)]
    return {
        "broadcast": encoder(w, w.node("Add", "p q", "b"), p=column, q=row),
        "broadcast by row": by_row(
            w,
            w.node("Unsqueeze", "r one", "u"),
            w.node("Mul", "u p", "c"),
            w.node("Mul", "c q", "b"),
            p=column,
            q=row,
        ),
        "where": encoder(
            w, w.node("IsNaN", "p", "n"), w.node("Where", "n p q", "b"), p=column, q=row
        ),
        "many small": encoder(
            w,
            w.node("Add", "p q", "v"),
            *[w.node("Sin", "v", f"s{at}") for at in range(40)],
            w.node("Max", " ".join(f"s{at}" for at in range(40)), "b"),
            p=reals(3000, 1),
            q=reals(1, 3000),
        ),
        "expand": encoder(w, w.node("Expand", "p s", "b"), p=reals(1), s=numbers(16_000, 16_000)),
        "constant of shape": encoder(w, w.node("ConstantOfShape", "s", "b"), s=numbers(300, 10**6)),
        "tile": by_row(w, w.node("Tile", "r s", "b"), s=numbers(1, 1 << 28)),
        "outer": encoder(w, w.node("MatMul", "p q", "b"), p=column, q=row),
        "outer by row": by_row(
            w,
            w.node("MatMul", "r q", "m"),
            w.node("Unsqueeze", "m one", "n"),
            w.node("Transpose", "n", "t", w.attribute("perm", [0, 2, 1])),
            w.node("MatMul", "t q", "b"),
            q=row,
        ),
        "gather": encoder(
            w,
            w.node("Gather", "q places", "b"),
            q=reals(1, 16_000),
            places=np.zeros(16_000, np.int32),
        ),
        "gather of what is gathered": by_row(
            w,
            w.node("Gather", "r places", "a", axis),
            w.node("Unsqueeze", "a one", "u"),
            w.node("Gather", "u places", "b", axis),
            places=np.zeros(16_000, np.int32),
        ),
        "kernel": by_row(
            w,
            image,
            wide,
            w.node("Conv", "j k", "b", w.attribute("pads", [32] * 4)),
            k=reals(1, 1, 64, 64),
            **shapes,
        ),
        "kernel of what is made wide": by_row(
            w,
            image,
            wide,
            w.node("ConvTranspose", "j k", "b", w.attribute("strides", [2, 2])),
            k=reals(1, 1, 64, 64),
            **shapes,
        ),
        "blocks of channels": by_row(
            w,
            image,
            w.node("Expand", "i large", "j"),
            w.node("Conv", "j k", "c"),
            w.node("Relu", "c", "d"),
            w.node("Sigmoid", "c", "e"),
            w.node("Add", "d e", "b"),
            k=reals(1, 1, 1, 1),
            image=numbers(-1, 1, 1, 1),
            large=numbers(1, 1, 3000, 3000),
        ),
        "strides": by_row(
            w,
            image,
            *[
                w.node("ConvTranspose", f"{a} k", b, w.attribute("strides", [64, 64]))
                for a, b in (("i", "j"), ("j", "l"))
            ],
            w.node("ConvTranspose", "l k4", "b", w.attribute("strides", [4, 4])),
            k4=reals(1, 1, 4, 4),
            k=reals(1, 1, 64, 64),
            **shapes,
        ),
        "resize": by_row(
            w, image, w.node("Resize", "i - f", "b"), f=np.float32([1, 1, 16e3, 16e3]), **shapes
        ),
        "resize to sizes": encoder(
            w,
            w.node("Resize", "p - - s", "b"),
            p=reals(1, 1, 1, 1),
            s=numbers(1, 1, 16_000, 16_000),
        ),
        "resize twice at once": by_row(
            w,
            w.node("Reshape", "r image", "i"),
            w.node("Expand", "i tall", "j"),
            w.node(
                "Resize", "j - - s", "b", w.attribute("mode", "linear"), w.attribute("antialias", 1)
            ),
            tall=numbers(1, 1, 16_000, 1),
            s=numbers(1, 1, 1, 16_000),
            image=numbers(-1, 1, 1, 1),
        ),
        "pad": by_row(w, w.node("Pad", "r s", "b"), s=numbers(0, 0, 0, (1 << 28) - 1)),
        "doubled": by_row(w, v0, *doubled[:28], w.node("Identity", "v28", "b")),
        "doubled and chosen from": by_row(
            w,
            v0,
            *doubled[:27],
            w.node("TopK", "v27 count", "b places"),
            count=numbers(1 << 27),
        ),
        "reshaped": by_row(
            w,
            w.node("Tile", "r times", "a"),
            w.node("Reshape", "a column", "c"),
            w.node("Reshape", "a row", "d"),
            w.node("Add", "c d", "b"),
            times=numbers(1, 16_000),
            column=numbers(-1, 16_000, 1),
            row=numbers(-1, 1, 16_000),
        ),
        "blocks of space": by_row(
            w,
            w.node("Reshape", "r image", "i"),
            w.node("Expand", "i large", "j"),
            w.node("DepthToSpace", "j", "b", w.attribute("blocksize", 2)),
            image=numbers(-1, 1, 1, 1),
            large=numbers(1, 1 << 18, 25, 25),
        ),
        "recurrent": by_row(
            w,
            w.node("Unsqueeze", "r zero", "u"),
            w.node("Expand", "u steps", "s"),
            w.node("GRU", "s v v2", "y0", w.attribute("hidden_size", 16)),
            w.node("Transpose", "y0", "b", w.attribute("perm", [2, 0, 1, 3])),
            steps=numbers(3_000_000, 1, 1),
            v=reals(1, 48, 1),
            v2=reals(1, 48, 16),
        ),
        # What is freed is too small for the next: no allocator can use it again.
        "staircase": by_row(
            w,
            w.node("Expand", "r first", "v0"),
            *staircase,
            w.node("Identity", "v60", "b"),
            first=numbers(1, 5_000_000),
            more=numbers(0, 0, 0, 1),
        ),
    }


CASES = (
    *("broadcast", "broadcast by row", "where", "many small", "expand", "constant of shape"),
    *("tile", "outer", "outer by row", "gather", "gather of what is gathered", "kernel"),
    *("kernel of what is made wide", "blocks of channels", "strides", "resize"),
    *("resize to sizes", "resize twice at once", "pad", "doubled", "doubled and chosen from"),
    *("reshaped", "blocks of space", "recurrent", "staircase"),
)


def test_each_of_them_is_tried(w: Writer) -> None:
    assert set(CASES) == set(hostile(w))


@pytest.mark.parametrize("case", CASES)
def test_small_models_that_want_gigabytes(w: Writer, case: str) -> None:
    raw = hostile(w)[case]
    assert len(raw) < 150_000
    with pytest.raises(BundleRefused) as caught:
        admit(raw)
    message = str(caught.value)
    wanted = int(message.partition("it needs ")[2].partition(" bytes")[0].replace(",", ""))
    assert wanted > 1.0 * GIGABYTE
    assert message == (
        f"encoder.onnx: it needs {wanted:,} bytes for one row, and 268,435,456 are allowed; "
        f"load(..., max_memory={2 * wanted}) takes it, if you trust the bundle"
    )
    with pytest.raises(BundleRefused):
        admit(raw, wanted - 1)
    admit(raw, wanted)


def test_no_value_is_larger_than_any_may_be(w: Writer) -> None:
    names = ["q", "v0", "v1", "v2"]
    grown = [w.node("Tile", f"{a} times", b) for a, b in pairwise(names)]
    raw = encoder(w, *grown, w.node("Relu", "v2", "b"), q=reals(1, 1), times=numbers(2**14, 2**14))
    with pytest.raises(BundleRefused) as caught:
        admit(raw, 1 << 62)
    assert str(caught.value) == (
        "encoder.onnx: operator Tile gives a value of (268435456, 268435456); at most "
        "1099511627776 bytes are taken"
    )
    # And at once: of numbers that double in length, none is computed with.
    grown = [w.node("Mul", f"n{at} n{at}", f"n{at + 1}") for at in range(3000)]
    raw = encoder(w, *grown, w.node("ConstantOfShape", "n3000", "b"), n0=numbers(3))
    with pytest.raises(BundleRefused) as caught:
        admit(raw)
    assert str(caught.value).startswith("encoder.onnx: operator ConstantOfShape is given a shape")


def test_a_user_may_allow_more(
    digits_bundle: Path, rewrite: Callable[..., Path], w: Writer, table_bundle: Path
) -> None:
    raw = by_row(w, w.node("Tile", "r s", "t"), w.node("Relu", "t", "b"), s=numbers(1, 50_000_000))
    bundle = rewrite(table_bundle, {"encoder.onnx": raw})
    wanted = 400_000_084  # t and b, 48 of x, 24 of x32, 4 of r that are free again, and 8 of y
    message = (
        f"{bundle}: encoder.onnx: it needs {wanted:,} bytes for one row, and {{:,}} are allowed; "
        f"load(..., max_memory={2 * wanted}) takes it, if you trust the bundle"
    )
    for max_memory in (None, 1, wanted - 1):
        with pytest.raises(BundleRefused) as caught:
            open_bundle(bundle, max_memory)
        assert str(caught.value) == message.format(max(max_memory or 0, 1 << 28))
    needs = open_bundle(bundle, wanted).needs["encoder"]
    assert needs == Needs(0, wanted - 12)  # what is free again is not alive


# What is admitted keeps to what was known of it.
SCRIPT = """
import json, re, sys
from pathlib import Path
import numpy as np
from ae_runtime.model import devices
from ae_runtime import errors
from ae_runtime.graphs import admission
from ae_runtime.bundle.manifest import Port

def status(key):
    # Not by getrusage: its peak is that of the process that started this one.
    line = next(line for line in open("/proc/self/status") if line.startswith(key))
    return int(line.split()[1]) << 10

x, z = Port("x", "float64", [None, 6]), Port("z", "float32", [None, 2])
raw = Path(sys.argv[1]).read_bytes()
admission.admit("", raw, [x], [z])
try:
    admission.admit("", raw, [x], [z], 1)
except errors.BundleRefused as error:
    (known,) = re.findall("max_memory=([0-9]+)", str(error))
devices.import_onnxruntime()
before = status("VmRSS")
session = devices.open_session(raw)
for _ in range(2):
    devices.compute(session, ["z"], {"x": np.ones((1, 6))})
print(json.dumps([int(known) // 2, status("VmHWM") - before, status("VmHWM")]))
"""


def near_the_limit(w: Writer) -> dict[str, bytes]:
    """Graphs that are admitted, and take nearly as much as they may."""
    column, row = reals(4600, 1), reals(1, 4600)
    image = w.node("Reshape", "r image", "i")
    wide = w.node("Expand", "i large", "j")
    shapes = {"image": numbers(-1, 1, 1, 1), "large": numbers(1, 16, 850, 850)}
    steps = {"steps": numbers(60_000, 1, 1), "v": reals(1, 384, 1), "v2": reals(1, 384, 128)}
    return {
        "broadcast": encoder(w, w.node("Add", "p q", "b"), p=column, q=row),
        "weights": encoder(
            w,
            w.node("Expand", "p s", "k"),
            w.node("Reshape", "x32 image", "i"),
            w.node("Conv", "i k", "b"),
            p=reals(1, 1, 1, 1),
            s=numbers(1_900_000, 6, 1, 1),
            image=numbers(-1, 6, 1, 1),
        ),
        "softmax": by_row(
            w, image, wide, w.node("Softmax", "j", "b", w.attribute("axis", 1)), **shapes
        ),
        "pool": by_row(
            w,
            image,
            wide,
            w.node("MaxPool", "j", "b", w.attribute("kernel_shape", [2, 2])),
            **shapes,
        ),
        "relus": by_row(
            w,
            image,
            w.node("Expand", "i smaller", "j"),
            w.node("Conv", "j k", "c"),
            *[w.node(op, "c", op) for op in ("Relu", "Sigmoid", "Tanh")],
            w.node("Add", "Relu Sigmoid", "s"),
            w.node("Add", "s Tanh", "b"),
            k=reals(1, 1, 3, 3),
            smaller=numbers(1, 1, 900, 900),
            image=numbers(-1, 1, 1, 1),
        ),
        "recurrent": by_row(
            w,
            w.node("Unsqueeze", "r zero", "u"),
            w.node("Expand", "u steps", "s"),
            w.node("GRU", "s v v2", "y0", w.attribute("hidden_size", 128)),
            w.node("Transpose", "y0", "b", w.attribute("perm", [2, 0, 1, 3])),
            **steps,
        ),
        "staircase": by_row(
            w,
            w.node("Expand", "r first", "v0"),
            *[w.node("Pad", f"v{at} more", f"v{at + 1}") for at in range(5)],
            w.node("Identity", "v5", "b"),
            first=numbers(1, 9_000_000),
            more=numbers(0, 0, 0, 1000),
        ),
    }


@pytest.mark.parametrize(
    "case", ["broadcast", "weights", "softmax", "pool", "relus", "recurrent", "staircase"]
)
def test_what_is_admitted_stays_small(
    python: Callable[..., str], w: Writer, tmp_path: Path, case: str
) -> None:
    (tmp_path / "encoder.onnx").write_bytes(near_the_limit(w)[case])
    known, taken, peak = json.loads(python(SCRIPT, tmp_path / "encoder.onnx"))
    assert peak < 512 << 20
    assert 128 << 20 < known <= admission.MAX_ROW_BYTES
    # The first call takes what is known; the second lays all values out in one block, beside that.
    assert taken < 2 * known + (30 << 20)
