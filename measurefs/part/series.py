"""Series: which entity a row belongs to, as a position in a table of distinct entities.

The 64-bit id is a hash of the entity's values: a good order and a quick first look, never the identity. Two
entities that share an id stay two series, since the values are stored and compared wherever tables meet.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from measurefs.codec import compute as pc
from measurefs.codec.memory import array_of

Hash = Callable[[bytes], int]
Codes = npt.NDArray[np.int32]


xxh3: Hash = xxhash.xxh3_64_intdigest
"""From an entity's key to its id, unless a table is told otherwise."""


class SeriesTable(msgspec.Struct, frozen=True, eq=False):
    """Distinct series, ordered by id (and by the bytes of their key where ids are equal).

    Attributes
    ----------
    ids : uint64 array, shape (k,)
        Hashes of the entities; not decreasing.
    entities : pyarrow.RecordBatch
        k rows, one column per entity column (int64, string or binary), no nulls.
    """

    ids: npt.NDArray[np.uint64]
    entities: pa.RecordBatch

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return int(self.ids.nbytes + self.entities.nbytes)

    def take(self, positions: npt.NDArray[np.integer]) -> SeriesTable:
        """Return the series at these (increasing) positions."""
        if len(positions) == 1:
            (place,) = positions.tolist()
            return SeriesTable(self.ids[place : place + 1], self.entities.slice(place, 1))
        return SeriesTable(self.ids[positions], pc.take(self.entities, array_of(positions)))

    def equals(self, other: SeriesTable) -> bool:
        """Whether both hold the same series."""
        return self is other or (
            np.array_equal(self.ids, other.ids) and bool(self.entities.equals(other.entities))
        )


def encode_series(entities: pa.RecordBatch, hasher: Hash = xxh3) -> tuple[SeriesTable, Codes]:
    """Find the distinct entities of a batch.

    Parameters
    ----------
    entities : pyarrow.RecordBatch
        The entity columns of n rows, without nulls; columns may be dictionaries.
    hasher : callable
        From an entity's key to its id.

    Returns
    -------
    SeriesTable
        The k distinct entities.
    int32 array, shape (n,)
        The position of each row's entity in it.
    """
    codes, distinct = _distinct(entities)
    keys = entity_keys(distinct)
    ids = np.fromiter(map(hasher, keys), np.uint64, len(keys))
    order = _order(ids, keys)
    position = np.empty(len(order), np.int32)
    position[order] = np.arange(len(order), dtype=np.int32)
    return SeriesTable(ids, distinct).take(order), position[codes]


def _distinct(entities: pa.RecordBatch) -> tuple[Codes, pa.RecordBatch]:
    columns = [_encode_column(column) for column in entities.columns]
    codes = np.asarray(columns[0].indices)
    first = columns[0].dictionary
    if len(columns) == 1:
        return codes, pa.record_batch([first], names=entities.schema.names)
    for column in columns[1:]:
        pairs = codes.astype(np.int64) * len(column.dictionary) + np.asarray(column.indices)
        codes = np.asarray(array_of(pairs).dictionary_encode().indices)
    rows = np.empty(int(codes.max(initial=-1)) + 1, np.int64)
    rows[codes] = np.arange(len(codes))
    plain = [column.take(array_of(rows)).dictionary_decode() for column in columns]
    return codes, pa.record_batch(plain, names=entities.schema.names)


def _encode_column(column: pa.Array) -> pa.DictionaryArray:
    """Return the column as a dictionary of distinct values that all occur."""
    if not pa.types.is_dictionary(column.type):
        return column.dictionary_encode()
    return column.take(array_of(np.arange(len(column)))).dictionary_decode().dictionary_encode()


def entity_keys(entities: pa.RecordBatch) -> list[bytes]:
    """Return each entity's key: its one value's bytes, or every value's length and bytes in turn."""
    columns = [_as_bytes(column) for column in entities.columns]
    if len(columns) == 1:
        return list(columns[0].to_pylist())
    pieces: list[pa.Array] = []
    for column in columns:
        lengths = np.asarray(pc.binary_length(column)).astype("<i4")
        pieces += [_fixed_bytes(lengths), column]
    joined = pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.binary()))
    return list(joined.to_pylist())


