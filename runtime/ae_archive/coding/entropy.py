"""Entropy coder of signed integers: rANS, with a probability table for each number.

The table depends on a fading mean magnitude of the numbers before in the same column, kept as a
state that each symbol moves. All of it is integers, the same on every machine.

Rows are cut into blocks that are coded side by side, with one state of rANS for each block, or for
each column of each block where there are many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ae_archive.coding import distributions
from ae_archive.coding.bits import TOGETHER, FieldReader, FieldWriter
from ae_archive.coding.distributions import (
    CENTRE,
    CONTEXTS,
    ESCAPE,
    PRECISION,
    STATES,
    STEPS,
    SYMBOLS,
)
from ae_archive.coding.interleaving import Interleaving
from ae_archive.coding.stream_head import Model, StreamHead, dump, parse
from ae_runtime.errors import ArchiveCorrupt

Integers = NDArray[np.int64]
MAX_COLUMNS = 32  # columns with models of their own; more are coded as one
_MOST_STEPS = 1 << 16  # steps of a decoder, one after another
_LOWEST = 1 << 16  # lowest state of rANS: below 2^32, in words of 16 bits
_ESCAPE_BITS = 7  # bits of an escape: the sign, and how many bits the magnitude has
_CELL = CONTEXTS * SYMBOLS
_QUARTERS = np.arange(256)
_SHIFT = distributions.octave(_QUARTERS)
_HALF = (1 << _SHIFT) >> 1
# By state: the same two, and the row of a table.
_SHIFTS, _HALVES, _ROWS = (
    np.repeat(each, STEPS) for each in (_SHIFT, _HALF, distributions.row(_QUARTERS))
)
# Constants as arrays: numpy would make these from numbers at each of many short calls.
_ZERO, _HIGHEST = np.array(0), np.array(STATES - 1)
_CENTRE, _ESCAPE = np.array(CENTRE), np.array(ESCAPE, np.uint64)
_PART, _PARTS = np.array(distributions.TOTAL - 1), np.array(PRECISION)
_LEAST, _WORD = np.array(_LOWEST), np.array(16)
_ROOM, _TOTAL, _HALF_WORD = (
    np.array(number, np.uint32) for number in (20, distributions.TOTAL, 16)
)


class _Tables:
    """Tables of all models, one after another, by row and symbol, for coding and decoding."""

    def __init__(self, models: list[Model]) -> None:
        parts = np.stack([_parts(model) for model in models]).reshape(-1, SYMBOLS)
        self.frequency = parts.reshape(-1).astype(np.uint32)
        self.begin = (np.cumsum(parts, axis=1) - parts).reshape(-1).astype(np.uint32)
        self.move = np.stack([distributions.moves(model.rate) for model in models]).reshape(-1)
        places = np.arange(parts.size)
        self.coded = np.where(self.frequency > 0, places, places | ESCAPE)
        self.symbol_of = np.repeat(places.astype(np.uint16), parts.reshape(-1))


def _parts(model: Model) -> Integers:
    return distributions.frequencies(model.family)[model.offset : model.offset + CONTEXTS]


def encode(rows: Integers, head: StreamHead) -> bytes:
    """Stream of the numbers (R, D), |number| < 2^62, without its first byte."""
    count, columns = rows.shape
    order = Interleaving(count, columns, 1 << head.states_log2)
    tables = _Tables(head.models)
    # Symbols do not depend on the coding order: they are found for all columns side by side.
    side = order if order.groups == 1 else Interleaving(count, columns, order.blocks * columns)
    places, quarters = _modelled(side.spread(rows), side, head, tables)
    escapes = places & ESCAPE == ESCAPE
    raw = b""
    if escapes.any() or (quarters >= CONTEXTS).any():
        raw = _raw_bits(rows, side.gathered(escapes), side.gathered(quarters))
    if side is not order:
        places = order.spread(side.gathered(places))
    return dump(head) + _coded(places, order, tables) + raw


def _modelled(
    spread: Integers, order: Interleaving, head: StreamHead, tables: _Tables
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Place of each number's symbol in the tables, and the context that it is coded in."""
    places, contexts = (np.zeros(spread.shape, np.uint16) for _ in range(2))
    states = order.per_state(head.starts * STEPS + STEPS // 2)
    models = order.per_state(head.which * _CELL)
    rows = _ROWS * SYMBOLS
    several = len(head.models) > 1
    for step, group, count in order.active():
        state = states[group, :count]
        contexts[step, group, :count] = state
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
    return places, _quarters(contexts)


def _quarters(states: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return np.floor_divide(states, STEPS, out=np.empty(states.shape, np.uint8), casting="unsafe")


def _coded(places: NDArray[np.uint16], order: Interleaving, tables: _Tables) -> bytes:
    """Bytes of the states that a decoder begins with, and of the words that it takes."""
    state = np.full(order.width, _LOWEST, np.uint32)
    words: list[NDArray[np.uint16]] = []
    for step, group, count in reversed(list(order.active())):
        place = places[step, group, :count].astype(np.int64)
        frequency = tables.frequency[place]
        x = state[:count]
        (full,) = (x >> _ROOM >= frequency).nonzero()
        if len(full):
            large = x[full]
            words.append(large.astype(np.uint16))
            x[full] = large >> _HALF_WORD
        quotient = x // frequency
        quotient *= _TOTAL - frequency
        x += quotient
        x += tables.begin[place]
    words.append(np.empty(0, np.uint16))
    return state.astype("<u4").tobytes() + np.concatenate(words[::-1]).astype("<u2").tobytes()


def _raw_bits(rows: Integers, escapes: NDArray[np.bool_], quarters: NDArray[np.uint8]) -> bytes:
    """Bits that symbols leave out, number after number, then magnitudes of those escaped."""
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
            sizes = distributions.bits(magnitude)
            widths[escaped] = _ESCAPE_BITS
            low[escaped] = sizes << 1 | (numbers[escaped] < 0)
            below = np.maximum(sizes - 1, 0)
            magnitudes.append((magnitude & ((1 << below) - 1), below))
        fields.put(low, widths)
    for values, widths in magnitudes:
        fields.put(values, widths)
    return fields.done()


def decode(stream: bytes, rows: int, columns: int, states_log2: int) -> Integers:
    """Numbers (R, D) of a stream without its first byte. Raises ArchiveCorrupt."""
    order = Interleaving(rows, columns, 1 << states_log2)
    if order.steps * order.groups > _MOST_STEPS:
        raise ArchiveCorrupt("a stream of many numbers has too few states")
    head, at = parse(stream, columns, states_log2)
    tables = _Tables(head.models)
    body = stream[at + 4 * order.width :]
    if len(stream) < at + 4 * order.width:
        raise ArchiveCorrupt("a stream ends before its first states do")
    x = np.frombuffer(stream, "<u4", order.width, at).astype(np.int64)
    words = np.frombuffer(body, "<u2", len(body) // 2).astype(np.int64)
    symbols, quarters, taken = _decoded(x, words, order, head, tables)
    numbers = _numbers(order.gathered(symbols), order.gathered(quarters), body[2 * taken :])
    return numbers.reshape(rows, columns)


def _decoded(
    states_of_rans: Integers,
    words: Integers,
    order: Interleaving,
    head: StreamHead,
    tables: _Tables,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Symbol and context of each number, and the number of words that they took."""
    shape = order.steps, order.groups, order.width
    places, contexts = (np.zeros(shape, np.uint16) for _ in range(2))
    states = order.per_state(head.starts * STEPS + STEPS // 2)
    models = order.per_state(head.which * (CONTEXTS << PRECISION))
    rows = _ROWS << PRECISION
    several = len(head.models) > 1
    frequency, begin = tables.frequency.astype(np.int64), tables.begin.astype(np.int64)
    at = 0
    for step, group, count in order.active():
        x, state = states_of_rans[:count], states[group, :count]
        contexts[step, group, :count] = state
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
    return symbols, _quarters(contexts), at


def _numbers(symbols: NDArray[np.uint8], quarters: NDArray[np.uint8], raw: bytes) -> Integers:
    """Numbers of symbols in their contexts, and of the bits that these leave out."""
    symbols, quarters = symbols.reshape(-1), quarters.reshape(-1)
    numbers = symbols.astype(np.int64)
    numbers -= CENTRE
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
            numbers[used] = (numbers[used] << shift) + low - _HALF[quarter]
            if len(escaped):
                heads.append((used[escaped], low[escaped]))
        for places, head in heads:
            sizes = head >> 1
            if (sizes > 62).any():
                raise ValueError(f"a number has {sizes.max()} bits")
            below = np.maximum(sizes - 1, 0)
            magnitude = fields.take(below) | np.where(sizes > 0, 1 << below, 0)
            numbers[places] = np.where(head & 1, -magnitude, magnitude)
        if -(-fields.at // 8) != len(raw):
            raise ValueError(f"{len(raw)} bytes are more than {fields.at} bits")
    except ValueError:
        raise ArchiveCorrupt(
            "a stream does not hold as many bits as its symbols leave out"
        ) from None
    return numbers
