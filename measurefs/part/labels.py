"""Labels: the series and the tags of batch after batch, put in order of the series.

Collectors send the same series with the same tags at every turn, in one batch or in several. So a batch is compared
with those that came not long ago, and what was found out about the labels of one of these is used again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec.columns import coded
from measurefs.codec.memory import copied, take
from measurefs.part.rows import gather, stable_order
from measurefs.part.series import Codes, Hash, encode_series, xxh3

_RECENT_BATCHES, _RECENT_BYTES, _LABELS_BYTES = 32, 64 << 20, 16 << 20
_SAMPLE, _REPEATS = 1024, 4
"""Strings of which each stands four times among the first are coded: codes are ordered and joined faster."""


class Labels:
    """The series of a batch's n rows, and the order that puts rows of the same series together.

    Parameters
    ----------
    entities : pyarrow.RecordBatch
        The entity columns.
    hasher : callable
        From an entity's key to its id.

    Attributes
    ----------
    series : SeriesTable
        Those that occur.
    codes : int32 array, shape (n,)
        The position in it of each row's series, in order.
    order : int64 array, shape (n,), or None
        Which row of the batch is the first one in order, the second and so on: as they came within a series. None
        if the batch is in order.
    """

    def __init__(self, entities: pa.RecordBatch, hasher: Hash = xxh3) -> None:
        # A copy: whoever gave them may put others into the same memory.
        self.entities = pa.record_batch(
            [copied(column) for column in entities.columns], schema=entities.schema
        )
        self.series, codes = encode_series(entities, hasher)
        self.order = stable_order(codes)
        self.codes: Codes = codes if self.order is None else codes[self.order]
        self._tags: dict[str, tuple[pa.Array, pa.Array, int]] = {}
        self._tag_bytes = 0  # roughly, where several threads write at the same moment

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        order = 0 if self.order is None else self.order.nbytes
        own = self.entities.nbytes + self.codes.nbytes + self.series.nbytes + order
        return int(own + self._tag_bytes)

    def arranged(self, column: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return an array's values in order, in memory of their own: a caller may change what was given."""
        return column.copy() if self.order is None else take(column, self.order)

    def field(self, column: pa.Array) -> pa.Array:
        """Return a column's values in order, in memory of their own, strings that repeat as a dictionary."""
        column = coded(column, _SAMPLE, _REPEATS)
        if self.order is None:
            return copied(column)
        found = gather(column, self.order)
        if pa.types.is_dictionary(found.type):
            found = pa.DictionaryArray.from_arrays(found.indices, copied(found.dictionary), safe=False)
        return found

    def tag(self, name: str, column: pa.Array) -> pa.Array:
        """Return what `field` does: the very same array if a tag has the same values as in the batch before."""
        given, known, held = self._tags.get(name, (None, None, 0))
        if given is not None and given.equals(column):
            return known
        found = self.field(column)
        if pa.types.is_dictionary(found.type) or pa.types.is_integer(found.type):
            size = column.nbytes + found.nbytes
            if self._tag_bytes - held + size <= _LABELS_BYTES:
                self._tags[name] = copied(column), found, size
                self._tag_bytes += size - held
        return found


class LabelEncoder:
    """Finds the labels of batch after batch, and remembers some; any number of threads may share it.

    Parameters
    ----------
    hasher : callable
        From an entity's key to its id.
    """

    def __init__(self, hasher: Hash = xxh3) -> None:
        self._hasher = hasher
        self._recent: list[Labels] = []

    def encode(self, entities: pa.RecordBatch) -> Labels:
        """Return the labels of a batch.

        Parameters
        ----------
        entities : pyarrow.RecordBatch
            The entity columns of its rows, without nulls; columns may be dictionaries.
        """
        for known in self._recent:
            if known.entities.equals(entities):
                return known
        labels = Labels(entities, self._hasher)
        self._recent = list(_within_limits([labels, *self._recent]))
        return labels


def _within_limits(recent: list[Labels]) -> Iterator[Labels]:
    sizes = itertools.accumulate(labels.nbytes for labels in recent)
    for labels, size in itertools.islice(zip(recent, sizes, strict=True), _RECENT_BATCHES):
        if size > _RECENT_BYTES:
            return
        yield labels
