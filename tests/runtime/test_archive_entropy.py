"""Integers in little more than their entropy, on every machine, whatever the bytes.

150 of the 3,000 changed streams are in the plain run.
"""

from __future__ import annotations

import dataclasses
import math
import random
import tracemalloc
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from ae_archive.coding import distribution_fit, distributions, entropy, palette
from ae_archive.coding.bits import FieldReader, FieldWriter
from ae_archive.coding.integers import pack, unpack
from ae_archive.coding.interleaving import Interleaving
from ae_archive.coding.row_coder import pack_rows, unpack_rows
from ae_runtime.errors import ArchiveCorrupt

RNG = np.random.default_rng


def coded(rows: np.ndarray) -> bytes:
    """By distributions, whether or not another stream is smaller; checked."""
    head = distribution_fit.stream_head_of(rows)
    stream = entropy.encode(rows, head)
    found = entropy.decode(stream, *rows.shape, head.states_log2)
    np.testing.assert_array_equal(found, rows)
    return stream


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 3), (7, 5), (200, 1), (50, 32), (999, 8), (30_011, 3)]
)
def test_numbers_of_any_size_come_back(shape: tuple[int, int]) -> None:
    rng = RNG(0)
    for scale in (0.01, 0.3, 2, 9, 100, 1e6, 1e15):
        coded(np.rint(rng.laplace(size=shape) * scale).astype(np.int64))
    coded((rng.standard_cauchy(shape) * 1e16).clip(-(2.0**61), 2.0**61).astype(np.int64))
    coded(rng.integers(1 - 2**62, 2**62, shape))
    coded(np.where(rng.random(shape) < 0.5, 1 - 2**62, 2**62 - 1))
    bursts = np.exp(rng.standard_normal(shape) * 12).clip(0, 2.0**60)
    coded((bursts * rng.choice([-1, 1], shape)).astype(np.int64))
    coded(np.full(shape, 77))


@pytest.mark.parametrize("values", [[2**63 - 1, -(2**63)], [-(2**62), 0, 1], [2**62]])
def test_larger_numbers_are_left_to_other_streams(values: list[int]) -> None:
    np.testing.assert_array_equal(unpack(pack(np.array(values)), len(values)), values)


@pytest.mark.parametrize("deviation", [0.5, 3, 10, 500])
@pytest.mark.parametrize(("rows", "over"), [(200, 8.0), (5_000, 40.0), (200_000, 900.0)])
def test_normal_numbers_take_their_entropy(deviation: float, rows: int, over: float) -> None:
    x = np.rint(RNG(1).standard_normal((rows, 1)) * deviation).astype(np.int64)
    edges = (x + np.array([-0.5, 0.5])) / deviation / math.sqrt(2)
    chance = np.array([(math.erf(b) - math.erf(a)) / 2 for a, b in edges])
    ideal = float(-np.log2(np.maximum(chance, 1e-300)).sum()) / 8
    assert len(coded(x)) + 1 < 1.012 * ideal + over


