"""Whether a part's index agrees with itself, with its rows and with what the part says of itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from measurefs.codec import columns as codec
from measurefs.codec.arrays import Array
from measurefs.part.index import Meta, Page
from measurefs.part.metadata import PartMetadata
from measurefs.part.series import Hash, SeriesTable, entity_keys
from measurefs.part.summary import ColumnSummary, NumberSummary
from measurefs.part.writer import column_sections

Times = npt.NDArray[np.int64]
_BLOCK_ARRAYS = ("block_series", "block_rows", "block_min", "block_max", "block_primary")
_CHUNK_ARRAYS = ("sizes", "checks", "nulls", "low", "high", "offsets")

_ROUNDED = ("sum", "m2")
_PRECISION = 1e-10


class PageChecker:
    """Looks at the pages of one part in their order; each fault is a sentence.

    Parameters
    ----------
    meta : Meta
        The part's list of pages.
    metadata : PartMetadata
    hasher : callable
        From an entity's key to its series' id.
    """

    def __init__(self, meta: Meta, metadata: PartMetadata, hasher: Hash) -> None:
        self.meta = meta
        self._metadata = metadata
        self._hasher = hasher
        self._sections = np.array(column_sections([stored.column for stored in metadata.columns]))
        self._ends: Times | None = np.zeros(int(self._sections.max()) + 1, np.int64)
        self._last: tuple[int, bytes, int] | None = None
        self._counts = dict.fromkeys(("rows", "blocks", "primary_blocks", "series"), 0)
        self._spans: list[tuple[int, int]] = []

    def layout_faults(self, number: int, page: Page) -> Iterator[str]:
        """Judge what can be judged before the page's chunks are read."""
        shapes = {getattr(page, name).shape for name in _CHUNK_ARRAYS}
        lengths = {len(getattr(page, name)) for name in _BLOCK_ARRAYS}
        if len(shapes) > 1 or len(lengths) > 1 or lengths == {0}:
            yield f"the arrays of page {number} differ in length, or are empty"
            return
        if (page.block_rows < 1).any():
            yield f"a block of page {number} has no rows"
        if not np.array_equal(np.unique(page.block_primary), np.arange(len(page.sizes))):
            yield f"a primary block of page {number} has no blocks"
        yield from self._series_faults(number, page)
        yield from self._place_faults(number, page)

    def _series_faults(self, number: int, page: Page) -> Iterator[str]:
        series = page.series
        if not np.array_equal(np.unique(page.block_series), np.arange(len(series))):
            yield f"page {number} has series without blocks"
        if (np.diff(page.block_series) < 0).any():
            yield f"the blocks of page {number} are not in order of their series"
        if any(column.null_count for column in series.entities.columns):
            yield f"an entity of page {number} is null"
            return
        try:
            series.entities.validate(full=True)
        except pa.ArrowException as error:
            yield f"the entities of page {number} hold impossible values ({error})"
            return
        keys = entity_keys(series.entities)
        if not _ascending(series, keys):
            yield f"the series of page {number} are not in order, or one is there twice"
        if [self._hasher(key) for key in keys] != series.ids.tolist():
            yield f"the ids of series of page {number} are not those of their entities"
        first, last = int(self.meta.first_id[number]), int(self.meta.last_id[number])
        if len(series) and (first, last) != (int(series.ids[0]), int(series.ids[-1])):
            yield f"the list of pages names other series for page {number} than it has"

    def _place_faults(self, number: int, page: Page) -> Iterator[str]:
        """Chunks of a section follow one another, from page to page."""
        firsts = [
            np.flatnonzero(self._sections == section) for section in range(int(self._sections.max()) + 1)
        ]
        starts = np.array([page.offsets[0, columns[0]] for columns in firsts])
        if self._ends is not None and not np.array_equal(starts, self._ends):
            yield f"the chunks of page {number} do not follow those of the page before"
        self._ends = starts + np.array([page.sizes[:, columns].sum() for columns in firsts])

    def lose_track(self) -> None:
        """Forget where the page before ended: it is damaged, and the next is not to be measured by it."""
        self._ends = None
        self._last = None

    def time_faults(self, number: int, page: Page, times: Times) -> Iterator[str]:
        """Judge a page's times, in the order in which they are stored."""
        starts = np.cumsum(page.block_rows) - page.block_rows
        lasts = starts + page.block_rows - 1
        for name, stated, actual in (
            ("first", page.block_min, times[starts]),
            ("last", page.block_max, times[lasts]),
        ):
            for block in np.flatnonzero(stated != actual)[:1].tolist():
                yield (
                    f"block {block} of page {number} claims {stated[block]} as its {name} time, "
                    f"and that is {actual[block]}"
                )
        yield from self._order_faults(number, page, times)
        span = int(page.block_min.min()), int(page.block_max.max())
        if span != (int(self.meta.min_time[number]), int(self.meta.max_time[number])):
            yield f"the list of pages names other times for page {number} than it has"
        self._count(page, times)

    def _order_faults(self, number: int, page: Page, times: Times) -> Iterator[str]:
        codes = np.repeat(page.block_series, page.block_rows)
        same = codes[1:] == codes[:-1]
        for word, wrong in (("descend", times[1:] < times[:-1]), ("occur twice", times[1:] == times[:-1])):
            rows = np.flatnonzero(same & wrong)
            if len(rows):
                yield f"times within a series {word} in page {number} (first in its row {rows[0] + 1})"
        if self._last is not None:
            first = (*_series_at(page.series, 0), int(times[0]))
            if first <= self._last:
                yield f"page {number} does not follow the page before in order of series and time"

    def _count(self, page: Page, times: Times) -> None:
        self._last = (*_series_at(page.series, -1), int(times[-1]))
        self._counts["rows"] += len(times)
        self._counts["blocks"] += len(page.block_rows)
        self._counts["primary_blocks"] += len(page.sizes)
        self._counts["series"] += len(page.series)
        self._spans.append((int(times.min()), int(times.max())))

    def total_faults(self) -> Iterator[str]:
        """Judge the part as a whole, after all its pages."""
        for name, count in self._counts.items():
            stated = getattr(self._metadata, name)
            if stated != count:
                yield f"its metadata claim {stated} {name.replace('_', ' ')}, and there are {count}"
        size = sum(piece.size for piece in self._metadata.sections.values())
        if self._metadata.compressed_bytes != size:
            yield f"its metadata claim {self._metadata.compressed_bytes} bytes, and the sections have {size}"
        if not self._spans:
            return
        firsts, lasts = zip(*self._spans, strict=True)
        for name, stated, actual in (
            ("first", self._metadata.min_time, min(firsts)),
            ("last", self._metadata.max_time, max(lasts)),
        ):
            if stated != actual:
                yield f"its metadata claim {stated} as the {name} time, and that is {actual}"


