"""Signed integers in little more bytes than their entropy: rANS, with a law for each number.

How large a number may be is told by those before it in its column: their mean magnitude, which
fades, is the state of a machine that each symbol moves. All of it is integers, on every machine.

Rows are cut into blocks that are coded side by side, in lanes: with one state of rANS for each
block, or for each column of each block where there are many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import laws
from ae_archive.coding.bits import TOGETHER, FieldReader, FieldWriter
from ae_archive.coding.lanes import Lanes
from ae_archive.coding.laws import CENTRE, CONTEXTS, ESCAPE, PRECISION, STATES, STEPS, SYMBOLS
from ae_archive.coding.plans import Model, Plan, dump, parse
from ae_runtime.errors import ArchiveCorrupt

Integers = NDArray[np.int64]
MAX_COLUMNS = 32  # more are coded as one
_MOST_STEPS = 1 << 16  # of a decoder, one after another
_LOWEST = 1 << 16  # state of rANS: below 2^32, in words of 16 bits
_ESCAPE_BITS = 7  # sign, and how many bits the magnitude has
_CELL = CONTEXTS * SYMBOLS
_QUARTERS = np.arange(256)
_SHIFT = laws.octave(_QUARTERS)
_HALF = (1 << _SHIFT) >> 1
# The same, and the row of a table, by state.
_SHIFTS, _HALVES, _ROWS = (np.repeat(each, STEPS) for each in (_SHIFT, _HALF, laws.row(_QUARTERS)))
# Numbers as arrays: of others numpy makes one at each of many short calls.
_ZERO, _HIGHEST = np.array(0), np.array(STATES - 1)
_CENTRE, _ESCAPE = np.array(CENTRE), np.array(ESCAPE, np.uint64)
_PART, _PARTS = np.array(laws.TOTAL - 1), np.array(PRECISION)
_LEAST, _WORD = np.array(_LOWEST), np.array(16)
_ROOM, _TOTAL, _HALF_WORD = (np.array(number, np.uint32) for number in (20, laws.TOTAL, 16))


class _Tables:
    """Of each model after another, by row and symbol, what both directions look up."""

    def __init__(self, models: list[Model]) -> None:
        parts = np.stack([_parts(model) for model in models]).reshape(-1, SYMBOLS)
        self.frequency = parts.reshape(-1).astype(np.uint32)
        self.begin = (np.cumsum(parts, axis=1) - parts).reshape(-1).astype(np.uint32)
        self.move = np.stack([laws.moves(model.rate) for model in models]).reshape(-1)
        places = np.arange(parts.size)
        self.coded = np.where(self.frequency > 0, places, places | ESCAPE)
        self.symbol_of = np.repeat(places.astype(np.uint16), parts.reshape(-1))


def _parts(model: Model) -> Integers:
    return laws.frequencies(model.law)[model.offset : model.offset + CONTEXTS]


def encode(rows: Integers, plan: Plan) -> bytes:
    """The numbers (R, D), |number| < 2^62, as a stream without its first byte."""
    count, columns = rows.shape
    lanes = Lanes(count, columns, 1 << plan.lanes)
    tables = _Tables(plan.models)
    # What is known beforehand is worked out for all columns side by side.
    side = lanes if lanes.groups == 1 else Lanes(count, columns, lanes.blocks * columns)
    places, quarters = _modelled(side.spread(rows), side, plan, tables)
    escapes = places & ESCAPE == ESCAPE
    raw = b""
    if escapes.any() or (quarters >= CONTEXTS).any():
        raw = _raw_bits(rows, side.gathered(escapes), side.gathered(quarters))
    if side is not lanes:
        places = lanes.spread(side.gathered(places))
    return dump(plan) + _coded(places, lanes, tables) + raw


def _modelled(
    spread: Integers, lanes: Lanes, plan: Plan, tables: _Tables
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Of each number the place of its symbol in the tables, and the context it is coded in."""
    places, told = (np.zeros(spread.shape, np.uint16) for _ in range(2))
    states = lanes.columns_of(plan.starts * STEPS + STEPS // 2)
    models = lanes.columns_of(plan.which * _CELL)
    rows = _ROWS * SYMBOLS
    several = len(plan.models) > 1
    for step, group, count in lanes.active():
        state = states[group, :count]
        told[step, group, :count] = state
        symbol = spread[step, group, :count] + _HALVES[state]
        symbol >>= _SHIFTS[state]
        symbol += _CENTRE
        # As unsigned numbers those below 0 are large, too.
        unsigned = symbol.view(np.uint64)
        np.minimum(unsigned, _ESCAPE, out=unsigned)
        symbol += rows[state]
        if several:
            symbol += models[group, :count]
        place = tables.coded[symbol]
        places[step, group, :count] = place
        state += tables.move[place]
        np.maximum(state, _ZERO, out=state)
        np.minimum(state, _HIGHEST, out=state)
    return places, _quarters(told)


def _quarters(states: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return np.floor_divide(states, STEPS, out=np.empty(states.shape, np.uint8), casting="unsafe")


def _coded(places: NDArray[np.uint16], lanes: Lanes, tables: _Tables) -> bytes:
    """The states that a decoder begins with, and the words that it takes."""
    state = np.full(lanes.width, _LOWEST, np.uint32)
    words: list[NDArray[np.uint16]] = []
    for step, group, count in reversed(list(lanes.active())):
        place = places[step, group, :count].astype(np.int64)
        frequency = tables.frequency[place]
        x = state[:count]
        (full,) = (x >> _ROOM >= frequency).nonzero()
        if len(full):
            large = x[full]
            words.append(large.astype(np.uint16))
            x[full] = large >> _HALF_WORD
        whole = x // frequency
        whole *= _TOTAL - frequency
        x += whole
        x += tables.begin[place]
    words.append(np.empty(0, np.uint16))
    return state.astype("<u4").tobytes() + np.concatenate(words[::-1]).astype("<u2").tobytes()


def _raw_bits(rows: Integers, escapes: NDArray[np.bool_], quarters: NDArray[np.uint8]) -> bytes:
    """What the symbols leave away, number after number, then the magnitudes of those escaped."""
    rows, escapes, quarters = rows.reshape(-1), escapes.reshape(-1), quarters.reshape(-1)
    fields = FieldWriter()
    magnitudes: list[tuple[Integers, Integers]] = []
    (every,) = ((quarters >= CONTEXTS) | escapes).nonzero()
    for begin in range(0, len(every), TOGETHER):
        used = every[begin : begin + TOGETHER]
        numbers, quarter, (escaped,) = rows[used], quarters[used], escapes[used].nonzero()
        widths = _SHIFT[quarter]
        low = (numbers + _HALF[quarter]) & ((1 << widths) - 1)
        if len(escaped):
            magnitude = np.abs(numbers[escaped])
            sizes = laws.bits(magnitude)
            widths[escaped] = _ESCAPE_BITS
            low[escaped] = sizes << 1 | (numbers[escaped] < 0)
            below = np.maximum(sizes - 1, 0)
            magnitudes.append((magnitude & ((1 << below) - 1), below))
        fields.put(low, widths)
    for values, widths in magnitudes:
        fields.put(values, widths)
    return fields.done()


def decode(stream: bytes, rows: int, columns: int, lanes_bits: int) -> Integers:
    """The numbers (R, D) of a stream without its first byte. Raises ArchiveCorrupt."""
    lanes = Lanes(rows, columns, 1 << lanes_bits)
    if lanes.steps * lanes.groups > _MOST_STEPS:
        raise ArchiveCorrupt("a stream of many numbers has too few lanes")
    plan, at = parse(stream, columns, lanes_bits)
    tables = _Tables(plan.models)
    body = stream[at + 4 * lanes.width :]
    if len(stream) < at + 4 * lanes.width:
        raise ArchiveCorrupt("a stream ends before its first states do")
    x = np.frombuffer(stream, "<u4", lanes.width, at).astype(np.int64)
    words = np.frombuffer(body, "<u2", len(body) // 2).astype(np.int64)
    symbols, quarters, taken = _decoded(x, words, lanes, plan, tables)
    numbers = _numbers(lanes.gathered(symbols), lanes.gathered(quarters), body[2 * taken :])
    return numbers.reshape(rows, columns)


def _decoded(
    states_of_rans: Integers, words: Integers, lanes: Lanes, plan: Plan, tables: _Tables
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Of each number its symbol and its context; and how many words they took."""
    shape = lanes.steps, lanes.groups, lanes.width
    places, told = (np.zeros(shape, np.uint16) for _ in range(2))
    states = lanes.columns_of(plan.starts * STEPS + STEPS // 2)
    models = lanes.columns_of(plan.which * (CONTEXTS << PRECISION))
    rows = _ROWS << PRECISION
    several = len(plan.models) > 1
    frequency, begin = tables.frequency.astype(np.int64), tables.begin.astype(np.int64)
    at = 0
    for step, group, count in lanes.active():
        x, state = states_of_rans[:count], states[group, :count]
        told[step, group, :count] = state
        slot = x & _PART
        part = rows[state]
        part += slot
        if several:
            part += models[group, :count]
        short = tables.symbol_of[part]
        places[step, group, :count] = short
        place = short.astype(np.int64)
        x >>= _PARTS
        x *= frequency[place]
        slot -= begin[place]
        x += slot
        (empty,) = (x < _LEAST).nonzero()
        if len(empty):
            taken = words[at : at + len(empty)]
            if len(taken) < len(empty):
                raise ArchiveCorrupt("a stream ends before its numbers do")
            at += len(empty)
            x[empty] = x[empty] << _WORD | taken
        state += tables.move[place]
        np.maximum(state, _ZERO, out=state)
        np.minimum(state, _HIGHEST, out=state)
    if (states_of_rans != _LOWEST).any():  # which the encoder began with
        raise ArchiveCorrupt("a stream does not lead back to where it began")
    symbols = np.bitwise_and(places, SYMBOLS - 1, out=np.empty(shape, np.uint8), casting="unsafe")
    return symbols, _quarters(told), at


def _numbers(symbols: NDArray[np.uint8], quarters: NDArray[np.uint8], raw: bytes) -> Integers:
    """The numbers of symbols in their contexts, and of the bits that these leave away."""
    symbols, quarters = symbols.reshape(-1), quarters.reshape(-1)
    found = symbols.astype(np.int64)
    found -= CENTRE
    escapes = symbols == ESCAPE
    (every,) = ((quarters >= CONTEXTS) | escapes).nonzero()
    fields = FieldReader(raw)
    heads: list[tuple[Integers, Integers]] = []
    try:
        for begin in range(0, len(every), TOGETHER):
            used = every[begin : begin + TOGETHER]
            quarter, (escaped,) = quarters[used], escapes[used].nonzero()
            shift = _SHIFT[quarter]
            widths = shift.copy()
            widths[escaped] = _ESCAPE_BITS
            low = fields.take(widths)
            found[used] = (found[used] << shift) + low - _HALF[quarter]
            if len(escaped):
                heads.append((used[escaped], low[escaped]))
        for places, head in heads:
            sizes = head >> 1
            if (sizes > 62).any():
                raise ValueError(f"a number has {sizes.max()} bits")
            below = np.maximum(sizes - 1, 0)
            magnitude = fields.take(below) | np.where(sizes > 0, 1 << below, 0)
            found[places] = np.where(head & 1, -magnitude, magnitude)
        if -(-fields.at // 8) != len(raw):
            raise ValueError(f"{len(raw)} bytes are more than {fields.at} bits")
    except ValueError:
        raise ArchiveCorrupt(
            "a stream does not hold as many bits as its numbers leave away"
        ) from None
    return found