def test_bursts_are_followed() -> None:
    rng = RNG(2)
    scale = np.where(np.arange(40_000) // 200 % 5 == 0, 30.0, 1.0)
    x = np.rint(rng.laplace(size=40_000) * scale).astype(np.int64)[:, None]
    known = sum(len(coded(x[scale == s])) for s in (1.0, 30.0))
    counts = np.unique(x, return_counts=True)[1]
    without = float(-(counts * np.log2(counts / len(x))).sum()) / 8
    found = len(coded(x))
    assert found < 1.05 * known  # as if one were told when they come
    assert found < 0.92 * without


def test_columns_have_distributions_of_their_own() -> None:
    rng = RNG(3)
    x = np.rint(rng.standard_normal((3000, 3)) * [0.4, 20, 3]).astype(np.int64)
    x[:, 2] = np.where(rng.random(3000) < 0.02, 40 * x[:, 2], 0)
    each = sum(len(coded(column[:, None])) for column in x.T)
    assert len(coded(x)) < each
    assert len(pack(x, 3)) < 0.9 * len(pack(x))
    np.testing.assert_array_equal(unpack(pack(x, 3), x.size, 3).reshape(x.shape), x)


def test_what_a_decoder_looks_up_never_changes() -> None:
    """The tables are the format: another sum here, and no archive can be read any more."""
    tables = np.stack(
        [distributions.frequencies(family) for family in range(distributions.FAMILIES)]
    )
    assert (tables.sum(axis=2) == distributions.TOTAL).all()
    assert (tables >= 0).all()
    assert (tables[:, :, distributions.ESCAPE] > 0).all()
    moves = np.stack([distributions.moves(rate) for rate in range(len(distributions.RATES))])
    assert zlib.crc32(tables.astype("<i8").tobytes()) == TABLES
    assert zlib.crc32(moves.astype("<i8").tobytes()) == MOVES
    x = np.array([[0, 5], [-1, 900], [1, -4], [0, 2**40], [3, 70]])
    np.testing.assert_array_equal(unpack(bytes.fromhex(STREAM), 10, 2).reshape(5, 2), x)


TABLES, MOVES = 1219985150, 4128115574
STREAM = "211c0646020f2823a5828d75a9d6043c58a130a981300000000000"


def reader(raw: bytes, rows: int, columns: int) -> list[int]:
    """The numbers of a stream, as docs/archive-format.md says, number after number."""
    states = 1 << (raw[0] & 15)
    together = columns if states >= columns else 1
    blocks = min(max(1, states // together), rows)
    first = int.from_bytes(raw[1:3], "little")
    count, at = (first >> 10 & 15) + 1, 1
    models = [int.from_bytes(raw[at + 2 * m :][:2], "little") for m in range(count)]
    at += 2 * count
    which = [0 if count == 1 else c for c in range(columns)]
    if 1 < count < columns:
        which, at = list(raw[at : at + columns]), at + columns
    starts = [raw[at] if first >> 14 else raw[at + c] for c in range(columns)]
    at += 1 if first >> 14 else columns
    x = [int.from_bytes(raw[at + 4 * n :][:4], "little") for n in range(blocks * together)]
    at += 4 * blocks * together
    state = [[16 * start + 8 for start in starts] for _ in range(blocks)]
    sizes = [rows // blocks + (b < rows % blocks) for b in range(blocks)]
    symbols: dict[tuple[int, int], tuple[int, int]] = {}
    for step in range(max(sizes)):
        for group in range(0, columns, together):
            for n in range(blocks * together):
                block, column = n // together, group + n % together
                if step >= sizes[block]:
                    continue
                model, s = models[which[column]], state[block][column]
                c = s // 16
                row = c if c < 32 else 28 + c % 4
                parts = distributions.frequencies(model >> 3 & 7)[row + (model >> 6 & 15)].tolist()
                slot, k, begin = x[n] % 4096, 0, 0
                while begin + parts[k] <= slot:
                    begin, k = begin + parts[k], k + 1
                x[n] = parts[k] * (x[n] // 4096) + slot - begin
                if x[n] < 1 << 16:
                    x[n], at = x[n] << 16 | int.from_bytes(raw[at : at + 2], "little"), at + 2
                moved = s + int(distributions.moves(model & 7)[row, k])
                state[block][column] = min(max(moved, 0), 4095)
                symbols[sum(sizes[:block]) + step, column] = k, max(0, c // 4 - 7)
    assert set(x) == {1 << 16}
    bits, used = int.from_bytes(raw[at:], "little"), 0

    def take(n: int) -> int:
        nonlocal used
        used += n
        return bits >> used - n & (1 << n) - 1

    low = {at: take(7 if k == 127 else b) for at, (k, b) in sorted(symbols.items())}
    found = []
    for at_, (k, b) in sorted(symbols.items()):
        if k < 127:
            found.append((k - 63) * 2**b + low[at_] - 2**b // 2)
            continue
        n = low[at_] >> 1
        magnitude = (1 << n - 1) + take(n - 1) if n else 0
        found.append(-magnitude if low[at_] & 1 else magnitude)
    assert -(-used // 8) == len(raw) - at
    return found


@pytest.mark.parametrize("shape", [(1, 1), (90, 1), (41, 5), (700, 3)])
@pytest.mark.parametrize("scale", [0.2, 5, 1e4])
def test_a_reader_by_the_page(shape: tuple[int, int], scale: float) -> None:
    rows = np.rint(RNG(5).standard_cauchy(shape) * scale * (1 + np.arange(shape[1])))
    rows = rows.astype(np.int64)
    for states in (0, 2, 5):
        head = dataclasses.replace(distribution_fit.stream_head_of(rows), states_log2=states)
        stream = bytes([2 << 4 | states]) + entropy.encode(rows, head)
        assert reader(stream, *shape) == rows.reshape(-1).tolist()


def table_by_the_page(family: int, t: int) -> list[int]:
    def mean(t: int) -> int:
        return math.isqrt(math.isqrt(math.isqrt(1 << 2 * t + 65)))

    def weights(z: int) -> list[int]:
        if family == 0:
            w = [1 << 28]
            for _ in range(64):
                w.append(w[-1] * z >> 28)
            return w
        ratios = [(z << 28) // (z + a * a * 2**18) for a in range(65)]
        w = list(ratios)
        for _ in range((1, 2, 3, 4, 6, 12, 32)[family - 1] - 1):
            w = [one * ratio >> 28 for one, ratio in zip(w, ratios, strict=True)]
        return w

    low, high = 0, 1 << (34 if family else 28)
    while high - low > 1:
        z = (low + high) // 2
        w = weights(z)
        total = w[0] + 2 * sum(w[1:64])
        if sum(2 * a * w[a] for a in range(1, 64)) << 13 <= total * mean(t - 8):
            low = z
        else:
            high = z
    z = max(low, 1)
    w = weights(z)
    beyond = 2 * (w[64] << 28) // ((1 << 28) - z + 1)
    if family:
        beyond = 128 * w[64] // (2 * (1, 2, 3, 4, 6, 12, 32)[family - 1] - 1)
    every = [w[abs(k - 63)] for k in range(127)]
    total = sum(every) + beyond
    parts = [one * 4096 // total for one in every]
    rare = beyond + sum(one for one, part in zip(every, parts, strict=True) if not part)
    parts.append(max(1, rare * 4096 // total))
    parts[63] += 4096 - sum(parts)
    return parts


def test_tables_by_the_page() -> None:
    for family in range(distributions.FAMILIES):
        for t in range(0, 47, 1 + 2 * (family > 0)):
            assert distributions.frequencies(family)[t].tolist() == table_by_the_page(family, t)
    for rate, k in enumerate((0, 1, 2, 4, 7, 11, 16, 24)):
        for t in range(32):
            mean = math.isqrt(math.isqrt(math.isqrt(1 << 2 * t + 65)))
            for symbol in range(0, 128, 3):
                a = 128 if symbol == 127 else abs(symbol - 63)
                moved = [
                    ((v**128).bit_length()) >> 1
                    for v in (mean * (64 - k) + a * 2**13 * k, mean * 64)
                ]
                assert distributions.moves(rate)[t, symbol] == moved[0] - moved[1]


def test_logarithms_of_integers() -> None:
    x = np.concatenate([np.arange(1, 5000), RNG(0).integers(1, 2**33, 5000)])
    exact = 64 * np.log2(x)
    assert (np.abs(distributions.log2(x) - exact) <= 0.5 + 1e-6).all()
    powers = np.array([0, 1, 2, 3, 4, 2**40 - 1, 2**40, 2**62 - 1])
    assert distributions.bits(powers).tolist() == [int(n).bit_length() for n in powers]


def test_fields_of_bits() -> None:
    rng = RNG(0)
    widths = rng.choice([0, 1, 3, 7, 31, 62], 70_000)
    values = rng.integers(0, 2**62, 70_000) & ((1 << widths) - 1)
    writer = FieldWriter()
    parts = [slice(0, 1), slice(1, 1), slice(1, 100), slice(100, 40_000), slice(40_000, None)]
    for part in parts:
        writer.put(values[part], widths[part])
    raw = writer.done()
    assert len(raw) == -(-int(widths.sum()) // 8)
    for cut in (70_000, 1, 69_999, 33):
        reader = FieldReader(raw)
        first, rest = reader.take(widths[:cut]), reader.take(widths[cut:])
        np.testing.assert_array_equal(np.concatenate([first, rest]), values)
        assert reader.at == widths.sum()
    with pytest.raises(ValueError, match="bits are more than"):
        FieldReader(raw[:-1]).take(widths)
    assert FieldWriter().done() == b""


@pytest.mark.parametrize(
    ("first", "count"), [(0, 150), pytest.param(150, 2_850, marks=pytest.mark.soak)]
)
def test_streams_that_were_changed(first: int, count: int) -> None:
    rows = np.rint(RNG(0).laplace(size=(300, 3)) * [0.3, 4, 900]).astype(np.int64)
    stream = pack(rows, 3)
    assert stream[0] >> 4 == 2
    refused = 0
    for seed in range(first, first + count):
        rng = random.Random(seed)
        changed = bytearray(stream)
        for _ in range(rng.randint(1, 4)):
            at = min(int(rng.expovariate(1 / 60)), len(changed) - 1)
            changed[at] = rng.choice([0, 255, changed[at] ^ 1 << rng.randrange(8)])
        if rng.random() < 0.3:
            del changed[rng.randrange(1, len(changed)) :]
        columns = rng.choice([1, 3, 3, 3, 30])
        tracemalloc.start()
        try:
            assert len(unpack(bytes(changed), rows.size, columns)) == rows.size
        except ArchiveCorrupt:
            refused += 1
        assert tracemalloc.get_traced_memory()[1] < 20_000_000, seed
        tracemalloc.stop()
    assert refused > 0.9 * count


def test_cut_and_lengthened_streams_are_refused() -> None:
    for scale in (0.5, 4, 900):
        rows = np.rint(RNG(0).laplace(size=(400, 2)) * scale).astype(np.int64)
        head = distribution_fit.stream_head_of(rows)
        stream = entropy.encode(rows, head)
        for wrong in (*(stream[:end] for end in range(0, len(stream), 5)), stream + b"\0"):
            with pytest.raises(ArchiveCorrupt):
                entropy.decode(wrong, 400, 2, head.states_log2)


def test_no_stream_keeps_a_decoder_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[int, int, int]] = []
    active = Interleaving.active

    def counted(order: Interleaving) -> Iterator[tuple[int, int, int]]:
        for step in active(order):
            steps.append(step)
            yield step

    rows = np.zeros((300_000, 1), np.int64)
    rows[5] = 1
    head = distribution_fit.stream_head_of(rows)
    stream = entropy.encode(rows, head)
    monkeypatch.setattr(Interleaving, "active", counted)
    for rows_, columns, states_log2 in ((300_000, 1, 0), (65_537, 1, 0), (65_536, 3, 1)):
        with pytest.raises(ArchiveCorrupt, match="too few states"):
            entropy.decode(stream, rows_, columns, states_log2)
    assert not steps
    with pytest.raises(ArchiveCorrupt):
        entropy.decode(stream, 65_536, 1, 0)
    assert 0 < len(steps) <= 65_536


def test_palettes_of_numbers_far_apart() -> None:
    rng = RNG(4)
    steps = np.cumsum(rng.integers(-1, 2, (4000, 3)), axis=0)
    q = np.rint(steps * [7.3, 1, 101.77]).astype(np.int64) + 5
    places, kept = palette.ranked(q)
    points = palette.dump(kept, 3)
    assert list(kept) == [0, 2]
    np.testing.assert_array_equal(places[:, 1], q[:, 1])
    assert (np.abs(np.diff(places[:, [0, 2]], axis=0)) <= 1).all()
    np.testing.assert_array_equal(palette.unranked(places, points), q)
    np.testing.assert_array_equal(unpack_rows(pack_rows(q), 4000, 3), q)
    assert len(pack_rows(q)) < 1.1 * len(pack_rows(steps)) + len(points)
    wide = np.repeat(q[:, :1], 40, axis=1)
    np.testing.assert_array_equal(unpack_rows(pack_rows(wide), 4000, 40), wide)
    for wrong in (places + 1, places - 1000):
        with pytest.raises(ArchiveCorrupt, match="beyond its palette"):
            palette.unranked(wrong, points)
    with pytest.raises(ArchiveCorrupt, match="more numbers than rows"):
        palette.unranked(places[:5], points)