def _series_at(series: SeriesTable, place: int) -> tuple[int, bytes]:
    entity = series.entities.slice(place % len(series), 1)
    return int(series.ids[place]), entity_keys(entity)[0]


def _ascending(series: SeriesTable, keys: list[bytes]) -> bool:
    ids = series.ids
    if not (ids[1:] >= ids[:-1]).all():
        return False
    return all(keys[place] < keys[place + 1] for place in np.flatnonzero(ids[1:] == ids[:-1]).tolist())


def chunk_fault(values: pa.Array, page: Page, number: int, column: int) -> str | None:
    """Return which statistics of a chunk are not those of its values, None if all are."""
    if values.null_count != page.nulls[number, column]:
        return "the numbers of nulls"
    low, high = page.low[number, column], page.high[number, column]
    valid = values.drop_null() if values.null_count else values
    coded = pa.types.is_dictionary(valid.type)
    if coded:
        valid = valid.indices
    is_number = coded or pa.types.is_primitive(valid.type)
    if len(valid) == 0 or not is_number:
        return None if low == high == 0 else "the least and greatest values"
    numbers = codec.values_of(valid)
    if numbers.dtype == np.float64:
        stated = np.array((low, high), np.int64).view(np.float64)
        actual = np.array((np.fmin.reduce(numbers), np.fmax.reduce(numbers)))
        agree = np.array_equal(stated, actual, equal_nan=True)
    else:
        agree = (int(low), int(high)) == (int(numbers.min()), int(numbers.max()))
    return None if agree else "the least and greatest values"


def summary_fault(stated: ColumnSummary, actual: ColumnSummary, rows: Times) -> str | None:
    """Return what a summary says of a column that is not so, None if all is; blocks have so many rows."""
    if type(stated) is not type(actual):
        return "the kind"
    for name in stated.__struct_fields__:
        one, other = getattr(stated, name), getattr(actual, name)
        if isinstance(one, pa.Array):
            agree = one.equals(other)
        elif name in _ROUNDED and one.dtype == np.float64:
            agree = _almost_equal(one, other, _rounding(name, actual, rows))
        else:
            agree = np.array_equal(one, other, equal_nan=one.dtype == np.float64)
        if not agree:
            return f"the values of {name!r}"
    return None


def _rounding(name: str, actual: ColumnSummary, rows: Times) -> Array:
    """Return by how much sums of the same values may differ between machines that add in another order."""
    assert isinstance(actual, NumberSummary)
    most = np.fmax(np.abs(actual.low.astype(np.float64)), np.abs(actual.high.astype(np.float64)))
    if name == "sum":
        return rows * most * _PRECISION
    return actual.m2 * _PRECISION + rows * (most * _PRECISION) ** 2


def _almost_equal(one: Array, other: Array, tolerance: Array) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(
            (
                np.equal(one, other) | (np.isnan(one) & np.isnan(other)) | (np.abs(one - other) <= tolerance)
            ).all()
        )