def _as_bytes(column: pa.Array) -> pa.Array:
    if pa.types.is_integer(column.type):
        return _fixed_bytes(np.asarray(column).astype("<i8"))
    return column if pa.types.is_binary(column.type) else column.view(pa.binary())


def _fixed_bytes(values: npt.NDArray[np.integer]) -> pa.Array:
    width = values.dtype.itemsize
    offsets = np.arange(len(values) + 1, dtype=np.int32) * width
    return pa.Array.from_buffers(
        pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values))]
    )


def _order(ids: npt.NDArray[np.uint64], keys: Sequence[bytes]) -> npt.NDArray[np.int64]:
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    if (ordered[1:] == ordered[:-1]).any():
        return np.array(sorted(range(len(ids)), key=lambda row: (ids[row], keys[row])), np.int64)
    return order


def merge_series(tables: Sequence[SeriesTable]) -> tuple[SeriesTable, list[Codes]]:
    """Merge tables of the same entity columns.

    Returns
    -------
    SeriesTable
        Every series of any of them, once.
    list of int32 arrays
        For each table, the positions of its series in the merged one.
    """
    first = tables[0]
    if all(first.equals(table) for table in tables[1:]):
        identity = np.arange(len(first), dtype=np.int32)
        return first, [identity] * len(tables)
    once = {id(table): table for table in tables}
    if len(once) < len(tables):
        merged, mappings = merge_series(list(once.values()))
        of = dict(zip(once, mappings, strict=True))
        return merged, [of[id(table)] for table in tables]
    ids = np.concatenate([table.ids for table in tables])
    entities = pa.Table.from_batches([table.entities for table in tables]).combine_chunks().to_batches()[0]
    order = np.argsort(ids, kind="stable")
    new = _starts_of_runs(ids, entities, order)
    if new is None:
        order = _order(ids, entity_keys(entities))
        new = _starts_of_runs(ids, entities, order)
        assert new is not None
    positions = np.empty(len(ids), np.int32)
    positions[order] = np.cumsum(new, dtype=np.int32) - 1
    merged = SeriesTable(ids, entities).take(order[new])
    ends = np.cumsum([len(table) for table in tables])
    return merged, np.split(positions, ends[:-1])


def _starts_of_runs(
    ids: npt.NDArray[np.uint64], entities: pa.RecordBatch, order: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_] | None:
    """Return where, in this order, a series differs from the one before.

    None if entities that share an id are not yet in order of their keys: the order by id alone may have put
    two of them alternately.
    """
    new = np.ones(len(order), np.bool_)
    new[1:] = ids[order[1:]] != ids[order[:-1]]
    again = np.flatnonzero(~new)
    if len(again) == 0:
        return new
    here, before = entities.take(array_of(order[again])), entities.take(array_of(order[again - 1]))
    same = np.ones(len(again), np.bool_)
    for left, right in zip(here.columns, before.columns, strict=True):
        same &= np.asarray(pc.equal(left, right))
    if same.all():
        return new
    new[again[~same]] = True
    return new if _keys_ordered(entities, order, ids) else None


def _keys_ordered(
    entities: pa.RecordBatch, order: npt.NDArray[np.int64], ids: npt.NDArray[np.uint64]
) -> bool:
    keys = entity_keys(entities.take(array_of(order)))
    ordered = list(zip(ids[order].tolist(), keys, strict=True))
    return all(left <= right for left, right in itertools.pairwise(ordered))


def narrowed(series: SeriesTable, codes: Codes) -> tuple[SeriesTable, Codes]:
    """Leave out the series that do not occur where most do not: what follows then costs by the few."""
    used = codes if len(codes) == 1 else np.unique(codes)
    if 2 * len(used) > len(series):
        return series, codes
    return series.take(used), used.searchsorted(codes).astype(np.int32)
